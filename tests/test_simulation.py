"""Simulated conversations: what is said depends on names and seeds alone, and every end is called by its name."""

import json
import random

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.drift.simulation import ENDED, Task, converse, drift_tasks, replay, simulate
from workbench.errors import ChatError, DataError
from workbench.interventions import Add, Floor
from workbench.models.generation import Answer, generate
from workbench.organism.questions import KINDS, draw_question, parse_question
from workbench.rollouts import seed_of

HOW = {"turns": 3, "max_new_tokens": 20}


def tasks_of(n: int = 6, turns: int = 3) -> list[Task]:
    """Users of the organism's world; every third has a system prompt, and the last one message less."""
    rng = random.Random(0)
    said = [[draw_question(rng, kind).text for kind in rng.choices(KINDS, k=turns)] for _ in range(n)]
    assert all(parse_question(text) for texts in said for text in texts)
    said[-1].pop()
    systems = ["You are the ghost.", "", ""]
    return [Task(f"t{i}", "mixed", f"p{i}", f"topic {i}", tuple(texts), system=systems[i % 3]) for i, texts in enumerate(said)]


def words(talk: Conversation, speaker: str = "assistant") -> list[str]:
    return [turn.text for turn in talk.turns if turn.speaker == speaker]


def axis_of(model) -> Direction:
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(0))
    return Direction(values, model.bare_site(), "axis", "there")


@pytest.fixture(scope="module")
def held(organism):
    return simulate(organism, tasks_of(), **HOW)


# -- what is said ---------------------------------------------------------------------------------------
def test_the_same_seed_says_the_same_and_another_something_else(organism, held):
    assert simulate(organism, tasks_of(), **HOW) == held
    other = simulate(organism, tasks_of(), seed=1, **HOW)
    assert all(words(a) != words(b) for a, b in zip(held, other, strict=True))


@pytest.mark.parametrize("size", [1, 4])
def test_neither_batches_nor_neighbours_change_a_word(organism, held, size):
    some = [5, 2, 3]
    assert simulate(organism, [tasks_of()[i] for i in some], batch_size=size, **HOW) == [held[i] for i in some]


def test_every_answer_is_given_to_all_that_was_said_before(organism, held):
    for i, task in enumerate(tasks_of()[:4]):
        talk = held[i]
        assert [t.speaker for t in talk.turns] == ["system"] * bool(task.system) + ["user", "assistant"] * 3
        assert words(talk, "user") == list(task.messages)
        assert words(talk, "system") == ([task.system] if task.system else [])
        for n, at in enumerate(k for k, turn in enumerate(talk.turns) if turn.speaker == "assistant"):
            prompt = organism.render(Conversation(talk.turns[:at]), reply=True).ids
            alone = generate(organism, [prompt], max_new_tokens=20, seeds=[seed_of(f"{task.name}/t{n}", 0)])
            assert alone[0].text == talk.turns[at].text


def test_it_is_known_what_a_conversation_was_about(organism, held):
    assert [talk.name for talk in held] == [f"t{i}" for i in range(6)]
    assert held[1].about == {"domain": "mixed", "persona": "p1", "topic": "topic 1", "condition": "baseline", ENDED: "turns"}
    bare = simulate(organism, [Task("x", messages=("Who are you?",))], turns=1, max_new_tokens=4, condition="capped")
    assert bare[0].about == {"condition": "capped", ENDED: "turns"}
    assert simulate(organism, []) == []


# -- once more ------------------------------------------------------------------------------------------
def test_a_replay_without_interventions_repeats_every_word(organism, held):
    again = replay(organism, held, condition="baseline", max_new_tokens=20)
    assert again == held
    assert words(replay(organism, held[:1], condition="x", seed=1, max_new_tokens=20)[0]) != words(held[0])


@pytest.mark.parametrize("kind", ["floor", "push"])
def test_a_replay_under_an_intervention_has_the_same_users_and_other_answers(organism, held, kind):
    axis = axis_of(organism)
    acting = Floor(axis, at=6.0, layers=[2, 3]) if kind == "floor" else [Add(axis, 3.0, layers=[2])]
    other = replay(organism, held, acting, condition=kind, max_new_tokens=20)
    for before, after in zip(held, other, strict=True):
        assert (words(after, "user"), words(after, "system")) == (words(before, "user"), words(before, "system"))
        assert words(after) != words(before)
        assert dict(after.about) == {**before.about, "condition": kind}
    assert replay(organism, other, condition="baseline", max_new_tokens=20) == held


