"""Who is talking: every tab of a browser has a conversation of its own, which outlives a reload of its page."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import DataError, WorkbenchError
from ..plots.theme import script_json
from .dialogue import Dialogue
from .settings import Settings

KEPT = 200
"""So many tabs are remembered; the one that was silent longest is forgotten first (its browser still has its copy)."""
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass
class Session:
    """What belongs to one tab.

    Attributes
    ----------
    name
        Of the tab.
    dialogue, settings
        As they stand.
    editing
        The exchange whose message is being edited; None where a new one is written.
    stop
        Set where the answers that are being written shall end.
    """

    name: str
    dialogue: Dialogue = field(default_factory=Dialogue)
    settings: Settings = field(default_factory=Settings)
    editing: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """One answer at a time.

        Raises
        ------
        DataError
            Where this conversation is being answered already.
        """
        if not self._busy.acquire(blocking=False):
            raise DataError("this conversation is being answered: wait for it, or stop it first")
        self.stop.clear()
        try:
            yield
        finally:
            self._busy.release()

    @property
    def busy(self) -> bool:
        """Whether an answer is being written."""
        return self._busy.locked()

    def to_text(self) -> str:
        """All that a browser keeps."""
        said = len(self.dialogue.exchanges)
        return script_json({"said": said, "dialogue": self.dialogue.to_json(), "settings": self.settings.to_query()})

    def take(self, copy: str) -> str:
        """Go on with what :meth:`to_text` gave; says why, where that cannot be read."""
        try:
            values = json.loads(copy)
            dialogue, settings = Dialogue.from_json(str(values["dialogue"])), Settings.from_query(str(values["settings"]))
        except (ValueError, KeyError, TypeError, WorkbenchError) as error:
            return f"the conversation that this browser kept cannot be read ({error}), so a new one begins"
        self.dialogue, self.settings = dialogue, settings
        return ""


class Sessions:
    """The sessions by the names that their tabs made up.

    Parameters
    ----------
    first
        The settings that a new session has.
    """

    def __init__(self, first: Settings | None = None) -> None:
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._first = first or Settings()
        self._lock = threading.Lock()

    def get(self, name: str) -> Session:
        """A tab's session; a new one for a name that is not known.

        Raises
        ------
        DataError
            Where the name is none that a tab makes up.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DataError("this page does not know its own name: reload it")
        with self._lock:
            session = self._known.setdefault(name, Session(name, settings=self._first))
            self._known.move_to_end(name)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return session

    def known(self, name: str) -> Session | None:
        """A tab's session, if there is one."""
        with self._lock:
            return self._known.get(name) if isinstance(name, str) else None

    def restore(self, name: str, copy: str) -> tuple[Session, str]:
        """A tab's session after a reload: the server's own, else the browser's copy.

        Returns
        -------
        (Session, str)
            And why the copy cannot be used, where it cannot.
        """
        session = self.get(name)
        return session, "" if session.dialogue.exchanges or not copy else session.take(copy)
