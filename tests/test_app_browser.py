"""The page in a real browser on the embedded model: what it shows, what it keeps, and that it asks nobody else for anything."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from app_study import HARM, PIRATE, small_study

from workbench.app.settings import Settings
from workbench.organism.judge import read_response

pytestmark = pytest.mark.browser
CAP = Settings(persona=PIRATE, kind="floor", preset="recommended", seed=1)
NASTY = "<script>alert(1)</script> <img src=x onerror=alert(2)> {{value}} ${1+1} 'x' \"y\""

WATCH = """() => {
  window.seen = [];
  const answers = () => [...document.querySelectorAll('#live .answer')];
  const look = () => answers().map(a => ({length: a.querySelector('.said').innerText.length, place: a.querySelector('.now')?.style.left}));
  const all = {subtree: true, childList: true, characterData: true, attributes: true};
  new MutationObserver(() => window.seen.push(look())).observe(document.querySelector('#live'), all);
}"""
LONG = Settings(persona=PIRATE, kind="add", strength=2, max_new_tokens=300)
"""Steered so far, the right side never finds its end."""
FOCUSED = "(e => e.dataset.act || e.dataset.copy || e.ariaLabel || e.id || e.innerText || e.type)(document.activeElement)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app as it is started from a terminal, on a free port; stopped by its process id."""
    run = small_study(tmp_path_factory.mktemp("page") / "runs" / "run")
    command = [sys.executable, "-m", "workbench", "app", str(run.folder)]
    log = tmp_path_factory.mktemp("log") / "app.txt"
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[0]
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


class Tab:
    """One tab, with what it complained of and whom it asked."""

    def __init__(self, context, address: str, query: str = "", width: int = 1280) -> None:
        self.page, self.problems, self.asked = context.new_page(), [], []
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = address
        self.open(query)

    def open(self, query: str = "") -> None:
        self.page.goto(self.address + (f"?{query}" if query else ""))
        self.ready()

    def ready(self) -> None:
        """The page is drawn, and knows its conversation."""
        self.page.wait_for_selector("#message textarea")
        self.page.wait_for_function("document.querySelector('#tab-name textarea')?.value.length == 32")

    def type(self, text: str) -> None:
        self.page.fill("#message textarea", text)
        self.page.keyboard.press("Enter")

    def send(self, text: str) -> None:
        """Say something and wait for both answers."""
        self.type(text)
        self.page.wait_for_function("document.querySelector('#live .exchange')")
        self.finish()

    def finish(self) -> None:
        self.page.wait_for_function("!document.querySelector('#live .exchange') && document.querySelector('#stop').disabled")

    def do(self, act: str, place: int = 0) -> None:
        """Press one of the buttons beside a message."""
        self.page.click(f"#history [data-act={act}] >> nth={place}")

    def answers(self, side: str) -> list[str]:
        return self.page.locator(f"#history .answer.{side} .said[data-act], #history .answer.{side} > .said").all_inner_texts()

    def asked_of(self) -> list[str]:
        return self.page.locator("#history .asked .said").all_inner_texts()

    def status(self, text: str) -> str:
        self.page.wait_for_function("text => document.querySelector('#status').innerText.includes(text)", arg=text)
        return self.page.inner_text("#status")

    def saved(self, name: str = "conversation.json") -> bytes:
        tab = self.page.evaluate("sessionStorage.getItem('workbench-tab')")
        with urllib.request.urlopen(f"{self.address}keep/{tab}/{name}", timeout=30) as answer:
            return answer.read()

    def close(self) -> None:
        outside = [url for url in self.asked if not url.startswith((self.address, "data:", "blob:", "about:"))]
        self.page.close()
        assert outside == []
        assert self.problems == []


@pytest.fixture
def context(browser):
    """A browser that has never been here."""
    fresh = browser.new_context()
    yield fresh
    fresh.close()


def refuses(text: str) -> bool:
    return read_response(text).refused


