"""Conversations held with a model: the user's side is a script, a model or a server, and the same side can be played to another model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pandas as pd

from ..conversations import Conversation
from ..errors import ChatError, DataError
from ..interventions import Intervention
from ..library import data_folder
from ..models.generation import Answer, generate
from ..models.hooked import HookedModel
from ..rollouts import ANSWER_COLUMNS, answer_record, answer_tokens, batch_size_of, seed_of

ENDED = "ended"
"""Key of ``Conversation.about``: why a simulated conversation came to its end."""


@dataclass(frozen=True)
class Task:
    """What a simulated conversation is about.

    Attributes
    ----------
    name
        Unique: how tables call the conversation, and what its seeds are made from.
    domain, persona, topic
        Where it comes from.
    messages
        The user's messages, where they are known beforehand.
    opening
        The first message, where somebody plays the user.
    brief
        Who the user is and what the user wants, for whoever plays the user.
    system
        The system prompt; none where empty.
    """

    name: str
    domain: str = ""
    persona: str = ""
    topic: str = ""
    messages: tuple[str, ...] = ()
    opening: str = ""
    brief: str = ""
    system: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.messages, str):
            raise DataError(f"the messages of task {self.name!r} are a tuple of texts, not one text")


@dataclass(frozen=True)
class NoMessage:
    """What a user gives in the place of a message that cannot be had, and why; the conversation ends there."""

    why: str


class User(Protocol):
    """Plays the user's side."""

    def say(self, talks: Sequence[tuple[Task, Conversation]]) -> Sequence[str | NoMessage]:
        """The next message of each conversation; an empty one, by which the user ends it, or none."""
        ...


class Scripted:
    """The user whose messages stand in the task."""

    def say(self, talks: Sequence[tuple[Task, Conversation]]) -> list[str]:
        """The next of the task's messages."""
        at = [sum(turn.speaker == "user" for turn in talk.turns) for _, talk in talks]
        return [task.messages[n] if n < len(task.messages) else "" for n, (task, _) in zip(at, talks, strict=True)]


@dataclass(frozen=True)
class Said:
    """One answer of a simulated conversation: to what, and with which seed."""

    number: int
    turn: int
    asked: Conversation
    answer: Answer
    seed: int


def simulate(
    model: HookedModel, tasks: Sequence[Task], user: User | None = None, *, turns: int = 8, seed: int = 0,
    interventions: Intervention | Sequence[Intervention] = (), condition: str = "baseline", max_new_tokens: int | None = None,
    batch_size: int | None = None, temperature: float = 0.7, top_p: float = 0.9, progress: Callable[[int, int], None] | None = None,
) -> list[Conversation]:  # fmt: skip
    """Hold a conversation about every task; all go on side by side, a turn at a time.

    Parameters
    ----------
    user
        Plays the user; the tasks' own messages where None.
    turns
        Most answers a conversation.
    interventions
        Act on the model in every answer (not on whoever plays the user).
    condition
        What tables call the model under these interventions.
    progress
        Called with answers given and the most there can be.

    Returns
    -------
    list of Conversation
        In the order of the tasks. ``about`` holds ``domain, persona, topic, condition`` and ``ended``: ``"turns"``,
        ``"the user ended it"``, why no message of the user could be had, ``"context"`` (no room for another answer),
        ``"empty answer"``, ``"repeats itself"`` (the same answer three times running), or why the chat format refuses what was said.

    Raises
    ------
    DataError
        Where names repeat, or no task has anything to say.
    """
    if len({task.name for task in tasks}) < len(tasks):
        raise DataError("two tasks of a simulation have the same name")
    player, several = user or Scripted(), (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    talks = {i: Conversation.of([("system", task.system)] if task.system else []) for i, task in enumerate(tasks)}
    why = dict.fromkeys(talks, "turns")
    done = 0

    def say(turn: int, going: Sequence[int]) -> dict[int, str]:
        messages = dict(zip(going, player.say([(tasks[i], talks[i]) for i in going]), strict=True))
        for i, said in messages.items():
            if isinstance(said, NoMessage) or not said.strip():
                why[i] = said.why if isinstance(said, NoMessage) else "the user ended it"
        return {i: said for i, said in messages.items() if not isinstance(said, NoMessage) and said.strip()}

    def take(said: Said) -> bool:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(tasks) * turns)
        if said.answer.error:
            why[said.number] = said.answer.error
            return False
        talks[said.number] = said.asked.plus("assistant", said.answer.text)
        if _repeats(talks[said.number]):
            why[said.number] = "repeats itself"
            return False
        return True

    ended = _hold(
        model, talks, say, take, lambda i, turn: seed_of(f"{tasks[i].name}/t{turn}", seed), turns, several, max_new_tokens, batch_size,
        temperature, top_p,
    )  # fmt: skip
    why.update(ended)
    if tasks and not any(len(talk.turns) > 1 for talk in talks.values()):
        raise DataError(f"no conversation got an answer (the first: {why[0]})")
    about = [
        {k: v for k, v in (("domain", t.domain), ("persona", t.persona), ("topic", t.topic)) if v} | {"condition": condition} for t in tasks
    ]
    return [replace(talks[i], name=task.name, about=about[i] | {ENDED: why[i]}) for i, task in enumerate(tasks)]


