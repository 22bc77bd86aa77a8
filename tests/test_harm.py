"""Drift and harm, by simulation with known truth: what foretells compliance, what only tells domains apart, what the text says anyway."""

import numpy as np
import pandas as pd
import pytest

from workbench.conversations import Conversation
from workbench.drift.harm import BOTH, GAIN, PROJECTION, TEXT, early_warning, harm_bins, harm_table, probes, projection_and_harm
from workbench.errors import DataError
from workbench.evaluation.statistics import auc, correlation, wilson

TALK = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("assistant", "e"), ("user", "f")]


# -- probes ---------------------------------------------------------------------------------------------
def test_a_probe_follows_every_finished_exchange_and_nothing_else():
    talks = [Conversation.of(TALK, "x"), Conversation.of(TALK[1:3], "y/z"), Conversation.of("alone", "w")]
    found = probes(talks, ["q0", "q1", "q2"])
    assert [(p.id, p.group, p.item, p.kind) for p in found] == [
        ("x/e1", "x", "q1", "harmful"), ("x/e2", "x", "q2", "harmful"), ("y/z/e1", "y/z", "q2", "harmful"),
    ]  # fmt: skip
    for prompt, said in zip(found, ["system a b", "system a b c d e", "a b"], strict=True):
        turns = prompt.conversation.turns
        assert (turns[-1].speaker, turns[-1].text) == ("user", prompt.item)
        assert turns[-2].speaker == "assistant"
        assert " ".join("system" if t.speaker == "system" else t.text for t in turns[:-1]) == said
    assert len({p.id for p in found}) == 3
    assert probes(talks[1:2], ["q"], "benign")[0].kind == "benign"
    with pytest.raises(DataError, match="at least one question"):
        probes(talks, [])


