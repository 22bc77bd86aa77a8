"""Chat templates: render once, and know where every message lies.

A span is proven, never searched for: the conversation is rendered a second time with a marker in the place of
each message, which gives the template's own text between the messages; the real rendering must then be exactly
that text with the messages in it. Whatever does not fit is an error that shows the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..conversations import Conversation, Turn
from ..errors import ChatError
from .reasoning import split_reasoning

TEMPLATE_SETTINGS = {"enable_thinking": False, "date_string": "26 Jul 2024", "reasoning_effort": "low"}
"""Given to every template: no thinking, and no clock (some templates print today's date)."""


@dataclass(frozen=True)
class Span:
    """Where one message lies in a rendered conversation.

    Attributes
    ----------
    message
        Index among the conversation's turns.
    speaker
        Who said it.
    chars, tokens
        Half-open ranges [start, end) in the text and in the token ids; thinking is left out.
    """

    message: int
    speaker: str
    chars: tuple[int, int]
    tokens: tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """A conversation as the model reads it: text, token ids, and the span of every message."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]

    def span(self, message: int) -> Span:
        """The span of a turn, by index (negative from the end)."""
        return self.spans[message]


class ChatFormat:
    """Renders conversations in a model's own chat template.

    Parameters
    ----------
    tokenizer
        A fast tokenizer (offsets are needed).
    template
        Jinja text that replaces the tokenizer's own template; needed for base models.
    model_name
        Fills ``{model_name}`` in prompts.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, model_name: str = "") -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ChatError(
                f"the tokenizer of {model_name or 'this model'} gives no character offsets (it is not a fast one), so no span can be proven"
            )
        self.tokenizer = tokenizer
        self.model_name = model_name
        self.template = template or tokenizer.chat_template
        if not self.template:
            raise ChatError(
                f"{model_name or 'this model'} has no chat template: give one with --chat-template FILE (chat_template= in Python)"
            )

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the template."""
        return hashlib.sha256(str(self.template).encode()).hexdigest()[:12]

    @cached_property
    def system_handling(self) -> str:
        """``"native"`` where the template renders a system message, ``"folded"`` where we put it into the user's turn."""
        probe = [{"role": "system", "content": "zqsystemqz"}, {"role": "user", "content": "zquserqz"}]
        try:
            return "native" if self._apply(probe).count("zqsystemqz") == 1 else "folded"
        except ChatError:
            return "folded"

    @cached_property
    def end_of_turn(self) -> int | None:
        """The special token that the template puts after an assistant's message; None where it puts none."""
        rendered = self.render(Conversation.of([("user", "a"), ("assistant", "b")]))
        after = rendered.ids[rendered.span(-1).tokens[1] :]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.get_added_vocab().values())
        return after[0] if after and after[0] in special else None

    def render(self, conversation: Conversation, reply: bool = False) -> Rendered:
        """Render a conversation and prove the span of each of its messages.

        Parameters
        ----------
        reply
            Append what comes before the assistant's next answer.

        Raises
        ------
        ChatError
            Where the template refuses the conversation, drops, repeats or rewrites a message, where a message
            contains one of the model's special tokens, or where a token reaches across a message's end.
        """
        turns = conversation.turns
        self._refuse_special_tokens(turns)
        contents = [self._filled(turn) for turn in turns]
        parts = [split_reasoning(c) if t.speaker == "assistant" else ("", c) for t, c in zip(turns, contents, strict=True)]
        thoughts, answers = [thought for thought, _ in parts], [answer for _, answer in parts]
        text = self._apply(self._messages(turns, contents), reply)
        marks = [_mark(i, text) for i in range(len(turns))]
        marked = [thought + mark for thought, mark in zip(thoughts, marks, strict=True)]
        between = _split_at_marks(self._apply(self._messages(turns, marked), reply), marks, turns)
        chars = _locate(text, between, answers, turns)
        ids, tokens = self._tokens(text, chars)
        spans = [Span(i, turn.speaker, chars[i], tokens[i]) for i, turn in enumerate(turns)]
        return Rendered(text, tuple(ids), tuple(spans))

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """Token ids up to the point where the assistant's next answer begins."""
        return list(self.render(conversation, reply=True).ids)

    # -- parts --------------------------------------------------------------------------------------
    def _filled(self, turn: Turn) -> str:
        return turn.text.replace("{model_name}", self.model_name) if turn.speaker == "system" else turn.text

    def _messages(self, turns: Sequence[Turn], contents: Sequence[str]) -> list[dict[str, str]]:
        messages = [{"role": turn.speaker, "content": content} for turn, content in zip(turns, contents, strict=True)]
        if messages and messages[0]["role"] == "system" and self.system_handling == "folded":
            if len(messages) < 2 or messages[1]["role"] != "user":
                raise ChatError("this template has no system role, and there is no user message that could carry the system prompt")
            system = messages.pop(0)["content"]
            messages[0] = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
        return messages

    def _apply(self, messages: list[dict[str, str]], reply: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                messages, chat_template=self.template, tokenize=False, add_generation_prompt=reply, **TEMPLATE_SETTINGS
            )
        except TemplateError as error:
            raise ChatError(f"the chat template of {self.model_name or 'this model'} refuses this conversation: {error}") from error

    def _refuse_special_tokens(self, turns: Sequence[Turn]) -> None:
        for i, turn in enumerate(turns):
            found = [token for token in self._special_strings if token in turn.text]
            if found:
                raise ChatError(
                    f"message {i} ({turn.speaker}) contains the special token {found[0]!r}, which the model would not read as text"
                )

    @cached_property
    def _special_strings(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted({str(token) for token in added if token.special} | set(self.tokenizer.all_special_tokens))

    def _tokens(self, text: str, chars: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return list(encoded["input_ids"]), [token_range(text, offsets, span) for span in chars]


def token_range(text: str, offsets: Sequence[tuple[int, int]], chars: tuple[int, int]) -> tuple[int, int]:
    """The tokens that lie in a character range; white space at the ends may belong to the outside.

    Raises
    ------
    ChatError
        Where a token holds letters of both sides.
    """
    begin, end = chars
    inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > begin]
    if not inside:
        first = next((i for i, (a, _) in enumerate(offsets) if a >= begin), len(offsets))
        return first, first
    first, last = offsets[inside[0]], offsets[inside[-1]]
    if text[first[0] : begin].strip() or text[end : max(end, last[1])].strip():
        raise ChatError(
            f"a token reaches across the end of a message, in {_around(text, begin if text[first[0] : begin].strip() else end)}"
        )
    return inside[0], inside[-1] + 1


def _mark(index: int, text: str) -> str:
    mark = f"zq{index}mark{index}qz"
    while mark in text:
        mark = f"zq{mark}qz"
    return mark


def _split_at_marks(scaffold: str, marks: list[str], turns: Sequence[Turn]) -> list[str]:
    between, rest = [], scaffold
    for i, mark in enumerate(marks):
        if scaffold.count(mark) != 1 or mark not in rest:
            did = "leaves out" if mark not in scaffold else "repeats or reorders"
            raise ChatError(f"the chat template {did} message {i} ({turns[i].speaker}); it renders {_around(scaffold, 0, 400)}")
        before, rest = rest.split(mark, 1)
        between.append(before)
    return [*between, rest]


def _locate(text: str, between: list[str], answers: Sequence[str], turns: Sequence[Turn]) -> list[tuple[int, int]]:
    """Walk the rendered text: scaffold, message, scaffold, ...; a message may have been trimmed, nothing else."""
    spans: list[tuple[int, int]] = []

    def walk(index: int, position: int) -> bool:
        if not text.startswith(between[index], position):
            return False
        position += len(between[index])
        if index == len(answers):
            return position == len(text)
        content = answers[index]
        for candidate in dict.fromkeys((content, content.strip(), content.rstrip(), content.lstrip())):
            if text.startswith(candidate, position):
                spans.append((position, position + len(candidate)))
                if walk(index + 1, position + len(candidate)):
                    return True
                spans.pop()
        reached[0] = max(reached[0], position)
        return False

    reached = [0]
    if not walk(0, 0):
        bad = next((i for i, answer in enumerate(answers) if answer.strip() not in text), len(turns) - 1)
        raise ChatError(
            f"the chat template rewrites message {bad} ({turns[bad].speaker}), so its place cannot be proven, "
            f"in {_around(text, reached[0])}"
        )
    return spans


def _around(text: str, position: int, width: int = 60) -> str:
    return repr(text[max(0, position - width) : position + width])
