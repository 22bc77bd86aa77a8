"""Rows of the organism's table about trait vectors: do opposite prompts find the direction in which a planted trait speaks?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..activations import Activations
from ..judging import judgements
from ..library import load_questions, load_traits
from ..models.extraction import extract
from ..models.hooked import HookedModel
from ..progress import Watch
from ..rollouts import generate_rollouts
from ..traits import half_differences, kept_pairs, least, paired, trait_roles
from .table import Row, bounded
from .trait_pairs import RuleTraits
from .world import World

FOUND, N_QUESTIONS = 0.8, 6


def trait_rows(model: HookedModel, world: World, vectors: Activations, layer: int, watch: Watch, seed: int) -> list[Row]:
    """Cosine of each trait's vector with the direction of its latent, and how many reach .8.

    Parameters
    ----------
    vectors
        Role vectors, from which the latents' directions are fitted.
    """
    planted = planted_directions(world, vectors, layer)
    cosines = {}
    for trait, vector in _trait_vectors(model, layer, watch, seed).items():
        cosines[trait] = (
            None if vector is None else float(vector @ planted[trait] / np.linalg.norm(vector) / np.linalg.norm(planted[trait]))
        )
    rows = [
        Row(f"cos(trait vector, direction of {trait})", "too few pairs show it" if c is None else f"{c:.3f}", "", "printed")
        for trait, c in cosines.items()
    ]
    n = sum(c is not None and abs(c) >= FOUND for c in cosines.values())
    return [*rows, bounded("traits found by opposite prompts (|cosine| .8 or more)", f"{n} of {len(cosines)}", n, ">=", 3)]


def planted_directions(world: World, vectors: Activations, layer: int) -> dict[str, np.ndarray]:
    """What each latent does to role vectors [d_model], all latents known: least squares over the roles."""
    roles = vectors.where("role != 'default'")
    people = [world.personas[role] for role in roles.rows["role"]]
    latents = np.array([[1.0, person.a, *person.traits.values()] for person in people])
    found = np.linalg.lstsq(latents, roles.at(layer).values[:, 0].double().numpy(), rcond=None)[0]
    return dict(zip(("mean", "a", *people[0].traits), found, strict=True))


def _trait_vectors(model: HookedModel, layer: int, watch: Watch, seed: int) -> dict[str, np.ndarray | None]:
    """Trait -> mean difference of its kept pairs [d_model]; None where too few were kept."""
    traits = load_traits(model)
    rollouts = generate_rollouts(
        model, trait_roles(traits), load_questions(model, n=N_QUESTIONS, seed=seed), prompts=max(len(t.pairs) for t in traits),
        default_rollouts=None, seed=seed, progress=lambda done, n: watch("traits", done, n),
    )  # fmt: skip
    asked = rollouts.assign(role=rollouts["role"].str[:-2])
    rollouts["label"] = judgements(asked, RuleTraits(Path(model.folder or "")))["label"].to_numpy()
    both = paired(rollouts)
    kept, needed = kept_pairs(both, judged=True), least(both)
    acts = extract(model, rollouts, [layer])
    place = {row: i for i, row in enumerate(acts.rows["row"])}
    found: dict[str, np.ndarray | None] = {}
    for trait in traits:
        group = kept[kept["trait"] == trait.name]
        plus, minus = (acts.take([place[row] for row in group[side]]) for side in ("plus", "minus"))
        found[trait.name] = half_differences(plus, minus).mean(0)[0] if len(group) >= needed else None
    return found