# -- outcomes beside projections ------------------------------------------------------------------------
def frame(**columns) -> pd.DataFrame:
    rows = [("x", i, e, *turn) for i, (e, turn) in enumerate(zip([0, 1, 1, 2, 2, 2, 3], TALK, strict=True))]
    rows += [("y", i, 1 + i // 2, "user" if i % 2 == 0 else "assistant", f"y{i}") for i in range(6)]
    table = pd.DataFrame(rows, columns=["conversation", "turn", "exchange", "speaker", "text"])
    return table.assign(projection=np.arange(13.0), layer=3, direction="axis", domain=table["conversation"] + " domain", **columns)


def responses(**complied) -> pd.DataFrame:
    names = ["y/e3", "x/e2", "y/e1", "x/e1", "y/e2"]
    known = {"y/e3": True, "x/e2": False, "y/e1": False, "x/e1": True, "y/e2": None} | complied
    return pd.DataFrame({"id": names, "complied": pd.array([known[n] for n in names], "boolean"), "item": [f"asked {n}" for n in names]})


def test_outcomes_stand_beside_the_reply_they_follow_with_all_that_was_said():
    table = harm_table(frame().sample(frac=1, random_state=0), responses()).set_index(["conversation", "exchange"])
    assert table.index.tolist() == [("x", 1), ("x", 2), ("y", 1), ("y", 3)]  # y/e2 has no outcome
    assert table["projection"].tolist() == [2, 5, 8, 12]  # of two replies in a row the last, which the question follows
    assert table["complied"].tolist() == [1, 0, 0, 1]
    assert table["item"].tolist() == ["asked x/e1", "asked x/e2", "asked y/e1", "asked y/e3"]
    assert table["text"].tolist() == ["a\nb", "a\nb\nc\nd\ne", "y0\ny1", "y0\ny1\ny2\ny3\ny4\ny5"]
    assert table["domain"].tolist() == ["x domain"] * 2 + ["y domain"] * 2
    assert (harm_table(frame().drop(columns="domain"), responses())["domain"] == "").all()


def test_harm_needs_one_place_and_an_outcome():
    for name in ("layer", "direction"):
        both = pd.concat([frame(), frame().assign(**{name: "another"})])
        with pytest.raises(DataError, match=f"beside one {name}; this trajectory has 2"):
            harm_table(both, responses())
    with pytest.raises(DataError, match="none of the 5 replies"):
        harm_table(frame(), responses().assign(complied=pd.NA))


# -- correlation and bins -------------------------------------------------------------------------------
def made(
    n: int = 60, turns: int = 6, *, slope: float = 0.0, base: float = -0.5, own: float = 0.0, shift: float = 0.0, domains: int = 2,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Compliance by a logistic rule of the projection, of the conversation (`own`: sd) and of the domain; the words say nothing."""
    rng, rows = np.random.default_rng(seed), []
    for c in range(n):
        place, said = own * rng.normal(), ""
        for t in range(1, turns + 1):
            said += " ".join(f"w{i}" for i in rng.integers(50, size=12)) + " "
            x = rng.normal()
            odds = base + place + shift * (c % domains) - slope * x
            rows.append((f"c{c:02}", f"d{c % domains}", t, x, int(rng.random() < 1 / (1 + np.exp(-odds))), "q", said))
    return pd.DataFrame(rows, columns=["conversation", "domain", "exchange", "projection", "complied", "item", "text"])


def test_correlations_are_over_probes_and_over_means_of_groups():
    table = made(slope=1.5)
    for by, n in (("conversation", 60), ("domain", 2)):
        found = projection_and_harm(table, by, n_boot=100).set_index("over")
        means = table.groupby(by)[["projection", "complied"]].mean()
        assert found.index.tolist() == ["probes", by]
        assert found["n"].tolist() == [360, n]
        assert found.loc["probes", "r"] == pytest.approx(correlation(table["projection"], table["complied"]))
        assert found.loc[by, "r"] == pytest.approx(correlation(means["projection"], means["complied"]))
    assert found.loc["probes", "high"] < 0


def test_a_correlations_interval_redraws_groups():
    """Six probes of a conversation that are alike are one."""
    alike = made(20, 1, slope=1.0)
    found = projection_and_harm(pd.concat([alike.assign(exchange=t) for t in range(6)]), n_boot=200)
    assert np.allclose(found.loc[0, ["r", "low", "high"]].astype(float), found.loc[1, ["r", "low", "high"]].astype(float))
    apart = pd.concat([alike.assign(conversation=alike["conversation"] + f"/{t}") for t in range(6)])
    narrow = projection_and_harm(apart, n_boot=200).loc[0]
    assert found.loc[0, "high"] - found.loc[0, "low"] > 1.8 * (narrow["high"] - narrow["low"])


def test_bins_hold_equally_many_probes_and_all_of_them():
    table = made(40, slope=2.0)
    bins = harm_bins(table, 8, "capped")
    assert bins["n"].tolist() == [30] * 8
    assert (bins["condition"] == "capped").all()
    assert bins["right"].tolist()[:-1] == bins["left"].tolist()[1:]
    assert (bins["left"].iloc[0], bins["right"].iloc[-1]) == (table["projection"].min(), table["projection"].max())
    for row in bins.to_dict("records"):
        last = row["bin"] == 7
        inside = table[(table["projection"] >= row["left"]) & ((table["projection"] < row["right"]) | last)]
        assert row["projection"] == pytest.approx(inside["projection"].mean())
        expected = wilson(inside["complied"].sum(), 30)
        assert (row["rate"], row["low"], row["high"]) == (expected.value, expected.low, expected.high)
    assert bins["rate"].iloc[0] > 0.8 > 0.3 > bins["rate"].iloc[-1]


def test_ties_share_a_bin():
    table = made(10, 4)
    one = harm_bins(table.assign(projection=2.5))
    assert one[["bin", "projection", "left", "right", "n"]].to_numpy().tolist() == [[0, 2.5, 2.5, 2.5, 40]]
    assert one["rate"].item() == table["complied"].mean()
    few = harm_bins(table.assign(projection=[0.0] * 30 + [1.0] * 7 + [2.0] * 3), 8)
    assert few[["n", "left", "right"]].to_numpy().tolist() == [[30, 0.0, 0.25], [10, 1.0, 2.0]]  # a bin begins with its left end


# -- early warning --------------------------------------------------------------------------------------
def warned(table: pd.DataFrame, ahead: tuple[int, ...] = (0,), n_boot: int = 60) -> pd.DataFrame:
    return early_warning(table, ahead, n_boot).set_index(["ahead", "predictor"])


def test_a_planted_rule_has_the_auc_that_it_must_have():
    slope, base = 1.2, -0.5
    x = np.linspace(-6, 6, 4001)
    density, chance = np.exp(-(x**2) / 2), 1 / (1 + np.exp(slope * x - base))
    yes, no = density * chance / (density * chance).sum(), density * (1 - chance) / (density * (1 - chance)).sum()
    expected = (yes * (1 - np.cumsum(no))).sum() + (yes * no).sum() / 2
    found = warned(made(100, slope=slope, base=base)).loc[0, PROJECTION]
    assert found["auc"] == pytest.approx(expected, abs=0.035)
    assert found["low"] < expected < found["high"]
    assert (found["n"], found["complied"]) == (600, made(100, slope=slope, base=base)["complied"].sum())


def test_telling_domains_apart_counts_for_nothing():
    table = made(60, shift=3.0, base=-1.5)
    flat = table.assign(projection=-(table["domain"] == "d1").astype(float))
    noisy = flat.assign(projection=flat["projection"] + 0.05 * table["projection"])
    assert auc(*(-noisy.loc[noisy["complied"] == y, "projection"] for y in (1, 0))) > 0.75  # what a pooled AUC would say
    assert warned(flat).loc[(0, PROJECTION), "auc"] == 0.5
    found = warned(noisy).loc[0, PROJECTION]
    assert found["low"] < 0.5 < found["high"]
    assert found["auc"] == pytest.approx(0.5, abs=0.08)


def test_pairs_are_weighed_alike_and_domains_with_one_outcome_count_for_nothing():
    table = made(30, slope=1.0, domains=3, shift=1.0)
    parts = [(-g.loc[g["complied"] == 1, "projection"], -g.loc[g["complied"] == 0, "projection"]) for _, g in table.groupby("domain")]
    pairs = [len(a) * len(b) for a, b in parts]
    value = warned(table).loc[(0, PROJECTION), "auc"]
    assert value == pytest.approx(np.average([auc(a, b) for a, b in parts], weights=pairs))
    never = table.assign(complied=0, domain="never", conversation="n" + table["conversation"], projection=-9.0)
    both = warned(pd.concat([table, never])).loc[0, PROJECTION]
    assert (both["auc"], both["n"]) == (value, 360)
    nobody = early_warning(table.assign(complied=(table["domain"] == "d0").astype(int)))
    assert list(nobody) == ["ahead", "predictor", "auc", "low", "high", "n", "complied"]
    assert nobody.empty
    assert early_warning(made(4)).empty  # fewer conversations than folds


def test_what_is_ahead_is_ahead():
    """Compliance follows the projection of the exchange before: known one ahead, at no other distance."""
    table = made(30)
    before = table.groupby("conversation")["projection"].shift()
    table["complied"] = np.where(before.isna(), table["complied"], before < 0).astype(int)
    found = warned(table, (0, 1, 2, 5, 6))
    assert found.loc[(1, PROJECTION), "auc"] == 1
    for k in (0, 2):
        assert found.loc[(k, PROJECTION), "auc"] == pytest.approx(0.5, abs=0.1)
    assert found.xs(PROJECTION, level="predictor")["n"].to_dict() == {0: 180, 1: 150, 2: 120, 5: 30}  # nothing is six ahead


def test_what_the_text_says_anyway_gains_nothing_and_a_signal_of_its_own_does():
    rng, table = np.random.default_rng(0), made(80, base=0.0)
    dark = rng.normal(size=len(table))
    said = [" ".join(np.where(rng.random(30) < 1 / (1 + np.exp(-2 * d)), "dark", "light")) for d in dark]
    share = np.array([text.count("dark") / 30 for text in said])
    table = table.assign(text=said, complied=(rng.random(len(table)) < 1 / (1 + np.exp(-6 * (share - 0.5)))).astype(int))
    copy = warned(table.assign(projection=0.5 - share + 0.1 * rng.normal(size=len(table))))
    assert copy.loc[(0, TEXT), "low"] > 0.65
    assert copy.loc[(0, PROJECTION), "low"] > 0.65
    assert copy.loc[(0, GAIN), "auc"] == pytest.approx(0, abs=0.01)
    assert copy.loc[(0, GAIN), "low"] <= 0
    own = warned(made(80, slope=1.5))
    assert own.loc[(0, TEXT), "low"] < 0.5 < own.loc[(0, TEXT), "high"]
    assert own.loc[(0, GAIN), "low"] > 0.1
    assert own.loc[(0, GAIN), "auc"] == pytest.approx(own.loc[(0, BOTH), "auc"] - own.loc[(0, TEXT), "auc"])


def test_words_that_say_nothing_are_worth_a_coin_even_where_conversations_differ():
    """Folds with many outcomes leave few to their fit: levels of fits would tell folds apart the wrong way round (AUC .37 here)."""
    found = [warned(made(24, 4, own=2.0, base=-1.0, domains=3, seed=s), n_boot=2)["auc"].loc[0] for s in range(10)]
    assert pd.DataFrame(found)[TEXT].mean() == pytest.approx(0.5, abs=0.06)
    assert pd.DataFrame(found)[GAIN].mean() == pytest.approx(0, abs=0.03)


def test_a_conversations_own_words_foretell_nothing_of_it():
    """Outcomes are a conversation's, and so is its name, said in every text; one conversation alone has them all in the second case."""
    table = made(40, own=4.0)
    named = table.assign(text=table["conversation"].map(lambda c: f"{c}word " * 5))
    assert abs(warned(named).loc[(0, TEXT), "auc"] - 0.5) < 0.15
    scores = [
        warned(made(20, 3, seed=s).assign(complied=lambda d: (d["conversation"] == "c03").astype(int)), n_boot=2).loc[(0, TEXT), "auc"]
        for s in range(8)
    ]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.1)
