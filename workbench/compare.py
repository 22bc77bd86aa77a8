"""Persona spaces of several models beside each other: matched by role, signs aligned, positions as z-scores and never raw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.linalg import orthogonal_procrustes

from .conversations import DEFAULT_ROLE
from .directions import Direction
from .errors import DataError
from .evaluation.statistics import correlation, interval
from .persona_space import PersonaSpace
from .presets import preset_for
from .store import Run

MIN_SHARED = 8
COMPONENTS = 3


@dataclass(frozen=True, eq=False)
class Positions:
    """Where a study's roles lie.

    Attributes
    ----------
    name
        How the study is called in tables.
    layer, d_model
        Where, and how wide.
    loadings
        [role, PC1-PC3], cosines of centred role vectors with the components.
    scores
        [role, PC1-PC3], in units of that residual stream: only ever compared up to rotation and scale.
    z
        Role -> its projection on the axis as a z-score of the study's own default responses; empty where there are none.
    axis
        The Assistant Axis at that layer.
    default
        PC1-PC3 of the default, in the units of `scores`; empty where there is no default.
    """

    name: str
    layer: int
    d_model: int
    loadings: pd.DataFrame
    scores: pd.DataFrame
    z: pd.Series
    axis: Direction
    default: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))


def positions_of(run: Run, name: str = "", layer: int | None = None) -> Positions:
    """The positions of a study's roles at its recommended layer, or another; imported vectors have none: the preset's, or the middle."""
    vectors, axis = run.role_vectors, run.axis
    if layer is None:
        layer = study_layer(run)
    space = PersonaSpace(layer).fit(vectors)
    loadings = space.loadings().iloc[:, :COMPONENTS]
    scores = pd.DataFrame(space.transform(vectors)[:, :COMPONENTS], index=loadings.index, columns=loadings.columns)
    roles = loadings.index != DEFAULT_ROLE
    z = pd.Series(dtype=float)
    if run.is_done("extract"):
        acts = run.activations()
        own = acts.project(axis)[layer][(acts.rows["role"] == DEFAULT_ROLE).to_numpy()]
        along = pd.Series(vectors.project(axis)[layer].to_numpy(), index=loadings.index)
        if len(own) >= 2 and own.std() > 0:
            z = ((along - own.mean()) / own.std())[roles]
    default = scores.iloc[int(np.flatnonzero(~roles)[0])] if not roles.all() else pd.Series(dtype=float)
    return Positions(name or run.folder.name, layer, vectors.site.d_model, loadings[roles], scores[roles], z, axis.at(layer), default)


def study_layer(run: Run) -> int:
    """The recommended layer; for imported vectors, which come without a sweep, the preset's, or the middle."""
    if run.is_done("sweep"):
        return run.recommended_layer
    layers = run.axis.site.layers
    wanted = preset_for(run.axis.site.model, len(layers)).layer
    return min(layers, key=lambda n: abs(n - wanted))


def compare(studies: Sequence[Positions], n_boot: int = 500, n_shuffled: int = 200, seed: int = 0) -> pd.DataFrame:
    """Compare every two studies on the roles that they share.

    Parameters
    ----------
    n_shuffled
        Role names are shuffled so often, to say how alike two spaces are by chance.

    Returns
    -------
    DataFrame
        A row a pair and measure: ``first, second, measure, value, low, high, chance, n``. Measures: ``PC1, PC2, PC3`` (|r| of the
        loadings: a component's sign is nobody's), ``axis`` (r of the z-scores, + where the same roles are near the Assistant),
        ``space`` (share of the scores' variance that a rotation and a scale bring together, 0-1), ``cosine`` (of the axes, only where
        widths agree; two models' streams need not share their coordinates). Intervals redraw the roles; ``chance`` is the 95th
        percentile with role names shuffled.

    Raises
    ------
    DataError
        With fewer than two studies, two of one name, or fewer than eight shared roles.
    """
    if len(studies) < 2:
        raise DataError("a comparison needs at least two studies")
    names = [study.name for study in studies]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two studies are called {twice[0]!r}: give them different names")
    rows = []
    for a, b in combinations(studies, 2):
        rows += [{"first": a.name, "second": b.name} | row for row in _pair(a, b, n_boot, n_shuffled, seed)]
    return pd.DataFrame(rows, columns=["first", "second", "measure", "value", "low", "high", "chance", "n"])


