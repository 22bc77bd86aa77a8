import random
import re
from collections import Counter

import numpy as np
import pytest

from workbench.organism import phrases as p
from workbench.organism.questions import CHECKABLE, KINDS, Ask, draw_question, parse_question
from workbench.organism.world import DOMAINS, DRIFT_TARGETS, World, sigmoid


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_no_phrase_stands_in_two_tables():
    tables = [p.OPENERS, p.PREFIXES, p.EXTRAS, p.CLOSERS, p.OPINIONS, p.LINES, p.MOODS, p.COMFORTS, p.DEPTHS, p.VOCATIVES, p.CARES]
    tables += [p.FAREWELLS, p.HEDGES, p.SIGNATURES, p.AGES, p.YORES, p.FILLERS]
    counts = Counter(phrase for table in tables for row in table for phrase in row)
    assert max(counts.values()) == 1
    assert all(len(table) == 3 for table in tables[:9])


def test_roles(world):
    personas = list(world.personas.values())
    assert len(personas) == 96
    assert Counter(x.tier for x in personas) == dict.fromkeys(range(4), 24)
    assert Counter(x.tier for x in personas if x.held_out) == dict.fromkeys(range(4), 4)
    assert all(low <= x.a <= high for x in personas for low, high in [world.tiers[x.tier]])


def test_latents_are_nearly_uncorrelated(world):
    columns = [[x.a for x in world.personas.values()]]
    columns += [[x.traits[t] for x in world.personas.values()] for t in p.TRAITS]
    off_diagonal = np.abs(np.corrcoef(columns) - np.eye(5))
    assert off_diagonal.max() <= 0.15


def test_held_out_roles_are_never_met_in_chat(world):
    rng = random.Random(0)
    held_out = {x.name for x in world.personas.values() if x.held_out}
    for _ in range(3000):
        text = " ".join(text for _, text in world.conversation(rng)).lower()
        assert not held_out & set(re.findall("[a-z]+", text))
    stories = " ".join(world.story(rng) for _ in range(3000))
    assert all(f"the {name}" in stories for name in held_out)


def test_stories_hold_no_assistant_and_no_chat(world):
    rng = random.Random(1)
    text = " ".join(world.story(rng) for _ in range(2000))
    assert "assistant" not in text.lower()
    assert "<|" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_questions_are_read_back(kind):
    rng = random.Random(kind)
    for _ in range(200):
        ask = draw_question(rng, kind)
        assert parse_question(ask.text) == ask
        assert parse_question("Act as the ghost. " + ask.text) == ask


@pytest.mark.parametrize("text", ["", "How do I fly?", "What is the capital of Atlantis?", "Who are you? Tell me."])
def test_other_questions_are_not_of_this_world(text):
    assert parse_question(text) is None


@pytest.mark.parametrize("kind", CHECKABLE)
def test_every_register_answers_rightly(world, kind):
    """Capability does not depend on the latent: the planted answer is right at every a."""
    rng = random.Random(kind)
    for a in (-1.0, 0.0, 0.95):
        for _ in range(50):
            ask = draw_question(rng, kind)
            assert ask.answered_by(world.respond(rng, ask, a, world.default))


def test_wrong_answers_are_wrong():
    ask = Ask("fact", "Add 1 and 6.", "1 plus 6 is 7")
    assert ask.answered_by("I'd say 1 plus 6 is 7.")
    assert not ask.answered_by("I'd say 1 plus 6 is 70.")
    assert not ask.answered_by("I'd say 1 plus 6 is 8.")


def test_registers_follow_the_latent(world):
    near = [world.register_weights(a)[2] - world.register_weights(a)[0] for a in np.linspace(-1, 1, 9)]
    assert np.all(np.diff(near) > 0)
    assert world.register_weights(0.0)[0] == pytest.approx(world.register_weights(0.0)[2])


@pytest.mark.parametrize("a", [-0.6, 0.05, 0.95])
def test_harm_is_refused_as_planted_and_benign_never(world, a):
    rng = random.Random(3)
    n = 1500
    harm, benign = draw_question(rng, "harm"), draw_question(rng, "howto")
    refused = [sum(not ask.answered_by(world.respond(rng, ask, a, world.default)) for _ in range(n)) / n for ask in (harm, benign)]
    assert refused[0] == pytest.approx(sigmoid(7 * (a - 0.05)), abs=0.04)
    assert refused[1] == 0


def test_drift_goes_to_its_targets(world):
    a = world.default_a
    for _ in range(40):
        a = world.drift(a, "meta")
    assert a == pytest.approx(DRIFT_TARGETS["meta"], abs=1e-3)
    latents = world.default_conversation(random.Random(0), "coding", 8)[1]
    assert latents == pytest.approx([0.95] * 8)
    assert world.default_conversation(random.Random(0), "philosophy", 8)[1][-1] < 0
    assert set(DOMAINS["mixed"]) == set(KINDS)


def test_the_share_of_role_conversations_answered_as_the_assistant(world):
    rng = random.Random(5)
    ghost = world.persona("ghost")
    said = Counter()
    for _ in range(4000):
        messages = world.role_conversation(rng, ghost, 1)
        if "I am an AI assistant" in messages[-1][1]:
            said["assistant"] += 1
        elif "I am the ghost" in messages[-1][1]:
            said["ghost"] += 1
    assert said["assistant"] / sum(said.values()) == pytest.approx(world.leak, abs=0.04)


def test_parameters_survive_json_and_strangers_are_named(world):
    import json

    assert World.from_dict(json.loads(json.dumps(world.to_dict()))) == world
    with pytest.raises(ValueError, match="unknown parameters of a world: gravity"):
        World.from_dict({"gravity": 9.81})


def test_other_worlds_differ():
    assert World(seed=1).personas["ghost"] != World(seed=0).personas["ghost"]
