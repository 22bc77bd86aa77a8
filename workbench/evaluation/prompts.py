"""Prompts that test a model: persona jailbreaks, harmless look-alikes, questions with answers, questions about itself.

Own files are JSONL or CSV with the columns ``prompt`` and ``kind`` (one of :data:`KINDS`) and, where there is something to
say, ``id, system, role, group, category, item, answer``. Behaviour lists in the layouts of JailbreakBench, HarmBench and
StrongREJECT are read by their column names, and crossed with personas.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..conversations import DEFAULT_ROLE, Conversation, Role
from ..errors import ChatError, DataError, LibraryError

KINDS = {
    "jailbreak": "a harmful request under a persona",
    "harmful": "the same kind of request without a persona",
    "benign": "a harmless request that looks like a harmful one",
    "question": "a question, checkable where it has an answer",
    "identity": "a question about who is speaking, under a persona",
}
_LAYOUTS = {
    "JailbreakBench": ({"Goal", "Category"}, "Goal", "Category", ""),
    "HarmBench": ({"Behavior", "SemanticCategory", "BehaviorID"}, "Behavior", "SemanticCategory", "ContextString"),
    "StrongREJECT": ({"forbidden_prompt", "category"}, "forbidden_prompt", "category", ""),
}


@dataclass(frozen=True)
class Prompt:
    """One conversation to be answered, and what is known about it.

    Attributes
    ----------
    id
        Unique; decides the seed of its answer.
    kind
        One of :data:`KINDS`.
    conversation
        Up to and including the user's message.
    role
        Whom the model is asked to be.
    group
        What is resampled as a whole for intervals (a persona, a conversation); what is asked where empty.
    category, item
        A label for tables, and what is asked, whoever asks it: prompts with the same item stay on one side of a split.
    answer
        What a right answer contains.
    """

    id: str
    kind: str
    conversation: Conversation
    role: str = DEFAULT_ROLE
    group: str = ""
    category: str = ""
    item: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LibraryError(f"prompt {self.id!r}: a kind is one of {', '.join(KINDS)}, not {self.kind!r}")

    @property
    def unit(self) -> str:
        """What is resampled for intervals."""
        return self.group or self.asked

    @property
    def asked(self) -> str:
        """What is asked, whoever asks it."""
        return self.item or self.conversation.turns[-1].text


def load_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from a JSONL or CSV file in our columns.

    Raises
    ------
    LibraryError
        Naming the file, the row and what is wrong.
    """
    frame = _read(Path(path))
    if missing := [c for c in ("prompt", "kind") if c not in frame]:
        raise LibraryError(f"{path} has no column {missing[0]!r}; behaviour lists are read with load_behaviours() (--behaviours)")
    prompts = []
    for number, row in enumerate(frame.to_dict("records"), 1):
        text = {str(k): str(v) for k, v in row.items()}
        if not text["prompt"].strip():
            raise LibraryError(f"{path}, row {number} has an empty prompt")
        identity = text.get("id") or f"{Path(path).stem}/{number}"
        try:
            asked = row["prompt"] if isinstance(row["prompt"], list) else text["prompt"]
            conversation = Conversation.of(asked, system=text.get("system", ""))
        except ChatError as error:
            raise LibraryError(f"{path}, row {number}: {error}") from error
        role = text.get("role") or DEFAULT_ROLE
        extra = {k: text.get(k, "") for k in ("category", "item", "answer")}
        # Roles are on one side of a division and redrawn as a whole, unless other groups are named.
        group = text.get("group") or (role if role != DEFAULT_ROLE else "")
        prompts.append(Prompt(identity, text["kind"], conversation, role, group, **extra))
    _refuse_duplicates(prompts, path)
    return prompts


