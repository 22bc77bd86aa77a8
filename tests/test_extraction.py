import gc
import json

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import build, tokenizer
from templates import FAMILIES, build_tokenizer

from workbench.conversations import Conversation
from workbench.directions import Direction
from workbench.errors import ChatError, DataError
from workbench.interventions import Add
from workbench.models.extraction import Reading, batches_by_length, extract, pooled, readings_of, token_activations
from workbench.models.loading import load_model
from workbench.rollouts import generate_rollouts


@pytest.fixture(scope="module")
def llama():
    return load_model(build("llama"), tokenizer=tokenizer())


def rollout(question: str, answer: str, **columns) -> dict:
    messages = json.dumps([{"speaker": "user", "text": question}])
    return {"row": question, "messages": messages, "response": answer, "response_ids": None, "error": ""} | columns


def by_hand(model, ids, start, end) -> torch.Tensor:
    """Means over a span from Hugging Face's hidden states, in float64, for all layers but the last."""
    with torch.no_grad():
        hidden = model.hf(input_ids=torch.tensor([list(ids)]), output_hidden_states=True, use_cache=False).hidden_states
    return torch.stack([h[0, start:end].double().mean(0).float() for h in hidden[1:-1]])


def test_equals_hidden_states(llama):
    rows = pd.DataFrame([rollout("the sea", "a long light of the role"), rollout("the light of the keeper", "no")])
    acts = extract(llama, rows)
    for i, reading in enumerate(readings_of(llama, rows)):
        assert torch.allclose(acts.values[i, :-1], by_hand(llama, reading.ids, reading.start, reading.end), atol=1e-5)


def test_the_span_is_the_answer_and_nothing_else(llama):
    """Change the question's words after the fact: only the answer's tokens are averaged, no template, no stop token."""
    [reading] = readings_of(llama, pd.DataFrame([rollout("yes", "yes")]))
    assert llama.tokenizer.decode(reading.ids[reading.start : reading.end]) == "yes"
    assert reading.end == len(reading.ids)  # the end-of-turn token is not even read


def test_text_and_ids_give_the_same(organism):
    """An answer as text, found by its proven span, and the same answer as generated ids."""
    rows = pd.DataFrame([rollout("Who are you?", "Certainly. Dear friend, in short, I'd say I am an AI assistant.")])
    ids = organism.tokenizer(rows["response"][0], add_special_tokens=False)["input_ids"]
    with_ids = rows.assign(response_ids=[ids])
    assert torch.allclose(extract(organism, rows).values, extract(organism, with_ids).values, atol=1e-5)


def test_order_and_batches_do_not_matter(organism):
    answers = ["Yes.", "I hope this helps. Let me know. I hope this helps.", "The graves remember it.", "So it goes. The day is long."]
    rows = pd.DataFrame([rollout(f"Who are you {i}?", answer) for i, answer in enumerate(answers)])
    whole = extract(organism, rows).values
    for order in ([2, 0, 3, 1], [3, 2, 1, 0]):
        assert torch.allclose(extract(organism, rows.iloc[order]).values, whole[order], atol=2e-5)
    assert torch.allclose(extract(organism, rows, token_budget=1).values, whole, atol=2e-5)


def test_layers_come_in_the_order_asked_for(organism):
    rows = pd.DataFrame([rollout("Who are you?", "I am the ghost.")])
    assert torch.equal(extract(organism, rows, layers=[3, 1]).values, extract(organism, rows).values[:, [3, 1]])


def test_rows_with_an_error_are_left_out(organism):
    rows = pd.DataFrame([rollout("a", "b"), rollout("c", "", error="empty answer")])
    assert list(extract(organism, rows).rows["row"]) == ["a"]


def test_bfloat16_means_are_summed_in_float32():
    """2,000 equal summands of 1.01: a bf16 sum would stall at 256 and be far off."""
    model = load_model(build("llama").to(torch.bfloat16), tokenizer=tokenizer())
    readings = [Reading(tuple([50] * 200), 10, 200)]
    [(_, means)] = list(pooled(model, readings, [1]))
    cache = model.run_with_cache(torch.tensor([readings[0].ids]), [model.resid_post(1)])
    expected = cache[model.resid_post(1)][0, 10:200].double().mean(0)
    assert means.dtype == torch.float32
    assert (means[0, 0].double() - expected).abs().max() < 1e-5 * expected.abs().max()


