"""lm-eval tasks on a run's model, as it is and under its calibrated caps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .evaluation.conditions import Condition
from .progress import Watch
from .store import Run
from .study import Lazy

STEP, TABLE = "tasks", "capabilities"


def tasks_step(
    run: Run, model: Lazy, watch: Watch, tasks: Sequence[str], include_path: Path | None = None, limit: int | None = None
) -> pd.DataFrame:
    """Run tasks by name on the model as it is and under each calibrated cap; writes ``tables/capabilities.csv`` and returns it."""
    from .evaluation.capabilities import run_tasks

    conditions = [Condition(name, (cap,)) for name, cap in run.caps.items()]
    table = run_tasks(model(), tasks, conditions, limit=limit, include_path=include_path, progress=lambda n, total: watch(STEP, n, total))
    run.write_table(TABLE, table)
    run.record(STEP, tasks=list(tasks), limit=limit)
    return table


def tasks_found(run: Run) -> str:
    """The largest loss on any task under the recommended cap; empty where no tasks were run."""
    if not run.is_done(STEP):
        return ""
    table = pd.read_csv(run.folder / "tables" / f"{TABLE}.csv")
    capped = table[table["condition"] == "recommended"].dropna(subset=["change"])
    if not len(capped):
        return f"What {table['task'].nunique()} lm-eval tasks say stands in tables/{TABLE}.csv; their scores allow no paired comparison."
    worst = capped.sort_values("change").iloc[0]
    return (
        f"Over {capped['task'].nunique()} lm-eval tasks the recommended cap changes scores at worst by {worst['change']:+.3f} "
        f"[{worst['change_low']:+.3f}, {worst['change_high']:+.3f}] ({worst['task']}, {worst['metric']}, n = {worst['n']:.0f})."
    )
