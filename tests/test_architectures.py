"""What must hold on any architecture, on small ones with random weights: the same numbers, padding, decoding, holding."""

import pandas as pd
import pytest
import torch
from architectures import MORE, build, tokenizer

from workbench.directions import Direction
from workbench.interventions import Floor
from workbench.models.extraction import extract
from workbench.models.generation import generate
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model


@pytest.fixture(scope="module", params=MORE)
def model(request) -> HookedModel:
    return load_model(build(request.param), tokenizer=tokenizer())


def ids(model: HookedModel, text: str) -> list[int]:
    return list(model.render(text, reply=True).ids)


PROMPTS = ["the light", "the role of the keeper of the light of the sea", "sea"]


def test_logits_and_streams_are_hugging_faces_own(model):
    tokens, seen = torch.tensor([ids(model, PROMPTS[1])]), {}
    with torch.no_grad():
        expected = model.hf(input_ids=tokens, output_hidden_states=True)
    hooks = [(model.resid_post(n), lambda residual, hook, n=n: seen.__setitem__(n, residual.clone())) for n in model.layers]
    with model.hooks(hooks):
        logits = model.logits(tokens)
    assert torch.equal(logits, expected.logits)
    for n in model.layers[:-1]:
        torch.testing.assert_close(seen[n], expected.hidden_states[n + 1])


def test_a_batch_writes_what_each_row_writes_alone(model):
    """Padding on the left must be nothing to a state that is carried along either."""
    prompts = [ids(model, text) for text in PROMPTS]
    together = generate(model, prompts, max_new_tokens=6, temperature=0)
    alone = [generate(model, [prompt], max_new_tokens=6, temperature=0)[0] for prompt in prompts]
    assert [a.ids for a in together] == [a.ids for a in alone]


def test_means_do_not_depend_on_who_is_read_along(model):
    rows = pd.DataFrame({
        "row": list("abc"), "role": "x", "messages": [[{"speaker": "user", "text": t}] for t in PROMPTS],
        "response": ["so it is", "the keeper of the light keeps the sea", "yes"],
    })  # fmt: skip
    together = extract(model, rows).values
    alone = torch.cat([extract(model, rows.iloc[[i]].reset_index(drop=True)).values for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_floor_holds_in_prompt_and_answer(model):
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(2))
    direction = Direction(values, model.bare_site(), "random", "one end")
    layer, unit = model.layers[1], direction.unit().values[1]
    held: list[torch.Tensor] = []
    with model.intervene(Floor(direction, 0.5, layers=[layer])) as meter:
        probe = (model.resid_post(layer), lambda residual, hook: held.append((residual @ unit).flatten()))
        with model.hooks([probe]):
            generate(model, [ids(model, PROMPTS[0])], max_new_tokens=5, temperature=0)
    along = torch.cat(held)
    assert along.min() >= 0.5 - 1e-4
    assert meter.to_frame().query("positions == 'all'")["engaged"].between(0.01, 1).all()
    assert len(along) == len(ids(model, PROMPTS[0])) + 4
