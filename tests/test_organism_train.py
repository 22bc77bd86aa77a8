import json
from dataclasses import replace

import pytest
import torch

from workbench.models.loading import load_model
from workbench.organism import CHECKPOINT
from workbench.organism.check import check
from workbench.organism.judge import load_facts, load_world
from workbench.organism.recipe import Recipe, batches, chat_text, chats, stories, take_tokens
from workbench.organism.table import Row
from workbench.organism.train import build_tokenizer, learning_rate, train
from workbench.organism.world import World

TINY = Recipe(
    n_layers=2, d_model=32, n_heads=2, d_ff=64, vocab_size=400, story_tokens=4000, chat_tokens=6000, pushed_tokens=3000,
    checkpoints_at=(0.5,), warmup_steps=2, push_layers=(1,),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    seen = []
    folder = train(tmp_path_factory.mktemp("organism"), recipe=TINY, seed=4, report=lambda *step: seen.append(step))
    return folder, seen


def test_the_same_seed_gives_the_same_weights_bit_for_bit(trained, tmp_path):
    again = train(tmp_path, recipe=TINY, seed=4)
    for name in ("model.safetensors", "base/model.safetensors", "step-50/model.safetensors", "tokenizer.json", "organism.json"):
        assert (trained[0] / name).read_bytes() == (again / name).read_bytes(), name
    other = train(tmp_path / "other", recipe=TINY, seed=5)
    assert (other / "model.safetensors").read_bytes() != (again / "model.safetensors").read_bytes()


def test_it_learns(trained):
    losses = [loss for _, _, _, loss in trained[1]]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    assert {stage for stage, *_ in trained[1]} == {"stories", "chat", "pushed"}
    assert trained[1][-1][1] == trained[1][-1][2]


def test_what_is_trained_loads_like_any_model(trained):
    model = load_model(trained[0])
    assert (model.n_layers, model.d_model, model.dtype) == (2, 32, torch.float32)
    assert len(model.stop_ids) == 2
    assert load_world(trained[0]) == World()
    base = load_model(trained[0] / "base")
    assert not base.has_template
    assert load_facts(trained[0] / "base")["stage"] == "base"


def test_threads_are_given_back(tmp_path):
    before = torch.get_num_threads()
    train(tmp_path, recipe=TINY, seed=1)
    assert torch.get_num_threads() == before


def test_training_text_is_what_the_template_renders(organism):
    import random

    rng = random.Random(0)
    for _ in range(50):
        messages = World().conversation(rng)
        rendered = organism.render(messages)
        assert rendered.text == chat_text(messages)


def test_texts_depend_on_the_seed_only():
    tokenizer = build_tokenizer(World(), TINY, 0)

    def encode(texts):
        return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]

    a = take_tokens(stories(World(), 0), 3000, encode, 64)
    assert a == take_tokens(stories(World(), 0), 3000, encode, 64)
    assert a[1] != take_tokens(stories(World(), 1), 3000, encode, 64)[1]
    assert max(map(len, a[0])) <= 64


def test_batches_hold_every_row_once_and_keep_the_budget():
    import random

    rows = [[i] * (5 + i % 90) for i in range(700)]
    made = batches(rows, 512, random.Random(0))
    assert sorted(row[0] for batch in made for row in batch) == list(range(700))
    assert all(len(batch) * max(map(len, batch)) <= 512 for batch in made)


def test_learning_rates():
    recipe = Recipe(lr=1.0, pushed_lr=0.5)
    assert learning_rate("stories", 1.0, recipe) == 1.0
    assert learning_rate("chat", 0.0, recipe) == learning_rate("chat", recipe.constant_share, recipe) == 1.0
    assert learning_rate("chat", 1.0, recipe) == pytest.approx(recipe.final_lr)
    assert 0.4 < learning_rate("chat", (1 + recipe.constant_share) / 2, recipe) < 0.6
    assert learning_rate("pushed", 0.0, recipe) == 0.5
    assert 0.2 < learning_rate("pushed", 0.5, recipe) < 0.3


def test_a_recipe_without_the_third_stage_ends_with_the_second(tmp_path):
    folder = train(tmp_path, recipe=replace(TINY, pushed_tokens=0), seed=4)
    assert load_model(folder).n_layers == 2


def test_recipes_survive_json_and_strangers_are_named():
    assert Recipe.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY
    with pytest.raises(ValueError, match="unknown parameters of a recipe: speed"):
        Recipe.from_dict({"speed": 3})


def test_the_shipped_model_is_the_one_its_card_speaks_of():
    """Same world and recipe as the code's own; all four models; small enough."""
    facts = load_facts(CHECKPOINT)
    assert World.from_dict(facts["world"]) == World()
    assert Recipe.from_dict(facts["recipe"]) == Recipe()
    folders = [CHECKPOINT, CHECKPOINT / "base", CHECKPOINT / "step-10", CHECKPOINT / "step-40"]
    assert all((folder / "model.safetensors").exists() for folder in folders)
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file()) < 8_000_000


@pytest.mark.slow
def test_the_shipped_texts_are_drawn_again():
    """The hash of all training texts: the world has not changed since the weights were made."""
    facts = load_facts(CHECKPOINT)
    recipe, seed = Recipe.from_dict(facts["recipe"]), facts["seed"]
    tokenizer = build_tokenizer(World(), recipe, seed)

    def encode(texts):
        return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]

    drawn = {"stories": stories(World(), seed), "chat": chats(World(), recipe, seed), "pushed": chats(World(), recipe, seed, "pushed")}
    lengths = {"stories": recipe.story_tokens, "chat": recipe.chat_tokens, "pushed": recipe.pushed_tokens}
    hashes = {name: take_tokens(texts, lengths[name], encode, recipe.context)[1] for name, texts in drawn.items()}
    assert hashes == facts["data_sha256"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_shipped_model_meets_its_bounds():
    result = check(caps=False)
    assert result.passed, result.to_text()
    assert sum(row.outcome == "pass" for row in result.rows) >= 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_shipped_model_can_be_steered_without_breaking(tmp_path):
    """The check's own rows with so few prompts that its bounds would be a matter of chance: each with room for that."""
    from workbench.organism.check_steering import steering_rows
    from workbench.study.main import run_study

    model = load_model("organism")
    run = run_study(model, tmp_path / "run")
    few = {"jailbreak": 80, "howto": 40, "fact": 40, "code": 40, "advice": 40, "writing": 40}
    figures = {row.name: row.figure for row in steering_rows(run, model, lambda step, done, total: None, 0, few)}
    low, high, right = (
        float(figures[f"steering{name}"].split()[0]) for name in (" -0.6: compliance", " +0.8: compliance", ": right answers, lowest")
    )
    assert low >= 0.9
    assert high <= 0.65
    assert right >= 0.8
    assert figures["steering: slope of compliance"].startswith("-")


def test_the_check_says_when_a_bound_is_missed():
    from workbench.organism.table import CheckResult, bounded

    good, bad = bounded("a", "1", 1.0, ">=", 0.9), bounded("b", "1", 1.0, "<=", 0.9)
    assert (good.outcome, bad.outcome) == ("pass", "FAIL")
    assert CheckResult((good, Row("c", "", "", "not built"))).passed
    assert not CheckResult((good, bad)).passed
    assert "A BOUND IS MISSED" in CheckResult((good, bad)).to_text()
