"""Layer -1 of a run: its responses as bags of input embeddings, made once and kept beside the activations."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..activations import Activations
from ..errors import ModelError
from ..models.hooked import HookedModel
from ..models.words import bag_of_embeddings
from ..parts import key_of
from ..store import Run, load_activations, save_activations

KIND = "bag of embeddings"


def keep_words(run: Run, model: Callable[[], HookedModel]) -> None:
    """Write ``words.safetensors`` for the responses whose single vectors the run keeps, unless it is there."""
    rows = run.rollouts
    rows = rows[rows["row"].isin(set(run.activations().rows["row"]))].reset_index(drop=True)
    path, key = run.folder / "words.safetensors", key_of(rows["row"] + rows["response"])
    if path.exists() and run.study["steps"].get("words", {}).get("rows") == key:
        return
    try:
        acts = bag_of_embeddings(model(), rows)
    except ModelError as error:
        run.record("words", n=0, notes=[f"The sweep has no layer -1: {error}."])
        return
    if torch.allclose(acts.values, acts.values[:1]):
        run.record("words", n=0, notes=["The sweep has no layer -1: all responses hold the same words."])
        return
    save_activations(path, Activations(acts.values, acts.rows[["row"]], acts.site), KIND, {"rows": key})
    run.record("words", rows=key, n=len(rows))


def words_of(run: Run) -> Activations | None:
    """The bags of a run's kept responses, in the order of ``run.activations()``; None where there are none."""
    path = run.folder / "words.safetensors"
    if not path.exists():
        return None
    acts, known = load_activations(path, KIND), run.activations().rows
    order = {row: i for i, row in enumerate(acts.rows["row"])}
    if set(order) != set(known["row"]):
        return None
    taken = acts.take([order[row] for row in known["row"]])
    return Activations(taken.values, known, taken.site)
