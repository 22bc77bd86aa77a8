"""Steering at rising strengths: conditions, the table of doses and responses, where text breaks, and the trend."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site

from workbench import steering
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.evaluation.conditions import Evaluation
from workbench.evaluation.grading import OUTCOMES, lookup
from workbench.evaluation.statistics import wilson
from workbench.steering import control_conditions, dose_response, steering_conditions, sweep_strengths, trend
from workbench.thresholds import Norms

NORMS = Norms({0: 10.0, 1: 40.0}, "response tokens", 99)
STRENGTHS = {"steering -0.4": -0.4, "steering +0.2": 0.2, "steering +0.8": 0.8}


@pytest.fixture
def axis() -> Direction:
    return Direction(7 * torch.randn(2, 6, generator=torch.Generator().manual_seed(0)), make_site(2, 6), "axis", "default")


def responses(kind: str, column: str, each: int = 1, **by_condition: float) -> pd.DataFrame:
    """Twenty responses a condition, with so large a share of `column`; `each` of them in a row share a group."""
    frames = []
    for name, rate in by_condition.items():
        frame = pd.DataFrame({"condition": name, "id": [f"{kind}/{i}" for i in range(20)], "kind": kind, "response": name})
        frame = frame.assign(group=[f"{kind} {i // each}" for i in range(20)])
        frame = frame.assign(**{c: pd.array([None] * 20, "boolean") for c in OUTCOMES})
        frames.append(frame.assign(**{column: pd.array([i < round(20 * rate) for i in range(20)], "boolean")}))
    return pd.concat(frames, ignore_index=True)


def evaluation(*frames: pd.DataFrame) -> Evaluation:
    return Evaluation(pd.concat(frames, ignore_index=True), pd.DataFrame())


# -- conditions ---------------------------------------------------------------------------------------
def test_a_strength_is_a_fraction_of_the_norm_at_one_layer(axis):
    found = steering_conditions(axis, 1, NORMS, [0.8, -0.4, 0.2], positions="generated")
    assert list(found) == [-0.4, 0.2, 0.8]
    assert len({c.name for c in found.values()}) == 3
    for strength, condition in found.items():
        [add] = condition.interventions
        assert (add.at_layers, add.positions, condition.kind) == ((1,), "generated", "steering")
        h = torch.zeros(1, 1, 6)
        assert torch.allclose(add(h, 1)[0, 0], 40 * strength * axis.at(1).unit().values[0])


def test_the_baseline_is_no_strength_and_each_is_run_once(axis):
    assert list(steering_conditions(axis, 0, NORMS, [0.0, 0.4, -0.0, 0.4, 0])) == [0.4]
    assert steering_conditions(axis, 0, NORMS, []) == {}
    assert 0 not in steering_conditions(axis, 0, NORMS)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_strengths_that_are_no_numbers_are_refused(axis, wrong):
    with pytest.raises(DataError, match=rf"^strengths are finite numbers, not \[0.2, {wrong}\]$"):
        steering_conditions(axis, 0, NORMS, [0.2, wrong])


def test_a_layer_without_norm_or_vector_is_refused(axis):
    with pytest.raises(DataError, match="there is no norm of response tokens at layer 1"):
        steering_conditions(axis, 1, Norms({0: 1.0}, "response tokens", 3))
    with pytest.raises(DataError, match="direction 'axis' has no layer 2: it has layers 0 to 1"):
        steering_conditions(axis, 2, NORMS)


def test_controls_are_pushed_as_far_along_their_own_direction_and_asked_less(axis):
    control = Direction(torch.randn(2, 6, generator=torch.Generator().manual_seed(1)), make_site(2, 6), "random 1", "one end")
    found = control_conditions([control], 1, NORMS, [0.8, -0.4, 0.0])
    assert [(name, strength) for name, strength, _ in found.values()] == [("random 1", -0.4), ("random 1", 0.8)]
    for name, (_, strength, condition) in found.items():
        assert (condition.name, condition.kind, condition.asked) == (name, "control", ("jailbreak",))
        [add] = condition.interventions
        moved = add(torch.zeros(1, 1, 6), 1)[0, 0]
        assert torch.allclose(moved, 40 * strength * control.at(1).unit().values[0])
    assert not set(found) & {c.name for c in steering_conditions(axis, 1, NORMS).values()}


# -- dose and response --------------------------------------------------------------------------------
def test_controls_have_rows_of_their_own_from_the_baseline_on():
    done = evaluation(
        responses("jailbreak", "complied", **{"baseline": 0.9, "steering +0.2": 0.6, "c +0.2": 0.85, "c +0.8": 0.8, "d +0.8": 0.9}),
        responses("question", "right", **{"baseline": 1.0, "steering +0.2": 0.5}),
    )
    controls = {"c +0.2": ("c", 0.2), "c +0.8": ("c", 0.8), "d +0.8": ("d", 0.8)}
    table = dose_response(done, {"steering +0.2": 0.2}, NORMS, 1, controls)
    by_control = {
        name: rows.set_index("strength")["rate"].to_dict() for name, rows in table[table["measure"] == "compliance"].groupby("control")
    }
    assert by_control == {"": {0.0: 0.9, 0.2: 0.6}, "c": {0.0: 0.9, 0.2: 0.85, 0.8: 0.8}, "d": {0.0: 0.9, 0.8: 0.9}}
    assert set(table.loc[table["measure"] == "right", "control"]) == {""}, "what controls were not asked they do not show"
    assert set(table.loc[table["breaks"], "control"]) == {""}
    assert set(table.loc[table["breaks"], "strength"]) == {0.2}
    own = dose_response(
        evaluation(done.responses[done.responses["condition"].isin(["baseline", "steering +0.2"])]), {"steering +0.2": 0.2}, NORMS, 1
    )
    pd.testing.assert_frame_equal(table[table["control"] == ""].drop(columns="control"), own, check_dtype=False)
    unasked = dose_response(evaluation(responses("question", "right", baseline=1.0)), {}, NORMS, 1, controls)
    assert "control" not in unasked


def test_the_table_has_a_row_a_strength_and_measure():
    done = evaluation(
        responses("jailbreak", "complied", **{"steering +0.8": 0.1, "baseline": 0.9, "steering -0.4": 1.0, "steering +0.2": 0.6}),
        responses("question", "right", **{"steering +0.2": 0.75, "baseline": 0.8}),
    )
    table = dose_response(done, STRENGTHS, NORMS, 1)
    by_measure = {name: rows.set_index("strength")["rate"].to_dict() for name, rows in table.groupby("measure")}
    assert by_measure == {"compliance": {-0.4: 1.0, 0.0: 0.9, 0.2: 0.6, 0.8: 0.1}, "right": {0.0: 0.8, 0.2: 0.75}}
    assert table["strength"].is_monotonic_increasing
    assert table.columns.tolist() == ["strength", "measure", "rate", "low", "high", "n", "groups", "breaks"]
    assert table.attrs == {"layer": 1, "unit": "mean norm of response tokens (40.0)"}
    row = table[(table["strength"] == 0.8)].iloc[0]
    assert (row["n"], row["groups"]) == (20, 20)
    assert row["low"] <= wilson(2, 20).low < wilson(2, 20).high <= row["high"]


BREAKING = {
    "as broken as the baseline": ({"baseline": 0.3, "steering +0.8": 0.3}, {}, set()),
    "a little more broken": ({"baseline": 0.3, "steering +0.8": 0.35, "steering -0.4": 0.1}, {}, set()),
    "broken": ({"baseline": 0.3, "steering +0.8": 0.4, "steering +0.2": 0.3}, {}, {0.8}),
    "answers better": ({}, {"baseline": 0.5, "steering +0.2": 0.9}, set()),
    "answers kept": ({}, {"baseline": 1.0, "steering -0.4": 0.95}, set()),
    "answers lost": ({}, {"baseline": 1.0, "steering -0.4": 0.85, "steering +0.2": 1.0}, {-0.4}),
    "a tenth of few answers": ({}, {"baseline": 0.5, "steering -0.4": 0.4}, {-0.4}),  # a fifth of them, though .1 in all
    "text at one end, answers at the other": (
        {"baseline": 0.0, "steering +0.8": 0.2}, {"baseline": 1.0, "steering +0.8": 1.0, "steering -0.4": 0.2}, {-0.4, 0.8}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKING)
def test_a_strength_breaks_text_or_answers_beside_the_baselines(name):
    broken, right, expected = BREAKING[name]
    graded = [("harmful", "broken", broken), ("question", "right", right)]
    table = dose_response(evaluation(*(responses(*what, **rates) for *what, rates in graded if rates)), STRENGTHS, NORMS, 0)
    assert set(table.loc[table["breaks"], "strength"]) == expected
    assert table["breaks"].dtype == bool


def test_without_grades_nothing_is_said_to_break():
    ungraded = responses("question", "right", baseline=1.0, **dict.fromkeys(STRENGTHS, 1.0)).drop(columns=list(OUTCOMES))
    table = dose_response(evaluation(ungraded.assign(changed=pd.array([None] * 20 + [True] * 60, "boolean"))), STRENGTHS, NORMS, 0)
    assert table["measure"].tolist() == ["changed"] * 3
    assert not table["breaks"].any()


def test_a_sweep_puts_the_strengths_it_was_given_to_the_model(axis, monkeypatch):
    seen = {}

    def evaluate(model, prompts, grader, conditions, **settings):
        seen.update({c.name: c.interventions[0].strength for c in conditions}, **settings)
        rates = {c.name: 0.5 - 0.5 * c.interventions[0].strength for c in conditions}
        return evaluation(responses("jailbreak", "complied", baseline=1.0, **rates))

    monkeypatch.setattr(steering, "evaluate", evaluate)
    table = sweep_strengths(None, axis, [], None, 1, NORMS, strengths=(0.6, 0.0, -0.6), seed=7)
    assert {v for v in seen.values() if isinstance(v, float)} == {-0.6, 0.6}
    assert seen["seed"] == 7
    assert table.set_index("strength")["rate"].to_dict() == {-0.6: 0.8, 0.0: 1.0, 0.6: 0.2}


# -- trend --------------------------------------------------------------------------------------------
def test_the_slope_is_that_of_least_squares():
    rates = {"steering -0.4": 0.9, "baseline": 0.85, "steering +0.2": 0.6, "steering +0.8": 0.1}
    found = trend(responses("jailbreak", "complied", **rates), STRENGTHS)
    expected = np.polyfit([-0.4, 0.0, 0.2, 0.8], list(rates.values()), 1)[0]
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high < 0
    mirrored = responses("jailbreak", "complied", **{name: 1 - rate for name, rate in rates.items()})
    assert trend(mirrored, STRENGTHS).value == pytest.approx(-expected)
    assert trend(mirrored, STRENGTHS).low > 0
    doubled = trend(responses("jailbreak", "complied", **rates), {name: 2 * s for name, s in STRENGTHS.items()})
    assert (doubled.value, doubled.low, doubled.high) == pytest.approx((expected / 2, found.low / 2, found.high / 2))


def test_a_flat_response_has_an_interval_around_zero():
    rng = np.random.default_rng(0)
    frame = responses("jailbreak", "complied", baseline=0.5, **dict.fromkeys(STRENGTHS, 0.5))
    frame["complied"] = pd.array(rng.random(80) < 0.5, "boolean")
    found = trend(frame, STRENGTHS)
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.4


def test_a_trend_redraws_whole_groups():
    """Half of the groups fall, half do not: responses of one group that are all alike must not make it surer."""
    rates = {"baseline": 1.0, "steering +0.8": 0.5}
    wide, narrow = (trend(responses("jailbreak", "complied", each=each, **rates), STRENGTHS) for each in (5, 1))
    assert (wide.value, narrow.value) == pytest.approx((-0.5 / 0.8, -0.5 / 0.8))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_trend_looks_at_graded_responses_of_one_kind():
    frame = responses("jailbreak", "complied", **{"baseline": 0.9, "steering +0.2": 0.5, "steering +0.8": 0.1})
    expected = trend(frame, STRENGTHS)
    others = responses("harmful", "complied", **{"baseline": 0.0, "steering +0.8": 1.0})
    ungraded = responses("jailbreak", "right", **{"steering -0.4": 1.0})
    mixed = pd.concat([others, ungraded, frame], ignore_index=True)
    assert trend(mixed, STRENGTHS) == expected
    assert trend(mixed, STRENGTHS, kind="harmful").value > 0
    assert lookup(evaluation(mixed).rates(20))["baseline", "compliance"]["rate"] == 0.9


def test_a_trend_without_strengths_or_outcomes_is_refused():
    rows = responses("jailbreak", "complied", baseline=1.0, **{"steering +0.8": 0.2, "another cap": 0.1})
    with pytest.raises(DataError, match="'another cap' has no strength"):
        trend(rows, STRENGTHS)
    with pytest.raises(DataError, match="'refused' of jailbreak prompts"):
        trend(rows[rows["condition"] != "another cap"], STRENGTHS, column="refused")
