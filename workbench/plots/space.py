"""Roles as points in the space of their principal components."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from ..frames import need
from .theme import NEUTRAL, new_figure, one_line, role_records, safe

MAX_LABELS, MAX_TURNS = 12, 6
CAMERA = {"eye": {"x": 0.5, "y": -1.7, "z": 0.64}, "center": {"x": 0, "y": 0, "z": -0.17}}
"""PC1 runs to the right, where the Assistant lies in the other figures too."""
PROJECTION_TITLE = "projection on the axis, + = Assistant"


def persona_space(frame: pd.DataFrame, dims: int = 3, colour: str = "projection", dark: bool = False) -> go.Figure:
    """Roles in persona space: a point a role, the default as an outlined diamond.

    Labelled are the default and at most 11 roles: in turns over the components shown, the role furthest to each end,
    then the next furthest, and so on to the sixth, until there are 12 labels. A role whose label would lie on another, seen as
    the figure is first shown, is passed over; all others say their names on hovering.

    Parameters
    ----------
    frame
        A row a role: ``role``, ``is_default`` (bool), ``pc1, pc2`` and, in three dimensions, ``pc3`` (scores in units
        of the residual stream), `colour`; optionally ``description``, ``n`` (responses), ``label_0`` to ``label_3``
        (counts of the judge's labels). ``frame.attrs`` may hold ``explained`` (shares of variance by component, 0 to 1),
        ``model`` and ``layer``.
    dims
        3 (turn it with the pointer) or 2 (PC1 and PC2 in equal units).
    colour
        A column of numbers. ``projection`` (residual-stream units, + = Assistant) is drawn from vermilion over white,
        the midpoint between its smallest and largest value, to blue at the Assistant's end; any other column on a
        scale without that meaning.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, or `dims` is neither 2 nor 3.
    """
    if dims not in (2, 3):
        raise DataError(f"a persona space is drawn in 2 or 3 dimensions, not {dims}")
    components = [f"pc{i}" for i in range(1, dims + 1)]
    need(frame, ["role", "is_default", *components, colour], "persona_space")
    roles = role_records(frame, [*components, colour])
    figure = new_figure("Persona space", frame.attrs, dark, height=560)
    titles = axis_titles(frame.attrs.get("explained"), dims)
    for name, part in (("role", [r for r in roles if not r["is_default"]]), ("default", [r for r in roles if r["is_default"]])):
        if part:
            figure.add_trace(_points(part, components, colour, name))
    labelled = [roles[i] for i in label_rows(roles, components)]
    if dims == 3:
        broken = [title.replace(" ", "<br>", 1) for title in titles]
        scene: dict[str, Any] = {f"{axis}axis": {"title": {"text": text}} for axis, text in zip("xyz", broken, strict=True)}
        # Close enough to fill the box; the third component gets the room that its variance deserves.
        scene |= {"aspectmode": "data", "camera": CAMERA, "domain": {"y": [0.13, 1]}}
        figure.add_traces([_outline(role) for role in roles if role["is_default"]])
        figure.update_layout(scene=scene | {"annotations": [_label_3d(role) for role in labelled]})
    else:
        figure.update_xaxes(title_text=titles[0])
        figure.update_yaxes(title_text=titles[1], scaleanchor="x", scaleratio=1)
        for role in labelled:
            figure.add_annotation(_label_2d(role, roles))
    figure.update_layout(coloraxis=_colour_axis(roles, colour, y=0.12 if dims == 3 else -0.16), showlegend=False)
    return figure


def axis_titles(explained: object, dims: int) -> list[str]:
    """``PC1 (53 % of variance)``; without shares just ``PC1``."""
    shares = list(explained) if isinstance(explained, (list, tuple)) else []
    return [f"PC{i + 1}" + (f" ({shares[i]:.0%} of variance)".replace("%", " %") if i < len(shares) else "") for i in range(dims)]


def label_rows(roles: list[dict[str, Any]], components: list[str], room: float = 1.0) -> list[int]:
    """Which roles get a label (their positions); the rule is that of :func:`persona_space`.

    `room` is how many times as much of the panel a name takes as in a figure of one panel.
    """
    chosen = [i for i, role in enumerate(roles) if role["is_default"]][:MAX_LABELS]
    known = [i for i, role in enumerate(roles) if not role["is_default"] and not any(math.isnan(role[c]) for c in components)]
    span = max((_extent(roles, c)[1] for c in components), default=0.0) or 1.0
    orders = [sorted(known, key=lambda i, c=c: roles[i][c]) for c in components]
    for turn in range(min(MAX_TURNS, len(known))):
        for order in orders:
            for i in (order[turn], order[-1 - turn]):
                if len(chosen) >= MAX_LABELS:
                    return chosen
                if i not in chosen and not _crowded(roles[i], [roles[k] for k in chosen], components, room * span):
                    chosen.append(i)
    return chosen


def _extent(roles: list[dict[str, Any]], column: str) -> tuple[float, float]:
    """Smallest value of a column, and the distance to the largest."""
    values = [role[column] for role in roles if not math.isnan(role[column])] or [0.0]
    return min(values), max(values) - min(values)


def _crowded(role: dict[str, Any], others: list[dict[str, Any]], components: list[str], span: float) -> bool:
    """Whether two labels would collide on the screen: names are wide and low, so they need more room across than up."""
    across, up = on_screen(role, components)
    places = (on_screen(other, components) for other in others)
    return any(abs(across - x) < 0.2 * span and abs(up - y) < 0.06 * span for x, y in places)


def on_screen(role: dict[str, Any], components: list[str]) -> tuple[float, float]:
    """How far right and how far up a role is first seen, in units of the scores (perspective left aside)."""
    if len(components) == 2:
        return role[components[0]], role[components[1]]
    ahead = -np.array([CAMERA["eye"][axis] for axis in "xyz"])
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    up = np.cross(right, ahead)
    place = np.array([role[c] for c in components])
    return float(place @ right / np.linalg.norm(right)), float(place @ up / np.linalg.norm(up))


def _points(part: list[dict[str, Any]], components: list[str], colour: str, name: str) -> go.Scatter | go.Scatter3d:
    flat = len(components) == 2
    size = (9 if flat else 5.5) if name == "role" else (15 if flat else 9)
    marker = {"color": [role[colour] for role in part], "coloraxis": "coloraxis", "size": size}
    if name == "default":
        marker |= {"symbol": "diamond", "line": {"width": 2.5, "color": NEUTRAL}}
    values = {axis: [role[c] for role in part] for axis, c in zip("xyz", components, strict=False)}
    texts = {"text": [safe(role["role"]) for role in part], "hovertext": [role["hover"] for role in part], "hoverinfo": "text"}
    shape = go.Scatter if flat else go.Scatter3d
    return shape(values | texts, mode="markers", name=name, marker=marker)


def _outline(role: dict[str, Any]) -> go.Scatter3d:
    """In three dimensions Plotly draws no outline wider than a pixel: a larger open diamond stands in for it."""
    place = {"x": [role["pc1"]], "y": [role["pc2"]], "z": [role["pc3"]]}
    marker = {"symbol": "diamond-open", "size": 12, "color": NEUTRAL, "line": {"width": 2}}
    return go.Scatter3d(place, mode="markers", marker=marker, name="default", hoverinfo="skip", meta="decoration")


def _label_2d(role: dict[str, Any], roles: list[dict[str, Any]]) -> dict[str, Any]:
    """Above the point, and turned inwards near the sides so that a narrow page cuts nothing off."""
    low, span = _extent(roles, "pc1")
    share = (role["pc1"] - low) / (span or 1.0)
    anchor = "left" if share < 0.2 else "right" if share > 0.8 else "center"
    place = {"x": role["pc1"], "y": role["pc2"], "xanchor": anchor, "yshift": 17 if role["is_default"] else 14}
    return place | {"text": _label(role), "showarrow": False, "font": {"size": 11}}


def _label_3d(role: dict[str, Any]) -> dict[str, Any]:
    place = {"x": role["pc1"], "y": role["pc2"], "z": role["pc3"]}
    return place | {"text": _label(role), "showarrow": False, "yshift": 20 if role["is_default"] else 12, "font": {"size": 11}}


def _label(role: dict[str, Any]) -> str:
    return f"<b>{one_line(role['role'])}</b>" if role["is_default"] else one_line(role["role"])


def _colour_axis(roles: list[dict[str, Any]], colour: str, y: float) -> dict[str, Any]:
    low, span = _extent(roles, colour)
    title = PROJECTION_TITLE if colour == "projection" else safe(colour)
    axis = {"cmin": low, "cmax": low + span, "colorbar": {"y": y, "nticks": 5, "title": {"text": title}}}
    # Blue and vermilion are reserved for the axis: other quantities get a scale of their own.
    return axis if colour == "projection" else axis | {"colorscale": "Cividis"}
