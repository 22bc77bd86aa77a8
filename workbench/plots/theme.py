"""The house's look: one palette with one meaning, two templates, and how text from data becomes harmless text."""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from ..errors import DataError

ASSISTANT = "#0072B2"
"""The Assistant's end (the + end); safe for the colour-blind together with :data:`FAR`."""
FAR = "#D55E00"
"""The end far from the Assistant."""
NEUTRAL = "#868c96"
"""Neither end; reads on white and on near-black."""

DIVERGING = [(0.0, FAR), (0.25, "#efa877"), (0.5, "#f6f5f3"), (0.75, "#7db4d8"), (1.0, ASSISTANT)]
"""Far end, white, Assistant."""
DIVERGING_DARK = [(0.0, "#f2853a"), (0.25, "#a4603a"), (0.5, "#454a53"), (0.75, "#3f83b0"), (1.0, "#53b4f0")]
"""The same on a dark page: the middle is a dark grey, because white there would shout loudest."""

CAP = "#8450E0"
"""Under a cap, wherever what a cap does is told from what the model does by itself."""
CATEGORIES = ("#4E9A2C", "#D048A8", "#8A6455", "#868A00")
"""Kinds of anything else. They mean nothing by themselves: the legend says what, and dashes and symbols tell them apart, too."""
ALIKE = [(0.0, "#b0267f"), (0.25, "#e0a2cb"), (0.5, "#f6f5f3"), (0.75, "#a5cb80"), (1.0, "#3d8420")]
"""Cosines of anything with anything: opposite (-1), white, the same direction (+1)."""
ALIKE_DARK = [(0.0, "#e35cb6"), (0.25, "#96447a"), (0.5, "#454a53"), (0.75, "#5b853d"), (1.0, "#8ace55")]
ALIKE_AXIS = "coloraxis3"
"""The colour axis of cosines; its scale comes with the template, so that a page can swap light for dark."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LIGHT_NAME, DARK_NAME = "workbench", "workbench-dark"


@dataclass(frozen=True)
class Theme:
    """The colours that differ between a light and a dark page."""

    page: str
    ink: str
    muted: str
    grid: str
    diverging: list[tuple[float, str]]
    alike: list[tuple[float, str]]


LIGHT = Theme("#ffffff", "#22262c", "#5f6670", "#e6e8eb", DIVERGING, ALIKE)
DARK = Theme("#15181d", "#e4e6ea", "#a3a9b3", "#333840", DIVERGING_DARK, ALIKE_DARK)


def _template(theme: Theme) -> go.layout.Template:
    axis = {
        "gridcolor": theme.grid, "linecolor": theme.grid, "zeroline": False, "automargin": True, "ticks": "",
        "tickfont": {"color": theme.muted, "size": 11}, "title": {"font": {"size": 12}, "standoff": 8},
    }  # fmt: skip
    scene = {"showbackground": False, "gridcolor": theme.grid, "zerolinecolor": theme.muted, "linecolor": theme.grid}
    scene |= {"tickfont": {"color": theme.muted, "size": 10}, "title": {"font": {"size": 12}}, "showspikes": False}
    bar = {"outlinewidth": 0, "thickness": 10, "ticks": "", "orientation": "h", "x": 0.5, "xanchor": "center", "yanchor": "top"}
    bar |= {"len": 0.7, "title": {"side": "top", "font": {"size": 12}}, "tickfont": {"size": 11, "color": theme.muted}}
    layout = go.Layout(
        font={"family": FONT, "size": 12, "color": theme.ink},
        title={"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"l": 12, "t": 14}, "font_size": 16}
        | {"subtitle_font": {"size": 12, "color": theme.muted}},
        paper_bgcolor=theme.page, plot_bgcolor=theme.page, autosize=True, colorway=[theme.ink],
        margin={"l": 12, "r": 12, "t": 80, "b": 12},
        xaxis=axis, yaxis=axis, scene={"xaxis": scene, "yaxis": scene, "zaxis": scene},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.02, "yref": "container", "yanchor": "bottom"},
        hoverlabel={"bgcolor": theme.page, "bordercolor": NEUTRAL, "font": {"color": theme.ink, "size": 12}, "align": "left"},
        coloraxis={"colorscale": theme.diverging, "colorbar": bar}, **{ALIKE_AXIS: {"colorscale": theme.alike, "colorbar": bar}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": NEUTRAL, "activecolor": theme.ink},
    )  # fmt: skip
    # Rings in mid-grey: points from the white middle of the scale must not vanish on the page.
    ring = {"marker": {"line": {"color": NEUTRAL, "width": 0.8}}}
    data = {"scatter": [go.Scatter(ring)], "scatter3d": [go.Scatter3d(ring)], "bar": [go.Bar(marker={"line": {"width": 0}})]}
    return go.layout.Template(layout=layout, data=data)


pio.templates[LIGHT_NAME] = _template(LIGHT)
pio.templates[DARK_NAME] = _template(DARK)


def clear_templates() -> dict[str, Any]:
    """Both templates, ``light`` and ``dark``, with clear backgrounds, so that figures stand on the page and not in boxes."""
    clear = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    plain = {"light": pio.templates[LIGHT_NAME].to_plotly_json(), "dark": pio.templates[DARK_NAME].to_plotly_json()}
    return {name: template | {"layout": template["layout"] | clear} for name, template in plain.items()}


def script_json(value: object) -> str:
    """JSON inside a script element: nothing in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def new_figure(title: str, attrs: dict[Any, Any], dark: bool, height: int) -> go.Figure:
    """An empty figure in the house's look; model and layer, where known, go under the title."""
    figure = go.Figure()
    dress(figure, title, attrs, dark, height)
    return figure


