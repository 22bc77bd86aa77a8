"""A Griffe extension: the roles of reStructuredText in docstrings become links or code, and its ``::`` a colon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):`~?([\w.]+)`")
LITERAL = re.compile(r"::(?=\n\s*\n)")
SIGN = re.compile(r"^(\s*)(\+(?= )|-(?= (?:=|end)))", re.MULTILINE)
"""A line that begins with a sign, as in "+ moves towards the Assistant", which Markdown would take for a list."""
REFERENCE = Path(__file__).parents[1] / "reference"
PLACES = {
    place.split(".")[-1]: place
    for page in sorted(REFERENCE.glob("*.md")) if page.stem != "plots"
    for place in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}  # fmt: skip
"""Public name -> where the reference has it."""


def plain(text: str) -> str:
    """A docstring as Markdown reads it."""
    return SIGN.sub(r"\1\\\2", LITERAL.sub(":", ROLE.sub(_link, text)))


def _link(match: re.Match[str]) -> str:
    """A public name is a link to its place in the reference; anything else is code."""
    name = match[1].removeprefix("workbench.")
    place = PLACES.get(name.split(".")[0])
    return f"[`{name}`][{place}]" if place else f"`{match[1]}`"


class Plain(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every object that is read."""
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
