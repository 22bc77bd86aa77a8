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

TEMPLATE_SETTINGS: dict[str, object] = {"enable_thinking": False, "date_string": "26 Jul 2024", "reasoning_effort": "low"}
"""Given to every template: no thinking (unless asked for), and always the same day."""

_ALWAYS_THE_SAME_DAY = "{% macro strftime_now(form) %}{% if '%b' in form %}26 Jul 2024{% else %}2024-07-26{% endif %}{% endmacro %}{{ '' }}"
"""Put before a template that asks for the time: the same conversation must be the same text tomorrow."""


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
    thinking
        Ask the template to let the model think before it answers; where templates know no such switch, nothing changes.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, model_name: str = "", thinking: bool = False) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ChatError(
                f"the tokenizer of {model_name or 'this model'} gives no character offsets (it is not a fast one), so no span can be proven"
            )
        self.tokenizer = tokenizer
        self.model_name, self.thinking = model_name, thinking
        named = tokenizer.chat_template
        self.template: str | None = template or (named.get("default") if isinstance(named, dict) else named)
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
        first = next((token for token in after if self.tokenizer.decode([token]).strip()), None)
        return first if first in special else None

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
        if not turns:
            raise ChatError("a conversation without messages cannot be rendered")
        self._refuse_what_is_no_text(turns)
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

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """The conversation as ``role`` and ``content``, names filled in; a system prompt that the template cannot express is folded."""
        return self._messages(conversation.turns, [self._filled(turn) for turn in conversation.turns])

    @property
    def settings(self) -> dict[str, object]:
        """What every template is given: thinking or not, and always the same day."""
        return TEMPLATE_SETTINGS | {"enable_thinking": self.thinking}

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

    @cached_property
    def _source(self) -> str:
        template = self.template or ""
        return _ALWAYS_THE_SAME_DAY + template if "strftime_now" in template else template

    def _apply(self, messages: list[dict[str, str]], reply: bool = False) -> str:
        from jinja2 import TemplateError

        # A template is a program: its own mistakes surface as whatever Python raises.
        try:
            return self.tokenizer.apply_chat_template(
                messages, chat_template=self._source, tokenize=False, add_generation_prompt=reply, **self.settings
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise ChatError(f"the chat template of {self.model_name or 'this model'} refuses this conversation: {error}") from error

    def _refuse_what_is_no_text(self, turns: Sequence[Turn]) -> None:
        for i, turn in enumerate(turns):
            if any("\ud800" <= character <= "\udfff" for character in turn.text):
                raise ChatError(f"message {i} ({turn.speaker}) holds half a character (a lone surrogate), which is no text")
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
        ranges = []
        for i, span in enumerate(chars):
            try:
                ranges.append(token_range(text, offsets, span))
            except ChatError as error:
                raise ChatError(f"message {i}: {error}") from error
        return list(encoded["input_ids"]), ranges


def token_range(text: str, offsets: Sequence[tuple[int, int]], chars: tuple[int, int]) -> tuple[int, int]:
    """The tokens that lie in a character range; white space at the ends may belong to either side.

    Raises
    ------
    ChatError
        Where a token holds letters of both sides.
    """
    begin, end = chars
    inside = []
    for i, (a, b) in enumerate(offsets):
        if not (a < end and b > begin and begin < end):
            continue
        within = text[max(a, begin) : min(b, end)].strip()
        without = (text[a:begin] + text[end:b]).strip()
        if within and without:
            raise ChatError(f"a token reaches across the end of a message, in {_around(text, begin if a < begin else end)}")
        if not without:  # else a special token of the template that took the white space along
            inside.append(i)
    if not inside:
        first = next((i for i, (a, _) in enumerate(offsets) if a >= begin), len(offsets))
        return first, first
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
    position = len(between[0]) if text.startswith(between[0]) else -1
    for i, content in enumerate(answers):
        # The longest first: white space that can belong to the message does.
        trimmed = sorted({content, content.strip(), content.rstrip(), content.lstrip()}, key=len, reverse=True)
        found = next((c for c in trimmed if position >= 0 and text.startswith(c + between[i + 1], position)), None)
        if found is None:
            raise ChatError(
                f"the chat template rewrites message {i} ({turns[i].speaker}), so its place cannot be proven, "
                f"in {_around(text, max(0, position))}"
            )
        spans.append((position, position + len(found)))
        position += len(found) + len(between[i + 1])
    if position != len(text):
        raise ChatError(f"the chat template writes more than its messages, in {_around(text, position)}")
    return spans


def _around(text: str, position: int, width: int = 60) -> str:
    return repr(text[max(0, position - width) : position + width])
