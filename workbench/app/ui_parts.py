"""Pieces of the page that gradio has no component for: charts in the house's look, the dialog of tokens, the status line."""

from __future__ import annotations

import html

import gradio as gr
import plotly.graph_objects as go

from ..plots.export import CONFIG
from ..plots.theme import clear_templates, script_json
from .chart import ON_DARK
from .pages import figure_values

BUTTONS = """
element.addEventListener('click', event => {
  const found = event.target.closest('[data-act]');
  if (!found || getSelection().toString()) return;
  const {act, n, by, side} = found.dataset;
  trigger('act', {act, n: n === undefined ? null : +n, by: by === undefined ? 0 : +by, side: side || ''});
});
"""
"""Buttons inside HTML tell the server what they are: ``data-act`` and its arguments. A selection of text is no click."""


def chart(elem_id: str) -> gr.HTML:
    """A figure, given as :func:`chart_value` makes it."""
    draw = "const place = element.querySelector('.plot'), draw = () => window.workbench.draw(place, props.value);"
    again = "new MutationObserver(draw).observe(document.body, {attributeFilter: ['class']});"
    script = f"(() => {{ {draw} draw(); watch('value', draw); {again} }})()"
    return gr.HTML("", html_template='<div class="plot"></div>', js_on_load=script, elem_id=elem_id, apply_default_css=False)


def chart_value(figure: go.Figure | None) -> str:
    """A figure with both templates as text; empty where there is none."""
    if figure is None:
        return ""
    return script_json({**figure_values(figure), "config": CONFIG, "templates": clear_templates(), "dark": ON_DARK})


def keeper() -> gr.HTML:
    """What the browser keeps of the conversation; nothing is shown."""
    return gr.HTML(
        "", html_template="<span></span>", js_on_load="watch('value', () => window.workbench.keep(props.value));", visible="hidden"
    )


def token_dialog() -> gr.HTML:
    """A dialog that opens when its value changes to a page, and closes by its button or the escape key."""
    template = (
        '<dialog class="tokens" aria-label="Token by token"><div class="head"><button type="button">Close</button></div>${value}</dialog>'
    )
    script = """
    const open = () => {
      const dialog = element.querySelector('dialog');
      if (!dialog || !props.value || dialog.open) return;
      dialog.querySelector('button').addEventListener('click', () => dialog.close());
      dialog.showModal();
    };
    watch('value', open);
    """
    return gr.HTML("", html_template=template, js_on_load=script, elem_id="token-dialog", apply_default_css=False)


def framed(page: str, kind: str = "") -> str:
    """A whole page inside this one, without any rights over it."""
    return f'<iframe class="{kind}" sandbox="allow-scripts" title="Token by token" srcdoc="{html.escape(page, quote=True)}"></iframe>'


def said(text: str, wrong: bool = False) -> str:
    """The status line: what is going on, or what went wrong, in a sentence."""
    if not text:
        return ""
    return f'<p role="status" class="{"wrong" if wrong else ""}">{html.escape(text[:1].upper() + text[1:])}</p>'
