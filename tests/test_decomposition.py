"""Prompt or text: shares of a table whose parts are known, and the crossing of a real model's responses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site

from workbench.activations import Activations
from workbench.crossing import Crossed, plan_crossing, read_prompt
from workbench.decomposition import _divided, decompose, who_or_what
from workbench.directions import Direction
from workbench.errors import DataError

N, EACH, D = 12, 5, 16


def crossed(prompt: float, text: float, rest: float, seed: int = 0, default: bool = True) -> tuple[Crossed, Direction, np.ndarray]:
    """Projections that are a sum of parts of given size at one layer; prompt effects lie along the axis."""
    rng = np.random.default_rng(seed)
    names = [("default" if default else "role00"), *[f"role{i:02d}" for i in range(1, N)]]
    latent = np.linspace(1, -1, N)
    e_prompt = prompt * latent / latent.std()
    y = e_prompt[:, None] + text * rng.normal(size=N * EACH)[None] + rest * rng.normal(size=(N, N * EACH))
    axis = Direction(torch.randn(1, D, generator=torch.Generator().manual_seed(1)), make_site(1, D), "axis", "default")
    unit = axis.unit().values[0].numpy()
    beside = 0.2 * rng.normal(size=(N, D))
    means = np.outer(y.mean(1), unit) + beside - np.outer(beside @ unit, unit)
    rows = pd.DataFrame({"role": names})
    acts = Activations(torch.tensor(means, dtype=torch.float32)[:, None], rows, make_site(1, D))
    texts = pd.DataFrame({"row": [f"t{i}" for i in range(N * EACH)], "role": np.repeat(names, EACH)})
    return Crossed(y[..., None], acts, texts, (0,)), axis, latent


def shares_of(found) -> dict[str, float]:
    return found.shares.set_index("source")["share"].to_dict()


def test_shares_are_those_that_were_planted():
    both, axis, _ = crossed(prompt=1.0, text=2.0, rest=0.5)
    found = decompose(both, axis, n_boot=100)
    shares = shares_of(found)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["prompt"] == pytest.approx(1 / 5.25, abs=0.06)
    assert shares["text"] == pytest.approx(4 / 5.25, abs=0.06)
    assert (found.shares["low"] <= found.shares["share"]).all()
    assert (found.shares["share"] <= found.shares["high"]).all()


def test_division_is_the_textbooks_two_way_analysis():
    y = np.random.default_rng(3).normal(size=(4, 6, 2))
    by_hand = []
    for layer in range(2):
        x = y[..., layer]
        grand = x.mean()
        prompt, text = 6 * ((x.mean(1) - grand) ** 2).sum(), 4 * ((x.mean(0) - grand) ** 2).sum()
        left = ((x - x.mean(1, keepdims=True) - x.mean(0, keepdims=True) + grand) ** 2).sum()
        by_hand.append(np.array([prompt, text, left]) / ((x - grand) ** 2).sum())
    np.testing.assert_allclose(_divided(y), np.stack(by_hand, 1))


@pytest.mark.parametrize(("parts", "source"), [((1.0, 0.0, 0.0), "prompt"), ((0.0, 1.0, 0.0), "text")])
def test_what_there_is_alone_gets_it_all(parts, source):
    both, axis, _ = crossed(*parts)
    assert shares_of(decompose(both, axis, scores=dict.fromkeys(both.prompts, 0.0) | {"role03": 1.0}, n_boot=20))[source] == pytest.approx(
        1
    )


def test_effects_follow_the_latent_and_shuffled_scores_do_not():
    both, axis, latent = crossed(prompt=1.0, text=2.0, rest=0.5)
    scores = dict(zip(both.prompts, latent, strict=True))
    row = decompose(both, axis, scores, n_boot=200).correlations.iloc[0]
    assert row["r"] > 0.95
    assert row["low"] > row["null_high"]
    assert row["null_low"] < 0 < row["null_high"]
    swapped = decompose(both, axis, {k: -v for k, v in scores.items()}, n_boot=50).correlations.iloc[0]
    assert swapped["r"] == pytest.approx(-row["r"])
    dealt = dict(zip(both.prompts, np.random.default_rng(2).permutation(latent), strict=True))
    lost = decompose(both, axis, dealt, n_boot=200).correlations.iloc[0]
    assert lost["null_low"] < lost["r"] < lost["null_high"]


def test_without_prompt_effects_their_correlation_is_within_chance():
    inside = []
    for seed in range(20):
        both, axis, latent = crossed(0.0, 2.0, 0.5, seed)
        row = decompose(both, axis, dict(zip(both.prompts, latent, strict=True)), n_boot=200, seed=seed).correlations.iloc[0]
        inside.append(row["null_low"] <= row["r"] <= row["null_high"])
    assert sum(inside) >= 17


def test_a_role_is_not_scored_by_the_prompt_that_its_score_is_compared_with():
    """Large effects of prompts upon texts that have nothing to do with the roles: no correlation without scores from outside."""
    inside = []
    for seed in range(20):
        both, axis, _ = crossed(prompt=2.0, text=1.0, rest=0.5, seed=seed)
        row = decompose(both, axis, n_boot=200, seed=seed).correlations.iloc[0]
        inside.append(row["null_low"] <= row["r"] <= row["null_high"])
    assert sum(inside) >= 17
    both, axis, latent = crossed(prompt=1.0, text=0.5, rest=0.5)
    both.projections[..., 0] += np.repeat(latent, EACH)[None]  # roles that write as their prompts push
    assert decompose(both, axis, n_boot=200).correlations.iloc[0]["r"] > 0.9


def test_the_prompts_own_axis_points_to_the_default():
    both, axis, _ = crossed(prompt=3.0, text=1.0, rest=0.1)
    found = decompose(both, axis, n_boot=50)
    assert found.axis is not None
    assert found.axis.toward.startswith("default")
    row = found.cosines.iloc[0]
    assert row["cosine"] == pytest.approx(float(found.axis.cosine(axis)[0]), abs=1e-5)
    assert row["cosine"] > 0.95
    assert row["low"] <= row["cosine"] <= row["high"]


def test_without_a_default_there_is_no_axis_of_prompts():
    both, axis, _ = crossed(1.0, 1.0, 0.1, default=False)
    found = decompose(both, axis, n_boot=10)
    assert found.axis is None
    assert found.cosines.empty
    assert "no default" in found.notes[0]


def test_projections_that_are_no_numbers_are_refused():
    both, axis, _ = crossed(1.0, 1.0, 0.1)
    both.projections[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        decompose(both, axis)


# -- crossing -----------------------------------------------------------------------------------------
def rollouts(n_roles: int = 5, each: int = 3, questions: int = 3) -> pd.DataFrame:
    records = []
    for name in ["default", *[f"role{i}" for i in range(n_roles)]]:
        for i in range(each):
            system = [["system", f"you are the {name}, number {i % 2}."]] if name != "default" else []
            messages = [*system, ["user", f"what is question {i % questions}?"]]
            records.append(
                {"row": f"{name}/{i}", "role": name, "messages": json.dumps(messages), "response": f"i, {name}, say {i}.", "error": ""}
            )
    return pd.DataFrame(records)


@pytest.fixture
def axis(organism) -> Direction:
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(2))
    return Direction(values, organism.site(), "axis", "default")


def test_every_text_is_read_under_every_prompt_and_keeps_its_question(organism):
    plan = plan_crossing(organism, rollouts(), roles=4, texts=2)
    assert len(plan.prompts) == 4
    assert "default" in plan.prompts
    assert plan.prompts["default"] == ("",)
    assert {name: len(r) for name, r in plan.readings.items()} == dict.fromkeys(plan.prompts, 8)
    role = next(name for name in plan.prompts if name != "default")
    for i, text in enumerate(plan.texts.to_dict("records")):
        reading = plan.readings[role][i]
        said = organism.tokenizer.decode(reading.ids[: reading.start])
        assert f"you are the {role}, number {i % 2}." in said
        assert text["question"] in said
        assert organism.tokenizer.decode(reading.ids[reading.start : reading.end]) == text["response"]
    assert plan.texts.groupby("role")["question"].nunique().eq(2).all()
    assert "4 prompts x 8 texts = 32 texts to read" in plan.cost(organism.n_parameters)


def test_a_text_under_its_own_prompt_is_what_extraction_reads(organism, axis):
    from workbench.models.extraction import extract

    frame = rollouts(each=2)
    plan = plan_crossing(organism, frame, roles=6, texts=2)
    own = extract(organism, frame).project(axis)
    for name in plan.prompts:
        scores, mean = read_prompt(organism, plan, name, axis)
        assert mean.shape == (organism.n_layers, organism.d_model)
        for i, text in enumerate(plan.texts.to_dict("records")):
            written_with = int(text["row"].split("/")[1])
            if text["role"] == name and (name == "default" or i % 2 == written_with):
                at = frame.index[frame["row"] == text["row"]][0]
                np.testing.assert_allclose(scores[i], own.iloc[at], rtol=1e-4, atol=1e-4)


def test_the_same_seed_crosses_the_same_texts(organism):
    a, b, c = (plan_crossing(organism, rollouts(9), roles=4, texts=2, seed=seed) for seed in (0, 0, 1))
    assert a.texts.equals(b.texts)
    assert list(a.prompts) == list(b.prompts)
    assert list(a.prompts) != list(c.prompts) or not a.texts.equals(c.texts)


def test_responses_out_of_role_take_no_part(organism):
    frame = rollouts().assign(label=3)
    frame.loc[frame["role"] == "role1", "label"] = 0
    frame.loc[frame["role"] == "default", "label"] = 0
    plan = plan_crossing(organism, frame)
    assert "role1" not in plan.prompts
    assert "default" in plan.prompts


def test_it_runs_on_a_model_and_says_what_it_costs_first(organism, axis):
    said: list[str] = []
    found = who_or_what(organism, rollouts(), axis, roles=5, texts=2, n_boot=20, say=said.append)
    assert said == [found.notes[0]]
    assert said[0].startswith("5 prompts x 10 texts = 50 texts to read")
    assert found.shares.groupby("layer")["share"].sum().to_numpy() == pytest.approx(np.ones(organism.n_layers))
    assert next(iter(found.effects["role"])) == "default"
    assert found.axis is not None
    assert found.effects.drop(columns="role").mean().to_numpy() == pytest.approx(np.zeros(organism.n_layers), abs=1e-5)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda: rollouts(2), "needs 4 roles with two usable responses, the default counted; there are 3"),
        (lambda: rollouts(6, each=1), "there are 0"),
        (lambda: rollouts().assign(response="the same"), "all responses are the same text"),
        (lambda: rollouts().assign(error="cut off"), "there are 0"),
        (lambda: rollouts().drop(columns=["messages", "response"]), "needs the columns messages, response; the table has "),
    ],
)
def test_too_little_to_cross_is_said_in_one_sentence(organism, frame, message):
    with pytest.raises(DataError, match=message):
        plan_crossing(organism, frame())


def test_one_question_is_noted(organism):
    plan = plan_crossing(organism, rollouts(questions=1))
    assert "all texts answer one question" in plan.notes[0]


def test_another_models_axis_is_refused(organism, axis):
    foreign = Direction(axis.values, make_site(organism.n_layers, organism.d_model), "axis", "default")
    with pytest.raises(DataError, match="taken elsewhere"):
        who_or_what(organism, rollouts(), foreign)


def test_a_text_that_is_too_long_under_one_prompt_is_left_out_under_all(organism, monkeypatch):
    frame = rollouts()
    frame.loc[2, "response"] = "a very long answer, " * 20
    whole = plan_crossing(organism, frame, roles=6, texts=3)
    longest = max(len(r.ids) for group in whole.readings.values() for r in group)
    monkeypatch.setitem(vars(organism), "context", longest - 1)
    plan = plan_crossing(organism, frame, roles=6, texts=3)
    assert len(plan.texts) == len(whole.texts) - 1
    assert frame.loc[2, "row"] not in set(plan.texts["row"])
    assert {len(group) for group in plan.readings.values()} == {len(plan.texts)}
    assert plan.notes == (f"1 of {len(whole.texts)} texts do not fit the context under every prompt",)
