"""Keeping and sharing: files of a conversation, the link of its settings, the same in Python; loading what was kept."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from .bench import Bench
from .files import FILES, by_name, errors_by_name, loaded_words, taken_up
from .notebook import python_lines
from .sessions import Session
from .talking import Shown, Talking

COPY = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-copy]');
  if (!button) return;
  const found = element.querySelector('.' + button.dataset.copy);
  window.workbench.copy(found.tagName === 'A' ? found.href : found.textContent, button);
});
"""
"""Buttons that copy what stands beside them."""


@dataclass
class Keep:
    """The components of the section."""

    shown: gr.HTML
    load: gr.UploadButton
    last: gr.Button


def keep_section() -> Keep:
    """Build it."""
    with gr.Accordion("Keep and share", open=False, elem_id="keep"):
        shown = gr.HTML("", js_on_load=COPY, elem_id="kept", apply_default_css=False)
        kinds = [".json", ".jsonl", ".ndjson", ".gz", ".parquet"]
        load = gr.UploadButton("Load a conversation", file_types=kinds, size="sm", elem_id="load")
        last = gr.Button("Continue this browser's last conversation", size="sm", elem_id="last")
    return Keep(shown, load, last)


def keep_html(bench: Bench, session: Session) -> str:
    """The files of a conversation, the link of its settings, and its lines of Python."""
    query = session.settings.to_query()
    link = html.escape(f"./?{query}" if query else "./", quote=True)
    parts = ['<div class="keep">']
    if session.dialogue.at is None:
        parts.append('<p class="quiet">Files appear here once something was said.</p>')
    else:
        files = "".join(
            f'<a href="./keep/{session.name}/{name}" download="{name}">{html.escape(kind.title)}</a>' for name, kind in FILES.items()
        )
        parts.append(f'<p class="quiet">Save as</p><p class="links">{files}</p>')
    copy = '<button type="button" data-copy="link">Copy the link</button>'
    parts.append(f'<p class="links"><a class="link" href="{link}">Link to these settings</a>{copy}</p>')
    lines = html.escape(python_lines(bench, session.dialogue))
    parts.append(
        '<p class="links"><span class="quiet">The last exchange in Python</span><button type="button" data-copy="python">Copy</button></p>'
    )
    parts.append(f'<pre class="python" tabindex="0">{lines}</pre></div>')
    return "".join(parts)


def loaded(talking: Talking, session: Session, path: str) -> Iterator[Shown]:
    """A conversation from a file in the place of this one."""
    with session.answering():
        with errors_by_name(path):
            dialogue, settings, problem = taken_up(path, talking.bench, session.settings)
        edited = session.editing is not None
        session.dialogue, session.settings, session.editing = dialogue, settings, None
    yield from _shown(talking, session, by_name(problem, path) or loaded_words(dialogue), edited)


def continued(talking: Talking, session: Session, last: str) -> Iterator[Shown]:
    """The conversation that this browser showed last, in whichever tab."""
    with session.answering():
        before, edited = session.dialogue, session.editing is not None
        problem = "this browser has kept no conversation yet"
        if last:
            kept = json.loads(last)
            other = talking.sessions.known(str(kept.get("tab")))
            if other is not None and other.dialogue.exchanges:
                session.dialogue, session.settings, problem = other.dialogue, other.settings, ""
            else:
                problem = session.take(str(kept.get("copy", "")))
        if session.dialogue is not before:
            session.editing = None  # the exchange that was being edited is none of this conversation
    yield from _shown(talking, session, problem, edited and session.editing is None)


def _shown(talking: Talking, session: Session, words: str, edited: bool) -> Iterator[Shown]:
    """The other conversation; the composer is cleared where it held the edit of an earlier one, and keeps any other draft."""
    if edited:
        yield Shown(message="")
    yield from talking.read(session, session.settings)
    yield Shown(said=words) if words else Shown()
