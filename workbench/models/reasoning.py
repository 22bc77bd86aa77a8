"""Reasoning that a model writes before its answer: never part of a response."""

from __future__ import annotations

CLOSERS = ("</think>", "<|channel|>final<|message|>")
OPENERS = ("<think>", "<|channel|>analysis<|message|>")


def split_reasoning(text: str) -> tuple[str, str]:
    r"""Split a text into (reasoning with its closing mark, answer); the reasoning is empty where there is none.

    The mark that comes last ends the reasoning; white space after it counts with it.

    >>> split_reasoning("<think>hm</think>\n\nyes")
    ('<think>hm</think>\n\n', 'yes')
    """
    end = _end_of_last(text, CLOSERS)
    answer = text[end:].lstrip() if end else text
    return text[: len(text) - len(answer)], answer


def is_unfinished(text: str) -> bool:
    """Whether a text was cut off while still reasoning."""
    return _end_of_last(text, OPENERS) > _end_of_last(text, CLOSERS)


def _end_of_last(text: str, marks: tuple[str, ...]) -> int:
    """Where the last of the marks ends; 0 where there is none."""
    return max(text.rfind(mark) + len(mark) if mark in text else 0 for mark in marks)
