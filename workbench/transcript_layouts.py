"""What a conversation looks like in the layouts people have, and what keeps one from being read.

A message says who speaks under ``speaker``, ``role`` or ``from`` and what under ``text``, ``content`` or ``value``; a
conversation is a list of messages, alone or in an object under one of :data:`KEYS`. Everything here works on parsed JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from .conversations import Conversation, Turn
from .errors import DataError

KEYS = ("turns", "messages", "conversations", "conversation", "items")
LONGEST = 200
"""So many characters of a field beside the messages are kept; our own ``about`` is kept whole."""

_NAMES = ("name", "id", "conversation_id", "conversation_hash", "hash")
_SYSTEM = ("system", "system_prompt")
_SAID = {"speaker": "text", "role": "content", "from": "value"}
_ASSISTANTS = dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard"), "assistant")
_SPEAKERS = {"system": "system", "user": "user", "human": "user"} | _ASSISTANTS
_TOOLS = ("tool", "function", "function_call", "observation", "ipython", "tool_call", "tool_response")
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
# A message with one of these is more than its text: without it, the model's next words would answer something else.
_BESIDE = (*_MEDIA, "tool_calls", "function_call", "attachments", "files", "refusal", "reasoning", "reasoning_content", "thinking")
_ONLY = "only text of system, user and assistant is read"


class Unreadable(DataError):
    """What is wrong with one conversation; file and place are added by the reader."""


class Doubled(dict):
    """A JSON object that names a field twice: which of the two is meant, nobody can say."""


def parse_json(content: str | bytes, what: str = "is not JSON", lines: bool = False) -> Any:
    """A JSON text, or its UTF-8 bytes, as Python values; objects with a field named twice are :class:`Doubled`.

    Raises
    ------
    Unreadable
        Saying `what` and the column, and the line where the text has `lines`.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].split(b"\n")
        line = f"line {len(before)}, " if lines else ""
        raise Unreadable(f"is not UTF-8 at {line}byte {len(before[-1]) + 1}") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if lines else ""
        raise Unreadable(f"{what} at {line}column {error.colno}: {error.msg.lower()}") from error
    except RecursionError as error:
        raise Unreadable("is nested too deeply to be read") from error
    except ValueError as error:  # an integer of thousands of digits
        raise Unreadable(f"{what}: {error}") from error


def read_conversation(value: Any, fallback: str, join: bool = False, about: Mapping[str, str] | None = None) -> Conversation:
    """One conversation in any of the layouts.

    Parameters
    ----------
    fallback
        Its name where it says none.
    join
        Join neighbouring messages of one speaker with a blank line; they are refused otherwise.
    about
        What is known of it from outside; its own fields come first.

    Raises
    ------
    Unreadable
        Naming the first message that cannot be read, and why.
    """
    if isinstance(value, Doubled):
        raise Unreadable("names a field twice")
    key, messages = _messages(value)
    if not messages:
        raise Unreadable("has no messages")
    said = [_said(message, number) for number, message in enumerate(messages, 1)]
    row = {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else {}
    if media := next((k for k in _MEDIA if row.get(k)), ""):
        raise Unreadable(f"has {media!r} beside its messages; {_ONLY}")
    said, used = _with_system(said, row)
    known = {**(about or {}), **_about(row, {"name", "about", *used}), **_own(row)}
    name = next((n for k in _NAMES if (n := _scalar(row.get(k))) and n.strip()), "") or fallback
    _refuse_halves(name, "its name")
    return Conversation(_turns(said, join), name, known)


def conversations_in(value: Any) -> tuple[list[Any], dict[str, str]]:
    """The conversations of a JSON file (one, a list, or an object that holds those) and what the object says of all of them."""
    if isinstance(value, Doubled) or _is_conversation(value):
        return [value], {}
    if isinstance(value, list):
        return value, {}
    found: list[Any] = []
    for held in value.values() if isinstance(value, dict) else ():
        if _is_conversation(held):
            found.append(held)
        elif isinstance(held, list) and any(map(_is_conversation, held)):
            found.extend(held)
    if not found:
        return [value], {}
    given = {k: value[k] for k in _SYSTEM if value.get(k)}  # said once for all of them
    return [_beside(one, given) for one in found], _about(value, set(given))


def _beside(conversation: Any, given: dict[str, Any]) -> Any:
    """A conversation with the system prompt that stands beside it and others, where it has none beside it itself."""
    if not given or isinstance(conversation, Doubled):
        return conversation
    if isinstance(conversation, list):
        return {KEYS[0]: conversation} | given
    return conversation if any(conversation.get(k) for k in _SYSTEM) else conversation | given


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Doubled(fields)


# -- finding the messages -----------------------------------------------------------------------------
def _is_message(value: Any) -> bool:
    # A conversation may have a role or a sender too: what holds messages is none itself.
    return isinstance(value, dict) and any(value.get(k) is not None for k in _SAID) and not any(True for _ in _lists(value))


def _is_conversation(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_message, value)) and not any(isinstance(v, dict) and _is_conversation(v) for v in value)
    return isinstance(value, dict) and any(any(map(_is_message, messages)) for _, messages in _lists(value))


def _lists(value: dict) -> Iterator[tuple[str, list]]:
    for key in KEYS:
        held = value.get(key)
        if isinstance(held, str) and held.lstrip().startswith("["):  # tables keep lists as JSON
            try:
                held = parse_json(held)
            except Unreadable:
                continue
        if isinstance(held, list):
            yield key, held


