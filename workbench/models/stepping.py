"""A job that tells what it does by a callback, run a telling at a time: how two answers are written in turn by one model."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Stopped(BaseException):
    """Raised inside the job where nobody wants the rest; no ``except Exception`` on the way catches it."""


class _State:
    """What the job's thread and its owner share; the thread holds nothing else, so that an owner who is forgotten ends it."""

    def __init__(self) -> None:
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.stopped, self.finished = False, False
        self.told: list[Any] = []
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self, value: Any) -> None:
        self.told.append(value)
        self.back.release()
        self.go.acquire()
        if self.stopped:
            raise _Stopped

    def run(self, job: Callable[[Callable[[Any], None]], Any]) -> None:
        try:
            self.result = job(self.tell)
        except _Stopped:
            pass
        except BaseException as error:  # raised again where the step is made
            self.error = error
        finally:
            self.finished = True
            self.back.release()

    def stop(self) -> None:
        self.stopped = True
        self.go.release()


class Steps(Generic[T]):
    """Runs a job in a thread of its own, and only while :meth:`step` waits for it.

    What is attached to a model around a step is therefore attached for this job alone, though others are under way.

    Parameters
    ----------
    job
        Called with a function to be called with every value.
    """

    def __init__(self, job: Callable[[Callable[[T], None]], Any]) -> None:
        self._state = _State()
        # A daemon: a program that ends does not wait for an answer that nobody reads.
        self._thread = threading.Thread(target=self._state.run, args=(job,), daemon=True)
        self._forgotten = weakref.finalize(self, self._state.stop)
        self._begun = False

    @property
    def told(self) -> list[T]:
        """All values so far."""
        return self._state.told

    @property
    def finished(self) -> bool:
        """Whether the job has ended, or was closed."""
        return self._state.finished

    @property
    def result(self) -> Any:
        """What the job returned; None before its end, and where it was closed."""
        return self._state.result

    def step(self) -> bool:
        """Let the job run until it tells the next value; False where it has ended. What it raises is raised here."""
        if not self.finished:
            if self._begun:
                self._state.go.release()
            else:
                self._begun = True
                self._thread.start()
            self._state.back.acquire()
        if self._state.error is not None:
            raise self._state.error
        return not self.finished

    def close(self) -> None:
        """End the job where it stands, and wait until it has ended."""
        if self._begun and not self.finished:
            self._state.stop()
            self._thread.join()
        self._state.finished = True
