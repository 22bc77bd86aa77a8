"""What is installed is what is needed: a wheel holds the library, the model and the report's template."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_is_complete_and_runs(tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "data/questions.jsonl",
        "data/roles/default.json",
        "data/traits/wry.json",
        "data/jailbreaks.jsonl",
        "data/presets.json",
        "report/report.html.j2",
        "app/page.js",
        "app/page.css",
        "app/conversation.html.j2",
        "plots/explorer.js",
        "plots/explorer.css",
        "organism/checkpoint/base/model.safetensors",
    ):
        assert f"workbench/{name}" in names
    assert not [name for name in names if name.startswith(("tests/", "notebooks/"))]
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import workbench as wb; assert wb.__file__.startswith(%r), wb.__file__;"
        "print(len(wb.load_roles()), len(wb.load_questions()), wb.load_model('organism').n_layers)"
    )
    command = [sys.executable, "-c", code % str(site)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"})
    assert done.stdout.split() == ["276", "240", "5"], done.stderr


def test_bounds_of_what_we_build_on():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "transformer-lens>=4.3,<5" in project["dependencies"]
    assert "transformers>=5.9,<6" in project["dependencies"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert pinned["torch"] == "2.13.0"
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[>]", line)[0].lower() for group in groups for line in group}
    assert names - {name.lower() for name in pinned} <= {"kaleido", "sentence-transformers"}


def test_notebooks_hold_no_outputs():
    import json

    notebooks = list((ROOT / "notebooks").glob("**/*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        assert not [cell for cell in cells if cell["cell_type"] == "code" and (cell["outputs"] or cell["execution_count"])], path


def test_notebooks_and_their_scripts_are_the_same():
    import jupytext

    for path in (ROOT / "notebooks").glob("**/*.ipynb"):
        notebook, script = jupytext.read(path), jupytext.read(path.with_suffix(".py"))
        assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells], path
