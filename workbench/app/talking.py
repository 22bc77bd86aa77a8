"""What the page's chat does, without the page: every action is a generator of what has changed, so that tests need no browser."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..errors import DataError, WorkbenchError
from .bench import Answering, Bench
from .dialogue import Dialogue
from .gauge import Scales
from .line import Line, Place
from .markup import colour_of, conversation_html, live_html
from .readings import measured
from .sessions import Session, Sessions
from .settings import Settings

SUGGESTED = 4
"""So many questions are suggested at the beginning."""


@dataclass(frozen=True)
class Shown:
    """What the page shows after a step; what is None stays as it is.

    Attributes
    ----------
    history, live
        The finished exchanges, and the one that is being written, as HTML.
    message
        What stands in the composer.
    said, wrong
        The status line, and whether something went wrong.
    busy
        Whether an answer is being written.
    done
        Whether conversation, chart and the browser's copy have changed.
    """

    history: str | None = None
    live: str | None = None
    message: str | None = None
    said: str | None = None
    wrong: bool = False
    busy: bool | None = None
    done: bool = False


class Talking:
    """The chat of a bench: one model, many tabs, one answer at a time."""

    def __init__(self, bench: Bench, sessions: Sessions | None = None, line: Line | None = None) -> None:
        self.bench, self.sessions, self.line = bench, sessions or Sessions(), line or Line()
        self._scales = Scales(bench)

    # -- what is shown ------------------------------------------------------------------------------
    def history(self, session: Session, live: int | None = None) -> str:
        """The branch that is shown, as HTML."""
        layer = self._layer(session.settings)
        scales = {place: self._scales.at(layer, place) for place, _ in enumerate(session.dialogue.path, 1)}
        return conversation_html(session.dialogue, scales, live, self.suggestions)

    @cached_property
    def suggestions(self) -> list[str]:
        """A few of the study's questions, to begin with."""
        library = self.bench.run.study.get("library", {}) if self.bench.run is not None else {}
        return [str(one["question"]) for one in library.get("questions", [])[:SUGGESTED]]

    def _layer(self, settings: Settings) -> int | None:
        try:
            return self.bench.layer(settings)
        except WorkbenchError:  # a wrong layer is named where something is asked with it
            return None

    # -- what can be done ---------------------------------------------------------------------------
    def send(self, session: Session, message: str, settings: Settings) -> Iterator[Shown]:
        """Say something, or put an edited message in the place of an earlier one."""
        with session.answering():
            query, editing = settings.to_query(), session.editing
            changed = session.dialogue.say(message, query) if editing is None else session.dialogue.edit(editing, message, query)
            last = yield from self._answered(session, changed, settings, message="", keep=True)
        yield last

    def again(self, session: Session, number: int, settings: Settings) -> Iterator[Shown]:
        """Answer a message anew, on a branch of its own; one that was never answered is answered where it stands."""
        with session.answering():
            one = session.dialogue.exchange(number)
            if one.replies:
                changed = session.dialogue.again(number, settings.to_query())
            else:
                changed = session.dialogue.select(number).under(number, settings.to_query())
            last = yield from self._answered(session, changed, settings, keep=True)
        yield last

    def control(self, session: Session, number: int, settings: Settings) -> Iterator[Shown]:
        """The same message and seed, with a random direction of the same dose in the place of the chosen one."""
        with session.answering():
            one = session.dialogue.exchange(number)
            # The gauge reads where it stands now, not where it stood when the message was sent.
            acting = Settings.from_query(one.settings).controlled(settings.control or 0).but(layer=settings.layer)
            changed = session.dialogue.again(number, acting.to_query())
            seed = next((reply.seed for reply in one.replies.values()), None)
            last = yield from self._answered(session, changed, acting, seed=seed)
        yield last

    def edit(self, session: Session, number: int) -> Iterator[Shown]:
        """Put an earlier message into the composer."""
        one = session.dialogue.exchange(number)
        session.editing = number
        yield Shown(message=one.message, said="editing an earlier message: sending it begins a new branch, the old one is kept")

    def suggest(self, session: Session, number: int) -> Iterator[Shown]:
        """Put a suggestion into the composer."""
        if not 0 <= number < len(self.suggestions):
            raise DataError(f"there is no suggestion {number}")
        session.editing = None
        yield Shown(message=self.suggestions[number])

    def leave(self, session: Session) -> Iterator[Shown]:
        """Edit no longer."""
        session.editing = None
        yield Shown(message="", said="")

    def turn(self, session: Session, number: int, steps: int) -> Iterator[Shown]:
        """Go to another branch."""
        self._not_while_busy(session)
        session.dialogue = session.dialogue.turn(number, steps)
        yield from self._read_again(session)

    def read(self, session: Session, settings: Settings) -> Iterator[Shown]:
        """Read the gauge at another layer."""
        self._not_while_busy(session)
        session.settings = settings
        yield from self._read_again(session)

    def begin_anew(self, session: Session) -> Iterator[Shown]:
        """A new conversation; the old one is gone unless it was saved."""
        self._not_while_busy(session)
        session.dialogue, session.editing = Dialogue(), None
        yield Shown(self.history(session), "", "", "", done=True)

    def stop(self, session: Session) -> None:
        """End the answers that are being written; what was written stays."""
        session.stop.set()

    # -- parts --------------------------------------------------------------------------------------
    def _not_while_busy(self, session: Session) -> None:
        with session.answering():
            pass

    def _read_again(self, session: Session) -> Iterator[Shown]:
        """Answers of the shown branch that were not read at this layer are read now."""
        with session.answering(), self.line.place() as place:
            yield from queued(place)
            session.dialogue = measured(session.dialogue, self.bench, session.settings)
        yield Shown(self.history(session), "", said="", done=True)

    def _answered(
        self, session: Session, changed: Dialogue, settings: Settings, *, message: str | None = None, seed: int | None = None,
        keep: bool = False,
    ) -> Generator[Shown, None, Shown]:  # fmt: skip
        """Answer the last message of a dialogue, whoever is before us; on the way out, however that comes, what was written is kept.

        The last step is returned, to be shown when the next message can be sent.
        """
        before = session.dialogue
        self.bench.system_prompt(settings)  # a wrong setting is named before the message leaves the composer
        self.bench.layer(settings)
        number = changed.at
        assert number is not None
        session.dialogue, session.editing = changed, None
        session.settings = settings if keep else session.settings
        asked = changed.exchanges[number].message
        yield Shown(self.history(session, number), live_html(asked, {}, "", None), message, "", busy=True, done=True)
        try:
            with self.line.place() as place:
                yield from queued(place, session.stop)
                if not session.stop.is_set():
                    yield from self._written(session, changed, settings, number, seed)
        except WorkbenchError as error:
            failed = not any(reply.text for reply in session.dialogue.exchanges[number].replies.values())
            session.dialogue = before if failed else session.dialogue
            return Shown(self.history(session), "", asked if failed and message is not None else None, str(error), True, False, True)
        return Shown(self.history(session), "", busy=False, done=True)

    def _written(self, session: Session, changed: Dialogue, settings: Settings, number: int, seed: int | None) -> Iterator[Shown]:
        if self.bench.actor is not None and settings.control is not None and not self.bench.actor.is_known(settings):
            yield Shown(said="matching a random direction of the same dose, on answers to the study's prompts …")
        answering = Answering(self.bench, changed, settings, seed)
        scale = self._scales.at(self._layer(settings), len(changed.path))
        asked, acting = changed.exchanges[number].message, answering.acting
        try:
            for pieces in answering:
                yield Shown(live=live_html(asked, pieces, acting, scale, colour_of(settings)), said="")
                if session.stop.is_set():
                    break
        finally:
            # Also where the browser was closed in the midst of an answer.
            answering.stop()
            session.dialogue = answering.dialogue


