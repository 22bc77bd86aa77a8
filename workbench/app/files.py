"""A conversation as files, and back: ours with all branches, ours by sides, OpenAI's list of messages, and a page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..conversations import Conversation
from ..errors import DataError, WorkbenchError
from ..transcripts import load_conversations, save_conversations
from .bench import Bench
from .dialogue import FORMAT, LEFT, RIGHT, Dialogue
from .pages import conversation_page
from .settings import Settings


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


def _sides(dialogue: Dialogue, bench: Bench, settings: Settings) -> list[Conversation]:
    """The branch that is shown as each side lived it; the right one where it ever answered."""
    system = bench.system_prompt(settings)
    both = any(RIGHT in one.replies for one in dialogue.path)
    return [dialogue.held(side, system) for side in ((LEFT, RIGHT) if both else (LEFT,))]


def _jsonl(dialogue: Dialogue, bench: Bench, settings: Settings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = save_conversations(_sides(dialogue, bench, settings), Path(folder) / "sides.jsonl")
        return path.read_text(encoding="utf-8")


def _openai(side: str) -> Callable[[Dialogue, Bench, Settings], str]:
    def write(dialogue: Dialogue, bench: Bench, settings: Settings) -> str:
        held = dialogue.held(side, bench.system_prompt(settings))
        messages = [{"role": turn.speaker, "content": turn.text} for turn in held.turns]
        return json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n"

    return write


FILES: dict[str, Kind] = {
    "conversation.html": Kind("a page with its charts", "text/html", conversation_page),
    "conversation.json": Kind("all branches", "application/json", lambda dialogue, bench, settings: dialogue.to_json()),
    "sides.jsonl": Kind("both sides, JSONL", "application/jsonl", _jsonl),
    "left.openai.json": Kind("left, OpenAI messages", "application/json", _openai(LEFT)),
    "right.openai.json": Kind("right, OpenAI messages", "application/json", _openai(RIGHT)),
}
"""File name -> what it holds."""


def load_dialogue(path: str | Path) -> tuple[Dialogue, str, str]:
    """A conversation from any file that :func:`workbench.load_conversations` reads, or ours with all branches.

    Returns
    -------
    (Dialogue, str, str)
        Its system prompt, and what has to be said, e.g. that the file holds more conversations.

    Raises
    ------
    DataError
        Where the file holds none, or one that cannot go on here.
    """
    path = Path(path)
    try:
        start = path.read_bytes()[:200] if path.is_file() else b""
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from error
    if FORMAT.encode() in start:
        return Dialogue.from_json(path.read_text(encoding="utf-8", errors="replace")), "", ""
    found = load_conversations(path)
    first = found[0]
    partner = next((one for one in found[1:] if one.name == first.name.removesuffix(f", {LEFT}") + f", {RIGHT}"), None)
    dialogue, system = Dialogue.of(first, partner)
    others = len(found) - (2 if partner else 1)
    said = [f"the file holds {others} more conversations, which were not loaded"] if others else []
    said += [str(problem) for problem in found.problems[:1]]
    return dialogue, system, "; ".join(said)


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