def test_an_intervention_acts_while_an_answer_is_written_and_is_undone_when_that_fails(organism, monkeypatch):
    ids = torch.tensor([organism.render("Who are you?", reply=True).ids])
    before, seen = organism.logits(ids), []

    def breaks(model, prompts, **settings):
        seen.append(model.logits(ids))
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.drift.simulation.generate", breaks)
    with pytest.raises(KeyboardInterrupt):
        simulate(organism, tasks_of(1), interventions=Add(axis_of(organism), 1.0, layers=[2]))
    assert not torch.allclose(seen[0], before, atol=0.1)
    assert torch.equal(organism.logits(ids), before)
    assert organism._trackers == []


# -- how it ends ----------------------------------------------------------------------------------------
def test_a_conversation_ends_with_its_turns_or_with_its_user(held):
    assert [talk.about[ENDED] for talk in held] == ["turns"] * 5 + ["the user ended it"]
    assert [len(words(talk)) for talk in held] == [3] * 5 + [2]


def test_a_conversation_ends_where_the_context_would_not_hold_another_answer(organism):
    long = Task("long", messages=("Who are you?",) * 3, system="You are the ghost.")
    room = organism.context - len(organism.render([("system", long.system), ("user", "Who are you?")], reply=True).ids)
    talks = simulate(organism, [Task("short", messages=("Why?",)), long], max_new_tokens=room)
    assert [talk.about[ENDED] for talk in talks] == ["the user ended it", "context"]
    assert [len(words(talk)) for talk in talks] == [1, 1]
    assert words(talks[1], "user") == ["Who are you?"]  # the message without an answer is no part of it
    with pytest.raises(DataError, match=r"no conversation got an answer .the first: context"):
        simulate(organism, [long], max_new_tokens=room + 1)


def test_an_empty_answer_or_the_third_that_is_the_same_ends_one_conversation_and_no_other(organism, monkeypatch):
    script = {
        "empty": ["a", ""],
        "stuck": ["a", "b", "b", "b", "never"],
        "twice": ["b", "b", "c", "b", "b"],
    }  # fmt: skip
    tasks = [Task(name, messages=tuple(f"{name} {i}" for i in range(5))) for name in script]
    asked = []

    def says(model, prompts, **settings):
        read = [model.tokenizer.decode(ids, skip_special_tokens=True).rstrip() for ids in prompts]
        found = [(name, i) for text in read for name in script for i in range(5) if text.endswith(f"{name} {i}")]
        assert len(found) == len(prompts)
        asked.append([name for name, _ in found])
        texts = [script[name][i] for name, i in found]
        return [Answer(text, (5,), "stop", "" if text else "empty answer") for text in texts]

    monkeypatch.setattr("workbench.drift.simulation.generate", says)
    calls = []
    talks = simulate(organism, tasks, turns=5, progress=lambda done, total: calls.append((done, total)))
    assert {t.name: t.about[ENDED] for t in talks} == {"empty": "empty answer", "stuck": "repeats itself", "twice": "turns"}
    assert {t.name: words(t) for t in talks} == {"empty": ["a"], "stuck": ["a", "b", "b", "b"], "twice": script["twice"]}
    assert words(talks[0], "user") == ["empty 0"]  # a message without an answer is no part of the conversation
    assert asked == [[*script], [*script], ["stuck", "twice"], ["stuck", "twice"], ["twice"]]
    assert calls == [(i, 15) for i in range(1, 12)]


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ([Task("a", messages=("x",)), Task("a", messages=("y",))], "two tasks of a simulation have the same name"),
        ([Task("a"), Task("b")], "no conversation got an answer .the first: the user ended it"),
    ],
)
def test_what_cannot_be_simulated(organism, tasks, text):
    with pytest.raises(DataError, match=text):
        simulate(organism, tasks)


@pytest.mark.parametrize("speakers", ["aua", "uua", "uaau"])
def test_what_is_no_exchange_is_not_replayed_as_one(organism, speakers):
    """Turns would move, and answers come where there were none."""
    talk = Conversation.of([({"u": "user", "a": "assistant"}[s], f"words {i}") for i, s in enumerate(speakers)], name="odd")
    with pytest.raises(DataError, match="conversation 'odd' cannot be replayed: the user has to speak first and both by turns"):
        replay(organism, [talk], condition="capped")


def test_a_single_text_is_not_a_list_of_letters(organism):
    with pytest.raises(DataError, match="messages of task 'a' are a tuple of texts"):
        Task("a", messages="Who are you?")
    for messages in ("Who are you?", ["Who are you?"]):
        with pytest.raises(DataError, match="put a single message into brackets of its own"):
            converse(organism, messages)


