import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site

from workbench.activations import Activations
from workbench.directions import contrast, role_vectors
from workbench.errors import DataError
from workbench.evaluation.splits import make_splits
from workbench.evaluation.spread import default_spread
from workbench.evaluation.verdict import FAIL, PASS, UNSURE, UNTESTED, Line, conclude, judge_method
from workbench.persona_space import PersonaSpace
from workbench.sweeps import _bootstrap_pc1, recommend, split_half_cosines, sweep_layers


def noisy(acts: Activations, size: list[float]) -> Activations:
    """Drown the planted direction in noise of a different size at each layer."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(acts.values.shape, generator=generator) * torch.tensor(size)[None, :, None]
    return Activations(acts.values + noise, acts.rows, acts.site)


@pytest.fixture
def splits(planted):
    acts, _, _ = planted
    return make_splits(acts.rows["role"], acts.rows["question_index"].tolist())


def test_splits_share_no_role_and_no_question(planted, splits):
    acts, _, _ = planted
    parts = {name: splits.part(acts, name).rows for name in ("fit", "choose", "report")}
    for a in parts:
        for b in parts:
            if a < b:
                assert set(parts[a]["role"]) & set(parts[b]["role"]) == {"default"}
                assert not set(parts[a]["question_index"]) & set(parts[b]["question_index"])
    assert sum(part == "fit" for part in splits.roles.values()) == 12


def test_splits_depend_on_the_seed_only(planted):
    acts, _, _ = planted
    roles, questions = acts.rows["role"], acts.rows["question_index"].tolist()
    assert make_splits(roles, questions, 1) == make_splits(reversed(list(roles)), questions, 1)
    assert make_splits(roles, questions, 1) != make_splits(roles, questions, 2)


def test_splits_survive_json(splits):
    import json

    assert type(splits).from_dict(json.loads(json.dumps(splits.to_dict()))) == splits


@pytest.mark.parametrize(("roles", "questions"), [(7, 6), (20, 2)])
def test_too_little_for_three_splits(roles, questions):
    with pytest.raises(DataError, match=f"there are {roles} and {questions}"):
        make_splits([f"r{i}" for i in range(roles)], list(range(questions)))


def test_the_less_noisy_layer_is_recommended(planted, splits):
    acts, _, _ = planted
    sweep = sweep_layers(noisy(acts, [20.0, 0.1]), splits, n_boot=100)
    assert sweep.recommendation.layer == 1
    table = sweep.table.set_index("layer")
    assert table.loc[1, "auc"] > 0.95 > table.loc[0, "auc"]
    assert table.loc[1, "split_half"] > 0.95
    assert (table["auc_low"] <= table["auc"]).all()
    assert (table["auc"] <= table["auc_high"]).all()


def test_shuffled_labels_separate_nothing(planted, splits):
    acts, _, _ = planted
    rng = np.random.default_rng(0)
    rows = acts.rows.assign(role=rng.permutation(acts.rows["role"]))
    table = sweep_layers(Activations(acts.values, rows, acts.site), splits, n_boot=50).table
    assert table["auc"].between(0.25, 0.75).all()
    assert (table["split_half"].abs() < 0.6).all()


def test_the_report_split_is_not_looked_at(planted, splits):
    """Wreck every row of the report split: the table's held-out numbers stay as they were."""
    acts, _, _ = planted
    wrecked = acts.values.clone()
    wrecked[torch.tensor(splits.mask(acts.rows, "report"))] *= -50
    columns = ["auc", "auc_low", "cohens_d", "cos_pc1", "default_rank"]
    a = sweep_layers(acts, splits, n_boot=30).table[columns]
    b = sweep_layers(Activations(wrecked, acts.rows, acts.site), splits, n_boot=30).table[columns]
    pd.testing.assert_frame_equal(a, b)


def test_bootstrap_of_pc1_from_inner_products_is_the_real_thing(planted):
    """The first draw by hand: redraw the roles, fit, compare."""
    vectors = role_vectors(planted[0])
    draws = _bootstrap_pc1(vectors, 0, 3, seed=4)
    roles = np.flatnonzero(vectors.rows["role"] != "default")
    index = np.random.default_rng(4).integers(len(roles), size=len(roles))
    matrix = vectors.values[:, 0].double().numpy()
    drawn, default = matrix[roles[index]], matrix[np.flatnonzero(vectors.rows["role"] == "default")[0]]
    pc1 = np.linalg.svd(drawn - drawn.mean(0))[2][0]
    axis = default - drawn.mean(0)
    assert draws[0] == pytest.approx(abs(pc1 @ axis) / np.linalg.norm(axis), abs=1e-9)


