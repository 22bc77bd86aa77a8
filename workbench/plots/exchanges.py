"""What figures of drift share: rows, one layer and direction, the band of the default, counts, and how conditions look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from ..frames import need
from .sweep import draw_band
from .theme import CAP, NEUTRAL, numbers, present, safe

BAND = ["exchange", "layer", "direction", "low", "high", "middle", "n"]
"""Columns of a table of default responses matched by exchange."""
BASELINE = "baseline"
DEFAULT = "default responses"
IN_ITALICS = "<i>n</i>"
"""Beside the band in the legend: the counts in italics are its own."""
UNITS = "units of the residual stream"
ENDS = "↑ nearer the Assistant, ↓ further away"
PANEL_PX, TOP_PX, BOTTOM_PX = 360, 104, 92
PHONE_PX, LETTER_PX, LINE_PX = 250, 6.2, 13
"""Width of a panel on a phone, of a letter, and height of a line of counts, in pixels."""


@dataclass(frozen=True)
class Look:
    """How a condition is drawn: without a colour it has the page's ink; ``thin`` (paler) is for many lines under a mean."""

    colour: str | None
    thin: str
    dash: str


def looks(conditions: Iterable[str]) -> dict[str, Look]:
    """Each condition's look: the baseline in ink, ``capped`` in the colour of caps, others grey and dashed."""
    known = {BASELINE: Look(None, "134, 140, 150", "solid"), "capped": Look(CAP, "178, 150, 236", "solid")}
    dashes = ("dash", "dot", "dashdot", "longdash", "longdashdot")
    names = dict.fromkeys(conditions)
    others = [name for name in names if name not in known]
    found = {name: known[name] for name in known if name in names}
    return found | {name: Look(NEUTRAL, "134, 140, 150", dashes[i % len(dashes)]) for i, name in enumerate(others)}


def condition_names(frame: pd.DataFrame) -> list[str]:
    """The condition of every row; ``baseline`` where there is none."""
    if "condition" not in frame:
        return [BASELINE] * len(frame)
    return [str(name) if present(name) else BASELINE for name in frame["condition"]]


def one_place(frame: pd.DataFrame, what: str) -> tuple[str, int]:
    """The one direction and layer of a table; one with several is refused, with the words that choose."""
    layers = sorted({int(n) for n in numbers(frame, "layer") if math.isfinite(n)})
    directions = [str(name) for name in dict.fromkeys(frame["direction"].dropna())]
    if not layers or not directions:
        raise DataError(f"{what} needs a layer and a direction in its rows; all are missing")
    said, query = [], []
    if len(layers) > 1:
        said, query = [f"the layers {', '.join(map(str, layers))}"], [f"layer == {layers[0]}"]
    if len(directions) > 1:
        said, query = [*said, f"the directions {', '.join(directions)}"], [*query, f"direction == {directions[0]!r}"]
    if said:
        choice = " and ".join(query)
        raise DataError(
            f'{what} shows one layer and direction; the table has {" and ".join(said)}: choose one, e.g. frame.query("{choice}")'
        )
    return directions[0], layers[0]


def one_band(band: pd.DataFrame, what: str, place: tuple[str, int] | None) -> pd.DataFrame:
    """The band's rows at a layer and direction, in the order of exchanges, without rows that lack an end."""
    need(band, BAND, f"{what}, the band")
    direction, layer = place or one_place(band, f"{what}, the band,")
    rows = band[(band["layer"] == layer) & (band["direction"].astype(str) == direction)]
    if not len(rows):
        there = band[["direction", "layer"]].drop_duplicates().itertuples(index=False)
        has = ", ".join(f"{row[0]} at layer {row[1]}" for row in there)
        raise DataError(f"the band has no row for {direction} at layer {layer}; it has {has}")
    columns = {name: numbers(rows, name) for name in ("exchange", "low", "high", "middle", "n")}
    table = pd.DataFrame(columns).dropna(subset=["exchange"]).sort_values("exchange", ignore_index=True)
    if (twice := table["exchange"].duplicated()).any():
        raise DataError(f"the band needs one row an exchange; exchange {table.loc[twice, 'exchange'].iloc[0]:g} occurs twice")
    return table


def draw_default(figure: go.Figure, band: pd.DataFrame, note: str = "") -> None:
    """The band of default responses, shaded, and its middle; the legend names it, with a note."""
    shade(figure, band, DEFAULT)
    values = band[["exchange", "low", "middle", "high", "n"]].itertuples(index=False)
    hover = [
        f"<b>{DEFAULT}</b>, exchange {x:g}<br>middle {decimals(m)} [{decimals(a)}, {decimals(b)}]"
        + (f"<br>n = {int(n):,}" if n == n else "")
        for x, a, m, b, n in values
    ]
    line = {"color": NEUTRAL, "width": 1.4, "dash": "dot"}
    middle = go.Scatter(
        x=list(band["exchange"]), y=list(band["middle"]), mode="lines", name=DEFAULT, line=line,
        hovertext=hover, hoverinfo="text", legendrank=2000, showlegend=not note,
    )  # fmt: skip
    figure.add_trace(middle)
    if note:
        entry(figure, f"default, {note}", line)


def shade(figure: go.Figure, frame: pd.DataFrame, name: str, colour: str | None = None) -> None:
    """An interval along exchanges, ``low`` to ``high``, in grey or a colour as ``rgba``; no entry in the legend."""
    drawn: tuple[Any, ...] = figure.data  # type: ignore[assignment]  # plotly types it as a set of names
    before = len(drawn)
    table = pd.DataFrame({"layer": frame["exchange"], "y_low": frame["low"], "y_high": frame["high"]})
    draw_band(figure, table, "y", name, 1)
    drawn = figure.data  # type: ignore[assignment]
    for trace in drawn[before:]:
        trace.showlegend = False
        if colour and trace.meta == "decoration":
            trace.fillcolor = trace.line.color = colour


