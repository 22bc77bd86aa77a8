"""The main job, step by step: rollouts, judgements, activations, axis, sweep, report, on one run folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ..activations import Activations
from ..conversations import Role
from ..directions import contrast, role_vectors
from ..errors import DataError
from ..evaluation.splits import make_splits
from ..evaluation.verdict import cannot_judge, judge_method
from ..judging import UNASKED, afford, judge_for, judgements
from ..library import load_questions, load_roles
from ..llm_judge import role_subjects
from ..models.extraction import mean_activations, readings_of
from ..models.hooked import HookedModel
from ..parts import key_of, parquet_bytes, part_tensor
from ..presets import preset_for
from ..progress import Watch
from ..reduction import reduced, storage_plan
from ..report.caps import verdict_of
from ..report.judge import compare_with_rules
from ..rollouts import Plan, plan_rollouts
from ..rubrics import ROLE
from ..served import template_note, write_answers
from ..store import Run, create_run, save_activations
from ..sweeps import sweep_layers
from ..tensorfile import write_bytes
from .config import Lazy, StudyConfig, endpoint_of, llm_judge_of, may_change
from .costs import cost_of
from .report import headline, write_report
from .standing import forget_people, inputs, outdated, stands
from .words import keep_words, words_of

log = logging.getLogger("workbench")
MIN_ROLES = 4
"""Fewer roles span no persona space of which a role could be left out."""


def run_study(model: Any = "organism", out: str | Path | None = None, watch: Watch | None = None, **settings: Any) -> Run:
    """Run a whole study, or continue one.

    Parameters
    ----------
    model
        A name or folder for :func:`workbench.load_model`, or a loaded :class:`HookedModel`.
    out
        Run folder; ``runs/MODEL`` where None.
    watch
        Called as rows get done.
    **settings
        What decides the outcome: ``roles`` and ``questions`` (how many, a folder or file, all where None), ``prompts``, ``samples``,
        ``default_rollouts``, ``seed``, ``layers`` (blocks to read, all where None), ``keep_layers``, ``max_new_tokens``,
        ``temperature``, ``top_p``, ``batch_size``; the model's ``revision, dtype, device, chat_template, trust_remote_code``; and
        the servers' ``endpoint, endpoint_model, judge, judge_model, judge_budget, concurrency``. The options of ``workbench study``
        are these with their defaults.

    Returns
    -------
    Run
        With ``rollouts``, ``role_vectors``, ``axis``, ``sweep``, ``space()`` and ``report``.
    """
    name = model.name if isinstance(model, HookedModel) else str(model)
    config = StudyConfig.of(model=name, **settings)
    run = create_run(out or default_folder(name), config.model_dump(mode="json"), may_change)
    loaded = Lazy(run, model if isinstance(model, HookedModel) else None)
    for step in STEPS.values():
        step(run, loaded, watch or (lambda step, done, total: None))
    return run


def default_folder(model: str) -> Path:
    """Where a study goes that was not told where: ``runs/`` and the model's last name."""
    return Path("runs") / (Path(model).name or "study")


def make_plan(run: Run, model: HookedModel) -> Plan:
    """The rollouts that a run's configuration asks for."""
    config = StudyConfig.of(**run.config)
    given, asked, seed = config.roles, config.questions, config.seed
    roles = load_roles(given, seed=seed) if isinstance(given, str) else load_roles(model, n=given, seed=seed)
    questions = load_questions(asked, seed=seed) if isinstance(asked, str) else load_questions(model, n=asked, seed=seed)
    if len(roles) - 1 < MIN_ROLES:
        raise DataError(f"a study needs at least {MIN_ROLES} roles besides the default; there are {len(roles) - 1}")
    run.study["library"] = {
        "roles": {
            r.name: {"description": r.description, "shows": r.shows, "tags": list(r.tags), "prompts": list(r.prompts)} for r in roles
        },
        "questions": [{"id": q.id, "question": q.text, "tags": list(q.tags)} for q in questions],
    }
    run.study["library_sha256"] = hashlib.sha256(json.dumps(run.study["library"], sort_keys=True).encode()).hexdigest()
    return plan_rollouts(
        model, roles, questions, prompts=config.prompts, samples=config.samples, default_rollouts=config.default_rollouts,
        seed=config.seed, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size, temperature=config.temperature,
        top_p=config.top_p,
    )  # fmt: skip


