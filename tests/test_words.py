"""Layer -1: the bag of input embeddings, against the model's own table, and what it must not depend on."""

import json

import pandas as pd
import pytest
import torch

from workbench.errors import ModelError
from workbench.models.words import bag_of_embeddings, mean_embeddings


@pytest.fixture
def rollouts() -> pd.DataFrame:
    def row(name: str, role: str, system: str, answer: str) -> dict:
        messages = [["system", system]] * bool(system) + [["user", "who are you?"]]
        return {"row": name, "role": role, "messages": json.dumps(messages), "response": answer, "error": ""}

    return pd.DataFrame(
        [row("a", "default", "", "i am the assistant"), row("b", "ghost", "you are the ghost.", "i am the ghost of the hall")]
    )


def test_it_is_the_mean_of_the_answers_embeddings(organism, rollouts):
    acts = bag_of_embeddings(organism, rollouts)
    table = organism.hf.get_input_embeddings().weight
    for i, answer in enumerate(rollouts["response"]):
        ids = organism.tokenizer(answer, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(acts.values[i, 0], table[ids].mean(0).detach())
    assert acts.site.hook == "embed"
    assert acts.site.layers == (-1,)
    assert list(acts.rows["row"]) == ["a", "b"]
    assert "messages" not in acts.rows


def test_the_prompt_plays_no_part(organism, rollouts):
    swapped = rollouts.assign(messages=list(reversed(rollouts["messages"])))
    torch.testing.assert_close(bag_of_embeddings(organism, swapped).values, bag_of_embeddings(organism, rollouts).values)


def test_rows_with_an_error_are_left_out(organism, rollouts):
    assert len(bag_of_embeddings(organism, rollouts.assign(error=["", "cut off"]))) == 1


def test_it_is_what_block_0_reads(organism, rollouts):
    """Llama adds nothing to its embeddings: the mean over the answer's positions before block 0 is the same."""
    from workbench.models.extraction import readings_of

    for reading, mean in zip(readings := readings_of(organism, rollouts), mean_embeddings(organism, readings), strict=True):
        cache = organism.run_with_cache(torch.tensor([reading.ids]), [organism.resid_pre(0)])
        torch.testing.assert_close(cache[organism.resid_pre(0)][0, reading.start : reading.end].mean(0), mean)


def test_hidden_embeddings_are_said_to_be(organism, rollouts, monkeypatch):
    monkeypatch.setattr(organism, "hf", None)
    with pytest.raises(ModelError, match="there is no layer -1"):
        mean_embeddings(organism, [])
