"""Trait vectors: the same questions under opposite prompts, what differs between them, and how it lies to the Assistant Axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import Role, Trait
from .directions import Direction
from .errors import DataError
from .evaluation.statistics import Interval, interval

MIN_GAP, MIN_PAIRS = 50, 10
"""The paper's rule: pairs whose scores (0-100) differ by so much, and so many of them."""
SIDES = (" +", " -")


def trait_roles(traits: Sequence[Trait], pairs: int | None = None) -> list[Role]:
    """Each trait as two roles, ``NAME +`` and ``NAME -``, whose prompts of equal number belong together."""
    roles = []
    for trait in traits:
        chosen = trait.pairs[:pairs]
        roles += [Role(trait.name + SIDES[0], tuple(p for p, _ in chosen)), Role(trait.name + SIDES[1], tuple(n for _, n in chosen))]
    return roles


def name_of(role: str) -> str:
    """The trait of one of its two roles."""
    return role[: -len(SIDES[0])]


def paired(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Answers to the same question under the two prompts of a pair, side by side.

    Parameters
    ----------
    rollouts
        Of :func:`trait_roles`, with ``label`` (a score 0-100; missing where there is no judge).

    Returns
    -------
    DataFrame
        A row a pair: ``trait, prompt_index, question_index, sample, plus, minus`` (row ids), ``score_plus, score_minus, gap``; pairs
        of which one answer has an error are left out.
    """
    fine = rollouts[rollouts["error"] == ""].assign(trait=lambda d: d["role"].map(name_of), plus=lambda d: d["role"].str.endswith(SIDES[0]))
    keys = ["trait", "prompt_index", "question_index", "sample"]
    sides = [fine[fine["plus"] == plus][[*keys, "row", "label"]] for plus in (True, False)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("_plus", "_minus"))
    both = both.rename(columns={"row_plus": "plus", "row_minus": "minus", "label_plus": "score_plus", "label_minus": "score_minus"})
    return both.assign(gap=both["score_plus"].astype("Float64") - both["score_minus"].astype("Float64"))


def kept_pairs(pairs: pd.DataFrame, judged: bool, min_gap: float = MIN_GAP) -> pd.DataFrame:
    """The pairs in which the trait was shown as asked; all where nobody judged."""
    return pairs[(pairs["gap"] >= min_gap).fillna(False).astype(bool)] if judged else pairs


def least(pairs: pd.DataFrame) -> int:
    """How many kept pairs a vector takes: the paper's ten, or two thirds of what was asked where that is less."""
    asked = int(pairs.groupby("trait").size().max()) if len(pairs) else 0
    return max(2, min(MIN_PAIRS, math.ceil(asked * 2 / 3)))


def half_differences(plus: Activations, minus: Activations) -> np.ndarray:
    """Mean difference [half, layer, d_model] over the even and the odd pairs (rows in the order of the pairs)."""
    if len(plus) != len(minus) or len(plus) < 2:
        raise DataError(f"a trait needs at least two pairs, and as many answers on either side; there are {len(plus)} and {len(minus)}")
    away = plus.values.double().numpy() - minus.values.double().numpy()
    return np.stack([away[0::2].mean(0), away[1::2].mean(0)])


def cosine_with_axis(plus: Activations, minus: Activations, axis: Direction, layer: int, n_boot: int = 500, seed: int = 0) -> Interval:
    """Cosine of a trait's vector with the axis at a layer; pairs are redrawn, and the interval holds its value."""
    away = (plus.at(layer).values[:, 0] - minus.at(layer).values[:, 0]).double().numpy()
    unit = axis.at(layer).unit().values[0].double().numpy()
    rng = np.random.default_rng(seed)

    def cosine(rows: np.ndarray) -> float:
        vector = away[rows].mean(0)
        length = np.linalg.norm(vector)
        return float(vector @ unit / length) if length > 0 else float("nan")

    value = cosine(np.arange(len(away)))
    found = interval(value, np.array([cosine(rng.integers(len(away), size=len(away))) for _ in range(n_boot)]))
    return Interval(value, min(value, found.low), max(value, found.high))
