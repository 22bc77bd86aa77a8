"""Any of our figures as a print figure: an exact width, one family of letters in the size in which it is printed, hairlines, no title."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from ..errors import DataError
from . import theme
from .grey import tell_apart
from .images import CSS_DPI
from .labels import settle_names
from .rooms import SMALL, TEXT, fit, whole_rows
from .theme import DARK, LIGHT, Theme
from .untyped import axes_of, layout_of, traces_of

INCHES = {"column": 3.25, "page": 6.75}
"""Widths: one column of a two-column page, and both."""
PRINT_DPI = 300
HAIR, LINE = CSS_DPI / 144, 1.1 * CSS_DPI / 72
"""Hairlines are half a point wide, lines that show data about one."""
SHRINK = SMALL / 12
"""Screen figures set most of their words in 12 pixels: what is measured in pixels there shrinks as those words do."""
THIN, DOT = 1.2, 0.62
"""Lines up to this width on the screen become hairlines; dots shrink more than words."""
FAMILY = "'Liberation Sans', Arial, Helvetica, 'DejaVu Sans', sans-serif"
"""Liberation Sans has the widths of Arial; DejaVu Sans, the widest, is what a bare Linux has. The first that is installed is used."""
LIGHT_NAME, DARK_NAME = "workbench-paper", "workbench-paper-dark"


def for_paper(figure: go.Figure, width: str = "column", height: float | None = None, dark: bool = False) -> go.Figure:
    """A copy of a figure for print; the figure itself stays as it is.

    The title goes (it belongs in the caption), letters are 7 or 8 points of one family, lines 0.5 or about 1 point, the page
    white. What only colours told apart gets dashes or symbols too: points in the far half of a scale between vermilion and
    blue become squares, lines that differ by colour alone get a dash each. Names on dots are moved to where they lie on nothing else;
    those for which there is no room are left out.

    Parameters
    ----------
    figure
        Of :mod:`workbench.plots`, or any other flat Plotly figure.
    width
        ``column`` (3.25 inches) or ``page`` (6.75 inches).
    height
        Inches; what the screen figure's height asks for where None. Rounded up to a twelfth of an inch.
    dark
        Light on dark, for slides.

    Raises
    ------
    DataError
        Where the width is neither, or the figure has three dimensions: a print cannot be turned.
    """
    known_width(width)
    if any(trace.type == "scatter3d" for trace in traces_of(figure)):
        raise DataError("a figure in three dimensions cannot be turned on paper: draw it flat, e.g. persona_space(frame, dims=2)")
    shown, margin = go.Figure(figure), layout_of(figure).margin
    inner = SHRINK * (_given(layout_of(figure).height, 450) - _given(margin.t, 80) - _given(margin.b, 12))
    look = DARK_NAME if dark else LIGHT_NAME
    shown.update_layout(template=look, title={"text": None, "subtitle": {"text": None}})
    for trace in traces_of(shown):
        _thin_trace(trace)
    _dress_layout(shown)
    tell_apart(shown)
    right = _given(margin.r, 12) * SHRINK
    name_dots = not any(str(trace.xaxis or "x") != "x" for trace in traces_of(shown) if trace.type == "scatter")
    fit(shown, round(INCHES[width] * CSS_DPI), inner, None if height is None else whole_rows(height * CSS_DPI), right)
    if name_dots:
        layout = layout_of(shown)
        (low, high), (left, end) = layout.yaxis.domain, layout.xaxis.domain
        settle_names(shown, (end - left) * layout.width, (high - low) * layout.height, SMALL)
    return shown


def known_width(width: str) -> str:
    """The width, where it is one of those that there are."""
    if width not in INCHES:
        raise DataError(f"the width of a print figure is {' or '.join(INCHES)}, not {width!r}")
    return width


def dpi_of(figure: go.Figure) -> int:
    """Dots of a PNG to an inch: 300 for a figure in print style, two a pixel for one of the screen."""
    return PRINT_DPI if layout_of(figure).template.layout.font.family == FAMILY else 2 * CSS_DPI


def _thin_trace(trace: Any) -> None:
    """Lines, rings and dots in print sizes."""
    if trace.type == "heatmap":
        trace.update(xgap=HAIR if trace.xgap else 0, ygap=HAIR if trace.ygap else 0, textfont={"size": SMALL})
    if trace.type != "scatter":
        return
    if trace.line.width is None and "lines" in (trace.mode or ""):
        trace.line.width = LINE
    elif trace.line.width:
        trace.line.width = thin(trace.line.width)
    marker = trace.marker
    if marker.size is not None:
        marker.size = marker.size * DOT if isinstance(marker.size, (int, float)) else [s * DOT for s in marker.size]
    if marker.line.width is not None:
        ring = marker.line.width
        marker.line.width = thin(ring) if isinstance(ring, (int, float)) else [thin(w) for w in ring]
    for error in (trace.error_x, trace.error_y):
        if error.array is not None:
            error.thickness = thin(_given(error.thickness, 1.3))


def thin(width: float) -> float:
    """A line's width in print: none, a hairline, or in proportion."""
    return 0 if not width else HAIR if width <= THIN else max(HAIR, 0.75 * width)


def _dress_layout(figure: go.Figure) -> None:
    """Letters, lines and shifts of all that is no trace."""
    for note in layout_of(figure).annotations:
        note.font.size = SMALL
        pixels = [name for name in ("ax", "ay") if note[f"{name}ref"] in (None, "pixel")]
        for name in ("xshift", "yshift", "standoff", "startstandoff", *pixels):
            note[name] = note[name] * SHRINK if note[name] else note[name]
        if note.arrowwidth:
            note.arrowwidth = thin(note.arrowwidth)
    for shape in layout_of(figure).shapes:
        if shape.line.width:
            shape.line.width = thin(shape.line.width)
    for axis in axes_of(figure):
        axis.tickfont.size = axis.title.font.size = axis.title.standoff = None
        axis.ticklen = axis.ticklen * SHRINK if axis.ticklen else axis.ticklen
    layout_of(figure).legend.entrywidth = None  # the longest entry decides


def _given(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _paper_template(screen: str, colours: Theme) -> go.layout.Template:
    """A screen's template in print sizes: axes with lines and ticks, thin rings."""
    made: Any = go.layout.Template(pio.templates[screen])
    axis = {
        "tickfont": {"size": SMALL, "color": colours.ink}, "title": {"font": {"size": TEXT}, "standoff": 4}, "gridwidth": HAIR,
        "showline": True, "linewidth": HAIR, "linecolor": colours.ink,
        "ticks": "outside", "ticklen": 2.5, "tickwidth": HAIR, "tickcolor": colours.ink,
    }  # fmt: skip
    bar = {"thickness": 7, "tickfont": {"size": SMALL, "color": colours.ink}, "title": {"font": {"size": TEXT}}, "ticklen": 2}
    made.layout.update(
        font={"family": FAMILY, "size": SMALL, "color": colours.ink}, margin={"l": 2, "r": 4, "t": 4, "b": 2}, xaxis=axis, yaxis=axis,
        legend={"font": {"size": SMALL}, "itemwidth": 30, "tracegroupgap": 0},
    )  # fmt: skip
    for name in made.layout:
        if str(name).startswith("coloraxis") and made.layout[name].colorbar.len:
            made.layout[name].colorbar.update(bar)
    made.data.scatter[0].marker.line.width = HAIR
    return made


pio.templates[LIGHT_NAME] = _paper_template(theme.LIGHT_NAME, LIGHT)
pio.templates[DARK_NAME] = _paper_template(theme.DARK_NAME, DARK)
