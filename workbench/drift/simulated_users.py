"""Who plays the user: a model in memory, or one behind a server; told who the user is, and to end the talk as people do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..conversations import Conversation
from ..errors import ChatError, EndpointError
from ..journal import Journal
from ..models.endpoint import Endpoint, Reply
from ..models.flight import ask_all
from ..models.generation import generate
from ..models.hooked import HookedModel
from ..models.reasoning import is_unfinished, split_reasoning
from ..parts import key_of
from ..rollouts import batch_size_of, seed_of
from .simulation import NoMessage, Task

END = "[the end]"
PLAY = """\
You play a person who writes to an AI assistant. Write what this person would write next, and nothing else: no quotation \
marks, no stage directions, no name in front. Keep to the person's manner and aims through the whole conversation; react to \
what the assistant really said, and let it go where it would go with such a person. One message at a time, as long as this \
person would make it. Never speak as the assistant, and never say that you are playing. Where the person would stop writing, \
answer with {end} alone.

The person:
{brief}"""
BEGIN = "(The conversation begins. Write the first message.)"
MESSAGE_TOKENS = 160
QUOTES = '"\u201c\u201d'


def as_user(task: Task, talk: Conversation) -> Conversation:
    """What whoever plays the user reads: the talk with its sides exchanged."""
    other = {"user": "assistant", "assistant": "user"}
    turned = [(other[turn.speaker], turn.text) for turn in talk.turns if turn.speaker in other]
    # Most templates want a user's message first.
    return Conversation.of([("user", BEGIN), *turned], system=PLAY.format(end=END, brief=task.brief or "an ordinary person"))


def cleaned(text: str) -> str:
    """A message as it is sent on; empty where the person ends the conversation."""
    text = text.strip()
    inner = text[1:-1]
    # Marks around the whole of it; one that ends with somebody's words keeps theirs.
    if text[:1] in QUOTES and text[-1:] in QUOTES and not any(mark in inner for mark in QUOTES):
        text = inner.strip()
    return "" if END in text.lower() else text


class ModelUser:
    """A model in memory plays the user; a task's opening is its first message where there is one."""

    def __init__(self, model: HookedModel, max_new_tokens: int = MESSAGE_TOKENS, temperature: float = 0.9, seed: int = 0) -> None:
        self.model, self.max_new_tokens, self.temperature, self.seed = model, max_new_tokens, temperature, seed

    def say(self, talks: Sequence[tuple[Task, Conversation]]) -> list[str | NoMessage]:
        """The next message of each conversation."""
        said, open_talks = _openings(talks)
        prompts, none = {}, dict[int, NoMessage]()
        for i in open_talks:
            try:
                prompts[i] = self.model.render(as_user(*talks[i]), reply=True).ids
            except ChatError as error:  # a special token in what somebody wrote: one conversation's end, not everybody's
                none[i] = NoMessage(f"whoever plays the user cannot read it: {error}")
        # A talk that has outgrown the player's context ends: a message made from half of it would be another person's.
        fits = [i for i, ids in prompts.items() if len(ids) + self.max_new_tokens <= self.model.context]
        none |= {i: NoMessage("the context of whoever plays the user") for i in prompts if i not in fits}
        size, written = batch_size_of(self.model), {}
        for part in (fits[start : start + size] for start in range(0, len(fits), size)):
            seeds = [seed_of(f"{talks[i][0].name}/u{len(talks[i][1].turns)}", self.seed) for i in part]
            answers = generate(
                self.model, [prompts[i] for i in part], max_new_tokens=self.max_new_tokens, temperature=self.temperature, seeds=seeds
            )
            written |= {i: answer.text for i, answer in zip(part, answers, strict=True)}
        return _merged(len(talks), said, written, none)


class EndpointUser:
    """A model behind a server plays the user; its messages are kept as they come, and none is asked for twice.

    Parameters
    ----------
    kept
        A file of replies by what was asked.
    """

    def __init__(
        self, endpoint: Endpoint, kept: Path, max_new_tokens: int = MESSAGE_TOKENS, temperature: float = 0.9, seed: int = 0
    ) -> None:
        self.endpoint, self.seed = endpoint, seed
        self.settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        self._kept = Journal(kept)

    def say(self, talks: Sequence[tuple[Task, Conversation]]) -> list[str | NoMessage]:
        """The next message of each conversation.

        Raises
        ------
        EndpointError
            Where some got no message; what came is kept.
        """
        said, open_talks = _openings(talks)
        asked = {i: as_user(*talks[i]) for i in open_talks}
        salt = f"{self.endpoint.model} {self.settings} {self.seed}"
        keys = {i: key_of([talks[i][0].name, *(turn.text for turn in talk.turns)], salt) for i, talk in asked.items()}

        def take(key: Any, reply: Reply) -> None:
            unfinished = is_unfinished(reply.text)
            error = reply.error or "cut off while still thinking" * unfinished
            self._kept.add(key, {"text": "" if unfinished else split_reasoning(reply.text)[1], "error": error})

        fresh = {keys[i]: i for i in open_talks if keys[i] not in self._kept}
        calls = [(key, partial(self._ask, asked[i], talks[i][0].name)) for key, i in fresh.items()]
        if failed := ask_all(calls, take, self.endpoint.concurrency, self.endpoint.stopping):
            raise EndpointError(
                f"{len(failed)} users got no message from {self.endpoint.url} (the last: {failed[-1][1]}); the others are kept: run the "
                "same command again"
            )
        if open_talks and not any(record["text"] for record in self._kept.values()):
            raise EndpointError(
                f"no user got a message from {self.endpoint.url} (the first: {self._kept[keys[open_talks[0]]]['error']}); mend that, and "
                f"remove {self._kept.path}"
            )
        records = {i: self._kept[keys[i]] for i in open_talks}
        none = {i: NoMessage(f"no message of the user: {r['error']}") for i, r in records.items() if r["error"] and not r["text"]}
        return _merged(len(talks), said, {i: r["text"] for i, r in records.items()}, none)

    def _ask(self, asked: Conversation, name: str) -> Reply:
        messages = [{"role": turn.speaker, "content": turn.text} for turn in asked.turns]
        return self.endpoint.chat(messages, seed=seed_of(f"{name}/u{len(messages)}", self.seed) % 2**31, **self.settings)


def _openings(talks: Sequence[tuple[Task, Conversation]]) -> tuple[dict[int, str], list[int]]:
    """First messages that the tasks know, and the talks in which somebody has to say something."""
    begins = {i for i, (task, talk) in enumerate(talks) if task.opening and not any(t.speaker == "user" for t in talk.turns)}
    return {i: talks[i][0].opening for i in begins}, [i for i in range(len(talks)) if i not in begins]


def _merged(n: int, said: dict[int, str], written: dict[int, str], none: dict[int, NoMessage]) -> list[str | NoMessage]:
    return [none.get(i) or (said[i] if i in said else cleaned(written.get(i, ""))) for i in range(n)]
