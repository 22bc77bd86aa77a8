"""How the site is put together: figures, tables and commands in the pages, docstrings as Markdown, the study behind the figures."""

import importlib

import pytest
from pages import DOCS


@pytest.fixture
def hooks(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    found = importlib.import_module("hooks")
    shown = importlib.import_module("figures").Shown("A title", "What < is seen.", 300, "", "")
    monkeypatch.setattr(found, "made", lambda: ({"one": shown}, {"two": "| a |\n|---|\n| 1 |"}, ""))
    return found


class _Page:
    class file:
        src_uri = "page.md"

    url = "below/page.html"


def test_a_page_gets_the_figures_and_tables_that_it_asks_for(hooks):
    text = hooks.on_page_markdown("# T\n\n<!-- figure: one -->\n\n<!-- table: two -->\n", _Page, None, None)
    assert 'data-figure="one"' in text
    assert "What &lt; is seen." in text
    assert 'href="../assets/figures/one.csv"' in text
    assert "| 1 |" in text
    assert 'href="../assets/figures/explorer.html">All layers</a>' in hooks.on_page_markdown(
        "<!-- explorer: All layers -->", _Page, None, None
    )
    page = hooks.on_post_page(f"<body>{text}</body>", _Page, None)
    assert page.index("../assets/plotly.min.js") < page.index("../assets/figures/one.js") < page.index("../assets/figures.js")
    assert hooks.on_post_page("<body></body>", _Page, None) == "<body></body>"  # no script where no figure is


def test_an_unknown_figure_stops_the_build(hooks):
    with pytest.raises(Exception, match=r"page.md asks for the figure 'three'; there are one"):
        hooks.on_page_markdown("<!-- figure: three -->", _Page, None, None)


@pytest.mark.parametrize(
    ("source", "link", "shown"),
    [
        ("page.md", "[two](../notebooks/02.ipynb)", 'two (<span class="wb-path">notebooks/02.ipynb</span>)'),
        ("page.md", "[`02`](../notebooks/02.ipynb)", "`02`"),
        ("page.md", "[caps](caps.md#a)", "[caps](caps.md#a)"),
        ("below/page.md", "[sign](../sign.md#a)", "[sign](../sign.md#a)"),
        ("below/page.md", "[two](../../notebooks/02.ipynb)", 'two (<span class="wb-path">notebooks/02.ipynb</span>)'),
    ],
)
def test_links_out_of_the_folder_become_names(hooks, source, link, shown, monkeypatch):
    monkeypatch.setattr(_Page.file, "src_uri", source)
    assert hooks.on_page_markdown(f"See {link}.", _Page, None, None) == f"See {shown}."


def test_every_command_has_a_heading_and_its_options(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    module = importlib.import_module("commands")
    text = module.commands_markdown()
    for name, command in module.commands().items():
        assert f"\n### workbench {name}\n" in text
        for param in command.params:
            assert all(f"`{option}`" in text for option in param.opts if option.startswith("--") and param.name != "help")


def test_docstrings_are_read_as_they_are_meant(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    plain = importlib.import_module("docstrings").plain
    said = plain("See :func:`workbench.load_model`, :meth:`Conversation.of` and :data:`POSITIONS`.")
    assert said == "See [`load_model`][workbench.load_model], [`Conversation.of`][workbench.Conversation] and `POSITIONS`."
    assert plain("an example::\n\n    code") == "an example:\n\n    code"
    assert plain("    + moves away\n    - = the other end\n    - an item") == "    \\+ moves away\n    \\- = the other end\n    - an item"


def test_the_study_of_the_site_is_made_again_when_the_code_changes(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    module = importlib.import_module("study")
    package = tmp_path / "workbench"
    (package / "plots").mkdir(parents=True)
    for name in ("__init__.py", "study.py", "plots/line.py"):
        (package / name).write_text("a = 1\n")
    monkeypatch.setattr(module.workbench, "__file__", str(package / "__init__.py"))
    before = module.code_hash()
    (package / "plots" / "line.py").write_text("a = 2\n")
    assert module.code_hash() == before
    (package / "study.py").write_text("a = 2\n")
    assert module.code_hash() != before
