"""The drift study on a run: nothing is done twice, the cap's life is held beside it, files of others are read, mistakes are named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from workbench.cli.commands import app
from workbench.directions import Direction
from workbench.drift.files import given_trajectories, in_words
from workbench.drift.material import DriftConfig, conversations_for, ordinary_tasks
from workbench.drift.simulated_users import ModelUser
from workbench.drift.store import kept_conversations
from workbench.drift.words import drifted
from workbench.errors import DataError, WorkbenchError
from workbench.interventions import Floor
from workbench.organism import CHECKPOINT
from workbench.organism.conversing import DRIFTING, PERSONAS, latents, world_tasks
from workbench.organism.judge import load_world
from workbench.report.drift import drift_figures, drift_tables
from workbench.store import open_run
from workbench.study.config import Lazy
from workbench.study.drift import drift_step
from workbench.study.main import STEPS, run_study
from workbench.trajectories import trajectory

QUIET = lambda step, done, total: None  # noqa: E731
SMALL = DriftConfig.of(n=5, turns=3, ordinary=20, choosing=1, repeats=2, in_roles=1, steer=-0.3)


@pytest.fixture(scope="module")
def studied(tmp_path_factory, organism):
    return run_study(organism, tmp_path_factory.mktemp("drift") / "run", roles=24, questions=4, prompts=2, default_rollouts=48)


@pytest.fixture(scope="module")
def run(studied, organism):
    """A study with a cap of ours in the place of a calibrated one."""
    cap = Floor(studied.axis, at=0.0, layers=[2, 3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.study.drift._cap", lambda run: cap)
        drift_step(studied, Lazy(studied, organism), QUIET, SMALL)
    return open_run(studied.folder)


# -- what is held -------------------------------------------------------------------------------------
def test_the_worlds_users_ask_what_their_domain_asks(organism, studied):
    tasks = world_tasks(DRIFTING, 10, turns=5)
    assert len({task.name for task in tasks}) == 40
    assert {task.persona for task in tasks} == set(PERSONAS)
    assert all(len(task.messages) == 5 for task in tasks)
    again, chosen, user = conversations_for(studied, organism, DriftConfig.of(n=10, turns=5))
    assert [t.messages for t in again] == [t.messages for t in tasks]
    assert user is None
    assert not {t.messages for t in chosen} & {t.messages for t in tasks}
    with pytest.raises(DataError, match="there is no domain 'cooking' in the embedded model's world: there are coding"):
        world_tasks(("cooking",))


def test_other_users_come_from_the_library(organism, studied):
    config = DriftConfig.of(n=3, choosing=2, user="self", domains=("therapy", "coding"))
    tasks, chosen, user = conversations_for(studied, organism, config)
    assert isinstance(user, ModelUser)
    assert (len(tasks), len(chosen)) == (6, 4)
    assert all(task.opening and task.brief for task in [*tasks, *chosen])
    assert not {(t.persona, t.topic) for t in tasks} & {(t.persona, t.topic) for t in chosen}


def test_the_layer_is_never_chosen_on_what_is_reported_however_many_are_wanted(organism, studied):
    for n in (3, 98, 100, 500):
        tasks, chosen, _ = conversations_for(studied, organism, DriftConfig.of(n=n, choosing=5, user="self", domains=("therapy",)))
        assert len(chosen) == 5
        assert len(tasks) == min(n, 95)
        assert not {(t.persona, t.topic) for t in tasks} & {(t.persona, t.topic) for t in chosen}


def test_another_axis_is_another_study(organism, studied):
    from workbench.drift.holding import Holding

    holding = Holding(studied, organism, SMALL, QUIET, None)
    before = holding._salt([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(studied), "axis", property(lambda self, axis=studied.axis: -axis))
        assert holding._salt([]) != before
    assert holding._salt([]) == before


def test_ordinary_conversations_ask_the_runs_questions(studied):
    tasks = ordinary_tasks(studied, DriftConfig.of(turns=6))
    questions = {q["question"] for q in studied.study["library"]["questions"]}
    assert all(set(task.messages) <= questions and len(task.messages) == 6 for task in tasks)
    assert len({task.messages for task in tasks}) > 20


def test_the_planted_latent_follows_the_messages():
    from workbench.conversations import Conversation

    world = load_world(CHECKPOINT)
    talk = Conversation.of([("user", "Add 2 and 3."), ("assistant", "x"), ("user", "I feel so alone tonight."), ("user", "hm")], name="t")
    found = latents(world, [talk])
    first = world.drift(world.default_a, "fact")
    assert found[("t", 1)] == pytest.approx(first)
    assert found[("t", 2)] == pytest.approx(world.drift(first, "vulnerable"))
    assert found[("t", 3)] == found[("t", 2)]


# -- the study ----------------------------------------------------------------------------------------
def test_the_planted_latent_is_read_better_than_along_random_directions(run, organism):
    """Random directions follow it as well, as far as |r| .8: only the axis reaches the bound."""
    talks, _ = kept_conversations(run, "baseline")
    layer = run.study["steps"]["drift"]["layer"]
    generator = torch.Generator().manual_seed(0)
    others = {
        f"random {i}": Direction(torch.randn(5, 96, generator=generator), organism.bare_site(), f"random {i}", "somewhere")
        for i in range(20)
    }
    both = trajectory(organism, talks, others | {"axis": run.axis}, layers=[layer])
    replies = both[both["speaker"] == "assistant"]
    planted = latents(load_world(CHECKPOINT), talks)
    a = np.array([planted[key] for key in zip(replies["conversation"], replies["exchange"], strict=True)])
    r = {name: np.corrcoef(a[replies["direction"] == name], rows["projection"])[0, 1] for name, rows in replies.groupby("direction")}
    assert r["axis"] > 0.85
    assert max(abs(value) for name, value in r.items() if name != "axis") < r["axis"]


def test_the_same_users_speak_to_the_capped_model(run):
    (talks, frame), (capped, under) = (kept_conversations(run, name) for name in ("baseline", "capped"))
    assert len(talks) == len(capped) == 20
    for a, b in zip(talks, capped, strict=True):
        assert a.name == b.name
        assert [t.text for t in a.turns if t.speaker == "user"] == [t.text for t in b.turns if t.speaker == "user"]
    assert any(a.turns != b.turns for a, b in zip(talks, capped, strict=True))
    assert set(under["condition"]) == {"capped"}
    held = under[under["layer"].isin([2, 3])]
    assert held["after"].min() > -1e-4
    assert "after" not in frame


def test_what_is_kept_is_the_trajectory_of_what_was_said(run, organism):
    talks, frame = kept_conversations(run, "baseline")
    fresh = trajectory(organism, talks, {"axis": run.axis})
    keys = ["conversation", "turn", "layer"]
    assert np.allclose(fresh.set_index(keys)["projection"].loc[frame.set_index(keys).index], frame["projection"], atol=1e-4)
    assert (frame["text"] == fresh.set_index(keys)["text"].loc[frame.set_index(keys).index].to_numpy()).all()


def test_tables_report_and_words(run, organism):
    facts = run.study["steps"]["drift"]
    assert facts["conditions"] == ["baseline", "capped", "steered -0.3"]
    assert facts["layer"] in run.axis.site.layers
    means = pd.read_csv(run.folder / "tables" / "drift_means.csv")
    assert set(means["condition"]) == {"baseline", "capped", "steered -0.3"}
    ends = means[means["exchange"] == 3].groupby("condition")["mean"].mean()
    assert ends["capped"] > ends["baseline"] > ends["steered -0.3"]
    assert (means["n"] == 5).all()
    ridge = pd.read_csv(run.folder / "tables" / "drift_ridge.csv")
    assert {"level", "change", "change, mean of 1 replies", "change, mean of 2 replies"} == set(ridge["target"])
    assert {"leave one domain out", "in sample", "user persona", "conversation and message"} == set(ridge["folds"])
    harm = pd.read_csv(run.folder / "tables" / "drift_harm.csv")
    assert harm.groupby("condition")["n"].sum().tolist() == [60, 60, 60]
    by_role = pd.read_csv(run.folder / "tables" / "drift_harm_correlation.csv").set_index("over")
    assert by_role.loc["role", "n"] == by_role.loc["probes in roles", "n"] == 24
    assert by_role.loc["role", "r"] < 0
    STEPS["report"](run, Lazy(run, organism), QUIET)
    assert {"drift_means", "drift_causes", "drift_clusters", "drift_harm", "drift_conversations"} <= set(drift_figures(run))
    assert {t.title for t in drift_tables(run)} >= {"What messages foretell", "Layers for single replies"}
    page = run.report.read_text(encoding="utf-8")
    assert "Conversations that drift" in page
    assert 'class="token-map' in page
    assert "the first conversation by name of the domain that moved farthest" in page
    said = drifted(run)
    assert f"read at layer {facts['layer']}, where single replies repeat best" in said
    assert "philosophy -" in said


def test_what_is_there_is_not_done_again(run, organism, monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail("done again")

    for name in ("simulate", "replay", "repeated_replies"):
        monkeypatch.setattr(f"workbench.drift.holding.{name}", fail)
    monkeypatch.setattr("workbench.study.caps.respond", fail)
    monkeypatch.setattr("workbench.study.drift._cap", lambda run: Floor(run.axis, at=0.0, layers=[2, 3]))
    before = (run.folder / "tables" / "drift_ridge.csv").read_bytes()
    drift_step(run, Lazy(run, organism), QUIET, SMALL)
    assert (run.folder / "tables" / "drift_ridge.csv").read_bytes() == before


def test_killed_and_resumed_is_uninterrupted(studied, organism, tmp_path, monkeypatch):
    """Killed in the third part: the first two are not held again, and what was said is the same."""
    import shutil

    import workbench.drift.holding as holding

    monkeypatch.setattr(holding, "CHUNK", 2)
    config = DriftConfig.of(n=4, turns=2, domains=("coding", "therapy"))
    runs = []
    for name in ("whole", "killed"):
        shutil.copytree(studied.folder, tmp_path / name, ignore=shutil.ignore_patterns("drift"))
        runs.append(open_run(tmp_path / name))
    tasks = world_tasks(("coding", "therapy"), 4, 2)
    whole = holding.Holding(runs[0], organism, config, QUIET, None).held("baseline", tasks, None)
    calls, simulate = [], holding.simulate

    def killed(model, tasks, *args, **kwargs):
        calls.append([task.name for task in tasks])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return simulate(model, tasks, *args, **kwargs)

    monkeypatch.setattr(holding, "simulate", killed)
    again = holding.Holding(runs[1], organism, config, QUIET, None)
    with pytest.raises(KeyboardInterrupt):
        again.held("baseline", tasks, None)
    talks, frame = again.held("baseline", tasks, None)
    assert [len(names) for names in calls] == [2] * 5
    assert calls[3] == calls[2]
    assert talks == whole[0]
    pd.testing.assert_frame_equal(frame, whole[1])


def test_a_drift_study_too_small_for_causes_says_so(studied, organism, tmp_path):
    import shutil

    shutil.copytree(studied.folder, tmp_path / "run", ignore=shutil.ignore_patterns("drift"))
    small = open_run(tmp_path / "run")
    small.study["steps"].pop("drift", None)
    config = DriftConfig.of(n=2, turns=2, ordinary=20, choosing=1, domains=("coding",), harm=False, layer=3)
    drift_step(small, Lazy(small, organism), QUIET, config)
    facts = small.study["steps"]["drift"]
    assert facts["layer"] == 3
    assert facts["notes"][0].startswith("Nothing is said of causes: causes take 10 conversations; there are 2")
    assert facts["notes"][1].startswith("Nothing is said of harm")
    assert "drift_clusters" not in drift_figures(small)
    assert "of causes" in drifted(small)


# -- files of others ----------------------------------------------------------------------------------
@pytest.fixture
def transcript(tmp_path):
    talks = [
        {
            "name": "one",
            "messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am an AI assistant."}],
        },
        {"name": "bad", "messages": [{"role": "narrator", "content": "x"}]},
        {"name": "long", "messages": [{"role": "user", "content": "Hm? " * 900}, {"role": "assistant", "content": "So it goes."}]},
    ]
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(json.dumps(t) for t in talks) + "\n{broken\n")
    return path


def test_given_conversations_are_read_and_what_cannot_be_is_named(run, organism, transcript):
    def go(*more: str):
        return CliRunner().invoke(app, ["drift", "--run", str(run.folder), str(transcript), *more])

    said = go().output
    assert "one: 1 replies, from" in said
    assert "talks.jsonl, line 2: message 1 is spoken by 'narrator'" in said
    assert "talks.jsonl, line 4: is not JSON" in said
    assert "'long' has " in said
    assert "give a window (--window 1024" in said
    said = go("--window", "256").output
    assert "long: 1 replies" in said
    folder = run.folder / "drift" / "given"
    frame = pd.read_parquet(folder / "turns.parquet")
    assert set(frame["conversation"]) == {"one", "long"}
    assert frame.loc[frame["speaker"] == "assistant", "inside"].notna().all()
    pages = [p for p in folder.glob("*.html") if p.name != "trajectories.html"]
    assert len(pages) == 2
    assert "AI" in "".join(p.read_text() for p in pages)


def test_given_conversations_under_the_cap_stand_beside_what_they_are_without_it(run, organism, monkeypatch):
    cap = Floor(run.axis, at=3.0, layers=[1, 2, 3])
    monkeypatch.setattr(type(run), "caps", property(lambda self: {"recommended": cap}))
    talks, _ = kept_conversations(run, "baseline")
    plain, _, folder = given_trajectories(run, organism, talks[:2])
    pages = {p.name for p in folder.glob("*.html")}
    both, _, _ = given_trajectories(run, organism, talks[:2], capped=True)
    assert both.query("condition == 'baseline'")["projection"].tolist() == pytest.approx(plain["projection"].tolist(), abs=1e-5)
    capped = both.query("condition == 'capped' and speaker == 'assistant'")
    assert (capped["after"] >= 3.0 - 1e-3).all()
    assert ((capped["after"] >= capped["low"]) & (capped["after"] <= capped["high"])).tolist() == capped["inside"].astype(bool).tolist()
    lines = in_words(both).splitlines()
    assert [line.partition(":")[0] for line in lines] == [n for t in talks[:2] for n in (t.name, f"{t.name}, capped")]
    assert f"to {capped['after'].iloc[len(capped) // 2 - 1]:+.2f}" in lines[1]
    assert len(pages) + 2 == len(list(folder.glob("*.html")))
    given_trajectories(run, organism, talks[2:3])
    assert not pages - {"trajectories.html"} & {p.name for p in folder.glob("*.html")}  # of files read before


def test_a_study_with_other_settings_that_is_interrupted_leaves_no_old_one(run, organism, tmp_path, monkeypatch):
    other = open_run(shutil.copytree(run.folder, tmp_path / "run"))
    monkeypatch.setattr("workbench.study.drift._harm", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        drift_step(other, Lazy(other, organism), QUIET, SMALL.model_copy(update={"layer": 1, "steer": None}))
    assert not open_run(other.folder).is_done("drift")


def test_a_domain_of_one_task_leaves_none_to_choose_the_layer_with(studied, organism, tmp_path):
    one = {
        "domains": [{"name": "d", "personas": [{"name": "p", "description": "x"}], "topics": [{"title": "t", "opening": "Who are you?"}]}]
    }
    path = tmp_path / "one.json"
    path.write_text(json.dumps(one))
    with pytest.raises(DataError, match="a domain needs two tasks or more"):
        conversations_for(studied, organism, DriftConfig.of(n=2, tasks=str(path), user=str(CHECKPOINT)))


def test_turns_from_tokens_are_turns(run, organism):
    talks, _ = kept_conversations(run, "baseline")
    frame, left_out, _ = given_trajectories(run, organism, talks[:3])
    assert left_out == []
    layer = run.study["steps"]["drift"]["layer"]
    direct = trajectory(organism, talks[:3], {"axis": run.axis}, layers=[layer])
    keys = ["conversation", "turn"]
    assert np.allclose(direct.set_index(keys)["projection"].loc[frame.set_index(keys).index], frame["projection"], atol=1e-4)
    assert in_words(frame, most=2).endswith("... and 1 more")


# -- mistakes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "drift needs a study whose axis it can use: --run RUN"),
        (["--run", "RUN"], "drift takes files of conversations, or --simulate"),
        (["--run", "RUN", "--simulate", "--n", "1"], "greater than or equal to 2"),
        (["--run", "RUN", "--simulate", "--user", "http://localhost:1/v1"], "--user-model NAME"),
        (["--run", "RUN", "nowhere.json"], "there is no file nowhere.json"),
        (["--run", "RUN", "--simulate", "--layer", "9"], "has no layer 9"),
    ],
)
def test_mistakes_are_one_sentence(run, arguments, says):
    result = CliRunner().invoke(app, ["drift", *[str(run.folder) if a == "RUN" else a for a in arguments]])
    assert isinstance(result.exception, WorkbenchError)
    assert says in str(result.exception)
