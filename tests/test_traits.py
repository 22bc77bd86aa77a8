"""Trait vectors: planted ones are found, pairs are kept by the paper's rule, and a run's traits lie where the world put them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site
from plot_checks import check_themes

from workbench import plots
from workbench.activations import Activations
from workbench.conversations import Trait
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.library import load_traits
from workbench.organism import CHECKPOINT
from workbench.organism.check_traits import planted_directions
from workbench.organism.judge import load_world
from workbench.organism.phrases import TRAITS
from workbench.organism.trait_pairs import RuleTraits, trait_entry, trait_pairs
from workbench.persona_space import PersonaSpace
from workbench.store import open_run
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.study.traits import trait_cosines, trait_vectors, traits_found, traits_step
from workbench.traits import cosine_with_axis, half_differences, kept_pairs, least, paired, trait_roles

QUIET = lambda step, done, total: None  # noqa: E731


# -- pairs --------------------------------------------------------------------------------------------
def test_a_trait_is_two_roles_whose_prompts_belong_together():
    plus, minus = trait_roles([Trait("wry", (("a", "b"), ("c", "d"), ("e", "f")))], pairs=2)
    assert (plus.name, plus.prompts) == ("wry +", ("a", "c"))
    assert (minus.name, minus.prompts) == ("wry -", ("b", "d"))


def rows(**changes) -> pd.DataFrame:
    records = [
        {"row": f"{trait} {side}/{i}", "role": f"{trait} {side}", "prompt_index": i % 2, "question_index": i // 2, "sample": 0, "error": "",
         "label": (80 if side == "+" else 20) if trait == "wry" else 50}
        for trait in ("wry", "dull") for side in "+-" for i in range(12)
    ]  # fmt: skip
    return pd.DataFrame(records).astype({"label": "Int64"}).assign(**changes)


def test_answers_to_the_same_question_under_the_same_pair_stand_side_by_side():
    both = paired(rows())
    assert len(both) == 24
    wry = both[both["trait"] == "wry"]
    assert (wry["plus"].str.replace("+", "-") == wry["minus"]).all()
    assert (wry["gap"] == 60).all()


def test_pairs_that_do_not_show_the_trait_are_dropped_and_failed_answers_take_their_partner_along():
    table = rows()
    table.loc[0, "error"] = "empty answer"
    table.loc[1, "label"] = pd.NA
    both = paired(table)
    assert len(both) == 23
    kept = kept_pairs(both, judged=True)
    assert set(kept["trait"]) == {"wry"}
    assert len(kept) == 10
    assert len(kept_pairs(both, judged=False)) == 23
    assert len(kept_pairs(both, judged=True, min_gap=61)) == 0


def test_how_many_pairs_a_vector_takes():
    assert least(paired(rows())) == 8
    assert least(pd.concat([paired(rows())] * 3)) == 10
    assert least(paired(rows().head(0))) == 2


# -- vectors ------------------------------------------------------------------------------------------
def sides(n: int, cosine: float, noise: float = 0.05) -> tuple[Activations, Activations, Direction]:
    """Answers whose difference lies at a given cosine with the axis, whatever else they share."""
    rng = np.random.default_rng(n)
    axis, other = np.eye(16)[0], np.eye(16)[1]
    shared = rng.normal(size=(n, 2, 16)) * 3
    away = cosine * axis + np.sqrt(1 - cosine**2) * other
    values = [shared + side * away / 2 + rng.normal(size=(n, 2, 16)) * noise for side in (1, -1)]
    table = pd.DataFrame({"row": [str(i) for i in range(n)], "role": "x"})
    acts = [Activations(torch.tensor(v, dtype=torch.float32), table, make_site(2, 16)) for v in values]
    return acts[0], acts[1], Direction(torch.tensor(np.stack([axis, axis]), dtype=torch.float32), acts[0].site, "axis", "default")


@pytest.mark.parametrize("planted", [-0.9, -0.3, 0.0, 0.6])
def test_the_planted_cosine_is_found(planted):
    plus, minus, axis = sides(60, planted)
    found = cosine_with_axis(plus, minus, axis, 1)
    assert found.value == pytest.approx(planted, abs=0.06)
    assert found.low <= found.value <= found.high
    assert cosine_with_axis(minus, plus, axis, 1).value == pytest.approx(-found.value)
    halves = half_differences(plus, minus)
    assert halves.shape == (2, 2, 16)
    assert np.allclose(halves.mean(0), (plus.values.mean(0) - minus.values.mean(0)).numpy(), atol=1e-5)


def test_one_pair_is_no_trait():
    plus, minus, _ = sides(1, 0.5)
    with pytest.raises(DataError, match="at least two pairs"):
        half_differences(plus, minus)


# -- the organism -------------------------------------------------------------------------------------
def test_its_pairs_differ_in_the_trait_and_in_little_else():
    world = load_world(CHECKPOINT)
    for trait in TRAITS:
        pairs = trait_pairs(world, trait)
        assert len(pairs) == 10
        assert len({p.name for pair in pairs for p in pair}) == 20
        assert all(x.traits[trait] - y.traits[trait] >= 1 and abs(x.a - y.a) < 0.5 and not (x.held_out or y.held_out) for x, y in pairs)


def test_the_shipped_traits_are_the_worlds():
    shipped = {trait.name: trait for trait in load_traits(CHECKPOINT)}
    world = load_world(CHECKPOINT)
    assert set(shipped) == set(TRAITS)
    for name, trait in shipped.items():
        assert [list(pair) for pair in trait.pairs] == [[p["positive"], p["negative"]] for p in trait_entry(world, name)["pairs"]]


@pytest.mark.parametrize("trait", ["warmth", "formality", "brevity"])
def test_the_rules_tell_the_ends_of_a_trait(trait):
    import random
    from dataclasses import replace

    from workbench.organism.questions import draw_question

    world, judge, rng = load_world(CHECKPOINT), RuleTraits(CHECKPOINT), random.Random(0)
    ends = [replace(world.default, traits=world.default.traits | {trait: value}) for value in (1.0, -1.0)]
    high, low = (
        [judge.judge(trait, "", world.respond(rng, draw_question(rng, "fact"), 0.5, end)).label for _ in range(60)] for end in ends
    )
    assert np.mean(high) > 90
    assert np.mean(low) < 15
    assert judge.judge("wit", "", "x").error == "the world knows no trait 'wit'"
    assert judge.judge("archaic", "", "Nothing of the kind.").error == "no slot of this trait was spoken"


@pytest.fixture(scope="module")
def studied(tmp_path_factory, organism):
    run = run_study("organism", tmp_path_factory.mktemp("traits") / "run", roles=40, questions=4, prompts=2)
    traits_step(run, Lazy(run, organism), QUIET, questions=5)
    return open_run(run.folder)


def test_three_of_its_traits_are_found(studied):
    """|cosine| with the direction of the latent; the fourth speaks in an eighth of the answers, and has too few pairs."""
    layer = 4
    planted, vectors = planted_directions(load_world(CHECKPOINT), studied.role_vectors, layer), trait_vectors(studied)
    cosines = {}
    for name, vector in zip(vectors.rows["role"], vectors.at(layer).values[:, 0].double().numpy(), strict=True):
        own = planted[name]
        cosines[name] = float(vector @ own / np.linalg.norm(vector) / np.linalg.norm(own))
        others = [abs(float(vector @ planted[t] / np.linalg.norm(vector) / np.linalg.norm(planted[t]))) for t in TRAITS if t != name]
        assert cosines[name] > 0.75
        assert max(others) < 0.5
    assert set(cosines) == {"warmth", "formality", "brevity"}
    assert sorted(cosines.values())[1] > 0.85


def test_the_table_says_how_many_pairs_showed_it(studied):
    table = pd.read_csv(studied.folder / "tables" / "traits.csv").set_index("trait")
    assert (table["asked"] == 50).all()
    assert table.loc["archaic", "n"] == 0
    assert table.loc["archaic", "kept"] < 10
    assert (table.loc[["warmth", "formality", "brevity"], "gap"] > 60).all()
    assert (table["cos_axis_low"].dropna() <= table["cos_axis"].dropna()).all()
    assert "3 of 4 traits have a vector, 3 of them repeat" in traits_found(studied)
    path = studied.folder / "tables" / "traits.csv"
    before = path.read_text()
    pd.read_csv(path).assign(halves=0.1).to_csv(path, index=False)
    assert "none repeats on the other half" in traits_found(studied)
    path.write_text(before)


@pytest.mark.parametrize(
    ("cosines", "said"),
    [
        ((-0.4, 0.3), "towards the Assistant b +0.30 [+0.20, +0.40]; away from it a -0.40 [-0.50, -0.30]."),
        ((0.1, 0.3), "towards the Assistant b +0.30 [+0.20, +0.40], a +0.10 [+0.00, +0.20]; away from it none."),
        ((-0.3, -0.4), "towards the Assistant none; away from it b -0.40 [-0.50, -0.30], a -0.30 [-0.40, -0.20]."),
    ],
)
def test_no_trait_is_named_at_both_ends(tmp_path, cosines, said):
    (tmp_path / "tables").mkdir()
    table = pd.DataFrame({"trait": ["a", "b"], "n": 20, "halves": 0.9, "cos_axis": cosines})
    table = table.assign(cos_axis_low=table["cos_axis"] - 0.1, cos_axis_high=table["cos_axis"] + 0.1)
    table.to_csv(tmp_path / "tables" / "traits.csv", index=False)
    assert traits_found(SimpleNamespace(folder=tmp_path, recommended_layer=3)).endswith(said)


def test_what_is_there_is_not_done_again(studied, organism, monkeypatch):
    monkeypatch.setattr("workbench.served.run_batch", lambda *a: pytest.fail("asked again"))
    monkeypatch.setattr("workbench.study.traits.mean_activations", lambda *a: pytest.fail("read again"))
    before = (studied.folder / "tables" / "traits.csv").read_bytes()
    traits_step(studied, Lazy(studied, organism), QUIET, questions=5)
    assert (studied.folder / "tables" / "traits.csv").read_bytes() == before


def test_trait_space_and_other_directions(studied):
    vectors = trait_vectors(studied)
    assert len(PersonaSpace(3).fit(vectors).roles_) == 3
    cosines = trait_cosines(vectors, {"axis": studied.axis, "back": -studied.axis}, 3)
    assert np.allclose(cosines["axis"], -cosines["back"])


def test_a_run_without_traits_says_so(tmp_path, studied):
    run = run_study("organism", tmp_path / "run", roles=9, questions=3, prompts=1, default_rollouts=12)
    with pytest.raises(DataError, match="run `workbench traits"):
        trait_vectors(run)


# -- figure -------------------------------------------------------------------------------------------
def trait_table(n: int) -> pd.DataFrame:
    cosines = np.linspace(-0.8, 0.8, n)
    return pd.DataFrame({
        "trait": [f"trait_{i}" for i in range(n)], "cos_axis": cosines, "cos_axis_low": cosines - 0.1, "cos_axis_high": cosines + 0.1,
        "halves": 0.9, "n": 20,
    })  # fmt: skip


def test_both_ends_are_shown_and_colours_mean_what_they_mean():
    figure = plots.trait_cosines(trait_table(60))
    trace = figure.data[0]
    assert len(trace.x) == 24
    assert (min(trace.x), max(trace.x)) == (-0.8, 0.8)
    from workbench.plots.theme import ASSISTANT, FAR, NEUTRAL

    few = plots.trait_cosines(trait_table(9)).data[0]
    assert [few.marker.color[i] for i in (0, 4, 8)] == [FAR, NEUTRAL, ASSISTANT]
    check_themes(lambda **settings: plots.trait_cosines(trait_table(5), **settings))


def test_a_figure_without_a_vector_is_refused():
    with pytest.raises(DataError, match="at least one row"):
        plots.trait_cosines(trait_table(3).assign(n=0))
