"""The command line as a page: read from the commands themselves, so that it cannot be out of date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.main import get_command

from workbench.cli.commands import app

GROUPS = {
    "One study": ("study", "rollouts", "judge", "extract", "axis", "sweep", "report"),
    "Before a study": ("doctor", "plan"),
    "What the axis is made of": ("origins", "checkpoints", "methods"),
    "Caps and steering": ("calibrate", "evaluate"),
    "Conversations": ("drift",),
    "Talk to a model": ("app", "chat"),
    "Figures": ("figures",),
    "Traits, judges, several models": ("traits", "label", "compare"),
    "Files of others": ("import", "export"),
    "The embedded model": ("organism train", "organism check", "organism worlds"),
}
"""Commands by theme; what is in none of these comes last."""


WORDS = {"int": "number", "integer": "number", "float": "number", "str": "text", "path": "path", "list": "text", "bool": ""}


def commands() -> dict[str, Any]:
    """Every command by its full name (those of typer, which keeps its own copy of click's classes)."""
    found: dict[str, Any] = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {name: command} if below is None else {f"{name} {sub}": c for sub, c in below.items()}
    return found


def commands_markdown() -> str:
    """A heading a command, its arguments and its options in a table."""
    known = commands()
    groups = {theme: [n for n in names if n in known] for theme, names in GROUPS.items()}
    rest = [n for n in known if n not in {name for names in groups.values() for name in names}]
    parts = []
    for theme, names in (groups | ({"Others": rest} if rest else {})).items():
        parts += [f"## {theme}", *(_command(name, known[name]) for name in names)]
    return "\n\n".join(parts)


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-") and p.name != "help"]
    usage = " ".join(["workbench", name, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{_placeholder(p)}`", p.help or "", _default(p)) for p in arguments]
    rows += [(", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)) + _value(p), p.help or "", _default(p)) for p in options]
    width = 3 if any(row[2] for row in rows) else 2  # a column of defaults only where there are any
    table = ["| | | default |" if width == 3 else "| | |", "|---" * width + "|"]
    table += [f"| {' | '.join(map(_cell, row[:width]))} |" for row in rows]
    parts = [f"### workbench {name}", " ".join((command.help or "").split()), f"```text\n{usage}\n```"]
    return "\n\n".join([*parts, "\n".join(table)] if rows else parts)


def _placeholder(argument: Any) -> str:
    word = (argument.metavar or argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _value(option: Any) -> str:
    """What follows an option, as a word; nothing after a switch."""
    if option.is_flag:
        return ""
    kind = getattr(option, "type", None)
    name = kind.name if kind is not None else option.type_descriptor.annotation.__name__
    return f" *{WORDS.get(name.lower(), 'text')}*" + (", several times" if option.multiple else "")


def _default(param: Any) -> str:
    value = param.default
    if param.required or not isinstance(value, (str, int, float, Path)) or value is False:
        return ""
    return "yes" if value is True else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
