"""What the commands share: progress that ends with a sentence, and how layers and numbers are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError

RunFolder = Annotated[Path, typer.Argument(help="a study's folder")]


def watched(job: Callable[..., Any]) -> Any:
    """Run a long job with progress; Ctrl-C ends it with a sentence (typer would end it without a word)."""
    from ..progress import terminal_progress

    try:
        with terminal_progress() as watch:
            return job(watch)
    except KeyboardInterrupt:
        raise WorkbenchError("interrupted; what is finished is kept, and the same command continues from there") from None


def refuse_stray(needed: str, **given: object) -> None:
    """An error for options that would be ignored because another is missing (or is there).

    Parameters
    ----------
    needed
        What they need, e.g. ``"--strengths"`` or ``"files"``.
    **given
        Option -> its value, None or False where it was not given; 0 is a value.
    """
    if stray := [name for name, value in given.items() if value is not None and value is not False]:
        raise typer.BadParameter(f"--{stray[0].replace('_', '-')} has no effect without {needed}")


def parse_layers(value: str | None) -> tuple[int, ...] | None:
    """Read ``"10-20"`` or ``"4,8,12"``."""
    if value is None:
        return None
    try:
        ranges = [range(int(r[0]), int(r[-1]) + 1) for r in (part.split("-") for part in value.split(","))]
        if not all(ranges):
            raise ValueError
        return tuple(n for numbers in ranges for n in numbers)
    except ValueError:
        raise typer.BadParameter(f"{value!r}: write numbers and ranges, e.g. 10-20 or 4,8,12") from None


def parse_numbers(value: str) -> tuple[float, ...]:
    """Read ``"-0.6,0.2"`` or ``"-0.6:0.8:0.2"`` (from, to, step; both ends count)."""
    try:
        if ":" not in value:
            return tuple(float(part) for part in value.split(","))
        start, stop, step = (float(part) for part in value.split(":"))
        if step <= 0 or stop < start:
            raise ValueError
        return tuple(round(start + i * step, 10) for i in range(int((stop - start) / step + 1e-9) + 1))
    except ValueError:
        raise typer.BadParameter(f"{value!r}: write numbers as -0.6,0.2 or as from:to:step, e.g. -0.6:0.8:0.2") from None


def again(run: Any) -> None:
    """Write the report anew where there is one, and say where it is."""
    from ..study.config import Lazy
    from ..study.main import STEPS

    if run.is_done("report"):
        STEPS["report"](run, Lazy(run), lambda step, done, total: None)
        print(f"Report: {run.report}")
