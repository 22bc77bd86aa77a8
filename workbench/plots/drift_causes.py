"""What moves a conversation: messages before a change, and how well messages foretell a projection."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .exchanges import UNITS, decimals, entry, once, records
from .marks import head_panel, intervals
from .steering import percent
from .theme import ASSISTANT, FAR, NEUTRAL, dress, new_figure, present, safe, wrapped

TEXT_PX, DOT_PX, NAME, NAME_LINES = 15, 36, 46, 3
"""Height of a line of a message and of the place for its dot, characters in a line, and lines."""
SIDES = {
    "towards the Assistant": (ASSISTANT, "triangle-right"), "away from the Assistant": (FAR, "triangle-left"),
    "not told from zero": (NEUTRAL, "circle"),
}  # fmt: skip
"""Which way a change goes; where its interval covers zero or is unknown, neither."""

IN_SAMPLE, PERMUTED = "in sample", "permuted"
FOLDS = ("circle", "square", "diamond", "triangle-up", "cross")
TARGETS = {"level": "Level: the projection itself", "change": "Change: since the turn before"}
CEILING = {"color": NEUTRAL, "width": 1.6, "dash": "dot"}
LEAST = -0.5
MODEL_PX, GAP_PX, TOP_PX, BOTTOM_PX = 74, 50, 108, 104


def clusters(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Mean change of the projection after each kind of message, from the furthest away from the Assistant downwards.

    Blue goes towards the Assistant, vermilion away; grey is what cannot be told from zero.

    Parameters
    ----------
    frame
        A row a cluster of messages: ``cluster`` (number), ``name`` (typical message), ``mean`` (change in residual-stream
        units, + = towards the Assistant), ``low, high`` (interval), ``n`` (messages), ``share`` (of all, 0 to 1). A cluster
        without a mean is left out. ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, all means are missing, or a cluster occurs twice.
    """
    need(frame, ["cluster", "name", "mean", "low", "high", "n", "share"], "clusters")
    rows = once(records(frame, ("mean", "low", "high", "n", "share"), "clusters"), ["cluster"], "clusters")
    rows = sorted((row for row in rows if not math.isnan(row["mean"])), key=lambda row: row["mean"])
    if not rows:
        raise DataError("clusters needs at least one mean; all are missing")
    place = 0.0
    for row in rows:
        row["name"] = row["name"] if present(row["name"]) else ""
        row["lines"] = _label(row)
        row["top"], place = place, place + TEXT_PX * len(row["lines"]) + DOT_PX
        row["y"] = place - DOT_PX + 13
    figure = new_figure("What comes before a change", frame.attrs, dark, height=int(place) + 200)
    for row in rows:
        above = {"x": 0, "xref": "x domain", "xanchor": "left", "y": row["top"], "yanchor": "top", "align": "left"}
        figure.add_annotation(above, text="<br>".join(row["lines"]), showarrow=False, font={"size": 12}, borderpad=0)
    for name, (colour, symbol) in SIDES.items():
        _draw_side(figure, [row for row in rows if _side(row) == name], name, colour, symbol)
    for row in rows:
        # Zero in pieces: a whole line would cross the words.
        zero = {"type": "line", "x0": 0, "x1": 0, "y0": row["y"] - 9, "y1": row["y"] + 9, "layer": "below"}
        figure.add_shape(zero, line={"color": NEUTRAL, "width": 1.6})
    seen = [value for row in rows for value in (0.0, row["mean"], row["low"], row["high"]) if math.isfinite(value)]
    pad = 0.04 * ((max(seen) - min(seen)) or 1.0)
    figure.update_yaxes(visible=False, range=[place + 4, -4], fixedrange=True)
    figure.update_xaxes(title_text=f"mean change after such a message<br>({UNITS}), + = towards the Assistant", nticks=7, showgrid=False)
    figure.update_xaxes(range=[min(seen) - pad, max(seen) + pad], showline=True, ticks="outside", tickcolor=NEUTRAL)
    figure.update_layout(margin={"t": 84, "b": 108})
    return figure


