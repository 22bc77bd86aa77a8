"""Causes, by simulation with known truth: what is planted is found; domains, conversations and repeats that only look like it are not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from workbench.drift import causes
from workbench.drift.causes import (
    ALONE,
    ALPHAS,
    BY_DOMAIN,
    BY_MESSAGE,
    BY_PERSONA,
    GAIN,
    IN_SAMPLE,
    PERMUTED,
    WORDS,
    crossed_folds,
    dealt_folds,
    exchange_table,
    foretold,
    group_folds,
    r_squared,
    ridge_causes,
)
from workbench.errors import DataError

DIM = 8


def talks(
    n: int = 40, turns: int = 6, effect: float = 0.0, own: float = 0.0, shift: float = 1.5, domains: int = 3, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Domains differ in level and in what is said; within them only `effect` ties a message to its reply. `own`: conversations' sd."""
    rng = np.random.default_rng(seed)
    weights, centres = np.full(DIM, DIM**-0.5), rng.normal(0, 2, (domains, DIM))
    rows, vectors = [], []
    for c in range(n):
        place = own * rng.normal()
        for t in range(1, turns + 1):
            said = rng.normal(size=DIM)
            level = place - shift * (c % domains) - 0.2 * t + effect * said @ weights + rng.normal()
            rows.append((f"c{c:02}", f"d{c % domains}", f"p{c % 4}", t, f"m{c}/{t}", level))
            vectors.append(centres[c % domains] + said)
    table = pd.DataFrame(rows, columns=["conversation", "domain", "persona", "exchange", "message", "level"])
    return table.assign(change=table.groupby("conversation")["level"].diff()), np.array(vectors)


@pytest.fixture
def quick(monkeypatch):
    """Two permutations where they are not what is tested."""
    monkeypatch.setattr(causes, "PERMUTATIONS", 2)


