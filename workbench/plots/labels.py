"""Names beside points: how wide a text is, and where it lies on nothing else."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from .untyped import layout_of, traces_of

NARROW, WIDE = set("iljtfI.,:;'|!()[] "), set("mwMW%@+=<>−…")
AWAY = 2.0
"""Pixels between a dot's edge and its name."""


PAD = 0.08
"""Room around the outermost dots, as a share of what they span."""
CAPITAL, LINE = 0.85, 1.25
"""Heights of a capital with a little air, and of a line, over that of the letters."""
DOT = 0.38
"""Half the width of a dot, in heights of a letter."""


@dataclass(frozen=True)
class Rect:
    """Left, bottom, right and top, in pixels, upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: Rect) -> float:
        """The area that both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        up = min(self.top, other.top) - max(self.bottom, other.bottom)
        return across * up if across > 0 and up > 0 else 0.0

    def within(self, other: Rect) -> bool:
        """Whether it lies in the other wholly."""
        return self.left >= other.left and self.right <= other.right and self.bottom >= other.bottom and self.top <= other.top


@dataclass(frozen=True)
class Place:
    """Where a name stands beside its point: an annotation's ``xanchor, yanchor, xshift, yshift``."""

    xanchor: str
    yanchor: str
    xshift: float
    yshift: float


def text_width(text: str, size: float) -> float:
    """About how many pixels a text takes in DejaVu Sans, the widest letter that our figures are set in."""
    narrow, wide = sum(c in NARROW for c in text), sum(c in WIDE for c in text)
    return size * (0.36 * narrow + 0.86 * wide + 0.63 * (len(text) - narrow - wide))


def plain(text: object) -> str:
    """A text as it is seen: without tags and entities."""
    return html.unescape(re.sub(r"<[^>]+>", "", str(text)))


def settle_names(figure: go.Figure, width: float, height: float, size: float) -> None:
    """Put the names of dots, annotations right on them, where they lie on nothing else in a panel of this size.

    Axes without a range get one that holds all dots, in equal units where the figure asks for that. A name that fits nowhere is
    left out, but for the first.
    """
    layout = layout_of(figure)
    places = [
        (float(x), float(y)) for trace in traces_of(figure) if trace.type == "scatter" and "markers" in (trace.mode or "")
        for x, y in zip(trace.x, trace.y, strict=True) if _number(x) and _number(y)
    ]  # fmt: skip
    named = [(i, note) for note in layout.annotations for i in _on(note, places)[:1]]
    if not named:
        return
    across, up = _ranges(layout, places, width, height)
    points = [((x - across[0]) / (across[1] - across[0]) * width, (y - up[0]) / (up[1] - up[0]) * height) for x, y in places]
    chosen = place_names(points, [(i, plain(note.text)) for i, note in named], (width, height), size, DOT * size)
    kept = [note for note in layout.annotations if not _on(note, places)]
    for i, note in named:
        if place := chosen.get(i):
            kept.append(note.update(vars(place) | {"font": {"size": size}, "borderpad": 0}))
    layout.annotations = kept  # not with update(), which would keep those that are left out
    layout.update(xaxis={"range": across}, yaxis={"range": up, "scaleanchor": None})


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _on(note: Any, places: Sequence[tuple[float, float]]) -> list[int]:
    """The dots that an annotation without an arrow sits on."""
    if note.showarrow is not False or note.xref not in (None, "x") or note.yref not in (None, "y"):
        return []
    return [i for i, place in enumerate(places) if place == (note.x, note.y)]


def _ranges(layout: Any, places: Sequence[tuple[float, float]], width: float, height: float) -> list[list[float]]:
    """Ranges of both axes."""
    found, sides = [], (width, height)
    values = [[place[k] for place in places] for k in (0, 1)]
    spans = [(1 + 2 * PAD) * (max(v) - min(v)) or 1.0 for v in values]
    if layout.yaxis.scaleanchor:
        unit = max(span / side for span, side in zip(spans, sides, strict=True))
        spans = [unit * side for side in sides]
    for axis, own, span in zip((layout.xaxis, layout.yaxis), values, spans, strict=True):
        middle = (max(own) + min(own)) / 2
        found.append(list(axis.range) if axis.range else [middle - span / 2, middle + span / 2])
    return found


def place_names(
    points: Sequence[tuple[float, float]], named: Sequence[tuple[int, str]], room: tuple[float, float], size: float, dot: float
) -> dict[int, Place]:
    """Choose a side of its point for every name, in the order given: one where it lies on no dot and no other name.

    Parameters
    ----------
    points
        Places of all dots in pixels from the lower left corner.
    named
        Pairs of a dot's number and its name; the first have the first choice.
    room
        Width and height of the panel in pixels: no name leaves it.
    size, dot
        Height of letters, and half the width of a dot, in pixels.

    Returns
    -------
    dict
        Dot's number -> place. A name that fits nowhere is left out, but for the first, which is put where it covers least.
    """
    panel, dots = Rect(0, 0, *room), [Rect(x - dot, y - dot, x + dot, y + dot) for x, y in points]
    chosen: dict[int, Place] = {}
    names: list[Rect] = []
    for i, name in named:
        options = []
        for n, place in enumerate(_sides(dot + AWAY)):
            line = _box(points[i], place, text_width(name, size), LINE * size)
            letters = _box(points[i], place, text_width(name, size), CAPITAL * size)
            covered = sum(letters.shared(other) for other in dots) + sum(line.shared(other) for other in names)
            if letters.within(panel):
                options.append((covered, n, place, line))
        if options and (min(options)[0] == 0 or not chosen):
            _, _, chosen[i], line = min(options)
            names.append(line)
    return chosen


def _sides(close: float) -> list[Place]:
    """Places around a dot, the nearest first."""
    return [place for away in (close, 2 * close, 3 * close) for place in _around(away)]


def _around(away: float) -> list[Place]:
    near = 0.6 * away
    return [
        Place("left", "middle", away, 0), Place("right", "middle", -away, 0), Place("center", "bottom", 0, away),
        Place("center", "top", 0, -away), Place("left", "bottom", near, near), Place("right", "bottom", -near, near),
        Place("left", "top", near, -near), Place("right", "top", -near, -near),
        # Above and below, beginning or ending at the dot: for dots at the sides of the panel.
        Place("left", "bottom", -near, away), Place("right", "bottom", near, away),
        Place("left", "top", -near, -away), Place("right", "top", near, -away),
    ]  # fmt: skip


def _box(point: tuple[float, float], place: Place, width: float, height: float) -> Rect:
    x, y = point[0] + place.xshift, point[1] + place.yshift
    left = x - {"left": 0, "center": width / 2, "right": width}[place.xanchor]
    bottom = y - {"bottom": 0, "middle": height / 2, "top": height}[place.yanchor]
    return Rect(left, bottom, left + width, bottom + height)
