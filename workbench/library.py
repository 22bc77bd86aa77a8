"""Read roles, traits and questions: our layout, the published one, or a model's own library."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .conversations import DEFAULT_ROLE, Question, Role, Trait
from .errors import LibraryError


def data_folder() -> Path:
    """The library that comes with the workbench: inside the package (wheel) or beside it (editable install)."""
    inside, beside = Path(__file__).parent / "data", Path(__file__).parent.parent / "data"
    for folder in (inside, beside):
        if (folder / "questions.jsonl").exists():
            return folder
    raise LibraryError(f"the workbench's own library is missing: neither {inside} nor {beside} holds it; reinstall the package")


def load_roles(source: Any = None, *, n: int | None = None, tags: Sequence[str] = (), seed: int = 0) -> list[Role]:
    """Roles, the default first.

    Parameters
    ----------
    source
        None for the workbench's own library; a model (its own library where it has one); or a folder in our layout
        (``roles/NAME.json``) or the published one (``instructions/NAME.json``), with or without those folders' names.
    n
        How many besides the default, drawn with `seed`, evenly over the first tag; all where None.
    tags
        Only roles that carry all of these tags (the default is always there).

    Raises
    ------
    LibraryError
        Naming the file and what is wrong with it.
    """
    folder = _folder(source, ("roles/instructions", "roles", "instructions", ""))
    roles = [_read_role(path) for path in _json_files(folder)]
    _refuse_duplicates([role.name for role in roles], folder)
    default = [role for role in roles if role.is_default] or [Role(DEFAULT_ROLE, ("",), "the model as it comes, with no role")]
    others = [role for role in roles if not role.is_default and set(tags) <= set(role.tags)]
    if not others:
        known = sorted({tag for role in roles if not role.is_default for tag in role.tags})
        wanted = f" with the tags {', '.join(tags)} (there are: {', '.join(known)})" if tags else ""
        raise LibraryError(f"{folder} holds no roles besides the default{wanted}")
    return default + _draw(others, n, seed, "roles", folder)


def load_traits(source: Any = None, *, n: int | None = None, seed: int = 0) -> list[Trait]:
    """Traits with their pairs of prompts, from a folder in our layout (``traits/NAME.json``) or the published one.

    Parameters
    ----------
    source, n, seed
        As for :func:`load_roles`.
    """
    folder = _folder(source, ("traits/instructions", "traits", "instructions", ""))
    traits = [_read_trait(path) for path in _json_files(folder)]
    _refuse_duplicates([trait.name for trait in traits], folder)
    return _draw(traits, n, seed, "traits", folder)


def load_questions(source: Any = None, *, n: int | None = None, tags: Sequence[str] = (), seed: int = 0) -> list[Question]:
    """Extraction questions.

    Parameters
    ----------
    source
        As for :func:`load_roles`; or a JSONL file with ``question`` and ``id`` a line.
    n
        How many, drawn with `seed`, evenly over the first tag; all where None.

    Raises
    ------
    LibraryError
        Where there are none, or a line cannot be read.
    """
    path = Path(source) if isinstance(source, (str, Path)) and Path(source).is_file() else None
    if path is None:
        folder = _folder(source, ("",))
        named = [folder / name for name in ("questions.jsonl", "extraction_questions.jsonl")]
        path = next((candidate for candidate in named if candidate.exists()), None)
        if path is None:
            raise LibraryError(f"{folder} holds no questions.jsonl")
    questions = [_read_question(path, number, line) for number, line in enumerate(_lines(path), 1)]
    kept = [question for question in questions if set(tags) <= set(question.tags)]
    if not kept:
        raise LibraryError(f"{path} holds no questions" + (f" with the tags {', '.join(tags)}" if tags else ""))
    _refuse_duplicates([str(question.id) for question in kept], path, "id")
    return _draw(kept, n, seed, "questions", path)


def own_library(model: Any) -> Path | None:
    """The folder of a model that carries its own library; None for every other."""
    folder = getattr(model, "folder", None)
    return Path(folder) if folder and (Path(folder) / "questions.jsonl").exists() else None


def _folder(source: Any, inner: Sequence[str]) -> Path:
    if source is None:
        base = data_folder()
    elif isinstance(source, (str, Path)):
        base = Path(source)
        if not base.is_dir():
            raise LibraryError(f"there is no folder {base} to read a library from")
    else:
        base = own_library(source) or data_folder()
    return next((base / name for name in inner if (base / name).is_dir()), base)


def _json_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise LibraryError(f"{folder} holds no JSON files to read a library from")
    return files


def _read_role(path: Path) -> Role:
    entry = _read_json(path)
    if "instruction" in entry:  # the published layout: the file's name is the role's
        prompts = [_field(path, item, "pos", str) for item in _field(path, entry, "instruction", list)]
        return Role(path.stem, tuple(prompts))
    name = _field(path, entry, "name", str)
    prompts = _field(path, entry, "prompts", list)
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise LibraryError(f"{path}: 'prompts' must be a list of at least one text")
    tags = tuple(map(str, entry.get("tags", ())))
    return Role(name, tuple(prompts), str(entry.get("description", "")), tags, str(entry.get("shows", "")))


def _read_trait(path: Path) -> Trait:
    entry = _read_json(path)
    published = "instruction" in entry
    items = _field(path, entry, "instruction" if published else "pairs", list)
    more, less = ("pos", "neg") if published else ("positive", "negative")
    pairs = tuple((_field(path, item, more, str), _field(path, item, less, str)) for item in items)
    if not pairs:
        raise LibraryError(f"{path}: there are no pairs of prompts")
    return Trait(str(entry.get("name", path.stem)), pairs, str(entry.get("description", "")), str(entry.get("shows", "")))


def _read_question(path: Path, number: int, line: str) -> Question:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise LibraryError(f"{path}, line {number} is not JSON: {error}") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str) or not entry["question"].strip():
        raise LibraryError(f"{path}, line {number} has no 'question'")
    return Question(entry.get("id", number - 1), entry["question"], tuple(map(str, entry.get("tags", ()))))


def _read_json(path: Path) -> dict:
    try:
        entry = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path} is not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise LibraryError(f"{path} must hold one JSON object")
    return entry


def _field(path: Path, entry: Any, name: str, kind: type) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise LibraryError(f"{path}: the field {name!r} is missing")
    if not isinstance(entry[name], kind):
        raise LibraryError(f"{path}: the field {name!r} must be a {kind.__name__}, not a {type(entry[name]).__name__}")
    return entry[name]


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): a text may hold other line ends (U+2028), which are no ends of JSON lines.
        return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise LibraryError(f"{path} is not UTF-8 text: {error}") from error


def _refuse_duplicates(names: list[str], where: Path, what: str = "name") -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LibraryError(f"{where}: the {what} {twice[0]!r} occurs more than once")


def _draw(items: list, n: int | None, seed: int, what: str, where: Path) -> list:
    """`n` items in file order, evenly over their first tag, the same for the same seed."""
    if n is None or n >= len(items):
        return items
    if n < 1:
        raise LibraryError(f"{n} {what} asked for; at least 1 is needed")
    rng = random.Random(f"{what} {seed}")
    groups: dict[str, list] = {}
    for item in items:
        groups.setdefault(next(iter(getattr(item, "tags", ())), ""), []).append(item)
    for group in groups.values():
        rng.shuffle(group)
    order = list(groups.values())
    rng.shuffle(order)
    drawn = [group[i] for i in range(max(map(len, order))) for group in order if i < len(group)][:n]
    return [item for item in items if any(item is d for d in drawn)]
