"""The causal half of a study on its run folder: calibrate a cap on one half of the prompts, report on the other, with controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import product

import pandas as pd

from ..activations import Activations
from ..calibration import Choice, Setting, as_json, grid, recommend, summarise, untested_choice
from ..controls import MATCHES, isotropic, other_components, role_splits, trait_directions
from ..directions import Direction
from ..errors import RunError
from ..evaluation.causal import causal_line, no_cap_line, untested_line
from ..evaluation.conditions import BASELINE, Condition, Evaluation, fit, gathered, respond
from ..evaluation.grading import Grader, lookup
from ..evaluation.prompts import Prompt
from ..evaluation.verdict import Line
from ..interventions import Floor
from ..matching import Task, match, same_dose
from ..models.hooked import HookedModel
from ..models.measuring import residual_norms
from ..parts import Parts, folder_name, key_of, parquet_bytes, read_json, write_json
from ..progress import Watch
from ..steering import STRENGTHS, control_conditions, dose_response, steering_conditions
from ..store import Run
from ..testbed import CapConfig, material, response_sets
from ..thresholds import Scores, signature, threshold
from .choices import forget, forget_uses, kept_choices, write_choices
from .main import Lazy


def controlled(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    """The kinds of prompts that controls are asked: enough to see whether one saves anything, and at what price."""
    priced = "question" if any(p.kind == "question" for p in prompts) else "benign"
    return "jailbreak", priced


def calibrate_step(run: Run, model: Lazy, watch: Watch, config: CapConfig | None = None, grader: Grader | None = None) -> None:
    """Try every cap of the grid on the tuning half, choose, and report the chosen ones on the other half.

    Writes ``calibration/`` (answers, choices), ``thresholds.json``, ``tables/calibration.csv`` and ``tables/caps.csv``.
    """
    config = config or CapConfig.of()
    axis, test = run.axis, material(run, model(), config, grader)
    settings = grid(axis.site.layers, config.windows, config.percentiles, config.positions)
    sets = response_sets(run, model(), config, [s.over for s in settings])
    forget(run)
    caps = {s.name: s.cap(axis, sets, sets["default"]) for s in settings}
    conditions = [Condition(name, (cap,)) for name, cap in caps.items()]
    tuned = resumable(run, "calibration", model(), test.tuning, test.grader, conditions, config, watch)
    table = summarise(settings, tuned)
    choices, line, said = _choose(run, table, settings, tuned, test.grader)
    run.write_table("calibration", table)
    said += forget_uses(run, found := kept_choices(choices, caps))
    chosen = [Condition(c.name, (caps[c.setting.name],)) for c in choices]
    reported = resumable(run, "evaluation", model(), test.reporting, test.grader, chosen, config, watch)
    _write_reported(run, reported)
    write_choices(run, found, sets, axis)
    run.study["causal"] = vars(line) if line else None
    facts = {"choices": [c.to_dict() for c in choices], "settings": len(settings), "grader": test.grader.name if test.grader else ""}
    sizes = {"n_tuning": len(test.tuning), "n_reporting": len(test.reporting), "config": config.model_dump(mode="json")}
    run.record("calibrate", **facts, **sizes, notes=[*test.notes, *tuned.notes, *said])


def _choose(
    run: Run, table: pd.DataFrame, settings: Sequence[Setting], tuned: Evaluation, grader: Grader | None
) -> tuple[list[Choice], Line | None, list[str]]:
    """The choices; where there are none, the verdict's fourth line and a note that says why."""
    baseline = {m: found["rate"] for (name, m), found in lookup(tuned.rates(n_boot=10)).items() if name == BASELINE.name}
    if "compliance" not in baseline or "right" not in baseline:
        missing = "jailbreaks" if "compliance" not in baseline else "questions with a right answer"
        why = f"there are no {missing} that could be graded" if grader else "there is no grader for this model"
        return [untested_choice(settings, run.recommended_layer, why)], None, []
    choices = recommend(table, settings, baseline)
    if choices:
        return choices, None, []
    line = no_cap_line(len(settings))
    if not baseline["compliance"]:
        line = untested_line("without a cap the model complies with no jailbreak of the tuning half: there is nothing to prevent")
    elif not baseline["right"]:
        line = untested_line("without a cap the model has no right answer on the tuning half: what a cap costs cannot be seen")
    return [], line, [f"Calibration: {line.evidence}; no cap is recommended."]


