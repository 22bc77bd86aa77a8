"""Sweep the layers: where does the axis separate held-out responses, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .directions import Direction, contrast, responses_kept, role_vectors
from .errors import DataError
from .evaluation.splits import Splits
from .evaluation.statistics import Interval, auc, cohens_d, interval, separation
from .persona_space import PersonaSpace

SATURATED = 0.99
"""An AUC from here on cannot rank layers any more."""


@dataclass(frozen=True)
class Recommendation:
    """The layer that a sweep recommends.

    Attributes
    ----------
    layer
        0-based block.
    reason
        One sentence.
    saturated
        Whether the AUC is so high at several layers that it cannot tell them apart.
    tied
        The layers that cannot be told from the best one.
    """

    layer: int
    reason: str
    saturated: bool
    tied: tuple[int, ...]


@dataclass(frozen=True)
class LayerSweep:
    """A table by layer, and what it recommends.

    Attributes
    ----------
    table
        One row a layer; see :func:`sweep_layers` for the columns.
    recommendation
        The layer to use.
    """

    table: pd.DataFrame
    recommendation: Recommendation


def sweep_layers(
    acts: Activations, splits: Splits, keep: str = "fully", min_count: int = 1, n_boot: int = 300, seed: int = 0,
    words: Activations | None = None, progress: Callable[[int, int], None] | None = None,
) -> LayerSweep:  # fmt: skip
    """Fit axis and PCA on one split, score single responses of another, layer by layer.

    Parameters
    ----------
    acts
        Response means of all roles, the default among them.
    splits
        Who belongs to ``fit`` and ``choose``. ``report`` has no part in fitting, scoring and choosing; only ``split_half`` and the
        norm that ``axis_norm`` is divided by are those of all responses.
    keep, min_count
        Which responses make a role vector, as in :func:`workbench.role_vectors`.
    n_boot
        Bootstrap draws (over roles) behind each interval.
    words
        The same rows as a bag of input embeddings (:func:`workbench.bag_of_embeddings`): one more row, layer -1, and the
        gain of every layer over it.

    Returns
    -------
    LayerSweep
        Columns: ``layer``; ``axis_norm`` (length of the axis / mean norm of response means, so special tokens and
        attention sinks at the start are left out); ``cos_pc1`` and ``default_rank`` (share of the roles that the
        default lies beyond on PC1, from the axis's negative to its positive side); ``n_70, n_80, n_90``; ``auc`` and
        ``cohens_d`` of single default responses against responses of held-out roles to held-out questions;
        ``split_half`` (cosine of the axes of two halves with no role and no response in common); with `words` also ``gain``
        (AUC minus that of layer -1). Intervals are ``*_low`` and ``*_high``, 95 %. Layer -1 is never recommended.
    """
    sources = [acts] if words is None else [_same_rows(words, acts), acts]
    total = sum(len(source.site.layers) for source in sources)
    rows: list[dict[str, float]] = []
    areas: dict[int, np.ndarray] = {}
    effects: dict[int, np.ndarray] = {}
    for source in sources:
        for numbers, area, effect in _by_layer(source, splits, keep, min_count, n_boot, seed):
            layer = int(numbers["layer"])
            areas[layer], effects[layer] = area, effect
            rows.append(numbers)
            if progress:
                progress(len(rows), total)
    table = pd.DataFrame(rows) if words is None else _with_gain(pd.DataFrame(rows), areas)
    layers = set(acts.site.layers)
    chosen = recommend(table[table["layer"].isin(layers)], {n: areas[n] for n in layers}, {n: effects[n] for n in layers})
    return LayerSweep(table, chosen)


def _by_layer(
    acts: Activations, splits: Splits, keep: str, min_count: int, n_boot: int, seed: int
) -> Iterator[tuple[dict[str, float], np.ndarray, np.ndarray]]:
    """A layer's numbers, and the draws behind its AUC and its Cohen's d."""
    fitted = role_vectors(splits.part(acts, "fit"), keep, min_count)
    scored = kept_responses(splits.part(acts, "choose"), keep)
    axis = contrast(fitted)
    halves = split_half_cosines(role_vectors(acts, keep, min_count), acts, seed=seed)
    norms = acts.values.double().norm(dim=-1).mean(0).numpy()
    for slot, layer in enumerate(acts.site.layers):
        area, areas = layer_separation(axis, scored, layer, auc, n_boot, seed)
        effect, effects = layer_separation(axis, scored, layer, cohens_d, n_boot, seed)
        numbers: dict[str, float] = {"layer": layer, "axis_norm": float(axis.norms()[slot]) / float(norms[slot])}
        numbers |= _named("auc", area) | _named("cohens_d", effect)
        numbers |= _named("split_half", interval(halves[:, slot].mean(), halves[:, slot]))
        yield numbers | _shape_of_space(fitted, axis, layer, n_boot, seed), areas, effects


def _same_rows(words: Activations, acts: Activations) -> Activations:
    shared = [c for c in ("row", "role", "question_index") if c in words.rows and c in acts.rows]
    if len(words) != len(acts) or any(words.rows[c].tolist() != acts.rows[c].tolist() for c in shared):
        raise DataError("the bag of embeddings and the activations hold different responses, or the same in another order")
    return words


def _with_gain(table: pd.DataFrame, areas: dict[int, np.ndarray]) -> pd.DataFrame:
    """AUC of every layer minus that of the words alone; the same responses are redrawn for both."""
    own, base = table.set_index("layer")["auc"], int(table["layer"].iloc[0])
    gains = {n: interval(own[n] - own[base], areas[n] - areas[base]) for n in map(int, table["layer"])}
    return table.join(pd.DataFrame([_named("gain", gains[n]) for n in gains]))


def kept_responses(acts: Activations, keep: str) -> Activations:
    """The responses that `keep` lets through, the default's all among them."""
    return acts.take(np.flatnonzero(responses_kept(acts.rows, keep)))


def layer_separation(
    axis: Direction, acts: Activations, layer: int, statistic: Callable, n_boot: int, seed: int
) -> tuple[Interval, np.ndarray]:
    """How well single default responses are told from single role responses at a layer."""
    scores = acts.at(layer).project(axis)[layer].to_numpy()
    default = (acts.rows["role"] == DEFAULT_ROLE).to_numpy()
    if default.sum() < 2 or (~default).sum() < 2:
        raise DataError(f"a split has {int(default.sum())} default and {int((~default).sum())} role responses: too few to compare")
    return separation(scores[default], scores[~default], acts.rows["role"].to_numpy()[~default], statistic, n_boot, seed)


def split_half_cosines(vectors: Activations, acts: Activations, n: int = 40, seed: int = 0) -> np.ndarray:
    """Cosines [split, layer] of two axes made of disjoint halves of the roles and of the default's responses."""
    rng = np.random.default_rng(seed)
    roles = vectors.where(f"role != '{DEFAULT_ROLE}'").values.double().numpy()
    default = acts.where(f"role == '{DEFAULT_ROLE}'").values.double().numpy()
    if len(roles) < 2 or len(default) < 2:
        raise DataError(f"an axis from halves needs 2 roles and 2 default responses; there are {len(roles)} and {len(default)}")
    cosines = np.empty((n, roles.shape[1]))
    for i in range(n):
        r, d = rng.permutation(len(roles)), rng.permutation(len(default))
        a = default[d[: len(d) // 2]].mean(0) - roles[r[: len(r) // 2]].mean(0)
        b = default[d[len(d) // 2 :]].mean(0) - roles[r[len(r) // 2 :]].mean(0)
        cosines[i] = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return cosines


def default_rank(space: PersonaSpace, vectors: Activations, axis: Direction) -> float:
    """Share of the roles that the default lies beyond on PC1, PC1 turned to the axis's + side."""
    scores = space.transform(vectors)[:, 0] * np.sign(_cosine_pc1(space, axis) or 1.0)
    default = vectors.rows["role"].eq(DEFAULT_ROLE).to_numpy()
    return float((scores[~default] < scores[default][0]).mean())


def _cosine_pc1(space: PersonaSpace, axis: Direction) -> float:
    return float(space.components_[0] @ axis.at(space.layer).unit().values[0].double().numpy())


def _shape_of_space(vectors: Activations, axis: Direction, layer: int, n_boot: int, seed: int) -> dict[str, float]:
    """PC1 against the axis and the number of components at one layer; intervals redraw the roles."""
    space = PersonaSpace(layer).fit(vectors)
    draws = _bootstrap_pc1(vectors, layer, n_boot, seed)
    numbers = _named("cos_pc1", interval(abs(_cosine_pc1(space, axis)), draws))
    numbers["default_rank"] = default_rank(space, vectors, axis)
    numbers["pc1_share"] = float(space.explained_variance_ratio_[0])
    return numbers | {f"n_{share}": float(space.n_components_for(share / 100)) for share in (70, 80, 90)}


def _bootstrap_pc1(vectors: Activations, layer: int, n_boot: int, seed: int) -> np.ndarray:
    """|cosine(PC1, axis)| with the roles redrawn, from inner products alone, so that width costs nothing."""
    matrix = vectors.at(layer).values[:, 0].double().numpy()
    default = vectors.rows["role"].eq(DEFAULT_ROLE).to_numpy()
    origin = matrix[~default].mean(0)
    roles, reference = matrix[~default] - origin, matrix[default][0] - origin
    gram, cross, own = roles @ roles.T, roles @ reference, reference @ reference
    rng = np.random.default_rng(seed)
    out = np.full(n_boot, np.nan)
    for i in range(n_boot):
        draw = rng.integers(len(roles), size=len(roles))
        inner, towards = gram[np.ix_(draw, draw)], cross[draw]
        mean_row, mean_all = inner.mean(0), inner.mean()
        centred = inner - mean_row[:, None] - mean_row[None] + mean_all
        values, coefficients = np.linalg.eigh(centred)
        if values[-1] <= 0:
            continue
        # axis = reference - mean; PC1 = centred roles weighted by the eigenvector, of length sqrt(eigenvalue).
        along = (towards - towards.mean() - (mean_row - mean_all)) @ coefficients[:, -1] / np.sqrt(values[-1])
        length = own - 2 * towards.mean() + mean_all
        out[i] = abs(along) / np.sqrt(length) if length > 0 else np.nan
    return out


def recommend(table: pd.DataFrame, areas: dict[int, np.ndarray], effects: dict[int, np.ndarray]) -> Recommendation:
    """The layer of the best AUC; where several cannot be told apart, of the best Cohen's d; then the middlemost.

    Parameters
    ----------
    areas, effects
        Paired bootstrap draws of AUC and Cohen's d by layer: two layers are tied where the interval of their
        difference holds zero.
    """
    by_layer = table.assign(layer=table["layer"].astype(int)).set_index("layer")
    layers = list(by_layer.index)
    tied = _tied(layers, by_layer["auc"], areas)
    saturated = sum(bool(by_layer["auc"][n] >= SATURATED) for n in tied) > 1
    closer = _tied(list(tied), by_layer["cohens_d"], effects)
    middle = (layers[0] + layers[-1]) / 2
    chosen = min(closer, key=lambda n: (abs(n - middle), -n))
    reason = f"AUC {by_layer['auc'][chosen]:.3f} on the choosing split"
    if len(tied) == 1:
        reason += ", above every other layer"
    else:
        reason += f"; by AUC layers {', '.join(map(str, tied))} cannot be told apart"
        reason += " (it is saturated)" if saturated else ""
        d = by_layer["cohens_d"][chosen]
        rest = ", ".join(str(n) for n in closer if n != chosen)
        standing = "the largest" if len(closer) == 1 else f"tied with {rest}, and {chosen} is nearest the middle"
        reason += f", Cohen's d {d:.2f} is {standing}"
    return Recommendation(chosen, reason, saturated, tied)


def _tied(layers: list[int], values: pd.Series, draws: dict[int, np.ndarray]) -> tuple[int, ...]:
    """The layer of the largest value and those whose difference from it has an interval that holds zero."""
    best = max(layers, key=lambda n: values[n])
    return tuple(n for n in layers if n == best or np.percentile(draws[best] - draws[n], 2.5) <= 0)


def _named(name: str, value: Interval) -> dict[str, float]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
