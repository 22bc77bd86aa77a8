"""The built site: no warning, no broken link, nothing from outside; and in a real browser figures, search, keyboard, phone."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from pages import DOCS, HOUSE

pytestmark = pytest.mark.timeout(900)  # the study behind the figures is made where it is not there yet
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "link": "href",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site in a folder, and what was said while it was built."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=HOUSE, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout + done.stderr


class Page(HTMLParser):
    """What a page loads, where it links to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.leads, self.ids, self.styles = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])
        if tag in LOADING and LOADING[tag] in found and found.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(found[LOADING[tag]])
        self.loads += [part.split()[0] for part in found.get("srcset", "").split(",") if part.strip()]
        self.styles.append(found.get("style", ""))


@pytest.fixture(scope="module")
def pages(built):
    return {path: Page(path) for path in built[0].rglob("*.html")}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(built):
    folder, said = built
    assert not re.search(r"warn|error|deprecat", said, re.IGNORECASE), said
    written = {p.relative_to(DOCS).with_suffix(".html") for p in DOCS.rglob("*.md")}
    assert written <= {p.relative_to(folder) for p in folder.rglob("*.html")}
    assert not [p for p in folder.rglob("*") if "_site" in p.parts or "__pycache__" in p.parts]
    assert len(list(folder.rglob("plotly*.js"))) == 1


@pytest.mark.slow
def test_the_site_loads_nothing_from_outside(built, pages):
    assert len(pages) > 20
    for path, page in pages.items():
        for source in (one for one in page.loads if not one.startswith("data:")):
            assert not re.match(r"(?:[a-z]+:)?//", source), f"{path.name} loads {source}"
            assert (path.parent / unquote(urlsplit(source).path)).exists() or path.name == "404.html", f"{path.name} loads {source}"
        assert not [style for style in page.styles if "url(" in style]
    for sheet in built[0].rglob("*.css"):
        outside = re.findall(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text(encoding="utf-8"))
        assert not outside, f"{sheet.name} loads {outside}"


@pytest.mark.slow
def test_every_link_and_anchor_of_the_site_leads_somewhere(built, pages):
    seen = 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links start at the root of a server
            continue
        for link in page.leads:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].ids, f"{path.name}: {link}"
            seen += 1
    assert seen > 500


@pytest.mark.slow
def test_what_the_start_page_quotes_is_what_the_study_says(built, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    from study import study

    from workbench.study.report import headline

    quoted = " ".join(re.sub(r"^> ", "", (DOCS / "start.md").read_text(encoding="utf-8"), flags=re.M).split())
    assert headline(study()) in quoted


# -- in a browser --------------------------------------------------------------------------------------
class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def served(built):
    """The site from a server of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(built[0])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "http"])
def base(request, built, served):
    """Where the site is read from: a folder, or a server."""
    return built[0].as_uri() if request.param == "file" else served


@pytest.fixture
def open_page(browser, base):
    """Opens pages with every way out closed; at the end there must have been no error, and no attempt."""
    problems, outside, opened = [], [], []

    def route(request):
        if request.request.url.startswith((base, "data:", "blob:", "about:")):
            request.continue_()
        else:
            outside.append(request.request.url)
            request.abort()

    def go(name, width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.route("**/*", route)
        page.on("console", lambda message: problems.append(f"{name}: {message.text}") if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(f"{name}: {error}"))
        page.goto(f"{base}/{name}")
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert outside == []
    assert problems == []


SHOWN = {"index.html": 1, "start.html": 1, "space.html": 3, "origins.html": 3, "sign.html": 1, "caps.html": 2, "drift.html": 1,
         "files.html": 0, "commands.html": 0, "reference/directions.html": 0}  # fmt: skip
"""Pages, and how many figures each has."""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_open_cleanly_with_their_figures(open_page, width, scheme):
    for name, figures in SHOWN.items():
        page = open_page(name, width, scheme)
        if figures:
            page.wait_for_function(f"document.querySelectorAll('.wb-plot .main-svg').length >= {figures}")
        assert page.locator(".wb-plot").count() == figures
        assert page.locator(".wb-plot.js-plotly-plot").count() == figures
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.close()


@pytest.mark.browser
def test_figures_follow_the_page_from_light_to_dark(open_page):
    page = open_page("sign.html")
    ink = "document.querySelector('.wb-plot')._fullLayout.font.color"
    page.wait_for_function(f"document.querySelector('.wb-plot')._fullLayout && {ink} === '#22262c'")
    page.locator("label[for='__palette_1']").click()  # as the system has it -> light
    page.locator("label[for='__palette_2']").click()  # light -> dark
    page.wait_for_function(f"{ink} === '#e4e6ea'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 29)"


@pytest.mark.browser
def test_search_finds_pages_and_says_where(open_page):
    page = open_page("index.html")
    page.keyboard.press("/")
    page.keyboard.type("sign trap")
    page.wait_for_selector(".md-search-result__item a")
    found = page.locator(".md-search-result__item a").first
    assert "sign" in found.get_attribute("href")
    found.click()
    page.wait_for_selector("h1:has-text('Sign and calibration')")


@pytest.mark.browser
def test_the_keyboard_reaches_content_navigation_and_search(open_page):
    page = open_page("caps.html")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.className + ' ' + (document.activeElement.getAttribute('href') || '')"))
    assert "md-skip" in reached[0]
    assert any("md-search__input" in name for name in reached)
    assert any("md-tabs__link" in name and "start.html" in name for name in reached)
    assert any("md-nav__link" in name for name in reached)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.browser
def test_the_linked_figure_opens_from_its_page(open_page):
    page = open_page("space.html")
    page.locator(".wb-open a").click()
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert "layer" in page.locator("h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.browser
def test_the_numbers_behind_a_figure_can_be_had(open_page, built):
    page = open_page("index.html")
    link = page.locator(".wb-figure figcaption a").first.get_attribute("href")
    text = (built[0] / link).read_text(encoding="utf-8")
    assert text.startswith("trace,x,y,z,text,colour\n")
    assert "default" in text
