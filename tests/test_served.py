"""Studies whose answers come from a server: nothing is lost, nothing is asked twice, and what cannot be read is said."""

import json
import re
import shutil

import pandas as pd
import pytest
from servers import Served, completion, scripted

from workbench.conversations import Conversation, Question, Role
from workbench.errors import EndpointError
from workbench.journal import Journal
from workbench.models.endpoint import KEY, Endpoint, Reply
from workbench.models.loading import load_model
from workbench.organism import CHECKPOINT
from workbench.rollouts import plan_rollouts
from workbench.served import answer_of, served_rows, template_note, windows
from workbench.store import create_run, open_run
from workbench.study.config import Lazy, StudyConfig, may_change
from workbench.study.main import STEPS, run_study

SMALL = {"roles": 9, "questions": 3, "prompts": 1, "default_rollouts": 12, "concurrency": 2, "batch_size": 16}
QUIET = lambda step, done, total: None  # noqa: E731


@pytest.fixture(scope="module")
def reader():
    """A model without weights."""
    return load_model("organism", device="meta")


def answers(request: dict, n: int):
    """Something to say to everybody, different for everybody."""
    system, question = request["messages"][0]["content"], request["messages"][-1]["content"]
    return 200, {}, completion(f"I am asked by {len(system)} about {question[:20].lower()}. It is well.")


def rows_of(messages: list[dict]) -> dict:
    return {"row": "x", "messages": json.dumps(messages)}


ASKED = rows_of([{"speaker": "system", "text": "Act as the ghost."}, {"speaker": "user", "text": "Who are you?"}])


# -- without weights ----------------------------------------------------------------------------------
def test_a_model_without_weights_plans_the_same_study(reader, organism):
    roles, questions = [Role("default", ("",)), Role("ghost", ("Act as the ghost.",))], [Question(0, "Who are you?")]
    plans = [plan_rollouts(m, roles, questions) for m in (reader, organism)]
    pd.testing.assert_frame_equal(plans[0].rows, plans[1].rows)
    assert plans[0].max_new_tokens == plans[1].max_new_tokens
    assert (reader.context, reader.n_layers, reader.d_model) == (organism.context, organism.n_layers, organism.d_model)
    assert reader.device.type == "meta"


# -- one answer ---------------------------------------------------------------------------------------
def test_an_answer_is_read_with_our_own_tokenizer(reader):
    text, ids, n, reason, error, thinking, gap = answer_of(reader, ASKED, Reply(" I am the ghost. \n", "stop", 15))
    assert (text, ids, thinking, reason, error) == ("I am the ghost.", [], [], "stop", "")
    assert n == len(reader.tokenizer("I am the ghost.", add_special_tokens=False)["input_ids"])
    assert gap == 15 - len(reader.chat_format.prompt_ids(Conversation.of(json.loads(ASKED["messages"]))))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("", error="refused (400): too long"), r"^refused \(400\): too long$"),
        (Reply("<think>I wonder"), "^cut off while still thinking$"),
        (Reply("<think>I wonder</think>\n"), "^empty answer$"),
        (Reply("I am <|end|> here"), r"cannot be proven: message 2 \(assistant\) contains the special token"),
        (Reply("word " * 1200), r"^prompt and answer have \d+ tokens, and the context is 1024$"),
    ],
)
def test_answers_that_cannot_be_used_are_rows_with_an_error(reader, reply, error):
    if "<|end|>" in reply.text:
        reply = Reply(reply.text.replace("<|end|>", reader.tokenizer.all_special_tokens[-1]))
    assert re.search(error, answer_of(reader, ASKED, reply)[4])


def test_thinking_is_no_part_of_an_answer(reader):
    assert answer_of(reader, ASKED, Reply("<think>hm</think>\n\nI am the ghost."))[0] == "I am the ghost."


@pytest.mark.parametrize(
    ("gaps", "says"),
    [
        ([0, 0], ""),
        ([None, None], "does not say how many tokens"),
        ([0, 2, -1], "in 2 of 3 rows (by -1 to +2 tokens): its chat template differs"),
    ],
)
def test_another_template_is_noticed(gaps, says):
    notes = template_note(pd.DataFrame({"prompt_gap": pd.array(gaps, dtype="Int32")}))
    assert says in "".join(notes)
    assert bool(notes) == bool(says)
    assert template_note(pd.DataFrame({"row": [1]})) == []


# -- studies ------------------------------------------------------------------------------------------
def steps_of_a_study(folder, organism, **settings):
    """Rollouts, judgements and activations: what comes before the roles have to be played well."""
    config = StudyConfig.of(**SMALL | settings)
    run = create_run(folder, config.model_dump(mode="json"), may_change)
    for name in ("rollouts", "judge", "extract"):
        STEPS[name](run, Lazy(run, organism), QUIET)
    return open_run(folder)


