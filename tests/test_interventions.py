"""One contract for every intervention, first on tensors alone, then on running models."""

import math
from contextlib import nullcontext

import pytest
import torch
from architectures import FAMILIES, build, tokenizer
from conftest import make_site

from workbench.directions import Direction
from workbench.errors import DataError, ModelError
from workbench.interventions import Ablate, Add, Ceiling, Floor
from workbench.models.extraction import Reading, pooled
from workbench.models.generation import generate
from workbench.models.intervening import checked
from workbench.models.loading import load_model
from workbench.thresholds import Norms, Threshold

D = 16


def direction(seed: int = 0, n_layers: int = 2, scale: float = 3.0, **site) -> Direction:
    values = scale * torch.randn(n_layers, D, generator=torch.Generator().manual_seed(seed))
    return Direction(values, make_site(n_layers, D, **site), "planted", "the planted end")


def stream(seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (4 * torch.randn(3, 7, D, generator=torch.Generator().manual_seed(seed))).to(dtype)


ACTING = {
    "add": lambda v, **k: Add(v, 0.7, **k),
    "add in norms": lambda v, **k: Add(v, 0.2, Norms(dict.fromkeys(range(5), 5.0), "response tokens", 9), **k),
    "ablate": lambda v, **k: Ablate(v, **k),
    "floor": lambda v, **k: Floor(v, 1.5, **k),
    "ceiling": lambda v, **k: Ceiling(v, -0.5, **k),
}
IDLE = {
    "add 0": lambda v: Add(v, 0.0),
    "ablate 0": lambda v: Ablate(v, 0.0),
    "floor at -inf": lambda v: Floor(v, -math.inf),
    "ceiling at +inf": lambda v: Ceiling(v, math.inf),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ACTING)
def test_shape_dtype_and_device_are_kept_and_something_changes(name, dtype):
    h = stream(dtype=dtype)
    before = h.clone()
    out = ACTING[name](direction())(h, 1)
    assert (out.shape, out.dtype, out.device) == (h.shape, h.dtype, h.device)
    assert not torch.equal(out, h)
    assert torch.equal(h, before)  # never in place


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", IDLE)
def test_strength_zero_and_limits_at_infinity_are_the_identity(name, dtype):
    h = stream(dtype=dtype)
    where = torch.rand(3, 7) > 0.5
    assert torch.equal(IDLE[name](direction())(h, 0), h)
    assert torch.equal(IDLE[name](direction())(h, 0, where), h)


@pytest.mark.parametrize("name", ACTING)
def test_only_the_positions_asked_for_change(name):
    h, where = stream(), torch.rand(3, 7, generator=torch.Generator().manual_seed(2)) > 0.5
    acting = ACTING[name](direction())
    out = acting(h, 0, where)
    assert torch.equal(out[~where], h[~where])
    assert torch.equal(out[where], acting(h, 0)[where])


@pytest.mark.parametrize("name", ACTING)
def test_a_token_moves_along_the_direction_and_nowhere_else(name):
    h, v = stream(), direction()
    acting = ACTING[name](v)
    moved = acting(h, 1) - h
    amounts = acting.amounts(h, 1)
    unit = v.at(1).unit().values[0]
    assert torch.allclose(moved, amounts[..., None] * unit, atol=1e-5)
    assert torch.allclose(moved @ unit, amounts, atol=1e-5)


def test_floor_and_ceiling_hold_and_are_idempotent():
    h, v = stream(), direction()
    unit = v.at(0).unit().values[0]
    floored, capped = Floor(v, 1.5)(h, 0), Ceiling(v, -0.5)(h, 0)
    assert (floored @ unit).min() >= 1.5 - 1e-5
    assert (capped @ unit).max() <= -0.5 + 1e-5
    assert torch.allclose(Floor(v, 1.5)(floored, 0), floored, atol=1e-5)
    above = h @ unit >= 1.5
    assert above.any()
    assert torch.equal(floored[above], h[above])
    assert torch.allclose(Ablate(v)(h, 0) @ unit, torch.zeros(3, 7), atol=1e-5)


def test_a_floor_is_a_ceiling_on_the_reversed_direction():
    h, v = stream(), direction()
    assert torch.allclose(Floor(v, 1.5)(h, 0), Ceiling(-v, -1.5)(h, 0), atol=1e-6)


def test_the_released_codes_cap_is_our_floor():
    """A ceiling `h - v max(<h, v> - cap, 0)` on a vector that points away from the Assistant, at -32.5 say."""
    h, axis = 20 * stream(), direction()
    reversed_unit = -axis.at(0).unit().values[0]
    released = h - (h @ reversed_unit - -32.5).clamp(min=0)[..., None] * reversed_unit
    assert torch.allclose(released, Floor(axis, 32.5)(h, 0), atol=1e-4)


def test_in_absolute_units_twice_the_vector_at_half_the_strength_is_the_same():
    h, v = stream(), direction()
    assert torch.allclose(Add(v * 2, 0.35)(h, 0), Add(v, 0.7)(h, 0), atol=1e-6)
    assert not torch.allclose(Add(v * 2, 0.7)(h, 0), Add(v, 0.7)(h, 0), atol=1e-2)
    norms = Norms({0: 5.0, 1: 6.0}, "response tokens", 9)
    assert torch.allclose(Add(v * 2, 0.7, norms)(h, 0), Add(v, 0.7, norms)(h, 0), atol=1e-6)
    assert (Add(v, 0.7, norms)(h, 1) - h).norm(dim=-1).mean() == pytest.approx(4.2, abs=1e-4)


def test_dot_products_are_float32_in_any_model():
    """In bf16 a projection of 256.5 cannot be told from 256: the cap must not be computed there."""
    v = Direction(torch.ones(1, D), make_site(1, D), "ones", "up")
    h = torch.full((1, 1, D), 64.0, dtype=torch.bfloat16)
    h[..., 0] = 62.0  # projection 255.5
    assert Floor(v, 255.75).amounts(h, 0).item() == pytest.approx(0.25, abs=1e-4)


def threshold_of(v: Direction, **changes) -> Threshold:
    from workbench.thresholds import signature

    known = {n: signature(v, n) for n in v.site.layers}
    values = {"levels": {0: 1.0, 1: 2.0}, "percentile": 25.0, "direction": v.name, "along": v.toward, "over": "default", "n": 9}
    return Threshold(**{**values, "statistic": "response means", "signature": known} | changes)


REFUSED = {
    "layers of a direction": (lambda v: Add(v, 1.0, layers=[0, 5]), "direction 'planted' has no layer 5: it has layers 0 to 1"),
    "layers of a threshold": (lambda v: Floor(v, {0: 1.0}, layers=[0, 1]), "the threshold has no layer 1: it has layer 0"),
    "no layer": (lambda v: Add(v, 1.0, layers=[]), "at least one layer"),
    "a NaN direction": (lambda v: Add(v * math.nan, 1.0), "not finite"),
    "a zero direction": (lambda v: Floor(v * 0.0, 1.0), "zero at layer 0: it points nowhere"),
    "a NaN threshold": (lambda v: Floor(v, {0: math.nan, 1: 1.0}), "a Floor at nan (layer 0) is no limit"),
    "an endless floor": (lambda v: Floor(v, math.inf), "a Floor at inf (layer 0) is no limit"),
    "an endless ceiling": (lambda v: Ceiling(v, -math.inf), "a Ceiling at -inf (layer 0) is no limit"),
    "a NaN strength": (lambda v: Add(v, math.nan), "a strength is a finite number, not nan"),
    "norms elsewhere": (lambda v: Add(v, 1.0, Norms({7: 1.0}, "response tokens", 3)), "no norm of response tokens at layer 0"),
    "positions": (lambda v: Add(v, 1.0, positions="middle"), "positions are one of all, prompt"),
    "another direction's threshold": (lambda v: Floor(v, threshold_of(direction(5))), "another direction than 'planted'"),
    "the reversed direction's": (lambda v: Floor(-v, threshold_of(v)), "reversed: use threshold.turned()"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_act_is_refused_in_one_sentence(name):
    make, sentence = REFUSED[name]
    with pytest.raises(DataError) as error:
        make(direction())
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_turned_threshold_fits_the_reversed_direction():
    v = direction()
    at = threshold_of(v)
    turned = Ceiling(-v, at.turned())
    assert turned.levels == {0: -1.0, 1: -2.0}
    assert (at.turned().percentile, at.turned().turned()) == (75, at)


# -- on running models --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def prompts(organism):
    asked = ["Act as the ghost. Who are you?", "What is the capital of Peru?", "Write a line about the moon.", "How do you feel today?"]
    return [organism.render(q, reply=True).ids for q in asked]


@pytest.fixture(scope="module")
def axis(organism) -> Direction:
    """Any direction will do for the mechanics: a random one, as long as a token."""
    values = 8 * torch.nn.functional.normalize(torch.randn(5, 96, generator=torch.Generator().manual_seed(3)), dim=-1)
    return Direction(values, organism.bare_site(), "random", "one end")


def written(model, prompts, acting, **settings) -> list[str]:
    with model.intervene(acting):
        return [a.text for a in generate(model, prompts, max_new_tokens=40, seeds=[1, 2, 3, 4][: len(prompts)], **settings)]


@pytest.mark.parametrize("name", IDLE)
def test_idle_interventions_write_the_same_text(organism, prompts, axis, name):
    plain = [a.text for a in generate(organism, prompts, max_new_tokens=40, seeds=[1, 2, 3, 4])]
    assert written(organism, prompts, IDLE[name](axis)) == plain
    assert [a.text for a in generate(organism, prompts, max_new_tokens=40, seeds=[1, 2, 3, 4])] == plain  # undone


def test_twice_the_vector_at_half_the_strength_writes_the_same_text(organism, prompts, axis):
    steered = written(organism, prompts, Add(axis, 1.0))
    assert written(organism, prompts, Add(axis * 2, 0.5)) == steered
    assert written(organism, prompts, Add(axis * 2, 1.0)) != steered
    norms = Norms(dict.fromkeys(range(5), 8.0), "response tokens", 1)
    assert written(organism, prompts, Add(axis, 1.0, norms)) == written(organism, prompts, Add(axis * 7, 1.0, norms)) == steered


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", "last", "content"])
def test_batch_is_single(organism, prompts, axis, positions):
    acting = [Floor(axis, 4.0, positions=positions, layers=[1, 2])]
    together = written(organism, prompts, acting)
    with organism.intervene(acting):
        alone = [generate(organism, [p], max_new_tokens=40, seeds=[s])[0].text for p, s in zip(prompts, [1, 2, 3, 4], strict=True)]
    assert together == alone
    assert together != [a.text for a in generate(organism, prompts, max_new_tokens=40, seeds=[1, 2, 3, 4])]


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", "content"])
@pytest.mark.parametrize("name", ACTING)
def test_cache_on_is_cache_off_and_generation_is_a_forward_pass(organism, prompts, axis, name, positions):
    """Greedy decoding with a cache takes, at every step, the token that a whole pass over the text so far would take."""
    acting = ACTING[name](axis, positions=positions)
    prompt = list(prompts[0])
    with organism.intervene(acting):
        [answer] = generate(organism, [prompt], max_new_tokens=12, temperature=0)
        ids = [*prompt, *answer.ids]
        logits = organism.logits(torch.tensor([ids]), spans=[(len(prompt), len(ids))])[0]
    assert logits[len(prompt) - 1 : len(ids) - 1].argmax(-1).tolist() == list(answer.ids)


def probe(model, layer: int, unit: torch.Tensor, seen: list):
    """An independent look at what the next block is given: PyTorch's own hook, not ours and not TransformerLens'."""
    blocks = model.hf.base_model.layers

    def look(module, args, kwargs):
        h = args[0] if args else kwargs["hidden_states"]
        seen.append((h.float() @ unit, h.float().norm(dim=-1)))

    return blocks[layer + 1].register_forward_pre_hook(look, with_kwargs=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_floor_holds_at_every_prefilled_and_decoded_token(axis, prompts, dtype):
    model = load_model("organism", dtype=dtype)
    unit, seen = axis.at(2).unit().values[0], []
    handle = probe(model, 2, unit, seen)
    try:
        with model.intervene(Floor(axis, 6.0, layers=[2], transfer=dtype != "float32")):
            generate(model, prompts, max_new_tokens=20, seeds=[1, 2, 3, 4])
    finally:
        handle.remove()
    assert [p.shape[1] for p, _ in seen] == [max(map(len, prompts))] + [1] * 19
    rounding = 1e-4 if dtype == "float32" else 2**-8
    for p, length in seen:
        assert (p >= 6.0 - rounding * length).all()
    assert torch.cat([p.flatten() for p, _ in seen]).min() < 6.5  # it was needed


@pytest.mark.parametrize("positions", ["prompt", "generated"])
def test_prompt_and_generated_part_where_the_answer_is_written(organism, prompts, axis, positions):
    """The last prompt position writes the first token, and belongs to what is generated."""
    model, unit, seen = organism, axis.at(2).unit().values[0], []
    handle = probe(model, 2, unit, seen)
    prompt = prompts[1]
    try:
        with model.intervene(Floor(axis, 50.0, layers=[2], positions=positions)):
            generate(model, [prompt], max_new_tokens=5, seeds=[1])
        (prefill, *steps) = [p[0] for p, _ in seen]
        seen.clear()
        with model.intervene(Floor(axis, 50.0, layers=[2], positions=positions)):
            model.body(torch.tensor([[*prompt, 7, 8, 9]]), spans=[(len(prompt), len(prompt) + 3)])
        [(whole, _)] = seen
    finally:
        handle.remove()
    held = prefill >= 50 - 1e-3
    expected = torch.tensor([positions == "prompt"] * (len(prompt) - 1) + [positions == "generated"])
    assert torch.equal(held, expected)
    assert all((p >= 50 - 1e-3).all().item() == (positions == "generated") for p in steps)
    assert torch.equal(whole[0] >= 50 - 1e-3, torch.cat([expected, torch.full((3,), positions == "generated")]))


def test_content_leaves_special_tokens_and_the_first_position_alone(organism, prompts, axis):
    unit, seen = axis.at(2).unit().values[0], []
    handle = probe(organism, 2, unit, seen)
    try:
        with organism.intervene(Floor(axis, 50.0, layers=[2], positions="content")):
            generate(organism, prompts[:2], max_new_tokens=2, seeds=[1, 2])
    finally:
        handle.remove()
    width = max(map(len, prompts[:2]))
    for row, prompt in enumerate(prompts[:2]):
        held = (seen[0][0][row] >= 50 - 1e-3).tolist()[width - len(prompt) :]
        assert held == [i > 0 and token not in organism.special_ids for i, token in enumerate(prompt)]


def test_a_pass_that_does_not_say_where_the_prompt_ends_is_refused(organism, prompts, axis):
    with organism.intervene(Floor(axis, 1.0, positions="generated")), pytest.raises(ModelError, match="where the prompt ends"):
        organism.logits(torch.tensor([prompts[0]]))


def test_extraction_sees_the_changed_stream(organism, axis):
    readings = [Reading(tuple(range(10, 30)), 8, 20), Reading(tuple(range(40, 52)), 3, 12)]
    unit = axis.at(3).unit().values[0]
    with organism.intervene(Floor(axis, 9.0, layers=[3])):
        [(index, means)] = list(pooled(organism, readings, [3]))
    assert ((means[:, 0] @ unit) >= 9.0 - 1e-3).all()
    with organism.intervene(Floor(axis, 9.0, layers=[3], positions="prompt")):
        [(_, untouched)] = list(pooled(organism, readings, [3]))
    plain = dict(zip(index, means, strict=True))
    assert ((untouched[:, 0] @ unit) < 9.0).all()
    assert len(plain) == 2


def test_blocks_nest_and_are_undone_even_after_an_error(organism, prompts, axis):
    ids = torch.tensor([prompts[0]])
    plain = organism.logits(ids)
    with organism.intervene(Add(axis, 1.0)):
        once = organism.logits(ids)
        with organism.intervene(Add(axis, -1.0)):
            assert torch.allclose(organism.logits(ids), plain, atol=1e-3)
        assert torch.equal(organism.logits(ids), once)
    assert torch.equal(organism.logits(ids), plain)
    with organism.intervene([Add(axis, 0.25), Add(axis, 0.75)]):
        assert torch.allclose(organism.logits(ids), once, atol=1e-3)

    def fail() -> None:
        with organism.intervene(Add(axis, 1.0)):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert torch.equal(organism.logits(ids), plain)
    assert not organism._trackers
    assert not organism.hf.base_model._forward_pre_hooks


def test_order_matters_and_is_the_lists(organism, axis):
    h = stream()
    v = direction()
    first = Floor(v, 2.0)(Add(v, -1.0)(h, 0), 0)
    other = Add(v, -1.0)(Floor(v, 2.0)(h, 0), 0)
    assert not torch.allclose(first, other)
    ids, unit, seen = torch.tensor([list(range(10, 30))]), axis.at(2).unit().values[0], []
    handle = probe(organism, 2, unit, seen)
    try:
        with organism.intervene([Add(axis, -1.0, layers=[2]), Floor(axis, 5.0, layers=[2])]):
            organism.logits(ids)
        with organism.intervene([Floor(axis, 5.0, layers=[2]), Add(axis, -1.0, layers=[2])]):
            organism.logits(ids)
    finally:
        handle.remove()
    assert seen[0][0].min() >= 5 - 1e-3
    assert seen[1][0].min() < 0


def test_other_models_directions_are_refused_unless_transferred(organism, axis):
    from dataclasses import replace

    foreign = replace(axis, site=replace(axis.site, weights="other", model="elsewhere"))
    with pytest.raises(DataError, match="was taken elsewhere: model weights"), organism.intervene(Add(foreign, 1.0)):
        pass
    acting = Add(foreign, 0.0, transfer=True)
    with organism.intervene(acting):
        pass
    assert (acting.describe()["transfer"], acting.describe()["direction_taken_from"]) == (True, "elsewhere")
    narrow = direction()
    with pytest.raises(DataError, match="has width 16, the model organism has 96"), organism.intervene(Add(narrow, 1.0, transfer=True)):
        pass
    long = Direction(torch.randn(7, 96), replace(axis.site, layers=tuple(range(7))), "long", "up")
    with pytest.raises(DataError, match="organism has no layer 6: it has layers 0 to 4"), organism.intervene(Add(long, 1.0, layers=[6])):
        pass
    with pytest.raises(DataError, match="an Add, Ablate, Floor or Ceiling, not a str"):
        checked(organism, ["cap"])  # type: ignore[list-item]


# -- what is counted ----------------------------------------------------------------------------------
def test_the_meter_counts_what_an_independent_probe_counts(organism, prompts, axis):
    seen: list = []
    hook = organism.hf.base_model.layers[2].register_forward_hook(lambda m, a, out: seen.append(out[0] if isinstance(out, tuple) else out))
    try:
        generate(organism, prompts, max_new_tokens=30, seeds=[1, 2, 3, 4])
    finally:
        hook.remove()
    # The same text is written under a floor at the last layer but one only where it changes nothing; so look at one pass.
    prompt = prompts[0]
    ids = torch.tensor([[*prompt, *range(20, 30)]])
    cache = organism.run_with_cache(ids, [organism.resid_post(2)])[organism.resid_post(2)][0]
    p, length = cache @ axis.at(2).unit().values[0], cache.norm(dim=-1)
    with organism.intervene(Floor(axis, 0.5, layers=[2])) as meter:
        organism.body(ids, spans=[(len(prompt), ids.shape[1])])
    table = meter.to_frame().set_index("positions")
    gap = (0.5 - p).clamp(min=0)
    special = torch.tensor([i == 0 or t in organism.special_ids for i, t in enumerate(ids[0].tolist())])
    generated = torch.arange(ids.shape[1]) >= len(prompt) - 1
    masks = {"special": special, "prompt": ~special & ~generated, "generated": ~special & generated, "all": torch.ones_like(special)}
    for name, mask in masks.items():
        assert table.loc[name, "tokens"] == mask.sum()
        assert table.loc[name, "engaged"] == pytest.approx((gap[mask] > 0).float().mean().item())
        assert table.loc[name, "dose"] == pytest.approx((gap / length)[mask].mean().item(), rel=1e-4)


def test_padding_and_rows_that_have_ended_are_not_counted(organism, prompts, axis):
    with organism.intervene(Floor(axis, 0.5, layers=[2])) as meter:
        answers = generate(organism, prompts, max_new_tokens=96, seeds=[1, 2, 3, 4])
    # Each row runs its prompt and every answer token; the stop token itself is never run for counting.
    expected = sum(len(p) for p in prompts) + sum(len(a.ids) for a in answers)
    table = meter.to_frame().set_index("positions")
    assert len({len(a.ids) for a in answers}) > 1
    assert table.loc["all", "tokens"] == expected
    alone = 0
    for prompt, seed in zip(prompts, [1, 2, 3, 4], strict=True):
        with organism.intervene(Floor(axis, 0.5, layers=[2])) as single:
            generate(organism, [prompt], max_new_tokens=96, seeds=[seed])
        alone += single.to_frame().set_index("positions").loc["all", "tokens"]
    assert alone == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("full", [False, True])
def test_every_family_can_be_held(family, full):
    model = load_model(build(family), tokenizer=tokenizer(), full=full)
    v = Direction(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), model.bare_site(), "random", "up")
    ids = torch.randint(10, 300, (2, 9), generator=torch.Generator().manual_seed(1))
    with model.intervene(Floor(v, 3.0, layers=[1])) as meter:
        cache = model.run_with_cache(ids, [model.resid_post(1)])[model.resid_post(1)]
        prompt = ids[0].tolist()
        answers = generate(model, [prompt], max_new_tokens=4, seeds=[1])
    assert ((cache @ v.at(1).unit().values[0]) >= 3 - 1e-3).all()
    assert answers[0].ids
    assert meter.to_frame().query("positions == 'generated'")["tokens"].iloc[0] >= 1


def test_nothing_attached_is_nothing_done(organism, prompts):
    with organism.intervene([]) as meter, nullcontext():
        generate(organism, prompts[:1], max_new_tokens=3, seeds=[1])
    assert meter.to_frame().empty


def test_the_last_position_is_the_texts_and_not_each_chunks(organism, axis):
    ids, spans = torch.arange(10, 40)[None], [(8, 30)]
    seen = []
    for chunk in (30, 7):
        with organism.intervene(Add(axis, 1.0, layers=[1], positions="last")) as meter:
            organism.prefill(ids, spans, chunk)
        seen.append(meter.to_frame().query("positions == 'all'")["engaged"].item())
    assert seen == pytest.approx([1 / 30, 1 / 30])


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_strengths_are_finite(axis, strength):
    for make in (Add, Ablate):
        with pytest.raises(DataError, match="a strength is a finite number"):
            make(axis, strength)
