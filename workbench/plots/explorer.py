"""Persona space, axis and loadings in one figure, moved together from layer to layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .line import COLUMNS as PLACES
from .line import stack_levels
from .space import CAMERA, axis_titles, label_rows
from .theme import NEUTRAL, dress, one_line, present, role_records, safe, wrapped

COMPONENTS: tuple[str, ...] = ("pc1", "pc2", "pc3")
LOADINGS = ("loading1", "loading2", "loading3")
NEEDED = ["layer", "role", "is_default", *COMPONENTS, *LOADINGS, "projection"]
HEIGHT = 680
WIDE = {"space": [0.0, 0.5], "right": [0.62, 1.0], "space_y": [0.0, 1.0], "line_y": [0.58, 1.0], "loadings_y": [0.0, 0.38]}
NARROW = {"space": [0.0, 1.0], "right": [0.1, 1.0], "space_y": [0.56, 1.0], "line_y": [0.31, 0.47], "loadings_y": [0.0, 0.22]}
"""Where the panels stand: beside each other, and below each other on a phone (``layout.meta`` tells a page how)."""
SPREAD = 0.3
"""How far the points of one loading's row are spread up and down, so that they hide each other less; heights mean nothing."""
PANELS = ("persona space", "axis", "loadings on PC1", "loadings on PC2", "loadings on PC3")
TRACES = 2 * len(PANELS)
AMONG = [-1, -0.5, 0, 0.5, 1]


