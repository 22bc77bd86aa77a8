"""Both sides of one conversation on one chart: where each answer lies, before and after what acts on it, and the default band."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..plots.exchanges import Look, decimals, looks
from ..plots.theme import CAP, NEUTRAL, new_figure, safe, wrapped
from .bands import Band
from .gauge import MORE_DARK
from .markup import SAME
from .readings import AS_IT_IS, CAPPED, CHANGED, CONTROL

NAMES = {AS_IT_IS: "as it is", CAPPED: "capped", CHANGED: "changed", CONTROL: "random direction"}
BAND = "rgba(0, 114, 178, 0.16)"
ON_DARK = {CAP: MORE_DARK["cap"], BAND: "rgba(83, 180, 240, 0.24)"}
"""Colours of this chart, and what stands for them on a dark page."""
HEIGHT, APART = 300, 15
"""Height of the chart, and how far apart names beside the lines stand, in pixels."""


def both_sides(frame: pd.DataFrame, band: Band | None = None, dark: bool = False) -> go.Figure:
    """A line a side, in the default band; for a side on which something acts a thin line shows what arrives before it does.

    Parameters
    ----------
    frame
        From :func:`workbench.app.readings.trajectory_frame`.
    band
        Where default responses lie; beyond its last exchange it goes on as it was there.
    dark
        For dark pages.
    """
    figure = new_figure("", frame.attrs, dark, HEIGHT)
    last = int(frame["exchange"].max())
    if band is not None:
        _draw_band(figure, band, last)
    ends = []
    for name, look in looks(frame["condition"]).items():
        rows = frame[frame["condition"] == name].sort_values("exchange")
        ends += _draw_side(figure, rows, name, look)
    for place, moved in _spread(ends, figure, frame, band):
        figure.add_annotation(
            x=place["x"], y=place["y"], text=safe(place["text"]), showarrow=False, xanchor="left", xshift=9, yshift=moved,
            font={"size": 11} | ({"color": place["colour"]} if place["colour"] else {}),
        )  # fmt: skip
    layer = frame["layer"].iloc[0]
    figure.update_xaxes(title_text="exchange", range=[0.5, last + 0.5], dtick=max(1, math.ceil(last / 8)), tick0=1, showgrid=False)
    figure.update_yaxes(title_text=f"projection on the axis, layer {layer}")
    figure.update_layout(showlegend=False, margin={"l": 8, "r": 104, "t": 14, "b": 8}, title=None)
    return figure


def _draw_band(figure: go.Figure, band: Band, last: int) -> None:
    xs = [0.5 + step / 2 for step in range(2 * last + 1)]
    ends = [band.at(max(1, min(last, round(x)))) for x in xs]
    shape = {"x": [*xs, *reversed(xs)], "y": [high for _, high in ends] + [low for low, _ in reversed(ends)]}
    fill = {"fill": "toself", "fillcolor": BAND, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(shape, **fill, name="default responses"))


def _draw_side(figure: go.Figure, rows: pd.DataFrame, name: str, look: Look) -> list[dict[str, Any]]:
    """The lines of one condition, with gaps where others acted; and what stands beside their ends."""
    shown = rows["after"].fillna(rows["projection"])
    acts = bool(((shown - rows["projection"]).abs() > SAME).any())
    xs = rows["exchange"].tolist()
    line = {"color": look.colour, "width": 2, "dash": look.dash}
    style = {"mode": "lines+markers", "line": line, "marker": {"size": 7, "color": look.colour, "line": {"width": 0}}}
    hover = [_hover(row, name) for row in rows.to_dict("records")]
    known = NAMES.get(name, name)
    figure.add_trace(go.Scatter(_gapped(xs, shown.tolist(), hover), **style, hoverinfo="text", name=known))
    ends = [{"x": xs[-1], "y": float(shown.iloc[-1]), "text": known, "colour": look.colour}] if math.isfinite(shown.iloc[-1]) else []
    if acts:
        before = {"mode": "lines+markers", "line": {"color": look.colour or NEUTRAL, "width": 1, "dash": "dot"}, "hoverinfo": "skip"}
        before["marker"] = {"size": 5, "symbol": "circle-open", "color": look.colour or NEUTRAL, "line": {"width": 1}}
        figure.add_trace(go.Scatter(_gapped(xs, rows["projection"].tolist(), hover), **before, name=f"{known}, before it acts"))
        if math.isfinite(rows["projection"].iloc[-1]):
            ends.append({"x": xs[-1], "y": float(rows["projection"].iloc[-1]), "text": "before it acts", "colour": NEUTRAL})
    return ends


def _gapped(xs: list[int], ys: list[float], texts: list[str]) -> dict[str, list[Any]]:
    """A line that is broken where an exchange is missing."""
    out: dict[str, list[Any]] = {"x": [], "y": [], "hovertext": []}
    for i, (x, y, text) in enumerate(zip(xs, ys, texts, strict=True)):
        if i and x != xs[i - 1] + 1:
            for values in out.values():
                values.append(None)
        for values, value in zip(out.values(), (x, y if math.isfinite(y) else None, text), strict=True):
            values.append(value)
    return out


def _hover(row: dict[Any, Any], name: str) -> str:
    lines = [f"<b>{safe(NAMES.get(name, name))}</b>, exchange {row['exchange']}"]
    after = f", after {decimals(row['after'])}" if math.isfinite(row["after"]) else ""
    lines.append(f"projection {decimals(row['projection'])}{after}")
    if math.isfinite(row["engaged"]):
        lines.append(f"{row['engaged']:.0%} of tokens changed, dose {row['dose']:.3f}")
    text = " ".join(str(row["text"]).split())
    return "<br>".join([*lines, wrapped(text if len(text) < 160 else text[:159] + "…")])


def _spread(ends: list[dict[str, Any]], figure: go.Figure, frame: pd.DataFrame, band: Band | None) -> list[tuple[dict[str, Any], float]]:
    """Names beside their lines' ends, moved apart by so many pixels that none lies on another."""
    values = [v for column in ("projection", "after") for v in frame[column] if math.isfinite(v)]
    values += [] if band is None else list(band.at(1))
    unit = 0.75 * HEIGHT / (max(values) - min(values) or 1.0)
    ends, placed = sorted(ends, key=lambda end: end["y"]), list[tuple[dict[str, Any], float]]()
    height = -math.inf
    for end in ends:
        height = max(end["y"] * unit, height + APART)
        placed.append((end, height - end["y"] * unit))
    return placed
