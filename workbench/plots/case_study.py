"""One conversation, as it was and under an intervention: its trajectory, and what was said where it matters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .exchanges import (
    BOTTOM_PX,
    DEFAULT,
    LETTER_PX,
    PANEL_PX,
    TOP_PX,
    condition_names,
    decimals,
    draw_default,
    dress_exchanges,
    looks,
    one_band,
    one_place,
    projection_title,
)  # fmt: skip
from .labels import text_width
from .theme import NEUTRAL, dress, numbers, present, safe, wrapped
from .trajectory import LABEL_UP, LEAST_PX, spread
from .untyped import traces_of

COLUMNS = ["conversation", "exchange", "speaker", "layer", "direction", "projection"]
LEADING = 1.3
"""Height of a line of text over that of its letters, as Plotly sets it."""
SHORT = {DEFAULT: "default"}
"""Names that stand beside a line in fewer letters."""
GAP = 0.7
"""Space between two exchanges, in lines."""


def conversation_panel(
    frame: pd.DataFrame, band: pd.DataFrame | None = None, marked: Sequence[int] = (), height: float = LEAST_PX, dark: bool = False
) -> go.Figure:  # fmt: skip
    """The replies of one conversation, a line a condition with its name at its end, in the band of the default.

    Parameters
    ----------
    frame
        A row a message at one layer and direction: ``conversation``, ``exchange`` (1-based), ``speaker``, ``layer``, ``direction``,
        ``projection`` (residual-stream units, + = Assistant); optionally ``after`` (drawn instead, where there is one: what
        leaves the layer under an intervention) and ``condition`` (else ``baseline``). ``frame.attrs`` may hold ``model``.
    band
        Default responses matched by exchange: ``exchange, layer, direction, low, high, middle, n``.
    marked
        Exchanges to mark with ``a``, ``b``, ... above the panel.
    height
        Of the panel, in pixels, where it will be lower than on a phone: names are moved apart by that.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, there are several conversations, layers or directions, or no reply has a projection.
    """
    replies = _replies(frame)
    place = one_place(replies, "conversation_panel")
    if replies["conversation"].nunique() > 1:
        raise DataError(f"conversation_panel shows one conversation; the table has {replies['conversation'].nunique()}")
    figure = make_subplots(rows=1, cols=1)
    dress(figure, "One conversation", {k: v for k, v in frame.attrs.items() if k != "layer"}, dark, PANEL_PX + TOP_PX + BOTTOM_PX)
    values, exchanges = numbers(replies, "seen"), [int(x) for x in numbers(replies, "exchange")]
    if band is not None:
        band = one_band(band, "conversation_panel", place)
        band = band[band["exchange"].between(min(exchanges), max(exchanges))]
        draw_default(figure, band)
        values = [*values, *band["low"], *band["high"]]
    if not any(math.isfinite(value) for value in values):
        raise DataError("conversation_panel needs at least one projection; all are missing")
    for name, look in looks(replies["condition"]).items():
        own = replies[replies["condition"] == name].sort_values("exchange")
        _draw(figure, own, name, {"color": look.colour, "width": 1.8, "dash": look.dash})
    limits = dress_exchanges(figure, exchanges, values, 0, projection_title(place))
    _name_ends(figure, limits, height)
    for letter, exchange in zip("abcdefgh", marked, strict=False):
        line = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=exchange, x1=exchange, y0=0, y1=1, yref="y domain", line=line, layer="below")
        at = {"x": exchange, "y": 1, "yref": "y domain", "yanchor": "top", "xanchor": "left", "xshift": 3}
        figure.add_annotation(at, text=f"<b>{letter}</b>", showarrow=False, borderpad=0)
    return figure


def _name_ends(figure: go.Figure, limits: tuple[float, float], height: float) -> None:
    """The name of each line right of its end, moved apart where two are neighbours, instead of a legend."""
    shown = [trace for trace in traces_of(figure) if trace.showlegend is not False and trace.meta != "decoration"]
    ends = sorted((([v for v in trace.y if math.isfinite(v)] or [0.0])[-1], SHORT.get(str(trace.name), str(trace.name))) for trace in shown)
    unit = height / (limits[1] - limits[0])
    heights = [(value - limits[0]) * unit for value, _ in ends]
    for (value, name), own, moved in zip(ends, heights, spread(heights, LABEL_UP, height), strict=True):
        place = {"x": 1, "xref": "x domain", "xanchor": "left", "xshift": 4, "y": value, "yshift": moved - own, "borderpad": 0}
        figure.add_annotation(place, text=name, showarrow=False, font={"size": 11})
    figure.update_layout(showlegend=False, margin={"r": 12 + LETTER_PX * max((len(name) for _, name in ends), default=0)})


def _replies(frame: pd.DataFrame) -> pd.DataFrame:
    """The assistant's messages with their condition and what is drawn of them (``seen``)."""
    need(frame, COLUMNS, "conversation_panel")
    frame = frame.assign(condition=condition_names(frame))
    frame["seen"] = frame["after"].fillna(frame["projection"]) if "after" in frame else frame["projection"]
    replies = frame[frame["speaker"] == "assistant"]
    if not len(replies):
        raise DataError("conversation_panel needs replies of the assistant; the table has none")
    return replies