def dress(figure: go.Figure, title: str, attrs: dict[Any, Any], dark: bool, height: int) -> None:
    """Give a figure its template, height, title, and a line that says which model and layer it shows."""
    known = [str(attrs["model"])] if "model" in attrs else []
    known += [f"layer {attrs['layer']}"] if "layer" in attrs else []
    subtitle = {"text": safe(", ".join(known)) if known else None}
    figure.update_layout(template=DARK_NAME if dark else LIGHT_NAME, height=height, title={"text": title, "subtitle": subtitle})


def safe(text: object) -> str:
    """Text from data for places where Plotly reads tags and, in notebooks, formulas between dollar signs.

    Quotes stay as they are, because Plotly cannot decode them.
    """
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def wrapped(text: object, width: int = 48) -> str:
    """The same in lines that fit a phone."""
    return "<br>".join(safe(line) for line in textwrap.wrap(str(text), width)) or ""


def one_line(text: object, width: int = 22) -> str:
    """The same on one line, shortened with an ellipsis: for labels beside points."""
    text = " ".join(str(text).split())
    return safe(text if len(text) <= width else text[: width - 1] + "…")


def numbers(frame: pd.DataFrame, column: Hashable) -> list[float]:
    """A column as floats (missing values as NaN); a column of anything else is refused."""
    try:
        return [float(value) for value in frame[column].astype("Float64").to_numpy(dtype=float, na_value=float("nan"))]
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {column} must hold numbers, not {frame[column].dtype}") from error


def role_records(frame: pd.DataFrame, columns: Iterable[str]) -> list[dict[str, Any]]:
    """One record a role: `columns` as floats, ``role``, ``is_default`` (bool), and ``hover``, the text to show on hovering."""
    values = {name: numbers(frame, name) for name in columns}
    records: list[dict[str, Any]] = [{str(k): v for k, v in record.items()} for record in frame.to_dict("records")]
    for i, record in enumerate(records):
        record |= {name: column[i] for name, column in values.items()}
        record |= {"is_default": bool(record["is_default"]), "hover": _hover(record)}
    return records


def present(value: Any) -> bool:
    """Whether a cell holds a value: neither None nor NaN nor an empty text."""
    return bool(pd.notna(value)) and str(value).strip() != ""


def _hover(record: dict[str, Any]) -> str:
    """Name, description, counts and projection, as far as there are any."""
    lines = [f"<b>{wrapped(record['role'])}</b>"]
    if present(record.get("description")):
        lines.append(wrapped(record["description"]))
    if present(record.get("n")):
        counts = [f"label {i}: {int(record[f'label_{i}'])}" for i in range(4) if present(record.get(f"label_{i}"))]
        lines.append(f"{int(record['n'])} responses" + (f" ({', '.join(counts)})" if counts else ""))
    if present(record.get("projection")):
        low, high = record.get("low"), record.get("high")
        span = f" [{low:.4g}, {high:.4g}]" if present(low) and present(high) else ""
        lines.append(f"projection {record['projection']:.4g}{span} (+ = Assistant)")
    return "<br>".join(lines)