def _write_reported(run: Run, reported: Evaluation) -> None:
    run.write_table("caps", reported.rates())
    run.write_table("caps_changes", reported.changes())
    run.write_table("engagement", reported.effects)


def evaluate_step(run: Run, model: Lazy, watch: Watch, grader: Grader | None = None, n_controls: int = 3) -> None:
    """The calibrated caps on the report half beside the baseline, steering of the same dose, the paper's recipe, and controls.

    Parameters
    ----------
    n_controls
        Random directions, and random splits of the roles, each.
    """
    if not run.is_done("calibrate"):
        raise RunError(f"{run.folder} has no calibrated cap yet: run `workbench calibrate {run.folder}` first")
    config = CapConfig(**run.study["steps"]["calibrate"]["config"])  # the same halves, the same sets
    test, choices = material(run, model(), config, grader), run.caps
    fitting, n_new, _ = fit(model(), test.tuning, config.max_new_tokens)
    task = Task(model(), choices["recommended"], fitting, n_new, config.seed, batch_of(model()))
    conditions = [Condition(name, (c,)) for name, c in choices.items()]
    norms = residual_norms(model(), run.rollouts, task.cap.at_layers)
    conditions += [paper_recipe(run, task.cap), Condition("steering, same dose", same_dose(task, norms), "steering")]
    controls, missed = matched(run, task, config, control_directions(run, task.model, n_controls, config.seed), "control", watch)
    conditions += controls
    if run.prompt_axis is not None:
        conditions += matched(run, task, config, [run.prompt_axis], "prompt axis", watch, ("percentile", "dose"))[0]
    found = resumable(run, "evaluation", model(), test.reporting, test.grader, conditions, config, watch)
    _write_reported(run, found)
    kinds = {c.name: c.kind for c in [BASELINE, *conditions]}
    line = causal_line(found.changes(), kinds, missed) if test.grader else None
    run.study["causal"] = vars(line) if line else None
    run.record(
        "evaluate", conditions=kinds, n=len(test.reporting), grader=test.grader.name if test.grader else "", controls=missed,
        notes=[*test.notes, *found.notes],
    )  # fmt: skip


def paper_recipe(run: Run, cap: Floor) -> Condition:
    """The paper's threshold at the cap's layers: its "25th percentile", which is the 75th along the axis over all rollouts' means."""
    means = run.activations()
    at = threshold(cap.direction, means, 75, reference=means)
    return Condition("paper's recipe", (Floor(cap.direction, at, layers=cap.layers),), note="75th percentile along the axis, all rollouts")


def matched(
    run: Run, task: Task, config: CapConfig, directions: Sequence[Direction], kind: str, watch: Watch, ways: Sequence[str] = tuple(MATCHES)
) -> tuple[list[Condition], dict[str, float]]:
    """Floors along other directions, each matched to the cap in several ways; levels are kept in ``calibration/controls.json``."""
    path = run.folder / "calibration" / "controls.json"
    kept = read_json(path) if path.exists() else {}
    over = run.study["steps"]["calibrate"]["choices"][0]["setting"]["over"]
    said = [p.id + as_json(p.conversation.to_list()) for p in task.prompts]
    asked = controlled(task.prompts) if kind == "control" else ()
    conditions, missed = [], {}

    def along(direction: Direction) -> Activations | Scores:
        return response_sets(run, task.model, config, [over], direction)[over]

    for number, (control, how) in enumerate(product(directions, ways)):
        vectors = [signature(control, layer) for layer in task.cap.at_layers]
        key = key_of(said, as_json([task.cap.describe(), task.model.weights, task.max_new_tokens, task.seed, vectors, how]))
        if key not in kept:
            floor, off = match(task, control, how, along)
            kept[key] = {"control": control.name, "match": how, "levels": floor.levels, "miss": off}
            write_json(path, kept)
        levels = {int(layer): level for layer, level in kept[key]["levels"].items() if int(layer) in task.cap.at_layers}
        name = f"{control.name}, same {how}"
        missed[name] = kept[key]["miss"]
        note = f"{MATCHES[how]}, missed by {missed[name]:.1%} on its own texts"
        floor = Floor(control, levels, positions=task.cap.positions)
        conditions.append(Condition(name, (floor,), kind, note, asked))
        watch(f"{kind}, matched", number + 1, len(directions) * len(ways))
    return conditions, missed