def persona_layers(
    frame: pd.DataFrame, facts: pd.DataFrame | None = None, start: int | None = None, dims: int = 2, dark: bool = False
) -> go.Figure:
    """Persona space, the axis and the loadings at one layer, with a slider that moves all three together.

    Each layer is drawn on its own scale: residual streams grow from layer to layer, and their units with them.

    Parameters
    ----------
    frame
        A row a layer and role, as from :func:`workbench.explorer.persona_layers`: ``layer, role, is_default``, scores
        ``pc1, pc2, pc3`` and ``projection`` (residual-stream units, + = Assistant), ``loading1, loading2, loading3`` (cosines). Every layer
        holds the same roles in the same order. ``frame.attrs`` may hold ``model``, ``start`` (layer) and ``explained`` (layer ->
        shares of variance).
    facts
        A row a role: ``role``, and optionally ``description`` and ``labels``, for hovering.
    start
        The layer shown first; that of the attributes, else the middle one.
    dims
        2 (PC1 and PC2 in equal units) or 3 (turn it with the pointer).
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, `dims` is neither 2 nor 3, the layers do not hold the same roles, or there is no layer `start`.
    """
    if dims not in (2, 3):
        raise DataError(f"a persona space is drawn in 2 or 3 dimensions, not {dims}")
    need(frame, NEEDED, "persona_layers")
    layers = [int(layer) for layer in dict.fromkeys(frame["layer"])]
    parts = {layer: _ordered(frame[frame["layer"] == layer]) for layer in layers}
    _same_roles(parts)
    start = int(frame.attrs.get("start", layers[len(layers) // 2])) if start is None else start
    if start not in parts:
        raise DataError(f"persona_layers has no layer {start} to begin with: the table holds {', '.join(map(str, layers))}")
    levels = {layer: _levels(part) for layer, part in parts.items()}
    reach = max(int(np.abs(values).max(initial=1)) for values in levels.values())
    figure = make_subplots(
        rows=2, cols=2, specs=[[{"type": "scene" if dims == 3 else "xy", "rowspan": 2}, {"type": "xy"}], [None, {"type": "xy"}]]
    )
    dress(figure, "Personas, layer by layer", {k: v for k, v in frame.attrs.items() if k == "model"}, dark, HEIGHT)
    moving = _traces(parts[start], levels[start], dims)
    names = _names(parts[start], facts)
    for position, trace in enumerate(moving):
        figure.add_trace(trace | _fixed(position, names, dims), row=1 if position < 4 else 2, col=1 if position < 2 else 2)
    shares = frame.attrs.get("explained", {})
    moved = {layer: _layout(part, shares.get(layer), dims, layer) for layer, part in parts.items()}
    figure.frames = [
        go.Frame(name=str(layer), data=_traces(part, levels[layer], dims), traces=list(range(TRACES)), layout=moved[layer])
        for layer, part in parts.items()
    ]
    _dress(figure, reach, dims)
    figure.update_layout(moved[start])
    figure.update_layout(sliders=[_slider(layers, start)])
    return figure


def _ordered(part: pd.DataFrame) -> pd.DataFrame:
    """The default last, so that it is drawn on top."""
    return part.sort_values("is_default", kind="stable").reset_index(drop=True)


def _same_roles(parts: dict[int, pd.DataFrame]) -> None:
    first, *others = parts.items()
    names = first[1]["role"].tolist()
    for layer, part in others:
        if part["role"].tolist() != names:
            raise DataError(f"persona_layers needs the same roles in the same order at every layer; layer {layer} differs from {first[0]}")


def _levels(part: pd.DataFrame) -> np.ndarray:
    """The height of every role on the line, in steps: 0, 1, -1, 2 ... [role], int8."""
    values = part["projection"].to_numpy(dtype=float)
    marker = (np.nanmax(values) - np.nanmin(values) or 1.0) / PLACES
    order = np.argsort(values, kind="stable")
    half = marker / 2
    stacked = stack_levels([(values[i] - half, values[i] + half) for i in order])
    levels = np.zeros(len(values), dtype=np.int8)
    levels[order] = stacked
    return levels


def _traces(part: pd.DataFrame, levels: np.ndarray, dims: int) -> list[dict[str, Any]]:
    """What changes from layer to layer: coordinates and colours of ten traces, packed as 32-bit numbers.

    Roles and default in turns: in persona space, along the axis, and their loadings on the three components.
    """
    default = part["is_default"].to_numpy(dtype=bool)
    numbers = {name: part[name].to_numpy(dtype=np.float32) for name in (*COMPONENTS, *LOADINGS, "projection")}
    traces: list[dict[str, Any]] = []
    for own in (~default, default):
        place = {axis: numbers[name][own] for axis, name in zip("xyz"[:dims], COMPONENTS, strict=False)}
        traces.append(place | {"type": "scatter3d" if dims == 3 else "scatter", "marker": {"color": numbers["projection"][own]}})
    for own in (~default, default):
        values = numbers["projection"][own]
        traces.append({"type": "scatter", "x": values, "y": levels[own], "marker": {"color": values}})
    shade = _shade(numbers["projection"])
    for name in LOADINGS:
        traces += [{"type": "scatter", "x": numbers[name][own], "marker": {"color": shade[own]}} for own in (~default, default)]
    return traces


def _shade(projection: np.ndarray) -> np.ndarray:
    """The colour of a projection as one of 256 steps between its layer's ends: enough for a colour that has no scale beside it."""
    low, high = float(np.nanmin(projection)), float(np.nanmax(projection))
    return np.round(255 * (projection - low) / ((high - low) or 1.0)).astype(np.uint8)


def _names(part: pd.DataFrame, facts: pd.DataFrame | None) -> tuple[list[str], list[str]]:
    """Names and hover texts of the roles, then of the default; both without anything that changes with the layer."""
    known = {} if facts is None else {str(row["role"]): row for row in facts.to_dict("records")}
    texts = []
    for role in part["role"]:
        row = known.get(str(role), {})
        lines = [f"<b>{wrapped(role)}</b>", *(wrapped(row[key]) for key in ("description", "labels") if present(row.get(key)))]
        texts.append("<br>".join(lines))
    return [safe(role) for role in part["role"]], texts


def _fixed(position: int, names: tuple[list[str], list[str]], dims: int) -> dict[str, Any]:
    """What a trace keeps at all layers: its look, names and hover text."""
    panel, default = divmod(position, 2)
    own = slice(-1, None) if default else slice(0, -1)
    texts, hovers = names[0][own], names[1][own]
    marker: dict[str, Any] = {"coloraxis": "coloraxis" if panel < 2 else "coloraxis2"}
    if default:
        marker |= {"symbol": "diamond", "size": 9 if panel == 0 and dims == 3 else 14, "line": {"width": 2.5, "color": NEUTRAL}}
    else:
        marker |= {"size": (5.5 if dims == 3 else 8, 7, 6, 6, 6)[panel]}
    where = (
        "PC1 %{x:.3g}, PC2 %{y:.3g}" + (", PC3 %{z:.3g}" if dims == 3 else "") if panel == 0 else "loading %{x:.2f}" if panel > 1 else ""
    )
    shown = ["%{hovertext}", where, "projection %{marker.color:.4g} (+ = Assistant)" if panel < 2 else ""]
    fixed: dict[str, Any] = {
        "mode": "markers",
        "name": PANELS[panel] + (", default" if default else ""),
        "showlegend": False,
        "marker": marker,
    }
    fixed |= {"hovertemplate": "<br>".join(filter(None, shown)) + "<extra></extra>", "text": texts}
    # The long texts where a role stands once; beside its loadings, which come in three rows, only its name.
    fixed |= {"hovertext": hovers} if panel < 2 else {"hovertext": texts, "meta": "shaded", "y": _row(4 - panel, len(texts))}
    return fixed


def _row(height: int, count: int) -> np.ndarray:
    """Heights of one component's loadings, spread by a rule that looks like chance and is the same every time."""
    jitter = (np.arange(count) * 0.6180339887 % 1 - 0.5) * 2 * SPREAD if count > 1 else np.zeros(count)
    return (height + jitter).astype(np.float32)


def _layout(part: pd.DataFrame, shares: Any, dims: int, layer: int) -> dict[str, Any]:
    """What of the layout changes with the layer: ranges, colours' ends, titles with shares of variance, and labels."""
    roles = role_records(part.assign(description=None), [*COMPONENTS, "projection"])
    low, high = float(part["projection"].min()), float(part["projection"].max())
    room = 0.06 * ((high - low) or 1.0)
    names = list(COMPONENTS[:dims])
    labelled = [roles[i] for i in label_rows(roles, names)]
    titles = axis_titles(shares, 3)
    layout: dict[str, Any] = {"coloraxis": {"cmin": low, "cmax": high}, "annotations": _headings(layer)}
    line, loadings = ("xaxis", "xaxis2") if dims == 3 else ("xaxis2", "xaxis3")
    layout[line] = {"range": [low - room, high + room]}
    layout["yaxis2" if dims == 3 else "yaxis3"] = {"ticktext": [title.split(" ")[0] for title in titles][::-1]}
    layout[loadings] = {"range": [-1.08, 1.08]}
    if dims == 3:
        scene: dict[str, Any] = {
            f"{axis}axis": {"title": {"text": text.replace(" ", "<br>", 1)}} for axis, text in zip("xyz", titles, strict=True)
        }
        layout["scene"] = scene | {"annotations": [_label(role, "xyz") for role in labelled]}
    else:
        layout["xaxis"] = {"title": {"text": titles[0]}} | _range(roles, "pc1")
        layout["yaxis"] = {"title": {"text": titles[1]}} | _range(roles, "pc2")
        layout["annotations"] = layout["annotations"] + [_label(role, "xy") for role in labelled]
    return layout


def _range(roles: list[dict[str, Any]], name: str) -> dict[str, Any]:
    values = [role[name] for role in roles if not math.isnan(role[name])] or [0.0]
    room = 0.12 * ((max(values) - min(values)) or 1.0)
    return {"range": [min(values) - room, max(values) + room]}


def _label(role: dict[str, Any], axes: str) -> dict[str, Any]:
    text = one_line(role["role"])
    place = {axis: role[name] for axis, name in zip(axes, COMPONENTS, strict=False)}
    shift = 20 if role["is_default"] else 12
    return place | {"text": f"<b>{text}</b>" if role["is_default"] else text, "showarrow": False, "yshift": shift, "font": {"size": 11}}


def _headings(layer: int) -> list[dict[str, Any]]:
    """Which layer, and what each panel on the right shows; the page moves them with the panels on a phone."""
    common = {"xref": "paper", "yref": "paper", "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
    return [
        common | {"x": WIDE["space"][0], "y": 1.0, "text": f"<b>Layer {layer}</b>", "font": {"size": 14}},
        common | {"x": WIDE["right"][0], "y": WIDE["line_y"][1], "text": "Along the axis"},
        common | {"x": WIDE["right"][0], "y": WIDE["loadings_y"][1], "text": "Loadings on the components"},
    ]


def _dress(figure: go.Figure, reach: int, dims: int) -> None:
    """What of the layout is the same at every layer."""
    line, loadings = ("", "2") if dims == 3 else ("2", "3")
    right = {"domain": WIDE["right"]}
    bar = {"title": {"text": "projection, + = Assistant"}, "x": 0.25, "y": -0.15, "len": 0.4, "nticks": 5}
    scale = list(figure.layout.template.layout.coloraxis.colorscale)
    figure.update_layout({
        f"xaxis{line}": right | {"title": {"text": "projection (residual-stream units),<br>+ = Assistant"}, "showline": True},
        f"yaxis{line}": {"visible": False, "range": [-reach - 1.5, reach + 1.5], "domain": WIDE["line_y"]},
        f"xaxis{loadings}": right | {"title": {"text": "cosine of the centred role with the component"}, "tickvals": AMONG},
        f"yaxis{loadings}": {"tickvals": [0, 1, 2], "range": [-0.5, 2.5], "domain": WIDE["loadings_y"], "showgrid": False},
        "coloraxis": {"colorbar": bar}, "coloraxis2": {"cmin": 0, "cmax": 255, "showscale": False, "colorscale": scale},
        "meta": {"wide": WIDE, "narrow": NARROW, "dims": dims}, "margin": {"t": 96, "b": 190}, "showlegend": False,
    })  # fmt: skip
    if dims == 3:
        # Further away than in a figure of its own: the panel is half as wide.
        eye = {axis: 1.3 * value for axis, value in CAMERA["eye"].items()}
        scene = {"aspectmode": "data", "camera": CAMERA | {"eye": eye}, "domain": {"x": WIDE["space"], "y": WIDE["space_y"]}}
        figure.update_layout(scene=scene)
    else:
        figure.update_layout(xaxis={"domain": WIDE["space"]}, yaxis={"domain": WIDE["space_y"], "scaleanchor": "x", "scaleratio": 1})


def _slider(layers: list[int], start: int) -> dict[str, Any]:
    """One step a layer; no easing, because a point between two layers is nothing that was measured."""
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "label": str(layer), "args": [[str(layer)], now]} for layer in layers]
    look = {"currentvalue": {"prefix": "layer "}, "x": 0, "len": 1, "y": -0.31, "pad": {"t": 0}, "ticklen": 3}
    return look | {"active": layers.index(start), "steps": steps}
