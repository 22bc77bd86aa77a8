"""Kinds of messages, found in their embeddings, and how a reply moves after each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler, normalize

from ..errors import DataError
from ..evaluation.statistics import interval

CHOICES = range(2, 16)
LONGEST_NAME = 80


def message_clusters(
    table: pd.DataFrame, embeddings: Float[np.ndarray, "row dim"], k: int | None = None, *, n_boot: int = 500, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """K-means over the messages, and the mean change of the projection after the messages of each cluster.

    Parameters
    ----------
    table
        Of :func:`workbench.drift.causes.exchange_table`.
    embeddings
        The messages', row by row.
    k
        Clusters; where None the number from 2 to 15 with the best silhouette.

    Returns
    -------
    (DataFrame, ndarray)
        A row a cluster: ``cluster, name`` (its most typical message: the nearest to the centre), ``typical`` (three of them), ``mean, low,
        high`` (change from the reply before, bootstrap over conversations; one conversation has no interval), ``n`` (messages with a
        reply before them), ``share`` (of all messages), ``silhouette`` (of the whole division); from the furthest away upwards. And each
        row's cluster.

    Raises
    ------
    DataError
        Where there are not more different messages than clusters, or `k` is below two.
    """
    points = np.asarray(normalize(StandardScaler().fit_transform(np.asarray(embeddings, float))))
    different = len(np.unique(points.round(9), axis=0))
    if k is not None and k < 2:
        raise DataError(f"messages are divided into two clusters or more, not into {k}")
    if different <= (least := k or min(CHOICES)):
        raise DataError(f"{least} clusters take {least + 1} different messages; there are {different}")
    labels, centres, score = _best(points, [k] if k else [n for n in CHOICES if n < different], seed)
    records = []
    for cluster in range(len(centres)):
        inside = labels == cluster
        typical = _typical(table["message"].to_numpy(), points, inside, centres[cluster])
        found = _mean_change(table[inside], n_boot, seed)
        records.append({"cluster": cluster, "name": _short(typical[0]), "typical": " | ".join(typical), **found, "share": inside.mean()})
    frame = pd.DataFrame(records).sort_values("mean", kind="stable").reset_index(drop=True)
    return frame.assign(silhouette=score), labels


def _best(points: np.ndarray, choices: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    best: tuple[np.ndarray, np.ndarray, float] | None = None
    for n in choices:
        fit = KMeans(n, n_init=5, random_state=seed).fit(points)  # type: ignore[arg-type]
        score = float(silhouette_score(points, fit.labels_, sample_size=min(2000, len(points)), random_state=seed))
        if best is None or score > best[2]:
            best = np.asarray(fit.labels_), np.asarray(fit.cluster_centers_), score
    assert best is not None
    return best


def _typical(messages: np.ndarray, points: np.ndarray, inside: np.ndarray, centre: np.ndarray, n: int = 3) -> list[str]:
    """The messages nearest a centre, each once."""
    rows = np.flatnonzero(inside)
    nearest = rows[np.argsort(((points[rows] - centre) ** 2).sum(1), kind="stable")]
    return list(dict.fromkeys(" ".join(str(messages[i]).split()) for i in nearest))[:n]


def _mean_change(rows: pd.DataFrame, n_boot: int, seed: int) -> dict[str, float]:
    rows = rows[rows["change"].notna()]
    if rows.empty:
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    groups = [g.to_numpy(float) for _, g in rows.groupby("conversation")["change"]]
    sums, sizes = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    picks = np.random.default_rng(seed).integers(len(groups), size=(n_boot if len(groups) > 1 else 0, len(groups)))
    found = interval(float(sums.sum() / sizes.sum()), sums[picks].sum(1) / sizes[picks].sum(1))
    return {"mean": found.value, "low": found.low, "high": found.high, "n": int(sizes.sum())}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1].rstrip() + "\u2026"
