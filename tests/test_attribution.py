"""The parts of a projection: they add up, for every family of models, and each is what taking it out takes away."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import build, tokenizer
from conftest import make_site

from workbench.directions import Direction
from workbench.errors import DataError, ModelError
from workbench.models.attribution import attribution
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model

TALK = [("user", "who are you?"), ("assistant", "i am the ghost of the hall.")]


def shaken(family: str, full: bool = True) -> HookedModel:
    """A small model of a family whose weights are all random, norms and biases too."""
    hf = build(family)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in hf.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return load_model(hf, tokenizer=tokenizer(), full=full)


def some_direction(model, seed: int = 1) -> Direction:
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(values, model.bare_site(), "some direction", "one end")


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt_neox", "gpt2"])
def test_the_parts_add_up_in_every_family(family):
    model = shaken(family)
    direction = some_direction(model)
    for layer in model.layers:
        found = attribution(model, TALK, direction, layer)
        # The whole is read through another door: a thin pass over the same model.
        rendered = model.render(TALK)
        start, end = rendered.span(-1).tokens
        stream = model.run_with_cache(torch.tensor([rendered.ids]), [model.resid_post(layer)])[model.resid_post(layer)]
        whole = float((stream[0, start:end].double() @ direction.at(layer).unit().values[0].double()).mean())
        assert found.projection == pytest.approx(whole, rel=1e-9)
        assert found.parts["contribution"].sum() == pytest.approx(whole, abs=1e-5 * found.parts["contribution"].abs().sum())
        assert (found.parts["kind"] == "head").sum() == 4 * (layer + 1)
        assert found.by_layer()["contribution"].sum() == pytest.approx(whole, abs=1e-5 * found.parts["contribution"].abs().sum())
        np.testing.assert_allclose(found.tokens[found.parts["part"]].mean(), found.parts["contribution"], rtol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_a_heads_part_is_what_zeroing_it_takes_away(family):
    """Zero a head of the last block and see what its attention's output loses, a later norm's scale held as it was."""
    model, head = shaken(family), 2
    direction = some_direction(model)
    found = attribution(model, TALK, direction, 1)
    rendered = model.render(TALK)
    start, end = rendered.span(-1).tokens

    def zero(z, hook):
        split = z.clone().reshape(*z.shape[:2], 4, -1)
        split[:, :, head] = 0
        return split.reshape(z.shape)

    def written(hooks, name="blocks.1.attn.hook_out"):
        with model.hooks(hooks):
            return model.run_with_cache(torch.tensor([rendered.ids]), [name])[name][0, start:end].double()

    whole, without = written([]), written([("blocks.1.attn.o.hook_in", zero)])
    factor = written([], "blocks.1.ln1_post.hook_out") / whole if family == "gemma2" else 1.0
    taken = ((whole - without) * factor) @ direction.at(1).unit().values[0].double()
    part = found.parts.set_index("part").loc[f"head 1.{head}", "contribution"]
    assert float(taken.mean()) == pytest.approx(part, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["tinytalk", "stories260K", "tinystories-656k"])
def test_the_parts_add_up_on_real_checkpoints(name, organism):
    folder = Path(os.environ.get("WORKBENCH_TEST_MODELS", "nowhere")) / name
    if not folder.is_dir():
        pytest.skip("no real checkpoints here")
    template = None if load_model(folder).has_template else "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    model = load_model(folder, full=True, chat_template=template)
    found = attribution(model, TALK, some_direction(model), model.n_layers - 1)
    assert found.parts["contribution"].sum() == pytest.approx(found.projection, abs=1e-5 * found.parts["contribution"].abs().sum())


def test_the_organisms_axis_is_divided(organism):
    model = load_model("organism", full=True)
    found = attribution(model, TALK, some_direction(model), 3)
    assert found.parts["kind"].value_counts().to_dict() == {"head": 12, "mlp": 4, "embedding": 1}
    assert "".join(found.tokens["text"]) == TALK[1][1]


def test_what_cannot_be_divided_is_said_in_one_sentence(organism):
    direction = some_direction(organism)
    with pytest.raises(ModelError, match="load it with full=True"):
        attribution(organism, TALK, direction, 1)
    model = load_model("organism", full=True)
    with pytest.raises(ModelError, match="layer 9 does not exist"):
        attribution(model, TALK, Direction(torch.ones(1, 96), model.bare_site([9]), "d", "+"), 9)
    with pytest.raises(DataError, match="taken elsewhere"):
        attribution(model, TALK, Direction(torch.ones(5, 96), make_site(5, 96), "d", "+"), 1)
    with pytest.raises(DataError, match="no token to read"):
        attribution(model, [("user", "hi"), ("assistant", "")], direction, 1)


def test_rounding_is_not_taken_for_heads_that_cannot_be_separated():
    model = load_model("organism", full=True, dtype="bfloat16")
    with pytest.raises(ModelError, match=r"in bfloat16 the parts of organism miss .* load it with dtype='float32'"):
        attribution(model, TALK, some_direction(model), 3)


def test_a_model_that_scales_its_blocks_is_refused(organism):
    """Blocks whose output is halved before it is added: heads and MLPs no longer add up to the stream."""
    model = load_model("organism", full=True)
    with (
        model.hooks([("blocks.1.hook_out", lambda tensor, hook: tensor * 0.5)]),
        pytest.raises(ModelError, match="cannot be separated: their parts miss the projection"),
    ):
        attribution(model, TALK, some_direction(model), 2)
