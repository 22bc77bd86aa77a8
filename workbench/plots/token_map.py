"""Conversations with every token on the colour of its projection: a page of text, without Plotly and without network."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..frames import need
from .attribution import signed
from .exchanges import UNITS, condition_names, decimals, one_band, one_place
from .theme import DARK, FONT, LIGHT, Theme, numbers, present

COLUMNS = ["conversation", "turn", "speaker", "layer", "direction", "token", "text", "projection"]
STEPS = 41
"""So many colours: the middle one is the palest."""
PALE = 0.2
"""Share of either side of the colours that the band of default tokens gets."""
FULL = 3.0
"""So many times as far from the default's middle as the band's end is, a colour is full: the same on every page, whatever it shows."""
WITHIN = 98
"""Without a band, so many per cent of the tokens lie within the colours' ends; a first token's projection is often far outside."""
CONTRAST = 4.5
"""Least contrast of text with its background (WCAG 2, level AA)."""
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

STYLE = """
.token-map { color-scheme: light dark; color: var(--ink); background: var(--page); font: 15px/1.75 %(font)s; overflow-wrap: anywhere; }
.token-map :is(h2, h3) { font-size: 1.1rem; line-height: 1.35; margin: 2.2rem 0 .2rem; }
.token-map p { margin: 0; } .token-map .quiet, .token-map .who { color: var(--muted); font-size: .85rem; line-height: 1.5; }
.token-map .who { margin: 1.1rem 0 .15rem; } .token-map .who b { color: var(--ink); }
.token-map .said { white-space: pre-wrap; tab-size: 4; border-left: 3px solid var(--line); padding: .1rem 0 .1rem .8rem; }
.token-map .said { content-visibility: auto; contain-intrinsic-size: auto 9rem; }
.token-map .said:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
.token-map .said span { padding: .12em 0; scroll-margin: 3.2rem 0; }
.token-map .said .at { outline: 2px solid var(--ink); border-radius: 1px; }
.token-map .n::before { content: "↵"; }
.token-map .bar { display: flex; height: 1rem; margin: .15rem 0; border: 1px solid var(--line); } .token-map .bar i { flex: 1; }
.token-map .ends { display: flex; justify-content: space-between; gap: .6rem; font-size: .85rem; line-height: 1.4; }
.token-map .marks { position: relative; display: flex; justify-content: space-between; font-size: .8rem; line-height: 1.5; }
.token-map .marks span[style] { position: absolute; transform: translateX(-50%%); }
.token-map .scale { max-width: 34rem; margin: .8rem 0 .6rem; }
.token-map .pointed { position: sticky; bottom: 0; margin-top: 1rem; padding: .45rem 0; border-top: 1px solid var(--line); }
.token-map .pointed { background: var(--page); min-height: 2.4rem; font-size: .9rem; line-height: 1.5; font-variant-numeric: tabular-nums; }
@media print { .token-map .pointed { display: none; } .token-map i, .token-map span { print-color-adjust: exact; } }
"""
SCRIPT = """
(root => {
  const line = root.querySelector('.pointed'), said = n => (n < 0 ? '−' : '+') + n.replace('-', '');
  let at = null;
  const show = token => {
    if (at) at.classList.remove('at');
    (at = token).classList.add('at');
    const {p, a} = token.dataset, word = JSON.stringify(token.textContent).slice(1, -1);
    line.textContent = '“' + word + '”: ' + (p ? 'projection ' + said(p) : 'not measured');
    if (a) line.textContent += ', after the intervention ' + said(a);
    token.title = line.textContent;
  };
  const point = event => { if (event.target.matches('.said > span')) show(event.target); };
  root.addEventListener('pointerover', point);
  root.addEventListener('click', point);
  root.addEventListener('keydown', event => {
    const way = {ArrowRight: 'nextElementSibling', ArrowLeft: 'previousElementSibling'}[event.key], block = event.target;
    if (!way || !block.matches('.said')) return;
    event.preventDefault();
    const next = at && at.parentNode === block ? at[way] : block.firstElementChild;
    if (next) { show(next); next.scrollIntoView({block: 'nearest'}); }
  });
})(document.currentScript.previousElementSibling);
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<style>
body {{ margin: 0; background: {light}; }} main {{ max-width: 46rem; margin: 0 auto; padding: 1.6rem 1.1rem 0; }}
h1 {{ font: 650 1.4rem/1.3 {font}; margin: 0 0 .8rem; color: {light_ink}; overflow-wrap: anywhere; }}
@media screen and (prefers-color-scheme: dark) {{ body {{ background: {dark}; }} h1 {{ color: {dark_ink}; }} }}
</style></head>
<body><main><h1>{title}</h1>
{body}
</main></body>
</html>
"""


@dataclass(frozen=True)
class Scale:
    """Which projection has which colour.

    Attributes
    ----------
    middle
        The palest.
    below, above
        How far from it, on either side, the pale colours reach; default tokens are often further on one side.
    full
        So many times as far away a colour is full; 1 where nothing is pale.
    words
        What the scale is made of.
    """

    middle: float
    below: float
    above: float
    full: float
    words: str

    @property
    def ends(self) -> tuple[float, float]:
        """Where the colours are full."""
        return self.middle - self.full * self.below, self.middle + self.full * self.above

    def at(self, place: float) -> float:
        """The projection at a place along the bar, -1 (far from the Assistant) to 1; 0 is the middle."""
        return self.middle + place * self.full * (self.above if place > 0 else self.below)

    def step(self, value: float) -> int:
        """The colour's number, 0 (far from the Assistant) to 40."""
        away = abs(value - self.middle) / (self.above if value > self.middle else self.below)
        if self.full == 1:
            share = min(1.0, away)
        else:
            share = PALE * away if away <= 1 else PALE + (1 - PALE) * min(1.0, (away - 1) / (self.full - 1))
        half = STEPS // 2
        return half + round(half * share) * (1 if value > self.middle else -1)


