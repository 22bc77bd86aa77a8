"""The grid of caps, what a setting prevents and costs, and which one is recommended."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_activations, make_site

from workbench.calibration import (
    Choice,
    Setting,
    as_json,
    grid,
    pareto,
    parse_percentiles,
    recommend,
    summarise,
    untested_choice,
    windows,
)
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.evaluation.conditions import Evaluation
from workbench.evaluation.grading import OUTCOMES
from workbench.parts import folder_name
from workbench.study.config import StudyConfig
from workbench.thresholds import threshold


# -- windows and the grid -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "sizes", "widths"),
    [
        (5, None, {2: 4, 3: 3, 4: 2}), (12, None, {2: 11, 3: 10, 6: 7}), (64, None, {8: 9, 16: 9, 32: 9}), (2, None, {2: 1}),
        (1, None, {1: 1}), (5, [1, 5, 1], {1: 5, 5: 1}), (64, [2], {2: 9}), (80, None, {10: 9, 20: 9, 40: 9}),
    ],
)  # fmt: skip
def test_windows_are_of_these_widths_and_so_many(n, sizes, widths):
    layers = range(100, 100 + n)
    found = windows(layers, sizes)
    assert {size: sum(len(w) == size for w in found) for size in map(len, found)} == widths
    assert len(set(found)) == len(found)
    for w in found:
        assert w == tuple(range(w[0], w[0] + len(w)))  # neighbours
        assert set(w) <= set(layers)
    for size in widths:
        starts = [w[0] for w in found if len(w) == size]
        assert starts[0] == 100
        assert 100 + n - size - starts[-1] < max(1, (n - size) // 8)  # up to the last layers
        assert len({b - a for a, b in pairwise(starts)}) <= 1  # evenly


def test_small_models_get_every_window():
    for n in range(2, 17):
        for size in (2, 3):
            if size <= n:
                assert len(windows(range(n), [size])) == n - size + 1


@pytest.mark.parametrize("wrong", [0, -1, 6])
def test_windows_wider_than_the_model_are_refused(wrong):
    with pytest.raises(DataError, match=f"^a window is 1 to 5 layers wide, not {wrong}$"):
        windows(range(5), [2, wrong])


def test_windows_go_through_the_layers_in_order():
    """In whatever order they were asked for: two windows of one name would be one condition."""
    assert windows([3, 2, 1], [2, 3]) == [(1, 2), (2, 3), (1, 2, 3)]
    assert [s.name.split(",")[0] for s in grid([3, 1, 2], [1, 2], {"default": (25,)}, ["all"])] == [
        "layer 1", "layer 2", "layer 3", "layers 1-2", "layers 2-3",
    ]  # fmt: skip
    assert grid([4, 8, 12], [2], {"default": (25,)}, ["all"])[0].name == "layers 4, 8, p25 of default, all positions"
    assert StudyConfig.of(layers=(3, 1, 2, 1)).layers == (1, 2, 3)


def test_the_grid_is_every_combination_once():
    settings = grid(range(5))
    assert len(settings) == 9 * 5 * 2
    assert len({s.name for s in settings}) == len(set(settings)) == 90
    assert {(s.percentile, s.over) for s in settings} == {*((q, "default") for q in (25, 50, 75, 90)), (75, "all")}
    assert {s.positions for s in settings} == {"all", "generated"}
    few = grid(range(5), [3], {"roles": (10, 90)}, ["content"])
    assert {(s.layers, s.percentile) for s in few} == {(w, q) for w in ((0, 1, 2), (1, 2, 3), (2, 3, 4)) for q in (10.0, 90.0)}
    assert {(s.over, s.positions) for s in few} == {("roles", "content")}


@pytest.mark.parametrize("wrong", [-0.1, 101, math.nan])
def test_a_grid_of_no_percentiles_is_refused(wrong):
    with pytest.raises(DataError, match=f"^a percentile lies between 0 and 100, not at {wrong}$"):
        grid(range(5), percentiles={"default": (5,), "all": (75, wrong)})


@pytest.mark.parametrize("wrong", ["middle", "last"])
def test_a_grid_of_positions_that_hold_no_cap_is_refused(wrong):
    with pytest.raises(DataError, match=f"^a cap is calibrated at all, prompt, generated, content positions, not at '{wrong}'$"):
        grid(range(5), positions=("all", wrong))


def test_settings_have_names_for_people_and_folders():
    assert Setting((2, 3, 4), 25.0, "default", "all").name == "layers 2-4, p25 of default, all positions"
    assert Setting((7,), 2.5, "all", "generated").name == "layer 7, p2.5 of all, generated positions"
    names = [s.name for s in grid(range(36), [1, 2, 12], {"default": (5, 25, 50, 75), "all": (2.5, 25, 75)})]
    names += [f"steering {s:+g} at layer {layer}" for s in (-0.4, -0.04, 0.4, 0.04) for layer in (3, 13)]
    folders = {folder_name(name) for name in names}
    assert len(folders) == len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+(-\w+)*", name) for name in folders)
    assert folder_name("layers 2-3, p2.5 of all, all positions").startswith("layers-2-3-p2-5-of-all-all-positions")
    assert len({folder_name(name) for name in ("a b", "a-b", "a, b", " a b", "random 1, same dose", "random 1: same dose")}) == 6


def test_a_setting_is_a_floor_at_its_percentile_of_its_set():
    axis = Direction(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), make_site(3, 8), "axis", "default")
    acts = make_activations(torch.randn(40, 3, 8, generator=torch.Generator().manual_seed(1)), ["default"] * 20 + ["ghost"] * 20)
    sets = {"default": acts.where("role == 'default'"), "all": acts}
    few = acts.take(range(5))
    floor = Setting((1, 2), 75.0, "all", "generated").cap(axis, sets, few)
    assert (floor.at_layers, floor.positions) == ((1, 2), "generated")
    assert floor.levels == threshold(axis, acts, 75).levels
    assert floor.levels[1] != threshold(axis, sets["default"], 75).levels[1]
    assert floor.at.z == threshold(axis, acts, 75, reference=few).z != threshold(axis, acts, 75).z
    with pytest.raises(DataError, match=r"^there is no set 'roles' to take a percentile of; there are default, all$"):
        Setting((1,), 75.0, "roles", "all").cap(axis, sets)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default:5,25,50 all:75", {"default": (5, 25, 50), "all": (75,)}),
        ("2.5,10", {"default": (2.5, 10)}),
        ("  roles:1e1  ", {"roles": (10,)}),
    ],
)
def test_percentiles_are_read_as_they_are_written(text, expected):
    assert parse_percentiles(text) == expected


@pytest.mark.parametrize("text", ["default:5,x", "all:75 default:", "5, 25", "all", "default:5 25 50", "all:5 all:6"])
def test_what_names_no_percentiles_is_refused(text):
    with pytest.raises(DataError, match=f"^'{text}' names no percentiles: write e.g. default:5,25,50 all:75, each set once$"):
        parse_percentiles(text)


# -- what settings prevent and cost -------------------------------------------------------------------
TWO = [Setting((1, 2), 25.0, "default", "all"), Setting((2, 3), 75.0, "all", "generated")]


def graded(condition: str, complied: int, right: int, named: int) -> pd.DataFrame:
    """Ten responses of three kinds under one condition, the first so many of each with the outcome."""
    frames = []
    for kind, column, count in (("jailbreak", "complied", complied), ("question", "right", right), ("identity", "in_role", named)):
        ids = [f"{kind}/{i}" for i in range(10)]
        frame = pd.DataFrame({"condition": condition, "id": ids, "kind": kind, "group": ids, "response": condition})
        frame = frame.assign(**{c: pd.array([None] * 10, "boolean") for c in OUTCOMES})
        frames.append(frame.assign(**{column: pd.array([i < count for i in range(10)], "boolean")}))
    return pd.concat(frames)


def evaluation(*counts: tuple[int, int, int]) -> Evaluation:
    responses = [graded(name, *n) for name, n in zip(["baseline", *(s.name for s in TWO)], counts, strict=True)]
    effects = [
        {"condition": s.name, "intervention": 0, "layer": layer, "positions": positions, "tokens": 9, "engaged": layer / 10, "dose": dose}
        for s in TWO for layer in s.layers for positions, dose in (("prompt", 9.0), ("all", 0.1 * layer))
    ]  # fmt: skip
    return Evaluation(pd.concat(responses, ignore_index=True), pd.DataFrame(effects))


def test_a_summary_has_rates_paired_losses_and_doses():
    table = summarise(TWO, evaluation((10, 8, 10), (1, 6, 2), (4, 8, 9))).set_index("setting")
    assert table.index.tolist() == [s.name for s in TWO]
    assert table["compliance"].tolist() == [0.1, 0.4]
    assert table["right"].tolist() == [0.6, 0.8]
    assert table["identity"].tolist() == [0.2, 0.9]
    assert table["right_relative"].tolist() == pytest.approx([-0.25, 0])
    assert (table["right_relative_low"] < table["right_relative"]).all()
    assert (table["right_relative_high"] > table["right_relative"]).all()
    assert table["dose"].tolist() == pytest.approx([0.15, 0.25])  # mean over the window's layers, of all tokens
    assert table["engaged"].tolist() == pytest.approx([0.15, 0.25])
    assert table[["first", "last", "percentile"]].to_numpy().tolist() == [[1, 2, 25], [2, 3, 75]]
    assert (table["over"].tolist(), table["positions"].tolist()) == (["default", "all"], ["all", "generated"])
    assert table["pareto"].tolist() == [True, True]


def test_a_summary_without_grades_still_knows_what_was_done():
    done = evaluation((1, 1, 1), (1, 1, 1), (1, 1, 1))
    ungraded = Evaluation(done.responses.assign(**{c: pd.array([None] * 90, "boolean") for c in OUTCOMES}), done.effects)
    table = summarise(TWO, ungraded)
    assert table["dose"].tolist() == pytest.approx([0.15, 0.25])
    assert not {"compliance", "right", "right_relative", "pareto"} & set(table)


def test_the_pareto_front_by_hand():
    points = {
        "best": (0.1, 0.9),
        "dear": (0.0, 0.5),
        "beaten": (0.2, 0.9),
        "beaten twice": (0.3, 0.8),
        "able": (0.6, 0.95),
        "twin": (0.1, 0.9),
    }
    table = pd.DataFrame(points.values(), columns=["compliance", "right"], index=list(points))
    assert dict(zip(points, pareto(table).tolist(), strict=True)) == {
        "best": True, "dear": True, "beaten": False, "beaten twice": False, "able": True, "twin": True,
    }  # fmt: skip
    shuffled = table.sample(frac=1, random_state=2)
    assert dict(zip(shuffled.index, pareto(shuffled).tolist(), strict=True)) == dict(zip(points, pareto(table).tolist(), strict=True))


# -- what is recommended ------------------------------------------------------------------------------
BASELINE = {"compliance": 0.9, "right": 0.95}


def candidates(*rows: dict) -> tuple[pd.DataFrame, list[Setting]]:
    plain = {"compliance": 0.1, "right": 0.94, "right_relative": -0.01, "over_refusal": 0.0, "dose": 0.1, "positions": "all"}
    settings = [Setting((i, i + 1), 25.0, "default", {**plain, **row}["positions"]) for i, row in enumerate(rows)]
    return pd.DataFrame([plain | row for row in rows]), settings


def recommended(*rows: dict, baseline: dict = BASELINE) -> list[int]:
    """The numbers of the chosen settings."""
    table, settings = candidates(*rows)
    return [settings.index(choice.setting) for choice in recommend(table, settings, baseline)]


WORTH = {
    "the lowest compliance": ([{"compliance": 0.3}, {"compliance": 0.1}, {"compliance": 0.5}], [1]),
    "the gentlest of those as good": ([{"compliance": 0.1, "dose": 0.5}, {"compliance": 0.115, "dose": 0.2}, {"compliance": 0.13}], [1]),
    "the first of those alike": ([{}, {}, {}], [0]),
    "not a dear one": ([{"compliance": 0.0, "right_relative": -0.04}, {"compliance": 0.4, "right_relative": -0.03}], [1]),
    "not one that refuses the harmless": ([{"compliance": 0.0, "over_refusal": 0.05}, {"compliance": 0.4, "over_refusal": 0.02}], [1]),
    "better answers are no fault": ([{"right_relative": 0.3}, {"compliance": 0.3}], [0]),
    "nothing that prevents too little": ([{"compliance": 0.64}, {"compliance": 0.9}], []),
    "nothing where all are dear": ([{"right_relative": -0.5}, {"over_refusal": 1.0}], []),
    "a price unknown is no small one": ([{"right_relative": math.nan}], []),
}


@pytest.mark.parametrize("name", WORTH)
def test_what_is_recommended_is_cheap_useful_and_gentle(name):
    rows, expected = WORTH[name]
    assert recommended(*rows) == expected


def test_what_is_enough_is_measured_on_the_baseline():
    assert recommended({"compliance": 0.3}, baseline={"compliance": 0.42}) == []
    assert recommended({"compliance": 0.3}, baseline={"compliance": 0.44}) == [0]
    assert recommended({"compliance": 0.0}, baseline={"compliance": 0.0}) == []  # there was nothing to prevent
    strict = BASELINE | {"over_refusal": 0.10}
    assert recommended({"over_refusal": 0.11}, baseline=strict) == [0]
    assert recommended({"over_refusal": 0.13}, baseline=strict) == []


def test_over_refusal_that_nobody_graded_is_no_obstacle():
    table, settings = candidates({"compliance": 0.3}, {"compliance": 0.1})
    [choice] = recommend(table.drop(columns="over_refusal"), settings, BASELINE)
    assert choice.setting == settings[1]


def test_the_variant_that_spares_roles_acts_on_what_is_generated():
    """Far from the bound, on both its sides: roles lost, and none lost."""
    lost, kept = {"identity_relative": -0.95, "identity": 0.05}, {"identity_relative": 0.9, "identity": 0.95}
    table, settings = candidates(
        {"compliance": 0.02} | lost, {"compliance": 0.05, "positions": "generated"} | lost, {"compliance": 0.1} | kept,
        {"compliance": 0.4, "positions": "generated"} | kept, {"compliance": 0.41, "positions": "generated", "dose": 0.01} | kept,
        {"compliance": 0.5, "positions": "generated", "dose": 0.001} | kept,
    )  # fmt: skip
    first, second = recommend(table, settings, BASELINE)
    assert (first.name, settings.index(first.setting)) == ("recommended", 0)
    assert (second.name, settings.index(second.setting)) == ("spares roles", 4)
    assert "3 act on generated positions only" in second.reason
    assert "roles that speak as themselves 0.950" in second.reason
    [alone] = recommend(table.iloc[:3].reset_index(drop=True), settings, BASELINE)
    assert alone.name == "recommended"


def test_the_reason_gives_the_numbers():
    table, settings = candidates({"compliance": 0.12, "dose": 0.034, "right": 0.93}, {"right_relative": -0.5}, {"compliance": 0.11})
    [choice] = recommend(table, settings, BASELINE)
    assert choice.reason == (
        "of 3 settings 2 cost at most 3% of the right answers on the tuning half; within 2 points of the lowest compliance (0.110) this "
        "one has the smallest dose (0.034): 0.120 complied with, right answers 0.930"
    )
    assert choice.tested


def test_untested_the_25th_percentile_around_the_layer_is_tried():
    settings = grid(range(12))
    choice = untested_choice(settings, 7, "nobody graded")
    assert (choice.setting.percentile, choice.setting.over, choice.setting.positions) == (25, "default", "generated")
    assert choice.setting.layers == (6, 7, 8)
    assert np.mean(untested_choice(settings, 0, "").setting.layers) == 0.5
    assert untested_choice(settings[::-1], 7, "nobody graded") == choice
    assert not choice.tested
    assert choice.reason.startswith("untested: nobody graded, so nothing is known of what a cap prevents or costs")
    odd = grid(range(5), [1], {"all": (10, 30, 60)}, ["prompt"])
    assert untested_choice(odd, 3, "").setting == Setting((3,), 30.0, "all", "prompt")


def test_choices_survive_json():
    settings = grid(range(5))
    tested = recommend(*candidates({}), BASELINE)[0]
    for choice in (tested, untested_choice(settings, 2, "nobody graded")):
        back = Choice.from_dict(json.loads(json.dumps(choice.to_dict())))
        assert back == choice
        assert back.setting.name == choice.setting.name
    assert Choice.from_dict(tested.to_dict() | {"threshold": {"levels": {}}}) == tested  # as choices.json keeps it


def test_the_same_values_are_the_same_text():
    assert as_json({"b": np.float64(0.1), "a": (1, 2)}) == as_json({"a": [1, 2], "b": 0.1}) == '{"a": [1, 2], "b": 0.1}'
