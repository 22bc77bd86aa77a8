"""The report: complete, offline, and safe with any text; looked at in a browser where there is one."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from workbench import plots
from workbench.errors import DataError
from workbench.report.caps import conditions_table
from workbench.report.page import ReportData, ReportFigure, ReportTable, render_report

ATTACK = "</script><script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


def role_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"role": [ATTACK, "bard", "tutor", "ghost", "default"], "description": IMAGE, "n": 12})
    frame[["pc1", "pc2", "pc3"]] = rng.normal(size=(5, 3))
    frame["projection"] = [-12.5, -3.0, 2.0, math.nan, 9.0]
    return frame.assign(low=frame["projection"] - 1, high=frame["projection"] + 1, is_default=frame["role"] == "default", label_3=11)


def five_figures() -> tuple[ReportFigure, ...]:
    frame = role_table()
    square = pd.DataFrame(np.eye(2), index=[ATTACK, "b"], columns=[ATTACK, "b"])
    shares = pd.DataFrame({"component": [1, 2], "share": [0.8, 0.2], "cumulative": [0.8, 1.0]})
    sweep = pd.DataFrame({"layer": [0, 1], "auc": [0.7, 0.9]})
    figures = [
        plots.persona_space(frame),
        plots.axis_line(frame),
        plots.scree(shares),
        plots.cosine_heatmap(square),
        plots.layer_sweep(sweep),
    ]
    return tuple(ReportFigure(f"Figure {i} {ATTACK}", "A caption.", figure) for i, figure in enumerate(figures))


@pytest.fixture
def data() -> ReportData:
    lines = [
        ("held out", "pass", "AUC 0.97"),
        ("stable", "fail", "cosine 0.2"),
        ("causal", "untested", "none run"),
        ("x", "pass", IMAGE),
    ]
    numbers = pd.DataFrame([{"name": "AUC", "value": "0.97", "unit": "0.5 to 1", "meaning": "chance that ..."}])
    example = {
        "role": ATTACK,
        "prompt": "",
        "question": "Who?",
        "response": ATTACK,
        "label": 3,
        "reason": IMAGE,
        "projection": -3.0,
    }
    return ReportData(
        title="A study", model="toy", headline="One direction separates.", conclusion="cannot tell: causal effect untested",
        verdict=pd.DataFrame(lines, columns=["line", "outcome", "evidence"]), numbers=numbers, figures=five_figures(),
        roles=role_table(), examples=pd.DataFrame([example, example | {"role": "default", "label": None, "reason": None}]),
        notes=("all responses used: no judge",), limits=("no measure of safety",),
        settings={"seed": "0"}, versions={"torch": "2.9"},
    )  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text of scripts apart from the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.scripts, self._script = "", [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = tag in ("script", "style")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if not self._script:
            self.text += data
        elif self.scripts and self.tags[-1][0] == "script":
            self.scripts[-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_everything_that_was_given_is_there(data):
    page = Page(render_report(data))
    for words in (
        data.title,
        data.headline,
        data.conclusion,
        "AUC 0.97",
        "0.5 to 1",
        "A caption.",
        "no judge",
        "no measure of safety",
    ):
        assert words in page.text
    assert [mark["class"] for mark in page.all("span") if (mark.get("class") or "").startswith("mark")] == [
        "mark pass", "mark fail", "mark untested", "mark pass",
    ]  # fmt: skip
    for symbol, word in (("✓", "pass"), ("✗", "fail"), ("?", "untested")):
        assert f"{symbol}{word}" in page.text, "a mark says its outcome in a word and a symbol"


def test_text_from_data_can_neither_close_a_script_nor_make_a_tag(data):
    html = render_report(data)
    page = Page(html)
    assert len(page.scripts) == 4, "two of data, plotly.js and ours"
    assert not page.all("img")
    assert "<script>alert" not in html
    assert page.text.count(ATTACK) >= 3, "it is shown as text instead"
    figures = json.loads(page.scripts[0])
    assert ATTACK.replace("<", "&lt;").replace(">", "&gt;") in json.dumps(figures), "escaped for Plotly, which reads tags too"


def test_plotly_is_inlined_once_and_nothing_is_loaded(data):
    html = render_report(data)
    assert html.count("* plotly.js v") == 1
    page = Page(html)
    targets = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "srcset", "action")]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "url(" not in styles
    assert "@import" not in styles
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_figures_are_embedded_without_template_and_title(data):
    page = Page(render_report(data))
    figures, templates = json.loads(page.scripts[0]), json.loads(page.scripts[1])
    assert len(figures) == 5
    assert not any({"template", "title"} & set(figure["layout"]) for figure in figures)
    assert templates["light"]["layout"]["font"]["color"] != templates["dark"]["layout"]["font"]["color"]
    assert templates["dark"]["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)", "the page shows through"
    assert "Roles along the Assistant Axis" in page.text, "the title has become text"
    assert next(t for f in figures for t in f["data"] if t.get("name") == "role")["x"] == role_table()["pc1"][:4].tolist()


def test_figures_have_names_for_those_who_cannot_see_them(data):
    page = Page(render_report(data))
    boxes = [box for box in page.all("div") if box.get("class") == "plot"]
    assert [box["role"] for box in boxes] == ["img"] * 5
    assert all("A caption." in box["aria-label"] for box in boxes)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert page.all("html")[0]["lang"] == "en-GB"


def test_role_table_shows_rounded_and_sorts_by_exact_values(data):
    html = render_report(data)
    assert 'class="number projection" data-value="-12.5">\u221212.5<' in html
    assert 'class="number projection" data-value="">\u2013<' in html, "a missing value is a dash and sorts last"
    assert 'title="fully in role"><button' in html


def test_empty_tables_drop_their_sections(data):
    small = replace(data, figures=(), roles=data.roles.iloc[:0], examples=data.examples.iloc[:0], numbers=data.numbers.iloc[:0], notes=())
    page = Page(render_report(small))
    assert not {"figures", "roles", "examples", "numbers", "notes"} & {heading.get("id") for heading in page.all("h2")}
    assert "plotly.js v" not in "".join(page.scripts), "no figures, no library"
    assert "Plotly.newPlot" in "".join(page.scripts)


def test_a_foreign_figure_gets_a_height_and_numpy_arrays_survive(data):
    foreign = ReportFigure("Foreign", "None of ours.", go.Figure(go.Scatter(x=np.arange(3), y=np.array([1.0, np.nan, 2.0]))))
    figure = json.loads(Page(render_report(replace(data, figures=(foreign,)))).scripts[0])[0]
    assert figure["layout"]["height"] > 300


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("verdict", lambda f: f.assign(outcome="maybe"), "is pass, fail, cannot tell, untested; the verdict has maybe"),
        (
            "verdict",
            lambda f: f.drop(columns="evidence"),
            "the verdict of a report needs the column evidence; the table has line, outcome",
        ),
        ("numbers", lambda f: f.drop(columns="unit"), "the numbers of a report needs the column unit"),
        ("roles", lambda f: f.drop(columns=["low", "high"]), "the role table of a report needs the columns low, high"),
        ("examples", lambda f: f.drop(columns="question"), "the examples of a report needs the column question"),
    ],
)
def test_errors_name_the_table_and_the_column(data, field, change, message):
    with pytest.raises(DataError, match=message):
        render_report(replace(data, **{field: change(getattr(data, field))}))


def test_importing_the_report_leaves_torch_alone():
    code = "import sys, workbench.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium")
    arguments = ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--enable-unsafe-swiftshader"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.mark.browser
def test_in_a_browser(data, browser, tmp_path):
    """One start of the browser, all that only a browser can tell."""
    path = tmp_path / "report.html"
    path.write_text(render_report(data), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="light")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("a script from the data ran"), dialog.dismiss()))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 5 && plots.length === 5")
    assert page.evaluate("document.documentElement.scrollWidth") == 390, "the page never scrolls sideways"
    page.evaluate("Plotly.Fx.hover('figure-2', [{curveNumber: 1, pointNumber: 0}])")
    assert IMAGE in page.locator("#figure-2 .hoverlayer").first.text_content()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.getElementById('figure-2')._fullLayout.font.color === '#e4e6ea'")
    head = page.locator("#role-table thead button").nth(3)
    column = "[...document.querySelectorAll('#role-table tbody tr')].map(row => row.cells[3].dataset.value)"
    head.click()
    assert page.evaluate(column) == ["-12.5", "-3.0", "2.0", "9.0", ""]
    head.click()
    assert page.evaluate(column) == ["9.0", "2.0", "-3.0", "-12.5", ""]
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_acts_is_reached_by_keyboard_with_a_ring_that_can_be_seen(data, browser, tmp_path, scheme):
    cards = [
        {"kind": "jailbreak", "prompt": "Do it.", "role": "ghost", "replies": [{"condition": "baseline", "response": "No.", "outcome": ""}]}
    ]
    tables = (ReportTable("More", "A table.", pd.DataFrame({"a": [1]})),)
    path = tmp_path / "report.html"
    path.write_text(render_report(replace(data, pairs=cards, tables=tables)), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(path.as_uri())
    page.wait_for_function("plots.length === 5")
    page.wait_for_function("document.querySelectorAll('.plot[role=group]').length === 5")
    acting = "[...document.querySelectorAll('a[href], summary, button, input, select, [tabindex]')]"
    wanted = page.evaluate(f"{acting}.length")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    seen = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(f"""() => {{ const e = document.activeElement, style = getComputedStyle(e), all = {acting};
            return [all.indexOf(e), style.outlineStyle, parseFloat(style.outlineWidth), style.outlineColor]; }}"""))  # fmt: skip
    assert sorted(place for place, *_ in seen) == list(range(wanted)), "each once, and nothing else on the way"
    assert {style for _, style, *_ in seen} == {"solid"}
    assert min(width for _, _, width, _ in seen) >= 2
    page.keyboard.press("Shift+Tab")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None
    page.locator("#role-table thead button").nth(3).focus()
    page.keyboard.press("Enter")
    assert page.locator("#role-table thead th").nth(3).get_attribute("aria-sort") == "ascending"
    images = (
        "[...document.querySelectorAll('.plot')].map(e => [...e.querySelectorAll('[role=img]')].map(i => i.getAttribute('aria-label')))"
    )
    other = "dark" if scheme == "light" else "light"
    for _ in range(2):
        assert [len(labels) for labels in page.evaluate(images)] == [1] * 5, "each drawing is one image, with its tools outside"
        assert all("A caption." in label and ATTACK in label for [label] in page.evaluate(images))
        page.emulate_media(color_scheme=other)
        page.wait_for_timeout(500)
    hidden = "[...document.querySelectorAll('.plot .main-svg:not([role=img])')].every(e => e.ariaHidden === 'true')"
    assert page.evaluate(hidden), "no letter of an axis is read by itself"
    page.close()


def test_the_table_of_conditions_says_every_n(tmp_path):
    """Controls are asked fewer prompts: the head is the baseline's and the caps', a cell with another n says so."""
    sizes = {"baseline": 80, "recommended": 80, "random 0, same dose": 40}
    rows = [{"condition": name, "measure": "compliance", "rate": 0.5, "low": 0.4, "high": 0.6, "n": n} for name, n in sizes.items()]
    rows += [row | {"measure": "right", "n": 2 * row["n"] if row["condition"].startswith("random") else 20} for row in rows]
    (tmp_path / "tables").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "caps.csv", index=False)
    steps = {"evaluate": {"conditions": {"random 0, same dose": "control"}}}
    run = SimpleNamespace(folder=tmp_path, study={"steps": steps}, is_done=lambda step: step == "calibrate")
    frame = conditions_table(run).set_index("condition")
    compliance, right = frame.columns[1:]
    assert compliance.endswith("(n = 80)")
    assert right.endswith("(n = 20)")
    assert frame[compliance].to_list() == ["0.500 [0.400, 0.600]"] * 2 + ["0.500 [0.400, 0.600] (n = 40)"]
    assert frame.loc["random 0, same dose", right] == "0.500 [0.400, 0.600] (n = 80)"
