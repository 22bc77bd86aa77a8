"""What the pages show of the study: figures as scripts that any page can load, and tables as Markdown."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs
from study import DRIFT_LAYER

from workbench import plots
from workbench.conversations import DEFAULT_ROLE
from workbench.explorer import persona_layers, role_facts
from workbench.plots.export import CONFIG
from workbench.plots.theme import ASSISTANT, DARK_NAME, FAR, LIGHT_NAME, NEUTRAL, new_figure
from workbench.report.caps import causal_figures
from workbench.report.origins import origin_figures
from workbench.report.page import ReportFigure
from workbench.store import Run
from workbench.study.report import role_table, study_figures
from workbench.thresholds import Threshold, threshold

TITLE_PX = 56
"""What a figure loses in height when its title moves into the page."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A figure of the site: a script that holds its data, the numbers behind it, and what stands around it."""

    title: str
    caption: str
    height: int
    script: str
    csv: str


def shown_figures(run: Run) -> dict[str, Shown]:
    """Every figure by the name that pages call it."""
    space, axis, acts = run.space(), run.axis, run.activations()
    found = study_figures(run, space, axis, role_table(run, acts, space, axis)) | origin_figures(run) | causal_figures(run)
    plane = plots.persona_space(space.to_frame(axis), dims=2)
    found["persona_plane"] = ReportFigure(found["persona_space"].title, "The first two components; + = Assistant, and to the right.", plane)
    found["thresholds"] = _thresholds_figure(run)
    found["drift_means"] = _drift_figure(run)
    return {name: _shown(name, figure) for name, figure in found.items()}


def shown_tables(run: Run) -> dict[str, str]:
    """Every table by the name that pages call it, as Markdown."""
    return {"thresholds": _thresholds_table(run), "verdict": _verdict_table(run)}


def explorer(run: Run) -> str:
    """The linked figure as a page by itself, with plotly.js from where the site has it."""
    page = plots.explorer_page(persona_layers(run.role_vectors, run.axis), role_facts(run))
    return page.replace(f"<script>{get_plotlyjs()}</script>", '<script src="../plotly.min.js"></script>')


def templates_script() -> str:
    """Both templates of the house with clear backgrounds, and the configuration of every figure."""
    clear = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    found = {}
    for scheme, name in (("light", LIGHT_NAME), ("dark", DARK_NAME)):
        template = pio.templates[name].to_plotly_json()
        found[scheme] = template | {"layout": template["layout"] | clear}
    return f"window.workbench = {_json({'templates': found, 'config': CONFIG, 'figures': {}})};\n"


def _shown(name: str, figure: ReportFigure) -> Shown:
    plot = json.loads(figure.figure.to_json() or "{}")
    layout = plot["layout"]
    layout.pop("title", None)
    layout.pop("template", None)
    margin = layout.setdefault("margin", {})
    margin["t"] = max(24, int(margin.get("t", 80)) - TITLE_PX)
    layout["height"] = int(layout.get("height") or 460) - TITLE_PX
    script = f"workbench.figures[{json.dumps(name)}] = {_json({'data': plot['data'], 'layout': layout})};\n"
    return Shown(figure.title, figure.caption, layout["height"], script, plots.data(figure.figure).to_csv(index=False))