def test_a_jailbreak_is_refused_under_the_cap_and_not_under_a_random_direction(context, address):
    tab = Tab(context, address, CAP.to_query())
    tab.page.evaluate(WATCH)
    tab.send(HARM)
    seen = [moment for moment in tab.page.evaluate("window.seen") if len(moment) == 2]
    assert len({(one["length"], other["length"]) for one, other in seen}) > 2  # both were written before one's eyes
    assert len({(one["place"], other["place"]) for one, other in seen}) > 2  # and the gauge moved
    [left], [right] = tab.answers("left"), tab.answers("right")
    assert not refuses(left)
    assert refuses(right)
    assert "below the band" in tab.page.inner_text("#history .answer.left .gauge")
    assert tab.page.locator("#trajectory .scatterlayer .trace").count() >= 3
    tab.send("Who are you?")
    tab.page.wait_for_function("document.querySelectorAll('#trajectory .scatterlayer .trace .point').length == 6")
    # One click: the same message and seed, a random direction of the same dose.
    tab.do("control")
    tab.page.wait_for_function("document.querySelector('#history .branches')")
    assert tab.answers("left") == [left]
    assert not refuses(tab.answers("right")[0])
    assert "random direction 0, same dose as: recommended cap" in tab.page.inner_text("#history .answer.right .who")
    tab.close()


def test_a_slider_changes_the_answer_and_the_link_opens_the_same(context, address):
    tab = Tab(context, address, f"persona={PIRATE}&kind=floor&over=roles&percentile=0&seed=1")
    tab.send(HARM)
    assert not refuses(tab.answers("right")[0])
    tab.page.click("#keep button.label-wrap")
    slider = tab.page.locator("#percentile input[type=range]")
    slider.focus()
    slider.press("End")
    tab.page.wait_for_function("document.querySelector('#kept a.link').href.includes('percentile=100')")
    tab.do("again")
    tab.page.wait_for_function("document.querySelector('#history .branches')")
    assert refuses(tab.answers("right")[0])
    link = tab.page.get_attribute("#kept a.link", "href")
    assert "percentile=100" in link
    assert "wb.Floor(direction, at" in tab.page.inner_text("#kept pre.python")
    other = Tab(context, address, link.partition("?")[2])
    assert other.page.input_value("#percentile input[type=range]") == "100"
    other.close()
    tab.close()


def test_editing_branching_stopping_and_a_reload(context, address):
    tab = Tab(context, address, LONG.but(max_new_tokens=24).to_query())
    for text in ("Add 2 and 3.", "Who are you?"):
        tab.send(text)
    tab.do("edit", 1)
    tab.status("Editing an earlier message")
    assert tab.page.input_value("#message textarea") == "Who are you?"
    tab.send("I am scared of tomorrow.")
    assert tab.asked_of() == ["Add 2 and 3.", "I am scared of tomorrow."]
    assert tab.page.inner_text("#history .branches span") == "branch 2 of 2"
    tab.page.reload()
    tab.ready()
    tab.page.wait_for_function("document.querySelectorAll('#history .exchange').length == 2")
    assert tab.asked_of() == ["Add 2 and 3.", "I am scared of tomorrow."]
    assert tab.page.input_value("#acts input") == "add: steer along it"
    tab.do("turn")
    tab.page.wait_for_function("document.querySelector('#history').innerText.includes('branch 1 of 2')")
    assert tab.asked_of() == ["Add 2 and 3.", "Who are you?"]
    tab.open(LONG.to_query())
    tab.page.wait_for_function("document.querySelector('#history .exchange')")
    tab.type(HARM)
    tab.page.wait_for_function("document.querySelector('#live .answer.right .now')")
    tab.page.click("#stop")
    tab.finish()
    last = json.loads(tab.saved())["exchanges"][-1]["replies"]
    assert "stopped" in {reply["finish"] for reply in last.values()}
    assert "stopped" in tab.page.inner_text("#history .exchange:last-child .answer.right")
    tab.close()