def _draw(figure: go.Figure, rows: pd.DataFrame, name: str, line: dict[str, Any]) -> None:
    values, places = numbers(rows, "seen"), [int(x) for x in numbers(rows, "exchange")]
    texts = rows["text"] if "text" in rows else [""] * len(rows)
    hover = [
        f"<b>{safe(name)}</b>, exchange {x}<br>{decimals(v)}<br>{wrapped(t, 56)}" for x, v, t in zip(places, values, texts, strict=True)
    ]
    trace = go.Scatter(
        x=places, y=values, mode="lines+markers", name=safe(name), line=line, hovertext=hover, hoverinfo="text",
        marker={"size": 8, "color": line["color"], "line": {"width": 0}},
    )  # fmt: skip
    figure.add_trace(trace)


def shortened(text: object, most: int) -> str:
    """The text on one line, cut at a word's end where it is longer than `most` characters, with an ellipsis."""
    return textwrap.shorten(" ".join(str(text).split()), most, placeholder=" …") if str(text).strip() else ""


def said_panel(
    frame: pd.DataFrame, exchanges: Sequence[int], ems: float = 26, most: int = 150, dark: bool = False
) -> go.Figure:  # fmt: skip
    """What was said in some exchanges: the user's message, and the reply under every condition with its projection.

    Its words are annotations on an axis that counts lines, from 0 downwards; the number of lines is in ``layout.meta``.

    Parameters
    ----------
    frame
        As in :func:`conversation_panel`, with ``text``.
    exchanges
        Which ones, in the order of ``a``, ``b``, ...
    ems
        Length of a line, in heights of its letters.
    most
        Characters of a message; longer ones are cut at a word's end.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or an exchange is not in the table.
    """
    need(frame, [*COLUMNS, "text"], "said_panel")
    frame = frame.assign(condition=condition_names(frame))
    frame["seen"] = frame["after"].fillna(frame["projection"]) if "after" in frame else frame["projection"]
    figure = go.Figure()
    dress(figure, "What was said", {}, dark, 460)
    line = 0.0
    for letter, exchange in zip("abcdefgh", exchanges, strict=False):
        for text in _paragraphs(frame[frame["exchange"] == exchange], letter, exchange, ems, most):
            at = {"x": 0, "xref": "x domain", "y": -line, "xanchor": "left", "yanchor": "top", "align": "left", "borderpad": 0}
            figure.add_annotation(at, text=text, showarrow=False)
            line += 1 + text.count("<br>")
        line += GAP
    lines = max(line - GAP, 1.0)
    figure.add_trace(go.Scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip", meta="decoration"))
    figure.update_xaxes(visible=False, range=[0, 1], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-lines, 0], fixedrange=True)
    figure.update_layout(meta={"lines": lines}, height=round(lines * LEADING * 12 + 80 + 12))
    return figure


def _paragraphs(rows: pd.DataFrame, letter: str, exchange: int, ems: float, most: int) -> list[str]:
    """The exchange's head, the user's words once, and each condition's reply."""
    if not len(rows):
        raise DataError(f"there is no exchange {exchange} in this conversation")
    said = [f"<b>{letter}</b>  exchange {exchange}"]
    users = rows[rows["speaker"] == "user"]["text"]
    if len(users):
        said.append(_hanging("user:", shortened(users.iloc[0], most), ems))
    replies = rows[rows["speaker"] == "assistant"]
    for name in looks(replies["condition"]):
        row = replies[replies["condition"] == name].iloc[0]
        place = f" ({row['seen']:+.2f})".replace("-", "\u2212") if present(row["seen"]) else ""
        said.append(_hanging(f"{name}{place}:", shortened(row["text"], most), ems))
    return said


def _hanging(head: str, text: str, ems: float) -> str:
    """A paragraph that begins with its speaker in bold, in lines that are about as long as `ems`."""
    lines, room = [f"<b>{safe(head)}</b>"], ems - 1.1 * text_width(head, 1.0)
    for word in text.split():
        needs = text_width(f" {word}", 1.0)
        if needs > room:
            lines.append(safe(word))
            room = ems - needs
        else:
            lines[-1] += f" {safe(word)}"
            room -= needs
    return "<br>".join(lines)
