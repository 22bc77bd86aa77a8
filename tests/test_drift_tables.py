"""The tables of a drift study, by hand: what stands beside what, what is averaged, and what is said of too little."""

import numpy as np
import pandas as pd
import pytest

from workbench.drift import causes
from workbench.drift.causes import exchange_table, ridge_causes
from workbench.drift.embeddings import embed
from workbench.drift.message_clusters import message_clusters
from workbench.drift.tables import averaged, best_layer, cause_tables, domain_means, movement
from workbench.errors import DataError

Said = list[tuple[int, str, str, float]]


def frame(talks: dict[str, Said], **columns) -> pd.DataFrame:
    """A trajectory of these messages: (exchange, speaker, text, projection)."""
    rows = [(name, turn, *said) for name, talk in talks.items() for turn, said in enumerate(talk)]
    table = pd.DataFrame(rows, columns=["conversation", "turn", "exchange", "speaker", "text", "projection"])
    return table.assign(layer=3, direction="axis", condition="baseline", **columns)


def held(*levels: float) -> Said:
    """A conversation whose replies lie here."""
    return [said for i, y in enumerate(levels, 1) for said in ((i, "user", f"m{i}", 50.0), (i, "assistant", f"r{i}", y))]


# -- replies beside the messages they answer ------------------------------------------------------------
def test_each_reply_stands_beside_its_message_and_moves_from_the_reply_before():
    talk = [(0, "system", "be kind", 9.0), (0, "assistant", "hello", 8.0), *held(1.0, 3.0, 7.0), (4, "user", "bye", 0.0)]
    table = exchange_table(frame({"x": talk, "y": held(2.0)}, domain=["d"] * 9 + [None] * 2, persona="p"))
    assert list(table) == ["conversation", "domain", "persona", "exchange", "message", "level", "change"]
    assert table["conversation"].tolist() == ["x", "x", "x", "y"]
    assert table["message"].tolist() == ["m1", "m2", "m3", "m1"]
    assert table["level"].tolist() == [1, 3, 7, 2]
    assert table["change"].fillna(-99).tolist() == [-99, 2, 4, -99]  # a greeting is no exchange
    assert table["domain"].tolist() == ["d"] * 3 + [""]
    bare = exchange_table(frame({"x": held(1.0)}))
    assert bare[["domain", "persona"]].to_numpy().tolist() == [["", ""]]


def test_a_change_is_between_replies_that_follow_one_another():
    talk = [said for said in held(1.0, 3.0, 7.0, 8.0) if said[2] != "r2"]
    table = exchange_table(frame({"x": talk}).sample(frac=1, random_state=1))
    assert table["exchange"].tolist() == [1, 3, 4]
    assert table["change"].fillna(-99).tolist() == [-99, -99, 1]


def test_levels_of_repeated_replies_take_the_place_of_single_ones():
    levels = pd.Series({("x", 1): 10.0, ("x", 3): 14.0, ("y", 1): 20.0, ("y", 5): 30.0, ("z", 1): 99.0})
    table = exchange_table(frame({"x": held(1.0, 2.0, 3.0), "y": held(4.0, 5.0, 6.0)}), levels)
    assert table[["conversation", "exchange", "level"]].to_numpy().tolist() == [["x", 1, 10], ["x", 2, 14], ["y", 1, 20], ["y", 3, 30]]
    assert table["change"].fillna(-99).tolist() == [-99, 4, -99, -99]


@pytest.mark.parametrize("name", ["layer", "direction", "condition"])
def test_causes_are_sought_in_one_place(name):
    talk = frame({"x": held(1.0, 2.0)})
    with pytest.raises(DataError, match=f"at one {name}; this trajectory has 2"):
        exchange_table(pd.concat([talk, talk.assign(**{name: "another"})]))


# -- means and movement ---------------------------------------------------------------------------------
def two_conditions() -> pd.DataFrame:
    base = frame({"a": held(1.0, 0.0), "b": held(3.0, -4.0), "c": held(5.0, 1.0, 2.0)}, domain=["w"] * 8 + ["e"] * 6, after=np.nan)
    return pd.concat([base, base.assign(condition="capped", after=base["projection"].clip(lower=0.5))], ignore_index=True)


def test_means_are_by_condition_domain_and_exchange_and_of_what_leaves_a_capped_layer():
    found = domain_means(two_conditions())
    assert list(found) == ["condition", "domain", "exchange", "mean", "low", "high", "n"]
    means = found.set_index(["condition", "domain", "exchange"])["mean"].to_dict()
    assert list(means)[::5] == [("baseline", "w", 1), ("capped", "w", 1)]  # as they came, not by name
    assert means == {
        ("baseline", "w", 1): 2, ("baseline", "w", 2): -2, ("baseline", "e", 1): 5, ("baseline", "e", 2): 1, ("baseline", "e", 3): 2,
        ("capped", "w", 1): 2, ("capped", "w", 2): 0.5, ("capped", "e", 1): 5, ("capped", "e", 2): 1, ("capped", "e", 3): 2,
    }  # fmt: skip
    alone = found["n"] == 1
    assert alone.tolist() == [False] * 2 + [True] * 3 + [False] * 2 + [True] * 3
    assert found.loc[alone, ["low", "high"]].isna().all().all()  # one conversation is no sample
    first = found.iloc[0]
    assert (first["low"], first["high"]) == (1, 3)
    assert domain_means(two_conditions().query("condition == 'baseline'").drop(columns="after")).equals(found.head(5))


