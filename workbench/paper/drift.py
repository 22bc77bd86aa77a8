"""Print figures of drift: the overview, means, harm, and single conversations that a rule chose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .. import plots
from ..drift.store import BASELINE_NAME, CAPPED, STEP, kept_conversations
from ..errors import DataError, RunError
from ..plots.panels import Box, joined
from ..plots.sheet import PaperFigure, Sheet
from ..plots.untyped import layout_of
from ..report.drift import drift_frame
from ..store import Run
from .space import PLUS, UNITS, about, roles_of, space_panel

LONGEST = 150
"""Characters of a message that a case study shows."""
BY_CONSTRUCTION = "What leaves the layer under a cap is held up by construction; what counts is what was said."
"""Of every figure that shows a capped conversation beside the same one without."""
RULE = (
    f"Messages longer than {LONGEST} characters are cut at a word's end. Chosen as an extreme, by this rule and not by what was said: "
    f"means stand in fig7. {BY_CONSTRUCTION}"
)
OVER = {"probes": "single probes", "conversation": "conversations", "probes in roles": "single probes in roles", "role": "roles"}
"""What a correlation of projection and harm is taken over, in words."""
BAND = "Grey: the 5th to 95th percentile of default replies in ordinary conversations, by exchange"


@dataclass(frozen=True, eq=False)
class Case:
    """A conversation as it was and under the cap.

    Attributes
    ----------
    domain, conversation
        Where it comes from, and its name.
    frame
        Its messages at the layer of the study, under both conditions.
    exchanges
        The ones that decide: the baseline's largest fall from one reply to the next up to the one where the cap had prevented most, and
        that one.
    fall, capped_fall
        By how far the baseline had fallen there since its first reply, and the capped conversation, in residual-stream units.
    n
        Conversations of the domain.
    """

    domain: str
    conversation: str
    frame: pd.DataFrame
    exchanges: tuple[int, ...]
    fall: float
    capped_fall: float
    n: int

    @property
    def prevented(self) -> float:
        """The drop that the cap prevented."""
        return self.fall - self.capped_fall


def cases(run: Run) -> list[Case]:
    """In each domain the conversation whose largest drop the cap prevented most; the greatest first.

    A drop is how far a reply lies below the first one. Domains in which the cap prevented none are left out.

    Raises
    ------
    DataError
        Where the conversations were not held under a cap.
    """
    if CAPPED not in run.study["steps"][STEP]["conditions"]:
        raise DataError(f"the conversations of {run.folder} were not held under a cap")
    return _cases(run, run.study["steps"][STEP]["finished"])


@lru_cache(maxsize=2)
def _cases(run: Run, finished: str) -> list[Case]:
    """Read once for all figures of a study, which is told by when it was `finished`."""
    frame = _messages(run, (BASELINE_NAME, CAPPED))
    found = []
    for domain, rows in frame.groupby("domain", sort=False):
        every = [case for _, own in rows.groupby("conversation", sort=True) if (case := _case(str(domain), own, rows)) is not None]
        if every and (best := max(every, key=lambda case: case.prevented)).prevented > 0:
            found.append(best)
    return sorted(found, key=lambda case: -case.prevented)


def _messages(run: Run, conditions: tuple[str, ...]) -> pd.DataFrame:
    """Every message at the layer of the study, with what is ``seen`` of it: under a cap what leaves the layer."""
    facts = run.study["steps"][STEP]
    frames = [kept_conversations(run, name)[1].assign(condition=name) for name in conditions]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame["layer"] == facts["layer"]]
    frame["seen"] = frame["after"].fillna(frame["projection"]) if "after" in frame else frame["projection"]
    frame.attrs = {"model": run.axis.site.model, "layer": facts["layer"]}
    return frame


def _case(domain: str, own: pd.DataFrame, rows: pd.DataFrame) -> Case | None:
    """A conversation's case; None where it has fewer than two exchanges under both conditions."""
    replies = own[own["speaker"] == "assistant"].pivot(index="exchange", columns="condition", values="seen")
    if not {BASELINE_NAME, CAPPED} <= set(replies.columns) or len(replies := replies.dropna().sort_index()) < 2:
        return None
    exchanges = [int(x) for x in replies.reset_index()["exchange"]]
    base, capped = (replies[name].to_numpy(float) for name in (BASELINE_NAME, CAPPED))
    fall, capped_fall = base[0] - base, capped[0] - capped
    last = int((fall - capped_fall).argmax())
    first = 1 + int((base[1 : last + 1] - base[:last]).argmin()) if last else 0
    decisive = tuple(dict.fromkeys((exchanges[first], exchanges[last])))
    n = int(rows["conversation"].nunique())
    return Case(domain, str(own["conversation"].iloc[0]), own, decisive, float(fall[last]), float(capped_fall[last]), n)


