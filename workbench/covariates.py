"""What else a projection may measure: how long a response is, how it is set, whether it was cut off, whom it talks of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from .conversations import DEFAULT_ROLE
from .errors import DataError
from .evaluation.statistics import interval
from .frames import need

COVARIATES = ("tokens", "markdown", "truncated", "of_ai", "of_role")
"""Columns: length in tokens, marks of Markdown per 100 characters, cut off, talks of being an AI, names its role."""

MARKDOWN = re.compile(r"^ {0,3}#{1,6} |^\s*(?:[-*+]|\d+[.)]) |\*\*|__|`+|^\s*\|", re.MULTILINE)
OF_AI = re.compile(
    r"\b(?:AI|A\.I\.|LLM|(?i:artificial intelligence|language model|chat ?bot|assistant|computer program|machine learning))s?\b"
)
"""English; other languages' words for it are not found."""


def covariates(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Covariates of every response.

    Parameters
    ----------
    rollouts
        Columns ``row, role, response``; ``n_tokens`` and ``finish_reason`` where there are any.

    Returns
    -------
    DataFrame
        ``row, role`` and as floats ``tokens, markdown, truncated, of_ai, of_role``; NaN where it cannot be known.
    """
    need(rollouts, ("row", "role", "response"), "covariates", empty=True)
    texts = [str(text) for text in rollouts["response"]]
    lengths = np.array([max(1, len(text)) for text in texts])
    patterns = {name: role_pattern([name]) for name in map(str, rollouts["role"].unique())}
    named = [
        bool(pattern.search(text)) if (pattern := patterns[str(r)]) else False for r, text in zip(rollouts["role"], texts, strict=True)
    ]
    unknown = np.full(len(texts), np.nan)
    cut = rollouts["finish_reason"].eq("length").astype(float) if "finish_reason" in rollouts else unknown
    return pd.DataFrame(
        {
            "row": rollouts["row"].to_numpy(),
            "role": rollouts["role"].to_numpy(),
            "tokens": np.asarray(rollouts["n_tokens"], float) if "n_tokens" in rollouts else unknown,
            "markdown": 100 * np.array([len(MARKDOWN.findall(text)) for text in texts]) / lengths,
            "truncated": np.asarray(cut, float),
            "of_ai": np.array([bool(OF_AI.search(text)) for text in texts], float),
            "of_role": np.array(named, float),
        }
    )


def role_pattern(roles: Sequence[str]) -> re.Pattern[str] | None:
    """Matches the names of roles as words (underscores as spaces, plurals too); None where there is no name."""
    names = sorted({name.replace("_", " ") for name in roles if name != DEFAULT_ROLE}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})(?:s|es)?\b", re.IGNORECASE) if names else None


def against(scores: Sequence[float] | np.ndarray, table: pd.DataFrame, n_boot: int = 500, seed: int = 0) -> pd.DataFrame:
    """How covariates go with projections, over all responses and within roles.

    Parameters
    ----------
    scores
        Projections [row], + towards the axis's + end.
    table
        Of :func:`covariates`, in the order of `scores`.
    n_boot
        Bootstrap draws of whole roles behind each 95 % interval.

    Returns
    -------
    DataFrame
        ``covariate, default, roles`` (means), ``r, low, high`` (over all responses), ``within, within_low, within_high``
        (deviations from the role's own means: what the covariate does where nobody changes), ``n``. NaN where a covariate
        does not vary or is unknown.
    """
    y = np.asarray(scores, float)
    if len(y) != len(table):
        raise DataError(f"{len(y)} projections for {len(table)} responses")
    is_default = table["role"].eq(DEFAULT_ROLE).to_numpy()
    records = []
    for name in COVARIATES:
        x = table[name].to_numpy(float)
        known = np.isfinite(x) & np.isfinite(y)
        _, group = np.unique(table["role"].to_numpy()[known].astype(str), return_inverse=True)
        overall = _correlated(x[known], y[known], group, n_boot, seed)
        inner = _correlated(_centred(x[known], group), _centred(y[known], group), group, n_boot, seed)
        means = {side: float(x[known & rows].mean()) if (known & rows).any() else float("nan") for side, rows in
                 (("default", is_default), ("roles", ~is_default))}  # fmt: skip
        r = dict(zip(("r", "low", "high"), overall, strict=True))
        within = dict(zip(("within", "within_low", "within_high"), inner, strict=True))
        records.append({"covariate": name} | means | r | within | {"n": int(known.sum())})
    return pd.DataFrame(records)


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    return values - (sums / np.maximum(counts, 1))[group]


def _correlated(x: np.ndarray, y: np.ndarray, group: np.ndarray, n_boot: int, seed: int) -> tuple[float, float, float]:
    """Pearson's r and its interval over redrawn groups, from sums by group; NaN where x does not vary."""
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return float("nan"), float("nan"), float("nan")
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    sums = np.stack([np.bincount(group, weights=w) for w in (np.ones_like(x), x, y, x * x, y * y, x * y)])

    def r(total: np.ndarray) -> np.ndarray:
        n, sx, sy, sxx, syy, sxy = total
        with np.errstate(invalid="ignore", divide="ignore"):
            return (n * sxy - sx * sy) / np.sqrt((n * sxx - sx * sx) * (n * syy - sy * sy))

    draws = np.random.default_rng(seed).integers(sums.shape[1], size=(n_boot, sums.shape[1]))
    found = interval(float(r(sums.sum(1))), r(sums[:, draws].sum(-1)))
    return found.value, found.low, found.high
