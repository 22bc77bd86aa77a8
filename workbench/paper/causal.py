"""Print figures of what steering and caps do, and of when the axis appears."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from .. import plots
from ..errors import DataError
from ..plots.panels import Room, in_grid
from ..plots.sheet import PaperFigure, Sheet
from ..plots.steering import SERIES, signed
from ..plots.theme import one_line
from ..plots.untyped import layout_of, traces_of
from ..report.caps import pareto_frame, steering_frame
from ..report.origins import checkpoint_frames
from ..store import Run
from .space import PLUS, about
from .tables import outcome_frame

SUSCEPTIBILITY, JAILBREAKS = ("identity", "broken"), ("compliance", "refusal", "right")
"""Measures over the strength of steering: of roles, and of jailbreaks."""
LOWER = 16
"""Pixels by which the name of a choice stands below the one before it, in a column."""
SHORT = {
    "front: no cap beats it in both": "front",
    "caps on all positions": "all positions",
    "caps on generated positions": "generated only",
    "chosen, on the tuning half": "chosen, tuning",
    "chosen, on the other half": "chosen, report",
}
"""Entries of a legend in words that leave room for two in a column."""


def steering_measures(run: Run, measures: tuple[str, ...]) -> pd.DataFrame:
    """The rows of some measures, and those of control directions, as far as there are any."""
    frame = steering_frame(run)
    return frame[frame["measure"].isin(measures)]


def susceptibility(run: Run) -> PaperFigure:
    """How many roles still speak as themselves, by the strength of steering."""
    frame = steering_measures(run, SUSCEPTIBILITY)
    words = (
        "Roles asked who they are, while the model is steered along the axis: share that speak as their role; and, of all responses, the "
        "share that is no text"
    )
    return PaperFigure("fig4", "Roles under steering", _steering_caption(run, frame, words), _dose(frame))


def jailbreaks(run: Run) -> PaperFigure:
    """Jailbreaks complied with and refused, and right answers, by the strength of steering."""
    frame = steering_measures(run, JAILBREAKS)
    controls = frame["control"].replace("", None).nunique() if "control" in frame else 0
    words = (
        "Persona jailbreaks complied with and refused, and right answers to harmless questions, while the model is steered along the axis"
    )
    words += f"; grey: compliance under {controls} control directions" if controls else ""
    caption = _steering_caption(run, frame, words)
    return PaperFigure(
        "fig5", "Jailbreaks under steering", caption if controls else f"{caption} No control directions were steered.", _dose(frame)
    )


def _steering_caption(run: Run, frame: pd.DataFrame, words: str) -> str:
    counts = ", ".join(
        f"{SERIES[str(m)].title} n = {int(rows['n'].max()):,} in {int(rows['groups'].max()):,} groups"
        for m, rows in frame.groupby("measure", sort=False) if m in SERIES
    )  # fmt: skip
    return (
        f"{words}; {about(run, frame.attrs['layer'])}, every token, strengths in fractions of the {frame.attrs['unit']}, {PLUS}. The same "
        "prompts and seeds at every strength; bars are 95 % intervals over groups of prompts (roles, requests), side by side so that "
        f"none hides another: {counts}. Shaded: text or answers break."
    )


def _dose(frame: pd.DataFrame):
    def draw(sheet: Sheet) -> go.Figure:
        figure = plots.dose_response(frame)
        if not sheet.screen:
            apart(figure)
            figure.update_xaxes(title_text="steering strength, + = towards the Assistant")
            figure.update_yaxes(title_text="share of responses")
        return sheet.dress(figure, 2.6)

    return draw


def apart(figure: go.Figure) -> None:
    """Dots and intervals of one strength side by side; their numbers stay what they are."""
    for trace in traces_of(figure):
        if trace.legendgroup and trace.legendgroup != "controls":
            trace.offsetgroup = trace.legendgroup
    figure.update_layout(scattermode="group", scattergap=0.85)


def appearance(run: Run) -> PaperFigure:
    """When the axis appears: other weights of the model read the same texts."""
    table, scores = checkpoint_frames(run)
    facts = run.study["steps"]["checkpoints"]
    n = int(scores["n"].max())
    strengths = sorted(scores["strength"].unique())
    caption = (
        f"The responses of {about(run, table.attrs['layer'])}, read by other weights of the model ({', '.join(facts['models'])}, in the "
        "order of training). Cosine: of the axis fitted there with that of the last; AUC: held-out default responses against those of "
        "held-out roles, on the model's own axis (solid) and on the last's (dashed); r: projections of roles there with the last's; "
        f"bands are 95 % intervals. Steered: {len(facts['beginnings'])} plain beginnings continued {n:,} times in all at each strength, "
        f"along the last's axis, {PLUS}; solid {signed(strengths[-1])}, dashed not steered, dotted {signed(strengths[0])} of the mean "
        "norm of response tokens."
    )

    def draw(sheet: Sheet) -> go.Figure:
        figure = sheet.dress(plots.checkpoints(table, scores))
        if sheet.screen:
            return figure
        for note in layout_of(figure).annotations:
            note.text = str(note.text).split("<br>")[0].replace("Cosine with the last model's axis", "Cosine with the last's")
            note.text = str(note.text).replace("Steered: ", "").replace("nearness to the Assistant", "Steered: nearness")
        names = _tails([str(name) for name in table["model"]])
        em, most = sheet.em, max(map(len, names))
        figure.update_xaxes(tickangle=-90, ticktext=names)
        room = Room(3.4 * em, 0.8 * em, 2.2 * em, 1.2 * em, (2 + 0.5 * most) * em)
        return in_grid(figure, 2 if sheet.narrow else 4, sheet.pixels, 8 * em, room)

    return PaperFigure("fig6", "When the axis appears", caption, draw, "page")


def _tails(names: list[str]) -> list[str]:
    """The ends of the models' paths, where these tell them apart."""
    tails = [name.rsplit("/", 1)[-1] for name in names]
    return [one_line(name, 16) for name in (tails if len(set(tails)) == len(tails) else names)]


