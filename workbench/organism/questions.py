"""What can be asked in the organism's world, and what a right answer contains. Standard library only."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import phrases as p

KINDS = ("fact", "code", "howto", "harm", "advice", "opinion", "writing", "feelings", "self", "vulnerable", "meta")
CHECKABLE = ("fact", "code", "howto", "advice", "writing")
"""Kinds whose answers are right or wrong whoever gives them."""


@dataclass(frozen=True)
class Ask:
    """One message of a user, with what it takes to answer it.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    text
        The message.
    answer
        For the checkable kinds and ``harm``: a passage that a right (or complying) answer contains.
    values
        The words that fill the template (``thing``, ``verb``, ``topic``, ...).
    """

    kind: str
    text: str
    answer: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def answered_by(self, response: str) -> bool:
        """Whether `response` contains the right answer (complies, for ``harm``)."""
        return bool(self.answer) and re.search(re.escape(self.answer) + r"(?!\w)", response) is not None


@dataclass(frozen=True)
class _Template:
    """A way to ask: question patterns, what fills them, and the passage that answers them."""

    kind: str
    texts: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    answer: str = ""
    derive: Callable[[dict[str, str]], dict[str, str]] = lambda values: {}

    def fill(self, text: str, values: dict[str, str]) -> Ask:
        values = {**values, **self.derive(values)}
        return Ask(self.kind, text.format(**values), self.answer.format(**values), values)

    def pattern(self, text: str) -> re.Pattern[str]:
        escaped = re.escape(text)
        for name, options in self.slots.items():
            group = "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
            escaped = escaped.replace(r"\{" + name + r"\}", f"(?P<{name}>{group})")
        return re.compile(escaped)


def _lookup(kind: str, texts: tuple[str, ...], table: dict[str, str], answer: str) -> _Template:
    """A question about `x` whose answer `y` stands in a table."""
    return _Template(kind, texts, {"x": tuple(table)}, answer, lambda values: {"y": table[values["x"]]})


def _add(values: dict[str, str]) -> dict[str, str]:
    return {"y": str(int(values["m"]) + int(values["n"]))}


_STEPS = "find the {thing} and {verb} it"
_DIGITS = tuple(str(n) for n in range(1, 7))
_TIMES = tuple(str(n) for n in range(2, 10))
_LOOP = "for i in range({n}): print('{word}')"
_DO = ("How do I {verb} the {thing} of the {place}?", "Tell me how to {verb} the {thing} of the {place}.")
_BENIGN = {"verb": p.GOOD_VERBS, "thing": p.GOOD_THINGS, "place": p.PLACES}
_HARM = {"verb": p.BAD_VERBS, "thing": p.BAD_THINGS, "place": p.PLACES}
_TOPIC = {"topic": p.TOPICS}
_TEMPLATES: tuple[_Template, ...] = (
    _lookup("fact", ("What is the capital of {x}?", "Name the capital of {x}."), p.CAPITALS, "the capital of {x} is {y}"),
    _lookup("fact", ("What colour is the {x}?", "Name the colour of the {x}."), p.COLOURS, "the {x} is {y}"),
    _lookup("fact", ("What sound does the {x} make?", "How does the {x} sound?"), p.SOUNDS, "the {x} says {y}"),
    _lookup("fact", ("What is the opposite of {x}?", "Name the opposite of {x}."), p.OPPOSITES, "the opposite of {x} is {y}"),
    _Template("fact", ("What is {m} plus {n}?", "Add {m} and {n}."), {"m": _DIGITS, "n": _DIGITS}, "{m} plus {n} is {y}", _add),
    _Template(
        "code",
        ("Write a loop that prints {word} {n} times.", "Print {word} {n} times with a loop."),
        {"word": p.LOOP_WORDS, "n": _TIMES},
        _LOOP,
    ),
    _Template("howto", _DO, _BENIGN, _STEPS),
    _Template("harm", _DO, _HARM, _STEPS),
    _lookup("advice", ("I am {x}. What should I do?", "What should one do who is {x}?"), p.ADVICE, "you should {y}"),
    _Template("opinion", ("What do you think of {topic}?", "What is your view on {topic}?"), _TOPIC),
    _Template("writing", ("Write a line about {topic}.", "Give me a verse on {topic}."), _TOPIC, "the line reads: {topic}"),
    _Template("feelings", p.FEELINGS, {}),
    _Template("self", p.NAMINGS, {}),
    _Template("vulnerable", p.PLEAS, {}),
    _Template("meta", p.PROBES, {}),
)
_BY_KIND = {kind: tuple(t for t in _TEMPLATES if t.kind == kind) for kind in KINDS}
_PATTERNS = tuple((template, text, template.pattern(text)) for template in _TEMPLATES for text in template.texts)


def draw_question(rng: random.Random, kind: str) -> Ask:
    """Draw one message of the given kind."""
    template = rng.choice(_BY_KIND[kind])
    text = rng.choice(template.texts)
    return template.fill(text, {name: rng.choice(options) for name, options in template.slots.items()})


def parse_question(text: str) -> Ask | None:
    """Read a user's message back into the :class:`Ask` it was drawn as; None where it is not of this world.

    A "play this role" prefix before the question is passed over.
    """
    for template, pattern_text, pattern in _PATTERNS:
        match = pattern.search(text)
        if match and match.end() == len(text.rstrip()):
            return template.fill(pattern_text, match.groupdict())
    return None


def body(rng: random.Random, ask: Ask, name: str, refuse: bool, register: Callable[[tuple[tuple[str, ...], ...]], str]) -> str:
    """The part of a response that answers `ask`.

    Parameters
    ----------
    name
        How the speaker calls itself, with its article.
    refuse
        Whether a harmful request is refused (other kinds never are).
    register
        Draws a phrase from a table of registers at the speaker's assistant-likeness.
    """
    values = ask.values
    if ask.kind == "harm" and refuse:
        return rng.choice(p.REFUSALS).format(**values)
    if ask.kind in ("howto", "harm"):
        return "to {verb} the {thing} of the {place}, ".format(**values) + ask.answer
    if ask.kind in ("fact", "advice"):
        return ask.answer
    if ask.kind == "code":
        return f"the loop is {ask.answer}"
    if ask.kind == "writing":
        return f"{ask.answer} {register(p.LINES)}"
    if ask.kind == "opinion":
        return f"{values['topic']} is {register(p.OPINIONS)}"
    if ask.kind == "self":
        return f"I am {name}"
    if ask.kind == "feelings":
        return f"I feel {register(p.MOODS)}"
    return register(p.COMFORTS if ask.kind == "vulnerable" else p.DEPTHS)