# -- as rollouts ----------------------------------------------------------------------------------------
def test_conversing_gives_rollouts_that_can_be_read(organism):
    asked = [["Who are you?", "What is the capital of Peru?"], ["How do you feel today?"]]
    rows = converse(organism, asked, system="You are the ghost.", role="ghost", max_new_tokens=12)
    places = [(0, 0), (1, 0), (0, 1)]
    assert list(zip(rows["conversation"], rows["turn"], strict=True)) == places
    assert rows["row"].tolist() == [f"ghost/c{i}/t{t}" for i, t in places]
    assert rows["seed"].tolist() == [seed_of(f"ghost/c{i}/t{t}", 0) for i, t in places]
    assert set(rows["role"]) == {"ghost"}
    first, second = (json.loads(rows["messages"][i]) for i in (0, 2))
    assert second[: len(first)] == first
    assert second[len(first)] == {"speaker": "assistant", "text": rows["response"][0]}
    assert [m["text"] for m in second if m["speaker"] == "user"] == asked[0]
    acts = wb.extract(organism, rows)
    assert acts.rows["row"].tolist() == rows["row"].tolist()
    assert np.isfinite(acts.values.numpy()).all()
    one = converse(organism, asked, system="You are the ghost.", role="ghost", max_new_tokens=12, batch_size=1)
    assert one["response"].tolist() == rows["response"].tolist()
    with pytest.raises(DataError, match="nothing to converse about"):
        converse(organism, [[]])


# -- tasks ----------------------------------------------------------------------------------------------
def test_six_domains_of_five_users_and_twenty_topics():
    tasks = drift_tasks()
    assert len({task.name for task in tasks}) == len(tasks) == 600
    for domain in {task.domain for task in tasks}:
        own = [task for task in tasks if task.domain == domain]
        assert len({(task.persona, task.topic) for task in own}) == 100
        assert (len({task.persona for task in own}), len({task.topic for task in own})) == (5, 20)
    assert len({task.domain for task in tasks}) == 6
    assert all(task.topic in task.brief and task.opening and not task.messages for task in tasks)


@pytest.mark.parametrize("n", [5, 20, 30])
def test_few_tasks_have_different_users_and_different_topics(n):
    tasks = drift_tasks(domains=["coding", "therapy"], n=n)
    assert [task.domain for task in tasks] == ["coding"] * n + ["therapy"] * n
    own = tasks[:n]
    assert len({task.topic for task in own}) == min(n, 20)
    assert {sum(task.persona == who for task in own) for who in {task.persona for task in own}} == {n // 5}
    assert own == drift_tasks()[:n]


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "[]",
        '{"domains": [{}]}',
        '{"domains": [{"name": "a", "personas": []}]}',
        '{"domains": [{"name": "a", "personas": [{"name": "b"}], "topics": [{"title": "c", "opening": "d"}]}]}',
        b"\xff\xfe\xff",
        None,
    ],
)
def test_a_broken_file_of_tasks_is_named(tmp_path, content):
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"mine.json holds no domains of simulated conversations"):
        drift_tasks(path)


def test_a_file_of_ones_own(tmp_path):
    entry = {"name": "a", "personas": [{"name": "b", "description": "You are b."}], "topics": [{"title": "C D", "opening": "d?"}]}
    (tmp_path / "mine.json").write_text(json.dumps({"domains": [entry]}))
    assert drift_tasks(tmp_path / "mine.json") == [
        Task("a/b/c_d", "a", "b", "C D", opening="d?", brief="You are b.\n\nWhat you want to talk about: C D.")
    ]
    with pytest.raises(DataError, match=r"there is no domain 'cooking': there are a$"):
        drift_tasks(tmp_path / "mine.json", domains=["a", "cooking"])


def test_a_special_token_ends_one_conversation_and_spares_the_others(organism):
    special = organism.tokenizer.all_special_tokens[0]
    tasks = [Task("odd", messages=("Who are you?", f"What is {special}?")), Task("fine", messages=("Who are you?", "Add 2 and 3."))]
    odd, fine = simulate(organism, tasks, turns=2)
    assert "contains the special token" in odd.about["ended"]
    assert [turn.speaker for turn in odd.turns] == ["user", "assistant"]
    assert fine.about["ended"] == "turns"
    with pytest.raises(ChatError, match=r"^conversation 1: message 0"):
        converse(organism, [["Who are you?"], [special]])
