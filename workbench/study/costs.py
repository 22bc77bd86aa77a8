"""What a study will cost, said before it starts: rows, tokens, hours at a speed measured here, disk."""

from __future__ import annotations

import json

import numpy as np

from ..costs import size_words, stored_bytes, time_words
from ..models.hooked import HookedModel
from ..models.speed import Speed, measure_speed
from ..rollouts import Plan, batch_size_of
from .config import Lazy, StudyConfig

SAMPLED = 100
"""Prompts that are counted to know how long all are."""
LARGE = 2000
"""Rows from which a second of measuring is worth it."""


def cost_of(plan: Plan, model: Lazy, config: StudyConfig) -> str:
    """A plan's cost in a sentence or two; the model's speed is measured where the plan is large and the model writes the answers itself."""
    served = config.endpoint is not None
    reader = model.reader() if served else model()
    n, prompt = len(plan.rows), _mean_prompt(plan, reader)
    read, written = round(n * (2 * prompt + plan.max_new_tokens)), n * plan.max_new_tokens
    n_layers = len(config.layers) if config.layers else reader.n_layers
    kept = stored_bytes(
        n, plan.rows["role"].nunique(), plan.rows.groupby("role")["prompt_index"].nunique().max(), n_layers, reader.d_model,
        len(config.keep_layers or ()),
    )  # fmt: skip
    said = (
        f"{n:,} rows: about {read:,} tokens to read (prompts, and answers once more for their activations), at most {written:,} to write; "
        f"activations take {size_words(kept)} on the disk"
    )
    if served:
        return f"{said}. How fast the server writes will show."
    return (
        f"{said}. {_time(read, written, measure_speed(model(), config.batch_size or batch_size_of(reader)))}" if n >= LARGE else f"{said}."
    )


def _mean_prompt(plan: Plan, model: HookedModel) -> float:
    picked = np.linspace(0, len(plan.rows) - 1, min(SAMPLED, len(plan.rows))).round().astype(int)
    return float(np.mean([len(model.render(json.loads(m), reply=True).ids) for m in plan.rows["messages"].iloc[picked]]))


def _time(read: int, written: int, speed: Speed) -> str:
    total = time_words(read / speed.read + written / speed.written)
    return f"At the speed measured here ({speed.read:,.0f} tokens/s read, {speed.written:,.0f} written) that is {total} at most."
