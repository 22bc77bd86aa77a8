"""What else a projection goes with, and the axis fitted again where that can play no part."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .sweep import BOTTOM_PX, GAP_PX, PANEL_PX, TOP_PX, Panel, draw_panel
from .theme import NEUTRAL, dress, new_figure, numbers

ROW_PX, AROUND_PX = 62, 180
KINDS = (
    ("r", "over all responses", "circle", ("low", "high"), 0.14),
    ("within", "within roles", "diamond-open", ("within_low", "within_high"), -0.14),
)
TITLES = {
    "tokens": "length in tokens",
    "markdown": "Markdown per 100 characters",
    "truncated": "cut off",
    "of_ai": "talks of being an AI",
    "of_role": "names its role",
}
VARIANTS = {
    "all tokens": "the same responses as the others, for comparison",
    "tokens 1-64": "only the beginnings of responses",
    "words masked": "without names of roles and talk of being an AI",
    "length-matched": "the default weighted to the roles' lengths",
}


def covariates(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Correlation of covariates with projections, over all responses (dots) and within roles (open diamonds).

    Parameters
    ----------
    frame
        A row a covariate: ``covariate``, ``r, low, high`` and ``within, within_low, within_high`` (-1 to 1; + = the
        covariate rises towards the Assistant), ``default, roles`` (means), ``n`` (responses). One that does not vary
        stands in its row with words. ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing.
    """
    columns = ["covariate", "default", "roles", "r", "low", "high", "within", "within_low", "within_high", "n"]
    need(frame, columns, "covariates")
    figure = new_figure("What else the projection goes with", frame.attrs, dark, AROUND_PX + ROW_PX * len(frame))
    places = dict(zip(frame["covariate"], range(len(frame) - 1, -1, -1), strict=True))
    for column, name, symbol, ends, shift in KINDS:
        rows = frame.dropna(subset=[column, *ends])
        values, (low, high) = numbers(rows, column), [numbers(rows, end) for end in ends]
        means = [numbers(rows, side) for side in ("default", "roles")]
        hover = [f"{name}: {v:.2f} [{a:.2f}, {b:.2f}]<br>mean of default responses {d:.3g}, of roles' {r:.3g}"
                 for v, a, b, d, r in zip(values, low, high, *means, strict=True)]  # fmt: skip
        error = {"type": "data", "symmetric": False, "thickness": 1.3, "width": 0} | {
            "array": [b - v for v, b in zip(values, high, strict=True)],
            "arrayminus": [v - a for v, a in zip(values, low, strict=True)],
        }
        marker = {"size": 9, "symbol": symbol, "line": {"width": 1.5}}
        trace = go.Scatter(
            x=values, y=[places[covariate] + shift for covariate in rows["covariate"]], mode="markers", name=name, marker=marker,
            error_x=error, text=hover, hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(trace)
    for covariate, value in zip(frame["covariate"], numbers(frame, "r"), strict=True):
        if math.isnan(value):
            figure.add_annotation(x=0, y=places[covariate], text="does not vary", showarrow=False, font={"size": 11}, yshift=10)
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    names = [TITLES.get(str(name), str(name)) for name in frame["covariate"]]
    figure.update_yaxes(tickvals=list(places.values()), ticktext=names, range=[-0.6, len(frame) - 0.4], showgrid=False)
    figure.update_xaxes(title_text="correlation; + rises towards<br>the Assistant", range=[-1.05, 1.05])
    figure.update_layout(margin={"b": 90}, showlegend=True)
    return figure


def axis_again(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Cosine of the main axis with the axis fitted again, by layer, a panel a variant, with intervals as bands.

    Parameters
    ----------
    frame
        A row a variant and layer: ``variant, layer, cosine, low, high``. ``frame.attrs`` may hold ``model``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or a variant and layer occur twice.
    """
    need(frame, ["variant", "layer", "cosine", "low", "high"], "axis_again")
    if frame.duplicated(["variant", "layer"]).any():
        raise DataError("axis_again needs one row a variant and layer; one occurs twice")
    names = list(dict.fromkeys(map(str, frame["variant"])))
    inner = len(names) * PANEL_PX + (len(names) - 1) * GAP_PX
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / inner if len(names) > 1 else 0)
    attrs = {k: v for k, v in frame.attrs.items() if k != "layer"}
    dress(figure, "The axis again", attrs, dark, inner + TOP_PX + BOTTOM_PX)
    floor = min(0.0, *numbers(frame, "low"))
    for row, name in enumerate(names, start=1):
        rows = frame[frame["variant"] == name].sort_values("layer").rename(columns={"low": "cosine_low", "high": "cosine_high"})
        draw_panel(figure, rows, Panel(name.capitalize(), VARIANTS.get(name, "cosine with the axis"), {"cosine": "cosine"}, guide=1), row)
        figure.update_yaxes(range=[floor - 0.05, 1.08], tickvals=[0, 0.5, 1], row=row)
    layers = sorted({int(n) for n in frame["layer"]})
    step = max(1, math.ceil(len(layers) / 12))
    figure.update_xaxes(range=[layers[0] - 0.5, layers[-1] + 0.5], tick0=layers[0], dtick=step, showgrid=False)
    figure.update_xaxes(title_text="layer", row=len(names))
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, showlegend=False, hovermode="x")
    return figure
