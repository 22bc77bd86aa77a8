"""Controls: would any direction have done it? Random directions, splits of the roles, other components and traits,
each with the axis taken out, and floors along them matched to a cap in percentile, in share of changed tokens, or in dose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .directions import Direction
from .errors import DataError
from .interventions import Floor
from .models.extraction import Reading
from .models.hooked import HookedModel
from .models.measuring import Met, met_by
from .persona_space import PersonaSpace
from .thresholds import Scores, threshold

MATCHES = {
    "percentile": "the same percentile of the same responses",
    "share": "the same share of changed tokens",
    "dose": "the same mean |change| / |h|",
}


def isotropic(axis: Direction, n: int = 3, seed: int = 0) -> list[Direction]:
    """Random directions, the same at every layer (so that pushes add up, as those along the axis do)."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randn(axis.site.d_model, generator=generator) for _ in range(n)]
    return [_control(axis, v.expand(len(axis.site.layers), -1), f"random direction {i}", "isotropic") for i, v in enumerate(draws, 1)]


def role_splits(axis: Direction, vectors: Activations, n: int = 3, seed: int = 0) -> list[Direction]:
    """Differences between the means of two random halves of the roles: inside persona space, about nothing."""
    roles = _shared(vectors.where(f"role != '{DEFAULT_ROLE}'"), axis)
    rng = np.random.default_rng(seed)
    found = []
    for i in range(1, n + 1):
        order = torch.as_tensor(rng.permutation(len(roles)))
        half = len(roles) // 2
        values = roles.values[order[:half]].mean(0) - roles.values[order[half:]].mean(0)
        found.append(_control(axis, values, f"random split of roles {i}", "split of roles"))
    return found


def trait_directions(axis: Direction, vectors: Activations, traits: Mapping[str, Mapping[str, float]]) -> list[Direction]:
    """For each trait, the mean of the third of the roles that have most of it minus the third that have least.

    Parameters
    ----------
    traits
        Trait -> role -> how much of it.
    """
    found = []
    for name, by_role in traits.items():
        known = [r for r in vectors.rows["role"] if r in by_role]
        if len(known) < 6:
            raise DataError(f"the trait {name!r} is known of {len(known)} roles with a vector; a direction needs 6")
        order = sorted(known, key=lambda r: by_role[r])
        third = len(order) // 3
        ends = [_shared(vectors.where(f"role in {part}"), axis).values.mean(0) for part in (order[-third:], order[:third])]
        found.append(_control(axis, ends[0] - ends[1], f"trait {name}", "trait"))
    return found


def other_components(axis: Direction, vectors: Activations, numbers: Sequence[int] = (2, 3)) -> list[Direction]:
    """Components of persona space beyond the first, fitted at each layer and turned to agree between neighbours."""
    found = []
    for number in numbers:
        rows: list[torch.Tensor] = []
        for layer in axis.site.layers:
            row = PersonaSpace(layer).fit(vectors).component(number).values[0]
            rows.append(-row if rows and float(row @ rows[-1]) < 0 else row)
        found.append(_control(axis, torch.stack(rows), f"PC{number}", "component"))
    return found


def _shared(acts: Activations, axis: Direction) -> Activations:
    return acts.at(axis.site.layers)


def _control(axis: Direction, values: torch.Tensor, name: str, kind: str) -> Direction:
    """A control must not be the axis itself: the part along the axis is taken out at every layer, and its cosine noted."""
    unit = axis.unit().values.double()
    raw = values.double()
    along = (raw * unit).sum(-1, keepdim=True)
    rest = raw - along * unit
    if (torch.linalg.vector_norm(rest, dim=-1) < 1e-4 * torch.linalg.vector_norm(raw, dim=-1)).any():
        raise DataError(f"{name} is the axis itself at some layer: nothing is left of it for a control")
    cosines = (along[:, 0] / torch.linalg.vector_norm(raw, dim=-1)).tolist()
    made_from = {"method": f"control: {kind}", "kind": kind, "cosine_before_the_axis_was_taken_out": [round(c, 4) for c in cosines]}
    return replace(axis, values=rest.float(), name=name, toward=f"one end of {name}", made_from=made_from)


@dataclass(frozen=True)
class Target:
    """What a control has to match at one layer, measured on the cap over all real tokens."""

    share: float
    dose: float


def matched_floor(
    model: HookedModel, control: Direction, cap: Floor, match: str, readings: Sequence[Reading], wanted: Mapping[int, Target],
    responses: Activations | Scores | None = None,
) -> Floor:  # fmt: skip
    """A floor along a control that matches a cap, layer by layer with the earlier layers' floors in place.

    Parameters
    ----------
    match
        One of :data:`MATCHES`.
    readings
        Whole texts (prompt and answer) to match on: those that the cap, or this control, wrote.
    wanted
        What the cap did at each of its layers on such texts.
    responses
        For ``"percentile"``: the set that the cap's threshold was taken over.

    Raises
    ------
    DataError
        For an unknown way to match, or where its set is missing.
    """
    if match not in MATCHES:
        raise DataError(f"controls are matched by {', '.join(MATCHES)}, not by {match!r}")
    if match == "percentile":
        if responses is None or not hasattr(cap.at, "percentile"):
            raise DataError("to match a percentile, the cap's threshold must be one, and its set of responses be given")
        return Floor(control, threshold(control, responses, cap.at.percentile), layers=cap.layers, positions=cap.positions)  # type: ignore[union-attr]
    levels: dict[int, float] = {}
    for layer in cap.at_layers:
        with model.intervene(Floor(control, dict(levels), positions=cap.positions)) if levels else nullcontext():
            met = met_by(model, readings, Floor(control, -np.inf, layers=[layer], positions=cap.positions), layer)
        levels[layer] = _level_for(met, match, wanted[layer])
    return Floor(control, levels, positions=cap.positions)


def _level_for(met: Met, match: str, wanted: Target) -> float:
    """The level at which the share of changed tokens, or the dose, over all real tokens is what is wanted."""
    p, length, n = met.p[met.within].astype(float), met.length[met.within].astype(float), len(met.p)
    if not len(p):
        raise DataError("there is no token to act on at this layer")
    if match == "share":
        return float(np.quantile(p, min(1.0, wanted.share * n / len(p))))
    low, high = float(p.min()), float(p.max() + 2 * length.max())
    for _ in range(60):
        middle = (low + high) / 2
        dose = float((np.clip(middle - p, 0, None) / length).sum() / n)
        low, high = (middle, high) if dose < wanted.dose else (low, middle)
    return (low + high) / 2
