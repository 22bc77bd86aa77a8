"""Who or what: how much of a projection's variance belongs to the prompt, and how much to the text."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .steering import percent_ticks
from .sweep import BOTTOM_PX, PANEL_PX, TOP_PX, Panel, draw_band, draw_panel
from .theme import dress, numbers

SOURCES = ("prompt", "text", "rest")
"""What the variance is divided among."""
FIRST_PX, GAP_PX = 170, 72
"""The prompt's panel is taller: its share is small and the point of the figure."""
LEAST = 0.05
"""The prompt's axis spans at least so much, so that noise about 0 does not look like a finding."""

PROMPT = Panel("Prompt", "share of the variance that the prompt makes", {"prompt": "prompt"})
OTHERS = Panel(
    "Text and rest", "the text; dashed the rest, a text under<br>one prompt more than under another", {"text": "text", "rest": "rest"}
)


def variance_shares(frame: pd.DataFrame, correlations: pd.DataFrame | None = None, dark: bool = False) -> go.Figure:
    """How much of a projection's variance belongs to the prompt, the text and the rest, by layer, with intervals as bands.

    The prompt has a panel and an axis of its own. Below, where `correlations` are given: whether the prompts' effects
    follow the roles' scores, with intervals as lines and, as a band, what chance would give.

    Parameters
    ----------
    frame
        A row a layer and source: ``layer`` (0-based block), ``source`` (``prompt, text, rest``), ``share, low, high`` (of
        the variance, 0 to 1). A missing share leaves a gap. ``frame.attrs`` may hold ``model``.
    correlations
        A row a layer: ``layer``, ``r, low, high`` (-1 to 1; + = prompts of roles with higher scores raise the
        projection), ``null_low, null_high`` (the range of r where scores are dealt at random), ``n`` (roles).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, a source is unknown, no share of the prompt is known, or a layer and source occur twice.
    """
    need(frame, ["layer", "source", "share", "low", "high"], "variance_shares")
    wide = _by_layer(frame)
    panels = [PROMPT, OTHERS]
    if correlations is not None:
        need(correlations, ["layer", "r", "low", "high", "null_low", "null_high", "n"], "variance_shares")
        correlations = _once(correlations, ["layer"])
        panels.append(_correlation_panel(correlations))
    heights = [FIRST_PX] + [PANEL_PX] * (len(panels) - 1)
    inner = sum(heights) + GAP_PX * (len(panels) - 1)
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / inner, row_heights=heights)
    attrs = {k: v for k, v in frame.attrs.items() if k != "layer"}
    dress(figure, "Prompt or text", attrs, dark, inner + TOP_PX + BOTTOM_PX)
    draw_panel(figure, wide, PROMPT, 1)
    draw_panel(figure, wide, OTHERS, 2)
    seen = [value for name in ("prompt", "prompt_low", "prompt_high") for value in wide[name] if not math.isnan(value)]
    top = 1.1 * max(LEAST, *seen)
    figure.update_yaxes(percent_ticks(0, top), range=[min(0, *seen), top], row=1)
    figure.update_yaxes(percent_ticks(0, 1), range=[-0.15, 1.15], row=2)
    _name_lines(figure, wide)
    layers = [*wide["layer"]]
    if correlations is not None:
        _draw_correlations(figure, correlations, panels[2])
        layers += [int(n) for n in correlations["layer"]]
    low, high = min(layers), max(layers)
    figure.update_xaxes(range=[low - 0.5, high + 0.5], tick0=low, dtick=max(1, math.ceil((high - low + 1) / 12)), showgrid=False)
    figure.update_xaxes(title_text="layer", row=len(panels))
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, showlegend=False, hovermode="x")
    return figure


def _name_lines(figure: go.Figure, wide: pd.DataFrame) -> None:
    """``text`` and ``rest`` at the last layer that has both, outside of the two lines, where they cannot meet."""
    both = wide.dropna(subset=["text", "rest"])
    if not len(both):
        return
    last = both.iloc[-1]
    for name, other in (("text", "rest"), ("rest", "text")):
        above = last[name] > last[other] or (last[name] == last[other] and name == "text")
        side = {"yanchor": "bottom", "yshift": 2} if above else {"yanchor": "top", "yshift": -2}
        place = {"x": last["layer"], "xanchor": "right", "y": last[name]} | side
        figure.add_annotation(place, text=name, showarrow=False, font={"size": 11}, row=2, col=1)


def _by_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a layer; of each source its share and the ends of its interval, as the panels read them."""
    if unknown := [name for name in dict.fromkeys(frame["source"]) if name not in SOURCES]:
        raise DataError(f"the source of a share is one of {', '.join(SOURCES)}, not {unknown[0]!r}")
    frame = _once(frame, ["source", "layer"])
    table = pd.DataFrame(index=sorted(set(frame["layer"])))
    for source in SOURCES:
        rows = frame[frame["source"] == source]
        for column, name in (("share", source), ("low", f"{source}_low"), ("high", f"{source}_high")):
            table[name] = pd.Series(numbers(rows, column), index=rows["layer"], dtype=float)
    if table["prompt"].isna().all():
        raise DataError("variance_shares needs at least one share of the prompt; all are missing")
    return table.rename_axis("layer").reset_index()


def _once(frame: pd.DataFrame, place: list[str]) -> pd.DataFrame:
    """The rows in the order of layers; one without a layer or one too many is refused."""
    layers = numbers(frame, "layer")
    if any(math.isnan(layer) for layer in layers):
        raise DataError("variance_shares needs a layer in every row; one is missing")
    frame = frame.assign(layer=[int(layer) for layer in layers]).sort_values("layer", kind="stable")
    if (twice := frame.duplicated(place)).any():
        first = ", ".join(f"{name} {frame.loc[twice, name].iloc[0]}" for name in place)
        raise DataError(f"variance_shares needs one row a {' and '.join(place)}; {first} occurs twice")
    return frame


def _correlation_panel(frame: pd.DataFrame) -> Panel:
    counts = sorted({int(n) for n in numbers(frame, "n") if not math.isnan(n)})
    over = f" over {' to '.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))} roles" if counts else ""
    measures = f"correlation{over}, 1 = the prompts do<br>what the scores say; band: chance"
    return Panel("Prompts' effects and roles' scores", measures, {"r": "correlation"}, guide=0)


def _draw_correlations(figure: go.Figure, frame: pd.DataFrame, panel: Panel) -> None:
    """The band of chance undermost; intervals as lines, because a second band would not be told from the first."""
    draw_band(figure, frame, "null", "chance", 3)
    layers, low, high = [int(n) for n in frame["layer"]], numbers(frame, "low"), numbers(frame, "high")
    known = [(n, a, b) for n, a, b in zip(layers, low, high, strict=True) if not math.isnan(a + b)]
    x = [value for n, _, _ in known for value in (n, n, None)]
    y = [value for _, a, b in known for value in (a, b, None)]
    lines = go.Scatter(x=x, y=y, mode="lines", name="correlation, interval", line={"width": 1.3}, opacity=0.75, hoverinfo="skip")
    figure.add_trace(lines, row=3, col=1)
    draw_panel(figure, frame, panel, 3)
    figure.update_yaxes(range=[-1.05, 1.05], tickvals=[-1, 0, 1], row=3)