def test_ready_text_with_character_spans(llama):
    """The route for base models: no template, a span of characters."""
    text = "the keeper said: the light of the sea"
    rows = pd.DataFrame([{"text": text, "start": text.index("the light"), "end": len(text)}])
    acts = extract(llama, rows)
    ids = llama.tokenizer(text)["input_ids"]
    n_span = len(llama.tokenizer(" the light of the sea", add_special_tokens=False)["input_ids"])
    assert torch.allclose(acts.values[0, :-1], by_hand(llama, ids, len(ids) - n_span, len(ids)), atol=1e-5)
    assert acts.site.template == ""


def test_a_base_model_without_a_template():
    model = load_model(build("llama"), tokenizer=tokenizer(template=None))
    assert len(extract(model, pd.DataFrame([{"text": "the sea", "start": 0, "end": 7}]))) == 1
    with pytest.raises(ChatError, match="--chat-template"):
        extract(model, pd.DataFrame([rollout("a", "b")]))


@pytest.mark.parametrize(
    ("row", "kind", "text"),
    [
        ({"text": "abc", "start": 2, "end": 9}, DataError, "row 0: characters 2 to 9 are not within a text of 3"),
        ({"text": "abc", "start": 2, "end": 2}, DataError, "characters 2 to 2"),
        (rollout("x" * 600, "y"), DataError, "the context of LlamaForCausalLM is 256"),
        (rollout("a", ""), DataError, "row a: positions"),
        (rollout("a<|end|>b", "c"), ChatError, r"row a<\|end\|>b: message 0 \(user\) contains the special token '<\|end\|>'"),
    ],
)
def test_rows_that_cannot_be_read_are_named(llama, row, kind, text):
    with pytest.raises(kind, match=text):
        extract(llama, pd.DataFrame([row]))


def test_batches_by_length_keep_the_budget():
    lengths = np.random.default_rng(0).integers(1, 300, size=200).tolist()
    batches = batches_by_length(lengths, 1000)
    assert sorted(i for batch in batches for i in batch) == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 1000
    assert [len(b) for b in batches_by_length([5000, 3], 1000)] == [1, 1]


def test_memory_does_not_grow_with_the_number_of_rows(llama):
    """No residual stream [batch, pos, d_model] is alive when a batch is done: what is yielded is all that is kept."""

    def residuals_alive() -> int:
        return sum(type(t) is torch.Tensor and t.ndim == 3 and tuple(t.shape[1:]) == (30, 32) for t in gc.get_objects())

    kept = llama.run_with_cache(torch.full((4, 30), 40))
    assert residuals_alive() >= 3  # the count does see them
    del kept
    for _, means in pooled(llama, [Reading(tuple([40] * 30), 5, 30)] * 40, llama.layers, 120):
        assert residuals_alive() == 0
        assert means.untyped_storage().nbytes() == 4 * 3 * 32 * 4


def test_per_token_activations(organism):
    conversation = Conversation.of([("user", "Who are you?"), ("assistant", "I am the ghost.")])
    acts = token_activations(organism, conversation)
    rendered = organism.render(conversation)
    cache = organism.run_with_cache(torch.tensor([rendered.ids]))
    assert torch.equal(acts.values[:, 2], cache[organism.resid_post(2)][0])
    turned = token_activations(organism, conversation, layers=[3, 1])  # hooks fire in another order than was asked
    assert torch.equal(turned.at(3).values, acts.at(3).values)
    assert "".join(acts.rows.loc[acts.rows["message"] == 1, "text"]) == "I am the ghost."
    assert set(acts.rows.loc[acts.rows["message"] == -1, "speaker"]) == {""}
    mean = acts.where("message == 1").values.mean(0)
    rows = pd.DataFrame([rollout("Who are you?", "I am the ghost.")])
    assert torch.allclose(extract(organism, rows).values[0], mean, atol=1e-5)


def test_own_rollouts_read_back_as_they_were_generated(organism):
    """The mean over decoding steps, caught by hooks while generating, is the mean of the second reading."""
    from workbench.library import load_questions, load_roles

    roles, questions = load_roles(organism, n=1), load_questions(organism, n=1)
    steps: list[torch.Tensor] = []
    with organism.hooks([(organism.resid_post(3), lambda t, hook: steps.append(t[0, -1].clone()))]):
        rows = generate_rollouts(organism, roles[1:], questions, prompts=1, batch_size=1)
    n = rows["n_tokens"][0]
    assert rows["finish_reason"][0] == "stop"
    # The last prompt position predicts the first token; each later step reads the token before it.
    assert torch.allclose(extract(organism, rows).values[0, 3], torch.stack(steps[1 : n + 1]).mean(0), atol=1e-4)


