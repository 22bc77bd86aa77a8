"""Persona spaces of several studies beside each other."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .space import label_rows
from .theme import NEUTRAL, dress, one_line, role_records, safe

PANEL_PX, AROUND_PX = 420, 230
LINKED = "linked"
"""In ``layout.meta``: pointing at a role in one panel shows it in all, where the page has a script for it."""


def persona_spaces(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """The same roles in the persona spaces of several studies, a panel a study, on the same axes and ranges.

    The labels are those that :func:`persona_space` would give the first study, in every panel. In a saved page, pointing at a role
    shows it in all panels.

    Parameters
    ----------
    frame
        From :func:`workbench.compare.aligned`: ``study, role, is_default, pc1, pc2, z`` (0 = where a study's own default
        responses lie, + = beyond them; missing where a study has none: grey). Every study holds the same roles in the same order.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, there are fewer than two studies, or they do not hold the same roles.
    """
    need(frame, ["study", "role", "is_default", "pc1", "pc2", "z"], "persona_spaces")
    parts = {str(name): rows for name, rows in frame.groupby("study", sort=False)}
    if len(parts) < 2:
        raise DataError("persona_spaces needs at least two studies")
    studies = {name: role_records(rows.drop(columns="z").assign(z=rows["z"]), ["pc1", "pc2", "z"]) for name, rows in parts.items()}
    names = {name: [role["role"] for role in roles if not role["is_default"]] for name, roles in studies.items()}
    first = next(iter(names.values()))
    if different := [name for name, own in names.items() if own != first]:
        raise DataError(f"persona_spaces needs the same roles in the same order in every study; {different[0]} differs")
    figure = make_subplots(rows=1, cols=len(studies), subplot_titles=[safe(name) for name in studies], horizontal_spacing=0.07)
    dress(figure, "The same roles in several persona spaces", frame.attrs, dark, PANEL_PX + AROUND_PX)
    chosen = label_rows(next(iter(studies.values())), ["pc1", "pc2"])
    labelled = {next(iter(studies.values()))[i]["role"] for i in chosen}
    reach = 1.15 * max(abs(role[c]) for roles in studies.values() for role in roles for c in ("pc1", "pc2"))
    for col, (name, roles) in enumerate(studies.items(), start=1):
        for default in (False, True):
            if part := [role for role in roles if role["is_default"] == default]:
                figure.add_trace(_points(part, name, default), row=1, col=col)
        figure.update_xaxes(title_text="first study's PC1 (1 = a typical role's distance)", range=[-reach, reach], row=1, col=col)
        figure.update_yaxes(range=[-reach, reach], scaleanchor=f"x{col if col > 1 else ''}", scaleratio=1, row=1, col=col)
        for role in roles:
            if role["role"] in labelled:
                figure.add_annotation(_label(role), row=1, col=col)
    figure.update_yaxes(title_text="first study's PC2", row=1, col=1)
    known = [role["z"] for roles in studies.values() for role in roles if not math.isnan(role["z"])] or [0.0]
    title = "position on the axis, z-score of each study's default; + = Assistant"
    bar = {"y": -0.16, "nticks": 5, "title": {"text": title}, "len": 0.5}
    figure.update_layout(coloraxis={"cmin": min(known), "cmax": max(known), "colorbar": bar}, showlegend=False, meta=LINKED)
    return figure


def _points(part: list[dict[str, Any]], study: str, default: bool) -> go.Scatter:
    known = any(not math.isnan(role["z"]) for role in part)
    marker: dict[str, Any] = {"color": [role["z"] for role in part], "coloraxis": "coloraxis"} if known else {"color": NEUTRAL}
    marker |= {"size": 14, "symbol": "diamond", "line": {"width": 2.5, "color": NEUTRAL}} if default else {"size": 8}
    hover = [role["hover"] + ("" if math.isnan(role["z"]) else f"<br>z-score {role['z']:.1f}") for role in part]
    return go.Scatter(
        x=[role["pc1"] for role in part], y=[role["pc2"] for role in part], mode="markers", marker=marker, hovertext=hover,
        name=safe(study) + (", default" if default else ""), text=[safe(role["role"]) for role in part], hoverinfo="text",
    )  # fmt: skip


def _label(role: dict[str, Any]) -> dict[str, Any]:
    text = one_line(role["role"])
    shift = 16 if role["is_default"] else 12
    return {"x": role["pc1"], "y": role["pc2"], "yshift": shift, "showarrow": False, "font": {"size": 10}} | {
        "text": f"<b>{text}</b>" if role["is_default"] else text
    }
