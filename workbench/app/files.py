"""A conversation as files, and back: ours with all branches, ours by sides, OpenAI's list of messages, and a page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ..conversations import Conversation
from ..errors import DataError, WorkbenchError
from ..transcripts import load_conversations, save_conversations
from .bench import Bench, in_words
from .dialogue import FORMAT, LEFT, RIGHT, Dialogue, Exchange
from .pages import conversation_page
from .settings import OWN, Settings

ONLY_LAST = "the right side read the left one's answers: only the last answer is its own"
"""What a file of one conversation says where the right side lived several."""


@dataclass(frozen=True)
class Kind:
    """A file that a conversation can be kept as.

    Attributes
    ----------
    title
        What the page calls it.
    media
        Its media type.
    write
        Makes its content.
    """

    title: str
    media: str
    write: Callable[[Dialogue, Bench, Settings], str]


def lived(dialogue: Dialogue, bench: Bench, side: str) -> list[Conversation]:
    """The branch that is shown as a side lived it, under the system prompt of its last exchange.

    Where the right side read the left one's answers, each of its own ends a conversation by itself: no later message followed on it.
    Where earlier exchanges were answered under something else, ``about["note"]`` says so.
    """
    path = dialogue.path
    ends = path[-1:] if side == LEFT else _ends(path)
    found = [_lived(dialogue, bench, side, one) for one in ends]
    if len(found) == 1:
        return found
    return [replace(talk, name=f"{talk.name} at exchange {dialogue.depth(one.number)}") for one, talk in zip(ends, found, strict=True)]


def _ends(path: Sequence[Exchange]) -> list[Exchange]:
    """The exchanges at which a life of the right side ends: any that it did not go on from with its own answers."""
    answered = [one for one in path if RIGHT in one.replies or (one is path[-1] and _follow(one) == OWN)]
    left_off = [one for one, after in pairwise(answered) if LEFT in (_follow(one), _follow(after))]
    return left_off + (answered[-1:] or [*path[-1:]])


def _follow(one: Exchange) -> str:
    return Settings.from_query(one.settings).follow


def _lived(dialogue: Dialogue, bench: Bench, side: str, one: Exchange) -> Conversation:
    """A side's life up to an exchange, as that exchange was answered."""
    there, settings = replace(dialogue, at=one.number), Settings.from_query(one.settings)
    note = _note(there.path, side)
    return replace(there.held(side, bench.system_prompt(settings), settings.follow), about={"note": note} if note else {})


def _note(path: Sequence[Exchange], side: str) -> str:
    """Which exchanges were answered under something else than the last one; empty where none was."""
    known = [Settings.from_query(one.settings) for one in path]
    prompts = {n for n, one in enumerate(known, 1) if _prompt(one) != _prompt(known[-1])}
    acts = {n for n, one in enumerate(known, 1) if side == RIGHT and in_words(one) != in_words(known[-1])}
    kinds = [name for name, found in (("system prompt", prompts), ("intervention", acts)) if found]
    if not kinds:
        return ""
    places = ", ".join(map(str, sorted(prompts | acts)))
    return f"told as exchange {len(path)} was answered; answered under another {' or '.join(kinds)}: exchange {places}"


def _prompt(settings: Settings) -> tuple[str, str, int]:
    return ("", settings.persona, settings.prompt) if not settings.system else (settings.system, "", 0)


def _sides(dialogue: Dialogue, bench: Bench) -> list[Conversation]:
    """The branch that is shown as each side lived it; the right one where it ever answered."""
    both = any(RIGHT in one.replies for one in dialogue.path)
    if dialogue.at is None:
        raise DataError("this conversation holds no message yet")
    return [talk for side in ((LEFT, RIGHT) if both else (LEFT,)) for talk in lived(dialogue, bench, side)]