def rollouts_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Generate what the plan asks for and is not there yet."""
    parts = run.parts("rollouts")
    if stands(run, "rollouts", parts):
        return
    server = endpoint_of(StudyConfig.of(**run.config))
    reader = model.reader() if server else model()
    _check_layers(run, reader)
    plan = make_plan(run, reader)
    write_bytes(run.folder / "rollouts" / "plan.parquet", parquet_bytes(plan.rows))
    run.study["steps"].setdefault("rollouts", {"state": "running"})
    if not server:
        run.study["weights"] = model().weights
    run.save()
    log.info(cost_of(plan, model, StudyConfig.of(**run.config)))
    write_answers(plan, parts, reader, server, watch)
    parts.keep(len(plan.batches))
    run.study["preset"] = asdict(preset_for(reader.name, reader.n_layers))
    facts = {"n": len(plan.rows), "notes": [*plan.notes, *_set_aside(parts)], "max_new_tokens": plan.max_new_tokens}
    facts |= {"parts": len(parts), "inputs": inputs(run, "rollouts")}
    run.record("rollouts", **facts)
    table = run.table("rollouts")
    facts["notes"] += template_note(table)
    run.record("rollouts", **facts, errors=int((table["error"] != "").sum()))


def judge_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Label the responses with the judge that comes with the model; None where there is none."""
    parts = run.parts("judgements")
    if stands(run, "judge", parts):
        return
    rollouts = run.table("rollouts")
    known = run.study["library"]["roles"].items()
    roles = [Role(name, (), facts["description"], shows=facts.get("shows", "")) for name, facts in known]
    judge = llm_judge_of(run, ROLE, role_subjects(roles), "judgements") or judge_for(model.reader())
    name = judge.name if judge else ""
    chunks = [rollouts.iloc[i : i + 512] for i in range(0, len(rollouts), 512)]
    keys = [key_of(chunk["row"] + chunk["response"], name) for chunk in chunks]
    notes = afford(judge, rollouts)
    for note in notes:
        log.info(note)
    for number in parts.missing(keys):
        parts.write(number, keys[number], {"parquet": parquet_bytes(judgements(chunks[number], judge))})
        watch("judge", min(512 * (number + 1), len(rollouts)), len(rollouts))
    parts.keep(len(chunks))
    forget_people(run)
    facts = {"judge": name, "parts": len(parts), "inputs": inputs(run, "judge")}
    run.record("judge", **facts, notes=_set_aside(parts))
    table = run.table("judgements")
    compare_with_rules(run, model.reader())
    counts = {str(label): int((table["label"] == label).sum()) for label in range(4)} if judge else {}
    run.record(
        "judge",
        **facts,
        labels=counts,
        unread=int((table["label"].isna() & (table["reason"] != UNASKED)).sum()),
        notes=[*notes, *_set_aside(parts)],
    )


def extract_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Read the responses' mean activations at every layer."""
    parts = run.parts("activations")
    if stands(run, "extract", parts):
        return
    rollouts = run.rollouts
    rollouts = rollouts[rollouts["error"] == ""].reset_index(drop=True)
    if rollouts.empty:
        raise DataError(f"none of the {len(run.rollouts)} responses in {run.folder} can be used: see the column 'error' of its rollouts")
    site = model().site(run.config["layers"])
    plan = storage_plan(rollouts, len(site.layers), model().d_model, run.config["seed"])
    single = _kept_layers(run.config["keep_layers"], site.layers) if plan.kept == "sample" else ()
    salt = f"{site.weights} {site.layers} {plan.kept}" + (f" {single}" if single else "")
    said = rollouts["row"] + rollouts["response"]
    if plan.kept == "sample":  # its means are by label
        said += rollouts["label"].astype(str)
    keys = [key_of(said.iloc[part], salt) for part in plan.parts]
    missing = parts.missing(keys)
    done = len(rollouts) - sum(len(plan.parts[number]) for number in missing)
    for number in missing:
        rows = rollouts.iloc[plan.parts[number]].reset_index(drop=True)
        readings = readings_of(model(), rows)
        values = Activations(mean_activations(model(), readings, site.layers), rows[["row", "role", "prompt_index", "label"]], site)
        table, tensor = reduced(values, plan)
        files = {"parquet": parquet_bytes(table), "safetensors": part_tensor(tensor)}
        if single:
            files |= {"single.parquet": parquet_bytes(rows[["row"]]), "single.safetensors": part_tensor(values.at(single).values)}
        parts.write(number, keys[number], files)
        done += len(rows)
        watch("extract", done, len(rollouts))
    parts.keep(len(plan.parts))
    run.record(
        "extract", n=len(rollouts), kept=plan.kept, single=list(single), site=site.to_dict(), parts=len(parts),
        inputs=inputs(run, "extract"), notes=[*plan.notes, *_set_aside(parts)],
    )  # fmt: skip
    keep_words(run, model)


def _check_layers(run: Run, reader: HookedModel) -> None:
    """An error for a layer that is not there: before hours are spent, not after."""
    layers = reader.site(run.config["layers"]).layers
    for layer in layers:
        reader.resid_post(layer)
    _kept_layers(run.config["keep_layers"], layers)