def case_study(run: Run, case: Case, number: int) -> PaperFigure:
    """A case as a figure: its trajectory beside what was said."""
    layer, band = run.study["steps"][STEP]["layer"], drift_frame(run, "drift_band")
    first, last = case.exchanges[0], case.exchanges[-1]
    fall = "the baseline's largest fall from one reply to the next up to there"
    turn = f"a: exchange {first}, also {fall}" if first == last else f"b: exchange {last}; a: exchange {first}, {fall}"
    caption = (
        f"One conversation about {case.domain} ({case.conversation}), as it was and with the same messages of the user under the cap; "
        f"projection of each reply on the axis, {PLUS}, in {UNITS}; {about(run, layer)}. {BAND}. Of the domain's {case.n} conversations "
        f"the one whose drop the cap prevented most: {case.fall:.2f} below its first reply, under the cap {_below(case.capped_fall)} "
        f"({turn}). {RULE}"
    )

    def draw(sheet: Sheet) -> go.Figure:
        em = sheet.em
        across = sheet.pixels - 12 * em if sheet.narrow else 0.36 * sheet.pixels
        text = sheet.pixels - em if sheet.narrow else sheet.pixels - across - 15 * em
        words = sheet.dress(plots.said_panel(case.frame, case.exchanges, ems=text / em, most=LONGEST))
        tall = layout_of(words).meta["lines"] * 1.3 * em
        top = 2.0 * em
        side = 13 * em if sheet.narrow else max(14 * em, tall - 5 * em)
        place = (0.5 * em, top + side + 5 * em) if sheet.narrow else (across + 14 * em, em / 2)
        boxes = [Box(6.7 * em, top, across, side), Box(*place, text, tall)]
        panel = _panel(case.frame, band, boxes[0], sheet, case.exchanges)
        return joined([panel, words], boxes, sheet.pixels, max(top + side + 4.3 * em, place[1] + tall + em / 2))

    return PaperFigure(f"case{number}", f"A conversation about {case.domain}", caption, draw, "page")


def _panel(talk: pd.DataFrame, band: pd.DataFrame | None, box: Box, sheet: Sheet, marked: tuple[int, ...] = ()) -> go.Figure:
    return sheet.dress(plots.conversation_panel(talk, band, marked, height=box.height * 12 / sheet.em))


def _below(fall: float) -> str:
    return f"{fall:.2f} below" if fall >= 0 else f"{-fall:.2f} above"


def overview(run: Run) -> PaperFigure:
    """Persona space beside one conversation that drifts."""
    space, roles = roles_of(run)
    facts, band = run.study["steps"][STEP], drift_frame(run, "drift_band")
    case = next(iter(cases(run)), None) if CAPPED in facts["conditions"] else None
    talk, which = (case.frame, "the one of case1") if case else _farthest(run)
    shares = space.explained_variance_ratio_
    where = about(run, space.layer)
    caption = (
        f"Left: {len(space.roles_)} roles and the default (diamond) on the first two principal components of their mean responses "
        f"({shares[0]:.0%} and {shares[1]:.0%} of the variance), coloured by their projection on the Assistant axis, {PLUS}, in {UNITS}; "
        f"in print, squares lie in the far half of the colours; {where}. Right (below, in one column): a conversation about "
        f"{_domain(talk)}, {which}, at layer {facts['layer']}, reply by reply, "
        + (f"and with the same messages of the user under the cap. {BY_CONSTRUCTION} " if case else "not held under a cap. ") + f"{BAND}."
    ).replace("%", " %")  # fmt: skip

    def draw(sheet: Sheet) -> go.Figure:
        em = sheet.em
        tall = 19 * em
        if sheet.narrow:
            first = Box(4.7 * em, 0.8 * em, sheet.pixels - 5.5 * em, 20 * em, 4.2 * em)
            second = Box(6.7 * em, first.top + 20 * em + 11.5 * em, sheet.pixels - 12 * em, 13 * em)
        else:
            first = Box(4.7 * em, 2 * em, 0.43 * sheet.pixels, tall, 4.2 * em)
            left = first.left + first.width + 8.5 * em
            second = Box(left, 2 * em, sheet.pixels - left - 5.3 * em, tall)
        panels = [space_panel(roles, first, sheet), _panel(talk, band, second, sheet)]
        return joined(panels, [first, second], sheet.pixels, second.top + second.height + (4.3 if sheet.narrow else 8.2) * em)

    return PaperFigure("fig1", "Overview", caption, draw, "page")