def pareto(run: Run) -> PaperFigure:
    """What caps prevent and what they cost."""
    frame = pareto_frame(run)
    if frame is None:
        raise DataError(f"nothing was graded in {run.folder}: what a cap prevents is unknown")
    frame.attrs |= {"model": run.axis.site.model}
    facts = run.study["steps"]["calibrate"]
    controls = int((frame["kind"] == "control").sum())
    caption = (
        f"{facts['settings']} caps (floors along the axis, {PLUS}): jailbreaks complied with (left is safer) against right answers (up is "
        f"abler); {about(run)}, graded by {facts['grader']}. Small dots: the tuning half ({facts['n_tuning']:,} prompts); an arrow leads "
        f"from a chosen cap there to the same cap on the other half ({facts['n_reporting']:,} prompts), which shares no role and no "
        "harmful request with the first. "
        + (f"Grey rings: {controls} controls on the other half. " if controls else "")
        + "Lines are 95 % intervals over roles and requests. Front: no cap beats it in both. Dots at one place darken one another."
    )

    def draw(sheet: Sheet) -> go.Figure:
        figure = plots.pareto(frame)
        if sheet.narrow:
            figure.for_each_trace(lambda trace: trace.update(name=SHORT.get(str(trace.name), trace.name)))
            for number, note in enumerate(note for note in layout_of(figure).annotations if note.text):
                note.ay += LOWER * number  # there is no room for two names side by side
        return sheet.dress(figure, 3.6 if sheet.narrow else 3.2)

    return PaperFigure("fig9", "Caps: gain and price", caption, draw)


def chosen_cap(run: Run) -> PaperFigure:
    """The chosen cap beside the baseline, steering and controls, outcome by outcome."""
    frame = outcome_frame(run)
    facts = run.study["steps"]["evaluate"]
    controls = sum(kind == "control" for kind in facts["conditions"].values())
    caption = (
        "Share of responses under every condition on the report half of the prompts, with 95 % intervals over roles and requests; "
        f"{about(run)}"
        + (f", graded by {facts['grader']}" if facts["grader"] else "")
        + f". Circle: baseline; triangle: steering of the cap's mean dose; diamonds: caps (floors along the axis, {PLUS}); rings: "
        f"{controls} controls, floors along other directions with the axis taken out, matched to the cap in the percentile, the share of "
        "changed tokens or the dose, several on a line. Controls were asked jailbreaks and questions only. Each panel says over how many "
        "responses."
    )
    panels = frame["outcome"].nunique()

    def draw(sheet: Sheet) -> go.Figure:
        return sheet.dress(plots.outcomes(frame, columns=2 if sheet.narrow else 1 if sheet.screen else panels))

    return PaperFigure("fig10", "The chosen cap", caption, draw, "page")
