"""Percentiles whose sign cannot be mistaken, and norms."""

import inspect
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_activations, make_site

from workbench.activations import Activations
from workbench.directions import Direction, contrast, role_vectors
from workbench.errors import DataError
from workbench.thresholds import ROUNDING, Norms, Scores, Threshold, check_layers, describe_set, signature, threshold

D = 6


def along(scores: list[list[float]], axis: Direction, roles: list[str], **columns) -> Activations:
    """Responses with given projections [response][layer] on an axis, and whatever else beside it."""
    unit = axis.unit().values
    noise = torch.randn(len(scores), *unit.shape, generator=torch.Generator().manual_seed(11))
    beside = noise - (noise * unit).sum(-1, keepdim=True) * unit
    return make_activations(torch.tensor(scores)[..., None] * unit + beside, roles, **columns)


def named(values: torch.Tensor, name: str = "assistant axis", **site) -> Direction:
    return Direction(values.float(), make_site(*values.shape, **site), name, "default (away from 5 roles)")


@pytest.fixture
def axis() -> Direction:
    """Not of unit length, and longer at one layer than at the other."""
    return named(torch.randn(2, D, generator=torch.Generator().manual_seed(3)) * torch.tensor([[0.2], [40.0]]))


@pytest.fixture
def acts(axis) -> Activations:
    """Default responses at 10, 12, ... 18 (minus 100 at layer 1), roles at 0, 1, ... 9."""
    at = [[10.0 + 2 * i, -90.0 + 2 * i] for i in range(5)] + [[float(i), -100.0 + i] for i in range(10)]
    return along(at, axis, ["default"] * 5 + ["ghost"] * 4 + ["pirate"] * 6)


# -- percentiles and their sign -----------------------------------------------------------------------
def test_percentiles_of_known_projections(axis, acts):
    defaults = acts.where("role == 'default'")
    assert threshold(axis, defaults, 0).levels == pytest.approx({0: 10, 1: -90}, abs=1e-4)
    assert threshold(axis, defaults, 25).levels == pytest.approx({0: 12, 1: -88}, abs=1e-4)
    assert threshold(axis, defaults, 60).levels == pytest.approx({0: 14.8, 1: -85.2}, abs=1e-4)
    assert threshold(axis, acts, 100).levels == pytest.approx({0: 18, 1: -82}, abs=1e-4)
    assert threshold(axis * 50, defaults, 25).levels == pytest.approx({0: 12, 1: -88}, abs=1e-4)  # its length plays no part


@pytest.mark.parametrize("q", [1, 25, 40, 90])
def test_the_sign_trap(axis, acts, q):
    """A percentile along the reversed direction is the mirrored one along the axis: q there is 100 - q here."""
    there, here = threshold(-axis, acts, q), threshold(axis, acts, 100 - q)
    assert there.levels == pytest.approx({n: -level for n, level in here.levels.items()}, abs=1e-5)
    turned = there.turned()
    assert turned.levels == pytest.approx(here.levels, abs=1e-5)
    assert turned.z == pytest.approx(here.z, abs=1e-5)
    assert (turned.percentile, turned.direction, turned.along) == (here.percentile, here.direction, here.along)
    assert (turned.over, turned.n, turned.statistic) == (here.over, here.n, here.statistic)
    turned.check_along(axis)
    assert turned.turned() == there


def test_a_published_cap_of_minus_32_5_is_a_floor_at_32_5(axis):
    """The released code's 25th percentile on role - default, where responses lie from 2.5 to 42.5 along the axis."""
    acts = along([[2.5 + i, 0.0] for i in range(41)], axis, ["ghost"] * 41)
    published = threshold(-axis, acts, 25)
    assert published.levels[0] == pytest.approx(-32.5, abs=1e-4)
    assert published.turned().levels[0] == pytest.approx(32.5, abs=1e-4)
    assert threshold(axis, acts, 75).levels[0] == pytest.approx(32.5, abs=1e-4)
    assert threshold(axis, acts, 25).levels[0] == pytest.approx(12.5, abs=1e-4)  # far too weak a floor


