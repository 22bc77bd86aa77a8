"""Who uses the one model: first come, first served, and everybody knows how many are before him."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """A queue for one thing that only one can use at a time.

    Examples
    --------
    ::

        with line.place() as place:
            while place.wait(0.2):
                print(f"{place.before} before you")
            ...
    """

    def __init__(self) -> None:
        self._waiting: deque[Place] = deque()
        self._moved = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Stand in line, and leave it whatever happens."""
        place = Place(self)
        with self._moved:
            self._waiting.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._waiting.remove(place)
                self._moved.notify_all()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn, however long it takes."""
        with self.place() as place:
            while place.wait(1.0):
                pass
            yield


class Place:
    """A place in the line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def before(self) -> int:
        """How many are before; 0 for whoever's turn it is."""
        return list(self._line._waiting).index(self)

    def wait(self, seconds: float) -> int:
        """Wait for one's turn, for so long at most; says how many are still before."""
        with self._line._moved:
            self._line._moved.wait_for(lambda: self.before == 0, seconds)
        return self.before
