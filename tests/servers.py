"""Servers on loopback for tests: one that misbehaves on command, and a real one. Each is stopped by whoever started it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def completion(text: str | None, prompt_tokens: int | None = None, **changes: Any) -> bytes:
    body = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}
    if prompt_tokens is not None:
        body["usage"] = {"prompt_tokens": prompt_tokens, "completion_tokens": 5}
    return json.dumps(body | changes).encode()


class Scripted(ThreadingHTTPServer):
    """Does with every request what `script` says: ``script(request, n)`` for the n-th time that its messages are sent.

    A script returns (status, headers, body); None cuts the connection. ``asked`` and ``answered`` count by the last user message,
    ``seen`` keeps all requests, ``keys`` what was sent as authorization.
    """

    daemon_threads = True

    def __init__(self, script: Callable[[dict, int], tuple[int, dict, bytes] | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.lock = script, threading.Lock()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.seen: list[dict] = []
        self.keys: set[str] = set()
        self.most_at_once = self._now = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self.lock:
                self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = json.dumps(request["messages"])
        with self.server.lock:
            self.server.asked[name] += 1
            self.server.seen.append(request)
            self.server.keys.add(self.headers.get("authorization", ""))
            n = self.server.asked[name]
        with self.server.counted():
            found = self.server.script(request, n)
        if found is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, body = found
        self.send_response(status)
        for key, value in ({"content-type": "application/json", "content-length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        if status == 200:
            with self.server.lock:
                self.server.answered[name] += 1

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def scripted(script: Callable[[dict, int], tuple[int, dict, bytes] | None]) -> Iterator[Scripted]:
    server = Scripted(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Served:
    """`transformers serve` on one checkpoint, at a free port."""

    def __init__(self, checkpoint: Path, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (home / "hub").mkdir(parents=True, exist_ok=True)
        self.log = home / f"serve-{self.port}.log"
        settings = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
        command = [
            str(Path(sys.executable).parent / "transformers"),
            "serve",
            str(checkpoint),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait(self, seconds: float = 120) -> None:
        """Until it answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                opener.open(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError(f"the server did not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """By process id."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def posts(self) -> int:
        """How many requests it answered."""
        return self.log.read_text().count('POST /v1/chat/completions HTTP/1.1" 200')