def token_map(frame: pd.DataFrame, band: pd.DataFrame | None = None, title: str | None = None) -> str:
    """A whole page, readable offline: the messages with every token on the colour of its projection.

    Blue is nearer the Assistant than the middle, vermilion further away. With a band the colours are those of default
    tokens: a projection has the same colour on every page. The number of the token under the pointer, or reached with the arrow
    keys, stands at the foot of the page.

    Parameters
    ----------
    frame
        A row a token at one layer and direction: ``conversation`` (name), ``turn`` (0-based message), ``speaker``,
        ``layer``, ``direction``, ``token`` (index in the conversation), ``text`` (the token's), ``projection``
        (residual-stream units, + = Assistant); optionally ``exchange``, ``after`` (the projection after an intervention at
        this layer) and ``condition``. A token without a projection has no colour. ``frame.attrs`` may hold ``model``.
    band
        Default tokens: ``exchange, layer, direction, low, high, middle, n``. The colours' middle is the median of its
        middles, what lies between the medians of its ends is pale, and a colour is full three times as far away. Without it
        the colours are the table's own, about the median of the assistant's tokens, and the page says so.
    title
        Instead of "Token by token".

    Returns
    -------
    str
        HTML, light or dark as the reader's system asks for.

    Raises
    ------
    DataError
        Where a column is missing, there are several layers or directions, all projections are missing, a token occurs
        twice, or the band lacks this layer and direction.
    """
    title = title or "Token by token"
    body = _fragment(frame, band, title, "h2")
    colours = {"light": LIGHT.page, "light_ink": LIGHT.ink, "dark": DARK.page, "dark_ink": DARK.ink}
    return PAGE.format(title=html.escape(title), body=body, font=FONT, **colours)


def token_map_fragment(frame: pd.DataFrame, band: pd.DataFrame | None = None, title: str | None = None) -> str:
    """The same for use inside a page: style, a section and its script; several of them may stand on one page.

    Parameters and errors are those of :func:`token_map`; the title is what screen readers call the section.
    """
    return _fragment(frame, band, title or "Token by token", "h3")


