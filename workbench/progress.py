"""Progress on a terminal: a bar per step with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watch = Callable[[str, int, int], None]
"""Called with a step's name, what is done and how much there is in all."""

TITLES = {
    "rollouts": "Playing the roles",
    "judge": "Judging",
    "extract": "Reading activations",
    "sweep": "Sweeping layers",
    "train": "Training",
}


@contextmanager
def terminal_progress() -> Iterator[Watch]:
    """A :data:`Watch` that draws bars (plain lines where the output is no terminal)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns) as bars:
        tasks: dict[str, int] = {}

        def watch(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(TITLES.get(step, step), total=total)
            bars.update(tasks[step], completed=done, total=total)  # type: ignore[arg-type]

        yield watch
