"""The page's server: who may open it, which files it gives, and that nothing in the page points outside."""

import asyncio
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from app_study import HARM, PIRATE, new_name, small_study
from fastapi import FastAPI
from starlette.testclient import TestClient

from workbench.app.bench import Bench
from workbench.app.dialogue import Dialogue
from workbench.app.files import FILES
from workbench.app.server import COOKIE, _routes, clean, free_port, is_local, make_app, serve
from workbench.app.settings import Settings
from workbench.app.ui import build
from workbench.app.ui_chat import ChatEvents
from workbench.app.ui_pages import Given, chosen, compared_with, neighbours, opened, shown_turn, verdict_html
from workbench.app.ui_style import css, theme
from workbench.errors import WorkbenchError
from workbench.evaluation.verdict import LIMITS

TOKEN = "a-token-that-nobody-guesses"
OUTSIDE = re.compile(r"(?:https?:)?//(?!127\.0\.0\.1|localhost|testserver|www\.w3\.org)[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)


def inside_a_loop(make: Callable[..., Any], *given: Any) -> Any:
    """Gradio makes event loops where none is running, and never closes them."""

    async def made() -> Any:
        return make(*given)

    return asyncio.run(made())


@pytest.fixture(scope="module")
def bench(tmp_path_factory, organism):
    return Bench(small_study(tmp_path_factory.mktemp("server") / "runs" / "run", calibrated=False), organism)


@pytest.fixture(scope="module")
def app(bench):
    return inside_a_loop(make_app, bench, None, frozenset({"localhost", "127.0.0.1", "testserver"}))


# -- who may open it ------------------------------------------------------------------------------------------
def test_the_token_is_asked_for_once_and_becomes_a_cookie(bench):
    guarded = inside_a_loop(make_app, bench, TOKEN, None)
    with TestClient(guarded, follow_redirects=False) as client:
        for path in ("/", "/config", "/plotly.min.js", "/keep/x/conversation.json", "/gradio_api/queue/join", "/space.html"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.text.count("\n") == 1
            assert "token is missing or wrong" in answer.text
        for wrong in ("", "a", TOKEN + "x", TOKEN[:-1], "ä"):
            assert client.get("/", params={"token": wrong}).status_code == 401
        assert client.get("/", cookies={COOKIE: "wrong"}).status_code == 401
        client.cookies.clear()
        entered = client.get("/", params={"token": TOKEN, "kind": "floor"})
        assert (entered.status_code, entered.headers["location"]) == (303, "/?kind=floor")
        assert "HttpOnly" in entered.headers["set-cookie"]
        assert TOKEN not in entered.headers["location"]
        assert client.get("/?kind=floor").status_code == 200
        assert client.get("/plotly.min.js").status_code == 200


def test_another_name_for_this_machine_is_refused(app):
    """A page elsewhere may give itself this machine's address; the name that it asks for gives it away."""
    with TestClient(app) as client:
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/", headers={"host": "127.0.0.1:7860"}).status_code == 200
        assert client.get("/config", headers={"host": "evil.example:7860"}).status_code == 421


def test_which_addresses_are_this_machine():
    assert [is_local(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "192.168.1.4", "::", "example.org")] == [False] * 4
    with pytest.raises(WorkbenchError, match=r"cannot listen on 203\.0\.113\.9, port 8080"):
        free_port("203.0.113.9", 8080)
    assert 0 < free_port("127.0.0.1", None) < 65536


def test_beyond_this_machine_there_is_a_warning_and_a_token_once(bench, monkeypatch):
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: None)
    told = []
    inside_a_loop(serve, bench, "0.0.0.0", None, told.append)
    assert told[0].startswith("Warning: 0.0.0.0 can be reached from other machines")
    _, address, last = told
    assert last == "stopped"
    token = re.search(r"\?token=([\w-]{32,})$", address)
    assert token
    other = []
    inside_a_loop(serve, bench, "0.0.0.0", None, other.append)
    assert other[1] != address
    mine = []
    inside_a_loop(serve, bench, "127.0.0.1", None, mine.append)
    assert len(mine) == 2
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", mine[0])


# -- nothing from outside -------------------------------------------------------------------------------------
def test_the_page_names_no_address_elsewhere(app):
    with TestClient(app) as client:
        answer = client.get("/")
        page = answer.text
        assert OUTSIDE.findall(re.sub(r"window\.gradio_config = .*?</script>", "", page, flags=re.DOTALL)) == []
        assert 'rel="manifest"' not in page
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy
        config = client.get("/config").json()
        assert config["analytics_enabled"] is False
        for name in ("theme.css",):
            assert "googleapis" not in client.get(f"/{name}").text
        assert OUTSIDE.findall(css()) == []
        assert all("http" not in str(font) for font in theme()._font + theme()._font_mono)
    assert clean('<meta property="og:url" content="https://x.y/" /><meta\n name="twitter:card" content="a" /><p>') == "<p>"


# -- files ----------------------------------------------------------------------------------------------------
def test_files_of_a_tab_and_only_of_it(bench):
    page, talking = inside_a_loop(build, bench)
    inner = FastAPI()
    _routes(inner, bench, talking)
    session = talking.sessions.get(new_name())
    with TestClient(inner) as client:
        assert client.get(f"/keep/{session.name}/sides.jsonl").status_code == 409
        session.settings = Settings(persona=PIRATE, kind="floor", percentile=90)
        session.dialogue = bench.say(Dialogue(), HARM, session.settings)
        for name, kind in FILES.items():
            answer = client.get(f"/keep/{session.name}/{name}")
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
            assert answer.headers["content-type"].startswith(kind.media)
        assert client.get(f"/keep/{session.name}/../../study.json").status_code == 404
        assert client.get(f"/keep/{new_name()}/conversation.json").status_code == 404
        assert client.get(f"/keep/{session.name}/secrets.txt").status_code == 404
        assert "Personas, layer by layer" in client.get("/space.html").text
        assert client.get("/report.html").status_code == 200
    assert page.analytics_enabled is False


# -- the other tabs -------------------------------------------------------------------------------------------
def test_the_verdict_and_what_it_does_not_show(bench):
    page = verdict_html(bench)
    for limit in LIMITS:
        assert limit.replace("'", "&#x27;") in page
    assert "(iv) Moving along the axis changes behaviour" in page
    assert "no study here" in verdict_html(Bench(endpoint=object()))


def test_comparing_with_a_neighbour(bench, tmp_path):
    assert neighbours(bench) == []
    other = bench.run.folder.parent / "other"
    shutil.copytree(bench.run.folder, other)
    (bench.run.folder.parent / "no run").mkdir()
    found = neighbours(bench)
    assert [path.name for path in found] == ["other"]
    status, figure, table = compared_with(bench, found, str(found[0]))
    assert (status, "PC1" in table, '"data"' in figure) == ("", True, True)
    status, figure, table = compared_with(bench, found, "/etc")
    assert "cannot be compared from here" in status
    assert compared_with(bench, found, "") == ["", "", ""]


def test_given_conversations(bench, tmp_path):
    _, talking = inside_a_loop(build, bench)
    path = tmp_path / "talks.jsonl"
    path.write_text(
        '{"name": "one", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "I am <b>here</b>."}]}\n'
        '{"name": "two", "messages": [{"role": "user", "content": "a"}]}\n{"x": 1}\n'
    )
    *_, last = opened(talking, str(path))
    known, _, turn, status, chart, tokens = last
    assert "1 could not be read" in status
    assert "&amp;lt;b&amp;gt;" in tokens or "&lt;b&gt;" in tokens.replace("&amp;", "&")
    assert '"data"' in chart
    assert turn["visible"]
    assert "iframe" in shown_turn(known, 0)
    *_, second = chosen(talking, known, "two")
    assert second[4] == ""  # nobody answered: there is no trajectory
    for content, text in (("{}", "No conversation can be read"), ("", "No conversation can be read")):
        path.write_text(content)
        [values] = opened(talking, str(path))
        assert text in values[3]
        assert str(tmp_path) not in values[3]
    [values] = opened(talking, None)
    assert isinstance(values[0], Given)
    assert len(talking.line) == 0


def test_a_mistake_of_ours_is_a_sentence_in_the_page_and_told_in_full_in_the_terminal(bench, caplog):
    _, talking = inside_a_loop(build, bench)

    class Broken(ChatEvents):
        def __init__(self):
            self.talking = talking

    def breaks(session):
        yield from ()
        raise ZeroDivisionError("ours")

    name = new_name()
    [values] = Broken()._run(name, breaks)
    assert "something went wrong in the app itself" in str(values).lower()
    assert "Traceback" not in str(values)
    assert "ZeroDivisionError" in caplog.text
    [values] = Broken()._run("not a name", breaks)
    assert "reload it" in str(values)