def _pair(a: Positions, b: Positions, n_boot: int, n_shuffled: int, seed: int) -> list[dict[str, object]]:
    shared = [role for role in a.loadings.index if role in set(b.loadings.index)]
    if len(shared) < MIN_SHARED:
        raise DataError(f"{a.name} and {b.name} share {len(shared)} roles by name; a comparison needs {MIN_SHARED}")
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(shared), size=(n_boot, len(shared)))
    orders = [rng.permutation(len(shared)) for _ in range(n_shuffled)]
    rows: list[dict[str, object]] = []

    def measured(name: str, x: np.ndarray, y: np.ndarray, statistic) -> None:
        found = interval(statistic(x, y), np.array([statistic(x[d], y[d]) for d in draws]))
        chance = float(np.percentile([statistic(x, y[order]) for order in orders], 95))
        rows.append({"measure": name, "value": found.value, "low": found.low, "high": found.high, "chance": chance, "n": len(shared)})

    for component in a.loadings.columns.intersection(b.loadings.columns):
        x, y = (study.loadings.loc[shared, component].to_numpy() for study in (a, b))
        measured(str(component).upper(), x, y, lambda x, y: abs(correlation(x, y)))
    if len(a.z) and len(b.z):
        measured("axis", a.z.loc[shared].to_numpy(), b.z.loc[shared].to_numpy(), correlation)
    measured("space", a.scores.loc[shared].to_numpy(), b.scores.loc[shared].to_numpy(), alike)
    if a.d_model == b.d_model:
        value = float((a.axis.unit().values[0] * b.axis.unit().values[0]).sum())
        rows.append({"measure": "cosine", "value": value, "low": np.nan, "high": np.nan, "chance": np.nan, "n": len(shared)})
    return rows


def alike(x: np.ndarray, y: np.ndarray) -> float:
    """Share of variance that a rotation (or reflection) and a scale bring together: 1 for the same shape, 0 for nothing shared.

    Parameters
    ----------
    x, y
        [role, component], in any units.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if not all(lengths):
        return float("nan")
    _, overlap = orthogonal_procrustes(x / lengths[0], y / lengths[1])
    return float(overlap**2)


def positions_table(studies: Sequence[Positions]) -> pd.DataFrame:
    """A row a role and study: ``study, role, z, pc1, pc2, pc3``; components' signs turned to agree with the first study's."""
    frames = []
    for study in studies:
        loadings = study.loadings.copy()
        shared = loadings.index.intersection(studies[0].loadings.index)
        for column in loadings.columns.intersection(studies[0].loadings.columns):
            if correlation(loadings.loc[shared, column].to_numpy(), studies[0].loadings.loc[shared, column].to_numpy()) < 0:
                loadings[column] = -loadings[column]
        frames.append(
            loadings.rename_axis("role").reset_index().assign(study=study.name, z=[study.z.get(role, np.nan) for role in loadings.index])
        )
    table = pd.concat(frames, ignore_index=True)
    return table[["study", "role", "z", *[c for c in table.columns if c.startswith("pc")]]]


def aligned(studies: Sequence[Positions]) -> pd.DataFrame:
    """The shared roles of several studies in one frame of axes: each study's space turned and scaled onto the first's.

    Returns
    -------
    DataFrame
        A row a study and role, the same roles in the same order in every study, the default (where a study has one) last: ``study, role,
        is_default, pc1, pc2, pc3`` (1 = the typical distance of a study's shared roles from their mean; axes are the first study's
        components), ``z`` (as in :class:`Positions`; the default's is 0).

    Raises
    ------
    DataError
        With fewer than two studies, or fewer than eight roles that all of them have.
    """
    if len(studies) < 2:
        raise DataError("a comparison needs at least two studies")
    shared = [role for role in studies[0].scores.index if all(role in study.scores.index for study in studies)]
    if len(shared) < MIN_SHARED:
        raise DataError(f"these studies share {len(shared)} roles by name; a comparison needs {MIN_SHARED}")
    width = min(study.scores.shape[1] for study in studies)
    frames, target = [], None
    for study in studies:
        scores = study.scores.loc[shared].to_numpy()[:, :width]
        middle = scores.mean(0)
        unit = float(np.sqrt(((scores - middle) ** 2).sum(1).mean())) or 1.0
        placed = (scores - middle) / unit
        turn = np.eye(width) if target is None else orthogonal_procrustes(placed, target)[0]
        target = placed if target is None else target
        names = [f"pc{i + 1}" for i in range(width)]
        frame = pd.DataFrame(placed @ turn, columns=names).assign(role=shared, is_default=False, z=study.z.reindex(shared).to_numpy())
        if len(study.default):
            own = ((study.default.to_numpy()[:width] - middle) / unit) @ turn
            frame.loc[len(frame)] = {"role": DEFAULT_ROLE, "is_default": True, "z": 0.0 if len(study.z) else np.nan} | dict(
                zip(names, own, strict=True)
            )
        frames.append(frame.assign(study=study.name)[["study", "role", "is_default", *names, "z"]])
    return pd.concat(frames, ignore_index=True)


def in_words(table: pd.DataFrame) -> str:
    """A line a pair of studies."""
    lines = []
    for (first, second), rows in table.groupby(["first", "second"], sort=False):
        cells = []
        for row in rows.to_dict("records"):
            known = "" if pd.isna(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}], chance {row['chance']:.2f}"
            cells.append(f"{row['measure']} {row['value']:.2f}{known}")
        lines.append(f"{first} and {second}, {rows['n'].iloc[0]} roles: {'; '.join(cells)}")
    return "\n".join(lines)
