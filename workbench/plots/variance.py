"""How much of the roles' variance each component holds."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from .theme import NEUTRAL, need, new_figure, numbers

MARKS = (0.7, 0.8, 0.9)
SHOWN = 30
"""Components in view at first; the others are a zoom away."""


def scree(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Share of variance by component (bars) and its running sum (line), with the number of components for 70, 80, 90 %.

    Parameters
    ----------
    frame
        A row a component: ``component`` (1-based), ``share`` and ``cumulative`` (0 to 1); optionally ``null_high``
        (upper end of the share that random data would give). ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing.
    """
    need(frame, ["component", "share", "cumulative"], "scree")
    figure = new_figure("Variance between roles", frame.attrs, dark, height=420)
    component = [int(n) for n in frame["component"]]
    hover = "component %{x}: %{y:.1%}<extra></extra>"
    figure.add_trace(go.Bar(x=component, y=numbers(frame, "share"), name="share", marker={"color": NEUTRAL}, hovertemplate=hover))
    figure.add_trace(
        go.Scatter(
            x=component, y=numbers(frame, "cumulative"), name="cumulative", mode="lines+markers", marker={"size": 4},
            line={"width": 1.5}, hovertemplate="up to component %{x}: %{y:.1%}<extra></extra>",
        )
    )  # fmt: skip
    if "null_high" in frame:
        null, line = numbers(frame, "null_high"), {"width": 1.5, "dash": "dot"}
        figure.add_trace(go.Scatter(x=component, y=null, name="random data, upper end", mode="lines", line=line))
    for mark, reached in components_for(frame).items():
        figure.add_shape(type="line", x0=0.5, x1=reached, y0=mark, y1=mark, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
        text = f"{mark:.0%}".replace("%", " %") + f": {reached} component{'s' if reached > 1 else ''}"
        figure.add_annotation(x=reached, y=mark, text=text, xanchor="left", yanchor="top", showarrow=False, xshift=5)
    figure.update_xaxes(title_text="component", range=[0.4, min(max(component), _in_view(frame)) + 0.6], showgrid=False)
    ticks = range(0, 101, 20)
    figure.update_yaxes(tickvals=[tick / 100 for tick in ticks], ticktext=[f"{tick} %" for tick in ticks])
    figure.update_yaxes(title_text="share of variance", range=[0, 1.03])
    figure.update_layout(bargap=0.25)
    return figure


def components_for(frame: pd.DataFrame) -> dict[float, int]:
    """Component at which the running sum reaches each mark; a mark that is never reached is left out."""
    ordered = frame.sort_values("component")
    reached = {mark: ordered.loc[ordered["cumulative"] >= mark - 1e-9, "component"] for mark in MARKS}
    return {mark: int(rows.iloc[0]) for mark, rows in reached.items() if len(rows)}


def _in_view(frame: pd.DataFrame) -> int:
    return max(SHOWN, max(components_for(frame).values(), default=0) + 5)
