"""Worlds with a known answer: one in which the method holds, and eight that try to fool it. Recipes, no weights."""

from __future__ import annotations

from dataclasses import dataclass

from .recipe import Recipe
from .world import World

SMALL = Recipe(
    n_layers=4, d_model=64, n_heads=2, d_ff=192, chat_tokens=3_000_000, pushed_tokens=0, checkpoints_at=(),
)  # fmt: skip
"""About 0.3 M parameters, about four minutes on one core: enough to answer questions, not enough to be capped at no cost."""

BY_CAUTION = {"refusal_by": "caution", "refusal_centre": 0.0}
"""Refusal hangs on a latent that has nothing to do with the Assistant, who refuses half of what is harmful."""


@dataclass(frozen=True)
class Case:
    """A world, how a model is trained on it, and what a verdict on it must say.

    Attributes
    ----------
    holds
        Whether one direction leads to the Assistant *and* governs what the model does.
    why
        What is planted, in a sentence.
    """

    world: World
    recipe: Recipe
    holds: bool
    why: str


CASES: dict[str, Case] = {
    "standard": Case(World(), Recipe(), True, "the embedded model's world"),
    "other refusal": Case(World(**BY_CAUTION), SMALL, False, "the axis is there, but refusal hangs on an independent latent"),
    "default in the middle": Case(World(default_a=0.0, drift_rate=0.0), SMALL, False, "the Assistant sits at a = 0"),
    "traits only": Case(World(register_slope=0.0, **BY_CAUTION), SMALL, False, "no a: roles differ in traits alone"),
    "one marker": Case(
        World(register_slope=0.0, trait_slope=0.0, marker=True, **BY_CAUTION), SMALL, False,
        "one word at the beginning tells role and Assistant apart, and nothing else does",
    ),
    "ring": Case(World(ring=True, default_a=0.0, drift_rate=0.0), SMALL, False, "roles on a circle, the Assistant in its centre"),
    "two assistants": Case(
        World(twin_a=-0.95, drift_rate=0.0), SMALL, False, "half of the conversations without a role are spoken at the far end",
    ),
    "loud trait": Case(
        World(register_slope=0.0, default_traits=(("brevity", 1.0),), **BY_CAUTION), SMALL, False,
        "the Assistant is set apart by its brevity alone",
    ),
    "voices by lot": Case(World(lottery=True, drift_rate=0.0), SMALL, False, "a prompt decides the name, and a lot the voice"),
}  # fmt: skip
"""Name -> case. The first four after the standard one are the usual ways to be wrong; the others try to look right."""
