"""From trajectories to the tables of a drift study: means by domain, movement, causes, harm. Frames in, frames out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DataError
from ..evaluation.statistics import Interval, interval
from ..models.hooked import HookedModel
from .causes import exchange_table, ridge_causes
from .embeddings import embed
from .message_clusters import message_clusters

AVERAGED = (1, 2, 4)
"""So many replies are averaged to see whether a change is foretold better when it is measured better."""


def domain_means(frame: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean projection of replies by condition, domain and exchange, with 95 % intervals over conversations.

    Parameters
    ----------
    frame
        A trajectory by turn at one layer along one direction, with ``condition`` and ``domain``.

    Returns
    -------
    DataFrame
        ``condition, domain, exchange, mean, low, high, n``; where a cap acted, of what leaves the layer (``after``). One conversation
        has no interval.
    """
    replies = frame[frame["speaker"] == "assistant"]
    replies = replies.assign(seen=replies["after"].fillna(replies["projection"]) if "after" in replies else replies["projection"])
    rng, records = np.random.default_rng(seed), []
    for (condition, domain, exchange), rows in replies.groupby(["condition", "domain", "exchange"], sort=False):
        values = rows["seen"].to_numpy(float)
        found = _over_conversations(values, rng, n_boot)
        records.append((condition, domain, exchange, found.value, found.low, found.high, len(values)))
    return pd.DataFrame(records, columns=["condition", "domain", "exchange", "mean", "low", "high", "n"])


def movement(frame: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How far each domain moves from first to last reply: ``condition, domain, moved, low, high, n``; - = away from the Assistant.

    Conversations of a single reply went nowhere, and are left out.
    """
    replies = frame[frame["speaker"] == "assistant"].sort_values(["conversation", "exchange"], kind="stable")
    seen = replies["after"].fillna(replies["projection"]) if "after" in replies else replies["projection"]
    ends = replies.assign(seen=seen).groupby(["condition", "domain", "conversation"], sort=False)["seen"].agg(["first", "last", "size"])
    rng, records = np.random.default_rng(seed), []
    for (condition, domain), rows in ends[ends["size"] > 1].groupby(level=["condition", "domain"], sort=False):
        values = (rows["last"] - rows["first"]).to_numpy(float)
        found = _over_conversations(values, rng, n_boot)
        records.append((condition, domain, found.value, found.low, found.high, len(values)))
    return pd.DataFrame(records, columns=["condition", "domain", "moved", "low", "high", "n"])


def _over_conversations(values: np.ndarray, rng: np.random.Generator, n_boot: int) -> Interval:
    """Their mean; a single one has no interval."""
    draws = values[rng.integers(len(values), size=(n_boot if len(values) > 1 else 0, len(values)))].mean(1)
    return interval(float(values.mean()), draws)


def cause_tables(
    frame: pd.DataFrame, model: HookedModel, how: str, repeats: pd.DataFrame | None = None, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ridge tables (level, change, and change of averaged replies) and clusters of messages.

    Parameters
    ----------
    frame
        The baseline's trajectory at one layer.
    how
        Of :func:`workbench.drift.embeddings.embed`.
    repeats
        Of :func:`workbench.drift.repeats.repeated_replies` at the same layer.

    Returns
    -------
    (DataFrame, DataFrame)
        See :func:`workbench.drift.causes.ridge_causes` (targets ``level``, ``change``, ``change, mean of K replies``) and
        :func:`workbench.drift.message_clusters.message_clusters`.
    """
    table = exchange_table(frame)
    vectors = embed(table["message"].tolist(), how, model)
    parts = [ridge_causes(table, vectors, target, seed=seed) for target in ("level", "change")]
    for k in averaged(repeats):
        assert repeats is not None
        means = repeats[repeats["sample"] < k].groupby(["conversation", "turn"])["projection"].mean()
        own = exchange_table(frame, means)
        found = ridge_causes(own, embed(own["message"].tolist(), how, model), "change", seed=seed)
        parts.append(found.assign(target=f"change, mean of {k} replies"))
    clusters, _ = message_clusters(table, vectors, seed=seed)
    return pd.concat(parts, ignore_index=True), clusters


def averaged(repeats: pd.DataFrame | None) -> list[int]:
    """The numbers of replies that can be averaged."""
    return [] if repeats is None else [k for k in AVERAGED if k <= repeats["sample"].nunique()]


def best_layer(reliability: pd.DataFrame) -> int:
    """The layer whose single replies repeat best."""
    known = reliability.dropna(subset="icc")
    if known.empty:
        raise DataError("no layer's replies vary: there is nothing to choose a layer by")
    return int(known.sort_values("icc", ascending=False, kind="stable")["layer"].iloc[0])
