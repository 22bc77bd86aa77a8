"""The report in a real browser: no error in its console, no request to anywhere, readable on a phone."""

import pytest

from workbench.drift.files import given_trajectories
from workbench.drift.material import DriftConfig
from workbench.drift.store import kept_conversations
from workbench.models.loading import load_model
from workbench.study.config import Lazy
from workbench.study.drift import drift_step
from workbench.study.main import STEPS, run_study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A study with its drift part, and a page of tokens beside it."""
    model, quiet = load_model("organism"), lambda step, done, total: None
    run = run_study(model, tmp_path_factory.mktemp("browser") / "run", roles=12, questions=3, prompts=1, default_rollouts=15)
    drift_step(run, Lazy(run, model), quiet, DriftConfig.of(n=3, turns=3, ordinary=20, choosing=1, in_roles=1))
    STEPS["report"](run, Lazy(run, model), quiet)
    given_trajectories(run, model, kept_conversations(run, "baseline")[0][:1], pages=1)
    return run.report


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_opens_cleanly(browser, report, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.wait_for_timeout(500)
    outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []
    assert problems == []
    assert page.locator(".js-plotly-plot").count() == 12
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_number_of_a_token_is_shown_to_pointer_and_keyboard(browser, report):
    path = next(p for p in (report.parent / "drift" / "given").glob("*.html") if p.name != "trajectories.html")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(path.as_uri())
    tokens = page.locator(".token-map .said > span")
    tokens.nth(5).hover()
    said = page.locator(".pointed").inner_text()
    assert f"projection {float(tokens.nth(5).get_attribute('data-p')):+.3f}".replace("-", "\u2212") in said
    page.locator(".said").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".pointed").inner_text() != said
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_linked_figure_answers_to_pointer_and_keyboard(browser, report, width):
    page = browser.new_page(viewport={"width": width, "height": 1000})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((report.parent / "figures" / "persona_layers.html").as_uri())
    page.wait_for_selector(".explorer .points path")
    heading = "[...document.querySelectorAll('.explorer .annotation')].map(e => e.textContent).find(t => t.startsWith('Layer'))"
    first = page.evaluate(heading)
    slider = page.locator(".explorer input")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{heading} !== {first!r}")
    assert page.evaluate(heading) == f"Layer {page.locator('.explorer output').inner_text()}"
    assert problems == []

    point = page.locator(".explorer .plot .points path").first.bounding_box()
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector(".explorer .role blockquote")
    chosen = page.locator(".explorer .role h3").inner_text()
    picker = page.locator(".explorer select")
    assert chosen == picker.evaluate("picker => picker.selectedOptions[0].textContent")
    rings = "document.querySelector('.explorer .plot').data.slice(-3).map(trace => trace.x.length)"
    page.wait_for_function(f"{rings}.join() === '1,1,3'")
    # The ring lies on the role's own point, at this layer and after the next move.
    for key in ("", "ArrowLeft"):
        if key:
            slider.focus()
            page.keyboard.press(key)
            page.wait_for_function(f"{heading} === {first!r}")
            page.wait_for_timeout(300)
        on_it = page.evaluate(
            """name => { const data = document.querySelector(".explorer .plot")._fullData, ring = data.at(-3), roles = data[0];
            const i = roles.text.indexOf(name); return [ring.x[0] - roles.x[i], ring.y[0] - roles.y[i]]; }""",
            chosen,
        )
        assert on_it == pytest.approx([0, 0], abs=1e-6)
    picker.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"document.querySelector('.explorer .role h3').textContent !== {chosen!r}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    page.close()
