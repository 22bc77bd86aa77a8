"""The page: five tabs over one bench."""

from __future__ import annotations

import html
from functools import partial
from typing import Any

import gradio as gr

from .bench import PLAIN, Bench
from .form import defaults
from .sessions import Sessions
from .talking import Talking
from .ui_chat import HIDDEN, RAW, Chat, ChatEvents, main_column, names_of, opening, side_column
from .ui_controls import Controls, controls
from .ui_keep import Keep, continued, keep_section, loaded
from .ui_pages import compare_tab, drift_tab, space_tab, verdict_tab
from .ui_parts import keeper
from .ui_style import css, theme


def build(bench: Bench) -> tuple[gr.Blocks, Talking]:
    """The page of a bench, and what is behind it."""
    talking = Talking(bench, Sessions(defaults(bench)))
    with gr.Blocks(analytics_enabled=False, title=f"{bench.name}, persona-workbench", fill_width=True) as page:
        gr.HTML(_masthead(bench), apply_default_css=False)
        with gr.Tabs():
            with gr.Tab("Chat"):
                events = _chat(bench, talking)
            with gr.Tab("Persona space"):
                space_tab(bench)
            with gr.Tab("Drift"):
                drift_tab(talking)
            with gr.Tab("Compare"):
                compare_tab(bench)
            with gr.Tab("Verdict"):
                verdict_tab(bench)
        outputs = list(names_of(events.chat, events.controls))
        page.load(
            lambda tab, copy, query: opening(talking, events, tab, copy, query),
            [events.chat.tab, events.chat.message, events.chat.message],  # the script gives other values in their place
            outputs, js="() => window.workbench.begin()", **HIDDEN,
        )  # fmt: skip
    page.queue(default_concurrency_limit=None, max_size=200)
    return page, talking


def mounted(app: Any, page: gr.Blocks, head: str) -> Any:
    """The page at the root of an application, without gradio's footer, its history of runs and its servers for others."""
    return gr.mount_gradio_app(
        app, page, path="/", footer_links=[], run_history=False, ssr_mode=False, show_error=False, pwa=False, mcp_server=False,
        enable_monitoring=False, theme=theme(), css=css(), head=head, max_file_size="50mb",
    )  # fmt: skip


def _chat(bench: Bench, talking: Talking) -> ChatEvents:
    tab = gr.Textbox(visible="hidden", elem_id="tab-name")
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=8, min_width=300, elem_classes="talk"):
            main = main_column()
        with gr.Column(scale=4, min_width=290, elem_classes="beside"):
            side = side_column()
            form = controls(bench)
            keep = keep_section()
    chat = Chat(tab=tab, kept=keeper(), keep=keep.shown, **main, **side)
    events = ChatEvents(talking, chat, form)
    events.connect()
    _connect_files(talking, events, keep, form)
    return events


def _connect_files(talking: Talking, events: ChatEvents, keep: Keep, form: Controls) -> None:
    chat = events.chat
    outputs = [*chat.outputs, *form.fields]
    # Partials, not lambdas: gradio looks at the function to see that it gives step after step.
    keep.load.upload(partial(events.with_form, partial(loaded, talking)), [chat.tab, keep.load], outputs, **HIDDEN)
    keep.last.click(
        partial(events.with_form, partial(continued, talking)), [chat.tab, chat.message], outputs,
        js="tab => [tab, window.workbench.last()]", **HIDDEN,
    )  # fmt: skip
    for name, field in form.by_name.items():
        if name == "layer":
            continue  # the gauge reads what is there again: an event of the chat
        told = field.blur if isinstance(field, gr.Textbox) else field.input
        told(events.noted, [chat.tab, *form.fields], [chat.status, chat.kept, chat.keep, *form.fields], trigger_mode="always_last", **RAW)


def _masthead(bench: Bench) -> str:
    about = [bench.name]
    if bench.run is not None:
        about.append(f"run {bench.run.folder.name}")
    if bench.endpoint is not None:
        about.append(PLAIN)
    said = "".join(f"<p>{html.escape(text)}</p>" for text in about)
    return f'<header class="masthead"><h1>persona-workbench</h1>{said}</header>'