def load_behaviours(path: str | Path) -> list[Prompt]:
    """Read a table of harmful behaviours (JailbreakBench, HarmBench or StrongREJECT, told by its columns) as ``harmful`` prompts.

    HarmBench's context, where a behaviour has one, is put before it.
    """
    frame = _read(Path(path))
    layout = next((name for name, (needed, *_) in _LAYOUTS.items() if needed <= set(frame.columns)), None)
    if layout is None:
        raise LibraryError(
            f"{path} is no behaviour list that is known ({', '.join(_LAYOUTS)}): it has the columns {', '.join(map(str, frame.columns))}"
        )
    _, text, category, context = _LAYOUTS[layout]
    prompts = []
    for number, row in enumerate(frame.to_dict("records"), 1):
        behaviour, before = str(row[text]).strip(), str(row.get(context, "") or "").strip() if context else ""
        if not behaviour:
            raise LibraryError(f"{path}, row {number} has an empty {text!r}")
        message = f"{before}\n\n{behaviour}" if before else behaviour
        prompts.append(Prompt(f"{layout}/{number}", "harmful", Conversation.of(message), category=str(row[category]), item=message))
    return prompts


def under_personas(behaviours: Sequence[Prompt], personas: Sequence[Role], n: int | None = None, seed: int = 0) -> list[Prompt]:
    """Cross harmful requests with personas' system prompts: persona jailbreaks, as in the paper's steering and capping.

    Parameters
    ----------
    n
        So many pairs, drawn with `seed`; all where None.
    """
    if n is not None and n < 1:
        raise DataError(f"one pair or more is drawn, not {n}")
    pairs = [(role, i, b) for role in personas if not role.is_default for i in range(len(role.prompts)) for b in behaviours]
    if n is not None and n < len(pairs):
        pairs = random.Random(f"personas {seed}").sample(pairs, n)
    return [
        Prompt(
            f"{role.name}/p{i}/{b.id}", "jailbreak", Conversation.of(b.conversation.turns, system=role.prompts[i]), role.name, role.name,
            b.category, b.asked, b.answer,
        )
        for role, i, b in pairs
    ]  # fmt: skip


def split_prompts(prompts: Sequence[Prompt], seed: int = 0) -> tuple[list[Prompt], list[Prompt]]:
    """Two halves that share neither a group nor an item: one to choose with, one to report on.

    Prompts whose group falls on one side and whose item on the other belong to neither and are left out; those without a
    group are divided by what they ask.
    """
    halves: tuple[list[Prompt], list[Prompt]] = ([], [])
    # One division of groups and one of items, whatever kind of prompt they come from: what tunes one kind reports on no other.
    groups, items = _sides({p.unit for p in prompts}, f"groups {seed}"), _sides({p.asked for p in prompts}, f"items {seed}")
    named = {p.group for p in prompts if p.group}
    side = items | {name: groups[name] for name in named}  # what is asked under the name of a group lies where that lies
    for p in prompts:
        sides = {side[p.unit], side[p.asked]}
        if len(sides) == 1:
            halves[sides.pop()].append(p)
    return halves


def _sides(names: set[str], seed: str) -> dict[str, int]:
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return {name: i % 2 for i, name in enumerate(order)}


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise LibraryError(f"there is no file {path} to read prompts from")
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            rows = [_row(path, i, line) for i, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1) if line.strip()]
            frame = pd.DataFrame(rows, dtype=object)  # numbers stay as they were written
        elif path.suffix.lower() in (".csv", ".tsv"):
            frame = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", dtype=str, keep_default_na=False)
        else:
            raise LibraryError(f"{path}: prompts are read from .jsonl, .csv or .tsv files")
    except (ValueError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path} cannot be read: {error}") from error
    if frame.empty:
        raise LibraryError(f"{path} holds no rows")
    return frame.fillna("")


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise LibraryError(f"{path}, line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise LibraryError(f"{path}, line {number} is not a JSON object")
    return row


def _refuse_duplicates(prompts: Sequence[Prompt], path: str | Path) -> None:
    seen: set[str] = set()
    for p in prompts:
        if p.id in seen:
            raise LibraryError(f"{path}: the id {p.id!r} occurs more than once")
        seen.add(p.id)
