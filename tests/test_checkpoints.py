"""When does the axis appear: other weights reading the same texts, continuations without a template, and their figure."""

import numpy as np
import pandas as pd
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.checkpoints import read_checkpoint, steer_prefills, summarise_prefills
from workbench.errors import DataError, ModelError
from workbench.evaluation.splits import Splits
from workbench.models.loading import load_model
from workbench.models.measuring import residual_norms
from workbench.models.prefill import complete
from workbench.organism import CHECKPOINT
from workbench.organism.material import BEGINNINGS, register_of
from workbench.store import open_run
from workbench.study.checkpoints import checkpoints_found, checkpoints_step
from workbench.study.config import Lazy
from workbench.study.main import run_study

SMALL = {"roles": 16, "questions": 6, "prompts": 1, "default_rollouts": 30, "seed": 3}


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def base():
    return load_model(CHECKPOINT / "base")


@pytest.fixture(scope="module")
def run(tmp_path_factory, organism):
    made = run_study("organism", tmp_path_factory.mktemp("checkpoints") / "run", **SMALL)
    names = ["organism/base", str(CHECKPOINT / "step-10")]
    checkpoints_step(made, Lazy(made, organism), quiet, names, n=8)
    return open_run(made.folder)


def table(run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv")


# -- continuations ------------------------------------------------------------------------------------
def test_continuations_begin_where_the_text_ends(base):
    found = complete(base, BEGINNINGS[:2], n=3, max_new_tokens=12, seed=4)
    assert found["beginning"].tolist() == [BEGINNINGS[0]] * 3 + [BEGINNINGS[1]] * 3
    assert found["text"].nunique() > 3
    again = complete(base, BEGINNINGS[:2], n=3, max_new_tokens=12, seed=4)
    pd.testing.assert_frame_equal(found, again)
    with pytest.raises(DataError, match="needs a word"):
        complete(base, ["  "])


def test_the_beginning_of_text_goes_first_once(base, monkeypatch):
    seen = []
    monkeypatch.setattr("workbench.models.prefill.generate", lambda model, prompts, **_: seen.extend(prompts) or [])
    bos = base.tokenizer.bos_token_id
    with pytest.raises(ValueError, match="zip"):  # nothing was generated: only the prompts matter here
        complete(base, ["At midnight", "<|bos|>At midnight"], n=1)
    assert seen[0] == seen[1]
    assert seen[0][0] == bos
    assert seen[0].count(bos) == 1


def test_steering_a_base_model_along_the_chat_models_axis_moves_its_register(run, base):
    norms = residual_norms(
        load_model(CHECKPOINT / "base", chat_template=str(load_model("organism").chat_format.template)), run.rollouts.head(40)
    )
    found = steer_prefills(base, run.axis, 4, norms, BEGINNINGS, 12, (-0.4, 0.4), register_of)
    mean = found.groupby("strength")["score"].mean()
    assert mean[-0.4] < mean[0.0] < mean[0.4]
    assert set(found["taken_from"]) == {"organism"}
    turned = steer_prefills(base, -run.axis, 4, norms, BEGINNINGS, 12, (-0.4, 0.4), register_of).groupby("strength")["score"].mean()
    assert turned[-0.4] > turned[0.4]


def test_scores_are_summed_up_with_their_intervals():
    rows = [("m", s, "b", i, "As an AI" if s > 0 else "I", s > 0, float(s)) for s in (-0.4, 0.0, 0.4) for i in range(10)]
    frame = pd.DataFrame(rows, columns=["model", "strength", "beginning", "sample", "text", "of_ai", "score"])
    found = summarise_prefills(frame).set_index("strength")
    assert found["of_ai"].tolist() == [0, 0, 1]
    assert (found["of_ai_low"] <= found["of_ai"]).all()
    assert found["score"].tolist() == [-0.4, 0.0, 0.4]


# -- other weights ------------------------------------------------------------------------------------
def test_the_base_model_is_given_the_template_and_the_axis_grows_in_training(run):
    found = table(run, "checkpoints").query("layer == 4").set_index("model")
    assert list(found.index) == ["organism/base", "step-10", "organism"]
    assert found["cosine"].is_monotonic_increasing
    assert found.loc["organism/base", "cosine"] < 0.8 < found.loc["step-10", "cosine"]
    assert found.loc["organism", "cosine"] == pytest.approx(1, abs=0.02)
    assert found.loc["organism", "r"] == pytest.approx(1, abs=1e-6)
    assert found.loc["organism", "auc"] > found.loc["organism/base", "auc"]
    assert run.study["steps"]["checkpoints"]["transfer"] is True
    said = checkpoints_found(run)
    assert said.count("\n") == 2
    assert said.startswith(f"organism/base: at layer {run.recommended_layer} its own axis has cosine")


def test_shuffled_roles_leave_the_other_model_no_axis(run, organism):
    """What is carried over hangs on the labels: with roles dealt at random the own axis has nothing in common with the run's."""
    rollouts = run.rollouts
    dealt = rollouts.assign(role=np.random.default_rng(0).permutation(rollouts["role"]), label=3)
    acts = run.activations()
    reference = type(acts)(
        acts.values, acts.rows.assign(role=dealt.set_index("row").loc[acts.rows["row"], "role"].to_numpy(), label=3), acts.site
    )
    splits = Splits.from_dict(run.study["splits"])
    found, _ = read_checkpoint(organism, dealt, organism, run.axis, reference, splits, n_boot=50)
    assert found["auc"].between(0.2, 0.8).all()
    assert found["length"].max() < 0.5 * table(run, "checkpoints").query("model == 'organism'")["length"].max()


def test_other_shapes_and_other_tokens_are_refused(run, organism, tmp_path):
    from workbench.organism.recipe import Recipe
    from workbench.organism.train import train

    small = Recipe(n_layers=2, d_model=32, n_heads=2, d_ff=64, vocab_size=400, story_tokens=2000, chat_tokens=2000, pushed_tokens=0,
                   checkpoints_at=(), warmup_steps=2)  # fmt: skip
    with pytest.raises(ModelError, match="an axis cannot be carried over"):
        checkpoints_step(run, Lazy(run, organism), quiet, [str(train(tmp_path, recipe=small))])
    with pytest.raises(DataError, match="no other model"):
        checkpoints_step(run, Lazy(run, organism), quiet, [])


# -- figure -------------------------------------------------------------------------------------------
def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    names = ["<b>base</b>", "step", "chat"]
    frame = pd.DataFrame({"model": names, "cosine": [0.2, 0.8, 1.0], "cosine_low": [0, 0.7, 1], "cosine_high": [0.4, 0.9, 1],
                          "auc": [0.6, 0.8, 0.9], "auc_transferred": [0.5, 0.7, 0.9], "r": [0.1, 0.9, 1]})  # fmt: skip
    frame.attrs = {"model": "toy", "layer": 3}
    scores = pd.DataFrame([(m, s, s, s - 0.1, s + 0.1) for m in names for s in (-0.4, 0.0, 0.4)],
                          columns=["model", "strength", "score", "score_low", "score_high"])  # fmt: skip
    return frame, scores


def test_the_figure_has_a_place_a_model_and_a_line_a_strength():
    frame, scores = frames()
    figure = plots.checkpoints(frame, scores)
    named = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert set(named) == {"cosine", "own axis", "the last model's axis", "r", "steered +0.4", "not steered", "steered -0.4"}
    assert list(named["steered +0.4"].y) == [0.4] * 3
    assert list(figure.layout.xaxis4.ticktext) == ["&lt;b&gt;base&lt;/b&gt;", "step", "chat"]
    assert len([t for t in plots.checkpoints(frame).data if t.mode == "lines+markers"]) == 4
    steps = plots.checkpoints(frame.assign(model=["organism/step-10", "organism/step-40", "organism"]))
    assert list(steps.layout.xaxis3.ticktext) == ["…anism/step-10", "…anism/step-40", "organism"], "long names keep what tells them apart"
    check_themes(lambda **k: plots.checkpoints(frame, scores, **k))
    with pytest.raises(DataError, match="one occurs twice"):
        plots.checkpoints(pd.concat([frame, frame]))
    with pytest.raises(DataError, match="column auc_transferred"):
        plots.checkpoints(frame.drop(columns="auc_transferred"))


def test_the_figure_counts_talk_of_an_ai_where_nothing_was_scored():
    frame, scores = frames()
    figure = plots.checkpoints(frame, scores.rename(columns={"score": "of_ai", "score_low": "of_ai_low", "score_high": "of_ai_high"}))
    assert any("talk of being an AI" in a.text for a in figure.layout.annotations)
