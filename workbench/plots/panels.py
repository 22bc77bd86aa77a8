"""Several panels in one print figure, each in a box of its own, measured in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from ..errors import DataError
from .rooms import NO_MARGIN, whole_rows
from .untyped import layout_of, traces_of


@dataclass(frozen=True)
class Box:
    """A panel's place, without what stands around it: pixels from the figure's upper left corner."""

    left: float
    top: float
    width: float
    height: float
    below: float = 0.0
    """How far below it its legend or colour bar begins."""

    def domains(self, width: float, height: float) -> tuple[list[float], list[float]]:
        """The same as shares of a figure of this size, along x and y (upwards)."""
        across = [self.left / width, (self.left + self.width) / width]
        return across, [1 - (self.top + self.height) / height, 1 - self.top / height]


def joined(figures: Sequence[go.Figure], boxes: Sequence[Box], width: float, height: float) -> go.Figure:
    """One figure from several of one panel each, put where the boxes say.

    Each keeps its axes, legend and colour bar, which are renamed (``x2``, ``legend2``, ``coloraxis2``, ...) and placed by their
    own panel: positions that were shares of a figure are shares of its panel. Titles are left out.

    Raises
    ------
    DataError
        Where a figure has several panels.
    """
    height = whole_rows(height)
    whole = go.Figure(
        layout={"template": layout_of(figures[0]).template, "width": round(width), "height": round(height), "margin": NO_MARGIN}
    )
    for number, (figure, box) in enumerate(zip(figures, boxes, strict=True), 1):
        if any(str(trace.xaxis or "x") != "x" for trace in traces_of(figure)):
            raise DataError("only figures of one panel can be joined; one has several")
        _add(whole, figure, box, "" if number == 1 else str(number))
    return whole


def _add(whole: go.Figure, figure: go.Figure, box: Box, n: str) -> None:
    across, up = box.domains(layout_of(whole).width, layout_of(whole).height)
    below = {"y": up[0] - box.below / layout_of(whole).height, "yref": "paper", "yanchor": "top", "xref": "paper"}
    for trace in traces_of(figure):
        own = type(trace)(trace)
        own.update(xaxis=f"x{n}", yaxis=f"y{n}")
        if trace.type == "scatter":
            own.update(legend=f"legend{n}", showlegend=False if layout_of(figure).showlegend is False else trace.showlegend)
        for holder in (own, getattr(own, "marker", None)):
            if holder is not None and "coloraxis" in holder and holder.coloraxis:
                holder.coloraxis = f"coloraxis{n}"
        whole.add_trace(own)
    layout = layout_of(figure).to_plotly_json()
    x, y = layout.get("xaxis", {}), layout.get("yaxis", {})
    x |= {"domain": across, "anchor": f"y{n}", "automargin": False}
    y |= {"domain": up, "anchor": f"x{n}", "automargin": False}
    if y.get("scaleanchor"):
        y["scaleanchor"] = f"x{n}"
    whole.update_layout({f"xaxis{n}": x, f"yaxis{n}": y})
    for note in layout.get("annotations", []):
        whole.add_annotation(_moved(note, n))
    for shape in layout.get("shapes", []):
        whole.add_shape(_moved(shape, n))
    if "coloraxis" in layout:
        bar = layout["coloraxis"].get("colorbar", {}) | below | {"x": sum(across) / 2, "len": 0.7 * (across[1] - across[0])}
        whole.update_layout({f"coloraxis{n}": layout["coloraxis"] | {"colorbar": bar}})
    # A template's legend is that of the first one only.
    usual = layout_of(figure).template.layout.legend.to_plotly_json()
    legend = usual | layout.get("legend", {}) | below | {"x": across[0], "xanchor": "left"}
    whole.update_layout({f"legend{n}": legend}, showlegend=True)


def in_grid(figure: go.Figure, columns: int, width: float, panel: float, room: Room) -> go.Figure:
    """The panels of a figure that stand below one another, in rows of several; a copy.

    Only the lowest panel of each column says what lies along x.

    Parameters
    ----------
    columns
        Panels side by side, from the left.
    width, panel
        Of the figure and the height of one panel, in pixels.
    room
        What each panel needs around itself.
    """
    shown = go.Figure(figure)
    names = sorted((str(k) for k in layout_of(shown) if str(k).startswith("yaxis")), key=lambda k: int(k[5:] or 1))
    rows = -(-len(names) // columns)
    height = whole_rows(rows * (panel + room.above) + (rows - 1) * room.below + room.lowest)
    across = width / columns
    for i, name in enumerate(names):
        row, column = divmod(i, columns)
        top = room.above + row * (room.above + panel + room.below)
        box = Box(column * across + room.left, top, across - room.left - room.right, panel)
        lowest = i + columns >= len(names)
        domains = box.domains(width, height)
        layout_of(shown)[name].update(domain=domains[1], automargin=False)
        along = layout_of(shown)[name.replace("y", "x", 1)]
        along.update(domain=domains[0], automargin=False, showticklabels=lowest)
        along.title.text = layout_of(shown)[f"xaxis{names[-1][5:]}"].title.text if lowest else None
    shown.update_layout(width=round(width), height=round(height), margin=NO_MARGIN)
    return shown


@dataclass(frozen=True)
class Room:
    """Pixels around a panel in a grid: for ticks at its left, for its name above, for ticks below, and below the lowest."""

    left: float
    right: float
    above: float
    below: float
    lowest: float


def _moved(item: dict[str, Any], n: str) -> dict[str, Any]:
    """An annotation or a shape with its references renamed."""
    own = dict(item)
    for axis in "xy":
        key = f"{axis}ref"
        before = str(own.get(key) or axis)
        own[key] = f"{axis}{n} domain" if before.endswith("domain") or before == "paper" else f"{axis}{n}"
        arrow = f"a{axis}ref"
        if own.get(arrow) not in (None, "pixel"):
            own[arrow] = f"{axis}{n}"
    return own
