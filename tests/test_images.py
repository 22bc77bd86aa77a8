"""Images: what is missing is said in a sentence, and a PNG knows its printed size."""

import asyncio
import importlib.util
import logging
import struct

import plotly.graph_objects as go
import pytest

from workbench import plots
from workbench.errors import WorkbenchError
from workbench.plots.images import draw_images, with_dpi

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(13) + bytes(4) + b"rest"


def test_without_kaleido_the_package_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "kaleido" else real(name, *rest))
    with pytest.raises(WorkbenchError, match=r'pip install "persona-workbench\[figures\]"'):
        draw_images([(go.Figure(), "png")])


def test_without_a_browser_it_is_said_where_to_get_one(monkeypatch, tmp_path):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    with pytest.raises(WorkbenchError, match=r"none was found: install one .*apt install chromium.* BROWSER_PATH"):
        plots.save(go.Figure(), tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_the_same_from_inside_a_running_loop(monkeypatch, tmp_path):
    """As in a notebook, where a loop is running already."""
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))

    async def cell() -> None:
        draw_images([(go.Figure(), "svg")])

    with pytest.raises(WorkbenchError, match="none was found"):
        asyncio.run(cell())


def test_no_jobs_need_no_browser(monkeypatch, tmp_path):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    assert draw_images([]) == []


def test_a_png_says_how_many_dots_make_an_inch():
    made = with_dpi(PNG, 300)
    place = made.index(b"pHYs")
    across, up, unit = struct.unpack(">IIB", made[place + 4 : place + 13])
    assert (across, up, unit) == (11811, 11811, 1)  # 300 / 0.0254, in metres
    assert made.startswith(PNG[:33])
    assert made.endswith(b"rest")


def test_files_are_whole_or_not_there(tmp_path):
    (tmp_path / "a.csv").mkdir()  # in the way
    with pytest.raises(WorkbenchError, match=r"a\.csv cannot be written: "):
        plots.save(go.Figure(go.Scatter(x=[1], y=[2])), tmp_path / "a.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    made = plots.save(go.Figure(go.Scatter(x=[1], y=[2], name="p")), tmp_path / "b.csv")
    assert made.read_text() == "trace,x,y,z,text,colour\np,1,2,,,\n"


def test_what_the_driver_logs_is_its_own_affair_again_afterwards(monkeypatch, tmp_path):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    logger = logging.getLogger("choreographer")
    before = logger.level
    with pytest.raises(WorkbenchError):
        draw_images([(go.Figure(), "svg")])
    assert logger.level == before


def test_one_browser_draws_everything_and_has_no_way_out(monkeypatch):
    """No script from a server, and a proxy that leads nowhere."""
    kaleido = pytest.importorskip("kaleido")
    started, drawn = [], []

    class Browser:
        def __init__(self, **settings):
            started.append(settings)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_error):
            return None

        async def calc_fig(self, figure, opts):
            drawn.append(opts)
            return PNG

    monkeypatch.setattr(kaleido, "Kaleido", Browser)
    found = draw_images([(go.Figure(), "png"), (go.Figure(), "svg"), (go.Figure(), "pdf")], dpi=300)
    assert started == [{"mathjax": False, "proxy_server": "127.0.0.1:9"}]
    assert drawn == [{"format": "png", "scale": 3.125}, {"format": "svg", "scale": 1}, {"format": "pdf", "scale": 1}]
    assert found == [with_dpi(PNG, 300), PNG, PNG]


def test_a_browser_that_fails_is_a_sentence(monkeypatch):
    kaleido = pytest.importorskip("kaleido")

    class Broken:
        def __init__(self, **_settings):
            raise RuntimeError("libnss3\n is missing")

    monkeypatch.setattr(kaleido, "Kaleido", Broken)
    with pytest.raises(WorkbenchError, match="the browser could not draw an image: libnss3 is missing"):
        draw_images([(go.Figure(), "png")])
