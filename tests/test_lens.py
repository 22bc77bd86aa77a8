"""The words of a direction, and where a prompt acts."""

import pytest
import torch
from conftest import make_site
from test_attribution import shaken, some_direction

from workbench.directions import Direction
from workbench.errors import DataError, ModelError
from workbench.models.lens import logit_lens
from workbench.models.patching import patching

GHOST = [("system", "You are the ghost."), ("user", "Who are you?"), ("assistant", "I am the ghost.")]
NOBODY = [("user", "Who are you?"), ("assistant", "I am the ghost.")]


# -- lens ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt_neox", "gpt2"])
def test_a_tokens_own_direction_raises_that_token(family):
    """The direction that the final norm turns into a token's unembedding."""
    model = shaken(family, full=False)
    unembed = model.hf.get_output_embeddings().weight.detach()
    norms = [c for c in model.hf.base_model.children() if "norm" in type(c).__name__.lower()]
    weight = norms[-1].weight.detach() + (1 if family == "gemma2" else 0)
    token = 200
    towards = unembed[token] / weight
    direction = Direction(towards[None].repeat(model.n_layers, 1), model.bare_site(), "a token", "it")
    table = logit_lens(model, direction, 1, n=5)
    top = table[table["end"] == "+"]
    assert token in top["id"].tolist()
    if family not in ("gpt_neox", "gpt2"):  # a LayerNorm also takes the mean off
        assert top.iloc[0]["id"] == token
    assert top["logit"].is_monotonic_decreasing
    assert table[table["end"] == "-"]["logit"].is_monotonic_increasing


def test_the_reversed_direction_reads_the_other_way_round_and_length_plays_no_part(organism):
    direction = some_direction(organism)
    there, back, long = (logit_lens(organism, d, 3, n=6) for d in (direction, -direction, 50 * direction))
    assert there[there["end"] == "+"]["id"].tolist() == back[back["end"] == "-"]["id"].tolist()
    assert there["id"].tolist() == long["id"].tolist()
    assert there["logit"].to_numpy() == pytest.approx(long["logit"].to_numpy(), rel=1e-4)


def test_a_model_without_a_known_norm_is_named(organism, monkeypatch):
    direction = some_direction(organism)
    monkeypatch.setattr(type(organism.hf.base_model), "children", lambda self: iter(()))
    with pytest.raises(ModelError, match="final norm of organism cannot be reached"):
        logit_lens(organism, direction, 1)


# -- patching -----------------------------------------------------------------------------------------
def test_at_the_layer_that_is_read_the_answers_tokens_share_the_whole_way(organism):
    direction = some_direction(organism)
    table = patching(organism, GHOST, NOBODY, direction, 2, layers=[2])
    assert table.loc[table["inside"], "restored"].sum() == pytest.approx(1, abs=1e-4)
    assert table.loc[~table["inside"], "restored"].abs().max() < 1e-5
    assert "".join(table.loc[table["inside"], "text"]) == "I am the ghost."


def test_one_patch_by_hand(organism):
    direction = some_direction(organism)
    table = patching(organism, GHOST, NOBODY, direction, 3)
    own, other = organism.render(GHOST), organism.render(NOBODY)
    row = table[table["layer"] == 1].iloc[4]
    offset = len(other.ids) - len(own.ids)
    name = organism.resid_post(1)
    given = organism.run_with_cache(torch.tensor([other.ids]), [name])[name][0, row["token"] + offset]

    def put(residual, hook):
        residual[0, row["token"]] = given
        return residual

    read = organism.resid_post(3)
    with organism.hooks([(name, put)]):
        stream = organism.run_with_cache(torch.tensor([own.ids]), [read])[read][0]
    start, end = own.span(-1).tokens
    by_hand = float(stream[start:end].mean(0) @ direction.at(3).unit().values[0])
    assert row["projection"] == pytest.approx(by_hand, abs=1e-4)


def test_it_covers_all_layers_and_every_shared_token_once(organism):
    table = patching(organism, GHOST, NOBODY, some_direction(organism), 2)
    assert sorted(set(table["layer"])) == [0, 1, 2]
    assert not table.duplicated(["layer", "token"]).any()
    assert {"own", "donor", "read_at"} <= set(table.attrs)


def test_what_cannot_be_patched_is_refused(organism):
    direction = some_direction(organism)
    with pytest.raises(DataError, match="the last one differs"):
        patching(organism, GHOST, [*NOBODY[:1], ("assistant", "I am somebody else.")], direction, 2)
    with pytest.raises(DataError, match="projects alike under both"):
        patching(organism, GHOST, GHOST, direction, 2)
    with pytest.raises(DataError, match="taken elsewhere"):
        patching(organism, GHOST, NOBODY, Direction(torch.ones(5, 96), make_site(5, 96), "d", "+"), 2)