def _label(row: dict[str, Any]) -> list[str]:
    """A typical message in a few lines, and how many messages are like it."""
    lines = textwrap.wrap(" ".join(str(row["name"]).split()), NAME)
    if len(lines) > NAME_LINES:
        lines = [*lines[: NAME_LINES - 1], lines[NAME_LINES - 1][: NAME - 1].rstrip() + "…"]
    counts = [f"cluster {safe(row['cluster'])}"] + ([f"n = {int(row['n']):,}"] if present(row["n"]) else [])
    counts += [f"{percent(row['share'])} of messages"] if present(row["share"]) else []
    return [*(f"<b>{safe(line)}</b>" for line in lines), ", ".join(counts)]


def _side(row: dict[str, Any]) -> str:
    towards, away, neither = SIDES
    return towards if row["low"] > 0 else away if row["high"] < 0 else neither


def _draw_side(figure: go.Figure, rows: list[dict[str, Any]], name: str, colour: str, symbol: str) -> None:
    """Points of one side and, as lines of their own, their intervals."""
    if not rows:
        return
    figure.add_trace(intervals(rows, "y", name, word="name", legendgroup=name, line={"color": colour, "width": 2}))
    hover = [
        f"<b>{wrapped(row['name'])}</b><br>{row['lines'][-1]}<br>mean change {decimals(row['mean'])} "
        f"[{decimals(row['low'])}, {decimals(row['high'])}]"
        for row in rows
    ]
    points = go.Scatter(
        x=[row["mean"] for row in rows], y=[row["y"] for row in rows], mode="markers", name=name, legendgroup=name,
        marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 0}}, text=[safe(row["name"]) for row in rows],
        hovertext=hover, hoverinfo="text",
    )  # fmt: skip
    figure.add_trace(points)


def ridge(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """How much of a projection a linear model foretells, a panel a target: dots are held out, with intervals as lines.

    The open grey marker beside a model's dots is the same model on its own data, the dotted line is the most that can be
    reached. What lies left of the figure is named at its edge.

    Parameters
    ----------
    frame
        A row a target, model and way of holding out: ``target`` (``level``, ``change``), ``model`` (what it knows, e.g.
        ``message``; ``permuted`` is drawn grey), ``folds`` (what is held out together, e.g. ``user persona``; ``in sample``:
        nothing is), ``r2, low, high`` (share of the variance, at most 1; negative = worse than the mean), ``n`` (messages);
        optionally ``ceiling``. A missing share is left out. ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, all shares are missing, or a target, model and way of holding out occur twice.
    """
    need(frame, ["target", "model", "folds", "r2", "low", "high", "n"], "ridge")
    columns = ("r2", "low", "high", "n", *(["ceiling"] if "ceiling" in frame else []))
    rows = once(records(frame, columns, "ridge"), ["target", "model", "folds"], "ridge")
    rows = [{"ceiling": math.nan} | row for row in rows if not math.isnan(row["r2"])]
    if not rows:
        raise DataError("ridge needs at least one R2; all are missing")
    targets, folds = (list(dict.fromkeys(str(row[key]) for row in rows)) for key in ("target", "folds"))
    folds = [name for name in folds if name != IN_SAMPLE] + [IN_SAMPLE] * (IN_SAMPLE in folds)
    models = {target: list(dict.fromkeys(str(row["model"]) for row in rows if row["target"] == target)) for target in targets}
    heights = [MODEL_PX * len(models[target]) for target in targets]
    inner = sum(heights) + GAP_PX * (len(targets) - 1)
    shape: dict[str, Any] = {"row_heights": heights, "vertical_spacing": GAP_PX / inner if len(targets) > 1 else 0}
    figure = make_subplots(rows=len(targets), cols=1, shared_xaxes=True, **shape)
    dress(figure, "How well messages foretell the projection", frame.attrs, dark, inner + TOP_PX + BOTTOM_PX)
    limits = _limits(rows)
    for number, target in enumerate(targets, start=1):
        _draw_target(figure, [row for row in rows if row["target"] == target], number, models[target], folds, limits[0])
    for name in folds:
        entry(figure, safe(name), {"color": _colour(name, "")}, _marker(name, "", folds))
    if any(present(row["ceiling"]) for row in rows):
        entry(figure, "ceiling", CEILING)
    figure.update_xaxes(range=limits, nticks=6)
    figure.update_xaxes(title_text="R² (1 = foretold,<br>0 = no better than the mean)", row=len(targets))
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX})
    return figure


