"""The axis as a number line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from ..frames import need
from .theme import NEUTRAL, new_figure, one_line, role_records, safe

COLUMNS = 40
"""So many markers fit side by side on a phone; two points closer than that are stacked."""
END_LABELS = 6
LEVEL_PX, ROW_PX = 11, 17


def axis_line(frame: pd.DataFrame, centre: float | None = None, centred: bool = False, dark: bool = False) -> go.Figure:
    """Roles along the Assistant Axis, + to the right; stacked where they would overlap, heights mean nothing.

    Labelled are the default and the 6 roles nearest each end: the far end's above the points, the Assistant end's
    below, each on a row of its own, so that no two labels can meet at any width.

    Parameters
    ----------
    frame
        A row a role: ``role``, ``projection`` (residual-stream units, + = Assistant), ``is_default`` (bool);
        optionally ``low, high`` (95 % interval), ``description``, ``n``, ``label_0`` to ``label_3``.
        ``frame.attrs`` may hold ``model`` and ``layer``.
    centre
        The mean of the roles, drawn as a thin line.
    centred
        Count from the mean of the roles (`centre`, or that of the table) instead of from where the residual stream is 0: the
        unit stays, the sign then says on which side of the roles' mean a role lies. The axis says where that mean projects.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or there is no mean to count from.
    """
    need(frame, ["role", "projection", "is_default"], "axis_line")
    interval = ["low", "high"] if {"low", "high"} <= set(frame.columns) else []
    roles = [r for r in role_records(frame, ["projection", *interval]) if not math.isnan(r["projection"])]
    if not roles:
        raise DataError("axis_line needs at least one projection; all are missing")
    title = "projection on the axis<br>(residual-stream units), + = Assistant"
    if centred:
        centre, title = _centred(roles, interval, centre)
    roles.sort(key=lambda role: role["projection"])
    levels = stack_levels([_occupied(role, _span(roles) / COLUMNS) for role in roles])
    for role, level in zip(roles, levels, strict=True):
        role["height"] = level * LEVEL_PX
    far, near = labelled_ends(roles)
    top, bottom = max(levels) * LEVEL_PX + 12, min(levels) * LEVEL_PX - 12
    above, below = top + ROW_PX * len(far) + 6, bottom - ROW_PX * len(near) - 6
    figure = new_figure("Roles along the Assistant Axis", frame.attrs, dark, height=above - below + 160 + 18 * title.count("<br>"))
    if interval:
        figure.add_trace(_intervals(roles))
    if centre is not None:
        line = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
        figure.add_trace(go.Scatter(x=[centre] * 2, y=[bottom, top], mode="lines", name="mean of roles", line=line))
    for name, part in (("role", [r for r in roles if not r["is_default"]]), ("default", [r for r in roles if r["is_default"]])):
        if part:
            figure.add_traces([_points(part, name), _legend_entry(name)])
    # The outermost role has the outermost row: so no leader line crosses another's name.
    _label(figure, far, [top + ROW_PX * (len(far) - i) - 8 for i in range(len(far))], "left")
    _label(figure, near, [bottom - ROW_PX * (i + 1) + 8 for i in range(len(near))], "right")
    figure.update_yaxes(visible=False, range=[below, above], fixedrange=True)
    figure.update_xaxes(title_text=title, showline=True)
    limits = {"cmin": roles[0]["projection"], "cmax": roles[-1]["projection"]}
    figure.update_layout(coloraxis={"showscale": False} | limits)
    return figure


def _centred(roles: list[dict[str, Any]], interval: list[str], centre: float | None) -> tuple[float, str]:
    """Count projections and ends from the mean of the roles; returns where that then lies, 0, and the words along x."""
    others = [role["projection"] for role in roles if not role["is_default"]]
    if centre is None and not others:
        raise DataError("axis_line cannot count from the mean of the roles: there is only the default")
    zero = math.fsum(others) / len(others) if centre is None else centre
    for role in roles:
        for column in ("projection", *interval):
            role[column] -= zero
        role["hover"] += f"<br>{role['projection']:+.4g} from the mean of the roles".replace("-", "−")
    said = f"{zero:+.3g}".replace("-", "−")
    words = ("projection on the axis, from the mean of the roles", f"(which projects at {said}; residual-stream units)", "+ = Assistant")
    return 0.0, "<br>".join(words)


def stack_levels(occupied: list[tuple[float, float]]) -> list[int]:
    """Put stretches of the line on whole levels so that no two on one level overlap: 0 first, then 1, -1, 2, -2 ...

    From left to right each stretch takes the level nearest zero that is free, so the same table always gives the same
    picture.
    """
    ends: dict[int, float] = {}
    levels = [0] * len(occupied)
    for i in sorted(range(len(occupied)), key=lambda i: occupied[i]):
        start, stop = occupied[i]
        levels[i] = next(n for n in _outwards(len(occupied)) if ends.get(n, -math.inf) <= start)
        ends[levels[i]] = stop
    return levels


def labelled_ends(roles: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Choose the roles to label at the far end and at the Assistant's; the default comes to the side where it lies.

    Takes and returns records in the order of their projections.
    """
    others = [role for role in roles if not role["is_default"]]
    count = min(END_LABELS, (len(others) + 1) // 2)
    chosen = [others[:count], others[max(count, len(others) - END_LABELS) :]]
    middle = (roles[0]["projection"] + roles[-1]["projection"]) / 2
    for role in roles:
        if role["is_default"]:
            chosen[0 if role["projection"] < middle else 1].append(role)
    far, near = (sorted(side, key=lambda role: role["projection"]) for side in chosen)
    return far, near


def _span(roles: list[dict[str, Any]]) -> float:
    return (roles[-1]["projection"] - roles[0]["projection"]) or 1.0


def _occupied(role: dict[str, Any], marker: float) -> tuple[float, float]:
    """What a role takes of the line: its marker (the default's is larger) and its interval."""
    half = marker / 2 if not role["is_default"] else marker
    ends = [role[c] for c in ("low", "high") if not math.isnan(role.get(c, math.nan))]
    return min([role["projection"] - half, *ends]), max([role["projection"] + half, *ends])


def _outwards(n: int) -> Iterator[int]:
    yield 0
    for level in range(1, n + 1):
        yield from (level, -level)


def _points(part: list[dict[str, Any]], name: str) -> go.Scatter:
    values = [role["projection"] for role in part]
    return go.Scatter(
        x=values, y=[role["height"] for role in part], mode="markers", name=name, showlegend=False,
        marker=_marker(name) | {"color": values, "coloraxis": "coloraxis"},
        text=[safe(role["role"]) for role in part], hovertext=[role["hover"] for role in part], hoverinfo="text",
    )  # fmt: skip


def _legend_entry(name: str) -> go.Scatter:
    """An entry of its own, hollow: Plotly cannot pick one colour for the legend from points of many."""
    marker = _marker(name) | {"color": "rgba(0, 0, 0, 0)"}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, meta="decoration")


