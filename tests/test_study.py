"""The main job end to end: resumed == uninterrupted, damage is mended, a study judges itself honestly."""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.directions import role_vectors
from workbench.errors import DataError, RunError
from workbench.models.loading import load_model
from workbench.organism import CHECKPOINT
from workbench.persona_space import PersonaSpace
from workbench.store import create_run, open_run
from workbench.study.config import Lazy, StudyConfig, may_change
from workbench.study.main import STEPS, found, make_plan, run_study
from workbench.study.origins import origins_step
from workbench.study.report import role_table, study_figures

SMALL = {"roles": 10, "questions": 3, "prompts": 1, "default_rollouts": 12, "batch_size": 8, "seed": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, organism):
    return run_study("organism", tmp_path_factory.mktemp("study") / "run", **SMALL)


def tables(folder: Path) -> dict[str, bytes]:
    """Every file that holds results, but for those that carry the time of day."""
    kept = [p for p in folder.rglob("*") if p.suffix in (".csv", ".parquet", ".safetensors")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept}


class Killed(BaseException):
    """Stands for a kill: nothing in the house may catch it."""


@pytest.mark.parametrize(("step", "after"), [("rollouts", 1), ("rollouts", 20), ("judge", 1), ("extract", 1), ("sweep", 2)])
def test_killed_and_resumed_is_uninterrupted_byte_for_byte(whole, tmp_path, step, after):
    def kill(name: str, done: int, total: int) -> None:
        if name == step and done >= after:
            raise Killed

    with pytest.raises(Killed):
        run_study("organism", tmp_path / "run", kill, **SMALL)
    calls = []
    run = run_study("organism", tmp_path / "run", lambda name, done, total: calls.append((name, done)), **SMALL)
    assert tables(run.folder) == tables(whole.folder)
    if (step, after) == ("rollouts", 20):
        redone = [done for name, done in calls if name == "rollouts"]
        assert redone[0] > after  # what was finished was not asked again