def _kept_layers(wanted: Sequence[int] | None, read: Sequence[int]) -> tuple[int, ...]:
    if missing := [n for n in wanted or () if n not in read]:
        raise DataError(f"vectors shall be kept at layer {missing[0]}, and the layers that are read are {list(read)}")
    return tuple(wanted or ())


def axis_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Role vectors and the Assistant Axis from all kept responses."""
    if stands(run, "axis", files=("axis.safetensors", "role_vectors.safetensors")):
        return
    groups = run.groups()
    acts = run.activations() if groups is None else groups
    keep, min_count = keep_rule(run)
    vectors = role_vectors(acts, keep, min_count)
    if len(vectors) - 1 < MIN_ROLES:
        raise DataError(
            f"only {len(vectors) - 1} roles of {run.folder} have {min_count} responses that can be kept ({keep}), and a persona space "
            f"needs {MIN_ROLES}: ask more questions, or look at the labels in its judgements"
        )
    axis = contrast(vectors)
    dropped = sorted(set(acts.rows["role"]) - set(vectors.rows["role"]))
    made_from = {"keep": keep, "min_count": min_count, "n_responses": int(vectors.rows["n"].sum())}
    save_activations(run.folder / "role_vectors.safetensors", vectors, "role vectors", made_from)
    gone = outdated(run, axis)
    axis.save(run.folder / "axis.safetensors")
    notes = [f"{len(dropped)} roles have fewer than {min_count} kept responses and no vector: {', '.join(dropped)}"] if dropped else []
    if gone:
        again = ", ".join(gone)
        notes.append(f"the answers are others than they were, and so is the axis: what was done along the old one is void ({again})")
    run.record("axis", roles=len(vectors) - 1, keep=keep, min_count=min_count, inputs=inputs(run, "axis"), notes=notes)


def keep_rule(run: Run) -> tuple[str, int]:
    """Which responses make a vector ("fully" where a judge labelled any, else all), and how many it takes."""
    keep = "fully" if run.study["steps"]["judge"]["judge"] and run.table("judgements")["label"].notna().any() else "all"
    sizes = run.table("rollouts").query("role != 'default'").groupby("role").size()
    return keep, min(10, math.ceil(int(sizes.max()) * 2 / 3))


def sweep_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Layer sweep on three splits, recommended layer, verdict."""
    if stands(run, "sweep", files=("tables/sweep.csv",)):
        return
    acts, keep = run.activations(), run.study["steps"]["axis"]["keep"]
    vectors = run.role_vectors
    keep_words(run, model)
    words, with_vector = words_of(run), f"role in {sorted(vectors.rows['role'])}"
    acts, words = acts.where(with_vector), None if words is None else words.where(with_vector)
    seed = run.config["seed"]
    try:
        splits = make_splits(acts.rows["role"], acts.rows["question_index"].tolist(), seed)
        sweep = sweep_layers(acts, splits, keep, seed=seed, words=words, progress=lambda done, total: watch("sweep", done, total))
    except DataError as error:
        _too_small(run, str(error))
        return
    chosen = sweep.recommendation
    verdict = judge_method(acts, splits, sweep.table, chosen.layer, keep, seed, words)
    run.study["splits"], run.study["verdict"] = splits.to_dict(), verdict.to_dict()
    run.write_table("sweep", sweep.table)
    facts = {"layer": chosen.layer, "reason": chosen.reason, "saturated": chosen.saturated, "tied": list(chosen.tied)}
    run.record("sweep", **facts, inputs=inputs(run, "sweep"))


def _too_small(run: Run, reason: str) -> None:
    """A study too small for splits still has an axis: the middle layer, and a verdict that says so."""
    layers = run.axis.site.layers
    wanted = run.study.get("preset", {}).get("layer", layers[len(layers) // 2])
    middle = min(layers, key=lambda n: abs(n - wanted))
    run.study["splits"], run.study["verdict"] = None, cannot_judge(reason).to_dict()
    run.write_table("sweep", pd.DataFrame({"layer": layers}))
    facts = {"layer": middle, "reason": f"the middle layer, untested: {reason}", "saturated": False, "tied": []}
    run.record("sweep", **facts, inputs=inputs(run, "sweep"))


def report_step(run: Run, model: Lazy, watch: Watch) -> None:
    """Figures, tables and the report; always made anew, it takes a second."""
    write_report(run)
    run.record("report", path=str(run.report.name))


def _set_aside(parts: Any) -> list[str]:
    return [f"{path} was damaged; it was set aside and made anew" for path in parts.set_aside]


def found(run: Run) -> str:
    """One line that says what a study found."""
    return f"{headline(run)} Verdict: {verdict_of(run).conclusion}."


STEPS = {
    "rollouts": rollouts_step, "judge": judge_step, "extract": extract_step, "axis": axis_step, "sweep": sweep_step, "report": report_step,
}  # fmt: skip
