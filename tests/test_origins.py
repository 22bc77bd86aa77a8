"""What an axis is made of on a run: covariates, the axis again, positions of words, the step and its figures."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from plot_checks import check_themes

from workbench import plots
from workbench.covariates import OF_AI, against, covariates, role_pattern
from workbench.crossing import plan_crossing
from workbench.errors import DataError
from workbench.models.extraction import Reading, mean_activations
from workbench.models.spelling import positions_of
from workbench.refits import axis_again, length_weights
from workbench.store import open_run
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.study.origins import origins_found, origins_step


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


def response(role: str, text: str, tokens: int = 5, reason: str = "stop") -> dict:
    return {"row": f"{role}/{text}", "role": role, "response": text, "n_tokens": tokens, "finish_reason": reason}


# -- covariates ---------------------------------------------------------------------------------------
def test_covariates_are_read_from_the_response():
    rows = [
        response("ghost", "I, the Ghost, haunt.", 7, "length"),
        response("ghost", "# Title\n- one\n**two**"),
        response("default", "As an AI language model I help."),
        response("old_sage", "Old sages said aid and maid."),
    ]
    found = covariates(pd.DataFrame(rows))
    assert found["tokens"].tolist() == [7, 5, 5, 5]
    assert found["truncated"].tolist() == [1, 0, 0, 0]
    assert found["of_role"].tolist() == [1, 0, 0, 1]
    assert found["of_ai"].tolist() == [0, 0, 1, 0]
    assert found["markdown"].gt(0).tolist() == [False, True, False, False]
    assert found["markdown"][1] == pytest.approx(100 * 4 / len(rows[1]["response"]))
    assert not OF_AI.search("said, maid, aim")
    assert role_pattern(["default"]) is None
    with pytest.raises(DataError, match="covariates needs the column role; the table has row, response"):
        covariates(pd.DataFrame({"row": ["a"], "response": ["b"]}))


def test_correlations_over_all_and_within_roles_differ_where_roles_do():
    """Length follows the role, and the projection follows the role: within a role they have nothing to do with each other."""
    roles, covered = np.repeat([f"r{i}" for i in range(30)] + ["default"], 20), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        level = np.repeat(rng.normal(size=31), 20)
        table = pd.DataFrame({"role": roles, "tokens": level + rng.normal(size=len(roles)) / 4, "markdown": 0.0, "truncated": np.nan})
        table = table.assign(of_ai=rng.normal(size=len(roles)), of_role=0.0)
        found = against(level + rng.normal(size=len(roles)) / 4 + table["of_ai"], table, n_boot=200).set_index("covariate")
        covered += found.loc["tokens", "within_low"] < 0 < found.loc["tokens", "within_high"]
        assert found.loc["tokens", "low"] > 0.2
        assert found.loc["of_ai", "within_low"] > 0.9
        assert np.isnan(found.loc["markdown", "r"])
        assert found.loc["truncated", "n"] == 0
    assert covered >= 16  # of 20 at 95 %; by chance fewer once in about four hundred worlds
    with pytest.raises(DataError, match="3 projections for"):
        against([1, 2, 3], table)


# -- the axis again -----------------------------------------------------------------------------------
def test_weights_give_the_default_the_lengths_of_the_roles():
    rng = np.random.default_rng(0)
    roles = np.array(["default"] * 300 + ["a", "b"] * 150)
    lengths = np.concatenate([rng.integers(10, 60, 300), rng.integers(40, 100, 300)]).astype(float)
    weights, said = length_weights(roles, lengths)
    default, kept = roles == "default", weights > 0
    before = lengths[~default].mean() - lengths[default].mean()
    after = np.average(lengths[~default], weights=weights[~default]) - np.average(lengths[default], weights=weights[default])
    assert abs(after) < 0.3 * before
    assert f"{(~kept).sum()} responses without a counterpart" in said
    assert length_weights(roles, np.full(600, 9.0))[0].tolist() == [1.0] * 600
    with pytest.raises(DataError, match="cannot be matched"):
        length_weights(np.array(["default", "a", "a", "a"]), np.array([1.0, 9, 10, 11]))


def test_words_are_found_in_tokens_and_left_out_of_means(organism):
    ids = organism.tokenizer("the ghost says: the ghosts are here", add_special_tokens=False)["input_ids"]
    inside = positions_of(organism, ids, re.compile("ghosts?"))
    rest = organism.tokenizer.decode([i for n, i in enumerate(ids) if n not in inside])
    assert "ghost" not in rest
    assert {"says", "here", "are"} <= set(re.findall(r"\w+", rest))
    assert positions_of(organism, ids, re.compile("pirate")) == frozenset()
    whole = Reading(tuple(ids), 1, len(ids))
    without = Reading(tuple(ids), 1, len(ids), frozenset({0, 2, 4}))
    layer = organism.resid_post(2)
    stream = organism.run_with_cache(torch.tensor([ids]), [layer])[layer][0].float()
    kept = [i for i in range(1, len(ids)) if i not in (2, 4)]
    means = mean_activations(organism, [whole, without], (2,))
    assert torch.allclose(means[0, 0], stream[1:].mean(0), atol=1e-3)
    assert torch.allclose(means[1, 0], stream[kept].mean(0), atol=1e-3)
    with pytest.raises(DataError, match="nothing to read"):
        Reading((1, 2, 3), 1, 3, frozenset({1, 2}))


# -- on a run -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def made(tmp_path_factory, organism):
    run = run_study("organism", tmp_path_factory.mktemp("origins") / "run", roles=10, questions=6, prompts=1, default_rollouts=24, seed=3)
    said: list[str] = []
    origins_step(run, Lazy(run, organism), quiet, roles=6, texts=3, say=said.append)
    return open_run(run.folder), said


def table(run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv")


def test_the_step_says_the_cost_and_what_it_found(made):
    run, said = made
    assert said[0].startswith("6 prompts x 18 texts = 108 texts to read")
    assert run.study["steps"]["origins"]["done"] == ["Prompt or text", "Covariates", "The axis again"]
    assert "the prompts' effects follow the roles' scores at r = " in origins_found(run)
    shares = table(run, "origins_shares").groupby("layer")["share"].sum()
    assert np.allclose(shares, 1)
    assert run.prompt_axis is not None
    assert run.prompt_axis.cosine(run.axis)[-1] > 0.5
    again = table(run, "axis_again").query("variant == 'all tokens'")
    assert again["cosine"].min() > 0.98
    assert (again["high"] >= again["cosine"]).all()  # redrawn roles are noisier than all of them, but no interval misses its value
    first = table(run, "axis_again").query("variant == 'tokens 1-64'")
    assert first["note"].str.endswith("of the responses have no more tokens than that").all()


def test_a_second_run_reads_nothing_again_and_finds_the_same(made, organism, monkeypatch):
    run, _ = made
    before = (run.folder / "tables" / "origins_shares.csv").read_bytes()
    monkeypatch.setattr("workbench.study.origins.read_prompt", lambda *args: pytest.fail("read again"))
    origins_step(run, Lazy(run, organism), quiet, roles=6, texts=3)
    assert (run.folder / "tables" / "origins_shares.csv").read_bytes() == before


def test_sizes_that_nobody_can_divide_are_refused_and_leave_what_was_found(made, organism):
    run, _ = made
    before = run.study["steps"]["origins"]
    for roles, texts in ((3, 6), (6, 0)):
        with pytest.raises(DataError, match=f"takes 4 roles or more and a text of each, not {roles} and {texts}"):
            origins_step(run, Lazy(run, organism), quiet, roles=roles, texts=texts)
    assert run.study["steps"]["origins"] == before


def test_too_few_roles_are_said_and_the_rest_goes_on(made, organism, tmp_path, monkeypatch):
    run = open_run(shutil.copytree(made[0].folder, tmp_path / "run"))
    monkeypatch.setattr(
        "workbench.study.origins.plan_crossing",
        lambda model, rollouts, *rest: plan_crossing(model, rollouts[rollouts["role"].isin(rollouts["role"].unique()[:2])], *rest),
    )
    origins_step(run, Lazy(run, organism), quiet, roles=6, texts=3)
    assert run.study["steps"]["origins"]["done"] == ["Covariates", "The axis again"]
    assert run.study["steps"]["origins"]["notes"][0] == (
        "Prompt or text: crossing prompts and texts needs 4 roles with two usable responses, the default counted; there are 2."
    )
    assert run.prompt_axis is None  # the one of the crossing before is not this one's


def test_an_axis_needs_a_default(made, organism):
    run, _ = made
    with pytest.raises(DataError, match="the default and two roles"):
        axis_again(organism, run.rollouts.query("role != 'default'"), run.axis)


def test_figures(made):
    run, _ = made
    effects, again = table(run, "covariates"), table(run, "axis_again")
    check_themes(lambda **kw: plots.covariates(effects, **kw))
    check_themes(lambda **kw: plots.axis_again(again, **kw))
    shown = plots.data(plots.covariates(effects))
    assert effects["r"].dropna().iloc[0] in shown.select_dtypes("number").to_numpy()
    words = [a.text for a in plots.covariates(effects).layout.annotations]
    assert words.count("does not vary") == effects["r"].isna().sum()
    with pytest.raises(DataError, match="one occurs twice"):
        plots.axis_again(pd.concat([again, again]))
