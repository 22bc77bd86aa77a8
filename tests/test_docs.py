"""What the pages say is true: their code runs, their commands exist with these options, their links lead somewhere, nothing is left out."""

import ast
import importlib
import re
import shutil

import griffe
import pandas as pd
import plotly.graph_objects as go
import pytest
import yaml
from pages import DOCS, HOUSE, README, anchors, blocks, inline_code, links, name_of, prose, shell_commands, written
from typer.main import get_command

import workbench as wb
from workbench.cli.commands import app
from workbench.study.main import run_study

NOT_RUN = {
    "docs/compare.md": ["needs a run in which `workbench traits` was run"],
    "docs/files.md": ["needs published files"],
    "docs/models.md": ["a hub model"],
    "docs/servers.md": ["a server"],
}
"""Pages with blocks that are not run, and why; everything else is."""
RUN = [path for path in written() if path != README and blocks(path, "python")]  # the README's is in test_readme.py


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small study, made once and copied for every page."""
    folder = tmp_path_factory.mktemp("docs")
    run_study("organism", folder / "runs" / "organism", roles=9, questions=3, prompts=1, default_rollouts=12)
    return folder / "runs"


@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_python_of_a_page_runs(path, study, tmp_path, monkeypatch, capsys):
    shutil.copytree(study, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(go.Figure, "show", lambda figure: None)
    monkeypatch.setattr("workbench.testbed.REPORTING", {"jailbreak": 8, "fact": 8})  # what is shown is how, not how well
    names: dict = {}
    for block in blocks(path, "python"):
        code = compile(block.code, block.place, "exec")
        if block.why:
            continue
        capsys.readouterr()
        exec(code, names)
        said = capsys.readouterr().out
        if block.output:
            assert said.split() == block.output.split(), block.place
    if path.name == "origins.md":
        assert names["table"]["method"].tolist() == ["contrast", "medians"]
        assert names["table"]["cosine"].min() > 0.5
    if path.name == "sign.md":
        assert names["paper"].percentile == 75
        assert names["own"].n == 12


def test_few_blocks_are_not_run_and_each_says_why():
    found = {name_of(p): [b.why for b in blocks(p) if b.why] for p in written()}
    assert {page: why for page, why in found.items() if why} == NOT_RUN
    assert len(RUN) >= 9


def test_every_name_that_the_pages_use_exists():
    """Of the package's own names, in code that is run, code that is not, and code in the text."""
    used: set[str] = set()
    for path in written():
        code = [block.code for block in blocks(path, "python")] + inline_code(path)
        used |= {name for text in code for name in re.findall(r"\b(?:wb|workbench)\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)", text)}
        for block in blocks(path, "python"):
            for node in ast.walk(ast.parse(block.code)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("workbench"):
                    assert all(hasattr(importlib.import_module(str(node.module)), a.name) for a in node.names), block.place
    assert len(used) > 40
    missing = [name for name in sorted(used) if not _exists(name)]
    assert not missing


def _exists(name: str) -> bool:
    """A name of the package, a part of one, or a module and what it holds."""
    head, _, rest = name.partition(".")
    try:
        found = getattr(wb, head)
    except AttributeError:
        try:
            found = importlib.import_module(f"workbench.{head}")
        except ModuleNotFoundError:
            return False
    return not rest or hasattr(found, rest)


# -- commands ------------------------------------------------------------------------------------------
def _walk(words):
    """The command that words name, its full name, and the words that are left."""
    command, name = get_command(app), ""
    while hasattr(command, "commands"):
        assert words, f"workbench{name} needs a command"
        assert words[0] in command.commands, f"there is no command workbench{name} {words[0]}"
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    return command, name.strip(), words


def test_every_command_in_a_block_would_be_accepted():
    """Parsed as the command line itself parses it: name, options, kinds of values, number of arguments."""
    seen = set()
    for path in written():
        for block in blocks(path, "sh"):
            for words in shell_commands(block.code):
                if words[0] != "workbench" or words[1:] == ["--help"]:
                    continue
                command, name, rest = _walk(words[1:])
                try:
                    command.make_context(name, list(rest))
                except Exception as error:
                    pytest.fail(f"{block.place}: {' '.join(words)}: {error}")
                seen.add(name)
    assert {"study", "doctor", "plan", "drift", "calibrate", "evaluate", "compare", "label"} <= seen


def test_a_wrong_command_in_a_block_would_be_found():
    command, name, rest = _walk(["study", "--modle", "x"])
    with pytest.raises(Exception, match="--modle"):
        command.make_context(name, rest)
    with pytest.raises(AssertionError, match="no command workbench stduy"):
        _walk(["stduy"])


def test_every_command_in_the_text_exists_and_has_these_options():
    seen = 0
    for path in written():
        for code in inline_code(path):
            if not code.startswith("workbench ") or code.split()[1].isupper() or code.split()[1].startswith("-"):
                continue
            command, _, rest = _walk(code.split()[1:]) if code.split()[1] != "organism" or len(code.split()) > 2 else (None, "", [])
            if command is None:
                continue
            known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            wanted = {word.split("=")[0] for word in rest if word.startswith("--")}
            assert wanted <= known, f"{name_of(path)}: {code}"
            seen += 1
    assert seen > 40


def test_every_make_target_that_the_pages_name_exists():
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.M))
    for path in written():
        code = inline_code(path) + [b.code for b in blocks(path, "sh")]
        named = {target for text in code for target in re.findall(r"^make ([a-z-]+)", text, re.M)}
        assert named <= targets, name_of(path)


