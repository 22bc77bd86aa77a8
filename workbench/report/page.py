"""One offline HTML document of a study: what was found, how sure that is, and what it must not be read as."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..errors import DataError
from ..frames import need
from ..plots.export import CONFIG
from ..plots.theme import ASSISTANT, DARK, DIVERGING_DARK, FONT, LIGHT, clear_templates, numbers, present, script_json

TEMPLATE = Path(__file__).with_name("report.html.j2")
OUTCOMES = {"pass": "✓", "fail": "✗", "cannot tell": "~", "untested": "?"}
LABELS = {0: "refuses", 1: "declines the role, but helps", 2: "somewhat in role", 3: "fully in role"}
EXAMPLE_TEXTS = ("role", "prompt", "question", "response", "reason")
DEFAULT_HEIGHT = 460
TITLE_PX = 56
"""What a figure loses in height when its title moves out of it."""
MINUS, NOTHING = "\u2212", "\u2013"


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """A figure with the words around it.

    Attributes
    ----------
    title
        The heading above it; the figure's own title moves into the line below.
    caption
        What to see, in a sentence or two.
    figure
        From :mod:`workbench.plots`, or any other Plotly figure; drawn light or dark as the reader's page is.
    """

    title: str
    caption: str
    figure: go.Figure


@dataclass(frozen=True, eq=False)
class ReportTable:
    """A table with a heading of its own.

    Attributes
    ----------
    title, caption
        The heading, and what to see.
    frame
        Text is shown as it is, whole numbers whole, other numbers with three decimals.
    """

    title: str
    caption: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class ReportText:
    """A ready piece of HTML with a heading of its own.

    Attributes
    ----------
    title, caption
        The heading, and what to see.
    html
        Made by :mod:`workbench.plots`, which escapes what comes from data; it is shown as it is.
    """

    title: str
    caption: str
    html: str


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows.

    Attributes
    ----------
    title, model
        What was studied.
    headline
        One sentence: what was found.
    conclusion
        What may be concluded, e.g. ``"cannot tell: causal effect untested"``.
    verdict
        A row a line of evidence: ``line``, ``outcome`` (``pass``, ``fail``, ``cannot tell`` or ``untested``), ``evidence``.
    numbers
        ``name``, ``value`` (text, as it shall be read), ``unit``, ``meaning``.
    figures
        In the order in which they are shown.
    roles
        ``role, description, n`` (responses), ``projection, low, high`` (residual-stream units, + = Assistant); optionally
        ``label_0`` to ``label_3`` (counts).
    examples
        ``role, prompt, question, response, label`` (0 to 3 or missing), ``reason, projection`` (+ = Assistant).
    notes
        What the reader must know.
    limits
        What this must not be read as.
    settings, versions
        Shown at the end.
    conditions
        ``condition, kind`` (``control`` is drawn grey), and any columns of ready text; None where nothing was tried.
    pairs
        Answers side by side: ``kind, role, prompt, replies`` (each ``condition, response, outcome``).
    tables, texts
        Further tables and texts, in the order in which they are shown.
    lead
        Stands before the figures, and may use plotly.js once the page is loaded.
    """

    title: str
    model: str
    headline: str
    conclusion: str
    verdict: pd.DataFrame
    numbers: pd.DataFrame
    figures: tuple[ReportFigure, ...]
    roles: pd.DataFrame
    examples: pd.DataFrame
    notes: tuple[str, ...]
    limits: tuple[str, ...]
    settings: dict[str, str]
    versions: dict[str, str]
    conditions: pd.DataFrame | None = None
    pairs: list[dict[str, Any]] = field(default_factory=list)
    tables: tuple[ReportTable, ...] = ()
    texts: tuple[ReportText, ...] = ()
    lead: ReportText | None = None


def render_report(data: ReportData) -> str:
    """Render a report as one HTML document that loads nothing from anywhere.

    Returns
    -------
    str
        Light or dark by the reader's preference, readable on a phone, printable. All text is escaped.

    Raises
    ------
    DataError
        Where a table lacks a column, or an outcome is none of ``pass``, ``fail``, ``cannot tell`` and ``untested``.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    need(data.numbers, ["name", "value", "unit", "meaning"], "the numbers of a report", empty=True)
    figures = [_figure(figure, i) for i, figure in enumerate(data.figures, start=1)]
    return template.render(
        data=data, verdict=_verdict(data.verdict), numbers=data.numbers.to_dict("records"), figures=figures,
        conditions=_conditions(data.conditions), columns=_role_columns(data.roles), roles=_roles(data.roles),
        examples=_examples(data.examples),
        texts=[vars(text) | {"html": Markup(text.html)} for text in data.texts],
        tables=[_table(table, i) for i, table in enumerate(data.tables, start=1)],
        figure_json=Markup(script_json([figure["plot"] for figure in figures])), template_json=Markup(script_json(clear_templates())),
        config_json=Markup(script_json(CONFIG)), plotlyjs=Markup(get_plotlyjs()) if figures or data.lead else "",
        lead=vars(data.lead) | {"html": Markup(data.lead.html)} if data.lead else None,
        light=LIGHT, dark=DARK, accent=ASSISTANT, accent_dark=DIVERGING_DARK[-1][1], font=Markup(FONT),
    )  # fmt: skip


def _verdict(frame: pd.DataFrame) -> list[dict[str, Any]]:
    need(frame, ["line", "outcome", "evidence"], "the verdict of a report")
    if wrong := sorted({str(outcome) for outcome in frame["outcome"]} - set(OUTCOMES)):
        raise DataError(f"the outcome of a line of evidence is {', '.join(OUTCOMES)}; the verdict has {', '.join(wrong)}")
    return [row | {"symbol": OUTCOMES[row["outcome"]]} for row in _records(frame)]


def _figure(shown: ReportFigure, number: int) -> dict[str, Any]:
    """A figure for the page: its own title becomes text, so that it wraps, and the page supplies the template."""
    plot = json.loads(shown.figure.to_json() or "{}")
    layout = plot.get("layout", {})
    title = layout.pop("title", {})
    layout.pop("template", None)
    parts = [title.get("text"), (title.get("subtitle") or {}).get("text")]
    words = ", ".join(text for part in parts if (text := _plain(part or "")) and text != shown.title)
    height = int(layout.get("height") or DEFAULT_HEIGHT)
    # Room for the title is no longer needed; a larger top margin was asked for by what stands above the panels.
    margin = layout.setdefault("margin", {})
    margin["t"] = max(24, int(margin.get("t", 80)) - TITLE_PX)
    layout["height"] = height - TITLE_PX
    return {
        "id": f"figure-{number}", "title": shown.title, "words": words, "caption": shown.caption, "height": layout["height"],
        "plot": {"data": plot.get("data", []), "layout": layout},
    }  # fmt: skip


def _plain(text: str) -> str:
    """What Plotly would show of a title: without its tags and entities."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).strip()


