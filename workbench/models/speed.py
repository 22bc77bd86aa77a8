"""How fast a model reads and writes here: measured, because arithmetic alone is nobody's speed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .extraction import Reading, mean_activations
from .generation import generate
from .hooked import HookedModel

PROMPT, ANSWER = 64, 32


@dataclass(frozen=True)
class Speed:
    """Tokens a second, in batches of `batch`.

    Attributes
    ----------
    read
        In a forward pass with every layer's means taken.
    written
        While generating.
    """

    read: float
    written: float
    batch: int


def measure_speed(model: HookedModel, batch: int) -> Speed:
    """Time one batch of reading and one of writing, after one that warms up; random text, which costs what any text costs."""
    ids = [5 + (i * 37) % 200 for i in range(PROMPT)]
    readings = [Reading(tuple(ids), PROMPT // 2, PROMPT)] * batch
    mean_activations(model, readings[:1], model.layers)
    start = time.perf_counter()
    mean_activations(model, readings, model.layers)
    middle = time.perf_counter()
    answers = generate(model, [ids] * batch, max_new_tokens=ANSWER, seeds=list(range(batch)))
    end = time.perf_counter()
    # Rows that end early waste their place in the batch as they do in a study.
    longest = max((len(a.ids) for a in answers), default=0) or ANSWER
    return Speed(batch * PROMPT / (middle - start), batch * longest / (end - middle), batch)
