"""What the report says of its judge: roles that lose responses, and how far people and rules agree with it."""

import pandas as pd
import pytest

from workbench.labelling import export_sample, read_sample
from workbench.report.judge import judge_tables, left_out
from workbench.report.page import ReportTable
from workbench.store import open_run
from workbench.study.config import Lazy
from workbench.study.main import STEPS, run_study

QUIET = lambda step, done, total: None  # noqa: E731


@pytest.fixture(scope="module")
def run(tmp_path_factory, organism):
    settings = {"roles": 9, "questions": 3, "prompts": 1, "default_rollouts": 12}
    return run_study(organism, tmp_path_factory.mktemp("judged") / "run", **settings)


def test_every_role_that_loses_a_response_is_there_with_its_reasons(run):
    rollouts = run.rollouts.query("role != 'default'")
    kept = (rollouts["label"] == 3).groupby(rollouts["role"]).sum()
    sizes = rollouts.groupby("role").size()
    table = left_out(run)
    assert set(table["role"]) == set(sizes.index[kept < sizes])
    shares = table["used"] / table["responses"]
    assert shares.is_monotonic_increasing
    reasons = ["label 3", "label 2", "label 1", "label 0", "no label", "error"]
    assert (table[reasons].sum(axis=1) == table["responses"]).all()
    assert (table["used"] == table["role"].map(kept)).all()
    assert set(table.loc[table["vector"] == "yes", "role"]) <= set(run.role_vectors.rows["role"])


def test_peoples_labels_stand_in_the_report(run, organism):
    path = export_sample(run, 20)
    sheet, labels = pd.read_csv(path), run.rollouts.set_index("row")["label"]
    import json

    rows = json.loads((path.parent / "key.json").read_text())["rows"]
    sheet.assign(label=[labels[row] for row in rows]).to_csv(path, index=False)
    read_sample(run)
    again = open_run(run.folder)
    STEPS["report"](again, Lazy(again, organism), QUIET)
    [table] = [t for t in judge_tables(again) if t.title == "Judge and people"]
    assert isinstance(table, ReportTable)
    assert table.frame.drop(columns="people \\ judge").to_numpy().trace() == 20
    page = again.report.read_text(encoding="utf-8")
    assert "Judge and people" in page
    assert "100.0% the same, n = 20" in page


def test_without_a_judge_there_is_nothing_to_say(run):
    alone = open_run(run.folder)
    alone.study["steps"]["judge"]["judge"] = ""
    assert judge_tables(alone) == ()


def test_a_judge_of_which_nothing_could_be_read_leaves_every_label_out(run, monkeypatch):
    empty = run.rollouts.assign(label=pd.array([pd.NA] * len(run.rollouts), dtype="Int64"))
    monkeypatch.setattr(type(run), "rollouts", property(lambda self: empty))
    table = left_out(run)
    assert (table["no label"] == table["responses"]).all()
    assert len(table) == 9
