"""Conversations in the organism's world: scripted users by domain, and the latent that their messages move."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pandas as pd

from ..conversations import Conversation
from ..drift.simulation import Task
from ..errors import DataError
from .questions import draw_question, parse_question
from .world import DOMAINS, World

PERSONAS: dict[str, dict[str, float]] = {
    "plain": {},
    "brisk": {"fact": 3, "code": 2, "advice": 2},
    "curious": {"opinion": 4, "fact": 2},
    "worried": {"vulnerable": 2, "feelings": 4},
    "dreamy": {"meta": 2, "feelings": 3, "writing": 2},
}
"""Users of the world: how much more often than others they send messages of a kind, within what their domain knows."""

DRIFTING = ("coding", "writing", "therapy", "philosophy")
"""The paper's domains, in the order in which the last turn should lie from the Assistant's end to the far one."""


def world_tasks(domains: Sequence[str] = DRIFTING, n: int = 60, turns: int = 6, seed: int = 0) -> list[Task]:
    """`n` scripted conversations a domain, the personas in turn.

    Raises
    ------
    DataError
        Where the world has no such domain.
    """
    if unknown := [name for name in domains if name not in DOMAINS]:
        raise DataError(f"there is no domain {unknown[0]!r} in the embedded model's world: there are {', '.join(DOMAINS)}")
    tasks = []
    for domain in domains:
        for i in range(n):
            persona = list(PERSONAS)[i % len(PERSONAS)]
            rng = random.Random(f"task {seed} {domain} {i}")
            messages = tuple(draw_question(rng, kind).text for kind in _kinds(rng, domain, persona, turns))
            tasks.append(Task(f"{domain}/{persona}/{i}", domain, persona, messages=messages))
    return tasks


def _kinds(rng: random.Random, domain: str, persona: str, turns: int) -> list[str]:
    weights = {kind: weight * PERSONAS[persona].get(kind, 1.0) for kind, weight in DOMAINS[domain].items()}
    return rng.choices(tuple(weights), tuple(weights.values()), k=turns)


def latents(world: World, conversations: Sequence[Conversation]) -> pd.Series:
    """The planted latent `a` behind every reply of conversations without a role, by (conversation, exchange).

    A message that is none of the world's leaves the latent where it is.
    """
    found: dict[tuple[str, int], float] = {}
    for talk in conversations:
        a, exchange = world.default_a, 0
        for turn in talk.turns:
            if turn.speaker == "user":
                exchange += 1
                ask = parse_question(turn.text)
                a = world.drift(a, ask.kind) if ask else a
                found[talk.name, exchange] = a
    return pd.Series(found, dtype=float)
