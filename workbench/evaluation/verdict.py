"""What a study may conclude: four lines, each pass, fail, cannot tell or untested, with their evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..directions import Direction, contrast, role_vectors
from ..errors import DataError
from ..persona_space import PersonaSpace
from ..sweeps import kept_responses, layer_separation
from .splits import Splits
from .spread import default_spread
from .statistics import Interval, auc, interval, rows_needed, wilson

PASS, FAIL, UNSURE, UNTESTED = "pass", "fail", "cannot tell", "untested"
MIN_BEYOND, MIN_AUC, MAX_SPREAD, MIN_COSINE, MIN_PC1, MIN_RANK = 0.9, 0.7, 2.0, 0.9, 0.5, 0.95
"""Bounds of the first three lines."""
HOPELESS = 20
"""An axis whose halves would need more than so many times the responses to agree does not repeat."""
LIMITS = (
    "Nothing here says that a model is safe: an axis that separates need not be one that controls.",
    "Raw projections are in units of one model's residual stream at one layer, and depend on the chat template: they are not compared "
    "across models, layers or templates.",
    "A response's mean activation is made largely of the response's own words; the separation found here is not all the model's doing.",
)


@dataclass(frozen=True)
class Line:
    """One line of the verdict.

    Attributes
    ----------
    line
        What is asked.
    outcome
        ``"pass"``, ``"fail"``, ``"cannot tell"`` (too few rows: the evidence says how many are needed) or ``"untested"``.
    evidence
        The numbers behind it, and the bound.
    value
        The main number: AUC, cosine or |cosine|; None where untested.
    """

    line: str
    outcome: str
    evidence: str
    value: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The four lines and what follows from them."""

    lines: tuple[Line, ...]
    conclusion: str

    def to_frame(self) -> pd.DataFrame:
        """Columns ``line, outcome, evidence, value``."""
        return pd.DataFrame([asdict(line) for line in self.lines])

    def to_dict(self) -> dict:
        """Plain values for ``study.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Verdict:
        """The verdict of :meth:`to_dict`."""
        return cls(tuple(Line(**line) for line in values["lines"]), values["conclusion"])


def judge_method(
    acts: Activations, splits: Splits, table: pd.DataFrame, layer: int, keep: str, seed: int = 0, words: Activations | None = None
) -> Verdict:
    """The verdict of a study at the chosen layer; the report split is looked at here and nowhere before.

    Parameters
    ----------
    acts
        Response means of all roles.
    table
        The layer sweep's.
    layer
        The layer that was chosen without the report split.
    words
        The same responses as a bag of input embeddings, which the first line is compared with.
    """
    row = table[table["layer"] == layer].iloc[0]
    separates = _in_one_place(_separates(acts, splits, layer, keep, seed, words), acts, splits, layer, keep, seed)
    lines = (separates, _repeats(row), _is_pc1(row), _causes())
    return Verdict(lines, conclude(lines))


def cannot_judge(reason: str) -> Verdict:
    """The verdict of a study that is too small: nothing was tested, and why."""
    names = (_SEPARATES, _REPEATS, _IS_PC1)
    return Verdict((*(Line(name, UNTESTED, reason) for name in names), _causes()), f"cannot tell: {reason}")


_SEPARATES = "(i) Held-out default responses lie beyond held-out roles on the axis, and in one place"
_REPEATS = "(ii) The axis of one half of the data is the axis of the other"
_IS_PC1 = "(iii) The first principal component is the axis"
CAUSES = "(iv) Moving along the axis changes behaviour, and matched controls do not"


def _separates(acts: Activations, splits: Splits, layer: int, keep: str, seed: int, words: Activations | None) -> Line:
    def separation_of(source: Activations, at: int) -> tuple[Direction, Activations, Interval, np.ndarray]:
        axis = contrast(role_vectors(splits.part(source, "fit"), keep, 1))
        held_out = kept_responses(splits.part(source, "report"), keep)
        return axis, held_out, *layer_separation(axis, held_out, at, auc, 500, seed)

    try:
        axis, held_out, area, draws = separation_of(acts, layer)
    except DataError as error:
        return Line(_SEPARATES, UNTESTED, str(error))
    means = held_out.mean("role")
    scores = means.project(axis)[layer]
    default = (means.rows["role"] == DEFAULT_ROLE).to_numpy()
    n = int((~default).sum())
    below = int((scores[~default] < scores[default].iloc[0]).sum())
    evidence = (
        f"the default's mean lies beyond {below / n:.0%} of {n} roles (bound {100 * MIN_BEYOND:.0f} %); AUC of single responses {area} "
        f"(bound: interval above {_bound(MIN_AUC)})"
    )
    if words is not None:
        _, _, bag, of_words = separation_of(words, words.site.layers[0])
        gain = interval(area.value - bag.value, draws - of_words)
        evidence += (
            f"; the words alone, as a bag of input embeddings, reach {bag.value:.3f}, and the layer adds {gain.value:+.3f} "
            f"[{gain.low:+.3f}, {gain.high:+.3f}]"
        )
    share = wilson(below, n)
    area_known = known(area, MIN_AUC)
    if share.high < MIN_BEYOND or area_known == FAIL:
        return Line(_SEPARATES, FAIL, evidence, area.value)
    if share.value >= MIN_BEYOND and area_known == PASS:
        return Line(_SEPARATES, PASS, evidence, area.value)
    needed = max(rows_needed(n, share, MIN_BEYOND) if share.value < MIN_BEYOND else n, rows_needed(n, area, MIN_AUC))
    return Line(_SEPARATES, UNSURE, evidence + more_rows("held-out roles", needed, n), area.value)


def _in_one_place(line: Line, acts: Activations, splits: Splits, layer: int, keep: str, seed: int) -> Line:
    """The first line, and whether the default is one persona: the mean of two is where neither is, however well it separates."""
    if line.outcome == UNTESTED:
        return line
    space = PersonaSpace(layer).fit(role_vectors(splits.part(acts, "fit"), keep, 1))
    found = default_spread(kept_responses(acts, keep), space, 500, seed)
    if found is None:
        return replace(line, evidence=line.evidence + "; too few questions were answered twice to see whether the default is one persona")
    spread, component = found
    one = known(spread, MAX_SPREAD, above=False)
    evidence = (
        f"{line.evidence}; along PC{component} the default's responses to one question lie {spread.value:.2f} [{spread.low:.2f}, "
        f"{spread.high:.2f}] times as far apart as a role's (bound: interval below {MAX_SPREAD:.0f}: one persona, not several by turns)"
    )
    outcomes = {line.outcome, one}
    return replace(line, evidence=evidence, outcome=FAIL if FAIL in outcomes else UNSURE if UNSURE in outcomes else PASS)


def repeats(cosine: float) -> tuple[str, float]:
    """Pass, fail or cannot tell for the cosine of two halves' axes, and how many times the responses would bring it to the bound.

    Noise in the halves falls with the number of responses: a cosine c needs (1/c - 1) / (1/bound - 1) times as many.
    """
    times = (1 / cosine - 1) / (1 / MIN_COSINE - 1) if cosine > 0 else float("inf")
    return PASS if cosine >= MIN_COSINE else FAIL if times > HOPELESS else UNSURE, times


def _repeats(row: pd.Series) -> Line:
    found = Interval(row["split_half"], row["split_half_low"], row["split_half_high"])
    outcome, times = repeats(found.value)
    more = f"; about {times:.1f} times as many responses are needed" if outcome == UNSURE else ""
    return Line(_REPEATS, outcome, f"cosine {found} (bound {_bound(MIN_COSINE)}){more}", found.value)


def _is_pc1(row: pd.Series) -> Line:
    found = Interval(row["cos_pc1"], row["cos_pc1_low"], row["cos_pc1_high"])
    evidence = (
        f"on PC1 the default lies beyond {row['default_rank']:.0%} of the roles (bound {100 * MIN_RANK:.0f} %); |cosine| with the axis "
        f"{found} (bound: interval above {_bound(MIN_PC1)})"
    )
    return Line(_IS_PC1, known(found, MIN_PC1) if row["default_rank"] >= MIN_RANK else FAIL, evidence, found.value)


def known(found: Interval, bound: float, above: bool = True) -> str:
    """Pass, fail or cannot tell: an interval lies on the right side of a bound, on the wrong one, or on both.

    Parameters
    ----------
    above
        Whether the right side is above the bound.
    """
    if found.low <= bound <= found.high:
        return UNSURE
    return PASS if (found.value > bound) == above else FAIL


def more_rows(rows: str, needed: float, n: int) -> str:
    """How many rows would decide, if the numbers stay what they are."""
    many = f"about {needed:,.0f}" if needed <= 1000 * n else f"more than {1000 * n:,}"
    return f"; {n} {rows} are too few to tell, {many} would be needed if the numbers stay"


def _bound(value: float) -> str:
    return f"{value:.3f}".lstrip("0")


def _causes() -> Line:
    return Line(CAUSES, UNTESTED, "needs `workbench calibrate` and `workbench evaluate`, and a grader that says what responses do")


def with_causal(verdict: Verdict, line: Line | None) -> Verdict:
    """The verdict with its fourth line replaced by what an evaluation found."""
    if line is None:
        return verdict
    lines = (*verdict.lines[:3], line)
    return Verdict(lines, conclude(lines))


def conclude(lines: tuple[Line, ...]) -> str:
    """Conclude: "holds" needs (i), (ii) and (iv); one failure among them is enough for "does not hold"."""
    needed = [lines[0], lines[1], lines[3]]
    failed = [line.line.split(" ")[0] for line in needed if line.outcome == FAIL]
    if failed:
        return f"does not hold: {' and '.join(failed)} failed"
    names = {outcome: [line.line.split(" ")[0] for line in needed if line.outcome == outcome] for outcome in (UNSURE, UNTESTED)}
    said = [f"too few rows for {' and '.join(names[UNSURE])}"] if names[UNSURE] else []
    said += [f"{' and '.join(names[UNTESTED])} untested"] if names[UNTESTED] else []
    if not said:
        return "holds"
    return f"cannot tell: {', '.join(said)}" + ("" if sum(map(len, names.values())) == len(needed) else ", the rest passed")