def test_only_the_direction_it_was_taken_along_passes(axis, acts):
    at = threshold(axis, acts, 25)
    at.check_along(axis * 1e-6)
    at.check_along(axis.at(1))
    at.turned().check_along(-axis)
    with pytest.raises(
        DataError, match=r"^this threshold was taken along 'assistant axis' .* which is '-assistant axis' reversed: use thr"
    ):
        at.check_along(-axis)
    other = axis.values.clone()
    other[1, 2] += 8.0  # a fifth of its length, at the second layer only
    with pytest.raises(DataError, match=r"^this threshold was taken along 'assistant axis', which is another direction than 'other'$"):
        at.check_along(named(other, "other"))
    with pytest.raises(DataError, match="which is another direction than 'other'"):
        at.check_along(named(other, "other").at(1))
    at.check_along(named(other, "other").at(0))


# -- deviations from the default ----------------------------------------------------------------------
def test_z_counts_deviations_of_default_responses(axis, acts):
    """Defaults at 10, 12, 14, 16, 18: mean 14, standard deviation (of a sample) the root of 10."""
    found = threshold(axis, acts.where("role != 'default'"), 100, reference=acts)
    assert found.levels == pytest.approx({0: 9, 1: -91}, abs=1e-4)
    assert found.z == pytest.approx(dict.fromkeys((0, 1), -5 / math.sqrt(10)), abs=1e-4)
    assert threshold(axis, acts.where("role == 'default'"), 75).z[0] == pytest.approx(2 / math.sqrt(10), abs=1e-4)


def test_z_takes_its_defaults_from_the_reference_alone(axis, acts):
    elsewhere = along([[0.0, 0.0], [4.0, 40.0], [99.0, 99.0]], axis, ["default", "default", "ghost"])
    found = threshold(axis, acts, 0, reference=elsewhere)
    assert found.levels[0] == pytest.approx(0, abs=1e-4)
    assert found.z == pytest.approx({0: -2 / math.sqrt(8), 1: -120 / math.sqrt(800)}, abs=1e-4)
    assert set(threshold(axis, acts, 0, reference=elsewhere.at(1)).z) == {1}


def test_z_does_not_depend_on_a_models_units(axis, acts):
    """What makes levels of two models incomparable, scale and offset, does not show in z."""
    stretched = Activations(7 * acts.values + torch.randn(2, D), acts.rows, acts.site)
    one, other = threshold(axis, acts, 30), threshold(axis, stretched, 30)
    assert other.z == pytest.approx(one.z, abs=1e-3)
    assert abs(other.levels[1] - one.levels[1]) > 100


@pytest.mark.parametrize("query", ["role == 'ghost'", "role != 'default' or index == 0"])
def test_without_two_defaults_there_is_no_z(axis, acts, query):
    found = threshold(axis, acts.where(query), 50)
    assert dict(found.z) == {}
    assert found.to_frame()["z"].isna().all()
    assert dict(found.turned().z) == {}


# -- what a threshold says of itself ------------------------------------------------------------------
def test_the_set_is_said_in_words(axis, acts):
    def words(query: str) -> str:
        return threshold(axis, acts.where(query), 50).over

    assert words("role == 'default'") == "default"
    assert words("role != 'default'") == "2 roles"
    assert words("role == role") == "default and 2 roles"
    assert threshold(axis, acts, 50, over="all rollouts").over == "all rollouts"
    assert describe_set(pd.DataFrame({"role": ["default"] * 3, "turn": [2, 0, 3]})) == "default, turns 0 to 3"


