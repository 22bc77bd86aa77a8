"""Interventions on the residual stream: pure functions from tensor to tensor, one vector and one number a layer.

Each moves a token along its layer's unit direction ``v`` by an amount that depends on nothing but the token's own
projection ``p = <h, v>``: :class:`Add` by a constant, :class:`Ablate` back to zero, :class:`Floor` up to a threshold,
:class:`Ceiling` down to one. Projections are float32 in any model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .activations import as_layers
from .directions import Direction
from .errors import DataError
from .thresholds import Norms, Threshold, check_layers, signature

POSITIONS = ("all", "prompt", "generated", "last", "content")
"""Where an intervention acts. ``generated``: the last prompt position and all after it (whence the answer is written);
``prompt``: all before that; ``last``: the last position of a pass; ``content``: all but special tokens and the first
position, the usual attention sink."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervention:
    """What all interventions share.

    Attributes
    ----------
    direction
        One vector a layer; only its direction counts (but for :class:`Add` without norms). + is ``direction.toward``.
    layers
        0-based blocks to act after; all of the direction's where None.
    positions
        One of :data:`POSITIONS`.
    transfer
        Allow a direction that was taken from other weights of the same width; recorded in :meth:`describe`.
    """

    direction: Direction
    layers: Sequence[int] | int | None = None
    positions: str = "all"
    transfer: bool = False

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise DataError(f"positions are one of {', '.join(POSITIONS)}, not {self.positions!r}")
        layers = self.direction.site.layers if self.layers is None else tuple(as_layers(self.layers))
        if not layers:
            raise DataError("an intervention needs at least one layer")
        check_layers(layers, self.direction.site.layers, f"direction {self.direction.name!r}")
        object.__setattr__(self, "layers", tuple(sorted(set(layers))))
        self.direction.at(self.at_layers).unit()  # a zero vector points nowhere: refused here, not in the middle of a run

    @property
    def at_layers(self) -> tuple[int, ...]:
        """The blocks that it acts after, ascending."""
        return tuple(as_layers(() if self.layers is None else self.layers))

    def __call__(
        self, h: Float[Tensor, "batch pos d_model"], layer: int, where: Bool[Tensor, "batch pos"] | None = None
    ) -> Float[Tensor, "batch pos d_model"]:
        """The changed residual stream; shape, dtype and device are kept.

        Parameters
        ----------
        h
            The residual stream after block `layer`.
        where
            The positions to act on; all where None.
        """
        return self.moved(h, layer, self.amounts(h, layer, where))

    def amounts(self, h: Tensor, layer: int, where: Tensor | None = None) -> Float[Tensor, "batch pos"]:
        """How far each token is moved along the unit direction, in units of the residual stream."""
        change = self._change(h.float() @ self.unit(layer, h.device), layer)
        return change if where is None else change.masked_fill(~where, 0.0)

    def moved(self, h: Tensor, layer: int, amounts: Tensor) -> Tensor:
        """`h` moved by `amounts` along this layer's unit direction."""
        return (h + amounts[..., None] * self.unit(layer, h.device)).to(h.dtype)

    def unit(self, layer: int, device: torch.device | str = "cpu") -> Float[Tensor, " d_model"]:
        """The unit vector at a layer, float32."""
        key = (layer, str(device))
        if key not in self._units:
            self._units[key] = self.direction.at(layer).unit().values[0].to(device, torch.float32)
        return self._units[key]

    @cached_property
    def _units(self) -> dict[tuple[int, str], Tensor]:
        return {}

    def _change(self, p: Tensor, layer: int) -> Tensor:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Plain values for files and tables: what acts, where, along what."""
        origin = {"direction_taken_from": self.direction.site.model} if self.transfer else {}
        return {
            "kind": type(self).__name__, "direction": self.direction.name, "toward": self.direction.toward,
            "layers": list(self.at_layers), "positions": self.positions, "transfer": self.transfer, **origin,
            "signature": {n: signature(self.direction, n) for n in self.at_layers},
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Add(Intervention):
    """Steer: add the same vector to every token (the paper's steering).

    Attributes
    ----------
    strength
        + moves towards ``direction.toward``. With `norms`: in fractions of the mean residual norm at the layer, and
        the direction's length does not matter. Without: in multiples of the direction's own vector.
    norms
        The unit of `strength`; see :func:`workbench.residual_norms`.
    """

    direction: Direction
    strength: float
    norms: Norms | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(self.strength)
        for layer in self.at_layers:  # a missing norm shows here, not in the middle of a run
            self.step(layer)

    def step(self, layer: int) -> float:
        """Length of what is added at a layer, with its sign, in units of the residual stream."""
        unit = self.norms.at(layer) if self.norms else float(self.direction.at(layer).norms()[0])
        return self.strength * unit

    def _change(self, p: Tensor, layer: int) -> Tensor:
        return torch.full_like(p, self.step(layer))

    def describe(self) -> dict[str, Any]:
        """As for every intervention, and strength with its unit."""
        unit = f"mean norm of {self.norms.of}" if self.norms else "the direction's own length"
        return super().describe() | {"strength": self.strength, "unit": unit, "steps": {n: self.step(n) for n in self.at_layers}}


@dataclass(frozen=True, eq=False)
class Ablate(Intervention):
    """Take the component along the direction away (strength 1), or a part of it."""

    direction: Direction
    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(self.strength)

    def _change(self, p: Tensor, layer: int) -> Tensor:
        return -self.strength * p

    def describe(self) -> dict[str, Any]:
        """As for every intervention, and strength."""
        return super().describe() | {"strength": self.strength}


def _finite(strength: float) -> None:
    if not math.isfinite(strength):
        raise DataError(f"a strength is a finite number, not {strength}")


@dataclass(frozen=True, eq=False)
class _Limit(Intervention):
    """A limit on the projection, one a layer."""

    direction: Direction
    at: Threshold | Mapping[int, float] | float

    _endless: ClassVar[float]
    """The level that would send every token to infinity."""

    def __post_init__(self) -> None:
        if not isinstance(self.at, (Threshold, Mapping)):
            try:
                object.__setattr__(self, "at", float(self.at))
            except (TypeError, ValueError) as error:
                raise DataError(f"a limit is a number, one a layer, or a Threshold, not a {type(self.at).__name__}") from error
        if self.layers is None and isinstance(self.at, (Threshold, Mapping)):
            given = self.at.layers if isinstance(self.at, Threshold) else tuple(self.at)
            object.__setattr__(self, "layers", given)
        super().__post_init__()
        if isinstance(self.at, Threshold):
            self.at.check_along(self.direction)
        check_layers(self.at_layers, tuple(self.levels), "the threshold")
        if wrong := [n for n in self.at_layers if math.isnan(self.levels[n]) or self.levels[n] == self._endless]:
            raise DataError(f"a {type(self).__name__} at {self.levels[wrong[0]]} (layer {wrong[0]}) is no limit")

    @cached_property
    def levels(self) -> dict[int, float]:
        """Layer -> the limit, in units of the residual stream along the unit direction."""
        if not isinstance(self.at, (Threshold, Mapping)):
            return dict.fromkeys(self.at_layers, float(self.at))
        return {int(n): float(v) for n, v in (self.at.levels if isinstance(self.at, Threshold) else self.at).items()}

    def describe(self) -> dict[str, Any]:
        """As for every intervention, with levels and, where there is one, the threshold."""
        known = {"threshold": self.at.to_dict()} if isinstance(self.at, Threshold) else {}
        return super().describe() | {"levels": {n: self.levels[n] for n in self.at_layers}} | known


@dataclass(frozen=True, eq=False)
class Floor(_Limit):
    """Keep the projection at or above a threshold: ``h + max(tau - <h, v>, 0) v`` (the paper's activation capping).

    Along the Assistant Axis this is the paper's cap: the model cannot leave the Assistant's side. Mind the sign trap
    that :mod:`workbench.thresholds` explains: the paper's "25th percentile" is ``q=75`` here, over all rollouts.
    """

    _endless: ClassVar[float] = math.inf

    def _change(self, p: Tensor, layer: int) -> Tensor:
        return (self.levels[layer] - p).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Ceiling(_Limit):
    """Keep the projection at or below a threshold; on the reversed direction this is a :class:`Floor`."""

    _endless: ClassVar[float] = -math.inf

    def _change(self, p: Tensor, layer: int) -> Tensor:
        return (self.levels[layer] - p).clamp(max=0)


cap = Floor
"""The paper's name for a floor along the Assistant Axis."""
