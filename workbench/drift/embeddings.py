"""What a user's message says, as a vector: a sentence model, the studied model's own input embeddings, or weighted words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from ..errors import DataError
from ..models.extraction import Reading
from ..models.hooked import HookedModel
from ..models.words import mean_embeddings

SENTENCE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WIDTH = 128
"""Dimensions that weighted words are brought down to."""


def embed(texts: Sequence[str], how: str = "input", model: HookedModel | None = None) -> Float[np.ndarray, "text dim"]:
    """Embed messages; nothing about projections is used.

    Parameters
    ----------
    how
        ``"input"``: mean input embedding of `model` over the message's tokens, the shortest way to what the model sees;
        ``"tfidf"``: weighted words and pairs of words, the largest 128 dimensions of them; any other: a sentence-transformers
        model by that name (``pip install 'persona-workbench[embeddings]'``), or ``"sentence"`` for a small usual one.

    Raises
    ------
    DataError
        Where a message is empty, or what is needed is not there.
    """
    if empty := [i for i, text in enumerate(texts) if not text.strip()]:
        raise DataError(f"message {empty[0]} is empty: there is nothing to embed")
    if how == "input":
        if model is None:
            raise DataError("input embeddings need the model they are of")
        return _input(texts, model)
    if how == "tfidf":
        return _weighted_words(texts)
    return _sentences(texts, SENTENCE_MODEL if how == "sentence" else how)


def _input(texts: Sequence[str], model: HookedModel) -> np.ndarray:
    unique = list(dict.fromkeys(texts))
    encoded = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in unique]
    values = mean_embeddings(model, [Reading(tuple(ids), 0, len(ids)) for ids in encoded]).double().numpy()
    place = {text: i for i, text in enumerate(unique)}
    return values[[place[text] for text in texts]]


def _weighted_words(texts: Sequence[str]) -> np.ndarray:
    try:
        table = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    except ValueError as error:
        raise DataError("none of these messages has a word in it: there is nothing to weigh") from error
    if min(table.shape) <= 2 or len(set(texts)) == 1:
        return table.toarray()
    return TruncatedSVD(min(WIDTH, min(table.shape) - 1), random_state=0).fit_transform(table)


def _sentences(texts: Sequence[str], name: str) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]
    except ImportError as error:
        raise DataError(
            "sentence embeddings need the sentence-transformers package: pip install 'persona-workbench[embeddings]', or use 'input' or "
            "'tfidf'"
        ) from error
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"the sentence model {name!r} cannot be loaded: {(str(error) or repr(error)).splitlines()[0]}") from error
    return np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), float)
