"""Conversations from files: our own layout, OpenAI's, ShareGPT's, WildChat's and LMSYS's, the paper's transcripts.

What cannot be read safely is left out and listed, never dropped or mended in silence; the layouts themselves are in
:mod:`workbench.transcript_layouts`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, overload

import pyarrow as pa
import pyarrow.parquet as pq

from .conversations import Conversation
from .errors import DataError
from .tensorfile import write_bytes
from .transcript_layouts import Unreadable, conversations_in, parse_json, read_conversation

_PLACES = {".json": "conversation", ".jsonl": "line", ".ndjson": "line", ".parquet": "row"}
_READ = "conversations are read from .json, .jsonl, .ndjson (each also with .gz) and .parquet files"
_BATCH = 256  # rows of a Parquet file that are in memory at a time
# What the readers of packed and binary files raise for damaged ones, by experience.
_BROKEN = (OSError, EOFError, zlib.error, pa.ArrowException, ValueError, OverflowError, LookupError, MemoryError)


@dataclass(frozen=True)
class Problem:
    """Something that was not read.

    Attributes
    ----------
    file
        Where it is.
    line
        Line of a JSONL file, row of a Parquet file, conversation of a JSON file, from 1; None for the whole file.
    what
        What is wrong, and where there is one, the way out.
    """

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        place = "" if self.line is None else f", {_PLACES.get(_suffix(Path(self.file)), 'line')} {self.line}"
        return f"{self.file}{place}: {self.what}"


@dataclass(frozen=True, repr=False)
class Transcripts(Sequence[Conversation]):
    """Conversations in the order of their files, and what was left out.

    Attributes
    ----------
    conversations
        With names that are unique; a slice of `Transcripts` is one too, with the same problems.
    problems
        What was not read, in the same order.
    """

    conversations: tuple[Conversation, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.conversations)

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> Transcripts: ...
    def __getitem__(self, index: int | slice) -> Conversation | Transcripts:
        if isinstance(index, slice):
            return Transcripts(self.conversations[index], self.problems)
        return self.conversations[index]

    def __repr__(self) -> str:
        turns = sum(len(conversation.turns) for conversation in self)
        left_out = f"; {len(self.problems)} left out, the first: {self.problems[0]}" if self.problems else ""
        return f"<Transcripts: {len(self)} conversations, {turns} messages{left_out}>"


@dataclass(frozen=True)
class _Entry:
    """What stands at one place of a file: a value to read, or why there is none."""

    number: int | None
    value: Any = None
    what: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False  # the file holds nothing else, so it can lend its name


def load_conversations(paths: str | Path | Iterable[str | Path], strict: bool = False, join: bool = False) -> Transcripts:
    """Read conversations from files and folders, whatever their layout.

    A file is ``.json`` (a conversation, a list, or an object that holds those), ``.jsonl`` or ``.ndjson`` (one a line), each
    also with ``.gz``, or ``.parquet`` (one a row); a folder is read with its subfolders, sorted, without hidden files. Fields
    beside the messages come into ``about`` (text, numbers and truth values; beyond 200 characters cut, ending in ``…``); a
    ``system`` or ``system_prompt`` beside them becomes the first message. Names come from ``name``, ``id``,
    ``conversation_id``, ``conversation_hash``, ``hash`` or the file; ``#2`` and so on is put behind one that was seen before.

    Parameters
    ----------
    paths
        A file, a folder, or several.
    strict
        Raise at the first problem instead of listing it.
    join
        Join neighbouring messages of one speaker with a blank line; otherwise such a conversation is a problem.

    Raises
    ------
    DataError
        Where a file is missing, of an unknown kind or without any readable conversation (inside a folder these are problems,
        as long as the folder has one), or at the first problem where `strict`.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not given:
        raise DataError("no file is given to read conversations from")
    names: dict[str, int] = {}
    conversations: list[Conversation] = []
    problems: list[Problem] = []
    for path in given:
        before, first = len(conversations), len(problems)
        for one in _read(path, join):
            if isinstance(one, Conversation):
                conversations.append(replace(one, name=_unique(one.name, names)))
            elif strict:
                raise DataError(str(one))
            else:
                problems.append(one)
        if len(conversations) == before:
            raise DataError(f"no conversation can be read from {_shown(path)}; the first problem: {problems[first]}")
    return Transcripts(tuple(conversations), tuple(problems))


