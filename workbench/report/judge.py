"""What a report says of its judge: which responses were left out by it, role by role, and how far others agree with it."""

from __future__ import annotations

import pandas as pd

from ..agreement import Agreement, agreement
from ..errors import DataError
from ..judging import UNASKED, judge_for, judgements
from ..models.hooked import HookedModel
from ..store import Run
from .page import ReportTable

WITHIN = ["label 3", "label 2", "label 1", "label 0", "no label", "error"]


def judge_tables(run: Run) -> tuple[ReportTable, ...]:
    """Tables for the report; none where nobody judged."""
    if not run.study["steps"]["judge"]["judge"]:
        return ()
    dropped = left_out(run)
    tables = []
    if len(dropped):
        caption = (
            f"{len(dropped)} roles of which not every response counts; those that lose most come first. A role's vector takes at least "
            f"{run.study['steps']['axis']['min_count']} responses."
        )
        tables.append(ReportTable("Responses left out", caption, dropped))
    for name, found in kept_agreements(run).items():
        tables.append(ReportTable(f"Judge and {name}", found["words"], pd.DataFrame(found["confusion"])))
    return tuple(tables)


def left_out(run: Run) -> pd.DataFrame:
    """A row a role that loses responses: ``role, responses, used``, how many for which reason, and ``vector`` (yes or no)."""
    rollouts = run.rollouts.query("role != 'default'")
    said = ["no label" if pd.isna(n) else f"label {int(n)}" for n in rollouts["label"]]
    reason = pd.Series(said, index=rollouts.index, dtype=object).where(rollouts["error"] == "", "error")
    counts = pd.crosstab(rollouts["role"], reason).reindex(columns=WITHIN, fill_value=0)
    used = counts["label 3"] if run.study["steps"]["axis"]["keep"] == "fully" else counts[WITHIN].sum(axis=1) - counts["error"]
    counts.insert(0, "responses", counts.sum(axis=1))
    counts.insert(1, "used", used)
    with_vector = set(run.role_vectors.rows["role"])
    counts["vector"] = ["yes" if role in with_vector else "no" for role in counts.index]
    lost = counts[counts["used"] < counts["responses"]]
    order = (lost["used"] / lost["responses"]).sort_values(kind="stable").index
    return lost.loc[order].reset_index()


def keep_agreement(run: Run, name: str, found: Agreement) -> None:
    """Keep a comparison of the judge with others (people, the rules of the world) for the report."""
    confusion = found.confusion.rename_axis(index=None, columns=None)
    table = [{f"{name} \\ judge": f"label {i}"} | {f"label {j}": int(n) for j, n in row.items()} for i, row in confusion.iterrows()]
    run.study.setdefault("agreement", {})[name] = {"words": f"{found}. Rows: {name}; columns: the judge.", "confusion": table}
    run.save()


def kept_agreements(run: Run) -> dict[str, dict]:
    """What :func:`keep_agreement` kept."""
    return run.study.get("agreement", {})


def compare_with_rules(run: Run, model: HookedModel) -> None:
    """Where a language model judged a model whose own judge goes by rule, compare the two on every response both labelled."""
    rules = judge_for(model)
    table = run.table("judgements")
    if rules is None or not run.config.get("judge"):
        return
    asked = table[table["reason"] != UNASKED]["row"]
    rollouts = run.table("rollouts")
    rollouts = rollouts[rollouts["row"].isin(asked)]
    own = judgements(rollouts, rules).set_index("row")["label"]
    judged = table.set_index("row")["label"]
    try:
        keep_agreement(run, "rules of the world", agreement(own.loc[rollouts["row"]], judged.loc[rollouts["row"]]))
    except DataError:
        return  # fewer than two verdicts could be read: the notes say how many