def _domain(talk: pd.DataFrame) -> str:
    return str(talk["domain"].iloc[0])


def _farthest(run: Run) -> tuple[pd.DataFrame, str]:
    """The conversation whose last reply lies furthest below its first, of all."""
    frame = _messages(run, (BASELINE_NAME,))
    replies = frame[frame["speaker"] == "assistant"].sort_values("exchange").groupby("conversation")["seen"]
    moved = replies.last() - replies.first()
    name = moved.index[int(moved.to_numpy(float).argmin())]
    own = frame[frame["conversation"] == name]
    own.attrs = frame.attrs
    return own, "the one whose last reply lies furthest below its first"


def means(run: Run) -> PaperFigure:
    """Mean projection by domain and exchange."""
    frame, band = drift_frame(run, "drift_means"), drift_frame(run, "drift_band")
    if frame is None:
        raise RunError(f"{run.folder / 'tables' / 'drift_means.csv'} is missing: run `workbench drift --run {run.folder} --simulate` again")
    facts = run.study["steps"][STEP]
    shown = frame[frame["condition"].isin((BASELINE_NAME, CAPPED))]
    counts, others = shown["n"].dropna(), sorted(set(frame["condition"]) - set(shown["condition"]))
    caption = (
        f"Mean projection of the replies on the axis, {PLUS}, in {UNITS}, exchange by exchange and domain by domain; "
        f"{about(run, facts['layer'])}. {facts['n']:,} conversations, {_span(counts)} a mean. Bands are 95 % intervals over "
        f"conversations. {BAND}; dotted: its middle."
        + (" Dashed: what leaves the layer under the cap, in conversations with the same messages; a floor holds it by construction."
           if CAPPED in facts["conditions"] else "")
        + (f" Left out: conversations {', '.join(others)}." if others else "")
    )  # fmt: skip
    return PaperFigure("fig7", "Drift by domain", caption, lambda sheet: sheet.dress(plots.drift_means(shown, band)))


def harm(run: Run) -> PaperFigure:
    """Compliance with harmful questions by where the reply before lies."""
    frame = drift_frame(run, "drift_harm")
    if frame is None:
        raise DataError(f"the drift study of {run.folder} says nothing of harm")
    facts = run.study["steps"][STEP]
    table = drift_frame(run, "drift_harm_correlation")
    r = "" if table is None else " ".join(_correlation(row) for row in table.to_dict("records"))
    caption = (
        "A harmful question after every exchange, not part of the conversation: share that is complied with, by the projection of the "
        f"reply before it on the axis ({UNITS}, {PLUS}; under the cap what arrives at the layer), in bins of {_span(frame['n'])} probes; "
        f"{about(run, facts['layer'])}. Bars are 95 % Wilson intervals, which take the probes of one conversation for independent. {r}"
    )

    def draw(sheet: Sheet) -> go.Figure:
        figure = plots.drift_harm(frame)
        if not sheet.screen:
            without_counts(figure)
            figure.update_yaxes(title_text="answers that comply")
        return sheet.dress(figure, 2.6)

    return PaperFigure("fig8", "Drift and harm", caption, draw)


def _correlation(row: dict[Any, Any]) -> str:
    said = f"Over {OVER.get(row['over'], row['over'])}: r = {row['r']:.2f} [{row['low']:.2f}, {row['high']:.2f}], n = {int(row['n']):,}."
    return said.replace("-", "\u2212")


def _span(counts: Any) -> str:
    low, high = int(min(counts)), int(max(counts))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def without_counts(figure: go.Figure) -> None:
    """Leave out the counts below the rates: the caption has them."""
    layout_of(figure).annotations = ()
    axis = layout_of(figure).yaxis
    shares = [(v, t) for v, t in zip(axis.tickvals, axis.ticktext, strict=True) if v >= 0]
    top = axis.range[1]
    axis.update(tickvals=[v for v, _ in shares], ticktext=[t for _, t in shares], range=[-0.03 * top, top])
