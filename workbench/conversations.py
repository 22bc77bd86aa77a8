"""Plain values that everything else speaks about: turns, conversations, roles, traits, questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .errors import ChatError

SPEAKERS = ("system", "user", "assistant")
DEFAULT_ROLE = "default"
"""Name of the role that stands for the model as it comes: the Assistant."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes
    ----------
    speaker
        ``"system"``, ``"user"`` or ``"assistant"``.
    text
        What was said.
    """

    speaker: str
    text: str

    def __post_init__(self) -> None:
        if self.speaker not in SPEAKERS:
            raise ChatError(f"a turn is spoken by one of {', '.join(SPEAKERS)}, not by {self.speaker!r}")


@dataclass(frozen=True)
class Conversation:
    """Turns in order.

    Attributes
    ----------
    turns
        The messages; a system message can only be the first.
    name
        How tables and figures call this conversation.
    about
        What is known of it besides its text: domain, persona, topic, model, ...
    """

    turns: tuple[Turn, ...]
    name: str = ""
    about: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        late = [i for i, turn in enumerate(self.turns) if turn.speaker == "system" and i > 0]
        if late:
            raise ChatError(f"message {late[0]} is a system message; only the first message can be one")

    @classmethod
    def of(
        cls, messages: str | Iterable[Turn | tuple[str, str] | dict], name: str = "", system: str = "",
        about: Mapping[str, str] | None = None,
    ) -> Conversation:  # fmt: skip
        """Build a conversation from what people have at hand.

        Parameters
        ----------
        messages
            A user's message as a string, or turns, (speaker, text) pairs, or dicts in the OpenAI layout
            (``role`` and ``content``) or ours (``speaker`` and ``text``).
        system
            A system prompt to put first; none where empty.
        """
        if isinstance(messages, str):
            messages = [("user", messages)]
        if not isinstance(messages, Iterable):
            raise ChatError(f"a conversation is a string or a list of messages, not {messages!r}")
        turns = [_turn(message) for message in messages]
        if system:
            turns.insert(0, Turn("system", system))
        return cls(tuple(turns), name, dict(about or {}))

    def to_list(self) -> list[dict[str, str]]:
        """The turns as ``{"speaker", "text"}`` records, as run folders keep them."""
        return [{"speaker": turn.speaker, "text": turn.text} for turn in self.turns]

    def plus(self, speaker: str, text: str) -> Conversation:
        """The conversation with one more turn."""
        return replace(self, turns=(*self.turns, Turn(speaker, text)))


def _turn(message: Turn | tuple[str, str] | dict) -> Turn:
    if isinstance(message, Turn):
        return message
    if isinstance(message, dict):
        speaker, text = message.get("speaker", message.get("role")), message.get("text", message.get("content"))
    elif isinstance(message, (tuple, list)) and len(message) == 2:
        speaker, text = message
    else:
        speaker, text = None, None
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise ChatError(f"a message needs a speaker and a text, both strings; got {message!r}")
    return Turn(speaker, text)


@dataclass(frozen=True)
class Role:
    """A persona that a model can be asked to play.

    Attributes
    ----------
    name
        Unique; the role named ``default`` is the model with no role.
    prompts
        System prompts that ask for the role; an empty one means no system prompt.
    description
        One line for people.
    tags
        Free labels.
    shows
        What in an answer shows that the role is played (for a judge).
    """

    name: str
    prompts: tuple[str, ...]
    description: str = ""
    tags: tuple[str, ...] = ()
    shows: str = ""

    @property
    def is_default(self) -> bool:
        """Whether this is the model without a role."""
        return self.name == DEFAULT_ROLE


@dataclass(frozen=True)
class Trait:
    """A trait with prompts that ask for it and for its opposite.

    Attributes
    ----------
    name
        Unique.
    pairs
        (positive, negative) system prompts.
    description
        A definition in a line.
    shows
        What a high and a low answer do (for a judge).
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    description: str = ""
    shows: str = ""


@dataclass(frozen=True)
class Question:
    """An extraction question, asked of every role alike.

    Attributes
    ----------
    id
        Stable number or name within its library.
    text
        The user's message.
    tags
        Topics or kinds.
    """

    id: int | str
    text: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one response.

    Attributes
    ----------
    label
        3 = fully in the role, 2 = somewhat, 1 = answers as the Assistant, 0 = refuses or breaks down; None where the
        judge could not say.
    reason
        Why, in a few words.
    raw
        The judge's own output, where it has one.
    error
        Why there is no label.
    flags
        What else was asked of the judge, e.g. ``in_role``; what it did not say is not there.
    """

    label: int | None
    reason: str
    raw: str = ""
    error: str = ""
    flags: Mapping[str, bool] = field(default_factory=dict)