def replay(
    model: HookedModel, conversations: Sequence[Conversation], interventions: Intervention | Sequence[Intervention] = (), *,
    condition: str, seed: int = 0, **settings,
) -> list[Conversation]:  # fmt: skip
    """The same users' messages put to the model under interventions: what would have been said (counterfactual pairs).

    With the seed of the first simulation every draw is the same, and without interventions so is every word.

    Parameters
    ----------
    **settings
        As for :func:`simulate`.

    Raises
    ------
    DataError
        Where somebody speaks twice in a row, or the assistant first.
    """
    tasks = []
    for talk in conversations:
        system = talk.turns[0].text if talk.turns and talk.turns[0].speaker == "system" else ""
        speakers = [turn.speaker for turn in talk.turns if turn.speaker != "system"]
        if speakers[::2] != ["user"] * len(speakers[::2]) or "user" in speakers[1::2]:
            raise DataError(
                f"conversation {talk.name!r} cannot be replayed: the user has to speak first and both by turns, or answers would come "
                "where there were none"
            )
        messages = tuple(turn.text for turn in talk.turns if turn.speaker == "user")
        known = {key: talk.about.get(key, "") for key in ("domain", "persona", "topic")}
        tasks.append(Task(talk.name, messages=messages, system=system, **known))
    settings["turns"] = max((len(task.messages) for task in tasks), default=1)
    return simulate(model, tasks, interventions=interventions, condition=condition, seed=seed, **settings)