def _marker(name: str) -> dict[str, Any]:
    return {"size": 9} if name == "role" else {"size": 15, "symbol": "diamond", "line": {"width": 2.5, "color": NEUTRAL}}


def _intervals(roles: list[dict[str, Any]]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str | None] = []
    for role in roles:
        if not math.isnan(role["low"] + role["high"]):
            x += [role["low"], role["high"], None]
            y += [role["height"], role["height"], None]
            text += [safe(role["role"])] * 2 + [None]
    line = {"color": NEUTRAL, "width": 1}
    return go.Scatter(x=x, y=y, text=text, mode="lines", name="95 % interval", line=line, opacity=0.7, hoverinfo="skip")


def _label(figure: go.Figure, roles: list[dict[str, Any]], rows: list[float], anchor: str) -> None:
    for role, row in zip(roles, rows, strict=True):
        x, text = role["projection"], one_line(role["role"])
        text = f"<b>{text}</b>" if role["is_default"] else text
        shift = 3 if anchor == "left" else -3
        figure.add_annotation(x=x, y=row, text=text, showarrow=False, xanchor=anchor, xshift=shift, font_size=11, borderpad=0)
        line = {"color": NEUTRAL, "width": 0.7}
        figure.add_shape(type="line", x0=x, x1=x, y0=role["height"], y1=row, line=line, opacity=0.6, layer="below")
