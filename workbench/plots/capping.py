"""Caps: what each prevents and costs, and how many tokens it changes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import DataError
from ..frames import need
from .steering import estimate, percent, percent_ticks
from .theme import CAP, CATEGORIES, NEUTRAL, dress, new_figure, numbers, one_line, present, safe, wrapped

KINDS = ("setting", "control", "baseline", "reported")
"""What a row can be."""
SYMBOLS = {"all": "circle", "generated": "square", "prompt": "triangle-up", "last": "diamond-tall", "content": "hexagon"}
OTHER_SYMBOL = "star"
ENDS = [f"{measure}{end}" for measure in ("compliance", "right") for end in ("", "_low", "_high")]
NEAR_ONE = 0.5
"""Where no right answers are fewer than this, their axis does not start at 0."""
SPAN = 0.05
"""An axis spans at least so much."""
PANEL_UP, LABEL_UP, LABEL_ACROSS = 330, 15, 0.4
"""Height of the panel and of a label in pixels, and the width of a label as a share of a phone's panel."""

CLASSES = {
    "special": (CATEGORIES[1], "cross"), "prompt": (CATEGORIES[0], "square"), "generated": (None, "circle"),
    "text": (CATEGORIES[2], "diamond"), "all": (NEUTRAL, "x"),
}  # fmt: skip
"""Classes of positions, each with its colour (None: the page's ink) and symbol."""
BETWEEN = "rgba(134, 140, 150, 0.25)"
PANEL_PX, GAP_PX, TOP_PX, BOTTOM_PX = 170, 64, 116, 84


