"""A blind sample of a run's responses for people to label, and what their labels say of the judge."""

from __future__ import annotations

import codecs
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .agreement import Agreement, agreement, corrected_rate
from .errors import DataError, RunError
from .evaluation.statistics import Interval
from .judging import question_of
from .parts import key_of, read_json, write_json
from .report.judge import keep_agreement
from .store import Run
from .tensorfile import write_bytes

SHEET, KEY = "sample.csv", "key.json"
COLUMNS = ["number", "code", "role", "about", "shows", "question", "response", "label"]
"""``code`` is the response's own: a sheet that was filled is never taken for another that was drawn since."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet takes for a formula."""


def export_sample(run: Run, n: int = 200, seed: int = 0) -> Path:
    """Draw responses for people to label, evenly over the judge's labels, shuffled, without what the judge said.

    Returns
    -------
    Path
        ``RUN/labels/sample.csv`` with an empty column ``label`` (0-3); which row is which response stands in ``key.json``.

    Raises
    ------
    RunError
        Where no judge has labelled the run, or a sheet is there that somebody has begun to fill in.
    """
    if not run.is_done("judge") or not run.study["steps"]["judge"]["judge"]:
        raise RunError(f"{run.folder} has no judge's labels that people's could be compared with")
    folder = run.folder / "labels"
    if (folder / SHEET).exists() and _read_sheet(folder / SHEET, ("label",))["label"].str.strip().any():
        raise RunError(f"{folder / SHEET} has labels in it: read them with --read, or move the file away")
    rollouts = run.rollouts
    rows = _drawn(rollouts[rollouts["label"].notna()], n, seed)
    library = run.study["library"]["roles"]
    sheet = pd.DataFrame({
        "number": range(1, len(rows) + 1), "code": _codes(rows), "role": rows["role"].to_numpy(),
        "about": [library[r]["description"] for r in rows["role"]], "shows": [library[r].get("shows", "") for r in rows["role"]],
        "question": [question_of(m) for m in rows["messages"]], "response": rows["response"].to_numpy(), "label": "",
    })[COLUMNS]  # fmt: skip
    for column in ("about", "shows", "question", "response"):
        sheet[column] = [f"'{text}" if text.startswith(FORMULAS) else text for text in sheet[column]]
    write_json(folder / KEY, {"rows": rows["row"].tolist(), "seed": seed, "judge": run.study["steps"]["judge"]["judge"]})
    # With a byte order mark, by which spreadsheets know UTF-8.
    write_bytes(folder / SHEET, sheet.to_csv(index=False, lineterminator="\n").encode("utf-8-sig"))
    return folder / SHEET


def read_sample(run: Run, path: Path | None = None) -> tuple[Agreement, dict[int, Interval]]:
    """Compare people's labels with the judge's, and correct its rates; writes ``tables/agreement.csv``.

    Returns
    -------
    (Agreement, dict)
        People against judge; and label -> its corrected share of all responses.

    Raises
    ------
    DataError
        Where the sheet is not that of this run, or a label is none of 0-3.
    """
    path = path or run.folder / "labels" / SHEET
    key = run.folder / "labels" / KEY
    if not path.exists() or not key.exists():
        raise RunError(f"there is no {path if not path.exists() else key}: export a sample with `workbench label {run.folder}` first")
    sheet, rows = _read_sheet(path, ("number", "code", "label")), read_json(key)["rows"]
    numbers = pd.to_numeric(sheet["number"], errors="coerce")
    if not numbers.isin(range(1, len(rows) + 1)).all() or numbers.duplicated().any():
        raise DataError(f"{path} has row numbers that are not those of the sample of {len(rows)}")
    drawn = [rows[int(i) - 1] for i in numbers]
    rollouts = run.rollouts.set_index("row", drop=False)
    if _codes(rollouts.loc[drawn]) != sheet["code"].str.strip().tolist():
        raise DataError(
            f"{path} holds other responses than the run and the sample that was drawn last: move it away and draw one with "
            f"`workbench label {run.folder}`"
        )
    human = pd.to_numeric(sheet["label"], errors="coerce")
    wrong = sheet[(sheet["label"].str.strip() != "") & ~human.isin([0, 1, 2, 3])]
    if len(wrong):
        number, given = wrong["number"].iloc[0], str(wrong["label"].iloc[0])
        raise DataError(f"{path}, number {number}: a label is 0, 1, 2 or 3, not {given!r}")
    all_labels = rollouts["label"]
    judged = all_labels.loc[drawn].to_numpy()
    sample = pd.DataFrame({"judge": judged, "human": human}).dropna().astype(int)
    totals, seen = all_labels.dropna().astype(int).value_counts(), sample["judge"].value_counts()
    found = agreement(sample["human"], sample["judge"], [totals[j] / seen[j] for j in sample["judge"]])
    rates = {label: corrected_rate(all_labels, sample, label) for label in range(4)}
    shares = totals / totals.sum()
    table = pd.DataFrame([
        {"label": k, "judge": float(shares.get(k, 0.0)), "corrected": r.value, "low": r.low, "high": r.high} for k, r in rates.items()
    ])  # fmt: skip
    run.write_table("agreement", table)
    keep_agreement(run, "people", found)
    run.record("label", n=found.n, agreement=str(found))
    return found, rates


def _codes(rows: pd.DataFrame) -> list[str]:
    """A code a response, which begins with letters: a spreadsheet leaves it as it is."""
    return [f"id{key_of([row, response])[:8]}" for row, response in zip(rows["row"], rows["response"], strict=True)]


def _read_sheet(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A sheet as spreadsheets save it: in their encoding, with commas, semicolons or tabs, empty rows at the end; all cells are text.

    Raises
    ------
    DataError
        Where it is no such table, or lacks a column.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding, errors="replace")  # texts are for people: only codes and labels are read back
        head = text.split("\n", 1)[0]
        mark = max(",;\t", key=head.count)
        sheet = pd.read_csv(io.StringIO(text), sep=mark, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise DataError(f"{path} is no table with the sample's columns: {error}") from error
    if missing := [name for name in needed if name not in sheet]:
        raise DataError(f"{path} has no column {missing[0]!r}")
    return sheet[(sheet != "").any(axis=1)].reset_index(drop=True)


def _drawn(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """`n` rows, evenly over the labels as far as they go, in an order that says nothing."""
    rng = np.random.default_rng(seed)
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby("label").cumcount()
    chosen = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:n]]
    return chosen.iloc[rng.permutation(len(chosen))]
