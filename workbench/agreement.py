"""How far judges agree, and what a judge's rates are worth once people have read a sample of what it judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from .errors import DataError
from .evaluation.statistics import Interval, interval


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two judges on the same responses.

    Attributes
    ----------
    kappa
        Cohen's, unweighted: 1 = always the same, 0 = as chance would have it.
    weighted
        With quadratic weights: a miss by one label costs less than one by three.
    same
        Share of equal labels.
    confusion
        How often: a row a label of the first judge, a column one of the second.
    n
        Responses that both could label.
    """

    kappa: Interval
    weighted: Interval
    same: float
    confusion: pd.DataFrame
    n: int

    def __str__(self) -> str:
        return f"kappa {self.kappa}, with quadratic weights {self.weighted}, {self.same:.1%} the same, n = {self.n}"


def agreement(
    first: Sequence[object] | pd.Series, second: Sequence[object] | pd.Series, weights: Sequence[float] | None = None,
    n_boot: int = 500, seed: int = 0,
) -> Agreement:  # fmt: skip
    """Compare two judges' labels of the same responses, in the same order; what one of them could not label is left out.

    Parameters
    ----------
    weights
        How many responses each one stands for, where the sample was not drawn evenly.

    Raises
    ------
    DataError
        With fewer than two responses that both labelled.
    """
    a, b = pd.Series(list(first), dtype="Float64"), pd.Series(list(second), dtype="Float64")
    both = (a.notna() & b.notna()).to_numpy()
    if both.sum() < 2:
        raise DataError(f"two judges are compared on responses that both labelled; there are {int(both.sum())}")
    x, y = a[both].astype(int).to_numpy(), b[both].astype(int).to_numpy()
    w = np.ones(len(x)) if weights is None else np.asarray(weights, float)[both]
    labels = sorted({*x, *y})
    draws = np.random.default_rng(seed).integers(len(x), size=(n_boot, len(x)))

    def kappa(kind: str | None) -> Interval:
        def of(rows: np.ndarray) -> float:
            if len({*x[rows], *y[rows]}) < 2:
                return float("nan")  # one label throughout: chance would agree as well
            return float(cohen_kappa_score(x[rows], y[rows], labels=labels, weights=kind, sample_weight=w[rows]))

        return interval(of(np.arange(len(x))), np.array([of(rows) for rows in draws]))

    confusion = pd.crosstab(pd.Series(x, name="first"), pd.Series(y, name="second")).reindex(index=labels, columns=labels, fill_value=0)
    return Agreement(kappa(None), kappa("quadratic"), float(np.average(x == y, weights=w)), confusion, len(x))


def corrected_rate(judged: pd.Series, sample: pd.DataFrame, wanted: int, n_boot: int = 1000, seed: int = 0) -> Interval:
    """How often a label is true, from what a judge said of all and people said of a sample.

    Of the responses that the judge gave label j, people give `wanted` to a share of the sample; these shares, weighted with
    how often the judge said j, are the rate. The sample may be drawn label by label.

    Parameters
    ----------
    judged
        The judge's labels of all responses (those without one are left out).
    sample
        ``judge`` (its label) and ``human``, a row a response read.
    wanted
        The label whose rate is asked.

    Raises
    ------
    DataError
        Where a label that the judge used has no response in the sample.
    """
    shares = judged.dropna().astype(int).value_counts(normalize=True)
    if missing := [int(j) for j in shares.index if not (sample["judge"] == j).any()]:
        raise DataError(f"nobody has read a response that the judge labelled {missing[0]}: the sample cannot correct its rate")
    rng = np.random.default_rng(seed)
    truths = {j: (sample.loc[sample["judge"] == j, "human"] == wanted).to_numpy(float) for j in shares.index}
    # A beta draw rather than a bootstrap: a label on which people always agreed with the judge is still not certain.
    draws = sum(shares[j] * rng.beta(t.sum() + 0.5, len(t) - t.sum() + 0.5, size=n_boot) for j, t in truths.items())
    value = float(sum(shares[j] * t.mean() for j, t in truths.items()))
    found = interval(value, np.asarray(draws))
    return Interval(value, min(value, found.low), max(value, found.high))