def test_movement_is_from_first_reply_to_last():
    found = movement(two_conditions().sample(frac=1, random_state=0)).set_index(["condition", "domain"]).sort_index()
    assert found["moved"].to_dict() == {("baseline", "w"): -4, ("baseline", "e"): -3, ("capped", "w"): -1.5, ("capped", "e"): -3}
    assert found["n"].tolist() == [1, 2, 1, 2]
    assert found.loc[("baseline", "w"), ["low", "high"]].tolist() == [-7, -1]
    assert found.loc[("baseline", "e"), ["low", "high"]].isna().all()


def test_a_conversation_of_one_reply_does_not_count_as_one_that_stayed():
    talks = frame({"a": held(1.0, 0.0), "b": held(3.0, 0.0), "c": held(5.0), "d": held(6.0)}, domain=["d"] * 10 + ["e"] * 2)
    found = movement(talks)
    assert found[["domain", "moved", "n"]].to_numpy().tolist() == [["d", -2.0, 2]]


def test_intervals_over_conversations_hold_the_mean_about_as_often_as_they_say():
    rng, hits = np.random.default_rng(0), []
    for seed in range(80):
        talks = frame({f"c{i}": held(*rng.normal([1, -1], 1)) for i in range(25)}, domain="d")
        means, moved = domain_means(talks, 200, seed), movement(talks, 200, seed)
        hits += [*((means["low"] < [1, -1]) & (means["high"] > [1, -1])), moved["low"][0] < -2 < moved["high"][0]]
    assert 0.87 <= np.mean(hits) <= 0.99
    assert moved["high"][0] - moved["low"][0] == pytest.approx(2 * 1.96 * np.sqrt(2 / 25), rel=0.4)


# -- causes ---------------------------------------------------------------------------------------------
def test_the_table_of_causes_has_levels_changes_and_changes_of_means_of_the_first_replies(monkeypatch):
    monkeypatch.setattr(causes, "PERMUTATIONS", 2)
    rng = np.random.default_rng(0)
    talks = {f"c{i:02}": held(*rng.normal(size=4)) for i in range(12)}
    talk = frame(talks, domain="d", persona="p").assign(
        text=lambda d: [f"{t} {a} {b}" for t, (a, b) in zip(d["text"], rng.integers(9, size=(len(d), 2)), strict=True)]
    )
    replies = talk[talk["speaker"] == "assistant"]
    repeats = pd.concat([replies.assign(sample=i, projection=rng.normal(size=len(replies))) for i in range(3)])
    ridge, clusters = cause_tables(talk, None, "tfidf", repeats, seed=2)
    assert list(dict.fromkeys(ridge["target"])) == ["level", "change", "change, mean of 1 replies", "change, mean of 2 replies"]
    table = exchange_table(talk)
    vectors = embed(table["message"].tolist(), "tfidf")
    for target in ("level", "change"):
        assert ridge[ridge["target"] == target].reset_index(drop=True).equals(ridge_causes(table, vectors, target, seed=2))
    two = exchange_table(talk, repeats[repeats["sample"] < 2].groupby(["conversation", "turn"])["projection"].mean())
    expected = ridge_causes(two, vectors, "change", seed=2)
    assert ridge[ridge["target"] == "change, mean of 2 replies"]["r2"].tolist() == expected["r2"].tolist()
    assert clusters.equals(message_clusters(table, vectors, seed=2)[0])
    assert set(cause_tables(talk, None, "tfidf")[0]["target"]) == {"level", "change"}


def test_as_many_replies_are_averaged_as_there_are():
    assert [averaged(pd.DataFrame({"sample": range(n)})) for n in (1, 2, 3, 4, 9)] == [[1], [1, 2], [1, 2], [1, 2, 4], [1, 2, 4]]
    assert averaged(None) == []


def test_the_best_layer_is_the_one_that_repeats_best_the_first_of_equals():
    reliability = pd.DataFrame({"layer": [4, 5, 6, 7], "icc": [0.2, 0.9, 0.9, np.nan]})
    assert best_layer(reliability) == 5
    assert best_layer(reliability.iloc[::-1]) == 6
    with pytest.raises(DataError, match="no layer's replies vary"):
        best_layer(reliability.assign(icc=np.nan))
