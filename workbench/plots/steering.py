"""Dose and response: what rises and what falls with the strength of steering."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from ..frames import need
from .marks import intervals
from .theme import CATEGORIES, NEUTRAL, new_figure, numbers, one_line, present, safe, wrapped

SHADE = "rgba(134, 140, 150, 0.20)"
EDGE = 0.05
"""Room left and right of the outermost strengths, as a share of what they span."""
BREAKS = "text or<br>answers break"


@dataclass(frozen=True)
class Series:
    """One line: its name in words, and how it is told apart; without a colour it has the page's ink."""

    title: str
    colour: str | None
    dash: str
    symbol: str


SERIES = {
    "compliance": Series("jailbreaks complied with", None, "solid", "circle"),
    "refusal": Series("jailbreaks refused", CATEGORIES[1], "dash", "square"),
    "right": Series("right answers", CATEGORIES[0], "dot", "diamond"),
    "identity": Series("roles that name themselves", CATEGORIES[2], "dashdot", "triangle-up"),
    "broken": Series("responses that are no text", CATEGORIES[3], "longdashdot", "x"),
}
"""The measures that are drawn; a table may hold others."""


def dose_response(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Rates by the strength of steering, a line a measure, with intervals; strengths that break the model are shaded.

    Parameters
    ----------
    frame
        A row a strength and measure: ``strength`` (fractions of the mean residual norm, 0 = no steering, + = towards
        the Assistant), ``measure`` (drawn are ``compliance, refusal, right, identity, broken``, as far as there are
        any), ``rate, low, high`` (0 to 1, a 95 % interval), ``n`` (responses), ``breaks`` (bool: text or answers break at
        this strength); optionally ``groups`` (count) and ``control`` (a control direction's name, empty for the axis:
        drawn are thin grey lines of compliance, with intervals). A missing rate leaves a gap.
        ``frame.attrs`` may hold ``model``, ``layer`` and ``unit`` (which norm, e.g. ``mean norm of response tokens (68.5)``).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, no measure has a rate, or a strength occurs twice in one line.
    """
    need(frame, ["strength", "measure", "rate", "low", "high", "n", "breaks"], "dose_response")
    rows = _records(frame)
    own = [row for row in rows if not row["control"]]
    lines = {name: [row for row in own if row["measure"] == name] for name in SERIES}
    lines = {name: line for name, line in lines.items() if any(not math.isnan(row["rate"]) for row in line)}
    if not lines:
        there = ", ".join(dict.fromkeys(str(row["measure"]) for row in own)) or "none"
        raise DataError(f"dose_response needs rates of at least one of {', '.join(SERIES)}; the table has {there}")
    strengths = sorted({row["strength"] for row in rows})
    figure = new_figure("Dose and response", frame.attrs, dark, height=560)
    _draw_controls(figure, [row for row in rows if row["control"] and row["measure"] == "compliance"])
    for name, line in lines.items():
        _draw(figure, _once(line, name), SERIES[name])
    pad = EDGE * ((strengths[-1] - strengths[0]) or 1.0)
    limits = (strengths[0] - pad, strengths[-1] + pad)
    _shade(figure, breaking_spans(strengths, {row["strength"] for row in own if row["breaks"]}, limits), limits)
    if limits[0] < 0 < limits[1]:
        zero = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below"}
        figure.add_shape(zero, line={"color": NEUTRAL, "width": 1.2, "dash": "dot"})
    unit = frame.attrs.get("unit") or "mean residual norm"
    title = f"{wrapped(f'strength, in fractions of the {unit}')}<br>0 = no steering, + = towards the Assistant{_counts(own)}"
    figure.update_xaxes(title_text=title, range=limits, showgrid=False)
    if len(strengths) <= 10:
        figure.update_xaxes(tickvals=strengths, ticktext=[signed(s) for s in strengths])
    figure.update_yaxes(percent_ticks(0, 1), title_text="share of responses, 95 % intervals", range=[-0.02, 1.03])
    figure.update_layout(margin={"t": 108}, legend={"tracegroupgap": 0})
    return figure


def _counts(rows: list[dict[str, Any]]) -> str:
    """How many responses a point of the drawn lines has: from the smallest to the largest."""
    counts = [int(row["n"]) for row in rows if row["measure"] in SERIES and present(row["n"])]
    ends = dict.fromkeys((min(counts), max(counts))) if counts else {}
    return f"<br>n = {' to '.join(f'{n:,}' for n in ends)} responses a point" if ends else ""


def breaking_spans(strengths: list[float], broken: set[float], limits: tuple[float, float]) -> list[tuple[float, float]]:
    """Stretches of the axis where the model breaks: each ends midway to the nearest sound strength, or with the axis."""
    ends = [limits[0], *((a + b) / 2 for a, b in pairwise(strengths)), limits[1]]
    spans: list[tuple[float, float]] = []
    for i, strength in enumerate(strengths):
        if strength in broken:
            joined = bool(spans) and spans[-1][1] == ends[i]
            start = spans.pop()[0] if joined else ends[i]
            spans.append((start, ends[i + 1]))
    return spans


def signed(strength: float) -> str:
    """``+0.4``, ``−0.2``, ``0``."""
    return f"{strength:+g}".replace("-", "−") if strength else "0"


def percent(share: float, digits: int = 1) -> str:
    """``12.5 %``."""
    return f"{100 * share:.{digits}f} %"


def estimate(value: float, low: Any, high: Any) -> str:
    """``12.5 % [9.1, 15.0]``; without an interval just the value."""
    known = present(low) and present(high)
    return percent(value) + (f" [{100 * low:.1f}, {100 * high:.1f}]" if known else "")


def percent_ticks(low: float, high: float) -> dict[str, list]:
    """Ticks for an axis of shares, whole percents, at most seven."""
    step = next((s for s in (1, 2, 5, 10, 20) if 100 * (high - low) / s <= 6), 20)
    ticks = range(step * math.ceil(100 * low / step - 1e-9), min(100, math.floor(100 * high + 1e-9)) + 1, step)
    return {"tickvals": [tick / 100 for tick in ticks], "ticktext": [f"{tick} %" for tick in ticks]}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a row in the order of strengths, with floats, ``control`` ("" for the axis) and ``breaks`` (bool)."""
    values = {name: numbers(frame, name) for name in ("strength", "rate", "low", "high")}
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    for i, row in enumerate(rows):
        control = row.get("control")
        row |= {name: column[i] for name, column in values.items()}
        row |= {"control": str(control).strip() if present(control) else "", "breaks": present(row["breaks"]) and bool(row["breaks"])}
    return sorted((row for row in rows if math.isfinite(row["strength"])), key=lambda row: row["strength"])


def _once(line: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    for row, after in pairwise(line):
        if row["strength"] == after["strength"]:
            raise DataError(f"dose_response needs one row a strength and measure; {name} at {row['strength']:g} occurs twice")
    return line


def _draw(figure: go.Figure, line: list[dict[str, Any]], series: Series) -> None:
    figure.add_trace(_bars(line, series.title, legendgroup=series.title, opacity=0.75, line={"color": series.colour, "width": 1.3}))
    points = go.Scatter(
        x=[row["strength"] for row in line], y=[row["rate"] for row in line], mode="lines+markers", name=series.title,
        line={"color": series.colour, "width": 1.8, "dash": series.dash}, marker={"symbol": series.symbol, "size": 8, "line": {"width": 0}},
        hovertext=[_hover(row, series.title) for row in line], hoverinfo="text", legendgroup=series.title,
    )  # fmt: skip
    figure.add_trace(points)


def _bars(rows: list[dict[str, Any]], name: str, **style: Any) -> go.Scatter:
    """The intervals of a line, upright."""
    shown = [row for row in rows if not math.isnan(row["rate"])]
    return intervals(shown, "strength", name, upright=True, **style)


def _draw_controls(figure: go.Figure, rows: list[dict[str, Any]]) -> None:
    style = {"color": NEUTRAL, "width": 1}
    names = dict.fromkeys(row["control"] for row in rows)
    for name in names:
        line = _once([row for row in rows if row["control"] == name], f"compliance of {name}")
        figure.add_trace(_bars([row for row in line if row["strength"]], safe(name), legendgroup="controls", opacity=0.45, line=style))
        values = {"x": [row["strength"] for row in line], "y": [row["rate"] for row in line]}
        texts = [_hover(row, SERIES["compliance"].title, name) for row in line]
        trace = go.Scatter(values, mode="lines", name=safe(name), line=style, opacity=0.8, hovertext=texts, hoverinfo="text")
        figure.add_trace(trace.update(showlegend=False, legendgroup="controls"))
    if names:
        several = "" if len(names) == 1 else f"{len(names)} "
        entry = {"x": [None], "y": [None], "name": f"{SERIES['compliance'].title}, {several}control{'s' if several else ''}"}
        figure.add_trace(go.Scatter(entry, meta="decoration", mode="lines", line=style, legendgroup="controls", legendrank=2000))


def _hover(row: dict[str, Any], title: str, control: str = "") -> str:
    lines = [f"<b>{title}</b> at {signed(row['strength'])}", estimate(row["rate"], row["low"], row["high"])]
    if present(row["n"]):
        groups = f" in {int(row['groups'])} groups" if present(row.get("groups")) else ""
        lines.append(f"n = {int(row['n'])}{groups}")
    return "<br>".join([*lines, *([f"control: {one_line(control, 44)}"] if control else [])])


def _shade(figure: go.Figure, spans: list[tuple[float, float]], limits: tuple[float, float]) -> None:
    """Grey bands; their words stand above the panel, turned inwards at its sides."""
    for start, stop in spans:
        shape = {"type": "rect", "x0": start, "x1": stop, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below"}
        figure.add_shape(shape, fillcolor=SHADE, line={"width": 0})
        side = "left" if start == limits[0] else "right" if stop == limits[1] else "center"
        x = {"left": start, "right": stop, "center": (start + stop) / 2}[side]
        place = {"x": x, "xanchor": side, "align": side, "y": 1, "yref": "y domain", "yanchor": "bottom", "yshift": 2}
        figure.add_annotation(place, text=BREAKS, showarrow=False, font={"size": 11})
