"""Roles on pairs of components, flat, for print: equal units both ways, and how sure each place is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .space import MAX_LABELS, PROJECTION_TITLE, axis_titles, label_rows
from .theme import NEUTRAL, dress, one_line, role_records, safe

SURE = math.sqrt(5.991)
"""Radius, in standard deviations, of the ellipse that holds 95 % of a normal distribution in the plane."""
CORNERS = 41
TOP_PX, PANEL_PX, BOTTOM_PX = 80, 330, 130


def persona_pairs(
    frame: pd.DataFrame,
    spread: pd.DataFrame | None = None,
    pairs: Sequence[tuple[int, int]] = ((1, 2), (1, 3), (2, 3)),
    named: int = MAX_LABELS,
    dark: bool = False,
) -> go.Figure:
    """Roles on pairs of components, a panel a pair, with 95 % ellipses of each role's place.

    In every panel the default is labelled and some roles, chosen as in :func:`persona_space`.

    Parameters
    ----------
    frame
        As for :func:`persona_space`: ``role, is_default, pc1, pc2, pc3`` (as far as they are drawn), ``projection``.
    spread
        From :func:`workbench.role_spread.role_spread`: ``role, var1, var2, var3, cov12, cov13, cov23`` (squared units of the scores). Roles
        without one have no ellipse.
    pairs
        Which components, 1-based.
    named
        Labels in a panel at most.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or a pair names a component twice.
    """
    if bad := [pair for pair in pairs if len(set(pair)) != 2] or not pairs:
        raise DataError(f"persona_pairs needs pairs of two different components, not {bad[0] if isinstance(bad, list) else 'none'}")
    components = sorted({f"pc{i}" for pair in pairs for i in pair})
    need(frame, ["role", "is_default", *components, "projection"], "persona_pairs")
    roles = role_records(frame, [*components, "projection"])
    titles = axis_titles(frame.attrs.get("explained"), max(max(pair) for pair in pairs))
    known = {} if spread is None else {str(row["role"]): row for row in spread.to_dict("records")}
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.09)
    dress(figure, "Persona space, two components at a time", frame.attrs, dark, TOP_PX + PANEL_PX + BOTTOM_PX)
    for col, (across, up) in enumerate(pairs, start=1):
        if known:
            figure.add_trace(_ellipses(roles, known, across, up), row=1, col=col)
        for default in (False, True):
            part = [role for role in roles if role["is_default"] == default]
            if part:
                figure.add_trace(_points(part, across, up, default), row=1, col=col)
        figure.update_xaxes(title_text=titles[across - 1], row=1, col=col)
        figure.update_yaxes(title_text=titles[up - 1], scaleanchor=f"x{col if col > 1 else ''}", scaleratio=1, row=1, col=col)
        for i in label_rows(roles, [f"pc{across}", f"pc{up}"], room=len(pairs))[:named]:
            figure.add_annotation(_label(roles[i], f"pc{across}", f"pc{up}"), row=1, col=col)
    values = [role["projection"] for role in roles if not math.isnan(role["projection"])] or [0.0]
    bar = {"y": -0.24, "nticks": 5, "title": {"text": PROJECTION_TITLE}, "len": 0.45}
    figure.update_layout(coloraxis={"cmin": min(values), "cmax": max(values), "colorbar": bar}, showlegend=False)
    return figure


def ellipse(cov: np.ndarray, radius: float = SURE) -> tuple[np.ndarray, np.ndarray]:
    """The outline [point] of the ellipse that a covariance [2, 2] draws about the origin."""
    values, vectors = np.linalg.eigh(cov)
    angles = np.linspace(0, 2 * math.pi, CORNERS)
    outline = vectors @ (np.sqrt(np.clip(values, 0, None))[:, None] * np.stack([np.cos(angles), np.sin(angles)])) * radius
    return outline[0], outline[1]


def _ellipses(roles: list[dict[str, Any]], known: dict[str, Any], across: int, up: int) -> go.Scatter:
    """All ellipses of a panel as one line with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    cross = f"cov{min(across, up)}{max(across, up)}"
    for role in roles:
        row = known.get(str(role["role"]), {})
        cov = np.array([[row.get(f"var{across}", np.nan), row.get(cross, np.nan)], [row.get(cross, np.nan), row.get(f"var{up}", np.nan)]])
        if np.isfinite(cov).all():
            right, above = ellipse(cov)
            x += [*(role[f"pc{across}"] + right).tolist(), None]
            y += [*(role[f"pc{up}"] + above).tolist(), None]
    line = {"color": NEUTRAL, "width": 0.7}
    return go.Scatter(x=x, y=y, mode="lines", name="95 % ellipse", line=line, opacity=0.75, hoverinfo="skip", meta="decoration")


def _points(part: list[dict[str, Any]], across: int, up: int, default: bool) -> go.Scatter:
    """A panel's roles, or its default, by a name that says which components their numbers belong to."""
    marker: dict[str, Any] = {"color": [role["projection"] for role in part], "coloraxis": "coloraxis", "size": 14 if default else 7}
    if default:
        marker |= {"symbol": "diamond", "line": {"width": 2.5, "color": NEUTRAL}}
    return go.Scatter(
        x=[role[f"pc{across}"] for role in part], y=[role[f"pc{up}"] for role in part], mode="markers", marker=marker,
        name=f"{'default' if default else 'role'}, PC{across} and PC{up}",
        text=[safe(role["role"]) for role in part], hovertext=[role["hover"] for role in part], hoverinfo="text",
    )  # fmt: skip


def _label(role: dict[str, Any], across: str, up: str) -> dict[str, Any]:
    text = one_line(role["role"])
    place = {"x": role[across], "y": role[up], "yshift": 16 if role["is_default"] else 12}
    return place | {"text": f"<b>{text}</b>" if role["is_default"] else text, "showarrow": False, "font": {"size": 10}}
