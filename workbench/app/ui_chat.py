"""The chat's part of the page: conversation, composer, chart; what they do is in :mod:`workbench.app.talking`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .. import plots
from ..errors import WorkbenchError
from .form import FIELDS, settings_of, values_of
from .markup import EMPTY
from .pages import trajectory_figure
from .readings import tokens_of
from .sessions import Session
from .settings import Settings
from .talking import Shown, Talking, queued, restored, safely
from .ui_controls import KEEP, Controls, shown_fields
from .ui_keep import keep_html
from .ui_parts import BUTTONS, chart, chart_value, framed, said, token_dialog

log = logging.getLogger("workbench")
HIDDEN: dict[str, Any] = {"queue": True, "show_progress": "hidden", "api_visibility": "private"}
"""How every event runs: without gradio's own veil over the page, which would hide what is being written."""
RAW: dict[str, Any] = HIDDEN | {"preprocess": False}
"""Events that read the form: what stands in it comes as it is, so that our settings, and not gradio, say what is wrong with it."""
BROKEN = "something went wrong in the app itself; the terminal that it runs in says what"


@dataclass
class Chat:
    """The components of the chat."""

    tab: gr.Textbox
    history: gr.HTML
    live: gr.HTML
    message: gr.Textbox
    send: gr.Button
    stop: gr.Button
    leave: gr.Button
    status: gr.HTML
    chart: gr.HTML
    words: gr.HTML
    tokens: gr.HTML
    kept: gr.HTML
    keep: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What a step may change, in the order of :func:`_updates`."""
        return [
            self.history,
            self.live,
            self.message,
            self.status,
            self.send,
            self.stop,
            self.leave,
            self.chart,
            self.words,
            self.kept,
            self.keep,
        ]


def main_column() -> dict[str, Any]:
    """The conversation and the composer."""
    history = gr.HTML(EMPTY, js_on_load=BUTTONS, elem_id="history", apply_default_css=False)
    live = gr.HTML("", js_on_load="watch('value', () => window.workbench.follow());", elem_id="live", apply_default_css=False)
    with gr.Column(elem_classes="composer"):
        status = gr.HTML("", elem_id="status", elem_classes="status", apply_default_css=False)
        with gr.Row(elem_classes="buttons"):
            message = gr.Textbox(
                show_label=False, label="Message", placeholder="Say something", lines=1,
                max_lines=8, elem_id="message", autofocus=True, container=False, scale=1, min_width=120,
            )  # fmt: skip
            send = gr.Button("Send", variant="primary", elem_id="send", scale=0, min_width=76)
            stop = gr.Button("Stop", interactive=False, elem_id="stop", scale=0, min_width=76)
            leave = gr.Button("Leave the edit", visible=False, elem_id="leave", scale=0, min_width=120)
    tokens = token_dialog()
    return {
        "tokens": tokens,
        "history": history,
        "live": live,
        "status": status,
        "message": message,
        "send": send,
        "stop": stop,
        "leave": leave,
    }


def side_column() -> dict[str, Any]:
    """The chart of both sides."""
    return {"chart": chart("trajectory"), "words": gr.HTML("", elem_id="words", apply_default_css=False)}


class ChatEvents:
    """What happens where something is pressed."""

    def __init__(self, talking: Talking, chat: Chat, controls: Controls) -> None:
        self.talking, self.chat, self.controls = talking, chat, controls

    def connect(self) -> None:
        """Attach everything to the page that is being built."""
        chat, inputs = self.chat, [self.chat.tab, *self.controls.fields]
        sending: dict[str, Any] = {"inputs": [chat.tab, chat.message, *self.controls.fields], "outputs": chat.outputs, **RAW}
        sending["trigger_mode"] = "multiple"  # pressed too early, it is answered with a sentence, not with silence
        chat.message.submit(self._send, **sending)
        chat.send.click(self._send, **sending)
        chat.stop.click(self._stop, [chat.tab], None, **HIDDEN)
        chat.leave.click(self._leave, [chat.tab], chat.outputs, **HIDDEN)
        chat.history.act(self._act, inputs, [*chat.outputs, chat.tokens], **RAW)
        self.controls.new.click(self._new, [chat.tab], chat.outputs, **HIDDEN)
        self.controls.by_name["layer"].input(self._layer, inputs, chat.outputs, **RAW)

    # -- events -------------------------------------------------------------------------------------
    def _send(self, tab: str, message: str, *values: Any) -> Iterator[list[Any]]:
        yield from self._run(tab, lambda session: self.talking.send(session, message, settings_of(values)))

    def _act(self, event: gr.EventData, tab: str, *values: Any) -> Iterator[list[Any]]:
        what: dict[str, Any] = event._data
        act, number = what["act"], what["n"]
        if act == "tokens":
            yield from ([*shown, tokens] for shown, tokens in self._tokens(tab, number, what["side"]))
            return
        actions: dict[str, Callable[[Session], Iterator[Shown]]] = {
            "edit": lambda session: self.talking.edit(session, number),
            "again": lambda session: self.talking.again(session, number, settings_of(values)),
            "control": lambda session: self.talking.control(session, number, settings_of(values)),
            "suggest": lambda session: self.talking.suggest(session, number),
            "turn": lambda session: self.talking.turn(session, number, what["by"]),
        }
        for shown in self._run(tab, actions[act]):
            yield [*shown, gr.skip()]

    def _leave(self, tab: str) -> Iterator[list[Any]]:
        yield from self._run(tab, self.talking.leave)

    def _new(self, tab: str) -> Iterator[list[Any]]:
        yield from self._run(tab, self.talking.begin_anew)

    def _layer(self, tab: str, *values: Any) -> Iterator[list[Any]]:
        yield from self._run(tab, lambda session: self.talking.read(session, settings_of(values)))

    def _stop(self, tab: str) -> None:
        self.talking.stop(self.talking.sessions.get(tab))

    def _tokens(self, tab: str, number: int, side: str) -> Iterator[tuple[list[Any], Any]]:
        """One answer token by token, in a dialog."""
        page: list[str] = []

        def read(session: Session) -> Iterator[Shown]:
            with self.talking.line.place() as place:
                yield from queued(place)
                frame = tokens_of(session.dialogue, self.talking.bench, number, side, session.settings)
                band = self.talking.bench.token_band(self.talking.bench.layer(session.settings))
            page.append(plots.token_map(frame, band, title="Token by token"))
            yield Shown(said="")

        for shown in self._run(tab, read):
            # The dialog opens where its value changes: the same answer twice must be another value.
            yield shown, framed(page[0]) + f"<!-- {next(_COUNT)} -->" if page else gr.skip()

    def noted(self, tab: str, *values: Any) -> list[Any]:
        """The form was changed: what follows from it in the form itself, in the link and in the browser's copy."""
        bench, skip = self.talking.bench, gr.skip()
        try:
            session = self.talking.sessions.get(tab)
            settings = settings_of(values)
            changed = settings.persona != session.settings.persona
            session.settings = settings = settings.but(prompt=0) if changed else settings
        except WorkbenchError as error:
            return [said(str(error), True), skip, skip, *[skip] * len(values)]
        fields = shown_fields(bench, settings, [0 if changed and name == "prompt" else KEEP for name in FIELDS])
        return ["", session.to_text(), keep_html(bench, session), *fields]

    def with_form(self, action: Callable[[Session, Any], Iterator[Shown]], tab: str, given: Any) -> Iterator[list[Any]]:
        """An action after which other settings stand in the form."""
        number = len(self.controls.fields)
        for shown in self._run(tab, lambda session: action(session, given)):
            yield [*shown, *[gr.skip()] * number]
        session = self.talking.sessions.known(tab)
        if session is not None:
            nothing = [gr.skip()] * len(self.chat.outputs)
            yield [*nothing, *shown_fields(self.talking.bench, session.settings, values_of(session.settings))]

    # -- parts --------------------------------------------------------------------------------------
    def _run(self, tab: str, action: Callable[[Session], Iterator[Shown]]) -> Iterator[list[Any]]:
        """The steps of an action as updates of the page; whatever fails is one sentence there."""
        session = None
        try:
            session = self.talking.sessions.get(tab)
            for shown in safely(action(session), session):
                yield self.updates(session, shown)
        except WorkbenchError as error:
            yield self.updates(session, Shown(said=str(error), wrong=True))
        except Exception:  # what is no user's mistake is ours: named in the page, told in full where the app runs
            log.exception("an event of the app failed")
            yield self.updates(session, Shown(said=BROKEN, wrong=True, busy=False))

    def updates(self, session: Session | None, shown: Shown) -> list[Any]:
        """One step as values of :attr:`Chat.outputs`."""
        skip = gr.skip()
        parts = [skip if value is None else value for value in (shown.history, shown.live, shown.message)]
        parts.append(skip if shown.said is None else said(shown.said, shown.wrong))
        busy = [skip, skip] if shown.busy is None else [gr.update(interactive=not shown.busy), gr.update(interactive=shown.busy)]
        editing = skip if session is None else gr.update(visible=session.editing is not None)
        return [*parts, *busy, editing, *self._done(session, shown)]

    def _done(self, session: Session | None, shown: Shown) -> list[Any]:
        """Chart, its words, the browser's copy and what can be kept, where the conversation has changed."""
        if session is None or not shown.done:
            return [gr.skip()] * 4
        bench, kept = self.talking.bench, session.to_text()
        if session.busy and shown.busy:
            return [gr.skip(), gr.skip(), kept, gr.skip()]
        layer = bench.layer(session.settings)
        band = bench.band(layer)
        figure = trajectory_figure(session.dialogue, bench, layer) if layer is not None else None
        words = f'<p class="quiet">Mean projection of each answer. Shaded: {band.words}.</p>' if band and figure else ""
        return [chart_value(figure), words, kept, keep_html(bench, session)]


def opening(talking: Talking, events: ChatEvents, tab: str, copy: str, query: str) -> list[Any]:
    """What the page shows when it is opened or reloaded."""
    problem, session = "", None
    try:
        session, problem = restored(talking, tab, copy, query)
        updates = events.updates(session, Shown(talking.history(session), "", said=problem, wrong=bool(problem), busy=False, done=True))
        values, settings = values_of(session.settings), session.settings
    except WorkbenchError as error:
        updates, settings = events.updates(None, Shown(said=str(error), wrong=True)), Settings()
        values = values_of(settings)
    return [tab, *updates, *shown_fields(talking.bench, settings, values)]


def _counting() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


_COUNT = _counting()


def names_of(chat: Chat, controls: Controls) -> Sequence[Any]:
    """The outputs of :func:`opening`."""
    return [chat.tab, *chat.outputs, *controls.fields]
