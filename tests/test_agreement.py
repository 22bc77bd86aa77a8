"""Judges compared: known kappas, corrections of known errors, and a sheet that people fill in."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench.agreement import agreement, corrected_rate
from workbench.cli.commands import app
from workbench.errors import DataError, RunError
from workbench.labelling import COLUMNS, export_sample, read_sample
from workbench.store import create_run, open_run
from workbench.study.config import Lazy, StudyConfig, may_change
from workbench.study.main import STEPS


# -- two judges ---------------------------------------------------------------------------------------
def test_kappa_of_a_table_done_by_hand():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement .7, by chance .5, kappa .4 (a textbook's example)."""
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = agreement(a, b)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high
    assert (found.same, found.n) == (pytest.approx(0.7), 50)
    assert found.confusion.loc[1].tolist() == [5, 20]


def test_chance_is_zero_and_identity_is_one():
    rng = np.random.default_rng(0)
    a, b = rng.integers(4, size=4000), rng.integers(4, size=4000)
    assert abs(agreement(a, b, n_boot=20).kappa.value) < 0.04
    assert agreement(a, a, n_boot=20).kappa.value == 1


def test_a_near_miss_costs_less_with_weights():
    a, near, far = [0, 1, 2, 3] * 20, [0, 1, 2, 2] * 20, [0, 1, 2, 0] * 20
    assert agreement(a, near, n_boot=5).kappa.value == pytest.approx(agreement(a, far, n_boot=5).kappa.value, abs=0.02)
    assert agreement(a, near, n_boot=5).weighted.value > agreement(a, far, n_boot=5).weighted.value + 0.3


def test_what_one_could_not_label_is_left_out():
    assert agreement([1, None, 2, 3], [1, 2, None, 3]).n == 2
    with pytest.raises(DataError, match="responses that both labelled; there are 1"):
        agreement([1, None], [1, 2])


def test_a_judge_that_errs_in_a_known_way_is_corrected():
    """The truth is 3 in 60 % of 20,000; the judge calls a third of those 2 and a tenth of the others 3."""
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(20_000) < 0.6, 3, 1)
    said = np.where(truth == 3, np.where(rng.random(20_000) < 1 / 3, 2, 3), np.where(rng.random(20_000) < 0.1, 3, 1))
    rows = np.concatenate([rng.choice(np.flatnonzero(said == j), 150, replace=False) for j in (1, 2, 3)])
    found = corrected_rate(pd.Series(said), pd.DataFrame({"judge": said[rows], "human": truth[rows]}), 3)
    assert (said == 3).mean() < 0.47
    assert found.low < 0.6 < found.high
    assert found.value == pytest.approx(0.6, abs=0.04)
    assert found.high - found.low < 0.12


def test_a_label_that_nobody_has_read_cannot_be_corrected():
    with pytest.raises(DataError, match="the judge labelled 2"):
        corrected_rate(pd.Series([2, 2, 3]), pd.DataFrame({"judge": [3], "human": [3]}), 3)


# -- people -------------------------------------------------------------------------------------------
@pytest.fixture
def judged(tmp_path, organism):
    run = create_run(
        tmp_path / "run", StudyConfig.of(roles=9, questions=3, prompts=1, default_rollouts=12).model_dump(mode="json"), may_change
    )
    for name in ("rollouts", "judge"):
        STEPS[name](run, Lazy(run, organism), lambda step, done, total: None)
    return open_run(run.folder)


def filled(run, label):
    """The sheet as somebody fills it: `label(true row of the run)`."""
    path = run.folder / "labels" / "sample.csv"
    sheet, rows = pd.read_csv(path), json.loads((run.folder / "labels" / "key.json").read_text())["rows"]
    by_row = run.rollouts.set_index("row")
    sheet["label"] = [label(by_row.loc[rows[number - 1]]) for number in sheet["number"]]
    sheet.sample(frac=1, random_state=3).to_csv(path, index=False)


def test_the_sheet_is_blind_and_reads_back(judged, organism):
    path = export_sample(judged, 20, seed=4)
    sheet = pd.read_csv(path)
    assert list(sheet) == COLUMNS
    assert len(sheet) == 20
    assert sheet["label"].isna().all()
    assert path.read_text() == export_sample(judged, 20, seed=4).read_text()
    filled(judged, lambda row: row["label"])
    found, rates = read_sample(judged)
    assert (found.same, found.n) == (1.0, 20)
    assert sum(rate.value for rate in rates.values()) == pytest.approx(1.0)
    table = pd.read_csv(judged.folder / "tables" / "agreement.csv")
    assert np.allclose(table["judge"], table["corrected"])
    with pytest.raises(RunError, match="has labels in it"):
        export_sample(judged, 20)