def colour_scale(tokens: list[dict[str, Any]], band: pd.DataFrame | None) -> Scale:
    """The scale: the default's where there is a band, whatever the table holds, else the table's own."""
    known = [(token["projection"], token["speaker"] == "assistant") for token in tokens if math.isfinite(token["projection"])]
    if not known:
        raise DataError("token_map needs at least one projection; all are missing")
    unknown = " Without a colour: not measured." if len(known) < len(tokens) else ""
    if band is None:
        own = [value for value, assistant in known if assistant]
        middle = float(np.median(own or [value for value, _ in known]))
        whose = "the assistant’s" if own else "all"
        words = f"Palest at the median of {whose} tokens, {decimals(middle)}. No default is given: these colours are of this page alone."
        away = float(np.percentile([abs(value - middle) for value, _ in known], WITHIN)) or 1.0
        return Scale(middle, away, away, 1.0, words + unknown)
    middle, low, high = (float(band[name].median()) for name in ("middle", "low", "high"))
    below, above = max(middle - low, 0.0), max(high - middle, 0.0)
    several = f", medians over {len(band)} exchanges" if len(band) > 1 else ""
    size = f"{int(band['n'].sum()):,} " if band["n"].notna().all() else ""
    words = (
        f"Pale: where {size}default tokens lie, {decimals(low)} to {decimals(high)}, about their middle {decimals(middle)}{several}. Full: "
        f"{FULL:g} times as far from it."
    )
    scale = Scale(middle, below or above or 1.0, above or below or 1.0, FULL, words)
    beyond = sum(not scale.ends[0] <= value <= scale.ends[1] for value, _ in known) / len(known)
    return replace(scale, words=words + (f" Further out: {beyond:.1%} of the tokens shown." if beyond else "") + unknown)


def colours(theme: Theme) -> list[tuple[str, str]]:
    """Background and text of every step: the page's ink where it can be read, else its opposite, else black or white."""
    found = []
    for step in range(STEPS):
        back = _mix(theme.diverging, step / (STEPS - 1))
        fronts = (theme.ink, theme.page, "#000000", "#ffffff")
        found.append((back, next(front for front in fronts if contrast(front, back) >= CONTRAST)))
    return found


