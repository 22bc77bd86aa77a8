"""The causal part of a study's report: what caps and steering prevent and cost, from the tables of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .. import plots
from ..calibration import Choice
from ..evaluation.benchmarks import counted_tasks, relative_changes
from ..evaluation.grading import MEASURES, lookup
from ..evaluation.verdict import Line, Verdict, with_causal
from ..parts import MANIFEST, Parts, folder_name
from ..plots.steering import SERIES
from ..store import Run
from .page import ReportFigure

SHOWN = ("compliance", "refusal", "right", "over_refusal", "identity", "broken", "changed")
"""Measures in the table of conditions."""
ASIDE = ("baseline", "recommended", "spares roles", "steering, same dose")
"""Conditions whose answers stand side by side, as far as there are any."""
CAPTIONS = {
    "pareto": "Every cap that was tried, on the tuning half of the prompts; the chosen ones also on the other half (arrows), which "
    "shares no role and no harmful request with the first ({n_tuning:,} and {n_reporting:,} prompts). Left is safer, up is abler; crosses "
    "are 95 % intervals, grey rings other directions that do as much.",
    "dose_response": "Steering at one layer, on {positions} positions, the same prompts and seeds at every strength. Lower compliance is a "
    "gain only while the answers stay right and the text stays text.{controls}",
    "benchmarks": "What the caps change on lm-eval tasks, relative to the score without one, with 95 % intervals over the same items. The "
    "sum is what the paper sets against harm; the worst task stands beside it, because a single bad loss hides in a sum (and is picked "
    "for being low: among many tasks chance alone makes one look bad).",
    "engagement": "What the recommended cap does: the share of tokens that it changes, and its dose (mean length of the change over "
    "the length of the residual stream), by layer and class of positions.",
}


def verdict_of(run: Run) -> Verdict:
    """The study's verdict, its fourth line from calibration and evaluation where they were run."""
    verdict, line = Verdict.from_dict(run.study["verdict"]), run.study.get("causal")
    return with_causal(verdict, Line(**line) if line else None)


def causal_figures(run: Run) -> dict[str, ReportFigure]:
    """Pareto, engagement, benchmarks and dose-response, as far as their tables are there."""
    attrs = {"model": run.axis.site.model}
    shown = {}
    if run.is_done("calibrate"):
        frame = pareto_frame(run)
        if frame is not None:
            frame.attrs |= attrs
            caption = CAPTIONS["pareto"].format(**run.study["steps"]["calibrate"])
            shown["pareto"] = ReportFigure("What a cap prevents, and what it costs", caption, plots.pareto(frame))
        effects = _table(run, "engagement")
        if "recommended" in set(effects["condition"]):
            effects.attrs |= attrs
            figure = plots.engagement(effects, "recommended")
            shown["engagement"] = ReportFigure("How much the recommended cap does", CAPTIONS["engagement"], figure)
    if (frame := benchmark_frame(run)) is not None:
        frame.attrs |= attrs
        shown["benchmarks"] = ReportFigure("What a cap costs on benchmarks", CAPTIONS["benchmarks"], plots.benchmarks(frame))
    if run.is_done("steering") and set(SERIES) & set(_table(run, "steering")["measure"]):
        figure, caption = plots.dose_response(steering_frame(run)), _steering_caption(run.study["steps"]["steering"])
        shown["dose_response"] = ReportFigure("Steering: dose and response", caption, figure)
    return shown


def _steering_caption(facts: Mapping[str, Any]) -> str:
    """What was pushed, and along what else."""
    others = facts.get("controls", [])
    said = f" Grey: compliance under pushes of the same length along {', '.join(others)}." if others else ""
    return CAPTIONS["dose_response"].format(positions=facts.get("positions", "all"), controls=said)


def steering_frame(run: Run) -> pd.DataFrame:
    """Rates by strength, with model, layer and unit of the strengths."""
    facts, frame = run.study["steps"]["steering"], _table(run, "steering")
    frame.attrs |= {"model": run.axis.site.model, "layer": facts["layer"], "unit": facts["unit"]}
    return frame


def pareto_frame(run: Run) -> pd.DataFrame | None:
    """Settings on the tuning half; choices, baseline and controls on the other; None where nothing was graded."""
    tuned = _table(run, "calibration")
    if "compliance" not in tuned or "right" not in tuned:
        return None
    choices = [Choice.from_dict(c) for c in run.study["steps"]["calibrate"]["choices"]]
    chosen = {c.setting.name: c.name for c in reversed(choices)}  # the first keeps its name where two are the same setting
    tuned = tuned.assign(kind="setting", choice=tuned["setting"].map(chosen).fillna(""))
    rates, effects = lookup(_table(run, "caps")), _table(run, "engagement")
    doses = effects[effects["positions"] == "all"].groupby("condition")["dose"].mean().to_dict()
    kinds = run.study["steps"].get("evaluate", {}).get("conditions", {})
    records = []
    for name in dict.fromkeys(condition for condition, _ in rates):
        kind = "baseline" if name == "baseline" else "reported" if name in chosen.values() else kinds.get(name, "")
        if kind not in ("baseline", "reported", "control"):
            continue
        record: dict[str, Any] = {"setting": name, "kind": kind, "choice": name if kind == "reported" else "", "dose": doses.get(name, 0.0)}
        for measure in ("compliance", "right", "identity", "over_refusal"):
            if (found := rates.get((name, measure))) is None:
                continue
            record |= {measure: found["rate"], f"{measure}_low": found["low"], f"{measure}_high": found["high"]}
        records.append(record | {"positions": "all"})
    return pd.concat([tuned, pd.DataFrame(records)], ignore_index=True)


