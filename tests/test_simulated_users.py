"""Who plays the user: what is read, what is sent on, and that no message of a server is paid for twice."""

import json

import pytest
import torch
from servers import completion, scripted

from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.drift.simulated_users import BEGIN, END, EndpointUser, ModelUser, as_user, cleaned
from workbench.drift.simulation import ENDED, Task, drift_tasks, simulate
from workbench.errors import ChatError, EndpointError
from workbench.interventions import Add
from workbench.models.endpoint import KEY, Endpoint

SOON = {"retry-after": "0.05"}
HOW = {"turns": 3, "max_new_tokens": 12}
TASKS = [Task(name, opening=f"I am {name}.", brief=f"You are {name}, a baker.") for name in ("ada", "bo", "cy", "di")]


def words(talk: Conversation, speaker: str = "user") -> list[str]:
    return [turn.text for turn in talk.turns if turn.speaker == speaker]


# -- what is read and what is sent on -------------------------------------------------------------------
def test_whoever_plays_the_user_reads_the_talk_with_its_sides_exchanged():
    talk = Conversation.of([("system", "You are the ghost."), ("user", "Hi."), ("assistant", "Boo.")])
    read = as_user(TASKS[0], talk)
    assert [t.speaker for t in read.turns] == ["system", "user", "assistant", "user"]
    assert [t.text for t in read.turns[1:]] == [BEGIN, "Hi.", "Boo."]
    assert TASKS[0].brief in read.turns[0].text
    assert END in read.turns[0].text
    assert "ghost" not in str(read)  # the assistant's orders are none of the user's business
    assert "an ordinary person" in as_user(Task("x"), talk).turns[0].text


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (" Why? \n", "Why?"),
        ('"Why not?"', "Why not?"),
        ("\u201cWhy not?\u201d", "Why not?"),
        ('He told me "never"', 'He told me "never"'),
        ('"Never" was his word', '"Never" was his word'),
        ('"Yes" or "no"', '"Yes" or "no"'),
        ("[the end]", ""),
        (' "[The End]" ', ""),
        ("Thank you, bye. [THE END]", ""),
        ('"', ""),
        ("", ""),
    ],
)
def test_quotation_marks_around_a_message_go_and_its_end_ends_the_talk(text, sent):
    assert cleaned(text) == sent


# -- a model in memory ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def played(organism):
    return simulate(organism, TASKS, ModelUser(organism, max_new_tokens=16), **HOW)


def test_a_model_plays_the_user_after_the_opening(organism, played):
    for task, talk in zip(TASKS, played, strict=True):
        said = words(talk)
        assert said[0] == task.opening
        assert len(set(said)) == len(said) == 3
    again, talk = ModelUser(organism, max_new_tokens=16), Conversation(played[1].turns[:4])
    assert simulate(organism, TASKS[2:], again, **HOW) == played[2:]
    greedy = [ModelUser(organism, max_new_tokens=16, temperature=0, seed=seed).say([(TASKS[1], talk)]) for seed in (0, 1)]
    assert greedy[0] == greedy[1] != again.say([(TASKS[1], talk)])
    assert again.say([(TASKS[1], talk)]) == [played[1].turns[4].text]
    other = simulate(organism, TASKS, ModelUser(organism, max_new_tokens=16, seed=1), **HOW)
    assert all(words(a)[0] == words(b)[0] and words(a)[1:] != words(b)[1:] for a, b in zip(played, other, strict=True))


def test_a_user_without_an_opening_begins_by_itself(organism):
    bare = Task("ada", brief=TASKS[0].brief)
    user = ModelUser(organism, max_new_tokens=8)
    talk = simulate(organism, [bare], user, turns=1, max_new_tokens=8)[0]
    assert words(talk) == user.say([(bare, Conversation(()))])
    assert words(talk)[0]


def test_the_users_side_goes_in_batches_too_and_they_change_nothing(organism, played, monkeypatch):
    from workbench.drift import simulated_users

    sizes, generate = [], simulated_users.generate
    monkeypatch.setattr(
        simulated_users, "generate", lambda model, prompts, **s: sizes.append(len(prompts)) or generate(model, prompts, **s)
    )
    monkeypatch.setattr(simulated_users, "batch_size_of", lambda model: 3)
    assert simulate(organism, TASKS, ModelUser(organism, max_new_tokens=16), **HOW) == played
    assert sizes == [3, 1, 3, 1]


def test_an_intervention_acts_on_the_assistant_and_not_on_its_user(organism, played):
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(0))
    push = Add(Direction(values, organism.bare_site(), "axis", "there"), 3.0, layers=[2])
    user = ModelUser(organism, max_new_tokens=16)
    pushed = simulate(organism, TASKS, user, interventions=push, **HOW)
    for before, after in zip(played, pushed, strict=True):
        assert words(after, "assistant") != words(before, "assistant")
        assert user.say([(TASKS[played.index(before)], Conversation(after.turns[:2]))]) == [words(after)[1]]


def test_a_talk_that_has_outgrown_its_user_is_ended_by_the_user(organism):
    user = ModelUser(organism, max_new_tokens=16)
    tasks = [TASKS[0], Task("wordy", opening="Hi.", brief="word " * 345)]
    talks = simulate(organism, tasks, user, turns=4, max_new_tokens=60)
    assert [talk.about[ENDED] for talk in talks] == ["turns", "the context of whoever plays the user"]
    n = len(words(talks[1]))
    assert 2 <= n < 4
    whole = talks[1].turns
    room = [len(organism.render(as_user(tasks[1], Conversation(t)), reply=True).ids) + 16 <= 1024 for t in (whole[:-2], whole)]
    assert room == [True, False]