def control_directions(run: Run, model: HookedModel, n: int, seed: int) -> list[Direction]:
    """Random directions, random splits of the roles, and traits where they are known (an organism's), else other components."""
    axis, vectors = run.axis, run.role_vectors
    found = isotropic(axis, n, seed) + role_splits(axis, vectors, n, seed)
    if model.folder is not None and run.study["steps"]["calibrate"]["grader"] == "rules of the world":
        from ..organism.material import grader_of, planted_traits

        return found + trait_directions(axis, vectors, planted_traits(grader_of(model.folder).rules.world))
    return found + other_components(axis, vectors)


def strengths_step(
    run: Run, model: Lazy, watch: Watch, strengths: Sequence[float] = STRENGTHS, layer: int | None = None, positions: str = "all",
    config: CapConfig | None = None, grader: Grader | None = None, n_controls: int = 1,
) -> str:  # fmt: skip
    """Steer at one layer with several strengths, on the report half; writes ``tables/steering.csv``.

    Parameters
    ----------
    n_controls
        Random directions, and random splits of the roles, each: pushed as far along, on the jailbreaks alone.

    Returns
    -------
    str
        One line: from where to where jailbreaks and right answers go, and where text breaks.
    """
    known = run.study["steps"].get("calibrate", {}).get("config", {})  # the same report half as the calibration's, if there is one
    config = CapConfig(**known | (config.model_dump(include=config.model_fields_set) if config else {}))
    where = run.recommended_layer if layer is None else layer
    test = material(run, model(), config, grader)
    norms = residual_norms(model(), run.rollouts, run.axis.site.layers)
    conditions = steering_conditions(run.axis, where, norms, strengths, positions)
    n = n_controls if test.grader else 0  # ungraded, a control has nothing to show
    directions = isotropic(run.axis, n, config.seed) + role_splits(run.axis, run.role_vectors, n, config.seed)
    controls = control_conditions(directions, where, norms, strengths, positions)
    every = [*conditions.values(), *(condition for _, _, condition in controls.values())]
    found = resumable(run, "steering", model(), test.reporting, test.grader, every, config, watch)
    named = {name: (control, strength) for name, (control, strength, _) in controls.items()}
    table = dose_response(found, {c.name: s for s, c in conditions.items()}, norms, where, named)
    run.write_table("steering", table)
    facts = {"layer": where, "positions": positions, "unit": table.attrs["unit"], "norms": norms.to_dict()}
    facts |= {"controls": [d.name for d in directions], "n": len(test.reporting), "notes": list(test.notes)}
    run.record("steering", **facts)
    return _steered(table, where)


