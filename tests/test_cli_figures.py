"""`workbench figures` as a user types it: a mistake is one sentence, and what cannot be shown is listed with its command."""

import pytest
from test_cli import run as command

from workbench.study.main import run_study


@pytest.fixture(scope="module")
def study(tmp_path_factory, organism):
    return run_study("organism", tmp_path_factory.mktemp("cli") / "run", roles=9, questions=3, prompts=1, default_rollouts=12).folder


def test_what_a_run_holds_is_written_and_the_rest_is_listed(study, tmp_path):
    code, output = command("figures", str(study), "--format", "json", "--out", str(tmp_path / "out"))
    assert code == 0
    lines = output.strip().splitlines()
    assert lines[-1].startswith("Figures: fig2, fig3, pairs, scree")
    for name, text in {"fig7": "workbench drift --run", "fig10": "workbench evaluate", "table1": "workbench calibrate"}.items():
        assert any(line.startswith(f"left out: {name}: ") and text in line for line in lines), name
    assert {"fig2.csv", "fig2.json", "captions.md", "captions.tex"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(("fig7", "table1", "."))]


def test_only_what_was_named_and_nothing_is_left_out(study, tmp_path):
    code, output = command("figures", str(study), "--only", "fig2, SCREE", "--format", "csv", "--out", str(tmp_path), "--width", "page")
    assert (code, output.strip()) == (0, f"Figures: fig2, scree; 4 files in {tmp_path}")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--only", "fig99"], 1, "there is no figure 'fig99': there are fig1, fig2"),
        (["--only", "fig7"], 1, "cannot show fig7: run `workbench drift --run"),
        (["--only", "fig2,case1"], 1, "cannot show case1: run `workbench drift --run"),
        (["--only", "table1"], 1, "cannot show table1: "),
        (["--only", " , "], 1, "no figure was named: there are fig1"),
        (["--format", "jpg"], 1, "figures are not written as 'jpg'"),
        (["--format", ","], 1, "figures need a format"),
        (["--style", "poster"], 1, "the style of figures is paper or screen"),
        (["--width", "wide"], 1, "the width of a print figure is column or page"),
        (["--nonsense"], 2, "No such option"),
    ],
)
def test_mistakes_are_one_sentence(study, tmp_path, arguments, code, text):
    found, output = command("figures", str(study), "--out", str(tmp_path / "out"), *arguments)
    assert found == code
    assert text in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())  # nothing was written


def test_a_folder_that_is_no_run_or_cannot_be_written(study, tmp_path):
    code, output = command("figures", str(tmp_path))
    assert (code, output.strip()) == (1, f"workbench: {tmp_path} is not a run folder: it has no study.json")
    (tmp_path / "file").write_text("in the way")
    code, output = command("figures", str(study), "--format", "csv", "--out", str(tmp_path / "file"))
    assert (code, "is a file, not a folder for figures: choose another with --out" in output) == (1, True)
    code, output = command("figures", str(study), "--format", "csv", "--out", str(tmp_path / "file" / "below"))
    assert code == 1
    assert "figures cannot be written into" in output
