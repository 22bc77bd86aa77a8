"""The command that writes a paper's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import RunFolder

figures_app = typer.Typer()


@figures_app.command()
def figures(
    run: RunFolder,
    format: Annotated[str, typer.Option(help="pdf, svg, png, html, json, csv; several with commas")] = "pdf,svg,png",
    style: Annotated[str, typer.Option(help="paper, or screen for the look of the report")] = "paper",
    only: Annotated[str | None, typer.Option(help="names, e.g. fig1,fig9,case1,table1; all that the run can show if not given")] = None,
    out: Annotated[Path | None, typer.Option(help="a folder; RUN/figures/paper where not given")] = None,
    width: Annotated[str | None, typer.Option(help="column (3.25 inches) or page (6.75); what suits each figure if not given")] = None,
    dark: Annotated[bool, typer.Option("--dark", help="light on dark, for slides")] = False,
) -> None:  # fmt: skip
    """Figures for a paper, with captions, numbers and a table: what a run holds, in print sizes."""
    from ..paper.files import Settings, write_figures
    from ..store import open_run

    settings = Settings(_names(format), style, width, dark)
    written = write_figures(open_run(run), None if only is None else _names(only), out, settings)
    for name, lacks in written.skipped.items():
        print(f"left out: {name}: {lacks}")
    print(f"Figures: {', '.join(written.figures) or 'none'}; {len(written.files)} files in {written.folder}")


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