def test_killed_from_outside(whole, tmp_path):
    """A real SIGKILL in the middle of generation."""
    out = tmp_path / "run"
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({k: v for k, v in SMALL.items() if k != "seed"} | {"seed": 3}))
    command = [sys.executable, "-m", "workbench", "study", "--out", str(out), "--config", str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "rollouts" / "part-00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / "report.html").exists()
    assert tables(run_study("organism", out, **SMALL).folder) == tables(whole.folder)


def other_weights(folder: Path) -> None:
    """One parameter of a checkpoint changes."""
    values = load_file(folder / "model.safetensors")
    name = next(name for name in values if name.endswith("down_proj.weight"))
    save_file(values | {name: values[name] * 1.5}, folder / "model.safetensors", {"format": "pt"})


def test_other_weights_in_the_models_folder_are_refused_half_way_and_at_the_end(tmp_path):
    """Answers of one model that are read by another would be a finding about neither."""
    model, out = shutil.copytree(CHECKPOINT, tmp_path / "model"), tmp_path / "run"

    def kill(name: str, done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_study(str(model), out, kill, **SMALL)
    original = (model / "model.safetensors").read_bytes()
    other_weights(model)
    with pytest.raises(RunError, match=r"the weights of model are not those that .*run was made with"):
        run_study(str(model), out, **SMALL)
    (model / "model.safetensors").write_bytes(original)
    run = run_study(str(model), out, **SMALL)
    other_weights(model)
    with pytest.raises(RunError, match="give the run its own model back"):
        origins_step(open_run(run.folder), Lazy(open_run(run.folder)), lambda step, done, total: None)


def test_a_finished_study_is_not_done_again(whole, monkeypatch):
    import workbench.study.config as study

    monkeypatch.setattr(study, "load_model", lambda *a, **k: pytest.fail("the model was loaded again"))
    before = tables(whole.folder)
    run_study("organism", whole.folder, **SMALL)
    assert tables(whole.folder) == before


@pytest.mark.parametrize("victim", ["rollouts/part-00001.parquet", "activations/part-00000.safetensors", "judgements/part-00000.parquet"])
def test_damaged_parts_are_made_anew_and_named(whole, tmp_path, victim):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    (folder / victim).write_bytes(b"garbage")
    run = run_study("organism", folder, **SMALL)
    again = {name: content for name, content in tables(folder).items() if "damaged" not in name}
    assert again == tables(whole.folder)
    assert victim in json.dumps(run.study["steps"])


def test_everything_is_there(whole):
    run = open_run(whole.folder)
    assert len(run.rollouts) == 42
    assert run.rollouts["label"].isin(range(4)).all()
    assert run.axis.toward.startswith("default")
    assert len(run.role_vectors) == run.study["steps"]["axis"]["roles"] + 1 > 8
    assert len(run.activations()) == 42
    assert run.groups() is None
    assert run.space().layer == run.recommended_layer
    assert set(run.space(layer=0).to_frame(run.axis)["role"]) == set(run.role_vectors.rows["role"])
    assert found(run).startswith(f"At layer {run.recommended_layer} of 0-4 the axis puts")
    assert run.study["splits"]["roles"]
    assert len(run.study["library_sha256"]) == 64
    assert [line["outcome"] for line in run.study["verdict"]["lines"]][3] == "untested"


def test_the_axis_is_made_of_all_kept_rows(whole):
    from workbench.directions import contrast, role_vectors

    axis = contrast(role_vectors(whole.activations(), "fully", whole.study["steps"]["axis"]["min_count"]))
    assert torch.allclose(axis.values, whole.axis.values, atol=1e-5)


def test_the_report(whole):
    html = whole.report.read_text(encoding="utf-8")
    for words in ("untested", "layer", "residual-stream units", "Nothing here says that a model is safe", "not compared"):
        assert words in html
    assert "http://" not in html.split("</style>")[0]
    assert "NaN" not in html.split("plotly.js")[0]


def test_a_roles_interval_is_that_of_the_responses_behind_its_vector(whole):
    """A response that was judged out of its role is in no vector, and must neither widen nor narrow the vector's interval."""
    run = open_run(whole.folder)
    acts, layer = run.activations(), run.recommended_layer
    role = next(name for name in run.role_vectors.rows["role"] if name != "default")
    mine = (acts.rows["role"] == role).to_numpy().nonzero()[0]
    labels = acts.rows["label"].copy()
    labels.iloc[mine] = [0] + [3] * (len(mine) - 1)
    kept = acts.take(mine[1:])
    scores = kept.project(run.axis)[layer]
    vectors = role_vectors(replace(acts, rows=acts.rows.assign(label=labels)), "fully", 1)
    space = PersonaSpace(layer).fit(vectors)
    table = role_table(run, replace(acts, rows=acts.rows.assign(label=labels)), space, run.axis).set_index("role")
    row = table.loc[role]
    assert row["n"] == len(kept)
    assert row["projection"] == pytest.approx(scores.mean(), abs=1e-4)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * scores.std() / len(kept) ** 0.5, rel=1e-5)
    default = acts.where("role == 'default'").project(run.axis)[layer]
    assert (table.loc["default", "high"] - table.loc["default", "low"]) / 2 == pytest.approx(
        1.96 * default.std() / len(default) ** 0.5, rel=1e-5
    )


def test_the_figures_say_what_they_need(whole):
    figures = study_figures(whole, whole.space(), whole.axis, role_table(whole, whole.activations(), whole.space(), whole.axis))
    assert "from the mean of the roles" in figures["axis_line"].figure.layout.xaxis.title.text
    assert any(trace.name == "permuted roles, 95th percentile" for trace in figures["scree"].figure.data)
    assert re.search(r"(One|No|The first \d+) components? exceeds? that\. Large", figures["scree"].caption)
    for name in ("axis_line", "persona_space", "scree", "cosines", "layer_sweep", "axis_between_layers"):
        assert figures[name].figure.layout.title.subtitle.text.startswith("organism"), f"{name} says which model"
    scree = pd.read_csv(whole.folder / "tables" / "scree.csv")
    assert scree["null_high"].notna().all()


def test_settings_that_are_wrong_are_one_sentence(tmp_path):
    with pytest.raises(RunError, match=r"setting prompts: .*greater than or equal to 1"):
        run_study("organism", tmp_path / "a", prompts=0)
    with pytest.raises(RunError, match="setting colour: extra inputs are not permitted"):
        run_study("organism", tmp_path / "b", colour="red")
    run_study("organism", tmp_path / "c", **SMALL | {"roles": 7, "questions": 1})
    with pytest.raises(RunError, match="other settings"):
        run_study("organism", tmp_path / "c", **SMALL | {"roles": 8, "questions": 1})


def test_too_few_roles_are_said_before_the_work_starts(tmp_path):
    with pytest.raises(DataError, match="a study needs at least 4 roles besides the default; there are 3"):
        run_study("organism", tmp_path / "run", roles=3)
    assert not (tmp_path / "run" / "rollouts" / "part-00000.parquet").exists()


def test_a_study_too_small_for_splits_says_so(tmp_path):
    run = run_study("organism", tmp_path / "run", **SMALL | {"roles": 7, "questions": 2})
    conclusion = run.study["verdict"]["conclusion"]
    assert re.match(r"cannot tell: three splits need at least 8 roles and 3 questions; there are \d and 2", conclusion)
    assert "untested" in run.report.read_text(encoding="utf-8")


def test_a_large_study_keeps_a_sample_and_says_so(tmp_path, monkeypatch, whole):
    import workbench.reduction as reduction

    monkeypatch.setattr(reduction, "LIMIT_BYTES", 100)
    monkeypatch.setattr(reduction.storage_plan, "__defaults__", (100,))
    monkeypatch.setattr(reduction, "SAMPLE_DEFAULT", 10)
    run = run_study("organism", tmp_path / "run", keep_layers=(1, 3), **SMALL)
    assert run.groups() is not None
    every = run.every_response()
    assert torch.allclose(every.values, whole.activations().at([1, 3]).values, atol=1e-5)
    assert every.rows["row"].tolist() == whole.activations().rows["row"].tolist()
    assert len(run.activations()) < len(every)
    assert torch.equal(whole.every_response().values, whole.activations().values)
    assert torch.allclose(run.axis.values, whole.axis.values, atol=1e-5)
    assert "means by role, prompt and label" in run.report.read_text(encoding="utf-8")
    run.study["steps"]["extract"]["single"] = []
    with pytest.raises(RunError, match="kept the vectors of a sample only: run it with --keep-layers"):
        run.every_response()
    with pytest.raises(DataError, match=r"kept at layer 9, and the layers that are read are \[0, 1, 2, 3, 4\]"):
        run_study("organism", tmp_path / "other", keep_layers=(9,), **SMALL)


def test_a_plan_says_what_it_will_cost_before_it_starts(tmp_path, organism, caplog, monkeypatch):
    import workbench.study.costs as study_costs
    from workbench.models.speed import Speed

    monkeypatch.setattr(study_costs, "LARGE", 10)
    monkeypatch.setattr(study_costs, "measure_speed", lambda model, batch: Speed(1000.0, 10.0, batch))
    run = create_run(tmp_path / "run", StudyConfig.of(**SMALL).model_dump(mode="json"))
    plan = make_plan(run, organism)
    said = study_costs.cost_of(plan, Lazy(run, organism), StudyConfig.of(**SMALL))
    rows, read, written = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:rows|tokens to read|to write)", said))
    real = sum(len(organism.render(json.loads(m), reply=True).ids) for m in plan.rows["messages"])
    assert (rows, written) == (len(plan.rows), len(plan.rows) * plan.max_new_tokens)
    assert read == pytest.approx(2 * real + written, abs=len(plan.rows))
    seconds = read / 1000 + written / 10
    assert f"that is {seconds / 60:.1f} minutes at most" in said or f"that is {seconds / 3600:.1f} hours at most" in said
    assert f"take {4 * rows * 5 * 96 / 1e3:.3g} kB" in said