def found(table: pd.DataFrame, vectors: np.ndarray, target: str = "level", n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
    return ridge_causes(table, vectors, target, n_boot=n_boot, seed=seed).set_index(["model", "folds"])


def naive(table: pd.DataFrame, vectors: np.ndarray) -> float:
    """R2 of the usual cross-validation, which deals rows."""
    y = table["level"].to_numpy()
    return r_squared(y, cross_val_predict(Ridge(1.0), vectors, y, cv=KFold(5, shuffle=True, random_state=0)), y.mean())


# -- planted effects and traps --------------------------------------------------------------------------
def test_an_effect_of_messages_is_found_beyond_domain_and_turn_and_beyond_chance():
    table = found(*talks(effect=1.0))
    gain, chance = table.loc[GAIN, BY_MESSAGE], table.loc[PERMUTED, BY_MESSAGE]
    assert gain["low"] > 0.1
    assert table.loc[(GAIN, BY_PERSONA), "low"] > 0.1
    assert chance["low"] < 0 < 0.05 > chance["high"]
    assert chance["low"] <= chance["r2"] <= chance["high"] < gain["low"]
    assert gain["r2"] == pytest.approx(table.loc[(WORDS, BY_MESSAGE), "r2"] - table.loc[(ALONE, BY_MESSAGE), "r2"])


@pytest.mark.parametrize("seed", range(4))
def test_messages_that_only_say_the_domain_gain_nothing_whatever_the_sample_says(seed):
    table = found(*talks(seed=seed), seed=seed)
    assert table.loc[("message", IN_SAMPLE), "r2"] > 0.3  # the trap
    assert table.loc[("message", BY_MESSAGE), "r2"] > 0.25  # and the domain passes through unseen messages too
    for folds in (BY_MESSAGE, BY_PERSONA):
        assert table.loc[(GAIN, folds), "low"] <= 0
        assert -0.04 < table.loc[(GAIN, folds), "r2"] < 0.02
    chance = table.loc[PERMUTED, BY_MESSAGE]
    assert chance["low"] <= 0
    assert -0.02 < chance["r2"] < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_a_conversations_name_foretells_nothing(quick, seed):
    """Every conversation has a level and a vector of its own: dealt by rows nearly all is foretold, held out nothing is."""
    table, _ = talks(30, own=4.0, shift=0.0, seed=seed)
    rng = np.random.default_rng(seed)
    vectors = np.repeat(3 * rng.normal(size=(30, 40)), 6, axis=0) + 0.1 * rng.normal(size=(180, 40))
    assert naive(table, vectors) > 0.6
    results = found(table, vectors)
    for folds in (BY_MESSAGE, BY_PERSONA):
        assert results.loc[(GAIN, folds), "low"] <= 0
        assert -0.6 < results.loc[(GAIN, folds), "r2"] < 0.1
    assert results.loc[("message", BY_MESSAGE), "r2"] < 0.1


def test_a_message_said_again_is_not_foretold_by_itself(quick):
    """Forty messages with a level each that their vectors do not tell, the same for every persona and domain."""
    table, _ = talks(48, shift=0.0)
    rng = np.random.default_rng(1)
    which, levels, vectors = rng.integers(40, size=len(table)), 2 * rng.normal(size=40), rng.normal(size=(40, 60))
    table = table.assign(message=[f"m{i}" for i in which], level=levels[which] + 0.5 * rng.normal(size=len(table)))
    assert naive(table, vectors[which]) > 0.8
    results = found(table, vectors[which])
    for folds in (BY_MESSAGE, BY_PERSONA):
        assert results.loc[(GAIN, folds), "low"] <= 0
        assert results.loc[(GAIN, folds), "r2"] < 0.05
    assert results.loc[(GAIN, BY_MESSAGE), "r2"] > -0.3


def test_messages_exchanged_keep_domain_turn_and_company(monkeypatch):
    """What is permuted: each conversation gets all the messages of another one of its domain, each at its turn; nothing else changes."""
    table, vectors = talks(15)
    y, cells = table["level"].to_numpy(), (table["domain"] + "/" + table["exchange"].astype(str)).to_numpy()
    seen = []
    monkeypatch.setattr(causes, "foretold", lambda x, *others: seen.append((x, *others)) or (np.zeros(len(y)), np.zeros(len(y))))
    ridge_causes(table, vectors, n_boot=2)
    messages = {tuple(v): i for i, v in enumerate(vectors)}
    permuted = [call for call in seen if not np.array_equal(call[0], vectors)]
    assert len(permuted) == causes.PERMUTATIONS
    for x, own, own_cells, *_ in permuted:
        assert np.array_equal(own, y)
        assert np.array_equal(own_cells, cells)
        source = table.iloc[[messages[tuple(v)] for v in x]].reset_index(drop=True)
        assert sorted(source.index) == sorted(set(source.index))
        assert (source[["domain", "exchange"]] == table[["domain", "exchange"]]).all().all()
        pairs = pd.DataFrame({"to": table["conversation"], "source": source["conversation"]}).drop_duplicates()
        assert len(pairs) == pairs["to"].nunique() == pairs["source"].nunique() == 15
        assert (pairs["to"] != pairs["source"]).all()
    assert len({tuple(call[0].ravel()) for call in permuted}) > 15


def test_every_figure_but_those_in_sample_has_seen_neither_message_nor_conversation(monkeypatch):
    table, vectors = talks(24, 3)
    names, nothing, calls = np.random.default_rng(0).integers(12, size=len(table)).astype(str), np.zeros(len(table)), []
    monkeypatch.setattr(causes, "foretold", lambda x, y, cells, folds, talk: calls.append(list(folds)) or (nothing, nothing))
    table = ridge_causes(table.assign(message=names), vectors, n_boot=2)
    held = [folds for folds in calls if len(folds) > 1]
    assert len(calls) - len(held) == (table["folds"] == IN_SAMPLE).sum() == 2
    assert len(held) == 4 + causes.PERMUTATIONS  # by message (twice), persona and domain
    conversations = np.repeat(np.arange(24), 3)
    for train, test in (fold for folds in held for fold in folds):
        assert not set(names[train]) & set(names[test])
        assert not set(conversations[train]) & set(conversations[test])


# -- noise and averaging --------------------------------------------------------------------------------
def test_noise_hides_a_change_and_averaged_replies_bring_it_back_but_not_beyond_what_there_is(quick):
    table, vectors = talks(60, effect=1.0, shift=0.0, seed=3)
    replies = table["level"].to_numpy()[:, None] + np.random.default_rng(0).normal(0, 2.5, (len(table), 8))
    r2 = []
    for k in (1, 2, 8):
        levels = pd.Series(replies[:, :k].mean(1), pd.MultiIndex.from_arrays([table["conversation"], 2 * table["exchange"] - 1]))
        measured = exchange_table(frame_of(table), levels)
        assert measured["message"].tolist() == table["message"].tolist()
        r2.append(found(measured, vectors, "change").loc[(WORDS, BY_MESSAGE), "r2"])
    ceiling = found(table, vectors, "change").loc[(WORDS, BY_MESSAGE)]
    assert r2[0] + 0.02 < r2[1] < r2[2] - 0.02 < r2[2] < ceiling["r2"]
    assert ceiling["n"] == 300  # first replies have no change


def frame_of(table: pd.DataFrame) -> pd.DataFrame:
    """A trajectory in which these messages and replies follow one another."""
    asked = table.assign(turn=2 * table["exchange"] - 2, speaker="user", text=table["message"], projection=7.0)
    said = table.assign(turn=2 * table["exchange"] - 1, speaker="assistant", text="yes", projection=table["level"])
    return pd.concat([asked, said]).drop(columns=["message", "level", "change"]).sort_values(["conversation", "turn"], ignore_index=True)


# -- what is given for what is there --------------------------------------------------------------------
@pytest.mark.parametrize(("personas", "domains"), [(1, 1), (2, 1), (1, 2)])
def test_folds_by_user_and_domain_are_there_where_there_are_two(quick, personas, domains):
    table, vectors = talks(12, 2)
    number = table["conversation"].str[1:].astype(int)
    table = table.assign(persona=(number % personas).astype(str), domain=(number // 6 % domains).astype(str))
    given = {folds for _, folds in found(table, vectors, n_boot=5).index}
    assert given == {BY_MESSAGE, IN_SAMPLE} | ({BY_PERSONA} if personas > 1 else set()) | ({BY_DOMAIN} if domains > 1 else set())


def test_ten_conversations_are_needed(quick):
    with pytest.raises(DataError, match="take 10 conversations; there are 9"):
        ridge_causes(*talks(9))
    table, vectors = talks(10, 2)
    assert len(found(table, vectors, "change", n_boot=5))
    with pytest.raises(DataError, match="there are 9"):  # of those whose change is known
        ridge_causes(table.assign(change=table["change"].where(table["conversation"] != "c03")), vectors, "change")


def test_a_domain_left_out_is_measured_about_its_own_mean(quick):
    """Domains ten apart: about the mean of all even another domain's level would look good."""
    table, vectors = talks(20, shift=10.0, effect=2.0)
    y, domains = table["level"].to_numpy(), table["domain"].to_numpy()
    folds = list(group_folds(domains, table["message"], 5, 0))
    predicted = foretold(vectors, y, np.zeros(len(y)), folds, table["conversation"].to_numpy())[1]
    means = pd.Series(y).groupby(domains).transform("mean")
    given = found(table, vectors).loc["message", BY_DOMAIN]
    assert given["r2"] == pytest.approx(1 - ((y - predicted) ** 2).sum() / ((y - means) ** 2).sum())
    assert given["r2"] < r_squared(y, predicted, y.mean()) - 5


def test_rows_that_nothing_can_foretell_count_in_no_figure(quick):
    table, vectors = talks(12, 3)
    alone = table.assign(message="the same", domain="d")
    same = np.ones_like(vectors)
    none = found(alone.assign(persona="p"), same).loc[:, BY_MESSAGE, :]
    assert (none["n"] == 0).all()
    assert none[["r2", "low", "high"]].isna().all().all()
    # One persona has one row: whoever says the same kind of thing as it (its fold of messages) has nobody to learn from.
    first = table["conversation"] == "c00"
    keep = (~first | (table["exchange"] == 1)).to_numpy()
    table, vectors = table[keep].assign(persona=np.where(first[keep], "a", "b")).reset_index(drop=True), vectors[keep]
    tested = np.concatenate([test for _, test in group_folds(table["persona"], table["message"], 5, 0)])
    assert 0 < len(tested) < len(table) == 34
    given = found(table, vectors).loc[ALONE, BY_PERSONA]
    assert given["n"] == len(tested)
    assert np.isfinite(given[["r2", "low", "high"]].astype(float)).all()


# -- intervals ------------------------------------------------------------------------------------------
def test_whole_conversations_are_redrawn(quick):
    """Six rows of a conversation that are alike are one row."""
    table, vectors = talks(24, 1)
    many = pd.concat([table.assign(exchange=t, message=table["message"] + f"/{t}") for t in range(6)], ignore_index=True)
    columns = ["r2", "low", "high"]
    once, often = (found(t, v).loc[(ALONE, IN_SAMPLE), columns] for t, v in ((table, vectors), (many, np.tile(vectors, (6, 1)))))
    assert np.allclose(once.astype(float), often.astype(float))
    assert once["high"] - once["low"] > 0.2


def test_a_gains_interval_is_paired(quick):
    table, vectors = talks(own=1.0)
    nothing = found(table, np.zeros_like(vectors))
    assert nothing.loc[(GAIN, BY_MESSAGE), ["r2", "low", "high"]].abs().max() < 1e-12
    width = (lambda rows: rows["high"] - rows["low"])(found(*talks(effect=1.0, own=1.0)).loc[:, BY_MESSAGE, :])
    assert width[ALONE] > 0.2
    assert width[GAIN] < 0.7 * width[ALONE]


def test_seeds_reproduce(quick):
    table, vectors = talks(12, 3)
    assert ridge_causes(table, vectors, n_boot=20, seed=4).equals(ridge_causes(table, vectors, n_boot=20, seed=4))
    assert not ridge_causes(table, vectors, n_boot=20, seed=4).equals(ridge_causes(table, vectors, n_boot=20, seed=5))


def test_r_squared_is_negative_where_the_mean_foretells_better():
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert r_squared(y, y, y.mean()) == 1
    assert r_squared(y, np.full(4, 2.5), y.mean()) == 0
    assert r_squared(y, y[::-1], y.mean()) == pytest.approx(-3)
    assert r_squared(y, np.array([np.nan, 2, 4, np.nan]), y.mean()) == pytest.approx(-1)
    assert np.isnan(r_squared(np.ones(4), y, 1.0))
    assert np.isnan(r_squared(y, np.full(4, np.nan), y.mean()))


# -- folds and fits -------------------------------------------------------------------------------------
@pytest.mark.parametrize("messages", [400, 30, 3])
def test_every_row_is_tested_once_by_a_fit_that_saw_neither_its_conversation_nor_its_message(messages):
    rng = np.random.default_rng(0)
    a, b = np.repeat(np.arange(40), 10), rng.integers(messages, size=400)
    for folds in (list(crossed_folds(a, b, 5, 1)), list(group_folds(a % 4, b, 5, 1))):
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(400))
        for train, test in folds:
            assert not set(b[train]) & set(b[test])
            assert len(train)
    assert all(not set(a[train]) & set(a[test]) for train, test in crossed_folds(a, b, 5, 1))
    assert all(len(set(a[test] % 4)) == 1 and not set(a[train] % 4) & set(a[test] % 4) for train, test in group_folds(a % 4, b, 5, 1))


def test_folds_that_would_be_empty_are_not_there():
    assert list(crossed_folds(np.arange(20), np.zeros(20), 5)) == []
    assert list(dealt_folds(np.zeros(20), 5)) == []
    assert len(list(dealt_folds(["a", "b", "c"] * 5, 5))) == 3
    lone = list(crossed_folds(np.arange(20), np.arange(20), 5))  # both dealt apart: some pairs of folds meet nowhere
    assert len(lone) < 25
    assert sorted(np.concatenate([test for _, test in lone])) == list(range(20))


def test_cells_foretell_their_mean_in_training_and_unknown_ones_that_of_all():
    y, cells = np.array([1.0, 3.0, 10.0, 20.0, 99.0]), np.array(["a", "a", "b", "a", "c"])
    alone, both = foretold(np.zeros((5, 2)), y, cells, [(np.array([0, 1, 2]), np.array([3, 4]))], np.arange(5))
    assert alone[3:].tolist() == [2.0, pytest.approx(14 / 3)]
    assert np.isnan(alone[:3]).all()
    assert np.array_equal(alone, both, equal_nan=True)


@pytest.mark.parametrize("dim", [5, 80])
def test_every_penalty_at_once_is_scikit_learns_ridge(dim):
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(30, dim)), rng.normal(size=30), rng.normal(size=(7, dim))
    paths = causes._paths(x, y, new)
    assert np.allclose(paths, [Ridge(alpha).fit(x, y).predict(new) for alpha in ALPHAS])
