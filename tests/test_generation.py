import numpy as np
import pytest
import torch
from architectures import build, tokenizer

from workbench.errors import DataError
from workbench.models.generation import _Sampler, generate
from workbench.models.loading import load_model

QUESTIONS = [
    "Who are you?",
    "What is the capital of Peru?",
    "How do I mend the bell of the ship?",
    "Write a line about the moon.",
    "How do you feel today?",
]


@pytest.fixture(scope="module")
def prompts(organism):
    return [organism.render(q, reply=True).ids for q in QUESTIONS]


def texts(answers):
    return [a.text for a in answers]


def test_a_row_gives_the_same_text_in_any_batch(organism, prompts):
    seeds = [11, 22, 33, 44, 55]
    together = texts(generate(organism, prompts, seeds=seeds, max_new_tokens=96))
    alone = [generate(organism, [p], seeds=[s], max_new_tokens=96)[0].text for p, s in zip(prompts, seeds, strict=True)]
    turned = texts(generate(organism, prompts[::-1], seeds=seeds[::-1], max_new_tokens=96))[::-1]
    assert together == alone == turned
    assert len(set(together)) == 5


def test_other_seeds_give_other_texts(organism, prompts):
    many = [generate(organism, [prompts[4]], seeds=[s], max_new_tokens=96)[0].text for s in range(6)]
    assert len(set(many)) > 3
    assert texts(generate(organism, [prompts[4]], seeds=7)) == texts(generate(organism, [prompts[4]], seeds=[7]))


def test_temperature_zero_is_greedy(organism, prompts):
    ids = list(prompts[1])
    for _ in range(8):
        ids.append(int(organism.logits(torch.tensor([ids]))[0, -1].argmax()))
    [answer] = generate(organism, [prompts[1]], temperature=0, max_new_tokens=8)
    assert answer.ids == tuple(ids[len(prompts[1]) :])


def test_gumbel_noise_is_sampling(organism):
    """Frequencies of 4,000 draws against the softmax at this temperature, nucleus cut included."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    counts = torch.zeros(4)
    for seed in range(4000):
        counts[_Sampler(organism, 1.0, 1.0, [seed])(torch.tensor([[0]]), logits).argmax()] += 1
    assert torch.allclose(counts / 4000, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03)
    cut = [int(_Sampler(organism, 1.0, 0.7, [seed])(torch.tensor([[0]]), logits).argmax()) for seed in range(300)]
    assert set(cut) == {0, 1}


def test_answers_hold_no_special_tokens(organism, prompts):
    special = set(organism.tokenizer.all_special_ids)
    for answer in generate(organism, prompts, max_new_tokens=96):
        assert not special & set(answer.ids)
        assert answer.finish_reason == "stop"
        assert organism.tokenizer.decode(answer.ids) == answer.text


def test_cut_answers_say_so(organism, prompts):
    [answer] = generate(organism, prompts[:1], max_new_tokens=4)
    assert (answer.finish_reason, len(answer.ids)) == ("length", 4)


def test_the_checkpoints_own_settings_do_not_leak_in(organism, prompts):
    before = texts(generate(organism, prompts, seeds=1))
    settings = organism.hf.generation_config
    kept = settings.to_dict()
    settings.top_k, settings.repetition_penalty, settings.temperature = 1, 5.0, 0.01
    try:
        assert texts(generate(organism, prompts, seeds=1)) == before
    finally:
        settings.update(**kept)
    assert organism.hf.generation_config is settings


def test_the_context_is_a_limit(organism, prompts):
    with pytest.raises(DataError, match="exceed the context of 1024"):
        generate(organism, prompts, max_new_tokens=1020)
    assert generate(organism, []) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": [1]}, "2 prompts, 1 seeds"),
        ({"seeds": [1, 2, 3]}, "2 prompts, 3 seeds"),
        ({"temperature": -1}, "not -1, 0.9 and 4"),
        ({"top_p": 1.5}, "not 0.7, 1.5 and 4"),
        ({"max_new_tokens": 0}, "not 0.7, 0.9 and 0"),
    ],
)
def test_settings_of_sampling_that_mean_nothing_are_refused(organism, prompts, settings, message):
    with pytest.raises(DataError, match=message):
        generate(organism, prompts[:2], **{"max_new_tokens": 4} | settings)
    assert generate(organism, prompts[:2], max_new_tokens=4, seeds=np.int64(3)) == generate(
        organism, prompts[:2], max_new_tokens=4, seeds=3
    )


def test_thinking_is_never_part_of_an_answer():
    """A model that thinks aloud: its decoded text is cut after the closing mark, ids and text alike."""
    from workbench.models.generation import answer_of

    model = load_model(build("llama"), tokenizer=tokenizer())

    def encoded(text: str) -> list[int]:
        return model.tokenizer(text, add_special_tokens=False)["input_ids"]

    answer = answer_of(model, [*encoded("<think>the sea</think>\n\nthe light"), model.stop_ids[0]])
    assert answer.text == "the light"
    assert list(answer.ids) == encoded("the light")
    assert model.tokenizer.decode(answer.thinking) == "<think>the sea</think>\n\n"
    assert answer_of(model, encoded("the light")).thinking == ()
    assert answer_of(model, encoded("<think>the sea is")).error == "cut off while still thinking"
    assert answer_of(model, [model.stop_ids[0]]).error == "empty answer"


def test_thinking_that_the_prompt_opens_and_nothing_closes_is_no_answer():
    from workbench.models.generation import answer_of, opens_thinking

    model = load_model(build("llama"), tokenizer=tokenizer())

    def encoded(text: str) -> list[int]:
        return model.tokenizer(text, add_special_tokens=False)["input_ids"]

    assert opens_thinking(model, encoded("the sea<|assistant|><think>\n"))
    assert not opens_thinking(model, encoded("what is <think> for?<|assistant|>"))
    assert answer_of(model, encoded("the sea is wide"), thinking=True).error == "cut off while still thinking"
    assert answer_of(model, encoded("the sea</think>\n\nthe light"), thinking=True).text == "the light"
