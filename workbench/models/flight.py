"""Many requests at once: each reply is handed over as it comes, and what is in flight is not lost when something stops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ..errors import EndpointError
from .endpoint import Reply, Transient

log = logging.getLogger("workbench")
MAX_REFUSED = 20
"""So many requests refused at the beginning, and none answered: the server will not answer the others either."""

Request = tuple[Any, Callable[[], Reply]]
"""A name, and a call that asks a server."""


def ask_all(
    requests: Iterable[Request],
    take: Callable[[Any, Reply], None],
    concurrency: int = 8,
    stopping: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[tuple[Any, str]]:
    """Make many requests at once, and hand over each reply as it comes, in the caller's thread.

    On an interruption, or where the server is gone, what is in flight is waited for and handed over before the error goes on; a
    second interruption leaves it.

    Parameters
    ----------
    requests
        Names and calls, e.g. of :meth:`Endpoint.chat`; taken one by one, so that there may be very many.
    take
        Gets the name and the reply.
    concurrency
        Requests in flight at once.
    stopping
        Entered while what is in flight is waited for: :meth:`Endpoint.stopping`, that nothing is asked again.

    Returns
    -------
    list of (name, str)
        Those that failed for now, and why; the same call may be made again.

    Raises
    ------
    EndpointError
        Where the server refuses everything, or nothing gets through any more.
    """
    judge = _Judge(concurrency)
    failed: list[tuple[Any, str]] = []
    pool, flying = _Pool(concurrency), dict[Future[Reply], Any]()
    try:
        for done in _in_flight(pool, iter(requests), flying, 2 * concurrency):
            _land(done, flying, take, failed, judge)
    except BaseException as error:
        for future in flying:
            future.cancel()
        left = [f for f in flying if not f.cancelled()]
        if left and isinstance(error, KeyboardInterrupt):
            log.info(f"interrupted: waiting for {len(left)} answers under way; interrupt again to leave them")
        with stopping():
            for future in left:
                wait([future])
                with suppress(EndpointError):  # whoever takes may still say no: the first error goes on
                    _land(future, flying, take, failed, None)
        raise
    finally:
        pool.close()
    return failed


class _Pool:
    """Threads that nobody has to wait for: an executor's are joined when the program ends, whatever they hang on."""

    def __init__(self, n: int) -> None:
        self._n, self._calls = n, SimpleQueue[tuple[Future[Reply], Callable[[], Reply]] | None]()
        for _ in range(n):
            Thread(target=self._work, daemon=True).start()

    def submit(self, call: Callable[[], Reply]) -> Future[Reply]:
        """Have a call made."""
        future: Future[Reply] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Let the threads end when they are done."""
        for _ in range(self._n):
            self._calls.put(None)

    def _work(self) -> None:
        while item := self._calls.get():
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)


def _in_flight(pool: _Pool, requests: Iterator[Request], flying: dict[Future[Reply], Any], limit: int) -> Iterator[Future[Reply]]:
    """Keep `limit` requests under way and give back those that are done."""
    waiting = True
    while waiting or flying:
        while waiting and len(flying) < limit:
            try:
                name, call = next(requests)
            except StopIteration:
                waiting = False
                break
            flying[pool.submit(call)] = name
        if flying:
            yield from wait(flying, return_when=FIRST_COMPLETED).done


def _land(
    future: Future[Reply], flying: dict[Future[Reply], Any], take: Callable[[Any, Reply], None], failed: list[tuple[Any, str]],
    judge: _Judge | None,
) -> None:  # fmt: skip
    name = flying.pop(future)
    try:
        reply = future.result()
    except Transient as error:
        failed.append((name, str(error)))
        if judge:
            judge.failed(str(error))
        return
    except EndpointError:
        if judge:
            raise
        return
    take(name, reply)
    if judge:
        judge.answered(reply)


class _Judge:
    """Says when going on is useless: all refused from the beginning, or nothing gets through any more."""

    def __init__(self, concurrency: int) -> None:
        self._limit = max(3, concurrency)
        self._refused, self._failed, self._any = 0, 0, False

    def answered(self, reply: Reply) -> None:
        self._failed = 0
        self._refused = self._refused + 1 if reply.error.startswith("refused") else 0
        self._any = self._any or not reply.error
        if not self._any and self._refused >= MAX_REFUSED:
            raise EndpointError(f"the server refused the first {self._refused} requests, the last with: {reply.error}")

    def failed(self, why: str) -> None:
        self._failed += 1
        if self._failed >= self._limit:
            raise EndpointError(
                f"{self._failed} requests in a row got no answer, the last: {why}; what was answered is kept: run the same command again"
            )
