"""Cosines as square maps, on a scale of their own: what is alike need not be the Assistant's."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from .theme import ALIKE_AXIS, new_figure, numbers, safe

DEFAULT = "default"
WRITTEN = 10
"""Up to so many rows there is room for the numbers themselves."""
SCALE = {"tickvals": [-1, 0, 1], "ticktext": ["−1, opposite", "0", "1, alike"]}


def cosine_heatmap(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Cosines between centred role vectors, in the order given; the default's row is pointed at, however few names there is room for.

    Parameters
    ----------
    frame
        Square: index and columns are role names, values from -1 to 1. Centre the vectors before: raw ones are nearly
        parallel and the map would be one colour. ``frame.attrs`` may hold ``model``, ``layer`` and ``order`` (what the roles
        are ordered by, e.g. ``PC1``).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where the table is not square, names a role twice, or holds something that is no cosine.
    """
    names = _check(frame, "cosine_heatmap")
    figure = new_figure("Cosines between centred role vectors", frame.attrs, dark, height=640)
    figure.add_trace(_map(frame, names, "%{y}<br>%{x}<br>cosine %{z:.3f}<extra></extra>"))
    figure.update_xaxes(type="category", tickangle=-90, tickfont_size=9, showgrid=False)
    figure.update_yaxes(type="category", tickfont_size=9, showgrid=False, autorange="reversed")
    if order := frame.attrs.get("order"):
        figure.update_yaxes(title_text=f"roles by {safe(order)}, the highest first")
    if DEFAULT in names:
        figure.update_layout(margin={"r": 60})
        place = {"x": 1, "xref": "x domain", "xanchor": "left", "y": DEFAULT, "yanchor": "middle", "xshift": 3, "showarrow": False}
        figure.add_annotation(place, text=f"◂ <b>{DEFAULT}</b>", font={"size": 11}, borderpad=0)
    return _scaled(figure)


def similarity_by_layer(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Cosines of the axis at one layer with the axis at another: blocks of green are layers that share a direction.

    Parameters
    ----------
    frame
        Square: index and columns are layers (0-based blocks), values from -1 to 1. ``frame.attrs`` may hold ``model``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        As :func:`cosine_heatmap`.
    """
    layers = _check(frame, "similarity_by_layer")
    figure = new_figure("Cosines of the axis between layers", frame.attrs, dark, height=560)
    figure.add_trace(_map(frame, layers, "layers %{y} and %{x}<br>cosine %{z:.3f}<extra></extra>"))
    figure.update_xaxes(type="category", title_text="layer", showgrid=False)
    figure.update_yaxes(type="category", title_text="layer", showgrid=False)
    return _scaled(figure)


def _check(frame: pd.DataFrame, what: str) -> list[object]:
    names = list(frame.index)
    if not names or names != list(frame.columns):
        size = f"{frame.shape[0]} x {frame.shape[1]}"
        raise DataError(f"{what} needs a square table with the same names as rows and columns; this one is {size}")
    if not frame.index.is_unique:
        raise DataError(f"{what} needs each name once; {frame.index[frame.index.duplicated()][0]} occurs twice")
    largest = max((abs(v) for column in frame for v in numbers(frame, column) if v == v), default=0.0)
    if largest > 1 + 1e-4:
        raise DataError(f"{what} needs cosines from -1 to 1; the table holds {largest:.4g}")
    return [safe(name) if isinstance(name, str) else name for name in names]


def _map(frame: pd.DataFrame, names: list[object], hover: str) -> go.Heatmap:
    rows = [list(row) for row in zip(*(numbers(frame, name) for name in frame.columns), strict=True)]
    gap = 0.5 if len(names) <= 24 else 0
    written = {"texttemplate": "%{z:.2f}", "textfont": {"size": 10}} if len(names) <= WRITTEN else {}
    cells = {"x": names, "y": names, "z": rows, "name": "cosine", "coloraxis": ALIKE_AXIS, "hovertemplate": hover}
    return go.Heatmap(cells | written, xgap=gap, ygap=gap)


def _scaled(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(constrain="domain")
    figure.update_yaxes(scaleanchor="x", constrain="domain", constraintoward="top")
    # The title of the figure names the quantity; the bar stands at the very bottom, below names of any length.
    bar = {"y": 0, "yref": "container", "yanchor": "bottom", "len": 0.5} | SCALE
    figure.update_layout({ALIKE_AXIS: {"cmin": -1, "cmax": 1, "colorbar": bar}})
    return figure