def test_people_who_see_it_otherwise_move_the_rates(judged):
    export_sample(judged, 30)
    filled(judged, lambda row: 2 if row["role"] != "default" else row["label"])
    _, rates = read_sample(judged)
    assert rates[2].value > 0.5
    assert "agreement" in open_run(judged.folder).study["steps"]["label"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.assign(label=7), "number .*: a label is 0, 1, 2 or 3, not '7'"),
        (lambda s: s.assign(label="fully"), "a label is 0, 1, 2 or 3, not 'fully'"),
        (lambda s: s.assign(number=s["number"] + 5), "row numbers that are not those of the sample of 10"),
        (lambda s: s.drop(columns="label"), "has no column 'label'"),
        (lambda s: s, "responses that both labelled; there are 0"),
    ],
)
def test_sheets_that_are_not_ours(judged, change, says):
    path = export_sample(judged, 10)
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(DataError, match=says):
        read_sample(judged)


def test_the_command(judged):
    def run(*arguments: str):
        return CliRunner().invoke(app, ["label", str(judged.folder), *arguments])

    assert isinstance(run("--read").exception, RunError)
    assert "sample.csv: fill in the column label" in run("--n", "12").output
    filled(judged, lambda row: row["label"])
    output = run("--read").output
    assert "100.0% the same, n = 12" in output
    assert "corrected: 0: " in output


@pytest.mark.parametrize(("encoding", "sep"), [("utf-8", ","), ("utf-8-sig", ";"), ("cp1252", ";"), ("utf-16", "\t")])
def test_a_sheet_is_read_as_spreadsheets_save_it(judged, encoding, sep):
    path = export_sample(judged, 10)
    filled(judged, lambda row: row["label"])
    sheet = pd.read_csv(path)
    sheet["response"] = "naïve; “quoted”, and\nbroken"
    path.write_bytes(sheet.to_csv(index=False, sep=sep).encode(encoding))
    assert read_sample(judged)[0].same == 1.0


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"number,code,label\n1,2"])
def test_a_file_that_is_no_sheet_is_said(judged, content, tmp_path):
    export_sample(judged, 10)
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"sheet\.csv"):
        read_sample(judged, tmp_path / "sheet.csv")


def test_a_sheet_is_never_taken_for_one_that_was_drawn_since(judged, tmp_path):
    path = export_sample(judged, 10)
    filled(judged, lambda row: row["label"])
    path.rename(tmp_path / "filled.csv")
    export_sample(judged, 10, seed=1)
    with pytest.raises(DataError, match="other responses than the run and the sample that was drawn last"):
        read_sample(judged, tmp_path / "filled.csv")


def test_a_spreadsheet_finds_no_formula(judged, monkeypatch):
    rollouts = judged.rollouts.assign(response="=HYPERLINK(A1)")
    monkeypatch.setattr(type(judged), "rollouts", rollouts)
    sheet = pd.read_csv(export_sample(judged, 10))
    assert (sheet["response"] == "'=HYPERLINK(A1)").all()


def test_a_sheet_of_answers_that_are_others_now_is_not_compared(judged, monkeypatch):
    export_sample(judged, 10)
    filled(judged, lambda row: row["label"])
    rollouts = judged.rollouts
    monkeypatch.setattr(type(judged), "rollouts", rollouts.assign(response=rollouts["response"] + " More."))
    with pytest.raises(DataError, match="other responses than the run"):
        read_sample(judged)


def test_empty_rows_at_the_end_and_sheets_of_before(judged):
    path = export_sample(judged, 10)
    filled(judged, lambda row: row["label"])
    path.write_text(path.read_text() + ",,,,,,,\n,,,,,,,\n")
    assert read_sample(judged)[0].n == 10
    path.write_text("number,role,label\n1,pirate,\n")  # without codes, and nobody has begun to fill it in
    assert "code" in pd.read_csv(export_sample(judged, 10))
    path.write_text("number,role,label\n1,pirate,3\n")
    with pytest.raises(RunError, match="has labels in it"):
        export_sample(judged, 10)
    with pytest.raises(DataError, match="has no column 'code'"):
        read_sample(judged)
