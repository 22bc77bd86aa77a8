"""Any OpenAI-compatible server: asked many things at once, waited for, asked again where it fails; its key stays in the environment."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ..errors import EndpointError

KEY = "WORKBENCH_API_KEY"
"""Environment variable with the server's key; for api.openai.com ``OPENAI_API_KEY`` too."""

PASSING = (408, 409, 429)
"""Refusals that may pass, besides all errors of the server itself."""
LONGEST_PAUSE = 300.0
"""Seconds that a server may ask for; more is not waited for."""


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes
    ----------
    text
        The message's content, as it came.
    finish_reason
        ``"stop"``, ``"length"``, or the server's own word.
    prompt_tokens, completion_tokens
        As the server counts; None where it does not say.
    error
        Why there is no usable answer, where the same request would fail again: refused, or empty.
    """

    text: str
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str = ""


class Transient(Exception):
    """A request that failed for now, after all retries; it may be made again."""


class _Failed(Exception):
    """One attempt that failed for now."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


class Endpoint:
    """A server that speaks the chat completions protocol: vLLM, ``transformers serve``, hosted APIs.

    Parameters
    ----------
    url
        Up to and with ``/v1``, e.g. ``http://localhost:8000/v1``; no key, no query.
    model
        The name that is sent. Servers are not asked which models they have.
    concurrency
        Requests in flight at once.
    timeout
        Seconds that one request may take.
    retries
        How often a request is made again after a failure that may pass (busy, cut off, too slow, no JSON), with growing pauses;
        a pause that the server asks for (``Retry-After``, ``x-ratelimit-reset-*``) is kept.
    option
        Of the command line, which sets `model`: named where the server does not know it.

    Raises
    ------
    EndpointError
        Where the address is none, or holds a secret.
    """

    def __init__(
        self, url: str, model: str, *, concurrency: int = 8, timeout: float = 120.0, retries: int = 5, option: str = "--endpoint-model"
    ) -> None:  # fmt: skip
        self.url, self.model, self.concurrency, self.retries = checked_url(url), model, max(1, concurrency), retries
        self._key, self._option = key_for(self.url), option
        self._stop = threading.Event()
        self._pace = Pace()
        self._client = _client(self.url, self._key, timeout)
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, model={self.model!r}, concurrency={self.concurrency})"

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> Reply:
        """One answer.

        Parameters
        ----------
        messages
            ``role`` and ``content``.
        **settings
            Of the protocol (``temperature``, ``max_tokens``, ``seed``, ``response_format``, ``extra_body``, ...).

        Raises
        ------
        EndpointError
            Where the server refuses the key or does not know the model.
        Transient
            Where it fails after all retries.
        """
        why, pause, stop = "interrupted", 0.0, self._stop
        for attempt in range(self.retries + 1):
            if stop.wait(max(pause, self._pace.left())):
                break
            try:
                return self._once(messages, settings)
            except _Failed as failure:
                why, pause = str(failure), failure.pause or min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.0)
        raise Transient(f"{self.url}: {why}")

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """While requests that are under way are waited for: they are not made again, then or later; those begun afterwards are."""
        self._stop.set()
        try:
            yield
        finally:
            self._stop = threading.Event()

    def _once(self, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> Reply:
        """One request."""
        import openai

        try:
            raw = self._client.chat.completions.with_raw_response.create(model=self.model, messages=list(messages), **settings)  # type: ignore[call-overload]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            said = f"is sent from {KEY}" if self._key else f"is set in {KEY}"
            raise EndpointError(f"{self.url} refuses the request ({error.status_code}): {self._clean(error)}; the key {said}") from None
        except openai.NotFoundError as error:
            raise EndpointError(
                f"{self.url} knows no model {self.model!r}, or no such address (404): {self._clean(error)}; give the name that the server "
                f"knows with {self._option}"
            ) from None
        except openai.APIConnectionError as error:
            raise _Failed(f"{type(error).__name__}, {self._clean(error)}") from None
        except openai.APIStatusError as error:
            if error.status_code in PASSING or error.status_code >= 500:
                self._pace.hear(error.response.headers)
                raise _Failed(f"{type(error).__name__}, {self._clean(error)}", asked_pause(error.response.headers)) from None
            return Reply("", error=f"refused ({error.status_code}): {self._clean(error)}")
        self._pace.hear(raw.headers)
        if (reply := parsed(raw.text)) is None:
            raise _Failed("something that is no chat completion")
        return reply

    def _clean(self, error: Exception) -> str:
        """What an error says, on one line, without the key."""
        text = " ".join(str(error).split())
        text = text.replace(self._key, "***") if self._key else text
        return text if len(text) <= 200 else text[:200] + "..."


def parsed(body: str) -> Reply | None:
    """The reply in a body; None where it is no chat completion. An empty answer is one, with an error."""
    try:
        found = json.loads(body)
        choice = found["choices"][0]
        text = choice["message"]["content"]
        usage = found.get("usage") or {}
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(text, (str, type(None))):
        return None
    counts = [usage.get(name) if isinstance(usage.get(name), int) else None for name in ("prompt_tokens", "completion_tokens")]
    reason = str(choice.get("finish_reason") or "")
    return Reply(text or "", reason, *counts, error="" if (text or "").strip() else "empty answer")


def checked_url(url: str) -> str:
    """An address without secrets, up to ``/v1``.

    Raises
    ------
    EndpointError
        Where it is no http address, or holds a user's name, a password or a query.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets of an IPv6 address that do not close, a port that is no number
        whole = False
    if not whole:
        raise EndpointError(f"an endpoint is an address such as http://localhost:8000/v1, not {_hidden(url)}")
    if parts.username or parts.password or parts.query:
        raise EndpointError(f"the address of an endpoint holds no key, password or query: put the key into {KEY}")
    return url.rstrip("/")


def _hidden(url: str) -> str:
    return "an address with a password" if "@" in url else repr(url)


def key_for(url: str) -> str:
    """The key from the environment; another service's key is never sent to a server that it is not for."""
    own = os.environ.get("OPENAI_API_KEY", "") if urlsplit(url).hostname == "api.openai.com" else ""
    return os.environ.get(KEY, "") or own


def _client(url: str, key: str, timeout: float) -> Any:
    try:
        import openai
    except ImportError as error:
        raise EndpointError("servers are reached through the openai package: pip install 'persona-workbench[endpoint]'") from error
    # A loopback server is not asked through a proxy; organization and project would be taken from the environment, and sent to anyone.
    alone = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    transport = openai.DefaultHttpxClient(trust_env=False) if alone else None
    return openai.OpenAI(
        base_url=url, api_key=key or "none", organization="", project="", timeout=timeout, max_retries=0, http_client=transport
    )


class Pace:
    """One clock for all threads: nobody asks before the server's limits are said to be reset."""

    def __init__(self) -> None:
        self._until, self._lock = 0.0, threading.Lock()

    def hear(self, headers: Mapping[str, str]) -> None:
        """Take in a reply's headers."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                pause = seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
                with self._lock:
                    self._until = max(self._until, time.monotonic() + pause)

    def left(self) -> float:
        """Seconds until asking is allowed again."""
        return min(max(0.0, self._until - time.monotonic()), LONGEST_PAUSE)


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to be left alone: ``Retry-After`` (a duration or a date) or ``retry-after-ms``; 0 where it does not."""
    said = headers.get("retry-after", "")
    try:
        pause = float(headers.get("retry-after-ms", "")) / 1000
    except ValueError:
        pause = seconds(said)
    if not pause and ":" in said:
        with suppress(ValueError):
            pause = parsedate_to_datetime(said).timestamp() - time.time()
    return min(max(0.0, pause), LONGEST_PAUSE)


def seconds(text: str) -> float:
    """A duration as servers write it: ``"12"``, ``"1.5s"``, ``"6m0s"``, ``"20ms"``; 0 where it is none.

    >>> seconds("1m2.5s"), seconds("250ms"), seconds("3"), seconds("soon")
    (62.5, 0.25, 3.0, 0.0)
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|h|m|s))+", text):
        return 0.0
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|h|m|s)", text))