def test_split_halves_share_nothing(planted):
    acts, _, _ = planted
    cosines = split_half_cosines(role_vectors(acts), acts)
    assert cosines.shape == (40, 2)
    assert cosines.min() > 0.9


def table_of(auc: list[float], d: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"layer": range(len(auc)), "auc": auc, "cohens_d": d})


def draws_of(values: list[float], spread: float) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    common = rng.normal(size=200)
    return {i: v + spread * (common + rng.normal(size=200)) for i, v in enumerate(values)}


def test_a_clear_best_layer_wins():
    auc, d = [0.6, 0.9, 0.7], [0.3, 2.0, 0.6]
    found = recommend(table_of(auc, d), draws_of(auc, 0.001), draws_of(d, 0.001))
    assert (found.layer, found.tied, found.saturated) == (1, (1,), False)
    assert "above every other layer" in found.reason


def test_saturation_is_named_and_cohens_d_decides():
    auc, d = [0.995, 1.0, 1.0, 1.0], [2.0, 3.0, 4.0, 6.0]
    found = recommend(table_of(auc, d), draws_of(auc, 0.01), draws_of(d, 0.01))
    assert (found.layer, found.saturated) == (3, True)
    assert "saturated" in found.reason


def test_full_ties_go_to_the_middle():
    auc, d = [0.9] * 5, [2.0] * 5
    found = recommend(table_of(auc, d), draws_of(auc, 0.05), draws_of(d, 0.5))
    assert found.layer == 2
    assert "nearest the middle" in found.reason


def test_verdict_of_a_planted_axis_waits_for_the_causal_test(planted, splits):
    acts, _, _ = planted
    sweep = sweep_layers(acts, splits, n_boot=50)
    verdict = judge_method(acts, splits, sweep.table, sweep.recommendation.layer, "fully")
    assert [line.outcome for line in verdict.lines] == [PASS, PASS, PASS, UNTESTED]
    assert verdict.conclusion == "cannot tell: (iv) untested, the rest passed"


def test_verdict_of_noise_is_no():
    """No direction in the data at all: the tool must say so."""
    generator = torch.Generator().manual_seed(11)
    rows = [(name, i % 6) for name in ["default", *[f"r{i:02d}" for i in range(24)]] for i in range(48 if name == "default" else 12)]
    table = pd.DataFrame(rows, columns=["role", "question_index"]).assign(label=3)
    acts = Activations(torch.randn(len(table), 2, 32, generator=generator), table, make_site(2, 32))
    splits = make_splits(table["role"], table["question_index"].tolist())
    sweep = sweep_layers(acts, splits, n_boot=50)
    verdict = judge_method(acts, splits, sweep.table, sweep.recommendation.layer, "fully")
    assert verdict.conclusion.startswith("does not hold: (i)")


@pytest.mark.parametrize(
    ("outcomes", "conclusion"),
    [
        ((PASS, PASS, FAIL, PASS), "holds"),
        ((PASS, FAIL, PASS, UNTESTED), "does not hold: (ii) failed"),
        ((FAIL, PASS, PASS, FAIL), "does not hold: (i) and (iv) failed"),
        ((UNTESTED, PASS, PASS, UNTESTED), "cannot tell: (i) and (iv) untested, the rest passed"),
        ((UNTESTED, UNTESTED, UNTESTED, UNTESTED), "cannot tell: (i) and (ii) and (iv) untested"),
        ((PASS, UNSURE, PASS, UNTESTED), "cannot tell: too few rows for (ii), (iv) untested, the rest passed"),
        ((UNSURE, UNSURE, PASS, UNSURE), "cannot tell: too few rows for (i) and (ii) and (iv)"),
        ((UNSURE, PASS, PASS, FAIL), "does not hold: (iv) failed"),
    ],
)
def test_what_follows_from_the_lines(outcomes, conclusion):
    numbers = ("(i)", "(ii)", "(iii)", "(iv)")
    assert conclude(tuple(Line(f"{n} line", outcome, "") for n, outcome in zip(numbers, outcomes, strict=True))) == conclusion


def one_layer(**changed: float) -> pd.DataFrame:
    row = {"layer": 1, "split_half": 0.99, "split_half_low": 0.98, "split_half_high": 1.0, "cos_pc1": 0.9, "cos_pc1_low": 0.8,
           "cos_pc1_high": 0.95, "default_rank": 1.0}  # fmt: skip
    return pd.DataFrame([row | changed])