def test_identical_responses_have_no_words_to_tell_and_the_rest_goes_on(tmp_path, monkeypatch, organism):
    """Whatever is asked, the same answer: no bag of words, nothing to cross, and a study all the same."""
    from workbench.models.generation import Answer
    from workbench.study.origins import origins_found

    ids = tuple(organism.tokenizer("The sky is blue.")["input_ids"])
    same = Answer("The sky is blue.", ids, "stop")
    monkeypatch.setattr("workbench.rollouts.generate", lambda model, prompts, **_: [same for _ in prompts])
    monkeypatch.setattr("workbench.study.main.judge_for", lambda model: None)
    run = run_study(organism, tmp_path / "run", roles=12)
    said = "The sweep has no layer -1: all responses hold the same words."
    assert said in run.report.read_text(encoding="utf-8")
    assert run.sweep["layer"].tolist() == [0, 1, 2, 3, 4]
    assert run.study["verdict"]["conclusion"].startswith("cannot tell")
    origins_step(run, Lazy(run, organism), lambda step, done, total: None)
    assert "all responses are the same text" in origins_found(run)
    assert run.study["steps"]["origins"]["done"] == ["Covariates", "The axis again"]


def test_a_real_chat_model_judges_itself_honestly(test_models, tmp_path):
    """No system role, 256 positions, no judge: it completes, uses all responses, and says all three."""
    run = run_study(str(test_models / "tinytalk"), tmp_path / "run", roles=10, questions=3, prompts=1, default_rollouts=12)
    html = run.report.read_text(encoding="utf-8")
    assert "all responses were used" in html
    assert "no system role" in html
    assert run.axis.site.system == "folded"
    assert run.study["verdict"]["conclusion"] != "holds"


def test_no_prompt_fits_is_said_before_the_work_starts(test_models, tmp_path):
    roles = tmp_path / "roles"
    roles.mkdir()
    for name in ("default", "poet"):
        (roles / f"{name}.json").write_text(json.dumps({"name": name, "prompts": ["verse after verse " * 100]}))
    for i in range(4):
        (roles / f"r{i}.json").write_text(json.dumps({"name": f"r{i}", "prompts": ["verse after verse " * 100]}))
    with pytest.raises(DataError, match="no prompt fits tinytalk: the shortest takes"):
        run_study(str(test_models / "tinytalk"), tmp_path / "run", roles=str(roles))