def _limits(rows: list[dict[str, Any]]) -> list[float]:
    """Zero and everything in view, but no lower than -0.5: one model far below would press all others together."""
    values = [v for row in rows for v in (row["r2"], row["low"], row["high"], row["ceiling"]) if math.isfinite(v)]
    low, high = max(LEAST, min(0.0, *values)), max(0.05, *values)
    pad = 0.05 * (high - low)
    return [low - pad, high + pad]


def _colour(folds: str, model: str) -> str | None:
    """Grey for what is no forecast; the rest has the page's ink."""
    return NEUTRAL if folds == IN_SAMPLE or model == PERMUTED else None


def _marker(name: str, model: str, folds: list[str]) -> dict[str, Any]:
    symbol = "circle-open" if name == IN_SAMPLE else FOLDS[folds.index(name) % len(FOLDS)]
    return {"symbol": symbol, "size": 9, "color": _colour(name, model), "line": {"width": 1.6, "color": _colour(name, model)}}


def _draw_target(figure: go.Figure, rows: list[dict[str, Any]], number: int, models: list[str], folds: list[str], edge: float) -> None:
    """One panel: models from top to bottom, ways of holding out below one another."""
    target = str(rows[0]["target"])
    for row in rows:
        row["y"] = models.index(str(row["model"])) + (folds.index(str(row["folds"])) + 1) / (len(folds) + 1) - 0.5
    for name in folds:
        for permuted in (False, True):
            own = [row for row in rows if row["folds"] == name and (row["model"] == PERMUTED) == permuted]
            title = f"{safe(target)}, {safe(name)}" + (f", {PERMUTED}" if permuted else "")
            if own:
                _draw_shares(figure, own, number, title, _marker(name, PERMUTED if permuted else "", folds))
    known = [row for row in rows if present(row["ceiling"])]
    x = [value for row in known for value in (row["ceiling"], row["ceiling"], None)]
    y = [value for row in known for value in (models.index(str(row["model"])) - 0.5, models.index(str(row["model"])) + 0.5, None)]
    if known:
        line = go.Scatter(x=x, y=y, mode="lines", name=f"{safe(target)}, ceiling", line=CEILING, showlegend=False)
        figure.add_trace(line.update(hovertemplate="ceiling %{x:.3f}<extra></extra>"), row=number, col=1)
    for row in rows:
        if row["r2"] < edge:
            x = max(edge, row["high"]) if math.isfinite(row["high"]) else edge
            outside = {"x": x, "xanchor": "left", "y": row["y"], "font": {"size": 10}, "showarrow": False}
            figure.add_annotation(outside, text=f"◂ {decimals(row['r2'])}", row=number, col=1)
    zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below"}
    figure.add_shape(zero, line={"color": NEUTRAL, "width": 1.2}, row=number, col=1)
    names = [wrapped(name, 16) for name in models]
    figure.update_yaxes(tickvals=list(range(len(models))), ticktext=names, range=[len(models) - 0.45, -0.55], showgrid=False, row=number)
    head_panel(figure, TARGETS.get(target, target), number)


def _draw_shares(figure: go.Figure, rows: list[dict[str, Any]], number: int, title: str, marker: dict[str, Any]) -> None:
    figure.add_trace(intervals(rows, "y", title, word="model", line={"color": marker["color"], "width": 1.6}), row=number, col=1)
    hover = [
        f"<b>{wrapped(row['model'])}</b><br>{wrapped(row['folds'])}<br>R² {decimals(row['r2'])}"
        + ("" if math.isnan(row["low"] + row["high"]) else f" [{decimals(row['low'])}, {decimals(row['high'])}]")
        + (f"<br>n = {int(row['n']):,}" if present(row["n"]) else "")
        for row in rows
    ]
    points = go.Scatter(
        x=[row["r2"] for row in rows], y=[row["y"] for row in rows], mode="markers", name=title, marker=marker, showlegend=False,
        text=[safe(row["model"]) for row in rows], hovertext=hover, hoverinfo="text",
    )  # fmt: skip
    figure.add_trace(points, row=number, col=1)