def pareto(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """What caps prevent (to the left) and what they cost (downwards): a point a setting, the chosen ones large.

    Settings at the very same place darken one another, and each says on hovering how many share its place. Intervals
    are drawn for the choices and the baseline, the others' show on hovering. An arrow leads from a choice on the prompts
    that it was tuned with to the same choice on the other half.

    Parameters
    ----------
    frame
        A row a setting: ``setting`` (name), ``compliance`` (share of jailbreaks complied with) and ``right`` (share of
        right answers), both 0 to 1 and with ``*_low, *_high``, ``dose`` (mean length of the change / length of the
        residual), ``positions`` (where it acts); optionally ``identity`` and ``over_refusal`` (0 to 1), ``pareto`` (bool:
        no setting is better in both), ``choice`` (e.g. ``recommended``, else empty), and ``kind``: ``setting`` (the
        default), ``reported`` (the same choice on the other half), ``baseline``, ``control``. ``frame.attrs`` may hold
        ``model`` and ``layer``.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column is missing, no row has both rates, or a kind is unknown.
    """
    need(frame, ["setting", *ENDS, "dose", "positions"], "pareto")
    rows = _records(frame)
    figure = new_figure("Caps: gain and price", frame.attrs, dark, height=600)
    _draw_front(figure, [row for row in rows if row["kind"] == "setting" and row["on_front"]])
    _draw_settings(figure, [row for row in rows if not row["large"]])
    large = [row for row in rows if row["large"]]
    _draw_intervals(figure, large)
    styles: dict[str, tuple[str, dict]] = {
        "baseline": ("no cap", {"symbol": "star", "size": 13, "color": NEUTRAL}),
        "setting": ("chosen, on the tuning half", {"symbol": "diamond-open", "size": 13, "color": CAP, "line": {"width": 2}}),
        "reported": ("chosen, on the other half", {"symbol": "diamond", "size": 14, "color": CAP}),
    }
    for kind, (name, marker) in styles.items():
        _points(figure, [row for row in large if row["kind"] == kind], name, marker)
    _label_choices(figure, large, *_fit_axes(figure, rows))
    return figure


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One record a row that can be placed: floats, texts, and whether it lies ``on_front`` and is drawn ``large``."""
    values = {name: numbers(frame, name) for name in ENDS}
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    for i, row in enumerate(rows):
        row |= {name: column[i] for name, column in values.items()}
        row |= {name: str(row[name]) if present(row.get(name)) else "" for name in ("kind", "choice", "positions")}
        row |= {"kind": row["kind"] or "setting", "on_front": present(row.get("pareto")) and bool(row["pareto"])}
        if row["kind"] not in KINDS:
            raise DataError(f"the kind of a row is one of {', '.join(KINDS)}, not {row['kind']!r}")
        row["large"] = row["kind"] in ("baseline", "reported") or (row["kind"] == "setting" and row["choice"] != "")
    rows = [row for row in rows if not math.isnan(row["compliance"] + row["right"])]
    if not rows:
        raise DataError("pareto needs at least one setting with both compliance and right answers; all are missing")
    shared = Counter(_place(row) for row in rows if row["kind"] == "setting")
    for row in rows:
        row["hover"] = _hover(row, shared[_place(row)] if row["kind"] == "setting" else 1)
    return rows


def _place(row: dict[str, Any]) -> tuple[float, float]:
    return round(row["compliance"], 9), round(row["right"], 9)


def _hover(row: dict[str, Any], sharing: int) -> str:
    lines = [f"<b>{wrapped(row['setting'])}</b>", *([wrapped(row["choice"])] if row["choice"] else [])]
    for measure, title in (("compliance", "jailbreaks complied with"), ("right", "right answers")):
        lines.append(f"{title} {estimate(row[measure], row[f'{measure}_low'], row[f'{measure}_high'])}")
    for measure, title in (("identity", "roles that name themselves"), ("over_refusal", "harmless requests refused")):
        lines += [f"{title} {percent(row[measure])}"] if present(row.get(measure)) else []
    lines += [f"dose {row['dose']:.3f} of the residual's length"] if present(row["dose"]) else []
    lines += [f"one of {sharing} settings at this very place"] if sharing > 1 else []
    return "<br>".join(lines)


def _points(figure: go.Figure, rows: list[dict[str, Any]], name: str, marker: dict[str, Any]) -> None:
    if rows:
        values = {"x": [row["compliance"] for row in rows], "y": [row["right"] for row in rows]}
        texts = {"text": [safe(row["setting"]) for row in rows], "hovertext": [row["hover"] for row in rows], "hoverinfo": "text"}
        figure.add_trace(go.Scatter(values | texts, mode="markers", name=name, marker=marker))


def _draw_settings(figure: go.Figure, rows: list[dict[str, Any]]) -> None:
    """Small points: controls in grey, settings in violet with a shape a class of positions."""
    controls = [row for row in rows if row["kind"] == "control"]
    _points(figure, controls, "control directions", {"symbol": "circle-open", "size": 7, "color": NEUTRAL, "line": {"width": 1.5}})
    settings = [row for row in rows if row["kind"] == "setting"]
    for positions in dict.fromkeys(row["positions"] for row in settings):
        marker = {"symbol": SYMBOLS.get(positions, OTHER_SYMBOL), "size": 8, "color": CAP, "opacity": 0.5}
        name = f"caps on {one_line(positions)} positions" if positions else "caps"
        _points(figure, [row for row in settings if row["positions"] == positions], name, marker)


def _draw_front(figure: go.Figure, rows: list[dict[str, Any]]) -> None:
    """Rings, joined by steps and not by slopes: between two settings there is no third."""
    if places := sorted({_place(row) for row in rows}):
        x, y = zip(*places, strict=True)
        ring = {"symbol": "circle-open", "size": 13, "color": CAP, "line": {"width": 1}}
        line = {"color": CAP, "width": 1.2, "shape": "hv", "dash": "dot"}
        front = {"x": x, "y": y, "mode": "lines+markers", "name": "front: no cap beats it in both", "line": line, "marker": ring}
        figure.add_trace(go.Scatter(front, hoverinfo="skip", meta="decoration"))


def _draw_intervals(figure: go.Figure, rows: list[dict[str, Any]]) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str | None] = []
    for row in rows:
        if not math.isnan(row["compliance_low"] + row["compliance_high"]):
            x += [row["compliance_low"], row["compliance_high"], None]
            y += [row["right"], row["right"], None]
            text += [safe(row["setting"])] * 2 + [None]
        if not math.isnan(row["right_low"] + row["right_high"]):
            x += [row["compliance"], row["compliance"], None]
            y += [row["right_low"], row["right_high"], None]
            text += [safe(row["setting"])] * 2 + [None]
    if x:
        line = {"color": NEUTRAL, "width": 1.2}
        trace = go.Scatter(x=x, y=y, text=text, mode="lines", name="95 % interval", line=line, hoverinfo="skip")
        figure.add_trace(trace.update(legendrank=2000))


def _label_choices(figure: go.Figure, rows: list[dict[str, Any]], across: list[float], up: list[float]) -> None:
    """Each choice's name once, on a line that leads down from its point, and an arrow from the tuned to the reported one."""
    by_name = {name: [row for row in rows if row["choice"] == name] for name in dict.fromkeys(row["choice"] for row in rows) if name}
    ends = {}
    for name, own in by_name.items():
        tuned, reported = (next((row for row in own if row["kind"] == kind), None) for kind in ("setting", "reported"))
        ends[name] = reported or tuned or own[0]
        if tuned and reported and _place(tuned) != _place(reported):
            _arrow(figure, tuned, reported)
    labels: list[tuple[float, float, float]] = []
    # From the top down, so that no line crosses another's name.
    for name, at in sorted(ends.items(), key=lambda pair: -pair[1]["right"]):
        x = (at["compliance"] - across[0]) / (across[1] - across[0])
        y = (at["right"] - up[0]) / (up[1] - up[0]) * PANEL_UP
        drop = 20
        left, right = (x, x + LABEL_ACROSS) if x < 0.6 else (x - LABEL_ACROSS, x)
        while any(left < end and start < right and abs(y - drop - height) < LABEL_UP for start, end, height in labels):
            drop += LABEL_UP
        labels.append((left, right, y - drop))
        aside = {"xanchor": "left", "ax": 14} if x < 0.6 else {"xanchor": "right", "ax": -14}
        line = {"showarrow": True, "arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": NEUTRAL, "standoff": 5, "borderpad": 1}
        place = {"x": at["compliance"], "y": at["right"], "ay": drop, **aside}
        figure.add_annotation(place | line, text=f"<b>{one_line(name)}</b>", font={"size": 11})


def _arrow(figure: go.Figure, tuned: dict[str, Any], reported: dict[str, Any]) -> None:
    ends = {"x": reported["compliance"], "y": reported["right"], "ax": tuned["compliance"], "ay": tuned["right"]}
    style = {"arrowhead": 2, "arrowwidth": 1.6, "arrowcolor": CAP, "standoff": 7, "startstandoff": 6, "text": ""}
    figure.add_annotation(ends | style, axref="x", ayref="y", showarrow=True)


def _fit_axes(figure: go.Figure, rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Everything in view, and both ranges; the axis of right answers starts above 0 where all lie high, and says so."""
    seen: dict[str, list[float]] = {"compliance": [], "right": []}
    for measure, values in seen.items():
        ends = [row[f"{measure}{end}"] for row in rows if row["large"] for end in ("_low", "_high")]
        values += [value for value in [*(row[measure] for row in rows), *ends] if not math.isnan(value)]
    right, low, high = max(*seen["compliance"], SPAN), min(seen["right"]), max(seen["right"])
    low = min(low, high - SPAN) if low >= NEAR_ONE else 0.0
    pad = 0.08 * (high - low)
    start = math.floor(100 * (low - pad)) / 100 if low > 0 else -pad
    note = f"<br>the axis starts at {percent(start, 0)}, not at 0" if low > 0 else ""
    across, up = [-0.06 * right, 1.06 * right], [start, high + pad]
    figure.update_xaxes(percent_ticks(0, across[1]), title_text="jailbreaks complied with (low is better)", range=across)
    figure.update_yaxes(percent_ticks(max(start, 0), up[1]), title_text=f"right answers (high is better){note}", range=up)
    return across, up


def engagement(frame: pd.DataFrame, condition: str, dark: bool = False) -> go.Figure:
    """How many tokens one condition changes at each layer, and by how much, by class of positions.

    Parameters
    ----------
    frame
        A row a condition, layer and class of positions: ``condition`` (name), ``layer`` (0-based block), ``positions``
        (``special, prompt, generated, text, all``), ``tokens`` (count), ``engaged`` (share of the tokens that are changed, 0
        to 1), ``dose`` (mean length of the change / length of the residual). A class without tokens is left out.
        ``frame.attrs`` may hold ``model``.
    condition
        Which condition to show.
    dark
        For dark pages.

    Raises
    ------
    DataError
        Where a column or the condition is missing, nothing is left to draw, or a layer and class occur twice.
    """
    need(frame, ["condition", "layer", "positions", "tokens", "engaged", "dose"], "engagement")
    part = frame[frame["condition"] == condition]
    if not len(part):
        there = ", ".join(dict.fromkeys(str(name) for name in frame["condition"]))
        raise DataError(f"the condition {condition!r} is not in the table, which has {there}")
    part = part[part["layer"].notna() & (part["engaged"].notna() | part["dose"].notna())].sort_values("layer", kind="stable")
    if not len(part):
        raise DataError(f"engagement needs at least one share or dose under {condition!r}; all are missing")
    if (twice := part.duplicated(["layer", "positions"])).any():
        row = part[twice].iloc[0]
        raise DataError(f"engagement needs one row a layer and class of positions; {row['positions']} at layer {row['layer']} occurs twice")
    inner = 2 * PANEL_PX + GAP_PX
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=GAP_PX / inner)
    dress(figure, "Engagement by layer", {}, dark, inner + TOP_PX + BOTTOM_PX)
    known = [str(frame.attrs["model"])] if "model" in frame.attrs else []
    figure.update_layout(title={"subtitle": {"text": wrapped(", ".join([*known, condition]), 56)}}, margin={"t": TOP_PX})
    others = [name for name in dict.fromkeys(part["positions"]) if name not in CLASSES]
    for name in [*CLASSES, *others]:
        _draw_class(figure, part[part["positions"] == name], str(name))
    _dress_panels(figure, part)
    return figure


def _draw_class(figure: go.Figure, rows: pd.DataFrame, name: str) -> None:
    if not len(rows):
        return
    colour, symbol = CLASSES.get(name, (None, OTHER_SYMBOL))
    layers, engaged, dose, tokens = [int(n) for n in rows["layer"]], *(numbers(rows, c) for c in ("engaged", "dose", "tokens"))
    counts = [f"{int(n):,} tokens" if not math.isnan(n) else "tokens" for n in tokens]
    texts = [f"<b>layer {n}, {one_line(name)} positions</b><br>" for n in layers]
    said = [t + f"{percent(e)} of {c} changed" for t, e, c in zip(texts, engaged, counts, strict=True)]
    meant = [t + f"dose {d:.4f} of the residual's length<br>mean over {c}" for t, d, c in zip(texts, dose, counts, strict=True)]
    style = {"mode": "markers", "marker": {"color": colour, "symbol": symbol, "size": 8, "line": {"width": 0}}}
    style |= {"offsetgroup": safe(name), "legendgroup": safe(name), "hoverinfo": "text", "x": layers}
    figure.add_trace(go.Scatter(style, y=engaged, error_y=_stem(engaged), hovertext=said, name=f"{one_line(name)} positions"), row=1, col=1)
    figure.add_trace(
        go.Scatter(style, y=dose, error_y=_stem(dose), hovertext=meant, name=f"{one_line(name)}, dose", showlegend=False), row=2, col=1
    )


def _stem(values: list[float]) -> dict[str, Any]:
    """A line down to 0, which moves with its dot when dots stand side by side."""
    return {"type": "data", "symmetric": False, "array": [0] * len(values), "arrayminus": values, "width": 0, "thickness": 1.5}


def _dress_panels(figure: go.Figure, part: pd.DataFrame) -> None:
    """Dots of one layer side by side, a line between two layers, and what each panel measures above it."""
    layers = sorted({int(n) for n in part["layer"]})
    step = max(1, math.ceil((layers[-1] - layers[0] + 1) / 12))
    figure.update_xaxes(range=[layers[0] - 0.5, layers[-1] + 0.5], tick0=layers[0], dtick=step, showgrid=False)
    figure.update_xaxes(title_text="layer", row=2)
    figure.update_xaxes(minor={"tick0": layers[0] + 0.5, "dtick": 1, "showgrid": True, "gridcolor": BETWEEN})
    figure.update_yaxes(percent_ticks(0, 1), range=[-0.05, 1.05], row=1)
    figure.update_yaxes(rangemode="tozero", nticks=5, row=2)
    for row, title in ((1, "<b>Share of tokens changed</b>"), (2, "<b>Dose</b><br>mean length of the change / length of the residual")):
        place = {"xref": "x domain", "yref": "y domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "yshift": 4}
        figure.add_annotation(place, text=title, align="left", showarrow=False, row=row, col=1)
    figure.update_layout(scattermode="group", scattergap=0.3, legend={"tracegroupgap": 0})
