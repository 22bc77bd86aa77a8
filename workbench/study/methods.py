"""Ways to find the axis compared on a run: what each separates, whether it repeats, and what a cap along it prevents and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..activations import Activations
from ..conversations import DEFAULT_ROLE
from ..directions import Direction
from ..errors import DataError
from ..evaluation.causal import MAX_LOSS, MIN_EFFECT
from ..evaluation.conditions import Condition
from ..evaluation.grading import Grader, lookup
from ..evaluation.splits import Splits
from ..evaluation.statistics import Interval, auc
from ..evaluation.verdict import FAIL, MIN_AUC, PASS, UNTESTED, known, repeats
from ..interventions import Floor
from ..methods import METHODS, PROMPTS, Candidate, find
from ..models.extraction import Reading, mean_activations, readings_of
from ..models.hooked import HookedModel
from ..progress import Watch
from ..store import Run
from ..sweeps import kept_responses, layer_separation
from ..testbed import CapConfig, material, response_sets
from ..thresholds import threshold
from .caps import controlled, resumable
from .main import Lazy

STEP = "methods"
N_HALVES = 10
FALLBACK = {"percentile": 50.0, "over": "default", "positions": "all"}
"""The cap of every method where calibration chose none: the median of default responses, at the recommended layer and its neighbour."""


def methods_step(
    run: Run, model: Lazy, watch: Watch, candidates: Iterable[Candidate] = tuple(METHODS.values()), grader: Grader | None = None
) -> pd.DataFrame:
    """Compare methods on the run's responses; writes ``tables/methods.csv``.

    Every method is fitted on the fit split and measured on the report split, with the cap that was calibrated for the axis
    (window, percentile and its set, positions), its threshold taken along the method's own direction.

    Returns
    -------
    DataFrame
        ``method, source, layer, auc, auc_low, auc_high, split_half, cosine`` (with the run's axis), ``compliance, right``
        (relative changes under the cap, with ``*_low, *_high`` and ``n_*``), ``says``.
    """
    if not run.study.get("splits"):
        raise DataError(f"methods are compared on held-out roles, and {run.folder} is too small for splits")
    candidates, acts = list(candidates), run.activations()
    layers, _ = cap_of(run)
    wanted = sorted({run.recommended_layer, *layers})
    sources = {"responses": acts.at(wanted)}
    if any(c.source == PROMPTS for c in candidates):
        sources[PROMPTS] = prompt_ends(model(), run, acts).at(wanted)
    axes, rows = {}, []
    for number, candidate in enumerate(candidates):
        found, row = _measured(run, candidate, sources)
        axes[candidate.name] = found
        rows.append(row)
        watch("methods", number + 1, len(candidates))
    table = pd.DataFrame(rows)
    table = table.merge(_caused(run, model, axes, grader, watch), on="method")
    table["says"] = [_says(row) for _, row in table.iterrows()]
    run.write_table("methods", table)
    run.record(STEP, methods=[c.name for c in candidates])
    return table


def cap_of(run: Run) -> tuple[list[int], dict[str, Any]]:
    """Layers, and percentile with its set and positions, of the calibrated cap, or of the fallback where none was chosen."""
    choices = run.study["steps"].get("calibrate", {}).get("choices", [])
    if choices:
        setting = choices[0]["setting"]
        return list(setting["layers"]), {name: setting[name] for name in FALLBACK}
    layers = list(run.axis.site.layers)
    at = max(0, min(layers.index(run.recommended_layer), len(layers) - 2))
    return layers[at : at + 2], dict(FALLBACK)


def prompt_ends(model: HookedModel, run: Run, acts: Activations) -> Activations:
    """The residual stream at the last token of each response's prompt: [row, layer, d_model], rows as in `acts`."""
    rollouts = run.rollouts.set_index("row").loc[acts.rows["row"].tolist()].reset_index()
    ends = [Reading(r.ids[: r.start], r.start - 1, r.start) for r in readings_of(model, rollouts)]
    return Activations(mean_activations(model, ends, acts.site.layers), acts.rows, replace(acts.site, pooling="last prompt token"))


def _measured(run: Run, candidate: Candidate, sources: Mapping[str, Activations]) -> tuple[Direction, dict[str, object]]:
    """A method's direction, fitted on the fit split, and how it does on held-out responses."""
    keep, layer = run.study["steps"]["axis"]["keep"], run.recommended_layer
    splits = Splits.from_dict(run.study["splits"])
    responses, given = sources["responses"], kept_responses(sources[candidate.source], keep)
    fitted = find(candidate, splits.part(given, "fit"))
    found = replace(fitted, site=responses.site)  # it is used on responses, whatever it was fitted on
    area, _ = layer_separation(found, kept_responses(splits.part(responses, "report"), keep), layer, auc, 500, run.config["seed"])
    row = {
        "method": candidate.name, "source": candidate.source, "layer": layer,
        "auc": area.value, "auc_low": area.low, "auc_high": area.high,
        "split_half": _agreement(candidate, given.at([layer]), run.config["seed"]),
        "cosine": float(found.at(layer).cosine(run.axis.at(layer))[0]),
    }  # fmt: skip
    return found, row


def _agreement(candidate: Candidate, acts: Activations, seed: int) -> float:
    """Mean cosine of the directions of two halves that share no role and no default response."""
    rng, roles = np.random.default_rng(seed), acts.rows["role"].to_numpy()
    names, default = np.unique(roles[roles != DEFAULT_ROLE]), np.flatnonzero(roles == DEFAULT_ROLE)
    cosines = []
    for _ in range(N_HALVES):
        order, own = rng.permutation(names), rng.permutation(default)
        parts = [(order[::2], own[::2]), (order[1::2], own[1::2])]
        taken = [np.concatenate([np.flatnonzero(np.isin(roles, n)), d]) for n, d in parts]
        first, second = (find(candidate, acts.take(rows)).unit().values.double() for rows in taken)
        cosines.append(float((first * second).sum()))
    return float(np.mean(cosines))


def _caused(run: Run, model: Lazy, axes: Mapping[str, Direction], grader: Grader | None, watch: Watch) -> pd.DataFrame:
    """What the same cap does along each direction, on the report half's jailbreaks and questions."""
    layers, setting = cap_of(run)
    config = CapConfig(**run.study["steps"].get("calibrate", {}).get("config", {}))
    test = material(run, model(), config, grader)
    conditions = []
    for name, direction in axes.items():
        over = response_sets(run, model(), config, [setting["over"]], direction)[setting["over"]]
        at = threshold(direction, over.at(direction.site.layers) if isinstance(over, Activations) else over, setting["percentile"])
        floor = Floor(direction, at, layers=layers, positions=setting["positions"])
        conditions.append(Condition(f"method: {name}", (floor,), "method", "", controlled(test.reporting)))
    found = resumable(run, "evaluation", model(), test.reporting, test.grader, conditions, config, watch)
    changes = lookup(found.changes())
    unknown: dict[str, float] = dict.fromkeys(("relative", "relative_low", "relative_high"), np.nan) | {"n": 0}
    rows = []
    for name in axes:
        row: dict[str, object] = {"method": name}
        for measure in ("compliance", "right"):
            change = changes.get((f"method: {name}", measure), unknown)
            row |= {f"{measure}{end}": change[f"relative{end}"] for end in ("", "_low", "_high")} | {f"n_{measure}": int(change["n"])}
        rows.append(row)
    return pd.DataFrame(rows)


def _says(row: pd.Series) -> str:
    """What a study would conclude from this method's own numbers: the verdict's bounds without its controls."""
    if np.isnan(row["compliance"]) or np.isnan(row["right"]):
        return UNTESTED
    effect, price, area = (Interval(row[n], row[f"{n}_low"], row[f"{n}_high"]) for n in ("compliance", "right", "auc"))
    lines = {
        known(area, MIN_AUC), repeats(row["split_half"])[0],
        known(effect, -MIN_EFFECT, above=False), known(price, -MAX_LOSS),
    }  # fmt: skip
    return "does not hold" if FAIL in lines else "holds" if lines == {PASS} else "cannot tell"
