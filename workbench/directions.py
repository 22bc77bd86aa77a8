"""Directions: one vector per layer with its sign spelled out; contrast, algebra, cosine, files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import SupportsInt

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .activations import Activations, Site, as_layers
from .conversations import DEFAULT_ROLE
from .errors import DataError
from .tensorfile import read_tensor_file, write_tensor_file


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in the residual stream, one vector per layer.

    Attributes
    ----------
    values
        Float[Tensor, "layer d_model"], float32; the length carries meaning (a contrast's size).
    site
        Where it was taken.
    name
        Short name, e.g. ``"assistant axis"``.
    toward
        What the ``+`` end means, e.g. ``"default (away from 48 roles)"``.
    made_from
        How it came about: counts, method, whether it crossed models.
    """

    values: Float[Tensor, "layer d_model"]
    site: Site
    name: str
    toward: str
    made_from: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != (len(self.site.layers), self.site.d_model):
            raise DataError(
                f"direction {self.name!r}: a tensor of shape {tuple(self.values.shape)} does not fit "
                f"{len(self.site.layers)} layers of width {self.site.d_model}"
            )
        if not torch.isfinite(self.values).all():
            raise DataError(f"direction {self.name!r} holds values that are not finite")

    def __repr__(self) -> str:
        layers = self.site.layers
        return f"Direction({self.name!r}, + is {self.toward}, layers {layers[0]}-{layers[-1]}, {self.site.model})"

    # -- algebra: same weights, hook and layers ----------------------------------------------------
    def __add__(self, other: Direction) -> Direction:
        self._check_same(other, "add")
        return self._new(self.values + other.values, f"{self.name} + {other.name}", f"{self.toward} + {other.toward}")

    def __sub__(self, other: Direction) -> Direction:
        self._check_same(other, "subtract")
        return self._new(self.values - other.values, f"{self.name} - {other.name}", f"{self.toward} - {other.toward}")

    def __mul__(self, factor: float) -> Direction:
        toward = self.toward if factor >= 0 else f"away from {self.toward}"
        return self._new(self.values * factor, f"{factor:g} * {self.name}", toward)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Direction:
        if divisor == 0:
            raise DataError(f"direction {self.name!r} divided by zero")
        return self * (1 / divisor)

    def __neg__(self) -> Direction:
        return self._new(-self.values, f"-{self.name}", f"away from {self.toward}")

    def unit(self) -> Direction:
        """The same direction with length 1 at every layer; a zero vector is an error."""
        norms = self.norms()
        if (norms == 0).any():
            zero = [layer for layer, norm in zip(self.site.layers, norms.tolist(), strict=True) if norm == 0]
            raise DataError(f"direction {self.name!r} is zero at layer {zero[0]}: it points nowhere")
        return replace(self, values=self.values / norms[:, None])

    def at(self, layers: SupportsInt | Iterable[SupportsInt]) -> Direction:
        """The direction at fewer layers, in the order asked for."""
        layers = as_layers(layers)
        return replace(self, values=self.values[[self.site.index(n) for n in layers]], site=self.site.with_layers(layers))

    # -- numbers -----------------------------------------------------------------------------------
    def norms(self) -> Float[Tensor, " layer"]:
        """Euclidean length at each layer, in units of the residual stream."""
        return torch.linalg.vector_norm(self.values.double(), dim=-1).float()

    def cosine(self, other: Direction, across_models: bool = False) -> Float[Tensor, " layer"]:
        """Cosine with another direction at each layer that both have.

        Parameters
        ----------
        across_models
            Allow other weights of equal width (base and chat model, fine-tunes).
        """
        if self.site.d_model != other.site.d_model:
            raise DataError(f"cosine of directions of width {self.site.d_model} and {other.site.d_model}")
        if not across_models:
            self._check_same(replace(other, site=other.site.with_layers(self.site.layers), values=self.values), "compare")
        shared = [layer for layer in self.site.layers if layer in other.site.layers]
        if not shared:
            raise DataError(f"no layer in common: {list(self.site.layers)} and {list(other.site.layers)}")
        return (self.at(shared).unit().values.double() * other.at(shared).unit().values.double()).sum(-1).float()

    def check_use(self, site: Site, transfer: bool = False) -> None:
        """Refuse a direction at a site it was not taken from, unless `transfer` is set (then only width counts)."""
        if self.site.d_model != site.d_model:
            raise DataError(f"direction {self.name!r} has width {self.site.d_model}, the model {site.model} has {site.d_model}")
        wrong = self.site.with_layers(site.layers).differences(site)
        if wrong and not transfer:
            raise DataError(
                f"direction {self.name!r} was taken elsewhere: {'; '.join(wrong)} (allow it with across_models=True or transfer=True)"
            )
        if self.site.versions != site.versions and self.site.versions and site.versions and not wrong:
            changed = sorted(k for k in {*self.site.versions, *site.versions} if self.site.versions.get(k) != site.versions.get(k))
            warnings.warn(f"direction {self.name!r} was taken with other versions of {', '.join(changed)}", stacklevel=3)

    # -- files -------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> Path:
        """Write a safetensors file whose header carries site, sign and origin."""
        header = {"name": self.name, "toward": self.toward, "site": self.site.to_dict(), "made_from": self.made_from}
        return write_tensor_file(path, "direction", self.values, header)

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read a file written by :meth:`save`; other files are refused."""
        values, header = read_tensor_file(path, "direction")
        return cls(values, Site.from_dict(header["site"]), header["name"], header["toward"], header["made_from"])

    def _new(self, values: Tensor, name: str, toward: str) -> Direction:
        return replace(self, values=values, name=name, toward=toward)

    def _check_same(self, other: Direction, verb: str) -> None:
        if wrong := self.site.differences(other.site):
            raise DataError(f"cannot {verb} {self.name!r} and {other.name!r}: different {'; '.join(wrong)}")


def contrast(
    vectors: Activations, positive: str = DEFAULT_ROLE, negative: Sequence[str] | None = None, name: str = "assistant axis"
) -> Direction:
    """The mean of the positive rows minus the mean over the other roles' vectors, at every layer.

    With ``positive="default"`` this is the paper's Assistant Axis: + points to the Assistant.

    Parameters
    ----------
    vectors
        Role vectors (a row a role, column ``role``), or response rows: rows of one role are averaged first, so
        that every role counts once.
    positive
        The role at the + end.
    negative
        The roles at the - end; all others where None.

    Returns
    -------
    Direction
        Not normalised: its length is the distance between the two means.

    Raises
    ------
    DataError
        Where an end has no rows.
    """
    means = vectors if "n" in vectors.rows and vectors.rows["role"].is_unique else vectors.mean("role")
    roles = means.rows["role"]
    plus = np.flatnonzero(roles == positive)
    minus = np.flatnonzero((roles != positive) if negative is None else roles.isin(list(negative)))
    if not len(plus) or not len(minus):
        end = repr(positive) if not len(plus) else "the other end"
        raise DataError(f"no vectors of {end} to contrast: there are {', '.join(map(str, roles[:8]))}")
    values = means.values[plus].double().mean(0) - means.values[minus].double().mean(0)
    made_from = {"method": "contrast", "positive": positive, "n_negative": len(minus)}
    return Direction(values.float(), means.site, name, f"{positive} (away from the mean of {len(minus)} roles)", made_from)


def role_vectors(acts: Activations, keep: str = "fully", min_count: int = 10) -> Activations:
    """Average responses to one vector a role.

    Parameters
    ----------
    acts
        Response means with columns ``role`` and (for ``keep`` other than ``"all"``) ``label``.
    keep
        ``"fully"`` (label 3), ``"somewhat"`` (2), ``"both"`` (2 and 3) or ``"all"`` (no judge). The default role
        is never filtered by label.
    min_count
        Roles with fewer kept responses are left out.

    Returns
    -------
    Activations
        A row a role with columns ``role, label, n`` (``label`` is `keep`).

    Raises
    ------
    DataError
        Where labels are needed and missing, or no role has enough responses.
    """
    kept = acts.take(np.flatnonzero(responses_kept(acts.rows, keep)))
    means = kept.mean("role")
    counts = means.rows.loc[means.rows["role"] != DEFAULT_ROLE, "n"]
    if len(counts) and counts.max() < min_count:
        raise DataError(f"no role has {min_count} responses that can be kept ({keep}); the most is {counts.max()}: lower min_count")
    means = means.take(np.flatnonzero((means.rows["n"] >= min_count) | (means.rows["role"] == DEFAULT_ROLE)))
    return replace(means, rows=means.rows.assign(label=keep)[["role", "label", "n"]])


def responses_kept(rows: pd.DataFrame, keep: str = "fully") -> np.ndarray:
    """Which responses make role vectors: bool [row]; the default's always do.

    Parameters
    ----------
    rows, keep
        As in :func:`role_vectors`.

    Raises
    ------
    DataError
        Where labels are needed and missing, or `keep` is no such rule.
    """
    wanted = {"fully": [3], "somewhat": [2], "both": [2, 3], "all": None}
    if keep not in wanted:
        raise DataError(f"keep is one of {', '.join(wanted)}, not {keep!r}")
    labels = wanted[keep]
    if labels is None:
        return np.ones(len(rows), dtype=bool)
    if "label" not in rows or rows["label"].isna().all():
        raise DataError(f"keep={keep!r} needs labels, and these responses were not judged: use keep='all'")
    return (rows["label"].isin(labels) | (rows["role"] == DEFAULT_ROLE)).to_numpy(dtype=bool)
