"""Many requests at once: each reply is handed over as it comes, and what is in flight is not lost when something stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from ..errors import EndpointError
from .endpoint import Reply, Transient

MAX_REFUSED = 20
"""So many requests refused at the beginning, and none answered: the server will not answer the others either."""

Request = tuple[Any, Callable[[], Reply]]
"""A name, and a call that asks a server."""


def ask_all(requests: Iterable[Request], take: Callable[[Any, Reply], None], concurrency: int = 8) -> list[tuple[Any, str]]:
    """Make many requests at once, and hand over each reply as it comes, in the caller's thread.

    On an interruption, or where the server is gone, what is in flight is waited for and handed over before the error goes on.

    Parameters
    ----------
    requests
        Names and calls, e.g. of :meth:`Endpoint.chat`; taken one by one, so that there may be very many.
    take
        Gets the name and the reply.
    concurrency
        Requests in flight at once.

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
    with ThreadPoolExecutor(concurrency) as pool:
        flying: dict[Future[Reply], Any] = {}
        try:
            for done in _in_flight(pool, iter(requests), flying, 2 * concurrency):
                _land(done, flying, take, failed, judge)
        except BaseException:
            for future in flying:
                future.cancel()
            for future in [f for f in flying if not f.cancelled()]:
                wait([future])
                with suppress(EndpointError):  # whoever takes may still say no: the first error goes on
                    _land(future, flying, take, failed, None)
            raise
    return failed


def _in_flight(
    pool: ThreadPoolExecutor, requests: Iterator[Request], flying: dict[Future[Reply], Any], limit: int
) -> Iterator[Future[Reply]]:
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
