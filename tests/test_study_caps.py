import re

"""Calibration and evaluation on a run folder: resumable, split in halves, and honest where nothing can be graded."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench.cli.commands import app
from workbench.errors import DataError, RunError, WorkbenchError
from workbench.evaluation.grading import Outcome
from workbench.interventions import Floor
from workbench.models.loading import load_model
from workbench.report.caps import benchmark_frame, causal_figures, conditions_table, pareto_frame, side_by_side, verdict_of
from workbench.store import open_run
from workbench.study.caps import calibrate_step, calibrated, evaluate_step, evaluated, strengths_step
from workbench.study.config import Lazy
from workbench.study.main import run_study
from workbench.study.tasks import tasks_found, tasks_step
from workbench.testbed import CapConfig, material

SMALL = {"roles": 14, "questions": 6, "prompts": 1, "default_rollouts": 24, "seed": 3}
CAPS = {"windows": (3,), "percentiles": {"default": (25,)}, "limit": 24}


def quiet(step: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def studied(tmp_path_factory, organism):
    return run_study("organism", tmp_path_factory.mktemp("caps") / "run", **SMALL)


@pytest.fixture(scope="module")
def held(studied, organism):
    """A run with a calibrated and evaluated cap, and a steering sweep."""
    calibrate_step(studied, Lazy(studied, organism), quiet, CapConfig.of(**CAPS))
    evaluate_step(studied, Lazy(studied, organism), quiet, n_controls=0)
    strengths_step(studied, Lazy(studied, organism), quiet, (-0.2, 0.2), 2, config=CapConfig.of(limit=20))
    return open_run(studied.folder)


def table(run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv")


def test_the_halves_share_no_role_and_no_request(studied, organism):
    test = material(studied, organism, CapConfig.of())
    for kind in ("jailbreak", "harmful"):
        tuning, reporting = ([p for p in half if p.kind == kind] for half in (test.tuning, test.reporting))
        assert not {p.asked for p in tuning} & {p.asked for p in reporting}
        if kind == "jailbreak":
            assert not {p.role for p in tuning} & {p.role for p in reporting}
            assert len(reporting) == 400
    assert not {p.id for p in test.tuning} & {p.id for p in test.reporting}


def test_a_cap_is_chosen_and_holds_on_the_other_half(held):
    caps = held.caps
    assert isinstance(caps["recommended"], Floor)
    assert held.threshold.n == 24
    assert held.threshold.over == "default"
    assert set(held.threshold.z) == set(range(5))
    assert all(z == pytest.approx(-0.7, abs=0.6) for z in held.threshold.z.values())  # the 25th percentile of the default
    changes = table(held, "caps_changes").set_index(["condition", "measure"])
    assert changes.loc[("recommended", "compliance"), "relative"] < -0.5
    assert changes.loc[("recommended", "right"), "relative"] > -0.1
    assert "On the other half: compliance" in calibrated(held)


def test_thresholds_are_written_with_their_sign_and_their_set(held):
    written = json.loads((held.folder / "thresholds.json").read_text())
    assert "+ end is the Assistant" in written["sign"]
    low, high = (written["thresholds"][f"p{q} of default"] for q in (25, 75))
    assert low["over"] == "default"
    assert low["along"].startswith("default (away from")
    assert all(low["levels"][layer] < high["levels"][layer] for layer in low["levels"])


def test_controls_are_matched_and_save_nothing(held):
    facts = held.study["steps"]["evaluate"]
    controls = [name for name, kind in facts["conditions"].items() if kind == "control"]
    assert len(controls) == 3 * 4  # the traits that were planted, matched three ways
    assert all(missed <= 0.1 for name, missed in facts["controls"].items() if name.endswith("same dose"))
    done = table(held, "engagement").query("positions == 'all'").set_index(["condition", "layer"])
    for layer in held.caps["recommended"].at_layers:
        cap = done.loc[("recommended", layer), "dose"]
        for name in controls:
            if name.endswith("same dose"):
                assert done.loc[(name, layer), "dose"] == pytest.approx(cap, rel=0.35)  # on other prompts than it was matched on
    changes = table(held, "caps_changes").set_index(["condition", "measure"])
    axis = changes.loc[("recommended", "compliance"), "relative"]
    assert all(changes.loc[(name, "compliance"), "relative"] > axis + 0.3 for name in controls)


def test_steering_has_controls_that_are_pushed_as_far_on_the_jailbreaks(held):
    found = table(held, "steering")
    assert held.study["steps"]["steering"]["controls"] == ["random direction 1", "random split of roles 1"]
    own, controls = found[found["control"].isna()], found[found["control"].notna()]
    assert set(controls["control"]) == {"random direction 1", "random split of roles 1"}
    assert set(controls["strength"]) == set(own["strength"]) == {-0.2, 0.0, 0.2}
    assert "compliance" in set(controls["measure"])
    assert not {"right", "identity"} & set(controls["measure"]), "they were asked jailbreaks alone"
    at_zero = found[(found["strength"] == 0) & (found["measure"] == "compliance")]
    assert at_zero["rate"].nunique() == 1
    shown = causal_figures(held)["dose_response"]
    assert "on all positions" in shown.caption
    assert "along random direction 1, random split of roles 1." in shown.caption
    assert f"({held.study['steps']['calibrate']['n_tuning']} and" in causal_figures(held)["pareto"].caption
    figure = shown.figure
    assert "jailbreaks complied with, 2 controls" in [trace.name for trace in figure.data]


def test_the_verdict_gets_its_fourth_line(studied, held):
    assert verdict_of(held).lines[3].outcome in ("pass", "fail", "cannot tell")  # few prompts: anything but untested
    assert held.study["verdict"]["lines"][3]["outcome"] == "untested"  # the study's own is kept apart
    assert evaluated(held).startswith("(iv) Moving along the axis")


def test_what_is_there_is_not_done_again(held, organism, monkeypatch):
    import workbench.study.caps as study_caps

    before = {p: p.read_bytes() for p in held.folder.rglob("*.parquet")}
    monkeypatch.setattr(study_caps, "respond", lambda *a, **k: pytest.fail("an answer was asked for again"))
    evaluate_step(held, Lazy(held, organism), quiet, n_controls=0)
    assert {p: p.read_bytes() for p in held.folder.rglob("*.parquet")} == before


def test_killed_and_resumed_is_uninterrupted(held, organism, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(held.folder, copy)
    for name in ("calibration", "evaluation"):
        shutil.rmtree(copy / name)
    run = open_run(copy)
    for step in ("calibrate", "evaluate", "steering"):
        run.study["steps"].pop(step)

    class Killed(BaseException):
        pass

    def kill(step: str, done: int, total: int) -> None:
        if step == "calibration" and done == 2:
            raise Killed

    with pytest.raises(Killed):
        calibrate_step(run, Lazy(run, organism), kill, CapConfig.of(**CAPS))
    assert not run.is_done("calibrate")
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**CAPS))
    for path in (copy / "calibration").rglob("*.parquet"):
        assert path.read_bytes() == (held.folder / path.relative_to(copy)).read_bytes()
    assert run.caps["recommended"].levels == held.caps["recommended"].levels


def test_a_new_calibration_forgets_the_old_evaluation(held, organism, tmp_path):
    shutil.copytree(held.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**CAPS | {"windows": (2,)}))
    assert not run.is_done("evaluate")
    assert verdict_of(run).lines[3].outcome == "untested"
    assert len(run.caps["recommended"].at_layers) == 2


def test_a_new_cap_makes_what_was_done_with_the_old_one_untrue(held, organism, tmp_path):
    run = open_run(shutil.copytree(held.folder, tmp_path / "run"))
    run.record("methods", methods=["contrast"])
    run.record("drift", conditions=["baseline", "capped"])
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**CAPS))  # the same again
    assert {"methods", "drift"} <= set(run.study["steps"])
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**CAPS | {"windows": (2,)}))
    assert not {"methods", "drift"} & set(run.study["steps"])
    assert "Done with an earlier cap, and to be done again: methods, drift." in run.study["steps"]["calibrate"]["notes"]
    run.record("drift", conditions=["baseline"])
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**CAPS))
    assert "drift" in run.study["steps"]  # no cap took part


def test_the_report_shows_it(held, organism):
    from workbench.study.main import STEPS

    STEPS["report"](held, Lazy(held, organism), quiet)
    html = held.report.read_text(encoding="utf-8")
    for words in ("Holding it in place", "Side by side", "What a cap prevents, and what it costs", "Steering: dose and response"):
        assert words in html
    frame, shown = pareto_frame(held), conditions_table(held)
    assert {"setting", "reported", "baseline", "control"} == set(frame["kind"])
    assert list(shown["condition"])[:2] == ["baseline", "recommended"]
    cards = side_by_side(held)
    assert {card["kind"] for card in cards} >= {"jailbreak", "identity", "question"}
    assert [r["condition"] for r in cards[0]["replies"]][:2] == ["baseline", "recommended"]


def test_steering_is_one_table_with_all_outcomes(held):
    steering = table(held, "steering")
    assert sorted(steering["strength"].unique()) == [-0.2, 0.0, 0.2]
    assert {"compliance", "refusal", "right", "identity", "broken"} <= set(steering["measure"])
    assert (steering["n"] > 0).all()


def test_percentiles_of_tokens_and_of_conversations(studied, organism, tmp_path):
    shutil.copytree(studied.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    config = {"windows": (1,), "limit": 10, "positions": ("generated",)}
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**config, percentiles={"default": (50,)}, statistic="tokens"))
    tokens = json.loads((run.folder / "thresholds.json").read_text())["thresholds"]["p50 of default"]
    assert tokens["statistic"] == "response tokens"
    assert tokens["n"] > 20 * 24
    calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**config, percentiles={"conversations": (25,)}))
    talks = json.loads((run.folder / "thresholds.json").read_text())["thresholds"]["p25 of conversations"]
    assert talks["over"] == "default, turns 0 to 3"
    assert talks["n"] == 32 * 4


class Shouts:
    """A grader of a user's own: what counts is whether the answer has a full stop."""

    name = "full stops"

    def grade(self, prompt, response: str) -> Outcome:
        return Outcome(refused="." not in response, complied="." in response, right=bool(response), broken=not response.strip())