# -- links and completeness ----------------------------------------------------------------------------
@pytest.mark.parametrize("path", written(), ids=name_of)
def test_links_lead_somewhere(path):
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def _in_nav(items) -> list[str]:
    return [page for item in items for page in ([item] if isinstance(item, str) else _in_nav(next(iter(item.values())) if isinstance(
        next(iter(item.values())), list) else list(item.values())))]  # fmt: skip


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load((HOUSE / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")} - {"LOG.md"}
    assert set(_in_nav(config["nav"])) == pages


def test_the_reference_holds_every_public_name_once():
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md")))
    named = re.findall(r"^::: (workbench\.\S+)$", text, re.M)
    assert len(named) == len(set(named))
    listed = re.findall(r"`\]\[workbench\.(?:\w+\.)?(\w+)\]", (DOCS / "reference" / "index.md").read_text(encoding="utf-8"))
    assert {*wb.__all__} - {"plots"} == set(listed)
    public = {name.split(".")[-1] for name in named if not name.startswith("workbench.plots")}
    figures = {name.split(".")[-1] for name in named if name.startswith("workbench.plots")}
    assert public == {*wb.__all__} - {"plots"}
    assert figures == {*wb.plots.__all__}
    # Where a module has the name of what is in it, the module might be shown instead.
    package = griffe.load("workbench", search_paths=[HOUSE])
    assert [name for name in named if package[name.removeprefix("workbench.")].is_module] == []


def test_columns_are_those_of_a_run(study):
    """What the page on files says of tables, against the tables of a study."""
    run = wb.open_run(study / "organism")
    rows = re.findall(
        r"^\| `([^`]+)`(?:, `[^`]+`)? \| (.*) \|$", (DOCS / "files.md").read_text(encoding="utf-8").split("## Columns")[1], re.M
    )
    tables = {"rollouts": run.table("rollouts"), "judgements": run.table("judgements")}
    tables |= {f"tables/{p.name}": pd.read_csv(p) for p in (run.folder / "tables").glob("*.csv")}
    checked = 0
    for name, said in rows:
        if name not in tables:
            continue
        documented = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", said)))
        there = [c for c in tables[name] if not re.fullmatch(r"pc\d+|label_\d|.*_(low|high)", c) or c in documented]
        assert set(there) - documented == set(), name
        assert documented - set(tables[name]) == set(), name
        checked += 1
    assert checked >= 7


def test_what_the_page_on_files_says_of_the_folder_is_there(study):
    said = re.findall(r"^\| `([^`|]+)`", prose(DOCS / "files.md").split("## Columns")[0], re.M)
    after = {"prompt_axis.safetensors", "crossing/", "calibration/", "thresholds.json", "drift/", "traits/"}
    assert len(said) > 10
    for pattern in set(said) - after:
        assert any((study / "organism").glob(pattern.rstrip("/"))), pattern


def test_the_page_on_figures_lists_all_of_them():
    from workbench.paper.catalogue import CASE, CATALOGUE

    said = re.findall(r"^\| (.*?) \|", prose(DOCS / "figures.md").split("## What there is")[1].split("## ")[0], re.M)
    named = {name for cell in said for name in re.findall(r"`(\w+)`", cell)}
    assert named == {*CATALOGUE, f"{CASE}1", "table1"}


def test_the_page_on_teaching_lists_every_notebook():
    said = set(re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", (DOCS / "teaching.md").read_text(encoding="utf-8")))
    assert said == {p.stem for p in (HOUSE / "notebooks").glob("*.ipynb")}
    assert {p.stem for p in (HOUSE / "notebooks" / "exercises").glob("*.ipynb")} == {
        "1_contrast",
        "2_pca",
        "3_floor",
        "4_percentile",
        "5_folds",
    }