def _messages(value: Any) -> tuple[str, list]:
    if isinstance(value, list):
        return "", value
    if not isinstance(value, dict):
        raise Unreadable(f"is no conversation but {_kind(value)}")
    lists = dict(_lists(value))
    spoken = [key for key, messages in lists.items() if any(map(_is_message, messages))]
    if len(spoken) > 1:
        raise Unreadable(f"has messages under both {spoken[0]!r} and {spoken[1]!r}; keep the one that is meant")
    if lists:
        key = spoken[0] if spoken else next(iter(lists))
        return key, lists[key]
    if text := next((key for key in KEYS if isinstance(value.get(key), str)), ""):
        parse_json(value[text], f"has no JSON under {text!r}")
    if _is_message(value):
        raise Unreadable("is a single message, not a conversation")
    raise Unreadable(f"holds no list of messages under {', '.join(KEYS[:-1])} or {KEYS[-1]}")


# -- reading them -------------------------------------------------------------------------------------
def _said(message: Any, number: int) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise Unreadable(f"message {number} is {_kind(message)}, not an object with a speaker and a text")
    if isinstance(message, Doubled):
        raise Unreadable(f"message {number} names a field twice")
    fields = {k: v for k, v in message.items() if v is not None}  # tables fill the fields a message lacks
    key = next((k for k in _SAID if k in fields), None)
    called = fields.get(key)
    if key is None or not isinstance(called, str):
        raise Unreadable(f"message {number} does not say who speaks")
    lowered = called.strip().lower()
    if lowered in _TOOLS:
        raise Unreadable(f"message {number} is a tool message{'' if lowered == 'tool' else f' ({lowered})'}; {_ONLY}")
    if lowered not in _SPEAKERS:
        raise Unreadable(f"message {number} is spoken by {_short(called)}; {_ONLY}")
    if beside := next((k for k in _BESIDE if fields.get(k)), ""):
        raise Unreadable(f"message {number} has {beside!r} beside its text; {_ONLY}")
    text = next((fields[k] for k in (_SAID[key], *_SAID.values()) if k in fields), "")
    return _SPEAKERS[lowered], _text(text, number)


def _text(content: Any, number: int) -> str:
    if isinstance(content, list):  # parts are put together as chat templates do: with nothing between them
        content = "".join(_part(part, number) for part in content)
    if not isinstance(content, str):
        raise Unreadable(f"message {number} is {_kind(content)}, not a text")
    if not content.strip():
        raise Unreadable(f"message {number} is empty")
    _refuse_halves(content, f"message {number}")
    return content


def _part(part: Any, number: int) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or isinstance(part, Doubled):
        raise Unreadable(f"message {number} has a part that is neither a text nor an object that names each field once")
    kind = part.get("type", "text")
    if kind not in ("text", "input_text", "output_text"):
        raise Unreadable(f"message {number} has a part of type {_short(kind)}; {_ONLY}")
    if not isinstance(part.get("text"), str):
        raise Unreadable(f"message {number} has a text part without a text")
    return part["text"]


def _with_system(said: list[tuple[str, str]], row: dict) -> tuple[list[tuple[str, str]], list[str]]:
    """The messages behind a system prompt that stands beside them, and the fields it came from."""
    found = {k: text for k in _SYSTEM if (text := _system_text(row.get(k))).strip()}
    used = list(found)
    prompts = [*found.values(), *(text for speaker, text in said[:1] if speaker == "system")]
    if len(set(prompts)) > 1:
        raise Unreadable("has two system prompts that differ, one of them beside its messages")
    if used and said[0][0] != "system":
        _refuse_halves(prompts[0], "its system prompt")
        said = [("system", prompts[0]), *said]
    return said, used


def _system_text(value: Any) -> str:
    """A system prompt as it stands beside messages: a text, parts of one, or a message; numbers and the like are none."""
    if not isinstance(value, (str, list, dict)) or not value:
        return ""
    if isinstance(value, dict):
        value = None if isinstance(value, Doubled) else value.get("content", value.get("text", value))
    if isinstance(value, str):
        return value
    try:
        return _text(value, 0)
    except Unreadable:
        raise Unreadable("has a system prompt beside its messages that is no text") from None


def _turns(said: list[tuple[str, str]], join: bool) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    number = 1
    for speaker, group in groupby(said, key=lambda one: one[0]):
        texts = [text for _, text in group]
        if speaker == "system" and turns:
            raise Unreadable(f"message {number} is a system message; only the first message can be one")
        if len(texts) > 1 and not join:
            raise Unreadable(
                f"messages {number} and {number + 1} are both by the {speaker}, which most chat templates refuse; "
                "join=True, or --join, joins neighbouring messages of one speaker with a blank line"
            )
        turns.append(Turn(speaker, "\n\n".join(texts)))
        number += len(texts)
    return tuple(turns)


# -- what is known besides ----------------------------------------------------------------------------
def _about(row: dict, without: set[str] | frozenset[str] = frozenset()) -> dict[str, str]:
    about = {}
    for key, value in row.items():
        text = _scalar(value)
        if text is not None and key not in without and not key.startswith("__index_level_"):  # pandas' row numbers
            about[key] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
            _refuse_halves(f"{key}{text}", f"field {_short(key)}")
    return about


def _own(row: dict) -> dict[str, str]:
    held = row.get("about")
    if not isinstance(held, dict):
        return _about({"about": held})
    about = {key: text for key, value in held.items() if (text := _scalar(value)) is not None}
    for key, text in about.items():
        _refuse_halves(f"{key}{text}", f"field {_short(key)} of 'about'")
    return about


def _scalar(value: Any) -> str | None:
    known = isinstance(value, (str, bool, int, float, Decimal, date)) and value == value  # NaN is how tables say nothing
    return str(value) if known else None


def _refuse_halves(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unreadable(f"{where} has half a character in it (the lone surrogate {text[error.start]!a})") from error


def _short(value: Any) -> str:
    return repr(value if len(value) <= 40 else f"{value[:39]}…") if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
