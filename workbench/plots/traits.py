"""Traits and the axis: which traits lie with the Assistant, which against it, and which are something else."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from ..frames import need
from .theme import ASSISTANT, FAR, NEUTRAL, new_figure, numbers, one_line, safe

SHOWN, ROW_PX, AROUND_PX = 24, 20, 190


def trait_cosines(frame: pd.DataFrame, shown: int = SHOWN, dark: bool = False) -> go.Figure:
    """Cosine of trait vectors with the Assistant Axis; of many, as many from either end as make `shown`.

    Parameters
    ----------
    frame
        A row a trait: ``trait, cos_axis, cos_axis_low, cos_axis_high`` (-1 to 1; + = towards the Assistant), ``halves`` (cosine of
        the vectors of even and odd pairs), ``n`` (pairs). Traits without a vector (n = 0) are left out. ``frame.attrs`` may hold
        ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or no trait has a vector.
    """
    need(frame, ["trait", "cos_axis", "cos_axis_low", "cos_axis_high", "halves", "n"], "trait_cosines")
    rows = frame[frame["n"] > 0].sort_values("cos_axis")
    need(rows, ["trait"], "trait_cosines: traits with a vector")
    if len(rows) > shown:
        rows = pd.concat([rows.head(shown // 2), rows.tail(shown - shown // 2)])
    figure = new_figure("Traits along the Assistant Axis", frame.attrs, dark, AROUND_PX + ROW_PX * len(rows))
    values, low, high = (numbers(rows, column) for column in ("cos_axis", "cos_axis_low", "cos_axis_high"))
    known = [a > 0 or b < 0 for a, b in zip(low, high, strict=True)]
    colours = [(ASSISTANT if v > 0 else FAR) if k else NEUTRAL for v, k in zip(values, known, strict=True)]
    hover = [
        f"{safe(t)}: {v:.2f} [{a:.2f}, {b:.2f}]<br>{n:.0f} pairs, halves {h:.2f}"
        for t, v, a, b, n, h in zip(rows["trait"], values, low, high, numbers(rows, "n"), numbers(rows, "halves"), strict=True)
    ]
    error = {"type": "data", "symmetric": False, "thickness": 1.3, "width": 0, "color": NEUTRAL} | {
        "array": [b - v for v, b in zip(values, high, strict=True)],
        "arrayminus": [v - a for v, a in zip(values, low, strict=True)],
    }
    places = list(range(len(rows)))
    trace = go.Scatter(
        x=values, y=places, mode="markers", error_x=error, marker={"size": 9, "color": colours}, text=hover,
        hovertemplate="%{text}<extra></extra>", name="traits", showlegend=False,
    )  # fmt: skip
    figure.add_trace(trace)
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    labels = [one_line(str(t).replace("_", " "), 18) for t in rows["trait"]]
    figure.update_yaxes(tickvals=places, ticktext=labels, range=[-0.7, len(rows) - 0.3], showgrid=False)
    figure.update_xaxes(title_text="cosine with the axis; + towards<br>the Assistant; grey: interval holds 0", range=[-1.05, 1.05])
    figure.update_layout(margin={"b": 100})
    return figure