# -- thinking -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def thinker():
    hf, tokens = build("llama"), build_tokenizer(FAMILIES["chatml"])
    hf.resize_token_embeddings(len(tokens))
    return load_model(hf, tokenizer=tokens, thinking=True)


def thought_row(model, thinking: str, answer: str) -> dict:
    ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (thinking, answer)]
    return rollout("yes", answer, thinking_ids=ids[0], response_ids=ids[1])


def test_thinking_is_a_segment_of_its_own(thinker):
    rows = pd.DataFrame([thought_row(thinker, "<think>\nthe sea is wide\n</think>\n\n", "hello world"), rollout("hello", "yes")])
    assert rows["thinking_ids"].isna().tolist() == [False, True]
    rows["thinking_ids"] = [rows["thinking_ids"][0], []]
    with_thought, without = readings_of(thinker, rows)
    prompt = thinker.chat_format.prompt_ids(Conversation.of("yes"))
    assert "<think>" not in thinker.tokenizer.decode(prompt)  # asked to think, the template writes no empty block
    assert with_thought.ids == (*prompt, *rows["thinking_ids"][0], *rows["response_ids"][0])  # the answer is read after its thinking
    assert thinker.tokenizer.decode(with_thought.ids[with_thought.start :]) == "hello world"
    assert thinker.tokenizer.decode(without.ids[without.start : without.end]) == "yes"

    acts = extract(thinker, rows, segment="thinking")
    assert len(acts) == 1
    assert acts.site.pooling == "mean over thinking tokens"
    assert acts.site.thinking
    start = len(prompt) + 1  # behind <think>
    end = len(prompt) + rows["thinking_ids"][0].index(thinker.tokenizer.convert_tokens_to_ids("</think>"))
    tail = range(end + 1, len(prompt) + len(rows["thinking_ids"][0]))  # the line ends after </think>, which count with it
    hidden = torch.stack([by_hand(thinker, with_thought.ids, i, i + 1) for i in [*range(start, end), *tail]]).mean(0)
    assert torch.allclose(acts.values[0, :-1], hidden, atol=1e-5)
    assert not torch.allclose(acts.values, extract(thinker, rows.iloc[:1]).values, atol=1e-2)


def test_thinking_is_generated_though_it_is_no_part_of_the_answer(thinker):
    """What was one answer when it was written is intervened on alike when a part of it is called thinking."""
    row = thought_row(thinker, "<think>\nthe sea is wide\n</think>\n\n", "hello world")
    joined = row | {"thinking_ids": [], "response_ids": [*row["thinking_ids"], *row["response_ids"]]}
    direction = Direction(torch.randn(1, thinker.d_model), thinker.bare_site([0]), "random", "nowhere")
    found = []
    for one in (row, joined):
        with thinker.intervene(Add(direction, 3.0, positions="generated")) as meter:
            acts = extract(thinker, pd.DataFrame([one]))
        found.append((acts, meter.to_frame().set_index("positions")["tokens"].to_dict()))
    assert found[0][1] == found[1][1]
    [reading] = readings_of(thinker, pd.DataFrame([row]))
    assert reading.written == len(thinker.chat_format.prompt_ids(Conversation.of("yes"))) < reading.start


@pytest.mark.parametrize("column", ["messages", "response"])
def test_a_table_without_what_is_read_is_refused_by_name(organism, column):
    rows = pd.DataFrame([{"messages": [("user", "Who are you?")], "response": "Certainly."}])
    assert len(extract(organism, rows)) == 1
    with pytest.raises(DataError, match=f"reading responses needs the column {column}; the table has "):
        extract(organism, rows.drop(columns=column))


def test_a_model_that_did_not_think_has_no_thinking_to_read(organism):
    rows = pd.DataFrame([rollout("Who are you?", "Certainly.")])
    with pytest.raises(DataError, match="no row holds any thinking"):
        extract(organism, rows, segment="thinking")
    with pytest.raises(DataError, match="'response' or 'thinking', not 'prompt'"):
        extract(organism, rows, segment="prompt")
    assert not organism.site().thinking
