"""Figures that also say in grey what they say in colour."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from .untyped import layout_of, traces_of

ENDS = {"circle": "square", "circle-open": "square-open"}
"""Symbols of the far half of a diverging scale: in grey, both ends of it are dark."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")


def tell_apart(figure: go.Figure) -> None:
    """Give what differs by colour alone another symbol or dash, so that it also differs in grey."""
    taken: dict[tuple[str, str], Any] = {}
    for trace in (trace for trace in traces_of(figure) if trace.type == "scatter"):
        marker = trace.marker
        if marker.coloraxis and marker.color is not None and not isinstance(marker.color, str):
            _square_far_half(figure, trace)
        elif "lines" in (trace.mode or "") and trace.line.width and trace.fill != "toself" and trace.showlegend is not False:
            _own_dash(trace, taken)


def _square_far_half(figure: go.Figure, trace: Any) -> None:
    """Squares for the far half of a diverging scale; the default's diamond stays."""
    axis = layout_of(figure)[trace.marker.coloraxis]
    if axis.colorscale is not None or not isinstance(trace.marker.symbol, (str, type(None))):
        return
    symbol, values = trace.marker.symbol or "circle", [float(v) for v in trace.marker.color]
    known = [v for v in values if math.isfinite(v)]
    low, high = _or(axis.cmin, min(known, default=0.0)), _or(axis.cmax, max(known, default=0.0))
    trace.marker.symbol = [ENDS.get(symbol, symbol) if v < (low + high) / 2 else symbol for v in values]


def _own_dash(trace: Any, taken: dict[tuple[str, str], Any]) -> None:
    """A dash and a symbol that no line of another colour has."""
    symbol = trace.marker.symbol if isinstance(trace.marker.symbol, (list, tuple)) else [trace.marker.symbol or "circle"]
    markers = "markers" in trace.mode
    look = (trace.line.dash or "solid", str(symbol[0]).removesuffix("-open") if markers else "")
    if taken.setdefault(look, trace.line.color) == trace.line.color:
        return
    for dash, other in zip(DASHES, SYMBOLS, strict=True):
        own = (dash, other if markers else "")
        if taken.setdefault(own, trace.line.color) == trace.line.color:
            trace.line.dash = dash
            if markers:
                own_symbols = [other + "-open" * str(s).endswith("-open") for s in symbol]
                trace.marker.symbol = own_symbols if isinstance(trace.marker.symbol, (list, tuple)) else own_symbols[0]
            return


def _or(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)