def queued(place: Place, stop: threading.Event | None = None) -> Iterator[Shown]:
    """Wait for one's turn, and say how many are before; a stop ends the waiting."""
    before = place.wait(0)
    while before and not (stop is not None and stop.is_set()):
        yield Shown(said=waiting(before))
        before = place.wait(0.3)


def waiting(before: int) -> str:
    """Where one stands in the line."""
    who = "1 request is" if before == 1 else f"{before} requests are"
    return f"{who} before yours: the model does one thing at a time"


def safely(steps: Iterator[Shown], session: Session | None = None) -> Iterator[Shown]:
    """The steps of an action; a mistake becomes the status line, and the page goes on."""
    try:
        yield from steps
    except WorkbenchError as error:
        yield Shown(said=str(error), wrong=True, busy=None if session is None else session.busy)


def restored(talking: Talking, name: str, copy: str, query: str) -> tuple[Session, str]:
    """A tab's session when its page is opened: what it had, and what its link says.

    Returns
    -------
    (Session, str)
        And what has to be said, e.g. that the link is wrong.
    """
    known = talking.sessions.known(name)
    if known is not None and known.busy:
        known.stop.set()  # the page was left in the midst of an answer: nobody reads it any more
    session, problem = talking.sessions.restore(name, copy)
    if query:
        try:
            asked = Settings.from_query(query)
            talking.bench.system_prompt(asked)
            talking.bench.layer(asked)
            session.settings = asked
        except WorkbenchError as error:
            problem = f"this link cannot be followed: {error}"
    return session, problem
