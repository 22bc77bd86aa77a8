"""Progress on a terminal: a bar per step with the time left."""

from __future__ import annotations

import logging
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
    """A :data:`Watch` that draws bars (plain lines where there is no terminal); what the library has to say stands above them.

    All of it goes to the error output: what a command found is alone in the other.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with (
        Progress(*columns, console=Console(stderr=True)) as bars,
        said_by("workbench", lambda text: bars.console.print(text, markup=False, highlight=False, soft_wrap=True)),
    ):
        tasks: dict[str, int] = {}

        def watch(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(TITLES.get(step, step), total=total)
            bars.update(tasks[step], completed=done, total=total)  # type: ignore[arg-type]

        yield watch


@contextmanager
def said_by(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Have what a library logs for information said aloud."""

    class Aloud(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger(name), Aloud(logging.INFO)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
