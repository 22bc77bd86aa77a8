"""Drift of many conversations: means by domain, and what harm goes with it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .exchanges import (
    BOTTOM_PX,
    IN_ITALICS,
    PANEL_PX,
    TOP_PX,
    Look,
    band_counts,
    counted,
    decimals,
    draw_default,
    dress_exchanges,
    entry,
    looks,
    once,
    one_band,
    one_place,
    projection_title,
    records,
    shade,
    write_counts,
)
from .line import stack_levels
from .marks import intervals
from .steering import estimate, percent_ticks
from .theme import CATEGORIES, NEUTRAL, dress, new_figure, one_line, present, safe

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GRID = "rgba(134, 140, 150, 0.25)"
COUNT, ROW_PX = 0.11, 15
"""Width of a printed number as a share of a phone's panel, and height of its line in pixels."""


def drift_means(means: pd.DataFrame, band: pd.DataFrame | None = None, dark: bool = False) -> go.Figure:
    """Mean projection by exchange, a line a domain (colour, marker) and condition (dash), with intervals shaded.

    Above the axis stands how many conversations each exchange has, from the smallest to the largest line, and, in italics, how
    many default responses the band there is of.

    Parameters
    ----------
    means
        A row a condition, domain and exchange: ``condition``, ``domain``, ``exchange``, ``mean`` (residual-stream units,
        + = Assistant), ``low, high`` (95 % interval), ``n`` (conversations); optionally ``layer`` and ``direction``. A
        missing mean leaves a gap. ``means.attrs`` may hold ``model``.
    band
        Default responses matched by exchange: ``exchange, layer, direction, low, high, middle, n``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, all means are missing, a condition, domain and exchange occur twice, or there are several
        layers or directions.
    """
    need(means, ["condition", "domain", "exchange", "mean", "low", "high", "n"], "drift_means")
    place = one_place(means, "drift_means") if {"layer", "direction"} <= set(means.columns) else None
    if band is not None:
        need(band, ["layer", "direction"], "drift_means, the band")
        place = place or one_place(band, "drift_means, the band,")
        band = one_band(band, "drift_means", place)
    rows = once(records(means, ("exchange", "mean", "low", "high", "n"), "drift_means"), ["condition", "domain", "exchange"], "drift_means")
    if all(math.isnan(row["mean"]) for row in rows):
        raise DataError("drift_means needs at least one mean; all are missing")
    figure = make_subplots(rows=1, cols=1)
    attrs = {k: v for k, v in means.attrs.items() if k != "layer"}
    dress(figure, "Drift by domain", attrs, dark, PANEL_PX + TOP_PX + BOTTOM_PX)
    exchanges = [int(row["exchange"]) for row in rows]
    if band is not None:
        band = band[band["exchange"].between(min(exchanges), max(exchanges))]
        draw_default(figure, band, IN_ITALICS if band_counts(band) else "")
    _draw_means(figure, rows)
    counts: dict[int, list[int]] = {}
    for row in rows:
        if math.isfinite(row["n"]):
            counts.setdefault(int(row["exchange"]), []).append(int(row["n"]))
    below = write_counts(figure, {x: counted(n) for x, n in counts.items()}, band_counts(band))
    values = [row[key] for row in rows for key in ("mean", "low", "high")]
    values += [] if band is None else [*band["low"], *band["high"], *band["middle"]]
    dress_exchanges(figure, exchanges, values, below, projection_title(place, "mean projection"))
    figure.update_layout(legend={"entrywidth": 106})
    return figure


def _draw_means(figure: go.Figure, rows: list[dict[str, Any]]) -> None:
    conditions = [*looks(row["condition"] for row in rows)]
    dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(conditions)}
    for i, domain in enumerate(dict.fromkeys(row["domain"] for row in rows)):
        colour = CATEGORIES[i % len(CATEGORIES)]
        marker = {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 7, "color": colour, "line": {"width": 0}}
        for name, dash in dashes.items():
            own = sorted((row for row in rows if (row["domain"], row["condition"]) == (domain, name)), key=lambda row: row["exchange"])
            if own:
                _draw_line(figure, own, marker, dash)
        entry(figure, one_line(domain, 14), {"color": colour, "width": 2}, marker)
    if len(conditions) > 1:
        for name, dash in dashes.items():
            entry(figure, safe(name), {"color": NEUTRAL, "width": 2, "dash": dash})


def _draw_line(figure: go.Figure, rows: list[dict[str, Any]], marker: dict[str, Any], dash: str) -> None:
    name, colour = f"{safe(rows[0]['domain'])}, {safe(rows[0]['condition'])}", marker["color"]
    shade(figure, pd.DataFrame(rows), name, f"rgba({', '.join(str(int(colour[k : k + 2], 16)) for k in (1, 3, 5))}, 0.14)")
    hover = [
        f"<b>{name}</b>, exchange {r['exchange']:g}<br>mean {decimals(r['mean'])} [{decimals(r['low'])}, {decimals(r['high'])}]"
        + (f"<br>n = {int(r['n']):,}" if present(r["n"]) else "")
        for r in rows
    ]
    trace = go.Scatter(
        x=[int(r["exchange"]) for r in rows], y=[r["mean"] for r in rows], mode="lines+markers", name=name, showlegend=False,
        line={"color": colour, "width": 2, "dash": dash}, marker=marker, hovertext=hover, hoverinfo="text",
        text=[f"n = {int(r['n'])}" if present(r["n"]) else None for r in rows],
    )  # fmt: skip
    figure.add_trace(trace)