def test_size_and_statistic_are_remembered(axis, acts):
    found = threshold(axis, acts.where("role == 'pirate'"), 25)
    assert str(found) == "percentile 25 of 6 response means (1 roles), along assistant axis: + is default (away from 5 roles)"
    tokens = Activations(acts.values, acts.rows, make_site(2, D, pooling="token"))
    assert threshold(axis, tokens, 25).statistic == "response tokens"
    frame = threshold(axis, acts, 25).to_frame()
    assert frame["layer"].tolist() == [0, 1] == list(threshold(axis, acts, 25).layers)
    assert (set(frame["n"]), set(frame["over"]), set(frame["percentile"])) == ({15}, {"default and 2 roles"}, {25.0})


def test_scores_count_as_the_responses_they_came_from(axis, acts):
    scores = Scores(acts.project(axis), acts.rows, "response tokens", axis)
    by_scores, by_acts = threshold(axis, scores, 35), threshold(axis, acts, 35)
    assert (by_scores.levels, by_scores.z, by_scores.signature) == (by_acts.levels, by_acts.z, by_acts.signature)
    assert by_scores.statistic == "response tokens"
    assert threshold(named(axis.values.clone(), "a copy"), scores, 35).levels == by_acts.levels


def test_only_layers_that_both_have(axis, acts):
    assert threshold(axis, acts.at(1), 25).layers == (1,)
    assert threshold(axis.at([1, 0]), acts, 25).levels == threshold(axis, acts, 25).levels


REFUSED = {
    "below 0": (lambda v, a: threshold(v, a, -1), "a percentile lies between 0 and 100, not at -1"),
    "above 100": (lambda v, a: threshold(v, a, 100.5), "a percentile lies between 0 and 100, not at 100.5"),
    "no percentile": (lambda v, a: threshold(v, a, math.nan), "a percentile lies between 0 and 100, not at nan"),
    "nothing": (lambda v, a: threshold(v, a.where("role == 'nobody'"), 25), "an empty calibration set has no percentiles"),
    "another model": (lambda v, a: threshold(named(v.values, weights="w1"), a, 25), "was taken elsewhere: model weights"),
    "other scores": (
        lambda v, a: threshold(v, Scores(a.project(-v), a.rows, "response means", -v), 25),
        "these scores lie along '-assistant axis', not along 'assistant axis'",
    ),
    "a reference along another": (
        lambda v, a: threshold(v, a, 25, reference=Scores(a.project(-v), a.rows, "response means", -v)),
        "these scores lie along '-assistant axis', not along 'assistant axis'",
    ),
    "rows that do not fit": (lambda v, a: Scores(a.project(v), a.rows[:3], "x", v), "15 projections but a table of 3 rows"),
    "a field too many": (
        lambda v, a: Threshold.from_dict(threshold(v, a, 25).to_dict() | {"unit": "norm", "level": 3}),
        "a threshold has no field 'level'",
    ),
    "a field is missing": (lambda v, a: Threshold.from_dict({"levels": {}, "n": 3}), "needs the field 'percentile'; there are levels, n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_percentile_is_refused_in_one_sentence(axis, acts, name):
    make, sentence = REFUSED[name]
    with pytest.raises(DataError) as error:
        make(axis, acts)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_projections_that_are_no_numbers_are_counted(axis, acts):
    values = acts.project(axis)
    values.iloc[2, 0], values.iloc[2, 1], values.iloc[5, 1] = math.nan, math.nan, math.inf
    with pytest.raises(DataError, match=r"^2 of 15 projections are not numbers$"):
        threshold(axis, Scores(values, acts.rows, "response means", axis), 25)


@pytest.mark.parametrize("query", ["role == role", "role == 'ghost'"])
def test_json_gives_back_exactly_what_was_kept(axis, acts, query):
    found = threshold(axis, acts.where(query), 33.3)
    back = Threshold.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back == found
    assert [type(n) for n in back.levels] == [int, int]
    back.check_along(axis)


def test_files_without_z_and_signature_are_read(axis, acts):
    values = threshold(axis, acts, 25).to_dict()
    del values["z"], values["signature"]
    back = Threshold.from_dict(values)
    assert (dict(back.z), dict(back.signature)) == ({}, {})
    back.check_along(-axis)  # nothing is known that would forbid it


# -- how a direction is recognised --------------------------------------------------------------------
@pytest.mark.parametrize("d_model", [8, 96, 5120])
@pytest.mark.parametrize("factor", [1e-30, 1e-4, 0.37, 3.0, 1e8, 1e30])
def test_a_signature_survives_any_positive_factor(d_model, factor):
    values = torch.randn(1, d_model, generator=torch.Generator().manual_seed(d_model)).bfloat16()
    v = named(values)
    assert signature(v * factor, 0) == pytest.approx(signature(v, 0), abs=3e-6)
    assert signature(v * -factor, 0) == pytest.approx([-x for x in signature(v, 0)], abs=3e-6)


@pytest.mark.parametrize("d_model", [8, 5120])
def test_signatures_tell_vectors_apart(d_model):
    """Random ones, ones rounded as bf16 models store them, single dimensions, their sums: well above what passes as equal."""
    generator = torch.Generator().manual_seed(1)
    several = [torch.randn(60, d_model, generator=generator), torch.eye(8, d_model), 1 - torch.eye(8, d_model)]
    values = torch.cat([*several, several[0].roll(1, dims=1)]).bfloat16().float()
    v = named(values)
    known = np.array([signature(v, n) for n in range(len(values))])
    distance = np.abs(np.concatenate([known, -known])[:, None] - known[None]).max(-1)
    distance[np.arange(len(known)), np.arange(len(known))] = np.inf
    assert distance.min() > ROUNDING


# -- norms --------------------------------------------------------------------------------------------
def test_norms_of_means_by_hand():
    acts = make_activations(torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.0, -1.0], [5.0, 12.0]]]), ["default", "ghost"])
    norms = Norms.of_means(acts)
    assert norms.by_layer == pytest.approx({0: 3.0, 1: 7.0})
    assert (norms.of, norms.n, norms.at(1)) == ("response means", 2, pytest.approx(7.0))
    assert Norms.of_means(acts.at(1)).by_layer == pytest.approx({1: 7.0})
    assert Norms.from_dict(json.loads(json.dumps(norms.to_dict()))) == norms
    with pytest.raises(DataError, match=r"^there is no norm of response means at layer 4; there are layers \[0, 1\]$"):
        norms.at(4)


