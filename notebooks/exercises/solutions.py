"""The exercises, solved. Each with one comment: why it is done so."""

from __future__ import annotations

import numpy as np
import torch
from checks import r_squared, ridge
from torch import Tensor


def assistant_axis(acts: Tensor, roles: list[str]) -> Tensor:
    means = {name: acts[[role == name for role in roles]].mean(0) for name in sorted(set(roles))}
    default = means.pop("default")
    # Roles are averaged first, so that one with many answers does not pull the other end of the axis to itself.
    return default - torch.stack(list(means.values())).mean(0)


def persona_space(vectors: Tensor, names: list[str], n: int) -> tuple[Tensor, Tensor, Tensor]:
    is_default = torch.tensor([name == "default" for name in names])
    roles = vectors[~is_default]
    centre = roles.mean(0)
    _, s, vh = torch.linalg.svd(roles - centre, full_matrices=False)
    # The default is only projected: fitted with, it would draw a component to itself, and then lie at its end by construction.
    side = (vectors[is_default][0] - centre) @ vh[:n].T
    components = vh[:n] * torch.where(side < 0, -1.0, 1.0)[:, None]
    shares = s**2 / (s**2).sum()
    return components, shares[:n], (vectors - centre) @ components.T


def floor_hook(resid: Tensor, hook: object, axis: Tensor, tau: float) -> Tensor:
    v = axis / axis.norm()
    # In float32, because a projection sums over d_model: bfloat16 has eight bits, and would round away small pushes.
    push = (tau - resid.float() @ v).clamp(min=0)
    return (resid + push[..., None] * v).to(resid.dtype)


def floors(projections: np.ndarray, is_default: np.ndarray, q: float, cap: float) -> dict[str, float]:
    along = -projections
    # Turning a direction turns three things: each projection's sign, a limit's sign, and the end from which percentiles are counted.
    return {
        "percentile": 100 - q,
        "published": -cap,
        "recipe": np.percentile(along, 100 - q),
        "own": np.percentile(along[is_default], q),
        "weak": np.percentile(along, q),
    }


def held_out(x: np.ndarray, y: np.ndarray, conversations: np.ndarray, messages: np.ndarray, n: int) -> dict:
    rng = np.random.default_rng(0)
    talk, message = _dealt(conversations, n, rng), _dealt(messages, n, rng)
    # Cells of (conversation fold, message fold), because either alone would let the other through: a fit that has met the same
    # message in another conversation, or the same conversation with another message, need not have learnt what words do.
    folds = []
    for i in range(n):
        for j in range(n):
            train, test = np.flatnonzero((talk != i) & (message != j)), np.flatnonzero((talk == i) & (message == j))
            if len(test):
                folds.append((train, test))
    naive = [(np.setdiff1d(np.arange(len(y)), test), test) for test in np.array_split(rng.permutation(len(y)), n)]
    predicted = _foretold(x, y, folds)
    return {"folds": folds, "predicted": predicted, "r2": r_squared(y, predicted), "naive": r_squared(y, _foretold(x, y, naive))}


def _dealt(values: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """A fold for every row, the same for the same value."""
    unique, codes = np.unique(values, return_inverse=True)
    return rng.permutation(np.arange(len(unique)) % n)[codes]


def _foretold(x: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    predicted = np.empty(len(y))
    for train, test in folds:
        predicted[test] = ridge(x[train], y[train], x[test])
    return predicted
