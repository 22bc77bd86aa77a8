"""Activations: a tensor [row, layer, d_model] with the table of its rows and the site it was taken at."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, SupportsInt

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError

if TYPE_CHECKING:
    from .directions import Direction


def as_layers(layers: SupportsInt | Iterable[SupportsInt]) -> list[int]:
    """One block or several as a list of plain integers, whatever kind of number a table holds them as."""
    asked = list(layers) if isinstance(layers, Iterable) else [layers]
    for layer in asked:
        if isinstance(layer, str) or int(layer) != layer:
            raise DataError(f"a layer is a whole number, not {layer!r}")
    return [int(layer) for layer in asked]


@dataclass(frozen=True)
class Site:
    """Where and how activations were read: all that must agree before two of them are compared.

    Attributes
    ----------
    model, revision, weights
        Name of the model, its revision, and a fingerprint of its weights.
    hook
        ``"resid_post"``: the residual stream after a 0-based block's MLP.
    layers
        The blocks, in the order of the tensor's layer axis.
    d_model
        Width of the residual stream.
    template
        Fingerprint of the chat template; empty for plain text.
    system
        ``"native"`` where the template has a system role, ``"folded"`` where the prompt went into the first user turn.
    thinking
        Whether reasoning was switched on (its text is never part of a response).
    pooling
        What one row is, e.g. ``"mean over response tokens"``.
    dtype
        The model's number format.
    versions
        Library versions; a difference only warns.
    """

    model: str
    layers: tuple[int, ...]
    d_model: int
    revision: str = ""
    weights: str = ""
    hook: str = "resid_post"
    template: str = ""
    system: str = "native"
    thinking: bool = False
    pooling: str = "mean over response tokens"
    dtype: str = "float32"
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The site as plain values for a file's header."""
        return {**asdict(self), "layers": list(self.layers), "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, values: dict) -> Site:
        """The site of :meth:`to_dict`; names unknown to this version are dropped with a warning."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            warnings.warn(f"this file's site has parts unknown to this version: {', '.join(unknown)}", stacklevel=2)
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "layers": tuple(kept["layers"])})

    def with_layers(self, layers: Sequence[int]) -> Site:
        """The same site at other layers."""
        return replace(self, layers=tuple(as_layers(layers)))

    def differences(self, other: Site) -> list[str]:
        """What forbids arithmetic between the two: weights, hook, layers or width that differ, in words."""
        pairs = {
            "model weights": (self.weights or self.model, other.weights or other.model),
            "hook": (self.hook, other.hook),
            "layers": (self.layers, other.layers),
            "width": (self.d_model, other.d_model),
        }
        return [f"{name} {a!r} and {b!r}" for name, (a, b) in pairs.items() if a != b]

    def index(self, layer: int) -> int:
        """Position of a block on the layer axis."""
        if layer not in self.layers:
            raise DataError(f"layer {layer} is not among the layers {list(self.layers)} of {self.model}")
        return self.layers.index(layer)


@dataclass(frozen=True, eq=False)
class Activations:
    """Vectors of rows at layers.

    Attributes
    ----------
    values
        Float[Tensor, "row layer d_model"], float32.
    rows
        One record a row (``role``, ``label``, ``question_index``, ...), in the tensor's order.
    site
        Where they were taken.
    """

    values: Float[Tensor, "row layer d_model"]
    rows: pd.DataFrame
    site: Site

    def __post_init__(self) -> None:
        n_rows, n_layers, d_model = self.values.shape
        if n_rows != len(self.rows):
            raise DataError(f"{n_rows} vectors but a table of {len(self.rows)} rows")
        if n_layers != len(self.site.layers) or d_model != self.site.d_model:
            raise DataError(
                f"a tensor of {n_layers} layers and width {d_model} does not fit a site of "
                f"{len(self.site.layers)} layers and width {self.site.d_model}"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        columns = ", ".join(map(str, self.rows.columns[:6]))
        return f"Activations({len(self)} rows x {len(self.site.layers)} layers x {self.site.d_model}, {self.site.model}; {columns})"

    def where(self, query: str) -> Activations:
        """The rows for which a pandas query holds, e.g. ``"role == 'default'"``."""
        kept = self.rows.reset_index(drop=True).query(query, engine="python").index
        return self.take(kept.to_numpy())

    def take(self, positions: Sequence[int] | Sequence[bool] | np.ndarray | pd.Series) -> Activations:
        """Rows by position, or those where an array of booleans is true.

        Raises
        ------
        DataError
            Where there are not as many booleans as rows.
        """
        asked = np.asarray(positions)
        if asked.dtype == bool:
            if len(asked) != len(self):
                raise DataError(f"{len(asked)} booleans do not say which of {len(self)} rows to take")
            asked = np.flatnonzero(asked)
        index = torch.tensor(list(map(int, asked)), dtype=torch.long)
        return Activations(self.values[index], self.rows.iloc[index.tolist()].reset_index(drop=True), self.site)

    def at(self, layers: SupportsInt | Iterable[SupportsInt]) -> Activations:
        """The same rows at fewer layers."""
        layers = as_layers(layers)
        index = [self.site.index(layer) for layer in layers]
        return Activations(self.values[:, index], self.rows, self.site.with_layers(layers))

    def mean(self, by: str | Sequence[str]) -> Activations:
        """Average rows that agree in `by`, in order of first appearance; column ``n`` counts them.

        Rows that are themselves averages (they have a column ``n``) count ``n`` times; an error where that is never.
        """
        by = [by] if isinstance(by, str) else list(by)
        if missing := [name for name in by if name not in self.rows]:
            raise DataError(f"no column {', '.join(missing)} to average by; there are {', '.join(map(str, self.rows.columns))}")
        rows = self.rows.reset_index(drop=True)
        weights = torch.tensor(rows["n"].to_numpy(float) if "n" in rows else [1.0] * len(rows), dtype=torch.float64)
        groups = rows.groupby(by, sort=False, dropna=False)
        number = torch.tensor(groups.ngroup().to_numpy().copy(), dtype=torch.long)
        totals = torch.zeros(groups.ngroups, dtype=torch.float64).index_add_(0, number, weights)
        sums = torch.zeros(groups.ngroups, *self.values.shape[1:], dtype=torch.float64)
        sums.index_add_(0, number, self.values.double() * weights[:, None, None])
        if (totals <= 0).any():
            raise DataError("rows that count 0 times (column 'n') have no average")
        table = rows[by].drop_duplicates().reset_index(drop=True).assign(n=totals.round().long().tolist())
        return Activations((sums / totals[:, None, None]).float(), table, self.site)

    def project(self, direction: Direction, across_models: bool = False) -> pd.DataFrame:
        """Scalar projections on the unit direction: a column per layer, a row per row.

        Parameters
        ----------
        direction
            Read at every layer that both have; ``+`` means towards ``direction.toward``.
        across_models
            Allow a direction taken from other weights of equal width.

        Returns
        -------
        DataFrame
            Columns are layer numbers; units are those of the residual stream.
        """
        direction.check_use(self.site, transfer=across_models)
        shared = [layer for layer in self.site.layers if layer in direction.site.layers]
        if not shared:
            raise DataError(f"the direction has layers {list(direction.site.layers)}, the activations {list(self.site.layers)}")
        unit = direction.at(shared).unit().values.float()
        scores = torch.einsum("rld,ld->rl", self.at(shared).values.float(), unit)
        return pd.DataFrame(scores.numpy(), columns=shared, index=self.rows.index)
