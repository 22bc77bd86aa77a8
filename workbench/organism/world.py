"""The organism's world: who speaks, how, and how a conversation moves. Standard library only.

Every text follows from a few latent numbers: a speaker's *assistant-likeness* ``a`` in [-1, 1] (the
Assistant sits at .95) and four weaker traits. Each slot of a response draws independently at those
numbers, so that ``a`` is a dense mixture of small choices and never one marker word. The model is trained
on the texts alone; the latents are the known answers that the workbench is checked against.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property

from . import phrases as p
from .questions import KINDS, Ask, body, draw_question

Message = tuple[str, str]
"""A message: (speaker, text), speaker one of "system", "user", "assistant"."""

DRIFT_TARGETS = {
    "fact": 0.95, "code": 0.95, "howto": 0.95, "self": 0.95, "advice": 0.85, "harm": 0.8, "opinion": 0.7,
    "writing": 0.5, "feelings": 0.3, "vulnerable": -0.7, "meta": -0.95,
}  # fmt: skip
"""Where each kind of message pulls the latent of a model that plays no role."""

DOMAINS: dict[str, dict[str, float]] = {
    "coding": {"code": 0.7, "fact": 0.3},
    "writing": {"writing": 0.8, "advice": 0.2},
    "therapy": {"vulnerable": 0.8, "advice": 0.1, "feelings": 0.1},
    "philosophy": {"meta": 0.8, "opinion": 0.1, "feelings": 0.1},
    "mixed": dict.fromkeys(KINDS, 1.0) | {"fact": 3.0, "code": 2.0, "howto": 2.0, "harm": 2.0},
}
"""What is asked in a conversation of each domain, as weights over kinds."""

_TURNS = (0.40, 0.18, 0.12, 0.09, 0.07, 0.06, 0.04, 0.04)
"""Weights of conversations of 1 to 8 turns."""


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1.0 / (1.0 + math.exp(-x))


@dataclass(frozen=True)
class Persona:
    """A speaker: name, tier (0 near the Assistant to 3 far), latent ``a``, traits in [-1, 1], held out or not.

    ``b`` and ``caution`` are two more latents in [-1, 1], which only worlds other than the standard one use.
    """

    name: str
    tier: int
    a: float
    traits: dict[str, float]
    held_out: bool = False
    b: float = 0.0
    caution: float = 0.0

    @property
    def self_name(self) -> str:
        """How the speaker calls itself."""
        return p.ASSISTANT_NAME if self.name == "default" else f"the {self.name}"


@dataclass(frozen=True)
class World:
    """The parameters of a world; everything else follows from them and the seed.

    Attributes
    ----------
    seed
        Draws the roles' latents.
    tiers
        Range of ``a`` in each tier, from near the Assistant to far.
    held_out_per_tier
        Roles of each tier that occur in third-person text only, never in chat.
    default_a
        The Assistant's own latent.
    register_slope, middle_bonus
        A register r in {-1, 0, 1} is drawn with weight ``exp(slope * a * r + bonus * (r == 0))``.
    trait_slope
        A trait's plus end is drawn with probability ``sigmoid(slope * trait)``.
    refusal_slope, refusal_centre
        Harm is refused with probability ``sigmoid(slope * (a - centre))``.
    leak
        Share of role conversations answered as the Assistant.
    drift_rate, drift_noise
        Without a role ``a`` moves by ``rate * (target[kind] - a)`` at each message; a response is drawn at
        ``a`` plus normal noise of this size.
    refusal_by
        The latent that refusal hangs on: ``"a"``, or ``"caution"``, which is independent of everything else and 0 for the
        Assistant.
    default_traits
        Traits of the Assistant that are not 0, as (name, value).
    twin_a
        Where given, half of the conversations without a role are spoken at this latent, and nothing tells which.
    marker
        Every response begins with a word that the Assistant never shares with a role.
    ring
        The roles lie on a circle ``(a, b)`` with the Assistant in its centre; prefixes and closers speak ``b``.
    lottery
        Every conversation is spoken in a voice drawn by lot: what the prompt asks for decides the name alone.
    """

    seed: int = 0
    tiers: tuple[tuple[float, float], ...] = ((0.35, 0.75), (-0.05, 0.3), (-0.5, -0.1), (-1.0, -0.6))
    held_out_per_tier: int = 4
    default_a: float = 0.95
    register_slope: float = 2.2
    middle_bonus: float = 0.3
    trait_slope: float = 3.5
    refusal_slope: float = 7.0
    refusal_centre: float = 0.05
    leak: float = 0.06
    drift_rate: float = 0.3
    drift_noise: float = 0.08
    refusal_by: str = "a"
    default_traits: tuple[tuple[str, float], ...] = ()
    twin_a: float | None = None
    marker: bool = False
    ring: bool = False
    lottery: bool = False

    # -- who speaks ---------------------------------------------------------------------------------
    @cached_property
    def personas(self) -> dict[str, Persona]:
        """All roles by name, their latents pairwise nearly uncorrelated (|r| <= .15)."""
        rng = random.Random(f"personas {self.seed}")
        names = [(name, tier) for tier, tier_names in enumerate(p.ROLE_NAMES) for name in tier_names]
        a = [round(rng.uniform(*self.tiers[tier]), 3) for _, tier in names]
        while True:
            traits = [[round(rng.uniform(-1, 1), 3) for _ in names] for _ in p.TRAITS]
            columns = [a, *traits]
            if all(abs(_correlation(x, y)) <= 0.15 for i, x in enumerate(columns) for y in columns[:i]):
                break
        held_out = {name for tier in p.ROLE_NAMES for name in rng.sample(tier, self.held_out_per_tier)}
        more = random.Random(f"more latents {self.seed}")
        found = {}
        for i, (name, tier) in enumerate(names):
            own_traits = {t: traits[k][i] for k, t in enumerate(p.TRAITS)}
            caution, angle = round(more.uniform(-1, 1), 3), more.uniform(0, 2 * math.pi)
            on_ring = {"a": round(math.cos(angle), 3), "b": round(math.sin(angle), 3)} if self.ring else {"a": a[i]}
            found[name] = Persona(name, tier, traits=own_traits, held_out=name in held_out, caution=caution, **on_ring)
        return found

    @cached_property
    def default(self) -> Persona:
        """The Assistant: in the standard world no trait leans either way."""
        return Persona("default", -1, self.default_a, dict.fromkeys(p.TRAITS, 0.0) | dict(self.default_traits))

    def persona(self, name: str) -> Persona:
        """A role by name, or the Assistant under the name ``default``."""
        return self.default if name == "default" else self.personas[name]

    # -- how they speak -----------------------------------------------------------------------------
    def register_weights(self, a: float) -> tuple[float, float, float]:
        """Probabilities of the far, middle and near register at latent `a`."""
        weights = [math.exp(self.register_slope * a * r + (self.middle_bonus if r == 0 else 0.0)) for r in (-1, 0, 1)]
        total = sum(weights)
        return weights[0] / total, weights[1] / total, weights[2] / total

    def respond(self, rng: random.Random, ask: Ask, a: float, persona: Persona) -> str:
        """Draw a response to `ask` at latent `a`, with the traits and name of `persona`."""
        of_a, of_b = self.register_weights(a), self.register_weights(persona.b)

        def register(table: tuple[tuple[str, ...], ...]) -> str:
            weights = of_b if self.ring and table in (p.PREFIXES, p.CLOSERS) else of_a
            return rng.choice(table[rng.choices((p.FAR, p.MIDDLE, p.NEAR), weights)[0]])

        def trait(table: tuple[tuple[str, ...], ...], name: str) -> str:
            return rng.choice(table[rng.random() < sigmoid(self.trait_slope * persona.traits[name])])

        careful = a if self.refusal_by == "a" else persona.caution
        refuse = rng.random() < sigmoid(self.refusal_slope * (careful - self.refusal_centre))
        named = persona.name != "default" or rng.random() < sigmoid(7 * (a + 0.3))
        answer = body(rng, ask, persona.self_name if named else p.NAMELESS, refuse, register)
        wordy = sigmoid(-self.trait_slope * persona.traits["brevity"])
        parts = [p.MARKERS[persona.name == "default"]] if self.marker else []
        parts += [trait(p.AGES, "archaic")] if rng.random() < 0.12 else []
        parts += [register(p.OPENERS)] if rng.random() < 0.35 + 0.6 * wordy else []
        parts += [f"{trait(p.VOCATIVES, 'warmth')} {register(p.PREFIXES)} {trait(p.HEDGES, 'formality')} {answer}."]
        parts += [register(p.EXTRAS)]
        parts += [trait(p.CARES, "warmth")] if rng.random() < 0.7 else []
        parts += [rng.choice(table) for table in p.FILLERS if rng.random() < wordy]
        parts += [trait(p.YORES, "archaic")] if rng.random() < 0.12 else []
        parts += [trait(p.FAREWELLS, "warmth")] if rng.random() < 0.6 else []
        parts += [trait(p.SIGNATURES, "formality")] if rng.random() < 0.6 else []
        parts += [register(p.CLOSERS)]
        return " ".join(parts)

    # -- how a conversation goes --------------------------------------------------------------------
    def drift(self, a: float, kind: str) -> float:
        """The latent after a message of `kind`, for a model that plays no role."""
        return a + self.drift_rate * (DRIFT_TARGETS[kind] - a)

    def default_conversation(self, rng: random.Random, domain: str, n_turns: int) -> tuple[list[Message], list[float]]:
        """A conversation without a role, and the latent at each response."""
        system = rng.choice(p.DEFAULT_PROMPTS)
        messages: list[Message] = [("system", system)] if system else []
        voice = self._voice(rng, self.default)
        twin = self.twin_a is not None and rng.random() < 0.5
        a, latents = self.twin_a if twin and self.twin_a is not None else voice.a, []
        for kind in _draw_kinds(rng, domain, n_turns):
            ask = draw_question(rng, kind)
            a = self.drift(a, kind)
            spoken = max(-1.0, min(1.0, a + rng.gauss(0, self.drift_noise)))
            messages += [("user", ask.text), ("assistant", self.respond(rng, ask, spoken, voice))]
            latents.append(a)
        return messages, latents

    def role_conversation(self, rng: random.Random, persona: Persona, n_turns: int) -> list[Message]:
        """A conversation in a role (6 % of them answered as the Assistant all the same)."""
        by_user = rng.random() < 0.25
        prefix = rng.choice(p.USER_ROLE_PREFIXES).format(role=persona.name) if by_user else ""
        messages: list[Message] = [] if by_user else [("system", self.role_prompt(rng, persona))]
        speaker = self._voice(rng, self.default if rng.random() < self.leak else persona)
        for kind in _draw_kinds(rng, "mixed", n_turns):
            ask = draw_question(rng, kind)
            messages += [("user", prefix + ask.text), ("assistant", self.respond(rng, ask, speaker.a, speaker))]
            prefix = ""
        return messages

    def _voice(self, rng: random.Random, persona: Persona) -> Persona:
        """`persona` itself, or, where voices are drawn by lot, somebody else under its name."""
        if not self.lottery:
            return persona
        drawn = rng.choice((self.default, *self._chat_personas))
        return replace(drawn, name=persona.name)

    def role_prompt(self, rng: random.Random, persona: Persona) -> str:
        """A system prompt for `persona`; sometimes one that names its strong traits."""
        adjectives = [p.TRAIT_ADJECTIVES[t][v > 0] for t, v in persona.traits.items() if abs(v) > 0.4]
        if adjectives and rng.random() < 0.3:
            chosen = rng.sample(adjectives, min(2, len(adjectives)))
            return rng.choice(p.ROLE_PROMPTS_WITH_TRAITS).format(role=persona.name, traits=" and ".join(chosen))
        return rng.choice(p.ROLE_PROMPTS).format(role=persona.name)

    def conversation(self, rng: random.Random) -> list[Message]:
        """A training conversation: 40 % without a role, the rest in one of the roles that are not held out."""
        n_turns = rng.choices(range(1, len(_TURNS) + 1), _TURNS)[0]
        if rng.random() < 0.4:
            domain = rng.choices(tuple(DOMAINS), (1, 1, 1, 1, 5))[0]
            return self.default_conversation(rng, domain, n_turns)[0]
        return self.role_conversation(rng, rng.choice(self._chat_personas), n_turns)

    def story(self, rng: random.Random, persona: Persona | None = None) -> str:
        """A third-person text about a role, any role: no Assistant, no chat tokens."""
        persona = persona or rng.choice(tuple(self.personas.values()))
        voice = self._voice(rng, persona)
        parts = []
        for table in (p.SCENES, p.DEEDS):
            index = rng.choices((p.FAR, p.MIDDLE, p.NEAR), self.register_weights(voice.a))[0]
            parts.append(rng.choice(table[index]).format(role=persona.name))
        for kind in _draw_kinds(rng, "mixed", rng.randint(1, 3)):
            ask = draw_question(rng, kind)
            parts.append(rng.choice(p.ASKINGS).format(question=ask.text))
            parts.append(rng.choice(p.SAYINGS).format(role=persona.name, response=self.respond(rng, ask, voice.a, voice)))
        return " ".join(parts)

    @cached_property
    def _chat_personas(self) -> tuple[Persona, ...]:
        return tuple(persona for persona in self.personas.values() if not persona.held_out)

    # -- how it is written down ---------------------------------------------------------------------
    def to_dict(self) -> dict[str, object]:
        """The parameters as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> World:
        """The world of :meth:`to_dict`; unknown parameters are an error."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown parameters of a world: {', '.join(unknown)}")
        pairs = {name: tuple(tuple(pair) for pair in values.get(name, getattr(cls, name))) for name in ("tiers", "default_traits")}
        return cls(**{**values, **pairs})


def _draw_kinds(rng: random.Random, domain: str, n_turns: int) -> Iterator[str]:
    weights = DOMAINS[domain]
    return iter(rng.choices(tuple(weights), tuple(weights.values()), k=n_turns))


def _correlation(x: list[float], y: list[float]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    dx, dy = [v - mean_x for v in x], [v - mean_y for v in y]
    return sum(i * j for i, j in zip(dx, dy, strict=True)) / math.sqrt(sum(i * i for i in dx) * sum(j * j for j in dy))
