"""Numbers about single tokens: how long the residual stream is, where it lies on a direction, what a cap would meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..activations import as_layers
from ..directions import Direction
from ..errors import DataError
from ..frames import answered
from ..interventions import Intervention
from ..thresholds import Norms, Scores, check_layers
from .extraction import HEAVY, Reading, batched, readings_of
from .hooked import Hook, HookedModel
from .positions import Tracker


def residual_norms(model: HookedModel, rollouts: pd.DataFrame, layers: Sequence[int] | None = None) -> Norms:
    """Mean length of the residual stream over response tokens, at every layer: the unit of a steering strength.

    Parameters
    ----------
    rollouts
        Responses as for :func:`workbench.extract`; special tokens are left out.

    Returns
    -------
    Norms
        ``of="response tokens"``. Position 0 and special tokens, whose norms are several times larger, take no part.
    """
    readings = readings_of(model, _usable(rollouts))
    chosen = model.layers if layers is None else tuple(as_layers(layers))
    check_layers(chosen, model.layers, model.name)
    sums, counts = dict.fromkeys(chosen, 0.0), 0

    def measure(layer: int, inside: Tensor) -> Hook:
        def hook(residual: Tensor, hook: Any) -> None:
            lengths = torch.linalg.vector_norm(residual, dim=-1, dtype=torch.float32).cpu()
            sums[layer] += float(lengths[inside].double().sum())

        return hook

    for batch in batched(model, readings):
        inside = batch.inside()
        batch.run(model, [(model.resid_post(layer), measure(layer, inside)) for layer in chosen])
        counts += int(inside.sum())
    return Norms({layer: total / counts for layer, total in sums.items()}, "response tokens", counts)


def token_scores(model: HookedModel, rollouts: pd.DataFrame, direction: Direction, transfer: bool = False) -> Scores:
    """Projection of every response token on the unit direction, at its layers.

    Parameters
    ----------
    rollouts
        Responses as for :func:`workbench.extract`.
    direction
        + as the direction says.
    transfer
        Allow a direction of other weights.

    Returns
    -------
    Scores
        A row a token with the columns of its response (``row``, ``role``, ...), for :func:`workbench.threshold`.
    """
    rows = _usable(rollouts)
    layers = direction.site.layers
    direction.check_use(model.bare_site(layers), transfer)
    readings = readings_of(model, rows)
    kept: dict[int, list[np.ndarray]] = {layer: [] for layer in layers}
    owners: list[np.ndarray] = []

    def project(layer: int, inside: Tensor) -> Hook:
        unit = direction.at(layer).unit().values[0]

        def hook(residual: Tensor, hook: Any) -> None:
            kept[layer].append((residual.float() @ unit.to(residual.device)).cpu()[inside].numpy())

        return hook

    for batch in batched(model, readings):
        inside = batch.inside()
        batch.run(model, [(model.resid_post(layer), project(layer, inside)) for layer in layers])
        owners.append(np.asarray(batch.index)[inside.nonzero()[:, 0].numpy()])
    owner = np.concatenate(owners)
    table = rows.iloc[owner].drop(columns=[c for c in HEAVY if c in rows]).reset_index(drop=True)
    return Scores(pd.DataFrame({layer: np.concatenate(kept[layer]) for layer in layers}), table, "response tokens", direction)


@dataclass(frozen=True, eq=False)
class Met:
    """What an intervention would meet at one layer, a number a real token (prompts and answers).

    Attributes
    ----------
    p
        Projection on the unit direction.
    length
        Length of the residual stream.
    within
        Whether the intervention acts there.
    """

    p: np.ndarray
    length: np.ndarray
    within: np.ndarray


def met_by(model: HookedModel, readings: Sequence[Reading], intervention: Intervention, layer: int) -> Met:
    """Projections, lengths and positions that an intervention meets at a layer, over whole texts.

    Interventions that are attached already act first, so that a cap can be matched layer by layer.
    """
    tracker = Tracker(model.special_ids, model.stop_ids)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def look(residual: Tensor, hook: Any) -> None:
        real = tracker.current.counted.to(residual.device)
        where = tracker.current.where(intervention.positions)
        p = residual.float() @ intervention.unit(layer, residual.device)
        length = torch.linalg.vector_norm(residual, dim=-1, dtype=torch.float32)
        within = real if where is None else real & where.to(residual.device)
        found.append((p[real].cpu().numpy(), length[real].cpu().numpy(), within[real].cpu().numpy()))

    with model.followed_by(tracker):
        for batch in batched(model, readings):
            batch.run(model, [(model.resid_post(layer), look)])
    if not found:
        raise DataError("there is no text to measure on")
    return Met(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _usable(rollouts: pd.DataFrame) -> pd.DataFrame:
    rows = answered(rollouts)
    if rows.empty:
        raise DataError("there are no usable responses to measure on")
    return rows.reset_index(drop=True)
