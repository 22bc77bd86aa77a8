"""The rooms around the panels of a print figure, counted in pixels, so that nothing is cut and no width is left to chance.

Plotly can make room by itself while it draws, but then nobody knows beforehand how wide the panels will be, and a legend is kept to
the width of the panels. So the margins are zero here, and the panels' domains leave what ticks, names and legends need.
"""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from .images import CSS_DPI
from .labels import plain, text_width
from .untyped import axes_of, layout_of, traces_of

POINT = CSS_DPI / 72
SMALL, TEXT = 7 * POINT, 8 * POINT
"""Letters of ticks, legends and labels; of axes' names. In pixels of 1/96 inch."""
LEADING, ENTRY, SWATCH = 1.3, 19.0, 48.0
"""Height of a line over that of its letters; of a row of a legend, and what an entry takes besides its words, in Plotly's pixels."""
TICK, GAP, EDGE = 3.0, 4.0, 4.0
"""Length of a tick, space between a tick's label and an axis's name, and at the edges of the figure."""
NUMBER = "\u22120.25"
"""As wide as the numbers at an axis are taken to be where Plotly chooses them."""
STEP = 8
"""Heights are whole multiples of so many pixels: then a PNG of 300 dots an inch has a whole number of rows."""
NO_MARGIN = {"l": 0, "r": 0, "t": 0, "b": 0, "autoexpand": False}


def fit(figure: go.Figure, width: int, inner: float, height: int | None, right: float) -> None:
    """Put the panels of a figure into a size, with room around them for what stands there.

    Parameters
    ----------
    inner
        Height of the panels together, where `height` is None.
    height
        Of the figure.
    right
        Pixels for what stands at the right of the panels.
    """
    left, above, along = _left(figure), _above(figure), _along(figure)
    legend, bar = legend_height(figure, width), _bar_height(figure)
    below = along + legend + bar
    tall = height or whole_rows(inner + above + below)
    across, up = [left / width, 1 - max(right, EDGE, _half_a_label(figure)) / width], [below / tall, 1 - above / tall]
    figure.update_layout(width=width, height=tall, margin=NO_MARGIN)
    for axes, ends in ((axes_of(figure, "x"), across), (axes_of(figure, "y"), up)):
        for axis in axes:
            axis.update(domain=[_inside(ends, share) for share in (axis.domain or (0, 1))], automargin=False)
    for item in (*layout_of(figure).annotations, *layout_of(figure).shapes):
        _move(item, across, up)
    if legend:
        place = {"x": 0, "xref": "paper", "xanchor": "left", "y": up[0] - along / tall, "yref": "paper", "yanchor": "top"}
        figure.update_layout(legend=place)
    for name in _bars(figure):
        place = {"x": sum(across) / 2, "y": up[0] - (along + legend + GAP) / tall, "yref": "paper", "yanchor": "top"}
        layout_of(figure)[name].colorbar.update(place, ypad=0, len=0.6 * (across[1] - across[0]))


def whole_rows(height: float) -> int:
    """A height in pixels, made a little larger where an image of 300 dots an inch would end in the middle of a row."""
    return STEP * max(1, math.ceil(height / STEP - 1e-6))


def legend_height(figure: go.Figure, width: float) -> float:
    """Pixels of the legend's rows below each other; none where there is no legend."""
    traces = [trace for trace in traces_of(figure) if trace.showlegend is not False and trace.type != "heatmap"]
    if layout_of(figure).showlegend is False or (len(traces) < 2 and not layout_of(figure).showlegend):
        return 0.0
    names = list({trace.name or f"trace {i}": None for i, trace in enumerate(traces)})
    columns = max(1, int(width // (SWATCH + max(text_width(plain(name), SMALL) for name in names))))
    return ENTRY * -(-len(names) // columns) + GAP


def _inside(ends: list[float], share: float) -> float:
    return min(1.0, max(0.0, ends[0] + share * (ends[1] - ends[0])))


def _move(item: Any, across: list[float], up: list[float]) -> None:
    """Places that were shares of the panels' area."""
    for axis, ends in (("x", across), ("y", up)):
        if item[f"{axis}ref"] == "paper":
            for name in (n for n in (axis, f"{axis}0", f"{axis}1") if n in item and item[n] is not None):
                item[name] = ends[0] + item[name] * (ends[1] - ends[0])


def _seen(axis: Any) -> bool:
    return axis.visible is not False


def _lines(axis: Any) -> int:
    return str(axis.title.text).count("<br>") + 1 if axis.title.text else 0


def _labels(figure: go.Figure, axis: Any, letter: str) -> list[str]:
    """The labels at an axis's ticks; where Plotly chooses numbers, one that is as wide."""
    if axis.ticktext is not None:
        return [plain(text) for text in axis.ticktext]
    name = str(axis.plotly_name).replace("axis", "")
    values = [trace[letter] for trace in traces_of(figure) if (trace[f"{letter}axis"] or letter) == name]
    words = [plain(v) for value in values if value is not None for v in value if isinstance(v, str)]
    return words or [NUMBER]


def _left(figure: go.Figure) -> float:
    """Room for the ticks and names of the y axes at the left edge."""
    most = EDGE
    for axis in axes_of(figure, "y"):
        if _seen(axis) and not (axis.domain is None and axis.overlaying):
            wide = 0.0 if axis.showticklabels is False else TICK + max(text_width(t, SMALL) for t in _labels(figure, axis, "y"))
            most = max(most, EDGE + wide + (GAP + LEADING * TEXT * _lines(axis) if _lines(axis) else 0))
    return most


def _along(figure: go.Figure) -> float:
    """Room for the ticks and names of the x axes at the lower edge."""
    most = EDGE
    for axis in axes_of(figure, "x"):
        if _seen(axis):
            turned = axis.tickangle in (-90, 90)
            wide = max(text_width(t, SMALL) for t in _labels(figure, axis, "x")) if turned else LEADING * SMALL
            most = max(most, TICK + GAP + wide + (GAP + LEADING * TEXT * _lines(axis) if _lines(axis) else 0))
    return most


def _half_a_label(figure: go.Figure) -> float:
    """The last tick's label stands out by half at the right."""
    ends = [
        axis.ticktext[-1] for axis in axes_of(figure, "x") if axis.ticktext is not None and len(axis.ticktext) and axis.tickangle != -90
    ]
    return max((text_width(plain(text), SMALL) / 2 for text in ends), default=0.0)


def _above(figure: go.Figure) -> float:
    """Room for words above the uppermost panels."""
    most = EDGE
    for note in layout_of(figure).annotations:
        above = str(note.yref).endswith("domain") or note.yref == "paper"
        if above and note.y == 1 and note.yanchor == "bottom":
            most = max(most, SMALL * LEADING * (1 + str(note.text).count("<br>")) + (note.yshift or 0) + 3)
    return most


def _bars(figure: go.Figure) -> list[str]:
    """The colour axes whose bars lie below the panels."""
    used = {t.marker.coloraxis if t.type == "scatter" else t.coloraxis for t in traces_of(figure) if t.type in ("scatter", "heatmap")}
    return [name for name in sorted(u for u in used if u) if layout_of(figure)[name].showscale is not False]


def _bar_height(figure: go.Figure) -> float:
    bars = [layout_of(figure)[name].colorbar for name in _bars(figure)]
    return max((2 * GAP + 9 + LEADING * SMALL + (LEADING * TEXT if bar.title.text else 0) for bar in bars), default=0.0)
