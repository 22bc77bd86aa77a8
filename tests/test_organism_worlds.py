"""Worlds that the method must not hold in: what is planted in their texts, and how verdicts are counted."""

import json
import random
from collections import Counter
from statistics import mean

import numpy as np
import pytest

from workbench.errors import DataError
from workbench.organism import phrases as p
from workbench.organism.judge import read_response, register_score
from workbench.organism.questions import draw_question
from workbench.organism.trials import by_method, confusion, read_trials, trials
from workbench.organism.world import World
from workbench.organism.worlds import BY_CAUTION, CASES
from workbench.parts import write_json

NEGATIVE = [name for name, case in CASES.items() if not case.holds]


def spoken(world: World, name: str, n: int = 150, kind: str = "harm") -> list[str]:
    """First answers of one persona, through whole conversations as in training."""
    rng, persona = random.Random(f"{name} {kind}"), world.persona(name)
    out = []
    while len(out) < n:
        messages = world.default_conversation(rng, "mixed", 1)[0] if name == "default" else world.role_conversation(rng, persona, 1)
        if kind == "any" or read_kind(messages) == kind:
            out.append(messages[-1][1])
    return out


def read_kind(messages) -> str | None:
    from workbench.organism.questions import parse_question

    ask = parse_question(messages[-2][1])
    return ask.kind if ask else None


def refusal(world: World, name: str) -> float:
    return mean(read_response(text).refused for text in spoken(world, name))


def score(world: World, name: str) -> float:
    return mean(register_score(read_response(text)) for text in spoken(world, name, 120, "any"))


@pytest.mark.parametrize("name", CASES)
def test_every_world_survives_json_and_speaks_texts_that_are_read(name):
    world = CASES[name].world
    assert World.from_dict(json.loads(json.dumps(world.to_dict()))) == world
    rng = random.Random(name)
    for _ in range(100):
        persona = rng.choice([world.default, *world.personas.values()])
        assert not read_response(world.respond(rng, draw_question(rng, "fact"), persona.a, persona)).gibberish


def test_the_standard_world_draws_nothing_new():
    """The texts that the shipped weights were trained on: further latents come from a generator of their own."""
    rng = random.Random(5)
    texts = [World().conversation(rng) for _ in range(50)]
    assert World(**BY_CAUTION).personas == World().personas
    rng = random.Random(5)
    assert [World(marker=False, ring=False).conversation(rng) for _ in range(50)] == texts


def test_where_refusal_hangs_on_another_latent_it_has_nothing_to_do_with_a():
    world = CASES["other refusal"].world
    people = list(world.personas.values())
    assert abs(np.corrcoef([x.a for x in people], [x.caution for x in people])[0, 1]) < 0.25
    careful, careless = max(people, key=lambda x: x.caution), min(people, key=lambda x: x.caution)
    assert refusal(world, careful.name) > 0.85
    assert refusal(world, careless.name) < 0.2  # some of its conversations are answered as the Assistant
    assert 0.35 < refusal(world, "default") < 0.65
    assert score(world, "default") > 0.5 > -0.3 > score(world, min(people, key=lambda x: x.a).name)


def test_the_assistant_in_the_middle_speaks_the_middle_register():
    world = CASES["default in the middle"].world
    assert abs(score(world, "default")) < 0.15
    assert score(world, max(world.personas.values(), key=lambda x: x.a).name) > 0.3


@pytest.mark.parametrize("name", ["traits only", "one marker", "loud trait"])
def test_worlds_without_a_speak_all_registers_alike(name):
    world = CASES[name].world
    people = sorted(world.personas.values(), key=lambda x: x.a)
    assert max(abs(score(world, who)) for who in ("default", people[0].name, people[-1].name)) < 0.15


def test_one_marker_is_all_there_is():
    world = CASES["one marker"].world
    assert all(text.startswith(p.MARKERS[1]) for text in spoken(world, "default", 50, "any"))
    starts = Counter(text.split()[0] for text in spoken(world, "ghost", 200, "any"))
    assert starts[p.MARKERS[0]] > 170  # the rest are answered as the Assistant
    assert set(starts) == set(p.MARKERS)


