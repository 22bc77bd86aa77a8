"""What changes from layer to layer: small panels over one layer axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .theme import NEUTRAL, dress, numbers

PANEL_PX, GAP_PX, TOP_PX, BOTTOM_PX = 104, 60, 124, 52
BAND = "rgba(134, 140, 150, 0.28)"
WORDS, ROOM = -1, 0.14
"""The layer that is none, and the room for it as a share of the layers' own (at least that of one layer): enough for its name."""


@dataclass(frozen=True)
class Panel:
    """One panel: its columns (with the name of each line), what it measures, and what would be ideal."""

    title: str
    measures: str
    lines: dict[str, str]
    guide: float | None = None


PANELS = (
    Panel("AUC", "default told from roles; ideal 1, chance 0.5", {"auc": "AUC"}, guide=0.5),
    Panel("Gain over the words", "AUC minus that of the response's words alone", {"gain": "gain"}, guide=0),
    Panel("Cohen's d", "distance in standard deviations; larger is better", {"cohens_d": "Cohen's d"}),
    Panel("Split-half cosine", "axes of two separate halves; ideal 1", {"split_half": "split-half cosine"}, guide=1),
    Panel("Cosine with PC1", "near 1: PC1 is the axis, low: it is not", {"cos_pc1": "cosine with PC1"}),
    Panel("Default's rank on PC1", "share of roles it lies beyond; ideal 1", {"default_rank": "default's rank"}, guide=1),
    Panel("Length of the axis", "as a share of the mean residual norm", {"axis_norm": "axis / residual norm"}),
    Panel(
        "Components for 70, 80, 90 %",
        "solid, dashed, dotted; fewer is simpler",
        {"n_70": "components for 70 %", "n_80": "components for 80 %", "n_90": "components for 90 %"},
    ),
)
"""Panels from top to bottom."""

DASHES = ("solid", "dash", "dot")


def layer_sweep(frame: pd.DataFrame, recommended: int | None = None, dark: bool = False) -> go.Figure:
    """Quality of the axis by layer, a panel a quantity, with intervals as bands.

    Parameters
    ----------
    frame
        A row a layer: ``layer`` (0-based block; -1, a bag of input embeddings, is no layer: "words" stands apart at the left,
        hollow, behind a line, and no curve leads there) and any of ``auc``
        (0 to 1), ``gain`` (AUC minus that of layer -1), ``cohens_d`` (pooled standard deviations, + = the default lies at
        the + end), ``split_half`` and ``cos_pc1`` (cosines), each with optional ``*_low`` and ``*_high``; ``default_rank``
        (share of roles that the default lies beyond on PC1, 0 to 1), ``axis_norm`` (length of the axis / mean residual
        norm), ``n_70, n_80, n_90`` (components). A missing column drops its panel, a missing value leaves a gap.
        ``frame.attrs`` may hold ``model``.
    recommended
        The layer to mark.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Without ``layer``, without anything to draw, or where the recommended layer is not in the table.
    """
    need(frame, ["layer"], "layer_sweep")
    frame = frame.sort_values("layer")
    panels = [p for p in PANELS if any(c in frame and frame[c].notna().any() for c in p.lines)]
    if not panels:
        known = ", ".join(c for p in PANELS for c in p.lines)
        raise DataError(f"layer_sweep needs at least one of {known}; the table has {', '.join(map(str, frame.columns))}")
    inner = len(panels) * PANEL_PX + (len(panels) - 1) * GAP_PX
    spacing = GAP_PX / inner if len(panels) > 1 else 0
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=spacing)
    dress(figure, "Layer by layer", {k: v for k, v in frame.attrs.items() if k != "layer"}, dark, inner + TOP_PX + BOTTOM_PX)
    words, blocks = frame[frame["layer"] == WORDS], frame[frame["layer"] != WORDS]
    layers = [int(n) for n in blocks["layer"]] or [0]
    room = max(1.0, ROOM * (layers[-1] - layers[0] + 1)) if len(words) else 0.0
    for row, panel in enumerate(panels, start=1):
        draw_panel(figure, blocks, panel, row)
        if len(words) and "gain" not in panel.lines:  # which is 0 there by its meaning
            _draw_words(figure, words, panel, row, layers[0] - 0.5 - room / 2)
    _dress_layers(figure, layers, room, len(panels))
    figure.update_yaxes(nticks=4)
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, showlegend=False, hovermode="x")
    if recommended is not None:
        _mark(figure, int(recommended), [int(n) for n in frame["layer"]], len(panels))
    return figure


def _dress_layers(figure: go.Figure, layers: list[int], room: float, panels: int) -> None:
    """Whole layers along x; left of a line, where there is room for them, the words."""
    first, last = layers[0], layers[-1]
    ticks = list(range(first, last + 1, max(1, math.ceil((last - first + 1) / 10))))
    words = [first - 0.5 - room / 2] if room else []
    figure.update_xaxes(range=[first - 0.5 - room, last + 0.5], showgrid=False, tickangle=0)
    figure.update_xaxes(tickvals=[*words, *ticks], ticktext=[*(["words"] if room else []), *map(str, ticks)])
    figure.update_xaxes(title_text="layer", row=panels)
    for row in range(1, panels + 1 if room else 1):
        line = {"type": "line", "x0": first - 0.5, "x1": first - 0.5, "y0": -0.1, "y1": 1, "yref": "y domain", "layer": "below"}
        figure.add_shape(line, line={"color": NEUTRAL, "width": 1}, row=row, col=1)


