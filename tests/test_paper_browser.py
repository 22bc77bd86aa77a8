"""Paper figures as a browser draws them: exact sizes, text that is text, and nothing cut or on something else."""

import asyncio
import re
import struct

import pytest
from paper_run import make_run
from svg_checks import measured, outside, overlapping

from workbench import plots
from workbench.paper.catalogue import paper_figures
from workbench.paper.files import Settings, write_figures
from workbench.plots.paper import FAMILY

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory, organism):
    return make_run(tmp_path_factory.mktemp("paper") / "run", organism)


@pytest.fixture(scope="module", params=["column", "page"])
def drawn(request, run, tmp_path_factory):
    """All figures in one width: the width in inches, and the folder."""
    folder = tmp_path_factory.mktemp(request.param)
    write_figures(run, None, folder, Settings(("pdf", "svg", "png"), width=request.param))
    return {"column": 3.25, "page": 6.75}[request.param], folder


def test_there_is_an_image_of_every_figure_in_every_format(drawn, run):
    _, folder = drawn
    names = set(paper_figures(run))
    for kind in ("pdf", "svg", "png", "csv"):
        assert {path.stem for path in folder.glob(f"*.{kind}")} == names


def test_a_png_has_300_dots_an_inch_to_the_last_dot(drawn):
    inches, folder = drawn
    for path in folder.glob("*.png"):
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert width == inches * 300, path.name
        assert height % 25 == 0, path.name  # a twelfth of an inch
        assert struct.unpack(">II", content[content.index(b"pHYs") + 4 :][:8]) == (11811, 11811), path.name


def test_a_pdf_is_one_page_of_the_printed_size_with_letters_in_it(drawn):
    inches, folder = drawn
    for path in folder.glob("*.pdf"):
        content = path.read_bytes()
        [box] = re.findall(rb"MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content)
        assert float(box[0]) == inches * 72, path.name
        assert float(box[1]) % 6 == pytest.approx(0, abs=0.01), path.name
        assert len(re.findall(rb"/Type /Page\b", content)) == 1, path.name
        assert b"/BaseFont" in content, path.name  # text is text, not curves


def test_all_text_of_an_svg_is_text_of_one_family_in_two_sizes(drawn, browser):
    _, folder = drawn
    for path in folder.glob("*.svg"):
        found = measured(browser, path)
        assert len(found["boxes"]) > 5, path.name
        assert {re.sub("[\"']", "", box["family"]) for box in found["boxes"]} == {re.sub("[\"']", "", FAMILY)}, path.name
        points = {round(box["size"] * 72 / 96, 1) for box in found["boxes"]}
        assert points <= {7.0, 8.0}, path.name


def test_no_text_leaves_the_page_or_lies_on_another(drawn, browser):
    _, folder = drawn
    for path in folder.glob("*.svg"):
        found = measured(browser, path)
        assert outside(found) == [], path.name
        assert overlapping(found) == [], path.name


def test_the_checks_see_what_is_wrong(browser, tmp_path):
    """The measuring itself: text that is cut and text on text are found."""
    text = '<text x="{}" y="{}" font-size="12" font-family="DejaVu Sans">{}</text>'
    words = "".join(
        text.format(*at) for at in ((10, 50, "first words"), (14, 52, "second words"), (150, 80, "cut at the right"), (10, 90, "fine"))
    )
    path = tmp_path / "bad.svg"
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">{words}</svg>')
    found = measured(browser, path)
    assert outside(found) == ["cut at the right"]
    assert overlapping(found) == [("first words", "second words")]


def test_one_figure_is_saved_where_a_loop_is_running_already(browser, tmp_path, run):
    """As in a notebook: here it is playwright's."""
    asyncio.get_running_loop()
    figure = plots.for_paper(paper_figures(run, ["scree"])["scree"].figure)
    assert struct.unpack(">I", plots.save(figure, tmp_path / "scree.png").read_bytes()[16:20]) == (975,)
