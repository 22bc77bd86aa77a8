"""Ways to find a direction behind one protocol, and their comparison on a run."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.activations import Activations
from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.methods import METHODS, PROMPTS, Candidate, find
from workbench.study.caps import calibrate_step, evaluate_step
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.study.methods import cap_of, methods_step, prompt_ends
from workbench.study.origins import origins_step
from workbench.testbed import CapConfig

SMALL = {"roles": 14, "questions": 6, "prompts": 1, "default_rollouts": 24, "seed": 3}
CAPS = {"windows": (3,), "percentiles": {"default": (25,)}, "positions": ("all",), "limit": 24}


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


# -- the methods --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_a_planted_direction_with_its_sign(planted, name):
    acts, direction, _ = planted
    found = find(METHODS[name], acts)
    cosines = (found.unit().values * direction).sum(-1)
    # Discriminants whiten: they give up some of the planted direction to be rid of noise.
    assert (cosines > (0.9 if "contrast" in name or name == "PC1" else 0.3)).all(), cosines
    assert found.toward.startswith("default (away from")


@pytest.mark.parametrize("name", ["contrast", "logistic regression", "linear discriminant"])
def test_a_method_follows_its_labels(planted, name):
    """With default and one role exchanged the direction turns round: what it finds hangs on the labels."""
    acts, direction, position = planted
    far = min(position, key=lambda role: position[role])
    turned = acts.rows.assign(role=acts.rows["role"].map(lambda r: {"default": far, far: "default"}.get(r, r)))
    found = find(METHODS[name], Activations(acts.values, turned, acts.site))
    assert ((found.unit().values * direction).sum(-1) < -0.1).all()


def test_any_callable_is_a_method(planted):
    acts, direction, _ = planted

    def oracle(given: Activations, default: np.ndarray) -> Direction:
        assert default.sum() == (given.rows["role"] == "default").sum()
        return Direction(direction, given.site, "oracle", "default")

    assert float(find(Candidate("oracle", oracle), acts).cosine(find(METHODS["contrast"], acts))[0]) > 0.95


def test_what_does_not_fit_is_refused(planted):
    acts, _, _ = planted
    contrast = METHODS["contrast"]
    with pytest.raises(DataError, match="there are 0 of 288"):
        find(contrast, acts.where("role != 'default'"))
    with pytest.raises(DataError, match=r"short: the direction has layers \[0\], the activations \[0, 1\]"):
        find(Candidate("short", lambda given, default: contrast.find(given, default).at([0])), acts)


# -- on a run -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def run(tmp_path_factory, organism):
    studied = run_study("organism", tmp_path_factory.mktemp("methods") / "run", **SMALL)
    model = Lazy(studied, organism)
    calibrate_step(studied, model, quiet, CapConfig.of(**CAPS))
    origins_step(studied, model, quiet, roles=6, texts=2)
    evaluate_step(studied, model, quiet, n_controls=0)
    methods_step(studied, model, quiet)
    return studied


@pytest.fixture
def table(run) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / "methods.csv").set_index("method")


def test_methods_are_measured_on_held_out_responses_and_by_their_caps(run, table):
    assert list(table.index) == list(METHODS)
    assert table["auc"].between(0.8, 1).all()
    assert table.loc["contrast", "cosine"] > 0.9  # the run's axis is fitted on all of the roles
    assert table.loc["contrast", "split_half"] > 0.8
    assert table.loc["contrast", "compliance"] < -0.5
    assert (table["n_compliance"] > 0).all()
    assert set(table["says"]) <= {"holds", "does not hold", "cannot tell"}
    assert run.study["steps"]["methods"]["methods"] == list(METHODS)


def test_the_same_cap_is_laid_along_every_direction(run):
    layers, setting = cap_of(run)
    assert (len(layers), setting) == (3, {"percentile": 25.0, "over": "default", "positions": "all"})
    before = run.study["steps"].pop("calibrate")
    try:
        layers, setting = cap_of(run)
        assert len(layers) == 2
        assert setting["percentile"] == 50.0
    finally:
        run.study["steps"]["calibrate"] = before


def test_the_percentile_is_taken_over_the_set_that_it_was_calibrated_over(run, organism, monkeypatch):
    """The contrast under the cap's own percentile and set is the cap on the fit split's axis: another set is another threshold."""
    seen = []
    monkeypatch.setattr("workbench.study.methods.resumable", lambda *a, **k: seen.extend(a[5]) or pytest.skip("levels are all"))
    from workbench.study.methods import _caused

    def levels(over: str) -> dict[int, float]:
        run.study["steps"]["calibrate"]["choices"][0]["setting"]["over"] = over
        seen.clear()
        with pytest.raises(pytest.skip.Exception):
            _caused(run, Lazy(run, organism), {"axis": run.axis}, None, quiet)
        return seen[0].interventions[0].levels

    before = run.study["steps"]["calibrate"]["choices"][0]["setting"]["over"]
    try:
        assert levels("default") == pytest.approx(run.caps["recommended"].levels)
        assert all(levels("all")[n] < v for n, v in levels("default").items())
    finally:
        run.study["steps"]["calibrate"]["choices"][0]["setting"]["over"] = before


def test_prompt_ends_are_the_last_token_before_the_answer(run, organism):
    acts = run.activations().take([0, 50])
    found = prompt_ends(organism, run, acts)
    for i, row in enumerate(acts.rows["row"]):
        rollout = run.rollouts.set_index("row").loc[row]
        ids = organism.chat_format.prompt_ids(Conversation.of(json.loads(rollout["messages"])))
        cache = organism.run_with_cache(torch.tensor([ids]), [organism.resid_post(2)])
        torch.testing.assert_close(found.values[i, 2], next(iter(cache.values()))[0, -1], rtol=1e-4, atol=1e-4)
    assert METHODS["contrast of prompts"].source == PROMPTS


def test_the_prompts_axis_is_evaluated_beside_the_main_one(run):
    """Its floor acts at the cap's layers, matched in percentile and in dose, and is no control."""
    kinds = run.study["steps"]["evaluate"]["conditions"]
    of_prompts = [name for name, kind in kinds.items() if kind == "prompt axis"]
    assert of_prompts == ["prompt axis, same percentile", "prompt axis, same dose"]
    changes = pd.read_csv(run.folder / "tables" / "caps_changes.csv").set_index(["condition", "measure"])
    assert changes.loc[("prompt axis, same percentile", "compliance"), "relative"] <= 0
    done = pd.read_csv(run.folder / "tables" / "engagement.csv").query("positions == 'all'").set_index(["condition", "layer"])
    layer = run.caps["recommended"].at_layers[0]
    assert done.loc[("prompt axis, same percentile", layer), "engaged"] > 0.05
    assert done.loc[("prompt axis, same dose", layer), "dose"] == pytest.approx(done.loc[("recommended", layer), "dose"], rel=0.35)


def test_a_run_without_splits_is_refused(run, organism):
    before, run.study["splits"] = run.study["splits"], None
    try:
        with pytest.raises(DataError, match="too small for splits"):
            methods_step(run, Lazy(run, organism), quiet)
    finally:
        run.study["splits"] = before
