"""Thresholds: percentiles of projections that remember their set, their direction and their sign; and residual norms.

The sign trap. A cap keeps the projection on the Assistant Axis *above* a threshold. The paper's released code says the
same thing mirrored: a ceiling on vectors that point the other way (role - default), and its percentiles are those of
the projection on these reversed vectors. So its "25th percentile" over all rollouts is the **75th** percentile along
the Assistant Axis, with the sign turned: a published cap of -32.5 is a floor at +32.5. A floor at the 25th percentile
along the axis over all rollouts is far too weak. A :class:`Threshold` therefore carries its direction's signature, and
an intervention refuses one that was taken along another direction, or along the same one reversed (:meth:`Threshold.turned`
mends that).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
import pandas as pd
import torch

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .directions import Direction
from .errors import DataError

ROUNDING = 4e-3
"""Signatures of one direction agree within this, stored in bfloat16 too; those of two directions differ by about .7."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Projections of responses or tokens on a direction, and what they are.

    Attributes
    ----------
    values
        A row a response (or token), a column a layer; units of the residual stream, + as the direction says.
    rows
        At least ``role``, in the same order.
    statistic
        ``"response means"`` or ``"response tokens"``.
    direction
        What they were projected on.
    """

    values: pd.DataFrame
    rows: pd.DataFrame
    statistic: str
    direction: Direction

    def __post_init__(self) -> None:
        if len(self.values) != len(self.rows):
            raise DataError(f"{len(self.values)} projections but a table of {len(self.rows)} rows")


@dataclass(frozen=True)
class Threshold:
    """One number a layer, and everything needed to read it rightly.

    Attributes
    ----------
    levels
        Layer -> projection on the unit direction, in units of the residual stream.
    percentile
        0-100, counted from the direction's - end to its + end.
    direction, along
        Name of the direction, and what its + end means.
    over, n
        The set of responses in words, and its size.
    statistic
        ``"response means"`` or ``"response tokens"``.
    z
        Layer -> the level in standard deviations of default responses from their mean; empty where none were at hand.
        Unlike the levels it can be compared between models.
    signature
        Layer -> numbers by which the direction is recognised, its sign included.
    """

    levels: Mapping[int, float]
    percentile: float
    direction: str
    along: str
    over: str
    n: int
    statistic: str
    z: Mapping[int, float] = field(default_factory=dict)
    signature: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"percentile {self.percentile:g} of {self.n} {self.statistic} ({self.over}), along {self.direction}: + is {self.along}"

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have a level."""
        return tuple(self.levels)

    def turned(self) -> Threshold:
        """The same places named along the reversed direction: levels and z change sign, percentile p becomes 100 - p."""
        return replace(
            self,
            levels={n: -v for n, v in self.levels.items()},
            percentile=100 - self.percentile,
            direction=_reversed(self.direction, "-"),
            along=_reversed(self.along, "away from "),
            z={n: -v for n, v in self.z.items()},
            signature={n: tuple(-v for v in s) for n, s in self.signature.items()},
        )

    def check_along(self, direction: Direction) -> None:
        """Refuse a direction that this threshold was not taken along.

        Raises
        ------
        DataError
            Naming the reversed direction where it is that.
        """
        for layer, known in self.signature.items():
            if layer not in direction.site.layers:
                continue
            seen = signature(direction, layer)
            if np.allclose(seen, known, atol=ROUNDING):
                continue
            if np.allclose(seen, [-v for v in known], atol=ROUNDING):
                raise DataError(
                    f"this threshold was taken along {self.direction!r} (+ is {self.along}), which is {direction.name!r} reversed: "
                    "use threshold.turned()"
                )
            raise DataError(f"this threshold was taken along {self.direction!r}, which is another direction than {direction.name!r}")

    def to_frame(self) -> pd.DataFrame:
        """A row a layer: ``layer, level, z, percentile, along, over, n, statistic``."""
        records = [
            {"layer": n, "level": v, "z": self.z.get(n, math.nan), "percentile": self.percentile, "along": self.along,
             "over": self.over, "n": self.n, "statistic": self.statistic}
            for n, v in self.levels.items()
        ]  # fmt: skip
        return pd.DataFrame(records)

    def to_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Threshold:
        """The threshold of :meth:`to_dict` (JSON turns layers into text; they come back as numbers)."""
        if missing := [f.name for f in fields(cls)[:7] if f.name not in values]:
            raise DataError(f"a threshold needs the field {missing[0]!r}; there are {', '.join(map(str, values))}")
        if unknown := sorted(set(values) - {f.name for f in fields(cls)}):
            raise DataError(f"a threshold has no field {unknown[0]!r}")
        by_layer = {name: {int(n): v for n, v in values.get(name, {}).items()} for name in ("levels", "z", "signature")}
        by_layer["signature"] = {n: tuple(v) for n, v in by_layer["signature"].items()}
        return cls(**{**values, **by_layer})


