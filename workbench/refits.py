"""The axis again from other tokens or other responses: does it stay the same where length or names cannot play a part?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .covariates import OF_AI, role_pattern
from .directions import Direction
from .errors import DataError
from .evaluation.statistics import cosines_over_roles
from .frames import answered_in_role, need
from .models.extraction import Reading, mean_activations, readings_of
from .models.hooked import HookedModel
from .models.spelling import positions_of

FIRST = 64
"""Tokens of the beginning that one variant reads."""
BINS = 5


def axis_again(
    model: HookedModel, rollouts: pd.DataFrame, axis: Direction, n_boot: int = 500, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Fit the axis again where something that is not a persona can play no part.

    Parameters
    ----------
    rollouts
        Responses of the default and of roles; those labelled other than fully in role are left out.
    axis
        The main axis, at whose layers the others are fitted.

    Returns
    -------
    DataFrame
        ``variant, layer, cosine, low, high, n_default, n_roles, note``. Variants: ``all tokens`` (the same responses, for
        comparison), ``tokens 1-64``, ``words masked`` (names of roles and talk of being an AI left out), ``length-matched``
        (default responses weighted so that their lengths are spread as the roles'). Cosines are with the main axis; their
        95 % intervals redraw the roles.

    Raises
    ------
    DataError
        Where the default or all roles have no response left.
    """
    axis.check_use(model.bare_site(axis.site.layers))
    need(rollouts, ["role"], "fitting the axis again")
    rows = answered_in_role(rollouts)
    readings = readings_of(model, rows)
    ways = {"all tokens": readings, f"tokens 1-{FIRST}": [_first(r) for r in readings]}
    masked, kept = _masked(model, readings, rows["role"].unique())
    ways["words masked"] = masked
    frames, whole = [], None
    for number, (name, chosen) in enumerate(ways.items()):
        table = rows.iloc[kept] if name == "words masked" else rows
        acts = Activations(
            mean_activations(model, chosen, axis.site.layers), table[["role"]].reset_index(drop=True), model.site(axis.site.layers)
        )
        whole = acts if whole is None else whole
        note = f"{len(rows) - len(kept)} responses hold nothing else and are left out" if len(table) < len(rows) else ""
        if chosen is ways[f"tokens 1-{FIRST}"]:
            note = f"{np.mean([r.end - r.start <= FIRST for r in readings]):.0%} of the responses have no more tokens than that"
        frames.append(_variant(name, acts, np.ones(len(acts)), axis, n_boot, seed, note))
        if progress:
            progress(number + 1, len(ways))
    assert whole is not None
    weights, note = length_weights(rows["role"].to_numpy(), np.array([r.end - r.start for r in readings]))
    frames.append(_variant("length-matched", whole, weights, axis, n_boot, seed, note))
    return pd.concat(frames, ignore_index=True)


def length_weights(roles: np.ndarray, lengths: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, str]:
    """Weights of responses such that the default's lengths are spread as the roles' are.

    Lengths are divided at quantiles of the roles'; a bin in which the default has no response is left out on both sides, and
    so is a default response shorter or longer than all of the roles'.

    Returns
    -------
    (ndarray, str)
        Weight of each response (0 where it is left out), and a sentence on what was left out.
    """
    default = roles == DEFAULT_ROLE
    edges = np.unique(np.quantile(lengths[~default], np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, lengths, side="right")
    within = (lengths >= lengths[~default].min()) & (lengths <= lengths[~default].max())
    weights = np.zeros(len(lengths))
    for b in np.unique(bin_of):
        ours, theirs = default & within & (bin_of == b), ~default & (bin_of == b)
        if ours.any() and theirs.any():
            weights[ours], weights[theirs] = theirs.sum() / ours.sum(), 1.0
    if not weights.any():
        raise DataError("no length of a default response lies among those of the roles: lengths cannot be matched")
    left_out = int((weights == 0).sum())
    effective = weights[default].sum() ** 2 / (weights[default] ** 2).sum()
    return weights, f"{left_out} responses without a counterpart; the default's weigh as {effective:.0f}"


def _first(reading: Reading) -> Reading:
    end = min(reading.end, reading.start + FIRST)
    return replace(reading, ids=reading.ids[:end], end=end)


def _masked(model: HookedModel, readings: Sequence[Reading], roles: Sequence[str]) -> tuple[list[Reading], list[int]]:
    """Readings without names and talk of being an AI, and which of them have anything left."""
    names = role_pattern(list(map(str, roles)))
    patterns = [OF_AI, *([names] if names else [])]
    out, kept = [], []
    for number, reading in enumerate(readings):
        ids = reading.ids[reading.start : reading.end]
        inside = frozenset().union(*(positions_of(model, ids, pattern) for pattern in patterns))
        if len(inside) < len(ids):
            out.append(replace(reading, without=frozenset(reading.start + i for i in inside)))
            kept.append(number)
    return out, kept


def _variant(name: str, acts: Activations, weights: np.ndarray, axis: Direction, n_boot: int, seed: int, note: str) -> pd.DataFrame:
    groups = dict(_weighted(acts, weights))
    if DEFAULT_ROLE not in groups or len(groups) < 3:
        raise DataError(f"{name}: the default and two roles must have responses left; there are {', '.join(map(str, groups)) or 'none'}")
    default = groups.pop(DEFAULT_ROLE)
    units = axis.unit().values.double().numpy()
    found = cosines_over_roles(default, np.stack(list(groups.values())), units, n_boot, seed)
    counts = {"n_default": int((weights[acts.rows["role"] == DEFAULT_ROLE] > 0).sum()), "n_roles": len(groups)}
    records = [
        {"variant": name, "layer": layer, "cosine": f.value, "low": f.low, "high": f.high} | counts | {"note": note}
        for layer, f in zip(axis.site.layers, found, strict=True)
    ]
    return pd.DataFrame(records)


def _weighted(acts: Activations, weights: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    values, roles = acts.values.double().numpy(), acts.rows["role"].to_numpy()
    for role in pd.unique(roles):
        w = np.where(roles == role, weights, 0.0)
        if w.any():
            yield str(role), np.tensordot(w / w.sum(), values, axes=1)
