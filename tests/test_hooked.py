"""thin == full == Hugging Face, padded == single, cache on == off: on random weights of each family and on real checkpoints."""

import copy

import pytest
import torch
from architectures import FAMILIES, build, tokenizer

from workbench.conversations import Conversation
from workbench.errors import ChatError, ModelError
from workbench.models.extraction import Reading, pooled
from workbench.models.loading import load_model

REAL = ("tinytalk", "stories260K", "tinystories-656k")


def ids_for(model, n: int = 17, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    high = model.config.vocab_size if hasattr(model, "config") else model.hf.config.vocab_size
    return torch.randint(10, high, (batch, n), generator=generator)


def hugging_face(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False, output_hidden_states=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_thin_equals_hugging_face_bit_for_bit(family):
    reference, ids = build(family), ids_for(build(family))
    plain = hugging_face(reference, ids)
    thin = load_model(copy.deepcopy(reference), tokenizer=tokenizer())
    assert torch.equal(thin.logits(ids), plain.logits)
    cache = thin.run_with_cache(ids)
    for layer in thin.layers[:-1]:
        assert torch.equal(cache[thin.resid_post(layer)], plain.hidden_states[layer + 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_hidden_state_is_taken_after_the_final_norm(family):
    """Why the last layer is left out above: Hugging Face's last entry is not the residual stream."""
    reference = build(family)
    ids = ids_for(reference)
    plain = hugging_face(reference, ids)
    thin = load_model(copy.deepcopy(reference), tokenizer=tokenizer())
    last = thin.run_with_cache(ids)[thin.resid_post(thin.n_layers - 1)]
    assert not torch.allclose(last, plain.hidden_states[-1], atol=1e-3)
    body = reference.base_model
    norm = {"gpt_neox": "final_layer_norm", "gpt2": "ln_f"}.get(family, "norm")
    assert torch.allclose(getattr(body, norm)(last), plain.hidden_states[-1], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_equals_hugging_face(family):
    reference = build(family)
    ids = ids_for(reference)
    plain = hugging_face(reference, ids)
    full = load_model(copy.deepcopy(reference), tokenizer=tokenizer(), full=True)
    scale = plain.logits.abs().max()
    assert (full.logits(ids) - plain.logits).abs().max() < 1e-4 * scale
    cache = full.run_with_cache(ids, [full.resid_post(0), full.attn_out(1), full.mlp_out(1), full.resid_pre(1)])
    assert (cache[full.resid_post(0)] - plain.hidden_states[1]).abs().max() < 1e-4 * plain.hidden_states[1].abs().max()
    assert set(cache) == {"blocks.0.hook_resid_post", "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_pre"}


@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints(test_models, name):
    from transformers import AutoModelForCausalLM

    folder = test_models / name
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = ids_for(reference)
    plain = hugging_face(reference, ids)
    thin, full = load_model(folder), load_model(folder, full=True)
    assert torch.equal(thin.logits(ids), plain.logits)
    cache = thin.run_with_cache(ids)
    for layer in thin.layers[:-1]:
        assert torch.equal(cache[thin.resid_post(layer)], plain.hidden_states[layer + 1])
    assert (full.logits(ids) - plain.logits).abs().max() < 1e-4 * plain.logits.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_equals_single(family):
    model = load_model(build(family), tokenizer=tokenizer())
    rows = [tuple(ids_for(model, n, 1)[0].tolist()) for n in (5, 40, 17, 29)]
    readings = [Reading(row, len(row) // 3, len(row)) for row in rows]
    [(index, together)] = list(pooled(model, readings, model.layers, 1000))
    for slot, i in enumerate(index):
        [(_, alone)] = list(pooled(model, [readings[i]], model.layers))
        assert (together[slot] - alone[0]).abs().max() < 5e-5 * alone.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_cache_on_equals_cache_off(family):
    model = load_model(build(family), tokenizer=tokenizer())
    ids = ids_for(model, 12, 1)
    seen = []
    with model.hooks([(model.resid_post(1), lambda t, hook: seen.append(t.clone()))]), torch.no_grad():
        state = None
        for i in range(ids.shape[1]):
            state = model.hf(input_ids=ids[:, i : i + 1], past_key_values=state, use_cache=True).past_key_values
    whole = model.run_with_cache(ids, [model.resid_post(1)])[model.resid_post(1)]
    assert (torch.cat(seen, 1) - whole).abs().max() < 1e-4 * whole.abs().max()


def test_hooks_come_off_whatever_happens():
    model = load_model(build("llama"), tokenizer=tokenizer())
    ids = ids_for(model)
    before = model.logits(ids)

    def fail_half_way():
        with model.hooks([(model.resid_post(0), lambda t, hook: t * 0)]):
            assert not torch.equal(model.logits(ids), before)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail_half_way()
    assert torch.equal(model.logits(ids), before)


def test_hooks_nest():
    model = load_model(build("llama"), tokenizer=tokenizer())
    ids, layers = ids_for(model), []
    with model.hooks([(model.resid_post(0), lambda t, hook: layers.append(hook.layer()))]):
        with model.hooks([(model.resid_post(2), lambda t, hook: layers.append(hook.layer()))]):
            model.body(ids)
        model.body(ids)
    assert layers == [0, 2, 0]


def test_hooks_fire_in_generation():
    model = load_model(build("llama"), tokenizer=tokenizer())
    shapes = []
    with model.hooks([(model.resid_post(0), lambda t, hook: shapes.append(tuple(t.shape[1:])))]):
        model.chat("the light", max_new_tokens=3, temperature=0)
    assert shapes[0][0] > 1
    assert all(shape[0] == 1 for shape in shapes[1:])


def test_names_and_wrong_names():
    model = load_model(build("llama"), tokenizer=tokenizer())
    assert model.resid_post(2) in model.hook_names
    assert model.last(2) == (1, 2)
    with pytest.raises(ModelError, match="layer 3 does not exist"):
        model.resid_post(3)
    with pytest.raises(ModelError, match="not exposed by the thin bridge: load the model with full=True"):
        model.attn_out(0)
    with pytest.raises(ModelError, match="no hook point 'blocks"):
        model.run_with_cache(ids_for(model), ["blocks.0.hook_nothing"])


def test_the_fingerprint_follows_the_weights():
    a, b = build("llama"), build("llama")
    with torch.no_grad():
        b.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    tok = tokenizer()
    a16 = load_model(copy.deepcopy(a).to(torch.bfloat16), tokenizer=tok)
    full = load_model(copy.deepcopy(a), tokenizer=tok, full=True)
    first = load_model(a, tokenizer=tok)
    assert first.weights == a16.weights  # the number format does not matter
    assert first.weights == full.weights  # nor does the wrapping
    assert first.weights != load_model(b, tokenizer=tok).weights


def test_stop_tokens_are_the_union(organism):
    words = {organism.tokenizer.decode([i]) for i in organism.stop_ids}
    assert words == {"<|eos|>", "<|end|>"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("./no/such/folder", "there is no model folder"), ("no-such-model-here/at/all", "there is no model folder")],
)
def test_unknown_models(name, text):
    with pytest.raises(ModelError, match=text):
        load_model(name)


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"it has no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(tmp_path)


def test_unknown_hub_names_are_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="there is no model 'nobody/nothing': neither a local folder nor"):
        load_model("nobody/nothing")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dtype": "int3"}, "dtype is one of float32"),
        ({"device": "gpu7"}, "there is no device 'gpu7'"),
        ({"chat_template": "no/file.jinja"}, "there is no chat template file"),
    ],
)
def test_wrong_settings(arguments, text):
    with pytest.raises(ModelError, match=text):
        load_model("organism", **arguments)


def test_objects_that_are_no_models():
    with pytest.raises(ModelError, match="needs its tokenizer"):
        load_model(build("llama"))
    with pytest.raises(ModelError, match="a int is neither"):
        load_model(3, tokenizer=tokenizer())


@pytest.mark.parametrize("option", [{"dtype": "bfloat16"}, {"full": True}, {"thinking": True}, {"device": "cpu"}, {"revision": "main"}])
def test_what_a_model_in_memory_can_no_longer_be_is_refused(organism, option):
    assert load_model(organism) is organism
    with pytest.raises(ModelError, match=f"organism is in memory already: {next(iter(option))} can only be chosen"):
        load_model(organism, **option)
    if next(iter(option)) not in ("full", "thinking"):
        with pytest.raises(ModelError, match="this LlamaForCausalLM is in memory already"):
            load_model(build("llama"), tokenizer=tokenizer(), **option)


def test_a_system_prompt_is_put_before_a_conversation_and_never_dropped(organism):
    system = "You are a ghost."
    asked = Conversation.of("Who are you?")
    settings = {"max_new_tokens": 12, "temperature": 0}
    assert organism.chat(asked, system=system, **settings) == organism.chat("Who are you?", system=system, **settings)
    assert organism.chat(asked, system=system, **settings) != organism.chat(asked, **settings)
    with pytest.raises(ChatError, match="only the first message can be"):
        organism.chat(Conversation.of("Who are you?", system=system), system=system)
