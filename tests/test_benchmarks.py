"""Benchmarks: relative changes, their sum and the worst of them, and the figure that shows all three."""

import math

import numpy as np
import pandas as pd
import pytest
from plot_checks import check_themes

from workbench import plots
from workbench.errors import DataError
from workbench.evaluation.benchmarks import counted_tasks, relative_changes
from workbench.plots import theme
from workbench.plots.benchmarks import LOOKS

ATTACK = "<img src=x onerror=alert(1)>"


def row(condition: str, task: str, value: float, change: float = math.nan, half: float = math.nan, **more) -> dict:
    ends = {"change_low": change - half, "change_high": change + half}
    return (
        {"condition": condition, "task": task, "metric": "acc", "filter": "none", "value": value, "n": 100, "change": change} | ends | more
    )


def table() -> pd.DataFrame:
    """Two caps; a score out of 100, one that gains, one that loses a tenth."""
    rows = [
        row("baseline", "facts", 0.8), row("cap", "facts", 0.82, 0.02, 0.04), row("mild", "facts", 0.8, 0.0, 0.04),
        row("baseline", "kindness", 80.0), row("cap", "kindness", 76.0, -4.0, 2.0), row("mild", "kindness", 80.8, 0.8, 2.0),
        row("baseline", "sums", 0.5), row("cap", "sums", 0.45, -0.05, 0.03), row("mild", "sums", 0.495, -0.005, 0.03),
    ]  # fmt: skip
    return pd.DataFrame(rows)


def frame() -> pd.DataFrame:
    return relative_changes(table())


# -- the numbers ----------------------------------------------------------------------------------------
def test_changes_are_relative_to_the_score_without_a_cap():
    found = frame().set_index(["condition", "task"])
    cap = found.loc["cap"]
    assert cap["relative"].round(10).to_dict() == {"facts": 0.025, "kindness": -0.05, "sums": -0.1, "sum": -0.125}
    assert cap.loc["kindness", ["before", "value", "low", "high"]].tolist() == pytest.approx([80.0, 76.0, -0.075, -0.025])
    assert cap["worst"].to_dict() == {"facts": False, "kindness": False, "sums": True, "sum": False}
    assert found.loc["mild", "worst"].idxmax() == "sums"
    assert "baseline" not in found.index.get_level_values(0)


def test_the_sums_interval_adds_the_squares_of_the_half_widths():
    cap = frame().query("condition == 'cap' and kind == 'sum'").iloc[0]
    half = math.sqrt(0.05**2 + 0.025**2 + 0.06**2)
    assert (cap["low"], cap["high"], cap["n"]) == pytest.approx((-0.125 - half, -0.125 + half, 3))


def test_the_sums_interval_covers_as_often_as_it_says():
    """Three tasks of 400 items with true losses: the interval of the sum should hold the true sum in about 95 of 100 trials."""
    rng, true, n, held = np.random.default_rng(0), [0.02, -0.06, -0.01], 400, 0
    for _ in range(400):
        rows = []
        for i, loss in enumerate(true):
            change = loss + rng.normal(scale=0.5 / math.sqrt(n))
            rows += [row("baseline", f"t{i}", 0.5), row("cap", f"t{i}", 0.5 + change, change, 1.96 * 0.5 / math.sqrt(n))]
        total = relative_changes(pd.DataFrame(rows)).query("kind == 'sum'").iloc[0]
        # The value before is value - change, 0.5 exactly: what varies is the change.
        held += total["low"] <= sum(true) / 0.5 <= total["high"]
    assert 0.91 <= held / 400 <= 0.98


def test_a_task_counts_once_by_its_first_metric_that_has_an_interval():
    rows = [row("cap", "ifeval", 0.6, -0.3, metric="loose"), row("cap", "ifeval", 0.7, -0.1, 0.05, metric="strict", filter="x"),
            row("cap", "ifeval", 0.7, -0.2, 0.05, metric="third"), row("cap", "bare", 0.5, -0.1)]  # fmt: skip
    found = relative_changes(pd.DataFrame(rows)).set_index("task")
    assert found.loc["ifeval", ["metric", "relative"]].tolist() == ["strict, x", pytest.approx(-0.125)]
    assert math.isnan(found.loc["bare", "low"])
    assert math.isnan(found.loc["sum", "low"]), "an unknown interval leaves the sum's unknown"
    assert found.loc["sum", "relative"] == pytest.approx(-0.125 - 0.1 / 0.6)


def test_a_score_of_nothing_has_no_relative_change_and_a_negative_one_its_size():
    rows = [row("cap", "zero", 0.1, 0.1, 0.05), row("cap", "below", -30.0, -10.0, 5.0)]
    found = relative_changes(pd.DataFrame(rows)).set_index("task")
    assert math.isnan(found.loc["zero", "relative"])
    assert found.loc["below", "relative"] == pytest.approx(-0.5), "further below zero is a loss"
    assert (found.loc["sum", "n"], found.loc["below", "worst"], found.loc["zero", "worst"]) == (1, True, False)


