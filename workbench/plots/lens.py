"""The words of a direction, and how a token becomes text that can be read and does no harm."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .theme import ASSISTANT, FAR, dress, numbers, safe

ENDS = {"-": ("lowered", "−", FAR), "+": ("raised", "+", ASSISTANT)}
"""From left to right, as on every line of numbers."""
BAR_PX, TOP_PX, BOTTOM_PX = 24, 116, 84
WIDTH = 16
"""Characters of a token that fit beside its bar on a phone."""
MARKS = {" ": "␣", "\n": "↵", "\t": "⇥"}


def lens_words(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Tokens that a direction lowers (bars to the left) and raises (to the right), the outermost on top.

    Spaces are shown as ␣, line breaks as ↵, tabs as ⇥, other characters without a glyph as their escapes.

    Parameters
    ----------
    frame
        A row a token: ``end`` ("+" or "-"), ``rank`` (1 is the outermost), ``token``, ``id``, ``logit`` (mean over the
        vocabulary taken off; + = raised by the direction). A missing logit leaves a gap. ``frame.attrs`` may hold
        ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, an end is neither "+" nor "-", all logits are missing, or a rank occurs twice at one end.
    """
    need(frame, ["end", "rank", "token", "id", "logit"], "lens_words")
    rows = _records(frame)
    sides = {end: [row for row in rows if row["end"] == end] for end in ENDS}
    sides = {end: side for end, side in sides.items() if side}
    figure = make_subplots(rows=1, cols=len(sides), horizontal_spacing=0.02)
    lines = max(row["rank"] for row in rows)
    dress(figure, "Words of the direction", frame.attrs, dark, BAR_PX * lines + TOP_PX + BOTTOM_PX)
    for column, (end, side) in enumerate(sides.items(), start=1):
        _draw(figure, side, end, column)
        figure.update_xaxes(range=_reach(rows, end), nticks=4, col=column)
    if len(sides) == 2:
        # The two zeros stand side by side: one is enough.
        figure.update_xaxes(labelalias={"0": ""}, col=1)
    figure.update_yaxes(range=[lines + 0.5, 0.5], showgrid=False)
    below = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0, "yanchor": "top", "yshift": -28, "showarrow": False}
    figure.add_annotation(below, text="logit; 0 = the vocabulary's mean")
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, showlegend=False, bargap=0.2)
    return figure


def spelled(token: object, width: int = WIDTH) -> str:
    """A token on one line, so that what cannot be seen is seen; shortened with an ellipsis."""
    text = "".join(_visible(character) for character in str(token)) or "(empty)"
    # A mark that has no letter to stand on would land on what is drawn before it.
    text = f"◌{text}" if unicodedata.category(text[0]).startswith("M") else text
    return safe(text if len(text) <= width else text[: width - 1] + "…")


def _visible(character: str) -> str:
    if character in MARKS:
        return MARKS[character]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a row in the order of ranks, with the logit as a float."""
    logits, ranks = numbers(frame, "logit"), numbers(frame, "rank")
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    seen: set[tuple[str, float]] = set()
    for row, logit, rank in zip(rows, logits, ranks, strict=True):
        if row["end"] not in ENDS:
            raise DataError(f"the end of a token is + or -, not {row['end']!r}")
        if not rank >= 1:
            raise DataError(f"the rank of a token is 1 or more, not {row['rank']}")
        row |= {"logit": logit, "rank": int(rank)}
        if (row["end"], rank) in seen:
            raise DataError(f"lens_words needs one row an end and rank; rank {row['rank']} of {row['end']} occurs twice")
        seen.add((row["end"], rank))
    if all(math.isnan(logit) for logit in logits):
        raise DataError("lens_words needs at least one logit; all are missing")
    return sorted(rows, key=lambda row: row["rank"])


def _reach(rows: list[dict[str, Any]], end: str) -> list[float]:
    """Limits of one side's axis: both sides are equally long, and a bar on the wrong side of 0 still has room."""
    known = [row for row in rows if not math.isnan(row["logit"])]
    outward = 1.04 * (max(abs(row["logit"]) for row in known) or 1.0)
    inward = max([0.0, *(row["logit"] if row["end"] == "-" else -row["logit"] for row in known)])
    return [-inward, outward] if end == "+" else [-outward, inward]


def _draw(figure: go.Figure, side: list[dict[str, Any]], end: str, column: int) -> None:
    word, sign, colour = ENDS[end]
    ranks = [row["rank"] for row in side]
    bars = go.Bar(
        x=[row["logit"] for row in side], y=ranks, orientation="h", name=word, marker={"color": colour},
        text=[safe(row["token"]) for row in side], textposition="none", hovertext=[_hover(row) for row in side], hoverinfo="text",
    )  # fmt: skip
    figure.add_trace(bars, row=1, col=column)
    outer = "left" if end == "-" else "right"
    figure.update_yaxes(tickvals=ranks, ticktext=[spelled(row["token"]) for row in side], tickfont_size=12, side=outer, col=column)
    inner = {"x": 1, "xanchor": "right"} if end == "-" else {"x": 0, "xanchor": "left"}
    place = inner | {"xref": "x domain", "yref": "y domain", "y": 1, "yanchor": "bottom", "yshift": 6, "align": inner["xanchor"]}
    figure.add_annotation(place, text=f"<b>{word}</b><br>towards {sign}", showarrow=False, row=1, col=column)


def _hover(row: dict[str, Any]) -> str:
    return f"<b>{spelled(row['token'], 44)}</b><br>logit {row['logit']:+.4g}<br>rank {row['rank']}, token {safe(row['id'])}"
