"""How sure a role's place in persona space is: its questions drawn again, with the components held fixed."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from .activations import Activations
from .directions import responses_kept
from .frames import need
from .persona_space import PersonaSpace

COMPONENTS = 3


def role_spread(space: PersonaSpace, acts: Activations, keep: str = "fully", n_boot: int = 500, seed: int = 0) -> pd.DataFrame:
    """Variances and covariances of each role's scores when its questions are drawn again with replacement.

    The components are held fixed: this is how sure a role's place is, not how sure the space is (for that see
    :meth:`PersonaSpace.stability`).

    Parameters
    ----------
    space
        A fitted space.
    acts
        Single responses at the space's layer, with columns ``role, question_index`` and, for ``keep="fully"``, ``label``. From a sample
        of the responses behind a vector the spread comes out too large, never too small.
    keep
        Which responses made the vectors, as in :func:`workbench.role_vectors`.
    n_boot
        Draws a role.

    Returns
    -------
    DataFrame
        A row a role: ``role, n`` (responses used), ``questions``, ``var1, var2, var3, cov12, cov13, cov23`` (squared units of the scores);
        missing where a role has fewer than two questions.
    """
    need(acts.rows, ("role", "question_index"), "role_spread")
    scores = space.transform(acts)[:, :COMPONENTS]
    rows = acts.rows.reset_index(drop=True)
    kept = responses_kept(rows, keep)
    rng = np.random.default_rng(seed)
    records = []
    for role in space.vectors_.rows["role"]:
        own = kept & (rows["role"] == role).to_numpy()
        values, questions = scores[own], rows.loc[own, "question_index"].to_numpy()
        records.append({"role": role, "n": len(values), "questions": len(set(questions))} | _spread(values, questions, n_boot, rng))
    return pd.DataFrame(records)


def _spread(values: np.ndarray, questions: np.ndarray, n_boot: int, rng: np.random.Generator) -> dict[str, float]:
    """Covariance of the mean [component, component] over draws of whole questions, by name."""
    width = values.shape[1]
    names = [f"var{i + 1}" for i in range(width)] + [f"cov{i + 1}{j + 1}" for i, j in itertools.combinations(range(width), 2)]
    groups = np.unique(questions)
    if len(groups) < 2:
        return dict.fromkeys(names, float("nan"))
    member = (questions[None] == groups[:, None]).astype(float)
    sums, counts = member @ values, member.sum(1)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=n_boot)
    means = (drawn @ sums) / (drawn @ counts)[:, None]
    cov = np.cov(means.T).reshape(width, width)
    found = [cov[i, i] for i in range(width)] + [cov[i, j] for i, j in itertools.combinations(range(width), 2)]
    return dict(zip(names, map(float, found), strict=True))
