"""Where in a response's tokens a word stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .hooked import HookedModel


def positions_of(model: HookedModel, ids: Sequence[int], pattern: re.Pattern[str]) -> frozenset[int]:
    """Positions among `ids` whose text overlaps a match of `pattern`.

    A token is taken whole where a match touches any of its characters.
    """
    text = model.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    spans = [match.span() for match in pattern.finditer(text)]
    if not spans:
        return frozenset()
    ends = _ends(model, list(ids))
    starts = [0, *ends[:-1]]
    return frozenset(i for i, (a, b) in enumerate(zip(starts, ends, strict=True)) if any(a < end and start < b for start, end in spans))


def _ends(model: HookedModel, ids: list[int]) -> list[int]:
    """Where each token ends in the decoded text.

    The lengths of growing prefixes: several tokens may share a character, and some tokenizers join differently in context.
    """
    decode = model.tokenizer.decode
    lengths, whole = [], 0
    for i in range(1, len(ids) + 1):
        prefix = decode(ids[:i], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = max(whole, len(prefix.rstrip("\ufffd")))
        lengths.append(whole)
    return lengths
