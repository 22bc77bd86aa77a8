"""What a cap costs on benchmarks: every score's change, their sum, and the worst of them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .exchanges import entry, once, records, round_values
from .marks import head_panel, intervals
from .theme import CAP, NEUTRAL, dress, one_line, present, safe

ROW_PX, GAP_PX, TOP_PX, BOTTOM_PX = 48, 62, 112, 140
NAME = 20
LOOKS: dict[str, tuple[str, str | None, int]] = {
    "task": ("circle", CAP, 9), "worst task": ("triangle-down", None, 12), "sum": ("diamond", None, 13),
}  # fmt: skip
"""What a mark is -> symbol, colour (None: the page's ink), size."""
LEAST = 0.05
"""The axis reaches at least so far to either side, so that a loss of a thousandth does not look like a finding."""


def benchmarks(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Relative change of benchmark scores, a panel a condition, with intervals: the worst task and the sum are marked.

    Tasks stand in the order of their change, the worst at the bottom, and below a line the sum. Beside each name stand
    the score before and after, and the number of items; the change is written above its mark.

    Parameters
    ----------
    frame
        Of :func:`workbench.evaluation.benchmarks.relative_changes`: a row a condition and task, and one for the sum:
        ``condition, task, metric, before, value`` (scores without and with it), ``n`` (items; of the sum: tasks), ``relative, low,
        high`` (change / the score before, 95 % interval; - = lost), ``kind`` (``task`` or ``sum``), ``worst`` (bool). A task without
        a relative change keeps its row. ``frame.attrs`` may hold ``model``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, no change is known, or a condition and task occur twice.
    """
    need(frame, ["condition", "task", "metric", "before", "value", "n", "relative", "low", "high", "kind", "worst"], "benchmarks")
    columns = ("before", "value", "n", "relative", "low", "high")
    rows = once(records(frame, columns, "benchmarks"), ["condition", "kind", "task"], "benchmarks")
    if all(math.isnan(row["relative"]) for row in rows):
        raise DataError("benchmarks needs at least one relative change; all are missing")
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    panels = [_placed([row for row in rows if row["condition"] == name]) for name in conditions]
    heights = [ROW_PX * len(panel) for panel in panels]
    inner = sum(heights) + GAP_PX * (len(panels) - 1)
    shape: dict[str, Any] = {"row_heights": heights, "vertical_spacing": GAP_PX / inner if len(panels) > 1 else 0}
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, **shape)
    dress(figure, "Benchmarks", {k: v for k, v in frame.attrs.items() if k != "layer"}, dark, inner + TOP_PX + BOTTOM_PX)
    limits = _limits(rows)
    for number, (name, panel) in enumerate(zip(conditions, panels, strict=True), start=1):
        _draw_panel(figure, panel, number, name, limits)
    shown = {_what(row) for row in rows}
    for name, (symbol, colour, size) in LOOKS.items():
        if name in shown:
            entry(figure, name, None, {"symbol": symbol, "color": colour, "size": size})
    entry(figure, "95 % interval", {"color": NEUTRAL, "width": 1.6})
    ticks = round_values(*limits)
    figure.update_xaxes(range=limits, tickvals=ticks, ticktext=[f"{100 * t:+g} %".replace("-", "−") if t else "0" for t in ticks])
    figure.update_xaxes(title_text="change of the score, relative to the<br>score without a cap; − = lost", row=len(panels))
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX})
    return figure


def signed_percent(share: float) -> str:
    """``+1.2 %``, ``−14.0 %``."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def _placed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks from the best to the worst, those without a change first of all; the sum comes last."""
    tasks = [row for row in rows if row["kind"] != "sum"]
    tasks.sort(key=lambda row: -row["relative"] if present(row["relative"]) else -math.inf)
    ordered = tasks + [row for row in rows if row["kind"] == "sum"]
    return [row | {"y": float(i)} for i, row in enumerate(ordered)]


def _what(row: dict[str, Any]) -> str:
    return "sum" if row["kind"] == "sum" else "worst task" if present(row["worst"]) and row["worst"] else "task"


def _limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Zero and everything in view."""
    values = [v for row in rows for v in (row["relative"], row["low"], row["high"]) if math.isfinite(v)]
    low, high = min(-LEAST, *values), max(LEAST, *values)
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _name(row: dict[str, Any]) -> str:
    """A task's name, its score before and after, and its size; of the sum, how many tasks."""
    if row["kind"] == "sum":
        return f"<b>sum</b><br>{int(row['n'])} task{'' if row['n'] == 1 else 's'}"
    name = one_line(row["task"], NAME)
    size = f", n = {int(row['n']):,}" if present(row["n"]) else ""
    scores = f"{row['before']:.3g} → {row['value']:.3g}".replace("-", "−")
    return f"{f'<b>{name}</b>' if _what(row) == 'worst task' else name}<br>{scores}{size}"


def _draw_panel(figure: go.Figure, rows: list[dict[str, Any]], number: int, condition: str, limits: tuple[float, float]) -> None:
    known = [row for row in rows if math.isfinite(row["relative"])]
    for what, (symbol, colour, size) in LOOKS.items():
        own = [row for row in known if _what(row) == what]
        if own:
            _draw_marks(figure, own, number, f"{safe(condition)}, {what}", {"symbol": symbol, "color": colour, "size": size})
    for row in rows:
        _write(figure, row, number, limits)
    zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below"}
    figure.add_shape(zero, line={"color": NEUTRAL, "width": 1.2, "dash": "dot"}, row=number, col=1)
    sums = [row["y"] for row in rows if row["kind"] == "sum"]
    for y in sums:
        rule = {"type": "line", "x0": 0, "x1": 1, "xref": "x domain", "y0": y - 0.5, "y1": y - 0.5}
        figure.add_shape(rule, line={"color": NEUTRAL, "width": 1}, row=number, col=1)
    figure.update_yaxes(tickvals=[row["y"] for row in rows], ticktext=[_name(row) for row in rows], showgrid=False, row=number)
    figure.update_yaxes(range=[len(rows) - 0.45, -0.6], row=number)
    head_panel(figure, condition, number)


def _draw_marks(figure: go.Figure, rows: list[dict[str, Any]], number: int, name: str, marker: dict[str, Any]) -> None:
    figure.add_trace(intervals(rows, "y", name, word="task", line={"color": NEUTRAL, "width": 1.6}), row=number, col=1)
    hover = [f"<b>{safe(row['task'])}</b> {safe(row['metric'])}<br>{_said(row)}" for row in rows]
    points = go.Scatter(
        x=[row["relative"] for row in rows], y=[row["y"] for row in rows], mode="markers", name=name, showlegend=False,
        text=[safe(row["task"]) for row in rows], hovertext=hover, hoverinfo="text", marker=marker | {"line": {"width": 0}},
    )  # fmt: skip
    figure.add_trace(points, row=number, col=1)


def _said(row: dict[str, Any]) -> str:
    if not math.isfinite(row["relative"]):
        return "no relative change: the score was 0"
    known = not math.isnan(row["low"] + row["high"])
    return signed_percent(row["relative"]) + (f" [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]".replace("-", "−") if known else "")


def _write(figure: go.Figure, row: dict[str, Any], number: int, limits: tuple[float, float]) -> None:
    """The number above its mark, turned inwards at the sides."""
    at = row["relative"] if math.isfinite(row["relative"]) else 0.0
    share = (at - limits[0]) / (limits[1] - limits[0])
    anchor = "left" if share < 0.3 else "right" if share > 0.7 else "center"
    place = {"x": at, "y": row["y"], "xanchor": anchor, "yanchor": "bottom", "yshift": 8, "showarrow": False, "borderpad": 0}
    bold = _what(row) != "task"
    figure.add_annotation(place, text=f"<b>{_said(row)}</b>" if bold else _said(row), font={"size": 10}, row=number, col=1)
