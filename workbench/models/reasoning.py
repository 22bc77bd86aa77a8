"""Reasoning that a model writes before its answer: never part of a response."""

from __future__ import annotations

_CLOSERS = ("</think>", "<|channel|>final<|message|>")
_OPENERS = ("<think>", "<|channel|>analysis<|message|>")


def split_reasoning(text: str) -> tuple[str, str]:
    r"""Split a text into (reasoning with its closing mark, answer); the reasoning is empty where there is none.

    White space after the closing mark counts with the reasoning: the answer is what remains.

    >>> split_reasoning("<think>hm</think>\n\nyes")
    ('<think>hm</think>\n\n', 'yes')
    """
    for closer in _CLOSERS:
        before, found, after = text.rpartition(closer)
        if found:
            answer = after.lstrip()
            return before + found + after[: len(after) - len(answer)], answer
    return "", text


def is_unfinished(text: str) -> bool:
    """Whether a text was cut off while still reasoning."""
    return any(opener in text for opener in _OPENERS) and not any(closer in text for closer in _CLOSERS)
