"""What a message says as a vector: the model's own embeddings, weighted words, sentence models that may not be there."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.drift.embeddings import SENTENCE_MODEL, WIDTH, embed
from workbench.errors import DataError

TEXTS = ["Who are you?", "Tell me of the graves.", "Who are you?", "Thanks. And now?"]


def test_input_embeddings_are_the_mean_of_the_models_own_rows(organism):
    rows = organism.hf.get_input_embeddings().weight.detach().double().numpy()
    found = embed(TEXTS, "input", organism)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = organism.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) > 1
        assert np.allclose(vector, rows[ids].mean(0), atol=1e-6)


def test_what_a_tokenizer_puts_before_every_text_is_no_part_of_a_message():
    words = torch.nn.Embedding(9, 4)
    model = SimpleNamespace(
        name="toy", d_model=4, hf=SimpleNamespace(get_input_embeddings=lambda: words),
        tokenizer=lambda text, add_special_tokens=True: {"input_ids": [0] * add_special_tokens + [len(word) for word in text.split()]},
    )  # fmt: skip
    found = embed(["a bcd", "ef"], "input", model)
    assert np.allclose(found, np.stack([words.weight[[1, 3]].mean(0).detach(), words.weight[2].detach()]), atol=1e-6)


@pytest.mark.parametrize("how", ["input", "tfidf"])
def test_the_same_text_has_the_same_vector_and_order_is_kept(organism, how):
    found = embed(TEXTS, how, organism)
    assert len(found) == 4
    assert np.allclose(found[0], found[2], atol=1e-12)
    assert not np.allclose(found[0], found[1])
    back = embed(TEXTS[::-1], how, organism)
    assert np.allclose(found @ found.T, (back @ back.T)[::-1, ::-1], atol=1e-8)
    assert how == "tfidf" or np.array_equal(found, back[::-1])


@pytest.mark.parametrize(
    ("texts", "width"), [(["one two"], 3), (["one", "two"], 2), (["a b", "b c", "c d"], 2), (["a b", "c d", "e f"] * 9, 8)]
)
def test_weighted_words_of_few_texts(texts, width):
    assert embed(texts, "tfidf").shape == (len(texts), width)


def test_weighted_words_are_brought_down_to_a_width_that_keeps_texts_apart():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"{topic}{i}" for i in rng.integers(60, size=12)) for topic in ("sea", "code") for _ in range(150)]
    found = embed(texts, "tfidf")
    assert found.shape == (300, WIDTH)
    near = found @ found.T
    assert near[:150, :150].mean() > 5 * abs(near[:150, 150:]).mean()


@pytest.mark.parametrize("how", ["input", "tfidf", "sentence"])
@pytest.mark.parametrize("empty", ["", " \n\t"])
def test_an_empty_message_is_named(how, empty):
    with pytest.raises(DataError, match="message 2 is empty"):
        embed(["a", "b", empty, ""], how)


def test_input_embeddings_need_a_model():
    with pytest.raises(DataError, match="need the model"):
        embed(TEXTS)


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(DataError, match=r"pip install 'persona-workbench\[embeddings\]'"):
        embed(TEXTS, "sentence")


class Sentences:
    """Stands in for a sentence model."""

    asked: list = []  # noqa: RUF012

    def __init__(self, name: str) -> None:
        self.asked.append(name)

    def encode(self, texts: list[str], **settings) -> np.ndarray:
        self.asked.append((texts, settings))
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_sentence_models_are_asked_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Sentences))
    monkeypatch.setattr(Sentences, "asked", [])
    found = embed(tuple(TEXTS), "sentence")
    assert found[:, 0].tolist() == [len(text) for text in TEXTS]
    assert found.dtype == float
    embed(TEXTS[:1], "some/model")
    settings = {"normalize_embeddings": True, "show_progress_bar": False}
    assert Sentences.asked == [SENTENCE_MODEL, (TEXTS, settings), "some/model", (TEXTS[:1], settings)]


@pytest.mark.parametrize(("error", "said"), [(OSError("not there\nat all"), "not there$"), (ValueError(), r"ValueError\(\)$")])
def test_a_sentence_model_that_cannot_be_loaded_is_named(monkeypatch, error, said):
    def fail(name: str) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=fail))
    with pytest.raises(DataError, match=f"the sentence model 'no/such' cannot be loaded: {said}"):
        embed(TEXTS, "no/such")


def test_messages_without_words_and_messages_all_alike():
    with pytest.raises(DataError, match="none of these messages has a word in it"):
        embed(["...", "!?", "--"], "tfidf")
    alike = embed(["the same words"] * 4, "tfidf")
    assert np.allclose(alike, alike[0])
