"""lm-eval tasks on a run's model, as it is and under its calibrated caps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..evaluation.conditions import Condition
from ..progress import Watch
from ..report.caps import benchmark_frame
from ..store import Run
from .main import Lazy

STEP, TABLE = "tasks", "capabilities"


def tasks_step(
    run: Run, model: Lazy, watch: Watch, tasks: Sequence[str], include_path: Path | None = None, limit: int | None = None
) -> pd.DataFrame:
    """Run tasks by name on the model as it is and under each calibrated cap; writes ``tables/capabilities.csv`` and returns it."""
    from ..evaluation.capabilities import run_tasks

    conditions = [Condition(name, (cap,)) for name, cap in run.caps.items()]
    table = run_tasks(model(), tasks, conditions, limit=limit, include_path=include_path, progress=lambda n, total: watch(STEP, n, total))
    run.write_table(TABLE, table)
    run.record(STEP, tasks=list(tasks), limit=limit)
    return table


def tasks_found(run: Run) -> str:
    """What the tasks cost under the recommended cap, in sum and at worst; empty where no tasks were run."""
    if not run.is_done(STEP):
        return ""
    table = pd.read_csv(run.folder / "tables" / f"{TABLE}.csv")
    frame = benchmark_frame(run)
    capped = None if frame is None else frame[(frame["condition"] == "recommended") & frame["relative"].notna()]
    if capped is None or not len(capped[capped["kind"] == "task"].dropna(subset="low")):
        return f"What {table['task'].nunique()} lm-eval tasks say stands in tables/{TABLE}.csv; their scores allow no paired comparison."
    worst, total = capped[capped["worst"]].iloc[0], capped[capped["kind"] == "sum"].iloc[0]
    several = f" in sum by {_percent(total)}, and" if total["n"] > 1 else ""
    return (
        f"Over {total['n']:.0f} lm-eval tasks the recommended cap changes scores{several} at worst by {_percent(worst)} "
        f"({worst['task']}, {worst['metric']}: {worst['before']:.3f} -> {worst['value']:.3f}, n = {worst['n']:.0f})."
    )


def _percent(row: pd.Series) -> str:
    """A relative change with its interval, where it has one."""
    known = pd.notna(row["low"])
    return f"{row['relative']:+.1%}" + (f" [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" if known else "")