def test_subtasks_of_a_group_do_not_count_beside_it():
    there = pd.DataFrame({"task": ["mmlu_pro", "mmlu_pro_law", "mmlu_pro_physics", "gsm8k"]})
    assert counted_tasks(there, ["MMLU-Pro", "gsm8k"]) == ["mmlu_pro", "gsm8k"]
    assert counted_tasks(there, ["MMLU-Pro", "a_tag"]) == ["mmlu_pro", "gsm8k"], "what a tag brought counts, subtasks do not"
    assert counted_tasks(there, ["a_tag"]) == list(there["task"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda t: t.drop(columns="change_low"), "relative changes need the column change_low; the table has condition, task"),
        (lambda t: t.query("condition == 'baseline'"), "no change of a score to show: tasks are run on the model as it is and under a cap"),
    ],
)
def test_errors_say_what_is_missing(changed, message):
    with pytest.raises(DataError, match=message):
        relative_changes(changed(table()))


# -- the figure -----------------------------------------------------------------------------------------
def test_light_by_default_dark_on_request():
    check_themes(lambda **k: plots.benchmarks(frame(), **k))


def test_every_change_is_drawn_with_its_interval_and_the_worst_and_the_sum_are_marked():
    shown = plots.data(plots.benchmarks(frame()))
    cap = frame().query("condition == 'cap'").set_index("task")
    for what, tasks in (("task", ["facts", "kindness"]), ("worst task", ["sums"]), ("sum", ["sum"])):
        points, ends = (shown[shown["trace"] == f"cap, {what}{end}"] for end in ("", ", interval"))
        np.testing.assert_allclose(points.set_index("text").loc[tasks, "x"].astype(float), cap.loc[tasks, "relative"])
        np.testing.assert_allclose(ends["x"].astype(float).to_numpy().reshape(-1, 2), cap.loc[points["text"], ["low", "high"]])
    figure = plots.benchmarks(frame())
    marks = {trace.name: trace.marker for trace in figure.data if trace.name in LOOKS}
    assert len({mark.symbol for mark in marks.values()}) == 3, "told apart without colour"
    assert marks["task"].color == theme.CAP


def test_tasks_stand_from_best_to_worst_and_the_sum_last_with_numbers_that_need_no_pointer():
    figure = plots.benchmarks(frame())
    names = figure.layout.yaxis.ticktext
    assert names == (
        "facts<br>0.8 → 0.82, n = 100",
        "kindness<br>80 → 76, n = 100",
        "<b>sums</b><br>0.5 → 0.45, n = 100",
        "<b>sum</b><br>3 tasks",
    )
    words = [note.text for note in figure.layout.annotations]
    for said in ("+2.5 % [−2.5, +7.5]", "<b>−10.0 % [−16.0, −4.0]</b>", "<b>cap</b>", "<b>mild</b>"):
        assert said in words
    rules = [s for s in figure.layout.shapes if s.xref == "x domain"]
    assert [s.y0 for s in rules] == [2.5], "a line before the sum"


def test_what_has_no_relative_change_keeps_its_row_and_small_losses_look_small():
    rows = pd.DataFrame([row("cap", "zero", 0.1, 0.1, 0.05), row("cap", "tiny", 0.499, -0.001, 0.002)])
    figure = plots.benchmarks(relative_changes(rows))
    assert "no relative change: the score was 0" in [note.text for note in figure.layout.annotations]
    low, high = figure.layout.xaxis.range
    assert low <= -0.05
    assert high >= 0.05


def test_text_from_data_is_escaped():
    attacked = relative_changes(table().replace({"sums": ATTACK, "cap": ATTACK}))
    attacked.attrs["model"] = ATTACK
    text = repr(plots.benchmarks(attacked).to_plotly_json())
    assert "&lt;img" in text
    assert "<img" not in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda f: f.drop(columns="worst"), "benchmarks needs the column worst; the table has condition, task"),
        (lambda f: f.iloc[:0], "benchmarks needs at least one row"),
        (lambda f: f.assign(relative=math.nan), "benchmarks needs at least one relative change; all are missing"),
        (lambda f: f.assign(relative="much"), "the column relative must hold numbers"),
        (lambda f: pd.concat([f, f]), "one row a condition, kind and task; condition cap, kind task, task facts occurs twice"),
    ],
)
def test_a_figure_says_what_its_table_lacks(changed, message):
    with pytest.raises(DataError, match=message):
        plots.benchmarks(changed(frame()))
