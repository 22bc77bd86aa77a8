"""The rows of the check on what the axis is made of: the words alone, and the same texts under other roles' prompts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..decomposition import who_or_what
from ..directions import Direction, contrast, role_vectors
from ..evaluation.splits import Splits
from ..evaluation.statistics import auc, correlation, interval
from ..models.hooked import HookedModel
from ..progress import Watch
from ..sweeps import kept_responses, layer_separation
from .table import Row, bounded, printed
from .world import World

N_BOOT = 500


def words_rows(acts: Activations, words: Activations, splits: Splits, axis: Direction, layer: int, world: World, seed: int) -> list[Row]:
    """The default against the unseen roles, told by the words alone, and what the chosen layer adds."""
    questions = [q for q, part in splits.questions.items() if part == "report"]
    unseen = sorted(name for name, persona in world.personas.items() if persona.held_out)
    bag = contrast(role_vectors(splits.part(words, "fit"), min_count=1))

    def areas(source: Activations, direction: Direction, at: int) -> tuple[float, np.ndarray]:
        asked = source.where(f"question_index in {questions} and role in {[DEFAULT_ROLE, *unseen]}")
        found, draws = layer_separation(direction, kept_responses(asked, "fully"), at, auc, N_BOOT, seed)
        return found.value, draws

    (of_layer, draws), (of_words, word_draws) = areas(acts, axis, layer), areas(words, bag, words.site.layers[0])
    gain = interval(of_layer - of_words, draws - word_draws)
    vectors = role_vectors(words.where(f"question_index in {questions}"), min_count=1)
    scores = pd.Series(vectors.project(bag).iloc[:, 0].to_numpy(), index=vectors.rows["role"])
    by_group = {"trained": [n for n in scores.index if n != DEFAULT_ROLE and n not in unseen], "unseen": unseen}
    said = [f"{group} {correlation(scores[names], [world.persona(n).a for n in names]):.3f}" for group, names in by_group.items()]
    return [
        printed("layer -1 (bag of input embeddings): r(projection, true a)", ", ".join(said)),
        printed("layer -1: AUC, default against unseen roles", f"{of_words:.3f}"),
        bounded(f"AUC gained over it at layer {layer}", f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", gain.low, ">=", 0.0),
    ]


def crossing_rows(model: HookedModel, rollouts: pd.DataFrame, axis: Direction, world: World, watch: Watch, seed: int) -> list[Row]:
    """The same texts under other roles' prompts, at the layer where the prompts' effects follow the latent best."""
    trained = [name for name, persona in world.personas.items() if not persona.held_out]
    met = rollouts[rollouts["role"].isin([DEFAULT_ROLE, *trained])]
    latent = {name: world.persona(name).a for name in [DEFAULT_ROLE, *trained]}
    found = who_or_what(
        model, met, axis, scores=latent, seed=seed, n_boot=N_BOOT, progress=lambda done, n: watch("prompts x texts", done, n)
    )
    by_layer = found.correlations.to_dict("records")
    row = max(by_layer, key=lambda record: record["r"])
    best = int(row["layer"])
    cosine = float(found.cosines.loc[found.cosines["layer"] == best, "cosine"].iloc[0])
    shares = found.shares.pivot(index="layer", columns="source", values="share")
    covered = row["null_low"] <= 0 <= row["null_high"]
    worst = min(record["r"] for record in by_layer)
    figure = f"{row['r']:.3f} [{row['low']:.3f}, {row['high']:.3f}] at layer {best}, the best; {worst:.3f} at the worst"
    chance = f"[{row['null_low']:.3f}, {row['null_high']:.3f}]"
    divided = "; ".join(f"{n}: {s['prompt']:.3f} / {s['text']:.3f} / {s['rest']:.3f}" for n, s in shares.iterrows())
    return [
        bounded("same text, other role's prompt: r(prompt's effect, true a)", figure, row["r"], ">=", 0.75),
        Row("the same with shuffled prompts", f"95 % within {chance}", "covers 0", "pass" if covered else "FAIL"),
        printed("variance of projections, prompt / text / rest by layer", divided),
        printed(f"axis of prompts' effects: cosine with the axis, layer {best}", f"{cosine:.3f}"),
    ]