def threshold(
    direction: Direction, responses: Activations | Scores, q: float, over: str = "", reference: Activations | Scores | None = None
) -> Threshold:
    """A percentile of the projections of a set of responses, at every layer (the paper's way to calibrate a cap; mind the sign).

    Parameters
    ----------
    direction
        Along which percentiles are counted: 0 is its - end, 100 its + end.
    responses
        The set: response means, e.g. ``acts.where("role == 'default'")``, or token scores.
    q
        Percentile, 0-100.
    over
        The set in words; said by what it holds where empty.
    reference
        Where to take default responses from for the z-scores; from `responses` where None.

    Returns
    -------
    Threshold

    Raises
    ------
    DataError
        For a percentile outside 0-100, an empty set, or values that are no numbers.

    Examples
    --------
    The paper's "25th percentile" for a floor along the Assistant Axis, and the floor that keeps all but the lowest
    quarter of *default* responses untouched::

        threshold(axis, acts, q=75)                               # over all rollouts
        threshold(axis, acts.where("role == 'default'"), q=25)
    """
    if not isinstance(direction, Direction) or not isinstance(responses, (Activations, Scores)):
        given = f"{type(direction).__name__} and {type(responses).__name__}"
        raise DataError(f"a threshold takes a Direction and responses' Activations (or Scores), in this order, not {given}")
    if not 0 <= q <= 100:
        raise DataError(f"a percentile lies between 0 and 100, not at {q}")
    scores = _scores(direction, responses)
    values = scores.values.to_numpy(float)
    if not len(values):
        raise DataError("an empty calibration set has no percentiles: no response was given")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).any(1).sum())} of {len(values)} projections are not numbers")
    layers = [int(n) for n in scores.values.columns]
    levels = np.percentile(values, q, axis=0)
    basis = scores if reference is None else _scores(direction, reference)
    named = "role" in basis.rows
    default = basis.values[(basis.rows["role"] == DEFAULT_ROLE).to_numpy()] if named else basis.values.iloc[:0]
    z = {}
    if len(default) >= 2:
        spread = {n: float(default[n].std()) for n in layers if n in default}
        z = {n: float(levels[i] - default[n].mean()) / spread[n] for i, n in enumerate(layers) if spread.get(n)}
    return Threshold(
        levels=dict(zip(layers, levels.tolist(), strict=True)), percentile=float(q), direction=direction.name, along=direction.toward,
        over=over or describe_set(scores.rows), n=len(values), statistic=scores.statistic, z=z,
        signature={n: signature(direction, n) for n in layers},
    )  # fmt: skip


def describe_set(rows: pd.DataFrame) -> str:
    """What a set of responses holds, in words: the default, roles, or both; and turns, where the table has them."""
    if "role" not in rows:
        return "what was given, of roles that are not said"
    roles = set(rows["role"])
    others = len(roles - {DEFAULT_ROLE})
    words = " and ".join(["default"] * (DEFAULT_ROLE in roles) + [f"{others} roles"] * (others > 0))
    if "turn" in rows and rows["turn"].notna().any():
        words += f", turns {int(rows['turn'].min())} to {int(rows['turn'].max())}"
    return words


def _scores(direction: Direction, responses: Activations | Scores) -> Scores:
    if isinstance(responses, Scores):
        if responses.direction is not direction and not _same(responses.direction, direction):
            raise DataError(f"these scores lie along {responses.direction.name!r}, not along {direction.name!r}")
        return responses
    statistic = "response tokens" if responses.site.pooling == "token" else "response means"
    return Scores(responses.project(direction), responses.rows, statistic, direction)


def _same(a: Direction, b: Direction) -> bool:
    return a.site.layers == b.site.layers and torch.equal(a.values, b.values)


def signature(direction: Direction, layer: int) -> tuple[float, ...]:
    """Three numbers that tell a unit vector from others and from its reverse, whatever its length was."""
    vector = direction.at(layer).unit().values[0].double()
    grid = torch.arange(1, len(vector) + 1, dtype=torch.float64)
    return tuple(round(float(vector @ torch.cos(grid * step)), 6) for step in (0.7, 1.9, 2.6))


def _reversed(text: str, mark: str) -> str:
    return text.removeprefix(mark) if text.startswith(mark) else mark + text


@dataclass(frozen=True)
class Norms:
    """Mean length of the residual stream at each layer: the unit of a steering strength.

    Attributes
    ----------
    by_layer
        Layer -> mean Euclidean length.
    of
        ``"response tokens"`` (the length of each token's vector, averaged) or ``"response means"`` (the length of each
        response's mean vector, which is shorter: 2 to 3.3 times on the embedded model). Special tokens are left out of both.
    n
        How many were averaged.
    """

    by_layer: Mapping[int, float]
    of: str
    n: int

    @classmethod
    def of_means(cls, acts: Activations) -> Norms:
        """The mean length of response means."""
        lengths = torch.linalg.vector_norm(acts.values.float(), dim=-1).mean(0)
        return cls(dict(zip(acts.site.layers, lengths.tolist(), strict=True)), "response means", len(acts))

    def at(self, layer: int) -> float:
        """The norm at a layer."""
        if layer not in self.by_layer:
            raise DataError(f"there is no norm of {self.of} at layer {layer}; there are layers {list(self.by_layer)}")
        return self.by_layer[layer]

    def to_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Norms:
        """The norms of :meth:`to_dict`."""
        return cls({int(n): v for n, v in values["by_layer"].items()}, values["of"], values["n"])


def check_layers(wanted: Sequence[int], known: Sequence[int], what: str) -> None:
    """Refuse layers that something does not have, by name."""
    if missing := [n for n in wanted if n not in known]:
        raise DataError(f"{what} has no layer {missing[0]}: it has {_ranges(known)}")


def _ranges(layers: Sequence[int]) -> str:
    layers = sorted(layers)
    if layers and layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"
    return f"layers {', '.join(map(str, layers))}" if layers else "none"