@pytest.mark.parametrize(
    ("cosine", "outcome", "said"),
    [
        (0.9, PASS, "(bound .900)"),
        (0.8, UNSURE, "about 2.2 times as many responses are needed"),
        (0.5, UNSURE, "about 9.0 times as many"),
        (0.2, FAIL, "(bound .900)"),
        (-0.1, FAIL, "(bound .900)"),
    ],
)
def test_an_axis_that_repeats_badly_may_need_more_responses(planted, splits, cosine, outcome, said):
    table = one_layer(split_half=cosine, split_half_low=cosine - 0.05, split_half_high=cosine + 0.05)
    line = judge_method(planted[0], splits, table, 1, "fully").lines[1]
    assert line.outcome == outcome
    assert said in line.evidence


def test_the_number_of_responses_said_to_be_needed_is_enough():
    """Halves of a planted contrast in noise: with as many more responses as the verdict asks for they agree at about the bound."""
    rng, signal = np.random.default_rng(3), np.zeros(200)
    signal[0] = 1.0

    def agreement(n: int) -> float:
        halves = [signal + rng.normal(size=(100, 200)) / np.sqrt(n) for _ in range(2)]
        return float(np.mean((halves[0] * halves[1]).sum(1) / np.linalg.norm(halves[0], axis=1) / np.linalg.norm(halves[1], axis=1)))

    few = agreement(200)
    assert 0.4 < few < 0.6
    times = (1 / few - 1) / (1 / 0.9 - 1)
    assert agreement(round(200 * times)) == pytest.approx(0.9, abs=0.02)


def test_a_component_that_may_or_may_not_be_the_axis(planted, splits):
    def third(**changed: float) -> str:
        return judge_method(planted[0], splits, one_layer(**changed), 1, "fully").lines[2].outcome

    assert third() == PASS
    assert third(cos_pc1=0.6, cos_pc1_low=0.4, cos_pc1_high=0.7) == UNSURE
    assert third(cos_pc1=0.3, cos_pc1_low=0.2, cos_pc1_high=0.4) == third(default_rank=0.9) == FAIL


def test_few_roles_cannot_tell_and_the_number_that_could_is_said(planted, splits):
    """A weak separation: the interval holds the bound, and the evidence says how many held-out roles would decide."""
    acts, _, _ = planted
    seen = set()
    for size in (0.1, 1.0, 3.0, 6.0, 12.0, 24.0, 48.0):
        line = judge_method(noisy(acts, [size, size]), splits, one_layer(), 1, "fully").lines[0]
        seen.add(line.outcome)
        assert ("held-out roles are too few to tell" in line.evidence) == (line.outcome == UNSURE)
    assert seen == {PASS, UNSURE, FAIL}


