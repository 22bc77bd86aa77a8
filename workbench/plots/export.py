"""The numbers behind a figure, and the figure as a file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ..errors import DataError, WorkbenchError
from .images import FORMATS, draw_images
from .paper import dpi_of
from .theme import NEUTRAL, script_json

COLUMNS = ["trace", "x", "y", "z", "text", "colour"]
IMAGES = tuple(f".{kind}" for kind in FORMATS)
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
LINKED = """
(plot => {
  if (plot.layout.meta !== 'linked') return;
  const panels = plot.data.map((trace, i) => ({i, text: trace.text || [], panel: (trace.xaxis || 'x') + (trace.yaxis || 'y')}));
  plot.on('plotly_hover', event => {
    const name = event.points[0].text, found = panels.map(p => ({...p, at: p.text.indexOf(name)})).filter(p => p.at >= 0);
    if (event.points.length > 1 || found.length < 2) return;
    Plotly.Fx.hover(plot, found.map(p => ({curveNumber: p.i, pointNumber: p.at})), found.map(p => p.panel));
  });
})(document.getElementById('{plot_id}'));
"""
"""Pointing at a role in one panel shows it in all (figures whose ``layout.meta`` says so)."""

NAMED = """
(plot => {
  const [drawing, ...others] = plot.querySelectorAll('.svg-container > .main-svg, .svg-container > .gl-container');
  if (!drawing) return;
  drawing.setAttribute('role', 'img');
  drawing.setAttribute('aria-label', LABEL);
  others.forEach(part => part.setAttribute('aria-hidden', 'true'));
})(document.getElementById('{plot_id}'));
"""
"""For those who hear it, a drawing is one image with a name; its tools stay beside it, within reach of a keyboard."""


def data(figure: go.Figure) -> pd.DataFrame:
    """The numbers that a figure shows.

    Returns
    -------
    DataFrame
        A row a point or cell, columns ``trace`` (name), ``x, y, z`` (numbers or names; z is empty in flat figures),
        ``text`` (the point's name) and ``colour`` (the number behind the colour, e.g. the projection, + = Assistant).
        Names are given back as they came in, without escapes. What only decorates is left out. A figure with a slider
        has a column ``frame`` before them (the slider's label), and all its frames.
    """
    traces: list[Any] = list(figure.select_traces())
    if figure.frames:
        return pd.concat([_frame_rows(traces, frame) for frame in figure.frames], ignore_index=True)
    rows = [row for i, trace in enumerate(traces) if trace.meta != "decoration" for row in _rows(trace, i)]
    return pd.DataFrame(rows, columns=COLUMNS)


def save(figure: go.Figure, path: str | Path, script: str = "inside", caption: str = "") -> Path:
    """Write a figure in the format that the file's suffix names, and return the path.

    Parameters
    ----------
    path
        ``.html`` (offline, with plotly.js inside), ``.json`` (Plotly's own format), ``.csv`` (the numbers),
        ``.png``, ``.svg`` or ``.pdf`` (these need kaleido and a Chrome or Chromium).
    script
        For ``.html``: ``"inside"`` makes a file that can be sent on by itself (5 MB); ``"beside"`` keeps one
        ``plotly.min.js`` in the folder for all figures there.
    caption
        For ``.html``: what a screen reader says after the figure's title.

    Raises
    ------
    DataError
        Where the suffix is none of these.
    WorkbenchError
        Where an image is asked for and kaleido or the browser is missing, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".html", ".json", ".csv", *IMAGES):
        raise DataError(f"cannot save a figure as {path.name}: the suffix must be one of .html, .json, .csv, {', '.join(IMAGES)}")
    beside = path.with_name("plotly.min.js")
    if suffix == ".html" and script == "beside" and not beside.exists():
        _write(beside, get_plotlyjs().encode())
    _write(path, as_bytes(figure, suffix[1:], path.stem, beside.name if script == "beside" else None, caption))
    return path


def as_bytes(figure: go.Figure, kind: str, title: str = "", script: str | None = None, caption: str = "") -> bytes:
    """A figure as a file's content: ``html`` (with plotly.js inside, or at the address `script`), ``json``, ``csv``, or an image."""
    if kind == "html":
        return _page(figure, title, script or True, caption).encode()
    if kind == "json":
        return (figure.to_json() or "").encode()
    if kind == "csv":
        return data(figure).to_csv(index=False, lineterminator="\n").encode()
    return draw_images([(figure, kind)], dpi_of(figure))[0]


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary name and rename: a file is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise WorkbenchError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def spoken(figure: go.Figure, caption: str = "") -> str:
    """A figure in words: its title, model and layer, and a caption, without tags."""
    title = figure.layout.title
    parts = [html.unescape(re.sub("<[^>]+>", " ", part or "")).strip() for part in (title.text, title.subtitle.text, caption)]
    return ". ".join(part.rstrip(".") for part in parts if part) or "a figure"


def _page(figure: go.Figure, title: str, plotlyjs: str | bool, caption: str = "") -> str:
    """A whole document: Plotly's own lacks what a phone needs and shows a white frame around dark figures."""
    # A copy: Plotly takes entries out of the configuration that it is given.
    config = dict(CONFIG)
    scripts = [NARROW, LINKED, NAMED.replace("LABEL", script_json(spoken(figure, caption)))]
    plot = figure.to_html(
        full_html=False, include_plotlyjs=plotlyjs, include_mathjax=False, config=config, post_script=scripts, auto_play=False
    )  # fmt: skip
    page = figure.layout["paper_bgcolor"] or figure.layout["template"]["layout"]["paper_bgcolor"] or "#ffffff"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>body {{ margin: 0; background: {page} }} .js-plotly-plot .plotly.plot-container .modebar-btn:focus-visible "
        f"{{ outline: 2px solid {NEUTRAL}; outline-offset: 2px }}</style></head>\n<body><main>{plot}</main></body>\n</html>\n"
    )


def _frame_rows(traces: list[Any], frame: Any) -> pd.DataFrame:
    """One frame's rows: what moves comes from the frame, all else from the traces that it moves."""
    rows: list[tuple] = []
    for moved, i in zip(frame.data, frame.traces, strict=True):
        if traces[i].meta != "decoration":
            whole = type(traces[i])(traces[i].to_plotly_json()).update(moved.to_plotly_json())
            rows += list(_rows(whole, i))
    found = pd.DataFrame(rows, columns=COLUMNS)
    found.insert(0, "frame", frame.name)
    return found


def _rows(trace: Any, position: int) -> Iterator[tuple]:
    name = trace.name or f"trace {position}"
    x, y, z = (_values(trace, axis) for axis in "xyz")
    if trace.type == "heatmap":
        for i, line in enumerate(z):
            for j, value in enumerate(line):
                yield name, _plain(x[j]), _plain(y[i]), value, None, value
        return
    text, colour = _values(trace, "text"), _values(getattr(trace, "marker", None), "color")
    colour = [] if trace.meta == "shaded" else colour  # a step of the colours, not a number that was measured
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
