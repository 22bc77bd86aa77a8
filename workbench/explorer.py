"""Persona space at every layer, and what the roles said: the tables behind the figure that links them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .activations import Activations
from .conversations import DEFAULT_ROLE
from .directions import Direction
from .errors import DataError
from .persona_space import PersonaSpace
from .store import Run

COMPONENTS = 3
SHOWN, CHARACTERS = 3, 420
"""So many responses of a role are shown, and so much of each."""


def persona_layers(vectors: Activations, axis: Direction, start: int | None = None, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """Persona space, axis and loadings at every layer, each layer with a fit of its own.

    Parameters
    ----------
    vectors
        Role vectors, the default among them.
    axis
        The Assistant Axis at the same layers.
    start
        The layer whose signs are kept as :class:`PersonaSpace` gives them; the middle one where None. From there outwards a second
        or third component is turned where its scores run against those of the layer before; the first always points to
        the default's side. Components keep their order by variance, and may therefore change places between layers.
    layers
        Which; all where None.

    Returns
    -------
    DataFrame
        A row a layer and role: ``layer, role, is_default, n, pc1, pc2, pc3`` (scores, residual-stream units), ``loading1, loading2,
        loading3`` (cosines of the centred role vector with the components), ``projection`` (+ = Assistant). ``attrs``:
        ``explained`` (layer -> shares of variance), ``start``, ``model``.
    """
    layers = list(vectors.site.layers if layers is None else layers)
    if unknown := [n for n in layers if n not in vectors.site.layers]:
        raise DataError(f"there are no role vectors of layer {unknown[0]}: they were read at {list(vectors.site.layers)}")
    if not layers:
        raise DataError("persona space is shown at one layer or more, and none was named")
    start = layers[len(layers) // 2] if start is None else start
    if start not in layers:
        raise DataError(f"layer {start} is not among the layers {layers}")
    found: dict[int, tuple[pd.DataFrame, list[float]]] = {}
    at = layers.index(start)
    for order in (layers[at:], layers[at::-1]):
        previous: pd.DataFrame | None = None
        for layer in order:
            found.setdefault(layer, _at(vectors, axis, layer, previous))
            previous = found[layer][0]
    frame = pd.concat([found[layer][0] for layer in layers], ignore_index=True)
    frame.attrs = {"explained": {layer: found[layer][1] for layer in layers}, "start": start, "model": vectors.site.model}
    return frame


def _at(vectors: Activations, axis: Direction, layer: int, previous: pd.DataFrame | None) -> tuple[pd.DataFrame, list[float]]:
    """One layer's rows, with signs like those of the layer before, and its shares of variance."""
    space = PersonaSpace(layer, n_components=COMPONENTS).fit(vectors)
    frame = space.to_frame(axis, n=COMPONENTS)
    frame.attrs = {}
    count = len(space.explained_variance_ratio_)
    loadings = space.loadings(vectors).to_numpy()
    for i in range(COMPONENTS):
        name = f"pc{i + 1}"
        values, cosines = (frame[name].to_numpy(), loadings[:, i]) if i < count else (np.full(len(frame), np.nan),) * 2
        against = i > 0 and previous is not None and float(values @ previous[name].to_numpy()) < 0
        frame[name], frame[f"loading{i + 1}"] = (-values, -cosines) if against else (values, cosines)
    frame.insert(0, "layer", layer)
    names = [*(f"pc{i + 1}" for i in range(COMPONENTS)), *(f"loading{i + 1}" for i in range(COMPONENTS))]
    return frame[["layer", "role", "is_default", "n", *names, "projection"]], [float(s) for s in space.explained_variance_ratio_]


def role_facts(run: Run, layer: int | None = None, shown: int = SHOWN) -> pd.DataFrame:
    """What a study knows of its roles: prompts, and the responses that lie nearest the role's own mean on the axis.

    Parameters
    ----------
    layer
        Where responses are projected; the recommended layer where None. In a large study only a sample of the responses has
        projections, and those are shown.
    shown
        Responses of a role.

    Returns
    -------
    DataFrame
        A row a role: ``role, description, tags, prompts, labels`` (text), ``responses`` (list of records ``prompt, question, response,
        label, projection``). ``attrs["layer"]``: the layer.

    Raises
    ------
    DataError
        Where nothing was read at this layer.
    """
    layer = run.recommended_layer if layer is None else layer
    acts, library = run.activations(), run.study["library"]
    projected = acts.project(run.axis)
    if layer not in projected:
        raise DataError(f"the responses of {run.folder} have no projection at layer {layer}: they have at {list(projected)}")
    known = pd.DataFrame({"row": acts.rows["row"], "projection": projected[layer].to_numpy()})
    rollouts = run.rollouts.merge(known, on="row")
    middles = rollouts.groupby("role")["projection"].transform("mean")
    rollouts = rollouts.assign(away=(rollouts["projection"] - middles).abs()).sort_values("away", kind="stable")
    chosen = rollouts.groupby("role").head(shown)
    labels = run.rollouts.groupby("role")["label"].value_counts() if run.study["steps"]["judge"]["judge"] else None
    records = []
    for role in run.role_vectors.rows["role"]:
        facts = library["roles"].get(role, {"description": "", "prompts": []})
        counts = "" if labels is None or role not in labels else _counts(labels[role])
        rows = chosen[chosen["role"] == role].to_dict("records")
        records.append({
            "role": role, "description": facts["description"], "tags": ", ".join(facts.get("tags", [])),
            "prompts": [prompt for prompt in facts["prompts"] if prompt], "labels": "" if role == DEFAULT_ROLE else counts,
            "responses": [_response(row, facts["prompts"], library["questions"]) for row in rows],
        })  # fmt: skip
    frame = pd.DataFrame(records)
    frame.attrs["layer"] = layer
    return frame


def _counts(labels: pd.Series) -> str:
    return ", ".join(f"label {label}: {labels[label]}" for label in sorted(map(int, labels.index.to_numpy()), reverse=True))


def _response(row: dict, prompts: Sequence[str], questions: Sequence[dict]) -> dict[str, object]:
    text = str(row["response"])
    label = row.get("label")
    return {
        "prompt": prompts[row["prompt_index"]] if row["prompt_index"] < len(prompts) else "",
        "question": questions[row["question_index"]]["question"],
        "response": text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…",
        "label": None if label is None or pd.isna(label) else int(label), "projection": float(row["projection"]),
    }  # fmt: skip
