"""Effect sizes and their intervals.

Resampling goes over roles, never over single responses of one role; the default is one role, and its responses are redrawn.
Intervals are thus about other roles on the questions that were asked, not about other questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ..errors import DataError


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(positive: Sequence[float] | np.ndarray, negative: Sequence[float] | np.ndarray) -> float:
    """Probability that a positive score exceeds a negative one (ties count half): the area under the ROC curve."""
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    if not len(positive) or not len(negative):
        raise DataError(f"an AUC needs both groups; there are {len(positive)} and {len(negative)} scores")
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def cohens_d(positive: Sequence[float] | np.ndarray, negative: Sequence[float] | np.ndarray) -> float:
    """Difference of the means in units of the pooled standard deviation; + where `positive` is larger."""
    positive, negative = np.asarray(positive, float), np.asarray(negative, float)
    if len(positive) < 2 or len(negative) < 2:
        raise DataError(f"Cohen's d needs two scores in each group; there are {len(positive)} and {len(negative)}")
    freedom = len(positive) + len(negative) - 2
    pooled = ((len(positive) - 1) * positive.var(ddof=1) + (len(negative) - 1) * negative.var(ddof=1)) / freedom
    return float((positive.mean() - negative.mean()) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def separation(
    positive: np.ndarray, negative: np.ndarray, groups: np.ndarray, statistic: Callable = auc, n_boot: int = 500, seed: int = 0
) -> tuple[Interval, np.ndarray]:
    """A statistic of two samples with a bootstrap interval: positive rows and whole negative groups are redrawn.

    Parameters
    ----------
    positive, negative
        Scores; `groups` names each negative score's role.

    Returns
    -------
    (Interval, ndarray)
        The statistic, and its bootstrap draws. The same seed redraws the same rows, so that draws of several layers
        are paired.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    draws = np.empty(n_boot)
    for i in range(n_boot):
        rows = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        draws[i] = statistic(positive[rng.integers(len(positive), size=len(positive))], negative[rows])
    return interval(statistic(positive, negative), draws), draws


def correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Pearson's r; NaN where one side does not vary."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    # The spread, not the standard deviation: that of equal numbers is 1e-17 as often as 0.
    return float(np.corrcoef(x, y)[0, 1]) if len(x) and np.ptp(x) and np.ptp(y) else float("nan")


def interval(value: float, draws: np.ndarray) -> Interval:
    """The 95 % percentile interval of bootstrap draws around a value; NaN draws are left out, infinite ones count."""
    draws = draws[~np.isnan(draws)]
    # Between infinite neighbours there is nothing to interpolate.
    method = "linear" if np.isfinite(draws).all() else "closest_observation"
    low, high = np.percentile(draws, [2.5, 97.5], method=method) if len(draws) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def wilson(successes: int, n: int) -> Interval:
    """A rate with its 95 % Wilson interval."""
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    z, rate = 1.959964, successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(rate, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def clustered_rate(values: np.ndarray, groups: np.ndarray, n_boot: int = 1000, seed: int = 0) -> Interval:
    """A rate of 0/1 outcomes with a 95 % interval over groups.

    Whole groups are redrawn. A bootstrap of outcomes that never differ would have no width, so the interval is never
    narrower than Wilson's.
    """
    simple = wilson(int(values.sum()), len(values))
    sums, counts = _by_group(values, groups), _by_group(np.ones(len(values)), groups)
    draws = _draws(len(sums), n_boot, seed)
    spread = interval(simple.value, sums[draws].sum(1) / counts[draws].sum(1))
    return Interval(simple.value, min(simple.low, spread.low), max(simple.high, spread.high))


def paired_change(
    before: np.ndarray, after: np.ndarray, groups: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> tuple[Interval, Interval]:
    """Difference and relative change of two rates on the same prompts, with 95 % intervals over groups.

    The intervals are never narrower than Agresti and Min's for matched pairs, which have width even where no pair differs.

    Returns
    -------
    (Interval, Interval)
        ``after - before``, and that divided by ``before`` (NaN where that rate is 0).
    """
    n, first, second = len(before), before.mean(), after.mean()
    sums = [_by_group(x, groups) for x in (before, after, np.ones(n))]
    draws = _draws(len(sums[0]), n_boot, seed)
    a, b, m = (x[draws].sum(1) for x in sums)
    gained, lost = float(((after == 1) & (before == 0)).sum()) + 0.5, float(((after == 0) & (before == 1)).sum()) + 0.5
    centre = (gained - lost) / (n + 2)
    half = 1.959964 * np.sqrt(gained + lost - (gained - lost) ** 2 / (n + 2)) / (n + 2)
    difference = _wider(interval(second - first, (b - a) / m), centre - half, centre + half)
    difference = Interval(difference.value, max(-1.0, difference.low), min(1.0, difference.high))
    if first == 0:
        return difference, Interval(float("nan"), float("nan"), float("nan"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = interval((second - first) / first, b / a - 1)
    relative = _wider(ratio, (centre - half) / first, (centre + half) / first)
    return difference, Interval(relative.value, max(-1.0, relative.low), relative.high)


def rows_needed(n: int, found: Interval, bound: float) -> float:
    """About how many rows an interval needs to leave a bound, if the value stays: its width falls with the root of their number.

    Returns
    -------
    float
        A whole number, at most `n` where the interval does not hold the bound; infinite where the value lies on it.
    """
    half = found.value - found.low if found.value > bound else found.high - found.value
    distance = abs(found.value - bound)
    return float(np.ceil(round(n * (half / distance) ** 2, 6))) if distance > 0 else float("inf")


def widest(intervals: Sequence[Interval]) -> Interval:
    """One value with the lowest and the highest end of several intervals around it."""
    lows, highs = ([getattr(i, end) for i in intervals] for end in ("low", "high"))
    return Interval(intervals[0].value, min(lows), max(highs))


def _wider(value: Interval, low: float, high: float) -> Interval:
    return Interval(value.value, min(value.low, float(low)), max(value.high, float(high)))


def _by_group(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    _, index = np.unique(groups.astype(str), return_inverse=True)
    return np.bincount(index, weights=values)


def _draws(n: int, n_boot: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(n_boot, n))


def cosines_over_roles(default: np.ndarray, roles: np.ndarray, units: np.ndarray, n_boot: int, seed: int) -> list[Interval]:
    """Cosine of a contrast with a unit direction, layer by layer; intervals redraw the roles.

    A redrawn set of roles is noisier than the whole, which lowers its cosine: an interval is stretched to hold its value.

    Parameters
    ----------
    default, roles, units
        [layer, d_model], [role, layer, d_model], [layer, d_model].
    """
    rng = np.random.default_rng(seed)

    def cosine(vectors: np.ndarray) -> np.ndarray:
        return (vectors * units).sum(-1) / np.linalg.norm(vectors, axis=-1)

    draws = np.stack([cosine(default - roles[rng.integers(len(roles), size=len(roles))].mean(0)) for _ in range(n_boot)])
    values = cosine(default - roles.mean(0))
    found = [interval(float(values[slot]), draws[:, slot]) for slot in range(len(units))]
    return [_wider(f, f.value, f.value) for f in found]
