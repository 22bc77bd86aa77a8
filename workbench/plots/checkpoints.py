"""When does the axis appear? One place along x for each model, in the order of training."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .sweep import BOTTOM_PX, GAP_PX, PANEL_PX, TOP_PX, Panel, draw_panel
from .theme import dress, safe

READ = (
    Panel("Cosine with the last model's axis", "axes fitted on the same texts; ideal 1", {"cosine": "cosine"}, guide=1),
    Panel(
        "AUC", "solid: own axis, dashed: the last's; chance 0.5",
        {"auc": "own axis", "auc_transferred": "the last model's axis"}, guide=0.5,
    ),
    Panel("Roles in the same order", "r of roles' projections with the last's; ideal 1", {"r": "r"}, guide=1),
)  # fmt: skip
NAME = 14
NAMES = {"score": "nearness to the Assistant", "of_ai": "talk of being an AI"}


def checkpoints(frame: pd.DataFrame, scores: pd.DataFrame | None = None, dark: bool = False) -> go.Figure:
    """The same texts read by several models, and their continuations steered, from the first model to the last.

    Parameters
    ----------
    frame
        A row a model, at one layer, in the order of training: ``model, cosine, auc, auc_transferred, r``, each of the first
        three with optional ``*_low, *_high``. ``frame.attrs`` may hold ``model`` and ``layer``.
    scores
        A row a model and strength: ``model, strength``, and ``score`` or, where that is missing, ``of_ai``, with
        ``*_low, *_high``. The panel shows the lowest strength (dotted), none (dashed) and the highest (solid).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or a model occurs twice.
    """
    need(frame, ["model", "cosine", "auc", "auc_transferred", "r"], "checkpoints")
    if frame["model"].duplicated().any():
        raise DataError("checkpoints needs one row a model; one occurs twice: choose a layer")
    frame = frame.reset_index(drop=True).assign(layer=range(len(frame)))
    panels = [(panel, frame) for panel in READ]
    if scores is not None:
        panels.append(_steered(scores, list(frame["model"])))
    inner = len(panels) * PANEL_PX + (len(panels) - 1) * GAP_PX
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / inner)
    dress(figure, "When does the axis appear?", frame.attrs, dark, inner + TOP_PX + BOTTOM_PX)
    for row, (panel, table) in enumerate(panels, start=1):
        draw_panel(figure, table, panel, row)
    # Checkpoints of one model differ in the ends of their names.
    names = [safe(name if len(name) <= NAME else "…" + name[1 - NAME :]) for name in map(str, frame["model"])]
    figure.update_xaxes(range=[-0.4, len(frame) - 0.6], tickvals=list(range(len(frame))), ticktext=names, showgrid=False)
    figure.update_yaxes(nticks=4)
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX}, showlegend=False, hovermode="x")
    return figure


def _steered(scores: pd.DataFrame, models: list[str]) -> tuple[Panel, pd.DataFrame]:
    """The panel of steered continuations, and its table: a row a model, a column a strength."""
    need(scores, ["model", "strength"], "checkpoints, the scores")
    column = "score" if "score" in scores and scores["score"].notna().all() else "of_ai"
    need(scores, [column], "checkpoints, the scores")
    strengths = sorted(scores["strength"].unique())
    shown = dict.fromkeys((strengths[-1], 0.0, strengths[0]))
    table, lines = pd.DataFrame({"layer": range(len(models))}), {}
    for number, strength in enumerate(shown):
        rows = scores[scores["strength"] == strength].set_index("model").reindex(models)
        lines[f"s{number}"] = f"steered {strength:+g}" if strength else "not steered"
        for end in ("", "_low", "_high"):
            if f"{column}{end}" in rows:
                table[f"s{number}{end}"] = rows[f"{column}{end}"].to_numpy()
    said = f"solid {strengths[-1]:+g}, dashed not steered, dotted {strengths[0]:+g}"
    return Panel(f"Steered: {NAMES[column]}", said, lines), table
