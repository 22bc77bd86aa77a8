"""Loadings of roles on the first components: a strip of dots a component."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..frames import need
from .labels import plain, text_width
from .line import stack_levels
from .space import axis_titles
from .theme import ASSISTANT, NEUTRAL, new_figure, numbers, one_line, safe

HEAD_PX, FOOT_PX, AROUND_PX = 28, 40, 140
"""Height of what stands above and below a strip's dots, and around all strips."""
MANY = 100
"""More roles than these have smaller dots."""
MOST = 6
"""So many roles are named at an end, as far as there is room."""


@dataclass(frozen=True)
class Dots:
    """How many dots fit side by side, and in pixels the height of a row and the width of a dot."""

    columns: int
    row: float
    size: float


FEW_DOTS, MANY_DOTS = Dots(44, 9, 7), Dots(88, 5, 4.2)
MINUS = "\u2212"


def loading_strips(frame: pd.DataFrame, components: int = 3, room: float = 15, dark: bool = False) -> go.Figure:
    """Where roles load on the first components, a strip a component, from -1 to 1; stacked dots, heights mean nothing.

    Each strip says the default's loading and its rank, itself counted, from the + end, and names the roles at both ends. The
    default takes no part in the fit.

    Parameters
    ----------
    frame
        A row a role: ``role``, ``is_default`` (bool), ``pc1, pc2, ...``: cosines of its centred vector with the components, -1
        to 1. ``frame.attrs`` may hold ``explained`` (shares of variance by component), ``model`` and ``layer``.
    components
        How many strips; fewer where the table has fewer.
    room
        For the names of the roles at each end, in heights of a letter: as many are named as fit, at most 6.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing.
    """
    shown = [f"pc{i}" for i in range(1, components + 1) if i == 1 or f"pc{i}" in frame]
    need(frame, ["role", "is_default", *shown], "loading_strips")
    dots = FEW_DOTS if len(frame) <= MANY else MANY_DOTS
    strips = [_strip(frame, column, dots) for column in shown]
    spans = [(max((s["level"] for s in strip), default=0), min((s["level"] for s in strip), default=0)) for strip in strips]
    inner = sum(HEAD_PX + dots.row * (up - down + 1) + FOOT_PX for up, down in spans)
    figure, top = new_figure("Loadings on the components", frame.attrs, dark, round(inner + AROUND_PX)), 0.0
    titles = axis_titles(frame.attrs.get("explained"), len(shown))
    for number, (strip, title, (up, down)) in enumerate(zip(strips, titles, spans, strict=True)):
        middle = top - HEAD_PX - dots.row * (up + 0.5)
        bottom = middle + dots.row * (down - 0.5)
        _draw(figure, strip, middle, dots, shown[number].upper())
        _write(figure, strip, title, top, bottom - 6, room)
        top = bottom - FOOT_PX
    figure.update_yaxes(visible=False, range=[-inner + 12, 2], fixedrange=True)
    figure.update_xaxes(title_text="loading (cosine with the component)", range=[-1.04, 1.04], tickvals=[-1, -0.5, 0, 0.5, 1])
    _legend(figure, strips, dots)
    figure.update_layout(margin={"t": 60})
    return figure


def _strip(frame: pd.DataFrame, column: str, dots: Dots = FEW_DOTS) -> list[dict[str, Any]]:
    """One record a role with a loading, in ascending order, with the level that it is stacked on."""
    values = numbers(frame, column)
    rows = [
        {"role": str(role), "is_default": bool(default), "x": value}
        for role, default, value in zip(frame["role"], frame["is_default"], values, strict=True) if not math.isnan(value)
    ]  # fmt: skip
    rows.sort(key=lambda row: row["x"])
    half = 1.0 / dots.columns
    places = [(row["x"] - half * (1 + row["is_default"]), row["x"] + half * (1 + row["is_default"])) for row in rows]
    for row, level in zip(rows, stack_levels(places), strict=True):
        row["level"] = level
    return rows


def rank_of_default(rows: list[dict[str, Any]]) -> tuple[float, int, int] | None:
    """The default's loading, its rank from the + end (1: beyond all roles), and of how many, itself counted; None without a default."""
    own = [row["x"] for row in rows if row["is_default"]]
    others = [row["x"] for row in rows if not row["is_default"]]
    return (own[0], 1 + sum(value > own[0] for value in others), 1 + len(others)) if own else None


def _looks(dots: Dots) -> dict[str, dict[str, Any]]:
    return {
        "role": {"size": dots.size, "color": NEUTRAL, "opacity": 0.75, "line": {"width": 0}},
        "default": {"size": 13, "symbol": "diamond", "color": ASSISTANT, "line": {"width": 0}},
    }


def _legend(figure: go.Figure, strips: list[list[dict[str, Any]]], dots: Dots) -> None:
    """One entry for the dots of all strips, which have names of their own, so that their numbers say which component they belong to."""
    there = {row["is_default"] for strip in strips for row in strip}
    for name, marker in _looks(dots).items():
        if (name == "default") in there:
            shown = {"x": [None], "y": [None], "mode": "markers", "meta": "decoration", "hoverinfo": "skip"}
            figure.add_trace(go.Scatter(shown, name=name, marker=marker, legendgroup=name))


def _draw(figure: go.Figure, rows: list[dict[str, Any]], middle: float, dots: Dots, component: str) -> None:
    for name, marker in _looks(dots).items():
        part = [row for row in rows if row["is_default"] == (name == "default")]
        if part:
            hover = [f"<b>{safe(row['role'])}</b><br>loading {row['x']:+.3f}".replace("-", MINUS) for row in part]
            trace = go.Scatter(
                x=[row["x"] for row in part], y=[middle + dots.row * row["level"] for row in part], mode="markers",
                name=f"{name}, {component}", text=[safe(row["role"]) for row in part], hovertext=hover, hoverinfo="text",
                marker=marker, showlegend=False, legendgroup=name,
            )  # fmt: skip
            figure.add_trace(trace)


def _write(figure: go.Figure, rows: list[dict[str, Any]], title: str, top: float, bottom: float, room: float) -> None:
    """Above a strip its name and the default's place, below it the roles at both ends, the outermost first."""
    said, found = {"showarrow": False, "borderpad": 0, "font": {"size": 11}}, rank_of_default(rows)
    figure.add_annotation(said, x=-1.02, y=top, text=f"<b>{title}</b>", xanchor="left", yanchor="top")
    if found:
        value, rank, n = found
        words = f"default {value:+.2f}, rank {rank} of {n}".replace("-", MINUS)
        figure.add_annotation(said, x=1.02, y=top, text=words, xanchor="right", yanchor="top")
    roles = [one_line(row["role"], 16) for row in rows if not row["is_default"]]
    half = len(roles) // 2
    ends = {"left": _fitting(roles[:half], room), "right": _fitting(roles[: half - 1 : -1] if half else roles[::-1], room)[::-1]}
    for anchor, end in ends.items():
        words = ", ".join(end)
        x = -1.02 if anchor == "left" else 1.02
        figure.add_annotation(said, x=x, y=bottom, text=f"<i>{words}</i>", xanchor=anchor, yanchor="top")
    figure.add_shape(
        type="line", x0=0, x1=0, y0=bottom, y1=top - HEAD_PX + 6, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, layer="below"
    )


def _fitting(roles: list[str], room: float) -> list[str]:
    """The first roles, as many as have room side by side; one in any case."""
    counts = [n for n in range(1, min(MOST, len(roles)) + 1) if text_width(plain(", ".join(roles[:n])), 1.0) <= room]
    return roles[: max(counts, default=1)]
