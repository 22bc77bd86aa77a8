"""Kinds of messages: planted kinds are found with the sign and size of what they do, and intervals hold the truth as often as they say."""

import numpy as np
import pandas as pd
import pytest

from workbench.drift.message_clusters import CHOICES, message_clusters
from workbench.errors import DataError

KINDS = {"grief": -2.0, "code": 0.5, "poem": 1.5}


def planted(n: int = 30, turns: int = 6, seed: int = 0, own: float = 0.5) -> tuple[pd.DataFrame, np.ndarray]:
    """Messages of three kinds, well apart; a reply moves by the kind's amount, by its conversation's (`own`: sd) and by chance."""
    rng = np.random.default_rng(seed)
    centres, rows, vectors = 4 * np.eye(3, 10), [], []
    for c in range(n):
        own_way = own * rng.normal()
        for t in range(1, turns + 1):
            kind = int(rng.integers(3))
            vectors.append(centres[kind] + 0.3 * rng.normal(size=10))
            change = list(KINDS.values())[kind] + own_way + rng.normal() if t > 1 else np.nan
            rows.append((f"c{c}", t, f"{list(KINDS)[kind]} {c} {t}", change))
    return pd.DataFrame(rows, columns=["conversation", "exchange", "message", "change"]), np.array(vectors)


def kinds(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(frame["name"].str.split().str[0])


def test_the_planted_kinds_are_found_and_what_they_do():
    table, vectors = planted(60, seed=1)
    frame, labels = message_clusters(table, vectors)
    assert list(frame) == ["cluster", "name", "typical", "mean", "low", "high", "n", "share", "silhouette"]
    assert kinds(frame).index.tolist() == list(KINDS)  # from the furthest away upwards
    assert pd.crosstab(table["message"].str.split().str[0], labels).gt(0).to_numpy().sum() == 3
    for kind, row in kinds(frame).iterrows():
        own = table[labels == row["cluster"]]
        assert row["mean"] == pytest.approx(own["change"].mean())
        assert row["mean"] == pytest.approx(KINDS[str(kind)], abs=0.4)
        assert row["low"] < KINDS[str(kind)] < row["high"]
        assert row["n"] == own["change"].notna().sum() < len(own)
        assert row["share"] == len(own) / len(table)
    assert frame["share"].sum() == pytest.approx(1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    hits = []
    for seed in range(50):
        frame, _ = message_clusters(*planted(25, 5, seed), k=3, n_boot=200, seed=seed)
        hits += [row["low"] <= KINDS[str(kind)] <= row["high"] for kind, row in kinds(frame).iterrows()]
    assert 0.86 <= np.mean(hits) <= 0.99


def test_the_number_of_clusters_is_that_of_the_best_silhouette():
    rng = np.random.default_rng(1)
    table, vectors = planted(12)
    vectors = vectors + rng.normal(size=vectors.shape)
    chosen, _ = message_clusters(table, vectors, n_boot=10)
    by_k = {k: message_clusters(table, vectors, k, n_boot=10)[0]["silhouette"].iloc[0] for k in CHOICES}
    assert chosen["silhouette"].iloc[0] == max(by_k.values()) > min(by_k.values())
    assert len(chosen) == max(by_k, key=by_k.get)


def test_a_cluster_is_called_by_the_message_nearest_its_centre_and_each_message_is_named_once():
    table, vectors = planted()
    vectors[:3], vectors[3] = 4 * np.eye(3, 10)[0], [2.5] + [0] * 9
    table.loc[:2, "message"] = ["grief   itself,\nand no more"] * 3
    table.loc[3, "message"] = "far " + "off " * 40
    grief = kinds(message_clusters(table, vectors)[0]).loc["grief"]
    assert grief["name"] == "grief itself, and no more"
    typical = grief["typical"].split(" | ")
    assert typical[0] == grief["name"]
    assert len(set(typical)) == 3
    long, _ = message_clusters(table.assign(message="word " * 40), vectors)
    assert long["name"].str.len().max() <= 80
    assert long["name"].str.endswith("word…").all()


def test_whole_conversations_are_redrawn():
    """Changes that are alike within a conversation count as often as there are conversations."""
    table, vectors = planted(24, 8)
    level = dict(zip(table["conversation"].unique(), np.random.default_rng(0).normal(size=24), strict=True))
    alike = table.assign(change=table["conversation"].map(level))
    apart = alike.assign(conversation=[str(i) for i in range(len(table))])
    wide, narrow = (message_clusters(t, vectors, 3)[0] for t in (alike, apart))
    assert np.allclose(wide["mean"], narrow["mean"])
    assert ((wide["high"] - wide["low"]) > 1.4 * (narrow["high"] - narrow["low"])).all()


def test_messages_without_a_change_have_none_and_a_single_conversation_has_no_interval():
    table, vectors = planted()
    kind = table["message"].str.split().str[0]
    unknown = table.assign(change=table["change"].where((kind != "grief") & ((kind != "code") | (table["conversation"] == "c3"))))
    frame = kinds(message_clusters(unknown, vectors)[0])
    assert frame.index.tolist() == ["code", "poem", "grief"] or frame.index.tolist() == ["poem", "code", "grief"]
    assert frame.loc["grief", "n"] == 0
    assert frame.loc["grief", ["mean", "low", "high"]].isna().all()
    assert frame.loc["grief", "share"] > 0.2
    assert np.isfinite(frame.loc["code", "mean"])
    assert frame.loc["code", ["low", "high"]].isna().all()
    assert frame.loc["poem", "low"] < frame.loc["poem", "high"]


def test_clusters_take_more_different_messages_than_that():
    table, vectors = planted(4, 4)
    same = vectors[np.arange(16) % 3]
    with pytest.raises(DataError, match="3 clusters take 4 different messages; there are 3"):
        message_clusters(table, same, 3)
    with pytest.raises(DataError, match="2 clusters take 3 different messages; there are 1"):
        message_clusters(table, np.ones_like(vectors))
    with pytest.raises(DataError, match="two clusters or more, not into 1"):
        message_clusters(table, vectors, 1)
    frame, _ = message_clusters(table, same)
    assert len(frame) == 2
    assert len(message_clusters(table, vectors[np.arange(16) % 4], 3)[0]) == 3


def test_seeds_reproduce():
    table, vectors = planted(10)
    (first, labels), (again, same), (other, _) = (message_clusters(table, vectors, seed=seed, n_boot=50) for seed in (1, 1, 2))
    assert first.equals(again)
    assert np.array_equal(labels, same)
    assert not first["low"].equals(other["low"])
