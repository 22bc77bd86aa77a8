"""What a projection is made of: heads and MLPs as a map."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .theme import dress, numbers, safe

KINDS = ("embedding", "head", "bias", "mlp")
"""What a part can be."""
HEIGHT, LEAST_PX, MOST_PX = 460, 15, 34
"""Height that the layers share, and what one of them gets at least and at most, in pixels."""
CELL_PX, GAP_PX, TOP_PX, BOTTOM_PX = 26, 52, 110, 72
COLUMN = 0.13
"""Width of a column whose numbers are written in, as a share of the page: a number fits on a phone."""


def attribution_map(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """What every head (left) and MLP (right) adds to a projection, layers upwards, the embedding in a cell of its own below.

    Colours end at the largest head: MLPs, biases and the embedding are often larger, so their numbers stand in their cells.

    Parameters
    ----------
    frame
        A row a part: ``part`` (name), ``kind`` (``embedding, head, bias, mlp``), ``layer`` (0-based block; not read for the
        embedding), ``head`` (0-based; read for heads alone), ``contribution`` (residual-stream units, + = towards the
        direction's + end). A part that is absent or missing leaves a gap. ``frame.attrs`` may hold ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, a kind is unknown, no head has a contribution, or a part occurs twice.
    """
    need(frame, ["part", "kind", "layer", "head", "contribution"], "attribution_map")
    cells, embedding = _cells(frame)
    limit = max(abs(c["value"]) for c in cells.values() if c["kind"] == "head" and not math.isnan(c["value"])) or 1.0
    layers = sorted({layer for layer, _ in cells})
    heads = sorted(column for column in {column for _, column in cells} if isinstance(column, int))
    others = [kind for kind in ("bias", "mlp") if any(column == kind for _, column in cells)]
    inner = len(layers) * min(MOST_PX, max(LEAST_PX, HEIGHT // len(layers)))
    figure = _panels(frame, dark, inner, len(heads), len(others), bool(embedding))
    gap = 1 if max(len(layers), len(heads)) <= 24 else 0
    figure.add_trace(_map(cells, layers, heads, "head", gap), row=1, col=1)
    if others:
        figure.add_trace(_map(cells, layers, others, "layer", gap).update(_written("", limit)), row=1, col=2)
    if embedding:
        [part] = embedding
        cell = _map({(-1, "embedding"): part}, [-1], ["embedding"], "embedding", 0)
        figure.add_trace(cell.update(_written("embedding ", limit)), row=2, col=1)
    _dress_axes(figure, bool(others), bool(embedding))
    bar = {"y": 0, "yref": "container", "yanchor": "bottom", "len": 0.6}
    bar |= {"tickvals": [-limit, 0, limit], "ticktext": [signed(-limit), "0", signed(limit)]}
    figure.update_layout(coloraxis={"cmin": -limit, "cmax": limit, "colorbar": bar})
    _say_total(figure, [cell["value"] for cell in [*cells.values(), *embedding]], limit)
    return figure


def signed(value: float) -> str:
    """``+1.23``, ``−0.0456``, ``+1234``."""
    return (f"{value:+.0f}" if abs(value) >= 1000 else f"{value:+.3g}").replace("-", "−")


def _cells(frame: pd.DataFrame) -> tuple[dict[tuple[int, int | str], dict[str, Any]], list[dict[str, Any]]]:
    """Parts by layer and column (a head's number, ``bias`` or ``mlp``), and the embedding, if any."""
    values, layers, heads = (numbers(frame, name) for name in ("contribution", "layer", "head"))
    cells: dict[tuple[int, int | str], dict[str, Any]] = {}
    for name, kind, layer, head, value in zip(frame["part"], frame["kind"], layers, heads, values, strict=True):
        if kind not in KINDS:
            raise DataError(f"the kind of a part is one of {', '.join(KINDS)}, not {kind!r}")
        if (kind != "embedding" and math.isnan(layer)) or (kind == "head" and math.isnan(head)):
            raise DataError(f"attribution_map needs a place for every part; {name} has no layer or no head")
        place = (-1, "embedding") if kind == "embedding" else (int(layer), int(head) if kind == "head" else str(kind))
        if place in cells:
            raise DataError(f"attribution_map needs one row a part; {name} occurs twice")
        cells[place] = {"name": safe(name), "kind": str(kind), "value": value if math.isfinite(value) else math.nan}
    if not any(cell["kind"] == "head" and not math.isnan(cell["value"]) for cell in cells.values()):
        raise DataError("attribution_map needs the contribution of at least one head; all are missing")
    embedding = cells.pop((-1, "embedding"), None)
    return cells, [embedding] if embedding else []


def _panels(frame: pd.DataFrame, dark: bool, inner: int, heads: int, others: int, embedding: bool) -> go.Figure:
    """Heads and the rest side by side, below them the embedding."""
    right = max(COLUMN * others, 0.9 * others / (others + heads)) if others else 0.0
    shape: dict[str, Any] = {"cols": 2 if others else 1, "column_widths": [1 - right, right] if others else None}
    total = inner + (GAP_PX + CELL_PX if embedding else 0)
    if embedding:
        below = [{"colspan": 2}, None] if others else [{}]
        shape |= {"specs": [[{}] * shape["cols"], below], "row_heights": [inner, CELL_PX], "vertical_spacing": GAP_PX / total}
    figure = make_subplots(rows=2 if embedding else 1, horizontal_spacing=0.02, **shape)
    dress(figure, "Parts of the projection", frame.attrs, dark, total + TOP_PX + BOTTOM_PX)
    figure.update_layout(margin={"t": TOP_PX, "b": BOTTOM_PX})
    return figure


def _dress_axes(figure: go.Figure, others: bool, embedding: bool) -> None:
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_xaxes(title_text="head", tickangle=0, row=1, col=1)
    figure.update_yaxes(title_text="layer", row=1, col=1)
    if others:
        figure.update_yaxes(showticklabels=False, matches="y", row=1, col=2)
    if embedding:
        figure.update_xaxes(visible=False, row=2)
        figure.update_yaxes(visible=False, row=2)


def _map(cells: dict[tuple[int, int | str], dict[str, Any]], layers: list[int], columns: list, name: str, gap: int) -> go.Heatmap:
    absent = {"name": "", "value": math.nan}
    rows = [[cells.get((layer, column), absent) for column in columns] for layer in layers]
    return go.Heatmap(
        x=columns, y=layers, z=[[cell["value"] for cell in row] for row in rows], name=name, coloraxis="coloraxis",
        hovertext=[[f"<b>{cell['name']}</b><br>{signed(cell['value'])}" for cell in row] for row in rows], hoverinfo="text",
        xgap=gap, ygap=gap, hoverongaps=False,
    )  # fmt: skip


def _written(name: str, limit: float) -> dict[str, Any]:
    """Numbers written into the cells, with as many decimals as tell the largest head to two digits: so they fit on a phone."""
    decimals = max(0, 1 - math.floor(math.log10(limit)))
    return {"texttemplate": f"{name}%{{z:+.{decimals}f}}", "textfont": {"size": 10}}


def _say_total(figure: go.Figure, values: list[float], limit: float) -> None:
    """Under the title: what all parts add up to, and what colours mean."""
    known = [value for value in values if not math.isnan(value)]
    which = "contributions" if len(known) == len(values) else "known contributions"
    lines = [figure.layout["title"]["subtitle"]["text"], f"{which} add up to {signed(sum(known))} residual-stream units"]
    lines.append("+ = direction's + end" + ("; colours end at the largest head" if any(abs(v) > limit for v in known) else ""))
    figure.update_layout(title={"subtitle": {"text": "<br>".join(filter(None, lines))}})
