"""Where a prompt acts: what one token's residual stream restores, by layer."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ..errors import DataError
from ..frames import need
from .attribution import signed
from .lens import spelled
from .theme import NEUTRAL, new_figure, numbers, present, safe

HEIGHT, LEAST_PX, MOST_PX, TITLE_PX = 460, 14, 34, 130
"""Height that the layers share, what one of them gets at least and at most, and what the axis's title needs, in pixels."""
WIDTH = 12
"""Characters of a token below the map."""
TOP_PX, BOTTOM_PX = 140, 164


def patching_map(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """How far one token's residual stream, taken from the donor, carries the projection there: layers upwards, tokens along.

    Colours are symmetric about 0 and blue is where the projection rises, whichever way the donor lies. A line marks
    where the message that is read begins.

    Parameters
    ----------
    frame
        A row a patched layer and token: ``layer`` (0-based block), ``token`` (position), ``text`` (the token), ``inside``
        (bool: it belongs to the message that is read), ``projection`` (residual-stream units, + = towards the
        direction's + end), ``restored`` (share of the way from the conversation's own projection, 0, to the donor's, 1).
        A missing pair leaves a gap. ``frame.attrs`` may hold ``own`` and ``donor`` (the two projections), ``read_at``
        (the layer they are read at) and ``model``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, nothing is restored anywhere, or a layer and token occur twice.
    """
    need(frame, ["layer", "token", "text", "inside", "projection", "restored"], "patching_map")
    cells = _cells(frame)
    layers, tokens = sorted({layer for layer, _ in cells}), sorted({token for _, token in cells})
    first = {token: cell for (_, token), cell in reversed(cells.items())}
    inner = max(TITLE_PX, len(layers) * min(MOST_PX, max(LEAST_PX, HEIGHT // len(layers))))
    figure = new_figure("Where the prompt acts", {}, dark, inner + TOP_PX + BOTTOM_PX)
    figure.update_layout(title={"subtitle": {"text": _subtitle(frame.attrs)}}, margin={"t": TOP_PX, "b": BOTTOM_PX})
    figure.add_trace(_map(cells, layers, tokens))
    # Plotly thins the labels of a category axis to what the page has room for, and takes the words from the aliases.
    figure.update_xaxes(type="category", labelalias={str(n): spelled(first[n]["text"], WIDTH) for n in tokens})
    figure.update_xaxes(title_text="token", tickangle=-90, tickfont_size=10, showgrid=False)
    figure.update_yaxes(type="category", title_text="patched after layer", showgrid=False)
    _mark(figure, [first[n]["inside"] for n in tokens])
    _scale(figure, list(cells.values()))
    return figure


def _subtitle(attrs: dict[Any, Any]) -> str:
    """What was read, and what 0 and 1 mean."""
    known = [str(attrs["model"])] if "model" in attrs else []
    known += [f"read at layer {attrs['read_at']}"] if "read_at" in attrs else []
    own, donor = (f" ({signed(float(attrs[key]))})" if present(attrs.get(key)) else "" for key in ("own", "donor"))
    lines = [safe(", ".join(known)), f"restored: 0 = the conversation's own projection{own}", f"1 = the donor's{donor}"]
    return "<br>".join(filter(None, lines))


def _cells(frame: pd.DataFrame) -> dict[tuple[int, int], dict[str, Any]]:
    """What was found, by layer and token."""
    columns = [numbers(frame, name) for name in ("layer", "token", "projection", "restored")]
    cells: dict[tuple[int, int], dict[str, Any]] = {}
    for layer, token, projection, restored, text, inside in zip(*columns, frame["text"], frame["inside"], strict=True):
        if math.isnan(layer + token):
            raise DataError(f"patching_map needs a layer and a position for every row; one of {text!r} is missing")
        if (int(layer), int(token)) in cells:
            raise DataError(f"patching_map needs one row a layer and token; token {token:g} at layer {layer:g} occurs twice")
        said = {"projection": projection, "restored": restored, "text": text, "inside": present(inside) and bool(inside)}
        cells[int(layer), int(token)] = said
    if all(math.isnan(cell["restored"]) for cell in cells.values()):
        raise DataError("patching_map needs at least one share restored; all are missing")
    return cells


def _map(cells: dict[tuple[int, int], dict[str, Any]], layers: list[int], tokens: list[int]) -> go.Heatmap:
    absent = {"projection": math.nan, "restored": math.nan, "text": ""}
    # On hovering Plotly would put the token's words in place of its position, too: so the text holds both.
    rows = [[cells.get((layer, token), absent) for token in tokens] for layer in layers]
    texts = [[f"<b>{spelled(cell['text'], 44)}</b>, token {n}" for n, cell in zip(tokens, row, strict=True)] for row in rows]
    hover = "%{text}<br>patched after layer %{y}<br>restored %{z:.3f}<br>projection %{customdata:.4g}<extra></extra>"
    gap = 1 if max(len(layers), len(tokens)) <= 24 else 0
    return go.Heatmap(
        x=tokens, y=layers, z=[[cell["restored"] for cell in row] for row in rows], name="restored", coloraxis="coloraxis",
        text=texts, hovertemplate=hover, hoverongaps=False,
        customdata=[[cell["projection"] for cell in row] for row in rows], xgap=gap, ygap=gap,
    )  # fmt: skip


def _mark(figure: go.Figure, inside: list[bool]) -> None:
    """A bar above the message that is read, and a thin line where it begins: a column on a phone is no wider than 2 pixels."""
    if True not in inside:
        return
    start, stop = inside.index(True) - 0.5, len(inside) - inside[::-1].index(True) - 0.5
    bar = {"type": "rect", "x0": start, "x1": stop, "yref": "y domain", "ysizemode": "pixel", "yanchor": 1, "y0": 3, "y1": 7}
    figure.add_shape(bar, fillcolor=NEUTRAL, line={"width": 0})
    line = {"type": "line", "x0": start, "x1": start, "y0": 0, "y1": 1, "yref": "y domain"}
    figure.add_shape(line, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    place = {"x": start, "xanchor": "left"} if start < len(inside) / 2 else {"x": stop, "xanchor": "right"}
    place |= {"y": 1, "yref": "y domain", "yanchor": "bottom", "yshift": 7}
    figure.add_annotation(place, text="the message that is read", showarrow=False, font={"size": 11})


def _scale(figure: go.Figure, cells: list[dict[str, Any]]) -> None:
    """Symmetric about 0, and turned round where the donor projects lower: blue is + in every figure."""
    known = [cell for cell in cells if not math.isnan(cell["restored"])]
    limit = max(abs(cell["restored"]) for cell in known) or 1.0
    most, least = (choose(known, key=lambda cell: cell["restored"]) for choose in (max, min))
    bar = {"y": 0, "yref": "container", "yanchor": "bottom", "len": 0.6, "nticks": 5}
    turned = most["projection"] < least["projection"]
    figure.update_layout(coloraxis={"cmin": -limit, "cmax": limit, "reversescale": turned, "colorbar": bar})
