"""What conditions do, outcome by outcome: a dot and an interval for each."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .marks import intervals
from .steering import estimate, percent_ticks
from .theme import CAP, CATEGORIES, NEUTRAL, dress, numbers, one_line, present, safe, wrapped

LOOKS: dict[str, tuple[str | None, str]] = {
    "baseline": (None, "circle"),
    "steering": (CATEGORIES[1], "triangle-up"),
    "cap": (CAP, "diamond"),
    "control": (NEUTRAL, "circle-open"),
}
"""Kind of a condition -> colour (None: the page's ink) and symbol."""
OTHER = (CATEGORIES[0], "square")
LETTERS = {1: 60}
"""Panels side by side -> letters in a line of a panel's name."""
ROW_PX, HEAD_PX, AROUND_PX, LINE_PX = 18, 46, 112, 15


def outcomes(frame: pd.DataFrame, columns: int = 1, dark: bool = False) -> go.Figure:
    """Rates under several conditions, a panel an outcome, with intervals; several rows of one name share a line.

    Parameters
    ----------
    frame
        A row a condition and outcome: ``condition`` (a line; conditions of one name lie on one, e.g. all controls of a
        kind), ``kind`` (``baseline, steering, cap, control`` or another), ``outcome`` (a panel's name), ``rate, low, high``
        (0 to 1), ``n`` (responses); optionally ``member`` (which of several on a line). Both orders are those of the table. A
        missing rate leaves a gap. ``frame.attrs`` may hold ``model``.
    columns
        Panels side by side; names of conditions stand at the left of each row of panels.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or all rates are.
    """
    need(frame, ["condition", "kind", "outcome", "rate", "low", "high", "n"], "outcomes")
    rows = _records(frame)
    if all(math.isnan(row["rate"]) for row in rows):
        raise DataError("outcomes needs at least one rate; all are missing")
    lines, panels = [list(dict.fromkeys(row[key] for row in rows)) for key in ("condition", "outcome")]
    down = -(-len(panels) // columns)
    titles = [_title(str(panel), [row for row in rows if row["outcome"] == panel], LETTERS.get(columns, 14)) for panel in panels]
    tall, above = ROW_PX * len(lines), LINE_PX * (1 + max(title.count("<br>") for title in titles))
    inner = down * tall + (down - 1) * (HEAD_PX + above)
    up, across = (HEAD_PX + above) / inner if down > 1 else 0, min(0.11, 0.16 / (columns - 1)) if columns > 1 else 0
    figure = make_subplots(rows=down, cols=columns, shared_yaxes=True, vertical_spacing=up, horizontal_spacing=across)
    dress(figure, "Outcomes by condition", {k: v for k, v in frame.attrs.items() if k != "layer"}, dark, inner + above + AROUND_PX)
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        own = [r for r in rows if r["outcome"] == panel]
        for condition in lines:
            _draw(figure, [r for r in own if r["condition"] == condition], len(lines) - 1 - lines.index(condition), (row + 1, column + 1))
        place = {"xref": "x domain", "yref": "y domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "yshift": 3}
        figure.add_annotation(place, text=titles[i], align="left", showarrow=False, row=row + 1, col=column + 1)
    names = [one_line(name, 30) for name in reversed(lines)]
    figure.update_yaxes(tickvals=list(range(len(lines))), ticktext=names, range=[-0.6, len(lines) - 0.4], showgrid=False)
    ticks = percent_ticks(0, 1) if columns == 1 else {"tickvals": [0, 0.5, 1], "ticktext": ["0", "50", "100 %"]}
    figure.update_xaxes(ticks, range=[-0.06, 1.06], tickangle=0)
    figure.update_layout(showlegend=False, margin={"t": 72 + above})
    return figure


def _title(panel: str, rows: list[dict[str, Any]], letters: int) -> str:
    """The outcome in lines of so many letters, and over how many responses it is taken."""
    counts = sorted({int(row["n"]) for row in rows if math.isfinite(row["n"])})
    n = "" if not counts else f"n = {counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    return f"<b>{wrapped(panel, letters)}</b>" + (" " if letters > 40 else "<br>") + n


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    values = {name: numbers(frame, name) for name in ("rate", "low", "high", "n")}
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    for i, row in enumerate(rows):
        row |= {name: column[i] for name, column in values.items()}
        row["member"] = str(row["member"]) if present(row.get("member")) else str(row["condition"])
    return rows


def _draw(figure: go.Figure, rows: list[dict[str, Any]], y: int, place: tuple[int, int]) -> None:
    """The dots of one line; several on it are drawn open, their intervals on one another."""
    known = [row for row in rows if not math.isnan(row["rate"])]
    if not known:
        return
    colour, symbol = LOOKS.get(str(known[0]["kind"]), OTHER)
    name = safe(known[0]["condition"])
    group = {"legendgroup": name, "showlegend": False}
    style = {"legendgroup": name, "line": {"color": colour, "width": 1.3}, "opacity": 0.75 if len(known) == 1 else 0.4}
    figure.add_trace(intervals([row | {"y": y} for row in known], "y", name, **style), *place)
    hover = [
        f"<b>{safe(r['member'])}</b><br>{estimate(r['rate'], r['low'], r['high'])}"
        + (f"<br>n = {int(r['n']):,}" if present(r["n"]) else "")
        for r in known
    ]
    points = go.Scatter(
        x=[r["rate"] for r in known], y=[y] * len(known), mode="markers", name=f"{name}: {safe(known[0]['outcome'])}",
        text=[safe(r["member"]) for r in known], hovertext=hover, hoverinfo="text",
        marker={"color": colour, "symbol": symbol, "size": 9, "line": {"width": 1.3 if symbol.endswith("open") else 0}}, **group,
    )  # fmt: skip
    figure.add_trace(points, *place)