def _draw_words(figure: go.Figure, words: pd.DataFrame, panel: Panel, row: int, x: float) -> None:
    """What the words alone say, hollow and grey, with its interval; no line leads from here to a layer."""
    for column, name in panel.lines.items():
        if column not in words or math.isnan(value := numbers(words, column)[0]):
            continue
        error = {}
        if {f"{column}_low", f"{column}_high"} <= set(words.columns):
            low, high = numbers(words, f"{column}_low")[0], numbers(words, f"{column}_high")[0]
            error = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "width": 0, "thickness": 1.4}
        marker = {"symbol": "diamond-open", "size": 9, "color": NEUTRAL, "line": {"width": 1.8, "color": NEUTRAL}}
        point = go.Scatter(
            x=[x], y=[value], name=f"{name}, words", text=["words"], mode="markers", marker=marker, error_y=error,
            hovertemplate=f"{name} of the words: %{{y:.3~f}}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(point, row=row, col=1)


def draw_panel(figure: go.Figure, frame: pd.DataFrame, panel: Panel, row: int) -> None:
    """The lines of a panel with their bands, its guide and its title; ``layer`` along x."""
    layers = [int(n) for n in frame["layer"]]
    several = len(panel.lines) > 1
    for dash, (column, name) in zip(DASHES, panel.lines.items(), strict=False):
        if column not in frame:
            continue
        values = numbers(frame, column)
        if {f"{column}_low", f"{column}_high"} <= set(frame.columns):
            draw_band(figure, frame, column, name, row)
        line = go.Scatter(
            x=layers, y=values, name=name, mode="lines+markers", line={"width": 1.8, "dash": dash},
            marker={"size": 5, "line": {"width": 0}}, hovertemplate=(f"{name}: " if several else "") + "%{y:.3~f}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(line, row=row, col=1)
    if panel.guide is not None:
        line = {"color": NEUTRAL, "width": 1, "dash": "dot"}
        shape = {"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "y0": panel.guide, "y1": panel.guide, "line": line}
        figure.add_shape(shape, layer="below", row=row, col=1)
    figure.add_annotation(
        text=f"<b>{panel.title}</b><br>{panel.measures}", align="left", showarrow=False, xref="x domain", yref="y domain",
        x=0, y=1, xanchor="left", yanchor="bottom", yshift=4, row=row, col=1,
    )  # fmt: skip


def draw_band(figure: go.Figure, frame: pd.DataFrame, column: str, name: str, row: int) -> None:
    """The interval as one polygon for each stretch without gaps, and its ends as unseen lines, which ``data`` reads."""
    layers = [int(n) for n in frame["layer"]]
    low, high = numbers(frame, f"{column}_low"), numbers(frame, f"{column}_high")
    for stretch in _stretches([not math.isnan(a + b) for a, b in zip(low, high, strict=True)]):
        x = [layers[i] for i in stretch]
        y = [high[i] for i in stretch] + [low[i] for i in reversed(stretch)]
        # A lone layer has no area: its outline stands in for the band.
        line = {"color": BAND, "width": 0 if len(stretch) > 1 else 6}
        shape = {"x": x + x[::-1], "y": y, "mode": "lines", "fill": "toself", "fillcolor": BAND, "line": line}
        figure.add_trace(go.Scatter(shape, hoverinfo="skip", meta="decoration"), row=row, col=1)
    for end, values in (("low", low), ("high", high)):
        unseen = go.Scatter(x=layers, y=values, name=f"{name}, {end}", mode="lines", line={"width": 0}, hoverinfo="skip")
        figure.add_trace(unseen, row=row, col=1)


def _stretches(present: list[bool]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i, here in enumerate(present):
        if here and i and present[i - 1]:
            runs[-1].append(i)
        elif here:
            runs.append([i])
    return runs


def _mark(figure: go.Figure, layer: int, layers: list[int], panels: int) -> None:
    if layer not in layers:
        raise DataError(f"the recommended layer {layer} is not in the table, which has layers {layers[0]} to {layers[-1]}")
    place = (layer - layers[0]) / ((layers[-1] - layers[0]) or 1)
    anchor = "left" if place < 0.3 else "right" if place > 0.7 else "center"
    shape = {"type": "line", "x0": layer, "x1": layer, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below"}
    for row in range(1, panels + 1):
        figure.add_shape(shape, line={"width": 1.6, "color": NEUTRAL}, row=row, col=1)
    above = {"x": layer, "xref": "x", "xanchor": anchor, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 40}
    figure.add_annotation(above, text=f"<b>recommended: layer {layer}</b>", showarrow=False)
