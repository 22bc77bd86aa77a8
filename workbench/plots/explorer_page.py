"""The linked figure as a page: layer and role are chosen with pointer or keyboard, and what the role said stands below."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from ..frames import need
from .explorer import persona_layers
from .export import CONFIG
from .theme import DARK, FONT, LIGHT, clear_templates, present, script_json

HERE = Path(__file__).parent
STYLE, SCRIPT = ((HERE / f"explorer.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
"""How the page looks, and what moves it: ``FONT`` and ``NAME`` stand for the font and the element's id."""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<style>
body {{ margin: 0; background: {light}; }} main {{ max-width: 76rem; margin: 0 auto; padding: 1.2rem 1.1rem 2rem; }}
h1 {{ font: 650 1.4rem/1.3 {font}; margin: 0 0 .6rem; color: {light_ink}; overflow-wrap: anywhere; }}
@media screen and (prefers-color-scheme: dark) {{ body {{ background: {dark}; }} h1 {{ color: {dark_ink}; }} }}
</style><script>{plotlyjs}</script></head>
<body><main><h1>{title}</h1>
{body}
</main></body>
</html>
"""


def explorer_page(frame: pd.DataFrame, facts: pd.DataFrame, title: str = "Personas, layer by layer", dims: int = 2) -> str:
    """A whole page, readable offline: :func:`workbench.plots.persona_layers` with a layer slider, and the chosen role's texts below it.

    A role is chosen by a click on its point, in any panel, or from a list; it is ringed in all panels and at every layer.

    Parameters
    ----------
    frame
        As for :func:`workbench.plots.persona_layers`.
    facts
        A row a role, as from :func:`workbench.explorer.role_facts`: ``role, description, tags, labels`` (texts), ``prompts`` (list),
        ``responses`` (list of records ``prompt, question, response, label, projection``); ``attrs["layer"]``: where those projections
        were read.
    title
        The page's heading.
    dims
        2 or 3.

    Returns
    -------
    str
        HTML with plotly.js inside, light or dark as the reader's system asks for.

    Raises
    ------
    DataError
        Where a column is missing, or as :func:`workbench.plots.persona_layers`.
    """
    colours = {"light": LIGHT.page, "light_ink": LIGHT.ink, "dark": DARK.page, "dark_ink": DARK.ink}
    body = explorer_fragment(frame, facts, dims)
    return PAGE.format(title=html.escape(title), body=body, font=FONT, plotlyjs=get_plotlyjs(), **colours)


def explorer_fragment(frame: pd.DataFrame, facts: pd.DataFrame, dims: int = 2, name: str = "explorer") -> str:
    """The same for use inside a page that loads plotly.js; `name` is the element's id, for several on one page."""
    need(facts, ["role", "description", "tags", "labels", "prompts", "responses"], "explorer_page")
    figure = json.loads(persona_layers(frame, facts, dims=dims).to_json() or "{}")
    layout = figure["layout"]
    layout.pop("template", None)
    start = layout["sliders"][0]["active"]
    roles = _roles(frame, facts)
    data = {"figure": figure, "roles": roles, "templates": clear_templates(), "config": CONFIG, "layer": facts.attrs.get("layer", "")}
    options = "".join(f'<option value="{i}">{html.escape(role["role"])}</option>' for i, role in sorted(enumerate(roles), key=_by_name))
    last = len(figure["frames"]) - 1
    return (
        f"<style>{_style()}</style>"
        f'<section class="explorer mathjax_ignore tex2jax_ignore" id="{name}" aria-label="Personas, layer by layer">'
        f'<div class="choices"><label class="layer">Layer <input type="range" min="0" max="{last}" value="{start}">'
        "<output></output></label>"
        f'<label>Role <select><option value="" disabled selected>choose, or click a point</option>{options}</select></label></div>'
        '<div class="plot" role="img" aria-label="Roles in persona space, along the axis, and their loadings on three components"></div>'
        '<div class="role" role="region" aria-live="polite" aria-label="The chosen role"><p class="quiet">Click a point, or choose a role: '
        "its prompts and some of its answers appear here.</p></div>"
        f'<script type="application/json">{script_json(data)}</script></section><script>{SCRIPT.replace("NAME", name)}</script>'
    )


def _by_name(numbered: tuple[int, dict[str, Any]]) -> str:
    return numbered[1]["role"]


def _roles(frame: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """The roles' texts in the order of the figure's points, the default last."""
    first = frame[frame["layer"] == frame["layer"].iloc[0]].sort_values("is_default", kind="stable")
    known = {str(row["role"]): row for row in facts.to_dict("records")}
    roles = []
    for role in first["role"]:
        row = known.get(str(role), {})
        texts = {key: str(row[key]) if present(row.get(key)) else "" for key in ("description", "tags", "labels")}
        roles.append({"role": str(role), "prompts": list(row.get("prompts", [])), "responses": list(row.get("responses", []))} | texts)
    return roles


def _style() -> str:
    rules = [STYLE.replace("FONT", FONT)]
    for theme, around in ((LIGHT, "{}"), (DARK, "@media screen and (prefers-color-scheme: dark) {{ {} }}")):
        own = f".explorer {{ --page: {theme.page}; --ink: {theme.ink}; --muted: {theme.muted}; --line: {theme.grid}; }}"
        rules.append(around.format(own))
    return "\n".join(rules)