def answered_twice(default: int = 1) -> Activations:
    """Six questions, three answers to each: roles along the first coordinate, the default at one place of it or at both ends by turns."""
    rng = np.random.default_rng(4)
    rows, values = [], []
    for name, place in [("default", 3.0), *[(f"r{i:02d}", -2 + i / 4) for i in range(16)]]:
        for i in range(18 if name != "default" else 48):
            centre = place * (-1) ** (i // 6) if name == "default" and default == 2 else place
            rows.append((name, i % 6))
            values.append([centre, 3 * (i % 6), 0, 0, 0, 0] + rng.normal(size=6) * 0.3)
    table = pd.DataFrame(rows, columns=["role", "question_index"]).assign(label=3)
    return Activations(torch.tensor(np.array(values), dtype=torch.float32)[:, None], table, make_site(1, 6))


def spread_of(acts: Activations) -> tuple[float, int]:
    found = default_spread(acts, PersonaSpace(0).fit(role_vectors(acts, min_count=1)))
    assert found is not None
    assert found[0].low < found[0].value < found[0].high
    return found[0].value, found[1]


def test_a_default_of_two_personas_is_seen_in_its_answers_to_one_question():
    """What questions do to answers (the second coordinate) does not count; two places of the default along PC1 do."""
    assert 0.7 < spread_of(answered_twice())[0] < 1.4
    ratio, component = spread_of(answered_twice(default=2))
    assert component == 1
    assert ratio == pytest.approx(3.0 / 0.3, rel=0.2)


def test_a_default_of_two_personas_fails_the_first_line():
    outcomes = {}
    for default in (1, 2):
        acts = answered_twice(default)
        splits = make_splits(acts.rows["role"], acts.rows["question_index"].tolist())
        table = one_layer(layer=0)
        outcomes[default] = judge_method(acts, splits, table, 0, "fully").lines[0]
    assert outcomes[1].outcome == PASS
    assert "times as far apart as a role's (bound: interval below 2" in outcomes[1].evidence
    assert outcomes[2].outcome == FAIL


def test_the_same_answer_each_time_shows_no_spread():
    """Greedy decoding: roles that never vary are no measure, a default that never varies is one persona."""
    acts = answered_twice()
    first = acts.rows.groupby(["role", "question_index"])["label"].transform(lambda g: g.index[0]).to_numpy()
    default = (acts.rows["role"] == "default").to_numpy()

    def greedy(who: np.ndarray) -> Activations:
        return Activations(acts.values[np.where(who, first, np.arange(len(acts)))], acts.rows, acts.site)

    for still, expected in ((greedy(~default), None), (greedy(default | ~default), None)):
        assert default_spread(still, PersonaSpace(0).fit(role_vectors(still, min_count=1))) is expected
    assert spread_value(greedy(default)) == pytest.approx(0, abs=1e-6)


def spread_value(acts: Activations) -> float:
    found = default_spread(acts, PersonaSpace(0).fit(role_vectors(acts, min_count=1)))
    assert found is not None
    return found[0].value


def test_single_answers_show_no_spread(planted):
    acts = answered_twice()
    once = acts.take(np.flatnonzero(~acts.rows.duplicated(["role", "question_index"])))
    assert default_spread(once, PersonaSpace(0).fit(role_vectors(once, min_count=1))) is None


def test_contrast_and_space_agree_on_the_middle(planted):
    vectors = role_vectors(planted[0])
    assert float(PersonaSpace(0).fit(vectors).component(1).cosine(contrast(vectors).at(0))[0]) > 0.97


# -- layer -1 -----------------------------------------------------------------------------------------
def as_words(acts: Activations, size: float) -> Activations:
    """One layer of the same responses, drowned in noise."""
    noise = size * torch.randn(len(acts), 1, acts.site.d_model, generator=torch.Generator().manual_seed(8))
    return Activations(acts.values[:, :1] + noise, acts.rows, acts.site.with_layers([-1]))


def test_the_gain_over_the_words_is_the_difference_of_paired_areas(planted, splits):
    acts, _, _ = planted
    noised = noisy(acts, [0.1, 400.0])
    plain = sweep_layers(noised, splits, n_boot=60)
    sweep = sweep_layers(noised, splits, n_boot=60, words=as_words(acts, 1.2))
    table = sweep.table.set_index("layer")
    assert list(table.index) == [-1, 0, 1]
    assert table.loc[0, "gain"] == pytest.approx(table.loc[0, "auc"] - table.loc[-1, "auc"])
    assert table.loc[-1, ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert table.loc[0, "gain_low"] > 0 > table.loc[1, "gain_high"]
    assert sweep.recommendation == plain.recommendation
    pd.testing.assert_frame_equal(plain.table, sweep.table.iloc[1:][list(plain.table)].reset_index(drop=True))


def test_words_that_say_it_all_leave_no_gain_and_are_never_recommended(planted, splits):
    acts, _, _ = planted
    same = Activations(acts.values[:, :1], acts.rows, acts.site.with_layers([-1]))
    sweep = sweep_layers(noisy(acts, [3.0, 9.0]), splits, n_boot=60, words=same)
    table = sweep.table.set_index("layer")
    assert (table.loc[[0, 1], "gain"] <= 0).all()
    assert sweep.recommendation.layer in (0, 1)


def test_words_of_other_responses_are_refused(planted, splits):
    acts, _, _ = planted
    words = as_words(acts, 1.0)
    with pytest.raises(DataError, match="different responses, or the same in another order"):
        sweep_layers(acts, splits, words=words.take(range(len(words) - 1)))
    with pytest.raises(DataError, match="another order"):
        sweep_layers(acts, splits, words=words.take(list(reversed(range(len(words))))))


def test_the_verdict_says_what_the_words_alone_reach(planted, splits):
    acts, _, _ = planted
    words = as_words(acts, 6.0)
    sweep = sweep_layers(acts, splits, n_boot=50, words=words)
    line = judge_method(acts, splits, sweep.table, sweep.recommendation.layer, "fully", words=words).lines[0]
    bare = judge_method(acts, splits, sweep.table, sweep.recommendation.layer, "fully").lines[0]
    assert (line.outcome, line.value) == (bare.outcome, bare.value)
    assert line.evidence.startswith(bare.evidence.split("; along PC")[0] + "; the words alone, as a bag of input embeddings, reach 0.")