def benchmark_frame(run: Run) -> pd.DataFrame | None:
    """Relative changes of the tasks that were asked for; None where none were run, or no cap beside the baseline."""
    if not run.is_done("tasks"):
        return None
    table = _table(run, "capabilities")
    found = counted_tasks(table, run.study["steps"]["tasks"]["tasks"])
    known = table[table["task"].isin(found)].dropna(subset="change")
    if not len(known):
        return None
    frame = relative_changes(table, found)
    return frame if frame["relative"].notna().any() else None


def conditions_table(run: Run) -> pd.DataFrame | None:
    """A row a condition of the report half: kind, and each measure as ``rate [low, high]``.

    The head names the n of the baseline and the caps; a cell with another, as controls have, says so itself.
    """
    if not run.is_done("calibrate"):
        return None
    table = _table(run, "caps")
    rates = lookup(table)
    kinds = {"baseline": "baseline"} | run.study["steps"].get("evaluate", {}).get("conditions", {})
    titles = {m.name: m.title for m in MEASURES}
    control = table["condition"].map(kinds) == "control"
    counts = {m: _usual(table[table["measure"] == m], control) for m in SHOWN if m in set(table["measure"])}
    heads = {m: f"{titles[m]} (n = {n})" for m, n in counts.items()}
    records = []
    for name in dict.fromkeys(table["condition"]):
        record = {"condition": name, "kind": kinds.get(name, "cap")}
        for measure, head in heads.items():
            found = rates.get((name, measure))
            record[head] = _rate(found, counts[measure]) if found else ""
        records.append(record)
    return _with_tasks(run, pd.DataFrame(records))


def _usual(rows: pd.DataFrame, control: pd.Series) -> int:
    """The n of a measure in most conditions: the largest of those that are no controls, where there are any."""
    others = rows.loc[~control[rows.index], "n"]
    return int((others if len(others) else rows["n"]).max())


def _rate(found: Mapping[str, Any], n: int) -> str:
    said = f"{found['rate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
    return said if int(found["n"]) == n else f"{said} (n = {int(found['n'])})"


def _with_tasks(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """A column for every metric of every lm-eval task: its value, and by how much a cap changes it on the same items."""
    if not run.is_done("tasks"):
        return frame
    for (task, metric, part), rows in _table(run, "capabilities").groupby(["task", "metric", "filter"], sort=False):
        cells = {row["condition"]: _score(row) for row in rows.to_dict("records")}
        head = f"{task} {metric}" + ("" if part == "none" else f", {part}") + f" (n = {rows['n'].max()})"
        frame[head] = frame["condition"].map(cells).fillna("")
    return frame


def _score(row: Mapping[Any, Any]) -> str:
    value = f"{row['value']:.3f}"
    return value if pd.isna(row["change"]) else f"{value}: {row['change']:+.3f} [{row['change_low']:+.3f}, {row['change_high']:+.3f}]"


def side_by_side(run: Run, each: int = 2) -> list[dict[str, Any]]:
    """The same prompts under several conditions: ``kind, prompt`` and a list of ``condition, response, outcome``."""
    if not run.is_done("calibrate"):
        return []
    current = {"baseline", *(c["name"] for c in run.study["steps"]["calibrate"]["choices"])}
    current |= set(run.study["steps"].get("evaluate", {}).get("conditions", {}))
    answers = {name: _answers(run, name) for name in ASIDE if name in current}
    answers = {name: frame for name, frame in answers.items() if frame is not None}
    if "baseline" not in answers:
        return []
    first = answers["baseline"]
    cards = []
    for kind, rows in first.groupby("kind", sort=True):
        # The first prompts by id: not chosen by what came out.
        for row in rows.sort_values("id").head(each).to_dict("records"):
            said = [(name, frame.loc[row["id"]]) for name, frame in answers.items() if row["id"] in frame.index]
            replies = [{"condition": name, "response": str(r["response"]), "outcome": _outcome(r)} for name, r in said]
            cards.append({"kind": kind, "role": row["role"], "prompt": row["prompt"], "replies": replies})
    return cards


def _outcome(row: Any) -> str:
    words = {"refused": "refuses", "complied": "complies", "right": "right", "in_role": "in role", "broken": "no text"}
    said = [word for name, word in words.items() if pd.notna(row[name]) and bool(row[name])]
    if pd.notna(row["right"]) and not bool(row["right"]):
        said.append("wrong")
    return ", ".join(said)


def _answers(run: Run, condition: str) -> pd.DataFrame | None:
    folder = run.folder / "evaluation" / folder_name(condition)
    if not (folder / MANIFEST).exists():
        return None
    parts = Parts(folder)
    frame = pd.concat([parts.frame(i) for i in range(len(parts))], ignore_index=True)
    return frame.set_axis(frame["id"].to_list(), axis=0)


def _table(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "tables" / f"{name}.csv", keep_default_na=True)
