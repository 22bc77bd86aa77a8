"""Where an answer lies against the default band, while it is written: a line for the page, and one for the terminal."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from ..plots.exchanges import decimals
from ..plots.theme import CAP
from .bench import Bench

ROOM = (0.1, 0.4)
"""Of the span of the known roles, at the far and at the Assistant's end, where caps push further than any role lies."""

MORE_LIGHT = {"cap": CAP, "band": "rgba(0, 114, 178, .3)"}
MORE_DARK = {"cap": "#a98bf2", "band": "rgba(83, 180, 240, .38)"}
"""The colours of caps and of the default band; on a dark page lighter, or they would not be seen."""
STYLE = """
.gauge { display: flex; flex-wrap: wrap; align-items: center; gap: 0 .7rem; margin: .5rem 0 .15rem; }
.gauge { font-size: .85rem; color: var(--muted); }
.gauge .line { position: relative; flex: 1 1 7rem; min-width: 5rem; height: 10px; }
.gauge .line::before { content: ""; position: absolute; inset: 4px 0; border-radius: 1px; background: var(--line); }
.gauge i { position: absolute; top: 0; bottom: 0; } .gauge .band { background: var(--band); border-radius: 2px; }
.gauge .now, .gauge .was { width: 4px; margin-left: -2px; border-radius: 2px; transition: left .15s linear; }
.gauge .now { background: var(--ink); } .gauge .was { background: var(--muted); opacity: .5; }
.right .gauge .now { background: var(--cap); } .gauge .said { flex: 0 0 11.5em; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (prefers-reduced-motion: reduce) { .gauge i { transition: none; } }
"""
"""How a gauge looks in a page that has the colours ``--ink, --muted, --line, --band`` and ``--cap``."""


@dataclass(frozen=True)
class Scale:
    """A gauge's ends and its band, in units of the residual stream; + is the Assistant's end.

    Attributes
    ----------
    low, high
        The ends of the line.
    band
        Where default responses lie; None where that is not known.
    layer
        Where it reads.
    words
        Whose responses the band is of.
    """

    low: float
    high: float
    band: tuple[float, float] | None
    layer: int
    words: str

    def share(self, value: float) -> float:
        """Where a value stands on the line, 0 to 1; what lies beyond an end stands at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


class Scales:
    """The gauge's scales of a bench: from the farthest role to the Assistant."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._ends: dict[int, tuple[float, float]] = {}

    def at(self, layer: int | None, exchange: int = 1) -> Scale | None:
        """The scale at a layer, with the band of an exchange (from 1); None where nothing can be read."""
        if self._bench.run is None or self._bench.axis is None or layer is None:
            return None
        if layer not in self._ends:
            along = self._bench.run.role_vectors.project(self._bench.axis)[layer].tolist()
            span = max(along) - min(along) or 1.0
            self._ends[layer] = min(along) - ROOM[0] * span, max(along) + ROOM[1] * span
        band = self._bench.band(layer)
        low, high = self._ends[layer]
        if band is None:
            return Scale(low, high, None, layer, "")
        ends = band.at(exchange)
        return Scale(min(low, ends[0]), max(high, ends[1]), ends, layer, band.words)


def in_words(value: float | None, scale: Scale | None) -> str:
    """A value and where it lies: ``+2.31, in the band``."""
    if value is None or scale is None or not math.isfinite(value):
        return "not measured"
    said = decimals(value)
    if scale.band is None:
        return said
    low, high = scale.band
    return f"{said}, {'below' if value < low else 'above' if value > high else 'in'} the band"


def as_html(scale: Scale | None, before: float | None, after: float | None = None, label: str = "") -> str:
    """The gauge for a page: a line with the band, a mark for the answer so far, and a pale one for what arrived before an intervention."""
    if scale is None:
        return ""
    shown = before if after is None else after
    parts = []
    if scale.band is not None:
        low, high = (100 * scale.share(end) for end in scale.band)
        parts.append(f'<i class="band" style="left:{low:.2f}%;width:{max(0.5, high - low):.2f}%"></i>')
    if after is not None and before is not None:
        parts.append(f'<i class="was" style="left:{100 * scale.share(before):.2f}%"></i>')
    if shown is not None:
        parts.append(f'<i class="now" style="left:{100 * scale.share(shown):.2f}%"></i>')
    said = in_words(shown, scale) if shown is not None else ""
    spoken = html.escape(f"{label}: projection {said or 'not measured yet'}", quote=True)
    line = "".join(parts)
    return f'<div class="gauge" role="img" aria-label="{spoken}"><div class="line">{line}</div><span class="said">{said}</span></div>'


def as_text(scale: Scale | None, before: float | None, after: float | None = None, width: int = 40) -> str:
    """The gauge for a terminal: ``·`` the line, ``▒`` the band, ``○`` what arrived, ``●`` the answer so far."""
    if scale is None:
        return ""
    cells = ["·"] * width

    def cell(value: float) -> int:
        return min(width - 1, int(scale.share(value) * width))

    if scale.band is not None:
        for i in range(cell(scale.band[0]), cell(scale.band[1]) + 1):
            cells[i] = "▒"
    shown = before if after is None else after
    if after is not None and before is not None:
        cells[cell(before)] = "○"
    if shown is not None:
        cells[cell(shown)] = "●"
    number = f"\n{in_words(shown, scale)}" if shown is not None else ""
    return f"far {''.join(cells)} Assistant{number}"
