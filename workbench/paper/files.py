"""Paper figures as files: images, their numbers, captions and a table, each written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ..errors import DataError, RunError, WorkbenchError
from ..plots.export import as_bytes
from ..plots.images import FORMATS as IMAGES
from ..plots.images import draw_images
from ..plots.paper import INCHES, dpi_of
from ..plots.sheet import PaperFigure, Sheet
from ..plots.untyped import layout_of
from ..store import Run
from ..tensorfile import write_bytes
from .catalogue import check_names, known_names, paper_figures, reading, shown_and_left_out
from .tables import latex, latex_table, markdown, markdown_table, table_caption, table_frame

FORMATS = (*IMAGES, "html", "json", "csv")
STYLES = ("paper", "screen")
TABLE, SCRIPT = "table1", "plotly.min.js"
IN_MARKDOWN = re.compile(r"^\*\*(?P<name>\w+)\*\* \(.*$", re.MULTILINE)
IN_LATEX = re.compile(r"\\begin\{figure\*?\}(?:(?!\\end\{figure).)*\\label\{fig:(?P<name>\w+)\}\n\\end\{figure\*?\}", re.DOTALL)
"""A figure's caption in the files of captions."""
WIDE = 700
"""Width of a screen figure's image where the figure has none."""


@dataclass(frozen=True)
class Settings:
    """How figures are written.

    Attributes
    ----------
    formats
        Of :data:`FORMATS`.
    style
        ``paper`` or ``screen``.
    width
        ``column`` or ``page``; what suits each figure where None.
    dark
        Light on dark.
    """

    formats: tuple[str, ...] = ("pdf", "svg", "png")
    style: str = "paper"
    width: str | None = None
    dark: bool = False

    def __post_init__(self) -> None:
        if not self.formats:
            raise DataError(f"figures need a format: {', '.join(FORMATS)}")
        for name in self.formats:
            if name not in FORMATS:
                raise DataError(f"figures are not written as {name!r}: the formats are {', '.join(FORMATS)}")
        if self.style not in STYLES:
            raise DataError(f"the style of figures is {' or '.join(STYLES)}, not {self.style!r}")
        if self.width is not None and self.width not in INCHES:
            raise DataError(f"the width of a print figure is {' or '.join(INCHES)}, not {self.width!r}")

    def draw(self, figure: PaperFigure) -> go.Figure:
        """A figure in this style."""
        if self.style == "paper":
            return figure.for_paper(self.width, self.dark)
        return figure.draw(Sheet(screen=True, dark=self.dark))


@dataclass(frozen=True)
class Written:
    """What was written, and what was left out and why."""

    folder: Path
    figures: tuple[str, ...]
    files: tuple[Path, ...]
    skipped: dict[str, str]


def write_figures(run: Run, names: Iterable[str] | None = None, out: Path | None = None, settings: Settings | None = None) -> Written:
    """Write a run's figures: ``NAME.pdf`` and the like, ``NAME.csv``, ``captions.md``, ``captions.tex``, ``table1.tex``, ``table1.md``.

    What needs no browser is written first: where an image cannot be drawn, the rest is there.

    Parameters
    ----------
    names
        Figures, and ``table1``; all that the run can show where None.
    out
        The folder; ``RUN/figures/paper`` where None.

    Raises
    ------
    DataError
        Where a name or a setting is unknown.
    RunError
        Where the run cannot show what was named, or the folder cannot be written.
    WorkbenchError
        Where images were wanted and kaleido or a browser is missing.
    """
    settings, folder = settings or Settings(), out or run.folder / "figures" / "paper"
    wanted = None if names is None else list(dict.fromkeys(names))
    if wanted is not None:
        check_names(wanted, [*known_names(run), TABLE])
        if not wanted:
            raise DataError(f"no figure was named: there are {', '.join([*known_names(run), TABLE])}")
    if wanted is None:
        figures, skipped = shown_and_left_out(run)
    else:
        figures, skipped = paper_figures(run, [name for name in wanted if name != TABLE]), {}
    table = _table(run, skipped, wanted)
    check_folder(folder)
    drawn = _drawn(figures, settings, None if wanted is not None else skipped)
    files = [path for name, figure in drawn.items() for path in _write_plain(folder, name, figure, settings.formats)]
    if drawn:
        files += _write_captions(folder, {name: figures[name] for name in drawn}, settings, [] if wanted is None else known_names(run))
    files += _write_table(folder, *table) if table else []
    files += _write_images(folder, drawn, [f for f in settings.formats if f in IMAGES])
    return Written(folder, tuple(drawn), tuple(files), skipped)