def converse(
    model: HookedModel, messages: Sequence[Sequence[str]], *, system: str = "", role: str = "default", seed: int = 0,
    max_new_tokens: int | None = None, batch_size: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Answers in conversations of given messages, as rollouts: the model reads its own answers again.

    Parameters
    ----------
    messages
        One list of user messages a conversation.
    system, role
        The system prompt of all of them, and what the rows call it.

    Returns
    -------
    DataFrame
        A row an answer, like rollouts, with ``conversation`` and ``turn`` (from 0); a conversation ends where the context
        would not hold another answer.
    """
    if isinstance(messages, str) or any(isinstance(one, str) for one in messages):
        raise DataError("messages are lists of texts, one a conversation: put a single message into brackets of its own")
    talks = {i: Conversation.of([("system", system)] if system else []) for i in range(len(messages))}
    records = []

    def say(turn: int, going: Sequence[int]) -> dict[int, str]:
        return {i: messages[i][turn] for i in going if turn < len(messages[i])}

    def take(said: Said) -> bool:
        row = {"row": f"{role}/c{said.number}/t{said.turn}", "role": role, "seed": said.seed}
        asked = json.dumps(said.asked.to_list(), ensure_ascii=False)
        answer = dict(zip(ANSWER_COLUMNS, answer_record(said.answer), strict=True))
        records.append(row | {"conversation": said.number, "turn": said.turn, "messages": asked} | answer)
        talks[said.number] = said.asked.plus("assistant", said.answer.text)
        return True

    turns = max(map(len, messages), default=0)
    ended = _hold(model, talks, say, take, lambda i, turn: seed_of(f"{role}/c{i}/t{turn}", seed), turns, (), max_new_tokens, batch_size)
    if refused := [f"conversation {i}: {why}" for i, why in ended.items() if why != "context"]:
        raise ChatError(refused[0])
    if not records:
        raise DataError("there is nothing to converse about: no message, or none that fits the context")
    return pd.DataFrame(records)


def _hold(
    model: HookedModel, talks: dict[int, Conversation], say: Callable[[int, Sequence[int]], dict[int, str]], take: Callable[[Said], bool],
    seed: Callable[[int, int], int], turns: int, interventions: Sequence[Intervention], max_new_tokens: int | None,
    batch_size: int | None, temperature: float = 0.7, top_p: float = 0.9,
) -> dict[int, str]:  # fmt: skip
    """Turn by turn: ask those that go on, answer in batches, hand each answer to `take`, which says whether it goes on.

    Returns
    -------
    dict
        Why conversations ended that could not be put to the model: ``"context"`` (no room for another answer), or what the chat
        format says of them.
    """
    n_new, size = max_new_tokens or answer_tokens(model), batch_size or batch_size_of(model)
    going, ended = list(talks), {}
    for turn in range(turns):
        said = say(turn, going)
        asked = {i: talks[i].plus("user", text) for i, text in said.items()}
        prompts = {}
        for i, talk in asked.items():
            try:
                prompts[i] = model.render(talk, reply=True).ids
            except ChatError as error:  # a special token in what somebody wrote: one conversation's end, not everybody's
                ended[i] = str(error)
        fits = [i for i, ids in prompts.items() if len(ids) + n_new <= model.context]
        ended |= dict.fromkeys((i for i in prompts if i not in fits), "context")
        going = []
        for start in range(0, len(fits), size):
            part = fits[start : start + size]
            seeds = [seed(i, turn) for i in part]
            with model.intervene(list(interventions)):
                answers = generate(
                    model, [prompts[i] for i in part], max_new_tokens=n_new, seeds=seeds, temperature=temperature, top_p=top_p
                )
            found = [Said(i, turn, asked[i], a, number) for i, number, a in zip(part, seeds, answers, strict=True)]
            going += [item.number for item in found if take(item)]
    return ended


def _repeats(talk: Conversation, times: int = 3) -> bool:
    said = [turn.text for turn in talk.turns if turn.speaker == "assistant"]
    return len(said) >= times and len(set(said[-times:])) == 1


# -- tasks ------------------------------------------------------------------------------------------
def drift_tasks(path: str | Path | None = None, domains: Sequence[str] | None = None, n: int | None = None) -> list[Task]:
    """Domains x user personas x topics, from the workbench's own library or a file of its layout.

    Parameters
    ----------
    domains
        Which; all where None.
    n
        Most tasks a domain, personas and topics in turn.

    Raises
    ------
    DataError
        Where the file cannot be read, or has no such domain.
    """
    source = Path(path) if path else data_folder() / "drift.json"
    try:
        entries = {entry["name"]: _tasks_of(entry) for entry in json.loads(source.read_text(encoding="utf-8-sig"))["domains"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{source} holds no domains of simulated conversations: {error}") from error
    if unknown := [name for name in domains or () if name not in entries]:
        raise DataError(f"there is no domain {unknown[0]!r}: there are {', '.join(entries)}")
    return [task for name in domains or entries for task in entries[name][:n]]


def _tasks_of(entry: dict) -> list[Task]:
    """Every user with every topic; both in turn, so that a few tasks have different users and different topics."""
    personas, topics = entry["personas"], entry["topics"]
    users, n = len(personas), len(topics)
    # After so many tasks the same pairs would come again: the topics move on by one.
    whole = math.lcm(users, n)
    return [_task(entry["name"], personas[i % users], topics[(i + i // whole) % n]) for i in range(users * n)]


def _task(domain: str, persona: dict, topic: dict) -> Task:
    brief = f"{persona['description']}\n\nWhat you want to talk about: {topic['title']}."
    title = "_".join(topic["title"].lower().split())
    return Task(f"{domain}/{persona['name']}/{title}", domain, persona["name"], topic["title"], opening=topic["opening"], brief=brief)