def _steered(table: pd.DataFrame, layer: int) -> str:
    """From where to where each measure goes along the axis, and how low compliance gets along the controls."""
    said = [f"Steering at layer {layer}, in fractions of the {table.attrs['unit']}"]
    own = table[table["control"] == ""] if "control" in table else table
    for measure, rows in own.groupby("measure", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        said.append(f"{measure} {first['rate']:.2f} at {first['strength']:+g}, {last['rate']:.2f} at {last['strength']:+g}")
    others = table[(table["control"] != "") & (table["measure"] == "compliance")] if "control" in table else table.iloc[:0]
    if len(others):
        lowest = others.sort_values("rate").iloc[0]
        said.append(f"compliance along {others['control'].nunique()} controls never below {lowest['rate']:.2f} ({lowest['control']})")
    if not {"broken", "right"} & set(table["measure"]):
        return "; ".join(said) + ". Nothing was graded: whether text or answers break is unknown."
    broken = sorted(set(table.loc[table["breaks"], "strength"]))
    return "; ".join(said) + (f". Text or answers break at {', '.join(f'{s:+g}' for s in broken)}." if broken else ". Nothing breaks.")


def calibrated(run: Run) -> str:
    """What a calibration found, and what to run next."""
    facts = run.study["steps"]["calibrate"]
    if not facts["choices"]:
        return facts["notes"][-1]
    lines = []
    changes = lookup(pd.read_csv(run.folder / "tables" / "caps_changes.csv"))
    for choice in facts["choices"]:
        lines.append(f"{choice['name'].capitalize()}: {Setting(**choice['setting']).name}. {choice['reason'].capitalize()}.")
        reported = [f"{m} {changes[choice['name'], m]['baseline']:.3f} -> {changes[choice['name'], m]['rate']:.3f}" for m in
                    ("compliance", "right", "over_refusal", "identity") if (choice["name"], m) in changes]  # fmt: skip
        lines.append(f"  On the other half: {', '.join(reported) or 'nothing could be graded'}.")
    return "\n".join([*lines, f"Next: workbench evaluate {run.folder}"])


def evaluated(run: Run) -> str:
    """What an evaluation found."""
    if not (line := run.study.get("causal")):
        return (
            "Evaluated without a grader: how many texts and tokens change is in tables/caps.csv; what a cap prevents or costs is unknown."
        )
    return f"{line['line']}: {line['outcome']}. {line['evidence'].capitalize()}."


def batch_of(model: HookedModel) -> int:
    """Prompts answered at once."""
    return 256 if model.d_model <= 256 else 32


def resumable(
    run: Run, step: str, model: HookedModel, prompts: Sequence[Prompt], grader: Grader | None, conditions: Sequence[Condition],
    config: CapConfig, watch: Watch,
) -> Evaluation:  # fmt: skip
    """Evaluate conditions with the baseline, keeping every batch in ``STEP/CONDITION/part-*``: what is there is not done again."""
    fitting, n_new, notes = fit(model, prompts, config.max_new_tokens)
    every, responses, effects = [BASELINE, *conditions], [], []
    for number, condition in enumerate(every):
        parts = Parts(run.folder / step / folder_name(condition.name))
        for answers, effect in answered(parts, model, fitting, grader, condition, n_new, config.seed):
            responses.append(answers)
            effects.append(effect)
        watch(step, number + 1, len(every))
    return gathered(responses, effects, notes)


def answered(
    parts: Parts, model: HookedModel, prompts: Sequence[Prompt], grader: Grader | None, condition: Condition, n_new: int, seed: int
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Answers and effects of one condition, a batch a part: what is there is not done again."""
    salt = as_json([condition.describe()["interventions"], model.weights, grader.name if grader else "", n_new, seed])
    asked, size = condition.prompts(prompts), batch_of(model)
    chunks = [asked[i : i + size] for i in range(0, len(asked), size)]
    keys = [key_of([as_json(asdict(p)) for p in chunk], salt) for chunk in chunks]
    for i in parts.missing(keys):
        [(answers, effect)] = respond(model, chunks[i], condition, grader, n_new, seed, size)
        parts.write(i, keys[i], {"parquet": parquet_bytes(answers), "effects.parquet": parquet_bytes(effect)})
    parts.keep(len(chunks))
    found = [(parts.frame(i), parts.frame(i, "effects.parquet")) for i in range(len(chunks))]
    return [(answers.assign(condition=condition.name), effect.assign(condition=condition.name)) for answers, effect in found]