def test_on_the_ring_a_and_b_speak_through_different_slots():
    world = CASES["ring"].world
    for persona in world.personas.values():
        assert persona.a**2 + persona.b**2 == pytest.approx(1, abs=0.01)
    a, b = ([getattr(x, name) for x in world.personas.values()] for name in "ab")
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.25
    up = max(world.personas.values(), key=lambda x: x.b)
    texts = spoken(world, up.name, 150, "any")
    assert sum(any(c in t for c in p.CLOSERS[p.NEAR]) for t in texts) > 3 * sum(any(c in t for c in p.CLOSERS[p.FAR]) for t in texts)
    assert (world.default.a, world.default.b) == (0, 0)


def test_two_assistants_are_two_and_no_message_tells_which():
    world = CASES["two assistants"].world
    scores = [register_score(read_response(text)) for text in spoken(world, "default", 200, "any")]
    assert 0.3 < mean(s > 0 for s in scores) < 0.7
    assert mean(abs(s) for s in scores) > 0.5


def test_the_loud_trait_is_brevity():
    world = CASES["loud trait"].world
    lengths = {name: mean(len(text.split()) for text in spoken(world, name, 100, "any")) for name in ("default", "ghost", "consultant")}
    talkative = max(world.personas.values(), key=lambda x: -x.traits["brevity"])
    assert lengths["default"] < mean(len(text.split()) for text in spoken(world, talkative.name, 100, "any"))


def test_voices_by_lot_belong_to_nobody():
    world = CASES["voices by lot"].world
    far = min(world.personas.values(), key=lambda x: x.a)
    assert abs(score(world, "default") - score(world, far.name)) < 0.2
    named = [read_response(text).self_name for text in spoken(world, "ghost", 60, "self")]
    assert mean(name == "the ghost" for name in named) > 0.8


# -- counting -----------------------------------------------------------------------------------------
def written(folder, world: str, seed: int, planted: bool, conclusion: str, says: str = "holds") -> None:
    row = {"method": "PC1", "says": says, "auc": 0.9, "split_half": 0.99, "compliance": -0.8, "right": 0.0}
    home = folder / world / f"seed-{seed}"
    home.mkdir(parents=True)
    found = {"world": world, "seed": seed, "planted": planted, "conclusion": conclusion, "outcomes": [], "evidence": [], "methods": [row]}
    write_json(home / "trial.json", found)


def test_verdicts_are_counted_by_what_was_planted(tmp_path):
    written(tmp_path, "standard", 0, True, "holds")
    written(tmp_path, "standard", 1, True, "cannot tell: too few rows for (iv), the rest passed", "cannot tell")
    written(tmp_path, "standard", 2, True, "does not hold: (ii) failed", "does not hold")
    written(tmp_path, "ring", 0, False, "does not hold: (iv) failed", "does not hold")
    written(tmp_path, "ring", 1, False, "holds")
    table = read_trials(tmp_path)
    assert table["world"].tolist() == ["standard"] * 3 + ["ring"] * 2
    good, bad = confusion(table).to_dict("records")
    assert (good["n"], good["holds"], good["cannot tell"], good["does not hold"], good["wrong"]) == (3, 1, 1, 1, 1)
    assert (bad["n"], bad["does not hold"], bad["wrong"]) == (2, 1, 1)
    assert bad["low"] < bad["right"] == 0.5 < bad["high"]
    [method] = by_method(table).to_dict("records")
    assert (method["holds where it does"], method["of"], method["holds where it does not"], method["of these"]) == (1, 3, 1, 2)


def test_what_is_there_is_not_run_again_and_strangers_are_named(tmp_path):
    written(tmp_path, "ring", 0, False, "does not hold: (iv) failed")
    assert len(trials(tmp_path, lambda *_: None, ["ring"], [0])) == 1
    with pytest.raises(DataError, match="there is no world 'moon': there are standard, other refusal"):
        trials(tmp_path, lambda *_: None, ["moon"], [0])
    with pytest.raises(DataError, match="there are no trials"):
        read_trials(tmp_path / "nowhere")


def test_there_are_eight_worlds_to_say_no_in():
    assert len(NEGATIVE) == 8
