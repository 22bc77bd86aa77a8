"""The README's code runs as written, in order, and its commands exist."""

import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from workbench.study import run_study

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch, capsys):
    run_study("organism", tmp_path / "runs" / "organism", roles=9, questions=3, prompts=1, default_rollouts=12)
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(shown) == 2
    assert names["axis"].values.shape == (5, 96)
    assert capsys.readouterr().out.strip()  # the steered answer was printed


@pytest.mark.parametrize("name", ["caps.md", "method.md"])
def test_the_python_in_the_documents_runs(name, tmp_path, monkeypatch, capsys):
    run_study("organism", tmp_path / "runs" / "organism", roles=9, questions=3, prompts=1, default_rollouts=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workbench.testbed.REPORTING", {"jailbreak": 8, "fact": 8})  # what is shown is how, not how well
    blocks = re.findall(r"```python\n(.*?)```", (HOUSE / "docs" / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    if name == "method.md":
        assert names["table"]["method"].tolist() == ["contrast", "medians"]
        assert names["table"]["cosine"].min() > 0.5


def test_the_commands_in_the_readme_exist():
    from typer.main import get_command

    from workbench.cli import app

    root = get_command(app)
    known = set(root.commands) | {f"organism {name}" for name in root.commands["organism"].commands}
    shell = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL) + re.findall(r"`(workbench [^`]*)`", README)
    used = set(re.findall(r"workbench (organism \w+|[a-z]+)", " ".join(shell)))
    assert {"study", "doctor", "organism check"} <= used
    assert used <= known, used - known
    targets = set(re.findall(r"^([a-z-]+):", (Path(__file__).parent.parent / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_table_in_the_readme_is_the_cards():
    from workbench.organism import CHECKPOINT

    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    measured = [line for line in card.splitlines() if line.startswith("| ") and "not built" not in line]
    assert len(measured) > 20
    assert not [line for line in measured if line not in README]