def _conditions(frame: pd.DataFrame | None) -> dict[str, Any] | None:
    """Heads and rows of the table of conditions; controls come last and are drawn grey."""
    if frame is None:
        return None
    need(frame, ["condition", "kind"], "the conditions of a report")
    heads = [str(c) for c in frame.columns if c not in ("condition", "kind")]
    rows = [{"name": r["condition"], "kind": r["kind"], "cells": [str(r[h]) or NOTHING for h in heads]} for r in _records(frame)]
    return {"heads": heads, "rows": sorted(rows, key=lambda row: row["kind"] == "control")}


def _table(table: ReportTable, number: int) -> dict[str, Any]:
    """Heads and cells of a further table; numbers stand to the right."""
    kinds = ["number" if pd.api.types.is_numeric_dtype(table.frame[c]) else "text" for c in table.frame.columns]
    rows = [[(kind, _shown(value)) for kind, value in zip(kinds, row.values(), strict=True)] for row in _records(table.frame)]
    heads = list(zip(kinds, map(str, table.frame.columns), strict=True))
    return {"id": f"table-{number}", "title": table.title, "caption": table.caption, "heads": heads, "rows": rows}


def _shown(value: Any) -> str:
    if not present(value):
        return NOTHING
    return f"{value:.3f}".replace("-", MINUS) if isinstance(value, float) and not float(value).is_integer() else _whole(value)


def _whole(value: Any) -> str:
    return f"{int(value):,}".replace("-", MINUS) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _role_columns(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Heads of the role table: name, kind (text or number), explanation."""
    need(frame, ["role", "description", "n", "projection", "low", "high"], "the role table of a report", empty=True)
    heads = [("role", "role", "text", ""), ("description", "description", "text", ""), ("n", "responses", "number", "")]
    heads += [("projection", "projection", "number", "residual-stream units, + = Assistant")]
    heads += [(end, end, "number", f"{end} end of the interval") for end in ("low", "high")]
    heads += [(f"label_{i}", f"label {i}", "number", meaning) for i, meaning in LABELS.items() if f"label_{i}" in frame]
    return [dict(zip(("key", "name", "kind", "title"), head, strict=True)) for head in heads]


def _roles(frame: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Cells by row: the text shown, and the exact value to sort by."""
    columns = _role_columns(frame)
    digits = _decimals([v for c in ("projection", "low", "high") for v in numbers(frame, c)]) if len(frame) else 0
    rows = []
    for record in _records(frame):
        cells = []
        for column in columns:
            value, key = record[column["key"]], column["key"]
            if not present(value):
                shown = NOTHING if column["kind"] == "number" else ""
            elif key in ("projection", "low", "high"):
                shown = f"{value:.{digits}f}".replace("-", MINUS)
            else:
                shown = str(int(value)) if column["kind"] == "number" else str(value)
            cells.append({"kind": column["kind"], "key": key, "shown": shown, "value": value if present(value) else ""})
        rows.append(cells)
    return rows


def _examples(frame: pd.DataFrame) -> list[dict[str, Any]]:
    need(frame, [*EXAMPLE_TEXTS, "label", "projection"], "the examples of a report", empty=True)
    digits = _decimals(numbers(frame, "projection")) if len(frame) else 0
    examples = []
    for row in _records(frame):
        label = int(row["label"]) if present(row["label"]) else None
        projection = f"{row['projection']:+.{digits}f}".replace("-", MINUS) if present(row["projection"]) else ""
        verdict = f"label {label}: {LABELS.get(label, 'unknown')}" if label is not None else ""
        texts = {name: str(row[name]) if present(row[name]) else "" for name in EXAMPLE_TEXTS}
        examples.append(texts | {"label": verdict, "projection": projection})
    return examples


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in record.items()} for record in frame.to_dict("records")]


def _decimals(values: list[float]) -> int:
    """So many decimals that the largest number shows three digits."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0
