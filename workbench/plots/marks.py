"""What several figures draw alike: intervals as lines, and a panel's heading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from .theme import safe


def intervals(
    rows: Sequence[Mapping[str, Any]], place: str, name: str, *, upright: bool = False, word: str | None = None, **style: Any
) -> go.Scatter:
    """Lines from ``low`` to ``high``, all in one trace, without a hover of their own; rows without an interval have none.

    Parameters
    ----------
    place
        The column that says where each line lies, along y; along x where they stand `upright`.
    name
        What the intervals are of.
    word
        The column whose text the numbers behind the figure say beside each end.
    style
        Passed on to the trace.
    """
    known = [row for row in rows if not math.isnan(row["low"] + row["high"])]
    along = [value for row in known for value in (row["low"], row["high"], None)]
    across = [value for row in known for value in (row[place], row[place], None)]
    said = {} if word is None else {"text": [value for row in known for value in (safe(row[word]), safe(row[word]), None)]}
    x, y = (across, along) if upright else (along, across)
    return go.Scatter(x=x, y=y, mode="lines", name=f"{name}, interval", hoverinfo="skip", showlegend=False, **said, **style)


def head_panel(figure: go.Figure, text: str, row: int) -> None:
    """A heading above the upper left corner of a panel."""
    above = {"x": 0, "xref": "x domain", "xanchor": "left", "y": 1, "yref": "y domain", "yanchor": "bottom", "yshift": 5}
    figure.add_annotation(above, text=f"<b>{safe(text)}</b>", showarrow=False, row=row, col=1)
