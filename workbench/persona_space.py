"""Persona space: the principal components of role vectors at one layer (the paper's persona space)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from .activations import Activations, as_layers
from .conversations import DEFAULT_ROLE
from .directions import Direction
from .errors import DataError

MIN_DRAWS = 50
"""Permutations of which a 95th percentile can be read."""


class PersonaSpace:
    """PCA of role vectors: centred, not scaled; the default never takes part in the fit, it is projected.

    Parameters
    ----------
    layer
        0-based block.
    standardise
        Divide each dimension by its standard deviation over roles first (for models with a few massive
        dimensions). Off, as in the paper.
    n_components
        How many to keep; all (roles - 1) where None.

    Attributes
    ----------
    components_
        ndarray [component, d_model], unit rows. Sign rule: the first points to the side on which the default lies
        (where the vectors hold one); every other one, and the first without a default, so that the role with the
        largest absolute score has a positive one.
    mean_
        ndarray [d_model], the mean of the roles.
    scale_
        ndarray [d_model], ones unless standardised.
    explained_variance_ratio_
        ndarray [component].
    roles_
        Names of the roles of the fit.
    """

    def __init__(self, layer: int, *, standardise: bool = False, n_components: int | None = None) -> None:
        [self.layer] = as_layers(layer)
        if n_components is not None and (
            isinstance(n_components, bool) or not isinstance(n_components, (int, np.integer)) or n_components < 1
        ):
            raise DataError(f"a persona space keeps a whole number of components, 1 or more, or all (None); not {n_components!r}")
        self.standardise, self.n_components = standardise, n_components

    def __repr__(self) -> str:
        fitted = f", {len(self.roles_)} roles, PC1 {self.explained_variance_ratio_[0]:.0%}" if hasattr(self, "roles_") else ""
        return f"PersonaSpace(layer={self.layer}, standardise={self.standardise}{fitted})"

    def fit(self, vectors: Activations) -> PersonaSpace:
        """Fit on role vectors (a row a role; the default among them is left out).

        Raises
        ------
        DataError
            With fewer than three roles, or several rows of one role.
        """
        roles = _names(vectors)
        matrix = self._matrix(vectors)
        kept = roles != DEFAULT_ROLE
        if repeated := sorted({name for name in roles if (roles == name).sum() > 1}):
            raise DataError(f"role {repeated[0]!r} has several rows: average them first, with role_vectors() or mean('role')")
        if kept.sum() < 3:
            raise DataError(f"a persona space needs at least 3 roles; there are {int(kept.sum())}")
        self.vectors_ = vectors
        self.site_ = vectors.site.with_layers([self.layer])
        self.roles_ = list(roles[kept])
        self.scale_ = np.ones(matrix.shape[1])
        if self.standardise:
            spread = matrix[kept].std(0)
            self.scale_ = np.where(spread > 0, spread, 1.0)
        scaled = matrix / self.scale_
        most = min(int(kept.sum()) - 1, matrix.shape[1])
        pca = PCA(most if self.n_components is None else min(int(self.n_components), most), svd_solver="full").fit(scaled[kept])
        self.mean_ = pca.mean_
        self.explained_variance_ratio_ = pca.explained_variance_ratio_
        self.components_ = pca.components_ * self._signs(pca.transform(scaled), kept)[:, None]
        return self

    def _signs(self, scores: np.ndarray, kept: np.ndarray) -> np.ndarray:
        fitted = scores[kept]
        largest = fitted[np.abs(fitted).argmax(0), np.arange(fitted.shape[1])]
        signs = np.where(largest < 0, -1.0, 1.0)
        if not kept.all():
            signs[0] = -1.0 if scores[~kept][0, 0] < 0 else 1.0
        return signs

    def transform(self, acts: Activations) -> np.ndarray:
        """Scores [row, component] of any rows, in units of the residual stream (of deviations where standardised)."""
        self._check(acts)
        return (self._matrix(acts) / self.scale_ - self.mean_) @ self.components_.T

    def loadings(self, vectors: Activations | None = None) -> pd.DataFrame:
        """Cosine of each role's centred vector with each component, as in the paper: a row a role, columns ``pc1, pc2, ...``.

        Parameters
        ----------
        vectors
            Role vectors, the default among them or not; those given to :meth:`fit` where None.
        """
        vectors = self._remembered(vectors)
        centred = self._matrix(vectors) / self.scale_ - self.mean_
        cosines = self.transform(vectors) / np.linalg.norm(centred, axis=1, keepdims=True)
        return pd.DataFrame(cosines, index=pd.Index(_names(vectors), name="role"), columns=_pc_names(cosines.shape[1]))

    def component(self, i: int) -> Direction:
        """Component PC`i` (1-based, as it is called) as a Direction at this layer, unit length."""
        self._check_fitted()
        if not 1 <= i <= len(self.components_):
            raise DataError(f"there is no component {i}: this space has components 1 to {len(self.components_)}")
        if self.standardise:
            raise DataError("a component of a standardised space lives in scaled coordinates and is no direction of the residual stream")
        values = torch.tensor(self.components_[i - 1 : i], dtype=torch.float32)
        end = "the default's side" if i == 1 else "the side of the most extreme role"
        return Direction(values, self.site_, f"PC{i}", end, {"method": "PCA of role vectors", "n_roles": len(self.roles_)})

    def n_components_for(self, share: float) -> int:
        """How many components reach this share of the variance between roles.

        Raises
        ------
        DataError
            Where those that were fitted do not.
        """
        self._check_fitted()
        reached = np.cumsum(self.explained_variance_ratio_)
        if share - 1e-9 > reached[-1]:
            raise DataError(f"the {len(reached)} components of this space hold {reached[-1]:.0%} of the variance, not {share:.0%}")
        return int(np.searchsorted(reached, share - 1e-9) + 1)

    def scree(self, null: int = 0, seed: int = 0) -> pd.DataFrame:
        """Share of the variance between roles that each component holds, and what components of unrelated dimensions would hold.

        Parameters
        ----------
        null
            So many times (at least 50) every dimension's values are dealt anew to the roles, each dimension by itself: its variance
            stays, what it shares with other dimensions goes (parallel analysis; Horn 1965, by permutation Buja and Eyuboglu 1992).
            Ranks are compared with ranks, so that a single massive dimension that comes late in the data may pass. 0 leaves it out.
        seed
            Of the permutations.

        Returns
        -------
        DataFrame
            ``component`` (1-based), ``share``, ``cumulative``; with a `null`, ``null_high``: the share that the component of the same
            rank exceeds in one of twenty permutations. ``attrs``: ``model, layer``.

        Raises
        ------
        DataError
            With 1 to 49 permutations, of which no 95th percentile can be read.
        """
        self._check_fitted()
        shares = self.explained_variance_ratio_
        frame = pd.DataFrame({"component": np.arange(1, len(shares) + 1), "share": shares, "cumulative": np.cumsum(shares)})
        if null:
            frame["null_high"] = np.percentile(self._null_shares(null, seed), 95, axis=0)
        frame.attrs = {"layer": self.layer, "model": self.site_.model}
        return frame

    def _null_shares(self, draws: int, seed: int) -> np.ndarray:
        """Shares of variance [draw, component] of permuted roles, from the Gram matrix over roles: it is small however wide the model."""
        if draws < MIN_DRAWS:
            raise DataError(f"a null takes at least {MIN_DRAWS} permutations, or 0 for none; {draws} were asked for")
        kept = _names(self.vectors_) != DEFAULT_ROLE
        by_dimension = np.ascontiguousarray((self._matrix(self.vectors_)[kept] / self.scale_ - self.mean_).T)  # [d_model, role]
        rng, n = np.random.default_rng(seed), len(self.explained_variance_ratio_)
        found = np.empty((draws, n))
        for draw in range(draws):
            dealt = rng.permuted(by_dimension, axis=1)
            found[draw] = np.linalg.eigvalsh(dealt.T @ dealt)[::-1][:n]
        return found.clip(min=0) / (by_dimension**2).sum()  # a permutation leaves the total as it is

    def to_frame(self, axis: Direction | None = None, vectors: Activations | None = None, n: int = 6) -> pd.DataFrame:
        """A row a role for figures: ``role, is_default, n, pc1 ... pcN`` (scores) and ``projection`` on `axis`."""
        vectors = self._remembered(vectors)
        scores = self.transform(vectors)[:, :n]
        frame = vectors.rows.reset_index(drop=True).copy()
        frame["is_default"] = _names(vectors) == DEFAULT_ROLE
        frame[_pc_names(scores.shape[1])] = scores
        if axis is not None:
            frame["projection"] = vectors.project(axis)[self.layer].to_numpy()
            frame.attrs["toward"] = axis.toward
        frame.attrs |= {"layer": self.layer, "model": self.site_.model, "explained": self.explained_variance_ratio_[:n].tolist()}
        return frame

    def stability(self, vectors: Activations) -> pd.DataFrame:
        """Leave one role out: columns ``role, cosine_pc1`` (cosine of PC1 without the role with PC1)."""
        self._check(vectors)
        names = _names(vectors)
        rows = []
        for role in self.roles_:
            kept = vectors.take(np.flatnonzero(names != role))
            other = PersonaSpace(self.layer, standardise=self.standardise, n_components=1).fit(kept)
            rows.append({"role": role, "cosine_pc1": float(abs(other.components_[0] @ self.components_[0]))})
        return pd.DataFrame(rows)

    def cosines(self, vectors: Activations) -> pd.DataFrame:
        """Cosines between centred role vectors, from the highest score on PC1 to the lowest; ``attrs``: ``model, layer, order``."""
        self._check(vectors)
        centred = self._matrix(vectors) / self.scale_ - self.mean_
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        order = np.argsort(-self.transform(vectors)[:, 0])
        names = _names(vectors)[order]
        frame = pd.DataFrame((unit @ unit.T)[np.ix_(order, order)], index=names, columns=names)
        frame.attrs = {"layer": self.layer, "model": self.site_.model, "order": "PC1"}
        return frame

    def _remembered(self, vectors: Activations | None) -> Activations:
        self._check_fitted()
        return self.vectors_ if vectors is None else vectors

    def _check_fitted(self) -> None:
        if not hasattr(self, "components_"):
            raise DataError("this persona space holds nothing yet: fit it to role vectors first, with fit()")

    def _matrix(self, acts: Activations) -> np.ndarray:
        return acts.at(self.layer).values[:, 0].double().numpy()

    def _check(self, acts: Activations) -> None:
        self._check_fitted()
        if wrong := acts.site.with_layers([self.layer]).differences(self.site_):
            raise DataError(f"these activations were taken elsewhere than the persona space: {'; '.join(wrong)}")


def _names(acts: Activations) -> np.ndarray:
    return acts.rows["role"].astype(str).to_numpy()


def _pc_names(n: int) -> list[str]:
    return [f"pc{i}" for i in range(1, n + 1)]
