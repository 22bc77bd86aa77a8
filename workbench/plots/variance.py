"""How much of the roles' variance each component holds."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..frames import need
from .steering import percent, percent_ticks
from .theme import NEUTRAL, new_figure, numbers

MARKS = (0.7, 0.8, 0.9)
SHOWN = 30
"""Components in view at first; the others are a zoom away."""
NULL = "permuted roles, 95th percentile"


def scree(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Share of variance by component (bars) and its running sum (line), with the number of components for 70, 80, 90 %.

    Where there is a null, bars that exceed it, and whose predecessors all do, are dark, the others grey.

    Parameters
    ----------
    frame
        A row a component: ``component`` (1-based), ``share`` and ``cumulative`` (0 to 1); optionally ``null_high``: the share
        that a component of this rank rarely exceeds where dimensions have nothing in common (the 95th percentile of
        :meth:`workbench.PersonaSpace.scree`). ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing.
    """
    need(frame, ["component", "share", "cumulative"], "scree")
    frame = frame.sort_values("component")
    figure = new_figure("Variance between roles", frame.attrs, dark, height=420)
    component, beyond = [int(n) for n in frame["component"]], beyond_null(frame)
    _draw_bars(figure, frame, len(frame) if beyond is None else beyond)
    figure.add_trace(
        go.Scatter(
            x=component, y=numbers(frame, "cumulative"), name="cumulative", mode="lines+markers", marker={"size": 4},
            line={"width": 1.5}, hovertemplate="up to component %{x}: %{y:.1%}<extra></extra>",
        )
    )  # fmt: skip
    if beyond is not None:
        null, line = numbers(frame, "null_high"), {"width": 1.5, "dash": "dot"}
        hover = "component %{x} of permuted roles: %{y:.2%}<extra></extra>"
        figure.add_trace(go.Scatter(x=component, y=null, name=NULL, mode="lines", line=line, hovertemplate=hover))
    view = min(max(component), _in_view(frame))
    for mark, reached in components_for(frame).items():
        figure.add_shape(type="line", x0=0.5, x1=reached, y0=mark, y1=mark, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
        # Free space is below the running sum, to the right; for what would leave the figure, above it and before it reaches the mark.
        inwards = {"x": reached - 1, "xanchor": "right", "yanchor": "bottom"}
        outwards = {"x": reached, "xanchor": "left", "xshift": 5, "yanchor": "top"}
        place = {"y": mark, "showarrow": False} | (inwards if reached > 0.62 * view + 0.5 else outwards)
        figure.add_annotation(place, text=f"{percent(mark, 0)}: {counted(reached)}")
    if beyond is not None:
        figure.add_annotation(_said(beyond))
    figure.update_xaxes(title_text="component", range=[0.4, view + 0.6], showgrid=False)
    figure.update_yaxes(percent_ticks(0, 1), title_text="share of variance", range=[0, 1.03])
    figure.update_layout(bargap=0.25, barmode="overlay")
    return figure


def _draw_bars(figure: go.Figure, frame: pd.DataFrame, beyond: int) -> None:
    """Bars in the page's ink as far as they exceed the null, the rest in grey."""
    component, share = [int(n) for n in frame["component"]], numbers(frame, "share")
    hover = "component %{x}: %{y:.1%}<extra></extra>"
    known = "null_high" in frame
    for name, part, colour in (
        ("share, beyond chance" if known else "share", slice(0, beyond), None if known else NEUTRAL),
        ("share, not told from chance", slice(beyond, None), NEUTRAL),
    ):
        if component[part]:
            figure.add_trace(go.Bar(x=component[part], y=share[part], name=name, marker={"color": colour}, hovertemplate=hover))


def _said(beyond: int) -> dict[str, Any]:
    """How many components exceed the null, on the empty side of the figure."""
    place = {"x": 1, "xref": "x domain", "xanchor": "right", "y": 0.34, "yref": "y domain", "align": "right", "showarrow": False}
    return place | {"text": f"<b>{counted(beyond)}</b> exceed{'s' if beyond == 1 else ''}<br>what permuted roles reach"}


def counted(n: int) -> str:
    """``1 component``, ``5 components``."""
    return f"{n} component{'' if n == 1 else 's'}"


def beyond_null(frame: pd.DataFrame) -> int | None:
    """How many components in a row, from the first, exceed the null; None where there is none."""
    if "null_high" not in frame or frame["null_high"].isna().all():
        return None
    ordered = frame.sort_values("component")
    exceeds = [share > null for share, null in zip(numbers(ordered, "share"), numbers(ordered, "null_high"), strict=True)]
    return exceeds.index(False) if False in exceeds else len(exceeds)


def components_for(frame: pd.DataFrame) -> dict[float, int]:
    """Component at which the running sum reaches each mark; a mark that is never reached is left out."""
    ordered = frame.sort_values("component")
    reached = {mark: ordered.loc[ordered["cumulative"] >= mark - 1e-9, "component"] for mark in MARKS}
    return {mark: int(rows.iloc[0]) for mark, rows in reached.items() if len(rows)}


def _in_view(frame: pd.DataFrame) -> int:
    return max(SHOWN, max(components_for(frame).values(), default=0) + 5)
