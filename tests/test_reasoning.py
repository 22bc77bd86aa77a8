"""Where the thinking ends and the answer begins, on text that models write and on text that they should not."""

import random

import pytest

from workbench.models.reasoning import is_unfinished, split_reasoning

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"

SPLITS = {
    "nothing": ("", "", ""),
    "no thinking": ("yes", "", "yes"),
    "no thinking, white space is kept": (" \nyes\n", "", " \nyes\n"),
    "thinking": ("<think>hm</think>yes", "<think>hm</think>", "yes"),
    "line ends after it": ("<think>\nhm\n</think>\n\nyes\n", "<think>\nhm\n</think>\n\n", "yes\n"),
    "an empty block": ("<think>\n\n</think>\n\nyes", "<think>\n\n</think>\n\n", "yes"),
    "the prompt opened it": ("hm\n</think>\n\nyes", "hm\n</think>\n\n", "yes"),
    "text before it": ("Well. <think>hm</think> yes", "Well. <think>hm</think> ", "yes"),
    "the answer is in the thinking": ("<think>yes, I say yes</think>yes", "<think>yes, I say yes</think>", "yes"),
    "no answer": ("<think>hm</think>", "<think>hm</think>", ""),
    "only white space for an answer": ("<think>hm</think> \n\t", "<think>hm</think> \n\t", ""),
    "never closed": ("<think>hm, yes", "", "<think>hm, yes"),
    "two blocks": ("<think>a</think>b<think>c</think>d", "<think>a</think>b<think>c</think>", "d"),
    "closed twice": ("<think>a</think></think>b", "<think>a</think></think>", "b"),
    "other white space": ("<think>a</think>\u3000\u00a0\r\nyes", "<think>a</think>\u3000\u00a0\r\n", "yes"),
    "no such mark": ("</THINK>yes </ think>", "", "</THINK>yes </ think>"),
    "channels": (f"{ANALYSIS}hm{NEXT}{FINAL}yes", f"{ANALYSIS}hm{NEXT}{FINAL}", "yes"),
    "final channel only": (f"{FINAL}yes", FINAL, "yes"),
    "channels, without an answer": (f"{ANALYSIS}hm{NEXT}{FINAL}", f"{ANALYSIS}hm{NEXT}{FINAL}", ""),
    # The mark that comes last ends the thinking, whichever it is: else thinking would pass for the answer.
    "channels with the other mark in them": (f"{ANALYSIS}a </think> b{NEXT}{FINAL}yes", f"{ANALYSIS}a </think> b{NEXT}{FINAL}", "yes"),
    "thinking with the other mark in it": (f"<think>a {FINAL} b</think>yes", f"<think>a {FINAL} b</think>", "yes"),
}


@pytest.mark.parametrize(("text", "reasoning", "answer"), SPLITS.values(), ids=SPLITS)
def test_split(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


def test_nothing_is_lost_and_no_mark_is_left():
    pieces = ["<think>", "</think>", ANALYSIS, FINAL, NEXT, "yes", " ", "\n", "\u4f60", "<", "think>", "</"]
    rng = random.Random(3)
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 8)))
        reasoning, answer = split_reasoning(text)
        assert reasoning + answer == text
        assert "</think>" not in answer, text
        assert FINAL not in answer, text
        assert not reasoning or answer == answer.lstrip(), text
        assert split_reasoning(answer) == ("", answer), text


UNFINISHED = {
    "just opened": "<think>",
    "cut off": "<think>hm, let me",
    "cut off in the closing mark": "<think>hm</thi",
    "after white space": "\n<think>hm",
    "analysis": f"{ANALYSIS}hm",
    "analysis, no final channel": f"{ANALYSIS}hm{NEXT}<|channel|>",
    # The first block was closed, the second was not: what comes after the first is no answer yet.
    "second block": "<think>a</think>b<think>c",
    "second analysis": f"{ANALYSIS}a{NEXT}{FINAL}b{NEXT}{ANALYSIS}c",
}
FINISHED = {
    "nothing": "",
    "no thinking": "yes",
    "thinking": "<think>hm</think>yes",
    "no answer after it": "<think>hm</think>",
    "empty block": "<think>\n\n</think>\n\nyes",
    "two blocks": "<think>a</think>b<think>c</think>d",
    "the prompt opened it": "hm</think>yes",
    "channels": f"{ANALYSIS}hm{NEXT}{FINAL}yes",
    "final channel only": f"{FINAL}yes",
    "a word that is no mark": "I think> and <thinking> so",
}


@pytest.mark.parametrize("text", UNFINISHED.values(), ids=UNFINISHED)
def test_unfinished(text):
    assert is_unfinished(text) is True


@pytest.mark.parametrize("text", FINISHED.values(), ids=FINISHED)
def test_finished(text):
    assert is_unfinished(text) is False


@pytest.mark.parametrize("text", [text for text in UNFINISHED.values() if "</think>" not in text and FINAL not in text])
def test_what_was_cut_off_is_not_taken_apart(text):
    assert split_reasoning(text) == ("", text)
