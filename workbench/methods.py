"""Ways to find a direction from activations and labels, behind one small protocol, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .directions import Direction, contrast
from .errors import DataError
from .persona_space import PersonaSpace

RESPONSES, PROMPTS = "responses", "prompts"


class Method(Protocol):
    """Anything that finds a direction in labelled activations."""

    def __call__(self, acts: Activations, default: np.ndarray) -> Direction:
        """Find a direction.

        Parameters
        ----------
        acts
            A row a response (or a prompt), [row, layer, d_model], with the column ``role``.
        default
            bool [row]: which rows are the default's.

        Returns
        -------
        Direction
            At all layers of `acts`; + towards the default. Its length is free.
        """
        ...


@dataclass(frozen=True)
class Candidate:
    """A method under its name, and what it is given: activations of ``"responses"`` or of ``"prompts"`` (their last token)."""

    name: str
    find: Method
    source: str = RESPONSES


def mean_difference(acts: Activations, default: np.ndarray) -> Direction:
    """The default's mean minus the mean of the roles' means: the contrast that is the Assistant Axis."""
    return contrast(acts.mean("role"), name="contrast")


def first_component(acts: Activations, default: np.ndarray) -> Direction:
    """PC1 of the roles' means, turned to the side on which the default lies; the labels decide no more than that."""
    vectors = acts.mean("role")
    rows = [PersonaSpace(layer).fit(vectors).component(1).values[0] for layer in acts.site.layers]
    return _direction(acts, torch.stack(rows).double().numpy(), "PC1")


def logistic_regression(acts: Activations, default: np.ndarray) -> Direction:
    """Weights of a logistic regression of default against role on standardised dimensions, both classes weighing the same."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def weights(x: np.ndarray) -> np.ndarray:
        scaler = StandardScaler().fit(x)
        fitted = LogisticRegression(class_weight="balanced", max_iter=2000).fit(scaler.transform(x), default)
        return fitted.coef_[0] / scaler.scale_

    return _by_layer(acts, weights, "logistic regression")


def linear_discriminant(acts: Activations, default: np.ndarray) -> Direction:
    """Fisher's linear discriminant of default against role, with Ledoit and Wolf's shrinkage of the covariance."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    def weights(x: np.ndarray) -> np.ndarray:
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]).fit(x, default).coef_[0]

    return _by_layer(acts, weights, "linear discriminant")


METHODS: Mapping[str, Candidate] = {
    c.name: c
    for c in (
        Candidate("contrast", mean_difference),
        Candidate("PC1", first_component),
        Candidate("logistic regression", logistic_regression),
        Candidate("linear discriminant", linear_discriminant),
        Candidate("contrast of prompts", mean_difference, PROMPTS),
    )
}
"""Name -> method."""


def find(candidate: Candidate, acts: Activations) -> Direction:
    """Run a method on labelled activations.

    Raises
    ------
    DataError
        Where only one end has rows, or the method returns something that does not fit.
    """
    default = (acts.rows["role"] == DEFAULT_ROLE).to_numpy(copy=True)  # writable: a method may make a tensor of it
    if not default.any() or default.all():
        raise DataError(
            f"{candidate.name}: a direction needs rows of the default and of roles; there are {int(default.sum())} of {len(acts)}"
        )
    found = candidate.find(acts, default)
    if found.site.layers != acts.site.layers or found.site.d_model != acts.site.d_model:
        raise DataError(f"{candidate.name}: the direction has layers {list(found.site.layers)}, the activations {list(acts.site.layers)}")
    return found


def _by_layer(acts: Activations, weights: Callable[[np.ndarray], np.ndarray], name: str) -> Direction:
    values = acts.values.double().numpy()
    return _direction(acts, np.stack([weights(values[:, slot]) for slot in range(values.shape[1])]), name)


def _direction(acts: Activations, values: np.ndarray, name: str) -> Direction:
    n_roles = acts.rows["role"].nunique() - 1
    toward = f"{DEFAULT_ROLE} (away from {n_roles} roles)"
    return Direction(torch.from_numpy(values).float(), acts.site, name, toward, {"method": name, "n_rows": len(acts)})