def contrast(one: str, other: str) -> float:
    """Contrast of two colours ``#rrggbb`` after WCAG 2: 1 to 21."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _rgb(colour)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _mix(stops: list[tuple[float, str]], share: float) -> str:
    right = next(i for i, (place, _) in enumerate(stops) if place >= share)
    (start, one), (stop, other) = stops[max(right - 1, 0)], stops[max(right, 1)]
    part = (share - start) / (stop - start)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(_rgb(one), _rgb(other), strict=True))


def _fragment(frame: pd.DataFrame, band: pd.DataFrame | None, title: str, heading: str) -> str:
    need(frame, COLUMNS, "token_map")
    place = one_place(frame, "token_map")
    tokens = _tokens(frame)
    scale = colour_scale(tokens, None if band is None else one_band(band, "token_map", place))
    model = f"{frame.attrs['model']}: " if "model" in frame.attrs else ""
    said = f"{model}projection on {place[0]} at layer {place[1]}, in {UNITS}; + = the Assistant’s end."
    parts = [f"<style>{_style()}</style>", f'<section class="token-map mathjax_ignore tex2jax_ignore" aria-label="{html.escape(title)}">']
    parts += [f'<p class="quiet">{html.escape(said)}</p>', _legend(scale)]
    for (conversation, condition), own in groupby(tokens, key=lambda token: (token["conversation"], token["condition"])):
        name = conversation + (f", {condition}" if "condition" in frame else "")
        parts.append(f"<{heading}>{html.escape(name)}</{heading}>")
        parts += [part for _, turn in groupby(own, key=lambda token: token["turn"]) for part in _message(list(turn), scale)]
    parts.append('<p class="pointed" role="status">Point at a token, or go to a message and press the right arrow key.</p></section>')
    return "\n".join([*parts, f"<script>{SCRIPT}</script>"])


def _style() -> str:
    """The rules, and for either theme its colours by step."""
    rules = [STYLE % {"font": FONT}]
    for theme, around in ((LIGHT, "{}"), (DARK, "@media screen and (prefers-color-scheme: dark) {{ {} }}")):
        own = [f".token-map {{ --page: {theme.page}; --ink: {theme.ink}; --muted: {theme.muted}; --line: {theme.grid}; }}"]
        own += [f".token-map .c{i} {{ background: {back}; color: {front}; }}" for i, (back, front) in enumerate(colours(theme))]
        rules.append(around.format("\n".join(own)))
    return "\n".join(rules)


def _legend(scale: Scale) -> str:
    """The bar of colours, either side in equal stretches of the projection, with numbers, their unit, and which end is whose."""
    places = [0.0] if scale.full == 1 else [-1 / scale.full, 0.0, 1 / scale.full]
    inner = "".join(f'<span style="left: {50 + 50 * place:.1f}%">{signed(scale.at(place))}</span>' for place in places)
    cells = "".join(f"<i class=c{scale.step(scale.at(2 * i / (STEPS - 1) - 1))}></i>" for i in range(STEPS))
    low, high = (signed(value) for value in scale.ends)  # short, so that five of them fit on a phone
    label = (
        f"Colours from {low}, far from the Assistant, over {decimals(scale.middle)}, palest, to {high}, nearer the Assistant, "
        f"in {UNITS}. {scale.words}"
    )
    return (
        '<div class="scale"><p class="ends"><span>← further from the Assistant</span><span>nearer the Assistant →</span></p>'
        f'<div class="bar" role="img" aria-label="{html.escape(label)}">{cells}</div>'
        f'<p class="marks"><span>≤ {low}</span>{inner}<span>≥ {high}</span></p>'
        f'<p class="quiet">{html.escape(f"Projection in {UNITS}. {scale.words}")}</p></div>'
    )


def _tokens(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a token, in the order of conversations, conditions, turns and tokens."""
    frame = frame.assign(condition=condition_names(frame))
    if (twice := frame.duplicated(["conversation", "condition", "turn", "token"])).any():
        row = frame[twice].iloc[0]
        raise DataError(f"token_map needs one row a condition and token; token {row['token']} of {row['conversation']} occurs twice")
    values = {name: numbers(frame, name) for name in ("turn", "token", "projection", "after", "exchange") if name in frame}
    words = {name: [str(v) if present(v) else "" for v in frame[name]] for name in ("conversation", "condition", "speaker")}
    words["text"] = [str(v) if isinstance(v, str) else "" for v in frame["text"]]
    columns = {"after": [math.nan] * len(frame), "exchange": [math.nan] * len(frame)} | values | words
    tokens = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    order = {key: i for i, key in enumerate(dict.fromkeys((t["conversation"], t["condition"]) for t in tokens))}
    return sorted(tokens, key=lambda t: (order[t["conversation"], t["condition"]], t["turn"], t["token"]))


def _message(tokens: list[dict[str, Any]], scale: Scale) -> Iterator[str]:
    first = tokens[0]
    exchange = f", exchange {first['exchange']:g}" if math.isfinite(first["exchange"]) else ""
    where = f"turn {first['turn']:g}{exchange}, {len(tokens):,} tokens"
    speaker = html.escape(first["speaker"] or "unknown")
    yield f'<p class="who"><b>{speaker}</b> {where}</p>'
    spans = "".join(_span(token, scale) for token in tokens)
    yield f'<div class="said" tabindex="0" role="group" dir="auto" aria-label="{speaker}, {where}">{spans}</div>'


def _span(token: dict[str, Any], scale: Scale) -> str:
    """A token as compactly as HTML allows; a line break that nothing else makes visible gets a sign."""
    text, value, after = token["text"], token["projection"], token["after"]
    names = [f"c{scale.step(value)}"] if math.isfinite(value) else []
    names += ["n"] if "\n" in text and not text.strip() else []
    look = f' class="{" ".join(names)}"' if len(names) > 1 else f" class={names[0]}" if names else ""
    look += f" data-p={value:.3f}" if math.isfinite(value) else ""
    look += f" data-a={after:.3f}" if math.isfinite(after) else ""
    text = UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return f"<span{look}>{html.escape(text, quote=False)}</span>"
