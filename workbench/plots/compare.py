"""Roles of several studies beside each other: the first study's positions to the right, the others' upwards."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .theme import NEUTRAL, dress, numbers, one_line, safe

PANEL_PX, GAP_PX, AROUND_PX = 330, 92, 160


def compared(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Position of every shared role in each study against that in the first, as z-scores of each study's own default.

    Named are the roles that lie outermost in either study, as far as their names do not meet; every panel says how many roles it has.

    Parameters
    ----------
    frame
        A row a role and study: ``study, role, z`` (0 = where the default's responses lie, + = beyond them; rows without a z are left
        out).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or fewer than two studies have positions.
    """
    need(frame, ["study", "role", "z"], "compared")
    wide = frame.dropna(subset=["z"]).pivot_table(index="role", columns="study", values="z", sort=False)
    names = [str(name) for name in dict.fromkeys(frame["study"]) if name in wide]
    if len(names) < 2:
        raise DataError("a figure of compared studies needs two that have z-scores of their default responses")
    others = names[1:]
    inner = len(others) * PANEL_PX + (len(others) - 1) * GAP_PX
    figure = make_subplots(rows=len(others), cols=1, vertical_spacing=GAP_PX / inner if len(others) > 1 else 0)
    dress(figure, "The same roles in other models", {}, dark, inner + AROUND_PX)
    for row, name in enumerate(others, start=1):
        both = wide[[names[0], name]].dropna().reset_index()
        x, y = numbers(both, names[0]), numbers(both, name)
        hover = [
            f"{safe(role)}<br>{safe(names[0])}: {a:.1f}<br>{safe(name)}: {b:.1f}" for role, a, b in zip(both["role"], x, y, strict=True)
        ]
        trace = go.Scatter(
            x=x, y=y, mode="markers", marker={"size": 8, "opacity": 0.75}, text=hover, name=safe(name),
            showlegend=False, hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(trace, row=row, col=1)
        zero = {"line": {"color": NEUTRAL, "width": 1, "dash": "dot"}, "row": row, "col": 1}
        figure.add_vline(x=0, **zero)
        figure.add_hline(y=0, **zero)
        for i in _outermost(x, y):
            left = x[i] < (min(x) + max(x)) / 2
            place = {"x": x[i], "y": y[i], "xanchor": "left" if left else "right", "xshift": 7 if left else -7, "showarrow": False}
            figure.add_annotation(place, text=one_line(both["role"][i]), font={"size": 11}, borderpad=0, row=row, col=1)
        count = {"x": 1, "xref": "x domain", "xanchor": "right", "y": 1, "yref": "y domain", "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(count, text=f"n = {len(both)} roles", font={"size": 11}, row=row, col=1)
        figure.update_yaxes(title_text=f"{safe(name)}: z-score, likewise", row=row, col=1)
        figure.update_xaxes(
            title_text=f"{safe(names[0])}: z-score of its default's responses<br>(0 = its mean, + = beyond)", row=row, col=1
        )
    figure.update_layout(margin={"b": 90})
    return figure


def _outermost(x: list[float], y: list[float]) -> list[int]:
    """The roles furthest left, right, down and up; one whose name would lie on another's is passed over."""
    chosen: list[int] = []
    for values, pick in ((x, min), (x, max), (y, min), (y, max)):
        i = values.index(pick(values))
        wide, high = (max(x) - min(x)) or 1.0, (max(y) - min(y)) or 1.0
        if all(abs(x[i] - x[k]) > 0.4 * wide or abs(y[i] - y[k]) > 0.07 * high for k in chosen):
            chosen.append(i)
    return chosen