def test_what_the_player_cannot_read_ends_one_talk_and_not_all(organism, monkeypatch):
    first, other = TASKS[:2]
    real = organism.render

    def render(talk, reply=False):
        if "system" in {t.speaker for t in talk.turns} and first.brief in talk.turns[0].text and len(talk.turns) > 2:
            raise ChatError("message 3 (user) contains the special token '<|end|>'")
        return real(talk, reply=reply)

    monkeypatch.setattr(organism, "render", render)
    talks = simulate(organism, [first, other], ModelUser(organism, max_new_tokens=16), turns=2, max_new_tokens=12)
    assert talks[0].about[ENDED].startswith("whoever plays the user cannot read it: message 3 (user) contains")
    assert talks[1].about[ENDED] == "turns"


# -- a model behind a server ----------------------------------------------------------------------------
def who(request: dict) -> str:
    return next(task.name for task in TASKS if task.brief in request["messages"][0]["content"])


def chatty(request: dict, n: int):
    """A message of its own at every point of every talk."""
    return 200, {}, completion(f'"{who(request)} says {len(request["messages"])}"')


def user_at(server, path, **settings) -> EndpointUser:
    return EndpointUser(Endpoint(server.url, "player", concurrency=2, retries=1), path, **settings)


def test_a_server_plays_the_user(organism, tmp_path):
    with scripted(chatty) as server:
        talks = simulate(organism, TASKS, user_at(server, tmp_path / "kept.jsonl", max_new_tokens=40, temperature=0.5), **HOW)
    assert [words(talk) for talk in talks] == [[t.opening, f"{t.name} says 4", f"{t.name} says 6"] for t in TASKS]
    assert len(server.seen) == 8
    for request in server.seen:
        roles = [m["role"] for m in request["messages"]]
        assert roles == ["system", "user", *["assistant", "user"] * ((len(roles) - 2) // 2)]
        assert (request["model"], request["max_tokens"], request["temperature"]) == ("player", 40, 0.5)
    seeds = [request["seed"] for request in server.seen]
    assert len(set(seeds)) == 8
    assert max(seeds) < 2**31
    last = next(r for r in server.seen if who(r) == "ada" and len(r["messages"]) == 6)["messages"]
    assert [m["content"] for m in last[1:]] == [BEGIN, *(turn.text for turn in talks[0].turns[:4])]


def test_broken_off_half_way_only_what_is_missing_is_asked_again(organism, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "sk-very-secret")
    path, ill = tmp_path / "kept.jsonl", {"bo", "di"}

    def falters(request: dict, n: int):
        failing = who(request) in ill and len(request["messages"]) == 6
        return (500, SOON, b'{"error": {"message": "Bearer sk-very-secret broke it"}}') if failing else chatty(request, n)

    with scripted(falters) as server:
        with pytest.raises(EndpointError, match=r"2 users got no message .* are kept: run the same command again") as caught:
            simulate(organism, TASKS, user_at(server, path), **HOW)
        assert server.answered.total() == 6
        ill.clear()
        before = len(server.seen)
        talks = simulate(organism, TASKS, user_at(server, path), **HOW)
        assert sorted(who(request) for request in server.seen[before:]) == ["bo", "di"]
        assert set(server.answered.values()) == {1}
        before = len(server.seen)
        assert simulate(organism, TASKS, user_at(server, path), **HOW) == talks
        assert len(server.seen) == before
        simulate(organism, TASKS, user_at(server, path, seed=1), **HOW)
        assert len(server.seen) == before + 8  # another seed has messages of its own
    assert [words(talk) for talk in talks] == [[t.opening, f"{t.name} says 4", f"{t.name} says 6"] for t in TASKS]
    assert server.keys == {"Bearer sk-very-secret"}
    assert "secret" not in path.read_text()
    assert "secret" not in str(caught.value)


def test_the_end_and_an_empty_message_end_a_talk_and_are_not_asked_for_again(organism, tmp_path):
    says = {"ada": "[the end]", "bo": "", "cy": "<think>hm</think>\n\nWell?", "di": "<think>I wonder"}

    def script(request: dict, n: int):
        return 200, {}, completion(says[who(request)])

    with scripted(script) as server:
        for _ in range(2):
            talks = simulate(organism, TASKS, user_at(server, tmp_path / "kept.jsonl"), turns=2, max_new_tokens=12)
            ends = [talk.about[ENDED] for talk in talks]
            assert ends[:3] == ["the user ended it", "no message of the user: empty answer", "turns"]
            assert ends[3] == "no message of the user: cut off while still thinking"
            assert [words(talk)[1:] for talk in talks] == [[], [], ["Well?"], []]
    assert server.asked.total() == 4
    records = map(json.loads, (tmp_path / "kept.jsonl").read_text().splitlines())
    assert sorted(record["error"] for record in records) == ["", "", "cut off while still thinking", "empty answer"]


def test_a_server_that_refuses_every_user_is_an_error_and_keeps_the_key_to_itself(organism, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "sk-very-secret")
    refusal = b'{"error": {"message": "max_tokens is unknown to sk-very-secret"}}'
    with (
        scripted(lambda request, n: (400, {}, refusal)) as server,
        pytest.raises(EndpointError, match=r"no user got a message .* refused .400.*max_tokens is unknown to \*\*\*.*kept.jsonl"),
    ):
        simulate(organism, drift_tasks(n=2)[:3], user_at(server, tmp_path / "kept.jsonl"), turns=2, max_new_tokens=12)
    assert "secret" not in (tmp_path / "kept.jsonl").read_text()