@pytest.fixture
def copy(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    return folder


@pytest.mark.parametrize("known", [True, False], ids=["recorded", "of a version that recorded no inputs"])
def test_other_answers_are_labelled_and_read_again(copy, whole, monkeypatch, known):
    """A server may answer otherwise when a damaged part is asked for again."""
    import workbench.served as served
    from workbench.models.extraction import extract

    run = open_run(copy)
    run.study["steps"]["calibrate"] = run.study["steps"]["label"] = {"state": "done"}
    if not known:
        run.study["steps"] = {k: {n: f for n, f in v.items() if n not in ("inputs", "parts")} for k, v in run.study["steps"].items()}
    run.save()
    (copy / "rollouts" / "part-00001.parquet").write_bytes(b"garbage")
    written = served.run_batch

    def otherwise(model, plan, number):
        ids = model.tokenizer("I cannot tell.", add_special_tokens=False)["input_ids"]
        frame = written(model, plan, number)
        return frame.assign(response="I cannot tell.", response_ids=[ids] * len(frame), n_tokens=len(ids))

    monkeypatch.setattr(served, "run_batch", otherwise)
    again = run_study("organism", copy, **SMALL)
    other = again.rollouts[again.rollouts["response"] == "I cannot tell."].reset_index(drop=True)
    assert 0 < len(other) < 42
    assert dict(zip(other["row"], other["label"], strict=True)) != _labels(whole, other["row"])
    kept = again.activations()
    kept = kept.take([list(kept.rows["row"]).index(row) for row in other["row"]])
    assert torch.allclose(kept.values, extract(load_model("organism"), other).values, atol=1e-4)
    assert not again.is_done("calibrate")
    assert not again.is_done("label")
    assert "void (calibrate)" in json.dumps(again.study["steps"]["axis"]["notes"])
    assert json.dumps(again.study["steps"]).count("part-00001.parquet was damaged") == 1


def _labels(run, rows):
    return run.rollouts.set_index("row")["label"].loc[list(rows)].to_dict()


@pytest.mark.parametrize("folder", ["rollouts", "judgements", "activations"])
@pytest.mark.parametrize("line", [0, -1])
def test_a_lost_line_of_the_record_is_noticed_and_made_anew(copy, whole, folder, line):
    manifest = copy / folder / "parts.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[line] = "#" + lines[line][1:]
    manifest.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(RunError, match=f"{folder} records .* parts, and .* were made: run the study again"):
        open_run(copy).activations()
    run_study("organism", copy, **SMALL)
    assert tables(copy) == tables(whole.folder)


@pytest.mark.parametrize(
    ("begun", "name", "was", "now", "allowed"),
    [
        ((), "layers", [99], [1], True),
        (("rollouts", "judge"), "layers", [99], [1], True),
        (("rollouts", "judge", "extract"), "layers", [2], [1], False),
        (("rollouts",), "judge_model", "misspelt", "right", True),
        (("rollouts", "judge"), "judge_model", "one", "another", False),
        (("rollouts",), "endpoint", "http://a/v1", "http://b/v1", True),
        (("rollouts",), "endpoint", "http://a/v1", None, False),
        (("rollouts",), "endpoint", None, "http://a/v1", False),
        (("rollouts", "judge"), "judge", "http://a/v1", None, False),
        (("rollouts", "judge", "extract"), "judge_budget", 5, 9, True),
        (("rollouts",), "roles", 9, 10, False),
    ],
)
def test_settings_may_change_until_they_are_asked_for(tmp_path, begun, name, was, now, allowed):
    run = create_run(tmp_path / "run", {name: was})
    for step in begun:
        run.study["steps"][step] = {"state": "running"}
    assert may_change(run, name, was, now) is allowed


def test_what_is_void_stays_void_after_a_crash(copy, whole, monkeypatch):
    """Killed when the new axis is there and its step is not recorded yet."""
    import workbench.study.main as main

    run = open_run(copy)
    run.study["steps"]["calibrate"] = {"state": "done"}
    run.save()
    (copy / "axis.safetensors").unlink()
    (-whole.axis).save(copy / "axis.safetensors")
    (copy / "role_vectors.safetensors").unlink()

    def crash(*args):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(main, "inputs", crash)
        with pytest.raises(Killed):
            STEPS["axis"](open_run(copy), None, lambda step, done, total: None)
    assert torch.equal(open_run(copy).axis.values, whole.axis.values)
    assert not open_run(copy).is_done("calibrate")