def _json(value: object) -> str:
    """JSON that may stand in a script file."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


# -- thresholds: the sign trap in numbers -----------------------------------------------------------
def _thresholds(run: Run) -> dict[str, Threshold]:
    acts, default = run.activations(), run.activations().where(f"role == '{DEFAULT_ROLE}'")
    return {
        "too weak": threshold(run.axis, acts, 25, reference=default),
        "the paper's": threshold(run.axis, acts, 75, reference=default),
        "own": threshold(run.axis, default, 25),
    }


def _scores(run: Run) -> tuple[np.ndarray, np.ndarray]:
    acts = run.activations()
    values, default = acts.project(run.axis)[run.recommended_layer].to_numpy(), (acts.rows["role"] == DEFAULT_ROLE).to_numpy()
    return values[default], values[~default]


def _thresholds_figure(run: Run) -> ReportFigure:
    """Projections of default and roles, three thresholds, and the same line read from the other end on top."""
    layer, (default, roles) = run.recommended_layer, _scores(run)
    figure = new_figure("Three thresholds", {}, False, height=520)
    width = (max(default.max(), roles.max()) - min(default.min(), roles.min())) / 40
    for name, values, colour in (("roles", roles, FAR), ("default", default, ASSISTANT)):
        figure.add_trace(go.Histogram(x=values, name=name, histnorm="percent", xbins={"size": width}, marker_color=colour, opacity=0.65))
    for name, at in _thresholds(run).items():
        level, side, over = at.levels[layer], *(("left", "default") if name == "own" else ("right", "all"))
        figure.add_vline(x=level, line={"color": NEUTRAL, "width": 1.6, "dash": "dash"})
        place = {"x": level, "y": 1, "yref": "y domain", "yanchor": "top", "xanchor": side, "xshift": 3 if side == "left" else -3}
        figure.add_annotation(place, text=f"p{at.percentile:g} of {over}", showarrow=False, font_size=11)
    low, high = min(default.min(), roles.min()) - width, max(default.max(), roles.max()) + width
    top = 115 * max(np.histogram(v, np.arange(low, high + width, width))[0].max() / len(v) for v in (default, roles))  # room for names
    # Plotly draws a second axis only where a trace uses it.
    figure.add_trace(go.Scatter(x=[None], y=[None], xaxis="x2", showlegend=False, meta="decoration"))
    figure.update_layout(
        barmode="overlay", bargap=0.04, margin={"t": 130},
        xaxis={"range": [low, high], "showline": True,
               "title": {"text": "projection on the axis<br>(residual-stream units), + = Assistant"}},
        yaxis={"title": {"text": "% of the group's responses"}, "range": [0, top]},
        xaxis2={"overlaying": "x", "side": "top", "range": [-low, -high], "showgrid": False, "showline": True,
                "title": {"text": "the same along role − default,<br>as the released code counts"}},
    )  # fmt: skip
    caption = (
        f"Response means of the embedded model at layer {layer}: {len(default)} of the default, {len(roles)} of roles, and where three "
        "thresholds lie. A floor moves what is left of it. The upper scale counts from the other end: the same places, other signs, other "
        "percentiles."
    )
    return ReportFigure("Three thresholds, two signs", caption, figure)


def _thresholds_table(run: Run) -> str:
    layer, (default, roles) = run.recommended_layer, _scores(run)
    records = []
    for name, at in _thresholds(run).items():
        level, turned = at.levels[layer], at.turned()
        over = f"{at.over}, n = {at.n:,}"
        records.append({
            "": name, "taken over": over, "along the axis": f"p{at.percentile:g}: floor at {level:+.2f}",
            "as the released code says it": f"p{turned.percentile:g}: ceiling at {turned.levels[layer]:+.2f}", "z": f"{at.z[layer]:+.2f}",
            "roles' answers below": f"{(roles < level).mean():.0%}", "default's below": f"{(default < level).mean():.0%}",
        })  # fmt: skip
    return markdown_table(pd.DataFrame(records))


def _verdict_table(run: Run) -> str:
    lines = run.study["verdict"]["lines"]
    frame = pd.DataFrame([{"line": at["line"], "outcome": f"*{at['outcome']}*", "evidence": at["evidence"]} for at in lines])
    return markdown_table(frame) + f"\n\nConclusion: *{run.study['verdict']['conclusion']}*."


def _drift_figure(run: Run) -> ReportFigure:
    means, band = (pd.read_csv(run.folder / "tables" / f"drift_{name}.csv") for name in ("means", "band"))
    means.attrs |= {"model": run.axis.site.model, "layer": DRIFT_LAYER}
    caption = (
        f"Mean projection of the replies at layer {DRIFT_LAYER}, exchange by exchange, with 95 % intervals over conversations; + = "
        "Assistant. The grey band holds nine in ten replies of the same model to ordinary questions at the same exchange."
    )
    return ReportFigure("Conversations that drift", caption, plots.drift_means(means, band))


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame of text as a Markdown table; what Markdown would read in a cell is escaped, but for emphasis that is meant."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows)


def figure_html(name: str, shown: Shown, folder: str) -> str:
    """The place of a figure in a page; `folder` leads from the page to the figures."""
    caption, title = html.escape(shown.caption), html.escape(re.sub(r"\s+", " ", shown.title))
    return (
        f'<figure class="wb-figure"><div class="wb-plot" data-figure="{name}" role="img" aria-label="{title}. {caption}" '
        f'style="height: {shown.height}px"></div>\n<figcaption><strong>{title}.</strong> {caption} '
        f'<a href="{folder}/{name}.csv" download>Numbers (CSV)</a></figcaption></figure>'
    )


def scripts_html(names: Mapping[str, Any] | list[str], assets: str) -> str:
    """The scripts that a page with figures needs, all from the site's own folder; `assets` leads from the page to it."""
    files = ["plotly.min.js", "figures/templates.js", *(f"figures/{name}.js" for name in names), "figures.js"]
    return "".join(f'<script src="{assets}/{file}"></script>\n' for file in files)