def save_conversations(conversations: Iterable[Conversation], path: str | Path) -> Path:
    """Write conversations as JSONL in our own layout, atomically; :func:`load_conversations` gives them back as they are.

    Names that are missing or not unique are written as they are, and completed when loaded.

    Raises
    ------
    DataError
        Where a conversation would not load again (an empty message, two messages of one speaker in a row, half a character).
    """
    path = Path(path)
    if isinstance(conversations, Conversation):
        raise DataError("conversations are saved as a list: put the one into brackets")
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise DataError(f"{_shown(path)}: conversations are saved as .jsonl")
    lines = []
    for number, one in enumerate(conversations, 1):
        record = {"name": one.name, "turns": one.to_list(), "about": dict(one.about)}
        try:
            read_conversation(record, str(number))
        except Unreadable as error:
            raise DataError(f"conversation {one.name or number!r} is not saved, as it would not load again: {error}") from error
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    if not lines:
        raise DataError(f"there are no conversations to save in {_shown(path)}")
    write_bytes(path, "".join(lines).encode())
    return path


# -- from paths to conversations ----------------------------------------------------------------------
def _read(path: Path, join: bool) -> Iterator[Conversation | Problem]:
    if path.is_dir():
        yield from _read_folder(path, join)
    elif not path.is_file():
        raise DataError(f"there is no file {_shown(path)} to read conversations from")
    elif _suffix(path) not in _PLACES:
        raise DataError(f"{_shown(path)}: {_READ}")
    else:
        yield from _read_file(path, join)


def _read_folder(folder: Path, join: bool) -> Iterator[Conversation | Problem]:
    empty = True
    for path in sorted(folder.rglob("*")):
        linked = path.is_symlink() and path.is_dir()
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not (path.is_file() or linked):
            continue
        empty = False
        if linked:
            yield Problem(_shown(path), None, "is a link to a folder, which is not followed; give it by name")
        elif _suffix(path) not in _PLACES:
            yield Problem(_shown(path), None, f"is left out; {_READ}")
        else:
            yield from _read_file(path, join)
    if empty:
        yield Problem(_shown(folder), None, f"has no files; {_READ}")


def _read_file(path: Path, join: bool) -> Iterator[Conversation | Problem]:
    file, stem = _shown(path), _shown(Path(path.name.removesuffix(".gz"))).rsplit(".", 1)[0]
    reader = {".json": _json, ".parquet": _parquet}.get(_suffix(path), _jsonl)
    empty = True
    for entry in reader(path):
        empty = False
        try:
            if entry.what:
                raise Unreadable(entry.what)
            yield read_conversation(entry.value, stem if entry.alone else f"{stem}/{entry.number}", join, entry.about)
        except Unreadable as error:
            yield Problem(file, entry.number, str(error))
    if empty:
        yield Problem(file, None, "holds no conversations")


def _jsonl(path: Path) -> Iterator[_Entry]:
    number = 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    if line.strip(b"\xef\xbb\xbf \t\r\n"):  # neither blank nor a byte order mark alone
                        yield _Entry(number, parse_json(line.rstrip()))
                except Unreadable as error:
                    yield _Entry(number, what=str(error))
    except _BROKEN as error:
        yield _Entry(number + 1 if number else None, what=f"cannot be read from here on: {_line(error)}")


def _json(path: Path) -> Iterator[_Entry]:
    try:
        with _opened(path) as file:
            value = parse_json(file.read(), lines=True)
    except Unreadable as error:
        hint = "; a file with one conversation a line is to be named .jsonl" if "extra data" in str(error) else ""
        yield _Entry(None, what=f"{error}{hint}")
    except _BROKEN as error:
        yield _Entry(None, what=f"cannot be read: {_line(error)}")
    else:
        found, about = conversations_in(value)
        alone = len(found) == 1 and found is not value
        for number, one in enumerate(found, 1):
            yield _Entry(number, one, about=about, alone=alone)


def _parquet(path: Path) -> Iterator[_Entry]:
    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = file.schema_arrow.names
            if twice := [c for c in columns if columns.count(c) > 1]:
                yield _Entry(None, what=f"has two columns named {twice[0]!r}")
                return
            for batch in file.iter_batches(_BATCH):
                yield from _rows(batch, number)
                number += batch.num_rows
    except _BROKEN as error:
        yield _Entry(number + 1 if number else None, what=f"cannot be read from here on: {_line(error)}")


def _rows(batch: pa.RecordBatch, before: int) -> Iterator[_Entry]:
    for i in range(batch.num_rows):
        try:  # row by row: one that is not UTF-8 would take its neighbours along
            yield _Entry(before + i + 1, batch.slice(i, 1).to_pylist()[0])
        except _BROKEN as error:
            yield _Entry(before + i + 1, what=f"cannot be read: {_line(error)}")


# -- small things -------------------------------------------------------------------------------------
def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.GzipFile(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _shown(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")  # a name need not be UTF-8


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _unique(name: str, seen: dict[str, int]) -> str:
    """The name, with a number behind it where it is taken; counts in `seen`."""
    unique = name
    while unique in seen:
        seen[name] += 1
        unique = f"{name}#{seen[name]}"
    seen[unique] = 1
    return unique
