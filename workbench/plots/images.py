"""Figures as images: one browser draws them all, at their own size, without a network."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import struct
import threading
import zlib
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import plotly.graph_objects as go

from ..errors import WorkbenchError

FORMATS = ("png", "svg", "pdf")
"""What a browser is needed for."""
CSS_DPI = 96
"""Pixels of a figure's layout to an inch, as browsers count them."""
NOWHERE = "127.0.0.1:9"
"""The browser's proxy: what it draws lies on this machine, and nothing that it asks for beyond leaves it."""
NO_KALEIDO = (
    'images are drawn with kaleido, which is not installed: pip install "persona-workbench[figures]"; a Chrome or Chromium is needed, too'
)
NO_BROWSER = (
    "images are drawn by a Chrome or Chromium, and none was found: install one (Debian and Ubuntu: apt install chromium), or say where it "
    "is in the environment variable BROWSER_PATH"
)


def draw_images(jobs: Sequence[tuple[go.Figure, str]], dpi: int = 2 * CSS_DPI) -> list[bytes]:
    """Draw figures with one browser, which is started once: starting takes seconds, an image a fraction of one.

    Parameters
    ----------
    jobs
        Pairs of a figure and ``png``, ``svg`` or ``pdf``. Each is drawn in the size of its layout (96 pixels an inch), a PDF
        on a page of that size.
    dpi
        Pixels an inch of a PNG, which also says so in its header.

    Raises
    ------
    WorkbenchError
        Where kaleido or a browser is missing, or an image cannot be drawn.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise WorkbenchError(NO_KALEIDO)
    with _without_its_log():
        drawn = _finished(_draw(jobs, dpi / CSS_DPI)) if jobs else []
    return [with_dpi(content, dpi) if kind == "png" else content for content, (_, kind) in zip(drawn, jobs, strict=True)]


async def _draw(jobs: Sequence[tuple[go.Figure, str]], scale: float) -> list[bytes]:
    import kaleido
    from choreographer.errors import ChromeNotFoundError, DevtoolsProtocolError
    from kaleido.errors import KaleidoError

    try:
        # No MathJax, which kaleido would fetch from a server. Its Chromium has no sandbox, so that root can start it, too:
        # it opens nothing but our own figures.
        async with kaleido.Kaleido(mathjax=False, proxy_server=NOWHERE) as browser:
            options: list[Any] = [{"format": kind, "scale": scale if kind == "png" else 1} for _, kind in jobs]
            return [await browser.calc_fig(figure, opts=o) for (figure, _), o in zip(jobs, options, strict=True)]
    except ChromeNotFoundError:
        raise WorkbenchError(NO_BROWSER) from None
    except (RuntimeError, ValueError, OSError, KaleidoError, DevtoolsProtocolError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise WorkbenchError(f"the browser could not draw an image: {said}") from error


@contextmanager
def _without_its_log() -> Iterator[None]:
    """The browser's last word, ``{bye}``, is no message that its driver knows: it logs a traceback of it and goes on."""
    logger = logging.getLogger("choreographer")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _finished(work: Coroutine[Any, Any, list[bytes]]) -> list[bytes]:
    """Run to the end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:  # raised again in the thread that asked
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def with_dpi(png: bytes, dpi: int) -> bytes:
    """A PNG that says how many pixels make an inch: programs that place it in a text read its printed size from that."""
    per_metre = round(dpi / 0.0254)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    whole = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    head = 8 + 4 + 4 + 13 + 4  # the signature and the header's chunk, which comes first
    return png[:head] + whole + png[head:]