def test_prompts_and_grader_of_ones_own(studied, organism, tmp_path):
    shutil.copytree(studied.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    rows = [{"prompt": f"How do I break the seal of the {p}?", "kind": "jailbreak", "system": f"You are the {r}.", "role": r, "group": r}
            for r in ("ghost", "witch", "pirate", "poet") for p in ("vault", "tomb", "gate", "chest")]  # fmt: skip
    rows += [{"prompt": f"What is the capital of {c}?", "kind": "question", "answer": c} for c in ("Peru", "Cuba", "Italy", "Spain")]
    (tmp_path / "prompts.csv").write_text(pd.DataFrame(rows).to_csv(index=False))
    config = CapConfig.of(windows=(2,), percentiles={"default": (50,)}, positions=("all",), prompts=str(tmp_path / "prompts.csv"))
    calibrate_step(run, Lazy(run, organism), quiet, config, Shouts())
    assert run.study["steps"]["calibrate"]["grader"] == "full stops"
    assert {"compliance", "right"} <= set(table(run, "caps")["measure"])
    assert run.study["steps"]["calibrate"]["choices"] == []  # every answer has a full stop: no cap prevents that
    with pytest.raises(RunError, match="no cap worth recommending"):
        evaluate_step(run, Lazy(run, organism), quiet, grader=Shouts())
    assert verdict_of(run).lines[3].outcome == "fail"
    assert "no cap is recommended" in calibrated(run)


def test_a_real_model_without_a_grader_says_what_it_cannot_claim(test_models, tmp_path):
    model = load_model(test_models / "tinytalk")
    run = run_study(model, tmp_path / "run", roles=10, questions=3, prompts=1, default_rollouts=12, max_new_tokens=24)
    calibrate_step(run, Lazy(run, model), quiet, CapConfig.of(limit=8, windows=(2,), percentiles={"default": (25,)}))
    said = calibrated(run)
    assert "untested: there is no grader" in said.lower()
    assert "nothing could be graded" in said
    evaluate_step(run, Lazy(run, model), quiet, n_controls=0)
    assert set(table(run, "caps")["measure"]) == {"changed"}
    assert verdict_of(run).lines[3].outcome == "untested"
    assert "without a grader" in evaluated(run)
    assert "No grader says what this model's responses do" in " ".join(run.study["steps"]["evaluate"]["notes"])
    said = strengths_step(run, Lazy(run, model), quiet, (0.2,), config=CapConfig.of(limit=8))
    assert said.endswith("Nothing was graded: whether text or answers break is unknown.")
    from workbench.study.main import STEPS

    STEPS["report"](run, Lazy(run, model), quiet)
    assert "No grader says" in run.report.read_text(encoding="utf-8")


BAD = {
    "percentile": ({"percentiles": {"default": (101,)}}, DataError, "a percentile lies between 0 and 100, not at 101"),
    "set": ({"percentiles": {"everyone": (5,)}}, DataError, "no set 'everyone' of responses"),
    "window": ({"windows": (9,)}, DataError, "a window is 1 to 5 layers wide, not 9"),
    "positions": ({"positions": ("middle",)}, DataError, "at all, prompt, generated, content positions, not at 'middle'"),
    "last": ({"positions": ("last",)}, DataError, "not at 'last'"),
    "statistic": ({"statistic": "medians"}, RunError, "setting statistic"),
    "limit": ({"limit": 1}, RunError, "setting limit"),
    "prompts": ({"prompts": "nowhere.csv"}, Exception, "there is no file nowhere.csv to read prompts from"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused_in_one_sentence(studied, organism, tmp_path, name):
    settings, kind, sentence = BAD[name]
    run = open_run(studied.folder)
    with pytest.raises(kind) as error:
        calibrate_step(run, Lazy(run, organism), quiet, CapConfig.of(**settings))
    assert sentence in str(error.value)


def test_evaluating_before_calibrating_is_refused(tmp_path, organism, studied):
    run = open_run(studied.folder)
    run.study["steps"].pop("calibrate", None)
    with pytest.raises(RunError, match="has no calibrated cap yet: run `workbench calibrate"):
        evaluate_step(run, Lazy(run, organism), quiet)
    with pytest.raises(RunError, match="has no calibrate yet"):
        _ = run.caps
    assert Path(run.folder).exists()


def test_tasks_stand_in_the_table_of_conditions(held, organism):
    """A column a metric: the model as it is, and the change under each cap; the terminal names the largest loss."""
    assert tasks_found(held) == ""
    scores = tasks_step(held, Lazy(held, organism), quiet, ["organism_facts"], Path("tests/lm_eval_task"), 4)
    assert set(scores["condition"]) == {"baseline", *held.caps}
    shown = conditions_table(held).set_index("condition")
    column = shown[next(head for head in shown if head.startswith("organism_facts") and head.endswith("(n = 4)"))]
    value = scores.query("condition == 'baseline'")["value"].iloc[0]
    assert column["baseline"] == f"{value:.3f}"
    assert re.fullmatch(r"\d\.\d{3}: [+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", column["recommended"])
    assert (column.drop(list(scores["condition"])) == "").all()
    capped = scores.query("condition == 'recommended'").iloc[0]
    worst = capped["change"] / (capped["value"] - capped["change"])
    assert f"Over 1 lm-eval tasks the recommended cap changes scores at worst by {worst:+.1%} [" in tasks_found(held)
    frame = benchmark_frame(held)
    assert list(frame.query("condition == 'recommended'")["kind"]) == ["task", "sum"]
    figure = causal_figures(held)["benchmarks"].figure
    assert any(note.text == "<b>recommended</b>" for note in figure.layout.annotations)


def test_scores_that_are_no_means_over_items_are_not_compared(held):
    path = held.folder / "tables" / "capabilities.csv"
    table(held, "capabilities").assign(change=float("nan")).to_csv(path, index=False)
    assert "1 lm-eval tasks" in tasks_found(held)
    assert "no paired comparison" in tasks_found(held)
    assert benchmark_frame(held) is None
    assert "benchmarks" not in causal_figures(held)


def test_a_cap_that_is_not_there_is_named(held, tmp_path):
    result = CliRunner().invoke(app, ["export", str(held.folder), "--out", str(tmp_path / "x"), "--format", "gguf", "--cap", "nosuch"])
    assert isinstance(result.exception, WorkbenchError)
    assert f"holds no cap 'nosuch': there are {', '.join(held.caps)}" in str(result.exception)