def decimals(value: float) -> str:
    """``+0.123``, ``−1.234``; ``unknown`` for NaN."""
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "unknown"


def counted(counts: list[int]) -> str:
    """``40``, or ``12–40`` where lines differ."""
    ends = dict.fromkeys((min(counts), max(counts)))
    return "–".join(f"{n:,}" for n in ends)


def band_counts(band: pd.DataFrame | None) -> dict[int, str]:
    """How many default responses each exchange's band is of, as far as that is known."""
    return {} if band is None else {int(x): f"{int(n):,}" for x, n in zip(band["exchange"], band["n"], strict=True) if n == n}


def write_counts(figure: go.Figure, counts: dict[int, str], band: dict[int, str] | None = None) -> float:
    """The counts of each exchange above the axis, below them in italics those of the band; returns the height that they take, in pixels.

    Upright where a phone has no room for them side by side, and then only as many as fit.
    """
    below = _write_row(figure, {x: f"<i>{text}</i>" for x, text in band.items()}, 0.0) if band else 0.0
    return below + (_write_row(figure, counts, below) if counts else 0.0)


def _write_row(figure: go.Figure, counts: dict[int, str], up: float) -> float:
    places = sorted(counts)
    texts = [("n = " if i == 0 else "") + counts[n] for i, n in enumerate(places)]
    slot = PHONE_PX / (places[-1] - places[0] + 1)
    widest = LETTER_PX * max(len(text.replace("<i>", "").replace("</i>", "")) for text in texts)
    upright = widest + 4 > slot
    step = max(1, math.ceil(LINE_PX / slot)) if upright else 1
    for i in range(0, len(places), step):
        place = {"x": places[i], "xref": "x", "y": 0, "yref": "y domain", "yanchor": "bottom", "yshift": up}
        place |= {"textangle": -90 if upright else 0}
        figure.add_annotation(place, text=texts[i], showarrow=False, font={"size": 10}, borderpad=0)
    return widest + 6 if upright else LINE_PX + 3


def dress_exchanges(figure: go.Figure, exchanges: Iterable[int], values: Iterable[float], below: float, title: str) -> tuple[float, float]:
    """Whole exchanges along x; along y everything in view, and `below` pixels of room for counts; returns the limits of y."""
    first, last = min(exchanges), max(exchanges)
    step = max(1, math.ceil((last - first + 1) / 12))
    figure.update_xaxes(title_text="exchange", range=[first - 0.5, last + 0.5], tick0=first, dtick=step, showgrid=False)
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    unit = ((high - low) or 1.0) / (PANEL_PX - below - 24)
    limits = (low - (below + 12) * unit, high + 12 * unit)
    # No tick among the counts: its line would cross them.
    figure.update_yaxes(title_text=title, range=limits, tickvals=round_values(limits[0] + below * unit, limits[1]))
    place = {"xref": "x domain", "x": 0, "xanchor": "left", "yref": "y domain", "y": 1, "yanchor": "bottom", "yshift": 5}
    figure.add_annotation(place, text=ENDS, showarrow=False, font={"size": 11})
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, hovermode="closest", legend={"tracegroupgap": 0})
    return limits


def round_values(low: float, high: float) -> list[float]:
    """At most seven round numbers from `low` to `high`, for ticks."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(share * power for share in (1, 2, 2.5, 5, 10) if share * power >= 0.999 * rough)
    return [round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def projection_title(place: tuple[str, int] | None, what: str = "projection") -> str:
    """The words along y."""
    return f"{what} on {safe(place[0])} at layer {place[1]}<br>({UNITS})" if place else f"{what}<br>({UNITS})"


def entry(figure: go.Figure, name: str, line: dict[str, Any] | None, marker: dict[str, Any] | None = None) -> None:
    """An entry in the legend without a point in the figure: a line, a marker or both."""
    mode = "+".join(part for part, there in (("lines", line), ("markers", marker)) if there)
    known = {"x": [None], "y": [None], "name": name, "meta": "decoration", "mode": mode, "legendrank": 1500}
    figure.add_trace(go.Scatter(known, line=line, marker=marker))


def records(frame: pd.DataFrame, columns: Iterable[str], what: str) -> list[dict[str, Any]]:
    """One record a row: `columns` as floats (NaN where not finite), and ``condition`` as text."""
    values = {name: [v if math.isfinite(v) else math.nan for v in numbers(frame, name)] for name in columns}
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    for i, (row, condition) in enumerate(zip(rows, condition_names(frame), strict=True)):
        row |= {name: column[i] for name, column in values.items()} | {"condition": condition}
        if "exchange" in values and math.isnan(row["exchange"]):
            raise DataError(f"{what} needs an exchange in every row; row {i} has none")
    return rows


def once(rows: list[dict[str, Any]], place: list[str], what: str) -> list[dict[str, Any]]:
    """The rows; refused where two share a place."""
    seen: set[tuple] = set()
    for row in rows:
        key = tuple(row[name] for name in place)
        if key in seen:
            named = zip(place, key, strict=True)
            names = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in named)
            raise DataError(f"{what} needs one row a {', '.join(place[:-1])} and {place[-1]}; {names} occurs twice")
        seen.add(key)
    return rows
