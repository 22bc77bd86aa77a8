"""The README's code runs as written, in order, and its table is the embedded model's card; commands and links: test_docs.py."""

import plotly.graph_objects as go
from pages import README, blocks

from workbench.study.main import run_study


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch, capsys):
    run_study("organism", tmp_path / "runs" / "organism", roles=9, questions=3, prompts=1, default_rollouts=12)
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    found = blocks(README, "python")
    assert len(found) >= 2
    assert not [block.why for block in found if block.why]
    names: dict = {}
    for block in found:
        exec(compile(block.code, block.place, "exec"), names)
    assert len(shown) == 2
    assert names["axis"].values.shape == (5, 96)
    assert capsys.readouterr().out.strip()  # the steered answer was printed


def test_the_table_in_the_readme_is_the_cards():
    from workbench.organism import CHECKPOINT

    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    measured = [line for line in card.splitlines() if line.startswith("| ") and "not built" not in line]
    assert len(measured) > 20
    assert not [line for line in measured if line not in README.read_text(encoding="utf-8")]