def _jsonl(dialogue: Dialogue, bench: Bench, settings: Settings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = save_conversations(_sides(dialogue, bench), Path(folder) / "sides.jsonl")
        return path.read_text(encoding="utf-8")


def _openai(side: str) -> Callable[[Dialogue, Bench, Settings], str]:
    def write(dialogue: Dialogue, bench: Bench, settings: Settings) -> str:
        if dialogue.at is None:
            raise DataError("this conversation holds no message yet")
        *earlier, held = lived(dialogue, bench, side)
        messages = [{"role": turn.speaker, "content": turn.text} for turn in held.turns]
        note = "; ".join(filter(None, [ONLY_LAST if earlier else "", held.about.get("note", "")]))
        return json.dumps({"messages": messages} | ({"note": note} if note else {}), ensure_ascii=False, indent=1) + "\n"

    return write


FILES: dict[str, Kind] = {
    "conversation.html": Kind("a page with its charts", "text/html", conversation_page),
    "conversation.json": Kind("all branches", "application/json", lambda dialogue, bench, settings: dialogue.to_json()),
    "sides.jsonl": Kind("both sides, JSONL", "application/jsonl", _jsonl),
    "left.openai.json": Kind("left, OpenAI messages", "application/json", _openai(LEFT)),
    "right.openai.json": Kind("right, OpenAI messages", "application/json", _openai(RIGHT)),
}
"""File name -> what it holds."""


def load_dialogue(path: str | Path, settings: Settings | None = None) -> tuple[Dialogue, Settings, str]:
    """A conversation from any file that :func:`workbench.load_conversations` reads, or ours with all branches.

    Parameters
    ----------
    settings
        Those that stand now.

    Returns
    -------
    (Dialogue, Settings, str)
        The settings under which it goes on: those of the last exchange where the file is ours with all branches, else those that stand
        now with the file's system prompt. And what has to be said, e.g. that the file holds more conversations.

    Raises
    ------
    DataError
        Where the file holds none, or one that cannot go on here.
    """
    path, settings = Path(path), settings or Settings()
    try:
        start = path.read_bytes()[:200] if path.is_file() else b""
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from error
    if FORMAT.encode() in start:
        dialogue = Dialogue.from_json(path.read_text(encoding="utf-8", errors="replace"))
        # The gauge stays where it stands: where it reads is nothing of the conversation.
        under = Settings.from_query(dialogue.path[-1].settings).but(layer=settings.layer) if dialogue.path else settings
        return dialogue, under, ""
    found = load_conversations(path)
    first = found[0]
    partner = next((one for one in found[1:] if one.name == first.name.removesuffix(f", {LEFT}") + f", {RIGHT}"), None)
    dialogue, system = Dialogue.of(first, partner)
    others = len(found) - (2 if partner else 1)
    said = [f"the file holds {others} more conversations, which were not loaded"] if others else []
    said += [str(problem) for problem in found.problems[:1]]
    under = settings.but(system=system, persona="", prompt=0) if system else settings
    return dialogue, under, "; ".join(said)


def taken_up(path: str | Path, bench: Bench, settings: Settings) -> tuple[Dialogue, Settings, str]:
    """As :func:`load_dialogue`, to go on with a bench; on a server's model nothing acts.

    Raises
    ------
    DataError
        Also where it was held with a persona that is not known here: nobody could say what was asked.
    """
    dialogue, under, problem = load_dialogue(path, settings)
    for one in dialogue.exchanges:
        try:
            bench.system_prompt(Settings.from_query(one.settings))
        except WorkbenchError as error:
            raise DataError(f"the conversation of {path} cannot go on here: {error}") from error
    return dialogue, under if bench.endpoint is None else under.but(kind="none", preset="", control=None), problem


def loaded_words(dialogue: Dialogue) -> str:
    """What is said where a file was read without a problem."""
    n = len(dialogue.path)
    return f"loaded: {n} exchange{'' if n == 1 else 's'}"


def by_name(text: str, path: str | Path) -> str:
    """A sentence about a file that a browser sent: of its name, not of where this machine keeps it."""
    return text.replace(str(path), Path(path).name)


@contextmanager
def errors_by_name(path: str | Path) -> Iterator[None]:
    """The same for what goes wrong inside a ``with`` block."""
    try:
        yield
    except WorkbenchError as error:
        raise DataError(by_name(str(error), path)) from error