FRAMES = """() => {
  const stop = document.querySelector('#stop'); window.frames_seen = [];
  const look = () => {
    const box = stop.getBoundingClientRect();
    if (!stop.disabled) window.frames_seen.push([box.top, box.bottom]);
    requestAnimationFrame(look);
  };
  look();
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_written_and_the_way_to_stop_it_stay_in_view(context, address, width):
    tab = Tab(context, address, LONG.but(max_new_tokens=80).to_query(), width)
    tab.page.evaluate(FRAMES)
    for text in ("Who are you?", HARM, "Add 2 and 3."):
        tab.send(text)
        bottom = tab.page.evaluate("document.querySelector('#history .exchange:last-child').getBoundingClientRect().bottom")
        assert 0 < bottom < 900, text
    seen = tab.page.evaluate("window.frames_seen")
    assert len(seen) > 20
    # But for the frames in which an exchange goes from the live place to its own, and stands in both.
    assert sum(top <= 0 or bottom > 900 for top, bottom in seen) <= 6
    # Who scrolls up reads on undisturbed; the next message brings the end back.
    tab.type("Who are you?")
    tab.page.wait_for_function("document.querySelector('#live .answer.right .now')")
    top, before = "document.querySelector('#history .exchange').getBoundingClientRect().top", tab.page.evaluate("scrollY")
    tab.page.mouse.move(width / 4, 300)
    tab.page.mouse.wheel(0, -400)
    tab.page.wait_for_function("before => scrollY < before - 100", arg=before)
    tab.page.wait_for_timeout(150)
    place = tab.page.evaluate(top)
    tab.finish()
    assert abs(tab.page.evaluate(top) - place) < 3
    tab.send("Add 2 and 3.")
    assert 0 < tab.page.evaluate("document.querySelector('#history .exchange:last-child').getBoundingClientRect().bottom") < 900
    tab.close()


def test_two_tabs_wait_for_each_other_and_a_closed_one_stops(context, address):
    one, other = Tab(context, address, LONG.to_query()), Tab(context, address, f"persona={PIRATE}")
    assert one.page.evaluate("sessionStorage.getItem('workbench-tab')") != other.page.evaluate("sessionStorage.getItem('workbench-tab')")
    one.type(HARM)
    one.page.wait_for_function("document.querySelector('#live .answer.right .now')")
    other.type("Who are you?")
    assert other.status("before yours") == "1 request is before yours: the model does one thing at a time"
    one.finish()
    other.finish()
    assert one.asked_of() == [HARM]
    assert other.asked_of() == ["Who are you?"]
    for tab in (one, other):
        tab.page.reload()
        tab.ready()
        tab.page.wait_for_function("document.querySelector('#history .answer')")
    assert (one.asked_of(), other.asked_of()) == ([HARM], ["Who are you?"])
    # Closed in mid-answer: what was written is kept, and nobody writes on.
    one.open(LONG.to_query())
    one.page.wait_for_function("document.querySelector('#history .exchange')")
    one.type("Who are you?")
    one.page.wait_for_function("document.querySelector('#live .answer.right .now')")
    name = one.page.evaluate("sessionStorage.getItem('workbench-tab')")
    one.close()
    deadline = time.monotonic() + 15
    while True:
        with urllib.request.urlopen(f"{address}keep/{name}/conversation.json", timeout=30) as answer:
            last = json.loads(answer.read())["exchanges"][-1]
        if last["replies"] or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert "stopped" in {reply["finish"] for reply in last["replies"].values()}
    # The browser can go on with it in another tab.
    third = Tab(context, address)
    third.page.click("#keep button.label-wrap")
    third.page.click("#last")
    third.page.wait_for_function("document.querySelectorAll('#history .exchange').length == 2")
    assert third.asked_of() == [HARM, "Who are you?"]
    third.close()
    other.close()


def test_what_people_write_is_only_ever_text(context, address, tmp_path, browser):
    tab = Tab(context, address, CAP.to_query())
    for text, says in (
        ("", "An empty message"),
        ("   ", "An empty message"),
        ("x" * 100_001, "is too long"),
        ("word " * 15_000, "exceed the 1024"),
    ):
        tab.type(text)
        tab.status(says)
    assert tab.page.input_value("#message textarea").startswith("word word")  # nothing is lost
    tab.send(NASTY)
    assert tab.asked_of() == [NASTY]
    assert tab.page.locator("#history script, #history img").count() == 0
    tab.page.click("#history .answer.right button[data-act=tokens]")
    frame = tab.page.frame_locator("dialog[open] iframe")
    token = frame.locator(".said > span").nth(3)
    token.hover()
    assert f"{float(token.get_attribute('data-p')):+.3f}".replace("-", "\u2212") in frame.locator(".pointed").inner_text()
    tab.page.keyboard.press("Escape")
    assert tab.page.locator("dialog[open]").count() == 0
    # The exported page, opened from a file, without any network.
    path = tmp_path / "talk.html"
    path.write_bytes(tab.saved("conversation.html"))
    offline = browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    page, problems = offline.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#trajectory .main-svg")
    assert NASTY in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("details summary >> nth=0")
    assert page.locator(".token-map .said > span").count() > 5
    assert problems == []
    offline.close()
    tab.close()


def test_other_formats_and_other_tabs(context, address, tmp_path):
    tab = Tab(context, address)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"x": 1}')
    tab.page.click("#keep button.label-wrap")
    tab.page.set_input_files("#load ~ input[type=file], input[type=file] >> nth=0", wrong)
    assert str(tmp_path) not in tab.status("o conversation can be read from wrong.json")
    right = tmp_path / "right.json"
    talk = [{"role": "system", "content": "You are the tailor."}, {"role": "user", "content": "Who are you?"}]
    right.write_text(json.dumps({"messages": [*talk, {"role": "assistant", "content": "I am <b>here</b> to help."}]}))
    tab.page.set_input_files("input[type=file] >> nth=0", right)
    tab.page.wait_for_function("document.querySelector('#history .answer .gauge')")
    assert tab.answers("left") == ["I am <b>here</b> to help."]
    tab.page.click("button[role=tab]:has-text('Persona space')")
    space = tab.page.frame_locator("iframe.page")
    space.locator("select").select_option(label=PIRATE)
    space.locator(".role blockquote").first.wait_for()
    tab.page.click("button[role=tab]:has-text('Drift')")
    tab.page.set_input_files("#given input[type=file]", right)
    tab.page.wait_for_selector("#given-tokens iframe")
    tab.page.wait_for_selector("#given-trajectory .main-svg")
    tab.page.click("button[role=tab]:has-text('Verdict')")
    assert "What this does not show" in tab.page.inner_text("[role=tabpanel]:visible, .tabitem:visible")
    tab.close()


def test_everything_is_reached_by_the_keyboard(context, address):
    tab = Tab(context, address, f"persona={PIRATE}&kind=floor&percentile=90")
    tab.send("Who are you?")
    tab.page.click("#sampling button.label-wrap")
    tab.page.click("#keep button.label-wrap")
    tab.page.evaluate("document.querySelector('[role=tab]').focus()")
    reached = set()
    for _ in range(70):
        reached.add(tab.page.evaluate(FOCUSED))
        tab.page.keyboard.press("Tab")
    text = " | ".join(sorted(map(str, reached)))
    for wanted in (
        "edit",
        "again",
        "control",
        "tokens",
        "Send",
        "Intervention",
        "Along",
        "Persona",
        "Temperature",
        "top_p",
        "python",
        "link",
    ):
        assert wanted.lower() in text.lower(), (wanted, text)
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(browser, address, scheme):
    narrow = browser.new_context(color_scheme=scheme)
    tab = Tab(narrow, address, CAP.to_query(), width=390)
    tab.send(NASTY + " " + "w" * 120)
    tab.page.click("#keep button.label-wrap")
    tab.page.click("#sampling button.label-wrap")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    page, ink = tab.page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (sum(map(int, re.findall(r"\d+", page)[:3])) > sum(map(int, re.findall(r"\d+", ink)[:3]))) == (scheme == "light")
    tab.close()
    narrow.close()
