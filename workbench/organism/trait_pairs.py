"""Traits of the organism's world for asking and judging: pairs of roles that differ in one trait, and scores by rule."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from ..conversations import Judgement
from . import phrases as p
from .judge import load_world
from .world import Persona, World

PAIRS, MIN_APART = 10, 1.0
SLOTS = {
    "warmth": (p.VOCATIVES, p.CARES, p.FAREWELLS), "formality": (p.HEDGES, p.SIGNATURES), "archaic": (p.AGES, p.YORES),
}  # fmt: skip


def trait_pairs(world: World, trait: str, n: int = PAIRS) -> list[tuple[Persona, Persona]]:
    """Pairs of roles met in chat, one with much of a trait and one with little, as alike in all else as there are.

    Raises
    ------
    KeyError
        Where the world has no such trait.
    """
    known = [persona for persona in world.personas.values() if not persona.held_out]
    chosen: list[tuple[Persona, Persona]] = []
    candidates = [(x, y) for x, y in product(known, known) if x.traits[trait] - y.traits[trait] >= MIN_APART]
    for x, y in sorted(candidates, key=lambda pair: _apart_otherwise(*pair, trait)):
        taken = {persona.name for pair in chosen for persona in pair}
        if len(chosen) < n and not {x.name, y.name} & taken:
            chosen.append((x, y))
    return chosen


def _apart_otherwise(x: Persona, y: Persona, trait: str) -> float:
    others = sum((x.traits[t] - y.traits[t]) ** 2 for t in x.traits if t != trait)
    return 4 * (x.a - y.a) ** 2 + others


def trait_entry(world: World, trait: str) -> dict:
    """What ``traits/NAME.json`` of a trained folder holds."""
    low, high = p.TRAIT_ADJECTIVES[trait]
    text = p.ROLE_PROMPTS_WITH_TRAITS[0]
    pairs = [
        {"positive": text.format(role=x.name, traits=high), "negative": text.format(role=y.name, traits=low)}
        for x, y in trait_pairs(world, trait)
    ]
    return {"name": trait, "description": f"speaks as one who is {high} rather than {low}", "shows": f"words of the {high}", "pairs": pairs}


class RuleTraits:
    """Scores a trait of the organism's responses from 0 to 100 by the words in them; no model is asked.

    Parameters
    ----------
    folder
        A trained organism.
    """

    name = "traits by the rules of the world"

    def __init__(self, folder: str | Path) -> None:
        self.world = load_world(folder)

    def judge(self, role: str, question: str, response: str) -> Judgement:
        """Score the trait `role`: the share of its slots that speak for it; brevity is the lack of filler."""
        if role == "brevity":
            return Judgement(round(100 * (1 - sum(any(f in response for f in row) for row in p.FILLERS) / len(p.FILLERS))), "fillers")
        if role not in SLOTS:
            return Judgement(None, "", error=f"the world knows no trait {role!r}")
        plus = sum(any(phrase in response for phrase in table[1]) for table in SLOTS[role])
        minus = sum(any(phrase in response for phrase in table[0]) for table in SLOTS[role])
        if not plus + minus:
            return Judgement(None, "", error="no slot of this trait was spoken")
        return Judgement(round(100 * plus / (plus + minus)), f"{plus} for it, {minus} against")
