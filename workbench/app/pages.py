"""A conversation with its charts as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .. import plots
from ..errors import WorkbenchError
from ..evaluation.verdict import LIMITS
from ..plots.export import CONFIG
from ..plots.theme import DARK, FONT, LIGHT, clear_templates, script_json
from .bench import Bench
from .chart import ON_DARK, both_sides
from .dialogue import SIDES, Dialogue
from .gauge import MORE_DARK, MORE_LIGHT, STYLE, Scales
from .markup import NAMES, conversation_html
from .notebook import python_lines
from .readings import side_tokens, trajectory_frame
from .settings import Settings

TEMPLATE = Path(__file__).with_name("conversation.html.j2")


def trajectory_figure(dialogue: Dialogue, bench: Bench, layer: int | None) -> go.Figure | None:
    """Both sides' answers along the branch that is shown, with the band; None where nothing was measured."""
    frame = trajectory_frame(dialogue, bench, layer)
    if frame.empty or frame["projection"].isna().all():
        return None
    return both_sides(frame, bench.band(layer))


def figure_values(figure: go.Figure) -> dict[str, Any]:
    """A figure for a page that supplies the template, light or dark, and the title."""
    values = json.loads(figure.to_json() or "{}")
    layout = values["layout"]
    layout.pop("template", None)
    layout.pop("title", None)
    return {"data": values["data"], "layout": layout}


def conversation_page(dialogue: Dialogue, bench: Bench, settings: Settings) -> str:
    """The branch that is shown as a page of its own: answers, gauges, trajectory, tokens, settings, and what it does not show.

    Light or dark by the reader's preference, readable on a phone. All text is escaped.
    """
    layer = bench.layer(settings)
    figure = trajectory_figure(dialogue, bench, layer)
    values = None if figure is None else figure_values(figure)
    scales, band = Scales(bench), bench.band(layer)
    shown = {place: scales.at(layer, place) for place, _ in enumerate(dialogue.path, 1)}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    more = len(dialogue.exchanges) - len(dialogue.path)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=dialogue.name[:1].upper() + dialogue.name[1:], model=bench.name, layer=layer, band=f"Shaded: {band.words}." if band else "",
        words=f"{len(dialogue.path)} exchanges" + (f"; {more} more lie on other branches, which are not shown" if more else ""),
        exchanges=Markup(conversation_html(dialogue, shown)), maps=_maps(dialogue, bench, settings),
        figure_json=Markup(script_json(values)) if values else "", dark_json=Markup(script_json(ON_DARK)),
        height=values["layout"]["height"] if values else 0,
        template_json=Markup(script_json(clear_templates())), config_json=Markup(script_json(CONFIG)),
        plotlyjs=Markup(get_plotlyjs()) if values else "", settings=_settings(dialogue, settings, bench),
        python=python_lines(bench, dialogue),
        limits=LIMITS[:2], light=LIGHT, dark=DARK, more_light=MORE_LIGHT, more_dark=MORE_DARK, font=Markup(FONT), gauge=Markup(STYLE),
    )  # fmt: skip


def _maps(dialogue: Dialogue, bench: Bench, settings: Settings) -> list[tuple[str, Markup]]:
    """Each side's answers token by token, as far as they can be read."""
    if bench.layer(settings) is None:
        return []
    found, band = [], bench.token_band(bench.layer(settings))
    for side in SIDES:
        tokens = side_tokens(dialogue, bench, side, settings)
        if len(tokens):
            found.append((NAMES[side], Markup(plots.token_map_fragment(tokens, band))))
    return found


def _settings(dialogue: Dialogue, settings: Settings, bench: Bench) -> list[tuple[str, dict[str, str]]]:
    """What the exchanges were answered under, in words; with the exchanges' places where they differ. The gauge is where it stands now."""
    known = [Settings.from_query(one.settings).but(layer=settings.layer) for one in dialogue.path] or [settings]
    found, place = [], 1
    for under, members in groupby(known):
        end = place + len([*members]) - 1
        found.append((f"Exchange {place}" if end == place else f"Exchanges {place} to {end}", _in_words(under, bench)))
        place = end + 1
    return found if len(found) > 1 else [("", found[0][1])]


def _in_words(settings: Settings, bench: Bench) -> dict[str, str]:
    """What was set; what stands as it is by default is left out."""
    given = {name: value for name, value in settings.model_dump().items() if value != type(settings).model_fields[name].default}
    try:
        prompt = bench.system_prompt(settings)
    except WorkbenchError:
        prompt = ""
    shown = {name.replace("_", " "): str(value) for name, value in given.items() if name not in ("system",)}
    return {"system prompt": prompt or "none", **shown}