def _drawn(figures: dict[str, PaperFigure], settings: Settings, skipped: dict[str, str] | None) -> dict[str, go.Figure]:
    """The figures in their style; one whose table shows nothing is skipped, or refused where there is no list of those."""
    drawn = {}
    for name, figure in figures.items():
        try:
            drawn[name] = settings.draw(figure)
        except DataError as error:
            if skipped is None:
                raise DataError(f"{name} cannot be drawn: {error}") from error
            skipped[name] = str(error)
    return drawn


def _table(run: Run, skipped: dict[str, str], wanted: Sequence[str] | None) -> tuple[pd.DataFrame, str] | None:
    """The table and its caption, where it is wanted; one that cannot be made is skipped, or refused where it was named."""
    if wanted is not None and TABLE not in wanted:
        return None
    try:
        return reading(run, lambda: (table_frame(run), table_caption(run)))
    except RunError as error:
        if wanted is not None:
            raise RunError(f"{run.folder} cannot show {TABLE}: {error}") from error
        skipped[TABLE] = str(error)
        return None


def check_folder(folder: Path) -> None:
    """Make a folder and make sure that it can be written, before anything is drawn."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file, not a folder for figures: choose another with --out")
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunError(f"figures cannot be written into {folder}: {error.strerror or error}; choose another folder with --out") from error


def _write_plain(folder: Path, name: str, figure: go.Figure, formats: Sequence[str]) -> list[Path]:
    """What needs no browser; the numbers always."""
    written = []
    for kind in dict.fromkeys(["csv", *(f for f in formats if f in ("html", "json"))]):
        path = folder / f"{name}.{kind}"
        write_bytes(path, as_bytes(figure, kind, name, SCRIPT))
        written.append(path)
    if "html" in formats and not (folder / SCRIPT).exists():
        write_bytes(folder / SCRIPT, get_plotlyjs().encode())
    return written


def _write_images(folder: Path, drawn: dict[str, go.Figure], kinds: Sequence[str]) -> list[Path]:
    jobs = [(name, kind, figure) for name, figure in drawn.items() for kind in kinds]
    if not jobs:
        return []
    try:
        images = draw_images([(_sized(figure), kind) for _, kind, figure in jobs], dpi_of(jobs[0][2]))
    except WorkbenchError as error:
        raise WorkbenchError(f"{error}. What needs no browser was written into {folder}") from error
    for (name, kind, _), content in zip(jobs, images, strict=True):
        write_bytes(folder / f"{name}.{kind}", content)
    return [folder / f"{name}.{kind}" for name, kind, _ in jobs]


def _sized(figure: go.Figure) -> go.Figure:
    return figure if layout_of(figure).width else go.Figure(figure).update_layout(width=WIDE)


def _write_captions(folder: Path, figures: dict[str, PaperFigure], settings: Settings, kept: Sequence[str]) -> list[Path]:
    """Captions for Markdown and as ready floats for LaTeX (``graphicx``): of the figures written, and of those `kept` from before.

    Kept is a caption whose figure is still there, in the order of the names.
    """
    plain = {name: f"**{name}** ({figure.title}). {markdown(figure.caption)}\n" for name, figure in figures.items()}
    floats = {name: _float(figure, settings) for name, figure in figures.items()}
    for path, own, pattern, head in (
        (folder / "captions.md", plain, IN_MARKDOWN, []),
        (folder / "captions.tex", floats, IN_LATEX, ["% Figures as floats; they need \\usepackage{graphicx}.\n"]),
    ):
        before = _known(path, pattern) if kept else {}
        still = {name: text for name, text in before.items() if name in kept and (folder / f"{name}.csv").exists()}
        every = still | own
        order = [name for name in kept if name in every] or [*every]
        write_bytes(path, "\n".join([*head, *(every[name] for name in order)]).encode())
    return [folder / "captions.md", folder / "captions.tex"]


def _known(path: Path, pattern: re.Pattern[str]) -> dict[str, str]:
    """Name -> caption, of a file of captions that was written before."""
    if not path.is_file():
        return {}
    return {found["name"]: f"{found[0]}\n" for found in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))}


def _float(figure: PaperFigure, settings: Settings) -> str:
    star = "*" if (settings.width or figure.width) == "page" else ""
    return "\n".join(
        [
            rf"\begin{{figure{star}}}[t]",
            rf"\centering\includegraphics{{{figure.name}}}",
            rf"\caption{{{latex(figure.caption)}}}",
            rf"\label{{fig:{figure.name}}}",
            rf"\end{{figure{star}}}",
            "",
        ]
    )


def _write_table(folder: Path, frame: pd.DataFrame, caption: str) -> list[Path]:
    write_bytes(folder / f"{TABLE}.tex", latex_table(frame, caption, f"tab:{TABLE}").encode())
    write_bytes(folder / f"{TABLE}.md", markdown_table(frame, caption).encode())
    return [folder / f"{TABLE}.tex", folder / f"{TABLE}.md"]
