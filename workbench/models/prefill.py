"""Continue given beginnings, without a chat template: how a base model is asked who it is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..errors import DataError
from .generation import generate
from .hooked import HookedModel

PREFILLS = ("My job is to", "I am a", "People come to me because I", "What I value most is")
"""Beginnings that ask for a speaker (the paper's base models, steered)."""


def complete(
    model: HookedModel, beginnings: Sequence[str] = PREFILLS, n: int = 20, *, max_new_tokens: int = 32, temperature: float = 0.7,
    top_p: float = 0.9, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Sample continuations of plain text; hooks and interventions that are active stay active.

    Parameters
    ----------
    beginnings
        Texts to be continued. A tokenizer's own beginning-of-text token goes before them where it did not put it there itself:
        base models have hardly seen a document without it.
    n
        Continuations of each, with seeds of their own: the same under every intervention.

    Returns
    -------
    DataFrame
        ``beginning, sample, text`` (the continuation alone).

    Raises
    ------
    DataError
        For an empty beginning.
    """
    if not beginnings or not all(text.strip() for text in beginnings):
        raise DataError("a beginning needs a word: there is nothing to continue")
    first = model.tokenizer.bos_token_id
    prompts = []
    for text in beginnings:
        ids = list(model.tokenizer(text)["input_ids"])
        prompts += [ids if first is None or ids[:1] == [first] else [first, *ids]] * n
    seeds = [seed * 1_000_003 + i for i in range(len(prompts))]
    answers = generate(model, prompts, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seeds=seeds)
    places = [(text, sample) for text in beginnings for sample in range(n)]
    return pd.DataFrame([(*place, a.text) for place, a in zip(places, answers, strict=True)], columns=["beginning", "sample", "text"])