def drift_harm(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Share of answers that comply, by bins of the projection, a line a condition, with Wilson intervals.

    Under the rates stands how many answers each bin has. The size of a marker means nothing.

    Parameters
    ----------
    frame
        A row a condition and bin: ``condition``, ``bin`` (number), ``projection`` (the bin's mean, residual-stream units,
        + = Assistant), ``left, right`` (the bin's ends), ``rate, low, high`` (0 to 1, a Wilson interval), ``n`` (answers); optionally
        ``layer`` and ``direction``. A bin without a rate is left out. ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, no bin has both a projection and a rate, or a condition and bin occur twice.
    """
    need(frame, ["condition", "bin", "projection", "left", "right", "rate", "low", "high", "n"], "drift_harm")
    place = one_place(frame, "drift_harm") if {"layer", "direction"} <= set(frame.columns) else None
    rows = once(
        records(frame, ("projection", "left", "right", "rate", "low", "high", "n"), "drift_harm"), ["condition", "bin"], "drift_harm"
    )
    rows = sorted((row for row in rows if not math.isnan(row["projection"] + row["rate"])), key=lambda row: row["projection"])
    if not rows:
        raise DataError("drift_harm needs at least one bin with a projection and a rate; all lack one")
    attrs = {k: v for k, v in frame.attrs.items() if k != "layer" or place is None}
    figure = new_figure("Drift and harm", attrs, dark, PANEL_PX + TOP_PX + BOTTOM_PX)
    known = looks(row["condition"] for row in rows)
    for symbol, (name, look) in zip(SYMBOLS, known.items(), strict=False):
        _draw_rates(figure, [row for row in rows if row["condition"] == name], name, look, symbol)
    span = rows[-1]["projection"] - rows[0]["projection"] or 1.0
    limits = [rows[0]["projection"] - 0.08 * span, rows[-1]["projection"] + 0.08 * span]
    top = min(1.03, max(0.1, 1.08 * max(v for row in rows for v in (row["rate"], row["high"]) if math.isfinite(v))))
    _write_numbers(figure, rows, [*known], span, top)
    title = projection_title(place).replace("<br>", " " if place is None else "<br>")
    figure.update_xaxes(title_text=f"{title}<br>+ = Assistant", range=limits, showgrid=False)
    figure.update_layout(margin={"t": 84, "b": BOTTOM_PX}, hovermode="closest")
    return figure


def _draw_rates(figure: go.Figure, rows: list[dict[str, Any]], name: str, look: Look, symbol: str) -> None:
    group = {"legendgroup": safe(name), "line": {"color": look.colour, "width": 1.4}}
    figure.add_trace(intervals(rows, "projection", safe(name), upright=True, opacity=0.75, **group))
    hover = [
        f"<b>{safe(name)}</b>, bin {safe(r['bin'])}<br>complied with: {estimate(r['rate'], r['low'], r['high'])}"
        + (f"<br>n = {int(r['n']):,}" if present(r["n"]) else "")
        + f"<br>projection {decimals(r['projection'])} (from {decimals(r['left'])} to {decimals(r['right'])})"
        for r in rows
    ]
    group["line"] = group["line"] | {"dash": look.dash}
    points = go.Scatter(
        x=[r["projection"] for r in rows], y=[r["rate"] for r in rows], mode="lines+markers", name=safe(name),
        text=[f"n = {int(r['n'])}" if present(r["n"]) else None for r in rows], hovertext=hover, hoverinfo="text",
        marker={"symbol": symbol, "size": 8, "color": look.colour, "line": {"width": 0}}, **group,
    )  # fmt: skip
    figure.add_trace(points)


def _write_numbers(figure: go.Figure, rows: list[dict[str, Any]], conditions: list[str], span: float, top: float) -> None:
    """Counts below the rates, at their bins, conditions below one another; close bins share several lines."""
    ticks, line = percent_ticks(0, top), 1.1 * top * ROW_PX / PANEL_PX
    height = -0.6 * line
    for name in conditions:
        own = [row for row in rows if row["condition"] == name and present(row["n"])]
        half = span * COUNT / 2
        levels = stack_levels([(row["projection"] - half, row["projection"] + half) for row in own])
        order = sorted(set(levels))
        ticks["tickvals"].append(height - line)
        ticks["ticktext"].append(f"n, {one_line(name, 14)}")
        for row, level in zip(own, levels, strict=True):
            at = {"x": row["projection"], "y": height - line * (1 + order.index(level)), "yanchor": "middle"}
            figure.add_annotation(at, text=f"{int(row['n']):,}", showarrow=False, font={"size": 10}, borderpad=0)
        height -= line * (len(order) or 1)
    # Lines of its own, because the axis would draw some among the counts, too.
    for value in percent_ticks(0, top)["tickvals"]:
        figure.add_hline(y=value, line={"color": NEUTRAL if value == 0 else GRID, "width": 1}, layer="below")
    figure.update_yaxes(ticks, showgrid=False, title_text="answers that comply, 95 % Wilson intervals", range=[height - line, top])
