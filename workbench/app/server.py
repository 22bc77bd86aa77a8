"""The page behind an address: who may open it, files of conversations, and nothing from outside."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..errors import WorkbenchError
from .bench import Bench

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: it asks for its newest version otherwise

COOKIE, PARAMETER = "workbench_token", "token"
PORTS = range(7860, 7900)
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-src 'self' data: blob:; frame-ancestors 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""The browser itself is told to fetch nothing from elsewhere."""
HEADERS = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"), (b"x-content-type-options", b"nosniff")]
REFUSED = "This page is opened with the address that the workbench printed where it was started: its token is missing or wrong.\n"
FOREIGN = "This address is not the one that the workbench listens on.\n"

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Gate:
    """Stands before the page: asks for the token, refuses other names of this machine, and cleans the page of what points outside.

    Parameters
    ----------
    app
        What is behind.
    token
        To be given once in the address; kept in a cookie from then on. None where nobody else can reach the page.
    hosts
        The names by which the page may be asked for; any where None. A page elsewhere that gives itself this machine's address
        comes with another name.
    """

    def __init__(self, app: App, token: str | None, hosts: frozenset[str] | None) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            await _answer(scope, send, 421, FOREIGN)
        elif self._token is not None and self._given(scope) is not None:
            await self._enter(scope, send)
        elif self._token is not None and not _same(_cookie(headers.get("cookie", "")), self._token):
            await _answer(scope, send, 401, REFUSED)
        elif scope["type"] == "http" and scope["path"] in ("/", ""):
            await self._page(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _given(self, scope: Scope) -> str | None:
        return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)).get(PARAMETER)

    async def _enter(self, scope: Scope, send: Any) -> None:
        """The token in the address becomes a cookie, and leaves the address."""
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if not _same(dict(pairs)[PARAMETER], self._token or ""):
            await _answer(scope, send, 401, REFUSED)
            return
        rest = urlencode([(name, value) for name, value in pairs if name != PARAMETER])
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Lax"
        place = "/" + (f"?{rest}" if rest else "")
        await _answer(scope, send, 303, "", [(b"location", place.encode()), (b"set-cookie", cookie.encode())])

    async def _page(self, scope: Scope, receive: Any, send: Any) -> None:
        """Gradio's page without what points outside: tags for link previews, and a manifest that is fetched without the cookie."""
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        start: dict[str, Any] = {}
        body = bytearray()

        async def gather(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            content = clean(body.decode()).encode() if b"text/html" in dict(start["headers"]).get(b"content-type", b"") else bytes(body)
            kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            headers = [*kept, (b"content-length", str(len(content)).encode()), *HEADERS]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        await self._app({**scope, "headers": plain}, receive, gather)


def clean(page: str) -> str:
    """Gradio's page without the tags that name addresses elsewhere."""
    page = re.sub(r"<meta\s[^>]*(?:property|name)=\"(?:og|twitter):[^>]*>", "", page)
    return re.sub(r"<link rel=\"manifest\"[^>]*>", "", page)


def _with_headers(send: Any) -> Any:
    async def add(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return add


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _host(text: str) -> str:
    """The name in a Host header, without its port."""
    return text.rsplit(":", 1)[0].strip("[]").lower() if text.rsplit(":", 1)[-1].isdigit() else text.strip("[]").lower()


async def _answer(scope: Scope, send: Any, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text.encode())).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *(headers or [])]})
    await send({"type": "http.response.body", "body": text.encode()})


# -- what is served -------------------------------------------------------------------------------------
def make_app(bench: Bench, token: str | None = None, hosts: frozenset[str] | None = None) -> App:
    """The whole application."""
    import fastapi

    from .ui import build, mounted

    page, talking = build(bench)
    inner = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _routes(inner, bench, talking)
    return Gate(mounted(inner, page, _head()), token, hosts)


def _routes(inner: Any, bench: Bench, talking: Any) -> None:
    from fastapi.responses import HTMLResponse, PlainTextResponse, Response

    from .files import FILES

    @lru_cache(1)
    def plotlyjs() -> str:
        from plotly.offline import get_plotlyjs

        return get_plotlyjs()

    @lru_cache(1)
    def space() -> str:
        from .. import plots
        from ..explorer import persona_layers, role_facts

        assert bench.run is not None
        frame = persona_layers(bench.run.role_vectors, bench.run.axis)
        return plots.explorer_page(frame, role_facts(bench.run))

    @inner.get("/plotly.min.js")
    def script() -> Response:
        return Response(plotlyjs(), media_type="text/javascript", headers={"cache-control": "max-age=86400"})

    @inner.get("/space.html")
    def persona_space() -> Response:
        try:
            return HTMLResponse(space())
        except WorkbenchError as error:
            return PlainTextResponse(f"{error}\n", 404)

    @inner.get("/report.html")
    def report() -> Response:
        if bench.run is None or not bench.run.report.exists():
            return PlainTextResponse("This run has no report.\n", 404)
        return HTMLResponse(bench.run.report.read_text(encoding="utf-8"))

    @inner.get("/keep/{tab}/{name}")
    def kept(tab: str, name: str) -> Response:
        session, kind = talking.sessions.known(tab), FILES.get(name)
        if session is None or kind is None:
            return PlainTextResponse("There is no such file of a conversation.\n", 404)
        try:
            with talking.line.turn():
                content = kind.write(session.dialogue, bench, session.settings)
        except WorkbenchError as error:
            return PlainTextResponse(f"{error}\n", 409)
        named = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=f"{kind.media}; charset=utf-8", headers=named)


def _head() -> str:
    from pathlib import Path

    own = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    return f'<script src="./plotly.min.js" defer></script><script>{own}</script><link rel="icon" href="data:,">'


# -- where it listens -----------------------------------------------------------------------------------
def is_local(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int | None) -> int:
    """The port that was asked for, else the first free one of :data:`PORTS`.

    Raises
    ------
    WorkbenchError
        Where it is taken, or nothing can listen on this address.
    """
    why = ""
    for number in PORTS if port is None else (port,):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, number))
            return number
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
    asked = f"port {port}" if port is not None else f"ports {PORTS.start} to {PORTS.stop - 1}"
    raise WorkbenchError(f"cannot listen on {host}, {asked}: {why}; choose another with --port or --host")


def serve(bench: Bench, host: str = "127.0.0.1", port: int | None = None, say: Callable[[str], None] = print) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    host
        Whoever can reach it can talk to the model; beyond this machine a token is asked for.
    port
        The first free one of :data:`PORTS` where None.
    say
        Prints the address, and the token in it, once.
    """
    import uvicorn

    number, local = free_port(host, port), is_local(host)
    token = None if local else secrets.token_urlsafe(24)
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if local else None
    app = make_app(bench, token, hosts)
    shown = f"[{host}]" if ":" in host else host
    if token is not None:
        say(
            f"Warning: {host} can be reached from other machines, and what is said there is not encrypted. Only this address opens the "
            "page; whoever has it can talk to the model and see this run."
        )
    say(f"http://{shown}:{number}/" + (f"?{PARAMETER}={token}" if token else ""))
    config = uvicorn.Config(app, host=host, port=number, log_level="warning", timeout_graceful_shutdown=2, server_header=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    # Pages that are still open are cut off at the end: that is no error that anybody need read.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    with suppress(KeyboardInterrupt):
        server.run()
    say("stopped")