@pytest.mark.parametrize(
    ("known", "words"),
    [((0, 1, 2), "layers 0 to 2"), ((4, 3), "layers 3 to 4"), ((4,), "layer 4"), ((0, 2, 5), "layers 0, 2, 5"), ((), "none")],
)
def test_missing_layers_are_named_beside_those_there(known, words):
    with pytest.raises(DataError, match=f"^the cap has no layer 7: it has {words}$"):
        check_layers([*known, 7, 8], known, "the cap")
    check_layers(known, known, "the cap")


def test_a_direction_stored_in_bfloat16_is_the_same_one(axis, acts):
    wide = named(torch.randn(2, 512, generator=torch.Generator().manual_seed(4)))
    for direction in (axis, wide):
        rounded = named(direction.values.bfloat16())
        kept = Threshold({0: 1.0, 1: 1.0}, 25, "axis", "default", "", 9, "response means", {}, {n: signature(direction, n) for n in (0, 1)})
        kept.check_along(rounded)
        with pytest.raises(DataError, match="reversed"):
            kept.check_along(-rounded)


def test_turns_that_nobody_numbered_are_not_described():
    assert describe_set(pd.DataFrame({"role": ["default"], "turn": [math.nan]})) == "default"


def test_arguments_in_the_wrong_order_are_named(planted):
    acts = planted[0]
    with pytest.raises(DataError, match="in this order, not Activations and Direction"):
        inspect.unwrap(threshold)(acts, contrast(role_vectors(acts)), 25)  # without the tests' own type checks
