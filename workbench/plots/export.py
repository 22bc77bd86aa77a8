"""The numbers behind a figure, and the figure as a file."""

from __future__ import annotations

import base64
import html
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ..errors import DataError, WorkbenchError

COLUMNS = ["trace", "x", "y", "z", "text", "colour"]
IMAGES = (".png", ".svg", ".pdf")
CONFIG = {
    "displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}  # fmt: skip
"""How figures behave in a page: as wide as their box, and without Plotly's button that uploads them to its servers."""


NARROW = """
(plot => {
  if (!plot.layout.scene || plot.clientWidth > 520) return;
  const eye = plot.layout.scene.camera.eye;
  Plotly.relayout(plot, {'scene.camera.eye': {x: eye.x * 1.9, y: eye.y * 1.9, z: eye.z * 1.9}});
})(document.getElementById('{plot_id}'));
"""
"""On a phone the camera steps back, or the ends of the first component are cut off."""


def data(figure: go.Figure) -> pd.DataFrame:
    """The numbers that a figure shows.

    Returns
    -------
    DataFrame
        A row a point or cell, columns ``trace`` (name), ``x, y, z`` (numbers or names; z is empty in flat figures),
        ``text`` (the point's name) and ``colour`` (the number behind the colour, e.g. the projection, + = Assistant).
        Names are given back as they came in, without escapes. What only decorates is left out.
    """
    traces: list[Any] = list(figure.select_traces())
    rows = [row for i, trace in enumerate(traces) if trace.meta != "decoration" for row in _rows(trace, i)]
    return pd.DataFrame(rows, columns=COLUMNS)


def save(figure: go.Figure, path: str | Path, script: str = "inside") -> Path:
    """Write a figure in the format that the file's suffix names, and return the path.

    Parameters
    ----------
    path
        ``.html`` (offline, with plotly.js inside), ``.json`` (Plotly's own format), ``.csv`` (the numbers),
        ``.png``, ``.svg`` or ``.pdf`` (these need kaleido and a Chrome or Chromium).
    script
        For ``.html``: ``"inside"`` makes a file that can be sent on by itself (5 MB); ``"beside"`` keeps one
        ``plotly.min.js`` in the folder for all figures there.

    Raises
    ------
    DataError
        Where the suffix is none of these.
    WorkbenchError
        Where an image is asked for and kaleido or the browser is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".html", ".json", ".csv", *IMAGES):
        raise DataError(f"cannot save a figure as {path.name}: the suffix must be one of .html, .json, .csv, {', '.join(IMAGES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".html":
        beside = path.with_name("plotly.min.js")
        if script == "beside" and not beside.exists():
            beside.write_text(get_plotlyjs(), encoding="utf-8")
        path.write_text(_page(figure, path.stem, beside.name if script == "beside" else True), encoding="utf-8")
    elif suffix == ".json":
        path.write_text(figure.to_json() or "", encoding="utf-8")
    elif suffix == ".csv":
        data(figure).to_csv(path, index=False)
    else:
        _save_image(figure, path)
    return path


def _page(figure: go.Figure, title: str, plotlyjs: str | bool) -> str:
    """A whole document: Plotly's own lacks what a phone needs and shows a white frame around dark figures."""
    # A copy: Plotly takes entries out of the configuration that it is given.
    config = dict(CONFIG)
    plot = figure.to_html(full_html=False, include_plotlyjs=plotlyjs, include_mathjax=False, config=config, post_script=NARROW)
    page = figure.layout["paper_bgcolor"] or figure.layout["template"]["layout"]["paper_bgcolor"] or "#ffffff"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>body {{ margin: 0; background: {page} }}</style></head>\n<body>{plot}</body>\n</html>\n"
    )


def _save_image(figure: go.Figure, path: Path) -> None:
    hint = 'pip install "persona-workbench[figures]", and a Chrome or Chromium must be installed'
    if importlib.util.find_spec("kaleido") is None:
        raise WorkbenchError(f"{path.name}: images are drawn with kaleido, which is not installed ({hint})")
    try:
        figure.write_image(path, scale=2 if path.suffix.lower() == ".png" else 1)
    except (RuntimeError, ValueError, OSError) as error:
        raise WorkbenchError(f"{path.name} could not be drawn: {error} ({hint})") from error


def _rows(trace: Any, position: int) -> Iterator[tuple]:
    name = trace.name or f"trace {position}"
    x, y, z = (_values(trace, axis) for axis in "xyz")
    if trace.type == "heatmap":
        for i, line in enumerate(z):
            for j, value in enumerate(line):
                yield name, _plain(x[j]), _plain(y[i]), value, None, value
        return
    text, colour = _values(trace, "text"), _values(getattr(trace, "marker", None), "color")
    for i in range(max(len(x), len(y))):
        row = tuple(_plain(v[i]) if i < len(v) else None for v in (x, y, z, text, colour))
        if row[:2] != (None, None):
            yield (name, *row)


def _values(holder: Any, field: str) -> list:
    """A trace's field as a list, also where Plotly keeps it packed (figures read from JSON)."""
    values = getattr(holder, field, None)
    if values is None or isinstance(values, str):
        return []
    if isinstance(values, dict) and "bdata" in values:
        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
        values = flat.reshape([int(n) for n in str(values["shape"]).split(",")]) if "shape" in values else flat
    return list(values)


def _plain(value: object) -> object:
    return html.unescape(value) if isinstance(value, str) else value