def test_a_study_of_served_answers(tmp_path, organism, monkeypatch):
    monkeypatch.setenv(KEY, "sk-very-secret")
    with scripted(answers) as server:
        run = steps_of_a_study(tmp_path / "run", organism, endpoint=server.url, endpoint_model="named")
    table = run.rollouts
    assert (table["error"] == "").all()
    assert table["n_tokens"].min() > 3
    assert {request["model"] for request in server.seen} == {"named"}
    assert server.keys == {"Bearer sk-very-secret"}
    assert len(run.activations()) == len(table) == len(server.seen)
    assert not (tmp_path / "run" / "rollouts" / "journal.jsonl").exists()
    assert "does not say how many tokens" in run.study["steps"]["rollouts"]["notes"][0]
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or b"very-secret" not in path.read_bytes(), path
    seeds = [request["seed"] for request in server.seen]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**31


def test_killed_half_way_and_continued_elsewhere(tmp_path, organism, monkeypatch):
    """The first server dies after 20 answers; the second gets the rest, and nothing that was answered is asked again."""
    served: list[dict] = []

    def dies(request: dict, n: int):
        if len(served) >= 20:
            return None
        served.append(request)
        return answers(request, n)

    monkeypatch.setattr("workbench.study.main.endpoint_of", lambda config: Endpoint(config.endpoint, "m", concurrency=2, retries=0))
    with scripted(dies) as first, pytest.raises(EndpointError, match="run the same command again"):
        steps_of_a_study(tmp_path / "run", organism, endpoint=first.url)
    assert len(Journal(tmp_path / "run" / "rollouts" / "journal.jsonl")) == first.answered.total() == 20
    with scripted(answers) as second:
        run = steps_of_a_study(tmp_path / "run", organism, endpoint=second.url, concurrency=3)
    table = run.rollouts
    assert second.answered.total() == len(table) - 20
    asked = [(r["seed"], json.dumps(r["messages"])) for r in [*served, *second.seen]]
    assert len(set(asked)) == len(asked) == len(table)
    assert run.config["endpoint"] == second.url


TWO = [Role("default", ("",)), Role("ghost", ("Act as the ghost.",))]


def questions(n: int) -> list[Question]:
    return [Question(i, f"Why {i}?") for i in range(n)]


def test_rows_that_fail_are_named_and_the_others_kept(tmp_path, reader):
    plan = plan_rollouts(reader, TWO, questions(6), default_rollouts=6)

    def fails(request: dict, n: int):
        return (500, {"retry-after": "0.05"}, b"") if "Why 3" in request["messages"][-1]["content"] else answers(request, n)

    journal = Journal(tmp_path / "journal.jsonl")
    with scripted(fails) as server:
        endpoint = Endpoint(server.url, "m", concurrency=1, retries=0)
        with pytest.raises(EndpointError, match="2 of 12 rows got no answer"):
            served_rows(endpoint, reader, plan, plan.rows, journal, lambda: None)
    assert len(journal) == 10


def test_windows_hold_whole_batches(reader):
    plan = plan_rollouts(reader, TWO, questions(700), default_rollouts=1400, batch_size=64)
    groups = list(windows(range(len(plan.batches)), plan))
    assert [number for group in groups for number in group] == list(range(len(plan.batches)))
    sizes = [sum(len(plan.batches[n]) for n in group) for group in groups]
    assert len(sizes) == 2
    assert 2048 <= sizes[0] < 2048 + 64


@pytest.mark.slow
def test_a_real_server_killed_and_started_again(tmp_path):
    """`transformers serve` on the organism: rollouts to report, the server killed half-way; then the organism is its own, bad judge."""

    class Killed(Exception):
        pass

    first = Served(CHECKPOINT, tmp_path / "hf")
    try:
        first.wait()

        def kill(step: str, done: int, total: int) -> None:
            if step == "rollouts" and done == 15:
                first.stop()

        with pytest.raises(EndpointError, match="run the same command again"):
            run_study("organism", tmp_path / "run", kill, endpoint=first.url, **SMALL)
    finally:
        first.stop()
    kept = len(Journal(tmp_path / "run" / "rollouts" / "journal.jsonl"))
    assert 15 <= kept <= 15 + 2 * SMALL["concurrency"]
    second = Served(CHECKPOINT, tmp_path / "hf")
    try:
        second.wait()
        run = run_study("organism", tmp_path / "run", endpoint=second.url, **SMALL)
        table = run.rollouts
        assert second.posts() == len(table) - kept
        own = {"endpoint": second.url, "judge": second.url, "judge_model": str(CHECKPOINT)}
        create_run(tmp_path / "judged", StudyConfig.of(**own, **SMALL).model_dump(mode="json"), may_change)
        shutil.copytree(tmp_path / "run" / "rollouts", tmp_path / "judged" / "rollouts")
        judged = run_study("organism", tmp_path / "judged", **own, **SMALL)
        roles = judged.table("rollouts").query("role != 'default'")
        assert second.posts() == len(table) + len(roles) - kept  # the answers were there, each of a role's was judged once
    finally:
        second.stop()
    assert (table["error"] == "").all()
    assert (table["prompt_gap"] == 0).all()
    assert run.study["steps"]["rollouts"]["notes"] == []
    assert run.report.exists()
    assert (table.query("role != 'default'")["label"] == 3).mean() > 0.9
    STEPS["rollouts"](run, Lazy(run), QUIET)  # all there: no server is needed any more
    assert judged.study["steps"]["judge"]["unread"] == len(roles)
    assert judged.study["steps"]["axis"]["keep"] == "all"
    assert "verdicts could not be read): the judge is of no use" in judged.report.read_text()
