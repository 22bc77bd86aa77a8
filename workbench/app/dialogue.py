"""A conversation held twice, as a tree: every message with both sides' answers, and every branch that was left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..conversations import Conversation, Turn
from ..errors import DataError
from ..transcript_layouts import Unreadable, parse_json
from .settings import OWN, Settings
from .streaming import Reading

FORMAT = "persona-workbench/dialogue-1"
LEFT, RIGHT = SIDES = ("left", "right")
"""The model as it is, and the model under the chosen intervention."""
HERE = -1
"""Behind the exchange that is shown last."""
LONGEST = 100_000
"""Characters of a message; a longer one is a mistake of the clipboard."""


@dataclass(frozen=True)
class Reply:
    """One side's answer.

    Attributes
    ----------
    text
        What was said; empty where nothing came.
    finish
        ``stop``, ``length``, ``stopped`` (by somebody), or empty where the answer is still to come.
    seed
        Of the sampling.
    error
        Why there is no usable answer.
    reading
        What was measured.
    acting
        What acted, in words; empty for the model as it is.
    forgotten
        Exchanges that had to be forgotten before this answer.
    """

    text: str = ""
    finish: str = ""
    seed: int = 0
    error: str = ""
    reading: Reading = field(default_factory=Reading)
    acting: str = ""
    forgotten: int = 0


@dataclass(frozen=True)
class Exchange:
    """A user's message and both answers.

    Attributes
    ----------
    number
        Its place in the tree's list.
    parent
        The exchange before it; None for a first one.
    message
        What the user said.
    replies
        Side -> answer; a side is missing where it was not asked.
    settings
        Under which it was answered, as a query.
    """

    number: int
    parent: int | None
    message: str
    replies: Mapping[str, Reply] = field(default_factory=dict)
    settings: str = ""

    def reply(self, side: str) -> Reply:
        """A side's answer; the left one's where it has none."""
        own = self.replies.get(side, Reply())
        return own if own.text else self.replies.get(LEFT, own)


@dataclass(frozen=True)
class Dialogue:
    """The tree, and where one stands in it; every change gives a new one.

    Attributes
    ----------
    exchanges
        All of them, in the order in which they were begun.
    at
        The last exchange of the branch that is shown; None before the first.
    name
        For files and charts.
    """

    exchanges: tuple[Exchange, ...] = ()
    at: int | None = None
    name: str = "conversation"

    # -- reading ------------------------------------------------------------------------------------
    @property
    def path(self) -> tuple[Exchange, ...]:
        """The exchanges of the branch that is shown, from the first."""
        return tuple(self.exchanges[number] for number in reversed([*self._up(self.at)]))

    def siblings(self, number: int) -> tuple[int, ...]:
        """All exchanges that follow the same one, this among them: the branches at this place."""
        parent = self.exchanges[number].parent
        return tuple(one.number for one in self.exchanges if one.parent == parent)

    def asked(self, number: int, side: str, system: str = "", follow: str = OWN) -> Conversation:
        """What a side reads before it answers an exchange: the messages up to this one, with its own earlier answers or the left ones.

        Where a side gave no answer, as when nothing acted, it reads the left one's.

        Parameters
        ----------
        follow
            ``own``, or ``left``: the right side reads the left one's answers.
        """
        read, turns = side if follow == OWN else LEFT, [Turn("system", system)] if system else []
        *before, last = reversed([*self._up(self.exchange(number).number)])
        for one in (self.exchanges[n] for n in before):
            turns += [Turn("user", one.message), Turn("assistant", one.reply(read).text)]
        return Conversation((*turns, Turn("user", self.exchanges[last].message)), f"{self.name}, {side}")

    def held(self, side: str, system: str = "", follow: str = OWN) -> Conversation:
        """The branch that is shown as one side lived it, with its answers; a last message without one stands alone.

        Parameters
        ----------
        follow
            As for :meth:`asked`: under ``left`` only the last answer is the right side's.
        """
        if self.at is None:
            raise DataError("this conversation holds no message yet")
        asked, last = self.asked(self.at, side, system, follow), self.exchanges[self.at].reply(side)
        return asked.plus("assistant", last.text) if last.text else asked

    def _up(self, number: int | None) -> Iterator[int]:
        while number is not None:
            yield number
            number = self.exchanges[number].parent

    def depth(self, number: int) -> int:
        """How many exchanges lie between the beginning and this one, itself counted."""
        return len([*self._up(self.exchange(number).number)])

    # -- changing -----------------------------------------------------------------------------------
    def say(self, message: str, settings: str = "", after: int | None = HERE) -> Dialogue:
        """Begin a new exchange behind the last one shown, or as another branch behind `after` (None: a new beginning).

        Raises
        ------
        DataError
            Where the message is empty, far too long, or no text; or the exchange before it has no answer to go on from.
        """
        parent = self.at if after == HERE else after
        message = checked_message(message)
        if parent is not None and not self.exchanges[parent].reply(LEFT).text:
            raise DataError("the last message has no answer yet: answer it again, or edit it")
        one = Exchange(len(self.exchanges), parent, message, {}, settings)
        return replace(self, exchanges=(*self.exchanges, one), at=one.number)

    def edit(self, number: int, message: str, settings: str = "") -> Dialogue:
        """Another message in the place of an earlier one: a new branch; the old one is kept."""
        return self.say(message, settings, after=self.exchange(number).parent)

    def again(self, number: int, settings: str = "") -> Dialogue:
        """The same message once more, to be answered anew: a new branch."""
        one = self.exchange(number)
        return self.say(one.message, settings, after=one.parent)

    def under(self, number: int, settings: str) -> Dialogue:
        """The dialogue with other settings for an exchange that was not answered yet."""
        one = replace(self.exchange(number), settings=settings)
        return replace(self, exchanges=(*self.exchanges[:number], one, *self.exchanges[number + 1 :]))

    def answer(self, number: int, side: str, reply: Reply) -> Dialogue:
        """The dialogue with one side's answer to an exchange."""
        if side not in SIDES:
            raise DataError(f"an answer is given by one of {', '.join(SIDES)}, not by {side!r}")
        one = replace(self.exchange(number), replies={**self.exchanges[number].replies, side: reply})
        return replace(self, exchanges=(*self.exchanges[:number], one, *self.exchanges[number + 1 :]))

    def select(self, number: int) -> Dialogue:
        """Go to the branch that an exchange lies on, and in it to the end that was begun last."""
        at = self.exchange(number).number
        while followers := [one.number for one in self.exchanges if one.parent == at]:
            at = followers[-1]
        return replace(self, at=at)

    def turn(self, number: int, steps: int) -> Dialogue:
        """Go to the branch so many places on at an exchange; the first and the last are neighbours."""
        known = self.siblings(self.exchange(number).number)
        return self.select(known[(known.index(number) + steps) % len(known)])

    def exchange(self, number: int) -> Exchange:
        """An exchange by its number.

        Raises
        ------
        DataError
            Where there is none.
        """
        if not 0 <= number < len(self.exchanges):
            raise DataError(f"there is no exchange {number}: this conversation has {len(self.exchanges)}")
        return self.exchanges[number]

    def next_seed(self, number: int, first: int) -> int:
        """The seed for an exchange: counted on from the first by its depth, and by a thousand for every branch before it."""
        siblings = self.siblings(number)
        same = [n for n in siblings[: siblings.index(number)] if self.exchanges[n].message == self.exchanges[number].message]
        return first + self.depth(number) - 1 + 1000 * len(same)

    # -- files --------------------------------------------------------------------------------------
    def to_json(self) -> str:
        """Everything, all branches included."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Dialogue:
        """The dialogue of :meth:`to_json`.

        Raises
        ------
        DataError
            Where the text is something else.
        """
        try:
            values = parse_json(text)
        except Unreadable as error:
            raise DataError(f"this is no saved conversation: it {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise DataError(f"this is no saved conversation of {FORMAT}")
        try:
            found = cls(tuple(_exchange(one) for one in values["exchanges"]), values["at"], str(values["name"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"this saved conversation is damaged: {type(error).__name__} {error}") from error
        found._check()
        return found

    def _check(self) -> None:
        for i, one in enumerate(self.exchanges):
            if one.number != i or not (one.parent is None or (isinstance(one.parent, int) and 0 <= one.parent < i)):
                raise DataError(f"this saved conversation is damaged: exchange {i} stands in the wrong place")
            if not set(one.replies) <= set(SIDES):
                raise DataError(f"this saved conversation is damaged: exchange {i} is answered by {', '.join(one.replies)}")
            checked_message(one.message)
        if not (self.at is None or (isinstance(self.at, int) and 0 <= self.at < len(self.exchanges))):
            raise DataError(f"this saved conversation is damaged: it ends at exchange {self.at!r}")

    @classmethod
    def of(cls, conversation: Conversation, right: Conversation | None = None) -> tuple[Dialogue, str]:
        """A dialogue in which given conversations have been held, and their system prompt, which every exchange remembers.

        Parameters
        ----------
        right
            What the right side said to the same messages; the same as the left one where None.

        Raises
        ------
        DataError
            Where messages do not alternate, or the two sides' messages are not the same.
        """
        system, pairs = _pairs(conversation)
        other = pairs if right is None else _pairs(right)[1]
        if [m for m, _ in other] != [m for m, _ in pairs]:
            raise DataError(f"{conversation.name!r} and {right.name if right else ''!r} do not answer the same messages")
        found, settings = cls(name=conversation.name.removesuffix(f", {LEFT}") or "conversation"), Settings.of(system=system).to_query()
        for (message, left), (_, answer) in zip(pairs, other, strict=True):
            found = found.say(message, settings)
            for side, text in ((LEFT, left), (RIGHT, answer)):
                if text is not None:
                    found = found.answer(len(found.exchanges) - 1, side, Reply(text, "stop"))
        return found, system


def checked_message(message: str) -> str:
    """A message that can be sent.

    Raises
    ------
    DataError
        Where it is empty, too long or no text.
    """
    if not isinstance(message, str) or not message.strip():
        raise DataError("an empty message says nothing: write something first")
    if len(message) > LONGEST:
        raise DataError(f"a message of {len(message):,} characters is too long: the most is {LONGEST:,}")
    if any("\ud800" <= character <= "\udfff" for character in message):
        raise DataError("this message holds half a character (a lone surrogate), which is no text")
    return message


def _pairs(conversation: Conversation) -> tuple[str, list[tuple[str, str | None]]]:
    """System prompt, and (message, answer) pairs; the last answer may be missing."""
    turns = list(conversation.turns)
    system = turns.pop(0).text if turns and turns[0].speaker == "system" else ""
    wanted = ["user", "assistant"] * len(turns)
    if wrong := [i for i, turn in enumerate(turns) if turn.speaker != wanted[i]]:
        raise DataError(f"{conversation.name or 'this conversation'}: message {wrong[0] + 1} should be the {wanted[wrong[0]]}'s")
    if not turns:
        raise DataError(f"{conversation.name or 'this conversation'} holds no message")
    texts: Sequence[str | None] = [turn.text for turn in turns] + [None] * (len(turns) % 2)
    return system, [(texts[i] or "", texts[i + 1]) for i in range(0, len(texts), 2)]


def _exchange(values: dict[str, Any]) -> Exchange:
    replies = {side: _reply(reply) for side, reply in values["replies"].items()}
    if not isinstance(values["message"], str) or not isinstance(values["settings"], str) or isinstance(values["number"], bool):
        raise ValueError("a message that is no text")
    return Exchange(values["number"], values["parent"], values["message"], replies, values["settings"])


def _reply(values: dict[str, Any]) -> Reply:
    texts = ("text", "finish", "error", "acting")
    if wrong := [name for name in texts if not isinstance(values[name], str)]:
        raise ValueError(f"{wrong[0]} is no text")
    reading = {f.name: values["reading"][f.name] for f in fields(Reading)}
    if wrong := [name for name, value in reading.items() if not isinstance(value, int | float | None) or isinstance(value, bool)]:
        raise ValueError(f"{wrong[0]} is no number")
    return Reply(**{**values, "reading": Reading(**reading), "seed": int(values["seed"]), "forgotten": int(values["forgotten"])})
