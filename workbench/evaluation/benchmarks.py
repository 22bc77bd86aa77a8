"""What a cap costs over several benchmarks: each score's relative change, their sum, and the worst of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import DataError

COLUMNS = ["condition", "task", "metric", "before", "value", "n", "relative", "low", "high", "kind", "worst"]
NEEDED = ["condition", "task", "metric", "filter", "value", "n", "change", "change_low", "change_high"]
SUM = "sum"


def relative_changes(table: pd.DataFrame, tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """Relative changes of benchmark scores under each condition, with their sum and the worst one marked.

    A task counts once, by the first of its metrics that has an interval (else by its first): scores of one task say nearly
    the same. The sum is that of the paper's Pareto figure of capping; one bad loss can hide in it, hence the worst beside it.
    Its interval takes the tasks to be independent, and adds the squares of their half-widths (Zou and Donner 2008).

    Parameters
    ----------
    table
        Of :func:`workbench.evaluation.capabilities.run_tasks`.
    tasks
        Names of the tasks and groups that count; a group's subtasks then do not. All where None.

    Returns
    -------
    DataFrame
        A row a condition and task, and one ``kind = "sum"`` a condition: ``condition, task, metric, before`` (the baseline's
        score), ``value, n`` (items; of the sum: tasks), ``relative, low, high`` (change / |baseline's score|, 95 % interval; missing
        where that score is 0), ``kind`` (``task`` or ``sum``), ``worst`` (the lowest of its condition's tasks).

    Raises
    ------
    DataError
        Where a column is missing, or no condition was run beside the baseline.
    """
    if missing := [name for name in NEEDED if name not in table]:
        raise DataError(f"relative changes need the column {missing[0]}; the table has {', '.join(map(str, table.columns))}")
    rows = table[table["change"].notna() & (table["task"].isin(tasks) if tasks is not None else True)]
    if rows.empty:
        raise DataError("there is no change of a score to show: tasks are run on the model as it is and under a cap (workbench calibrate)")
    frames = []
    for condition, own in rows.groupby("condition", sort=False):
        heads = pd.concat([_head(each) for _, each in own.groupby("task", sort=False)], ignore_index=True)
        frames += [_relative(heads), _summed(str(condition), _relative(heads))]
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def counted_tasks(table: pd.DataFrame, asked: Sequence[str]) -> list[str]:
    """Which tasks of a table count: those asked for by name, without the subtasks of a group; of a tag, all that it brought."""
    there = list(dict.fromkeys(table["task"]))
    known = [task for task in there if _plain(task) in {_plain(name) for name in asked}]
    if len(known) == len(set(map(_plain, asked))):
        return known
    return [task for task in there if task in known or not any(task.startswith(f"{name}_") for name in known)]


def _plain(name: str) -> str:
    """Names as people write them: MMLU-Pro is mmlu_pro."""
    return name.casefold().translate(dict.fromkeys(map(ord, "-_ ")))


def _head(rows: pd.DataFrame) -> pd.DataFrame:
    with_interval = rows[rows["change_low"].notna() & rows["change_high"].notna()]
    return (with_interval if len(with_interval) else rows).head(1)


def _relative(heads: pd.DataFrame) -> pd.DataFrame:
    before = heads["value"] - heads["change"]
    scale = before.abs().where(before != 0)
    named = heads["metric"] + np.where(heads["filter"].isin(["none", ""]), "", ", " + heads["filter"].astype(str))
    found = heads.assign(metric=named, before=before, relative=heads["change"] / scale, kind="task")
    found = found.assign(low=heads["change_low"] / scale, high=heads["change_high"] / scale)
    lowest = found["relative"].idxmin() if found["relative"].notna().any() else None
    return found.assign(worst=found.index == lowest)


def _summed(condition: str, found: pd.DataFrame) -> pd.DataFrame:
    known = found.dropna(subset=["relative"])
    total = known["relative"].sum() if len(known) else np.nan
    # A single unknown interval leaves the sum's unknown, too: NaN goes through.
    below, above = (float(np.sqrt(((known["relative"] - known[end]) ** 2).sum(skipna=False))) for end in ("low", "high"))
    row = {"condition": condition, "task": SUM, "metric": "", "before": np.nan, "value": np.nan, "n": len(known), "relative": total}
    return pd.DataFrame([row | {"low": total - below, "high": total + above, "kind": SUM, "worst": False}])
