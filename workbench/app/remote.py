"""An answer from a server: plain chat, which comes whole, with nothing measured and nothing changed."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ..conversations import Conversation
from ..errors import EndpointError
from ..models.endpoint import Endpoint, Reply, Transient
from ..models.generation import Answer
from .streaming import STOPPED, Piece, Reading

LONGEST = 512
"""Tokens of an answer where nobody says."""


class Remote:
    """One answer of a server; used like a :class:`workbench.app.streaming.Stream`.

    Attributes
    ----------
    answer
        Once it is there or nobody waits for it any more.
    """

    def __init__(
        self, endpoint: Endpoint, conversation: Conversation, *, seed: int = 0, temperature: float = 0.7, top_p: float = 0.9,
        max_new_tokens: int | None = None,
    ) -> None:  # fmt: skip
        self.answer: Answer | None = None
        self._pool = ThreadPoolExecutor(1)
        messages = [{"role": turn.speaker, "content": turn.text} for turn in conversation.turns]
        self._flying: Future[Reply] = self._pool.submit(
            endpoint.chat, messages, temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_new_tokens or LONGEST
        )
        self._pool.shutdown(wait=False)

    def advance(self, seconds: float) -> Piece:
        """Wait for so long.

        Raises
        ------
        EndpointError
            Where the server gives no answer.
        """
        if self.answer is None:
            end = time.perf_counter() + seconds
            while not self._flying.done() and time.perf_counter() < end:
                time.sleep(min(0.02, seconds))
            if self._flying.done():
                self.answer = self._read()
        return self.piece()

    def _read(self) -> Answer:
        try:
            reply = self._flying.result()
        except Transient as error:
            raise EndpointError(f"the server gives no answer: {error}") from error
        if reply.error.startswith("refused"):
            raise EndpointError(f"the server gives no answer: {reply.error}")
        return Answer(reply.text, (), reply.finish_reason or "stop", reply.error)

    def piece(self) -> Piece:
        """All or nothing: what has come."""
        return Piece(self.answer.text if self.answer else "", done=self.answer is not None)

    def stop(self) -> Piece:
        """Wait no longer; what the server still writes is thrown away."""
        if self.answer is None:
            self._flying.cancel()
            self.answer = replace(Answer("", (), STOPPED, "empty answer"))
        return self.piece()

    def reading(self) -> Reading:
        """Nothing is measured."""
        return Reading()
