"""A figure's layout, traces and axes as what they are: Plotly's own annotations hide it from type checkers."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go


def layout_of(figure: go.Figure) -> Any:
    """The layout."""
    return figure.layout


def traces_of(figure: go.Figure) -> list[Any]:
    """The traces, of whatever kind."""
    return list(figure.select_traces())


def axes_of(figure: go.Figure, letters: str = "xy") -> list[Any]:
    """The x axes, the y axes, or both."""
    found: list[Any] = list(figure.select_xaxes()) if "x" in letters else []
    return [*found, *figure.select_yaxes()] if "y" in letters else found
