"""Whether the default is one persona: how far apart its responses to one question lie, beside those of a role."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..persona_space import PersonaSpace
from .statistics import Interval, interval

COMPONENTS, MIN_REPEATS = 3, 8
"""Components of persona space that are looked along; and repeated answers of the default below which nothing is said."""


def default_spread(acts: Activations, space: PersonaSpace, n_boot: int = 500, seed: int = 0) -> tuple[Interval, int] | None:
    """How many times as far the default's responses to one question lie apart as those of the median role.

    A default that is two personas by turns has a mean where neither of them is; no separation of means shows that, but its
    responses to the same question then spread as far as roles differ.

    Parameters
    ----------
    acts
        Response means of the default and the roles, several to a question.
    space
        A persona space; looked along are its first three components.

    Returns
    -------
    (Interval, int) or None
        Ratio of two standard deviations around the means of the questions, along the component (counted from 1) where it is
        largest; the interval redraws the default's responses and the roles. None where too few questions were answered
        more than once, or where half of the roles give the same answer each time (greedy decoding).
    """
    scores = space.transform(acts)[:, :COMPONENTS]
    roles, questions = acts.rows["role"].to_numpy(), acts.rows["question_index"].to_numpy()
    apart = {name: _deviations(scores[roles == name], questions[roles == name]) for name in dict.fromkeys(roles)}
    own = apart.pop(DEFAULT_ROLE, np.empty((0, 0)))
    others = np.array([np.sqrt((rows**2).mean(0)) for rows in apart.values() if len(rows)])
    if len(own) < MIN_REPEATS or len(others) < 2:
        return None
    varies = np.median(others, 0) > 1e-6 * scores.std(0)  # beyond what rounding leaves of the same answer
    if not varies.any():
        return None
    own, others = own[:, varies], others[:, varies]
    rng = np.random.default_rng(seed)

    def ratios(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # a redrawn set of roles may hold mostly those that never vary
            return np.sqrt((mine**2).mean(0)) / np.median(theirs, 0)

    def redrawn(rows: np.ndarray) -> np.ndarray:
        return rows[rng.integers(len(rows), size=len(rows))]

    draws = np.array([ratios(redrawn(own), redrawn(others)) for _ in range(n_boot)])
    found = ratios(own, others)
    widest = int(np.argmax(found))
    return interval(float(found[widest]), draws[:, widest]), int(np.flatnonzero(varies)[widest]) + 1


def _deviations(scores: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Distance [row, component] of repeated answers from their question's mean, scaled so that their mean square is the variance."""
    frame = pd.DataFrame(scores)
    by_question = frame.groupby(questions)
    size = by_question[0].transform("size").to_numpy()
    away = (frame - by_question.transform("mean")).to_numpy()
    repeated = size > 1
    return away[repeated] * np.sqrt(size[repeated] / (size[repeated] - 1))[:, None]
