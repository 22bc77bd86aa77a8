"""Controls hold nothing of the axis, are what they are called, and are matched to a cap."""

import math

import numpy as np
import pytest
import torch
from conftest import make_activations, make_site

from workbench.activations import Activations
from workbench.controls import MATCHES, Target, _level_for, isotropic, matched_floor, other_components, role_splits, trait_directions
from workbench.directions import Direction, contrast, role_vectors
from workbench.errors import DataError
from workbench.interventions import Floor
from workbench.matching import done_by
from workbench.models.extraction import Reading
from workbench.models.measuring import Met
from workbench.thresholds import threshold

TRAITS = {"warmth": {f"role{i:02d}": (7 * i) % 24 for i in range(24)}}


@pytest.fixture
def space(planted) -> tuple[Direction, Activations]:
    vectors = role_vectors(planted[0])
    return contrast(vectors), vectors


MADE = {
    "isotropic": lambda axis, vectors, **k: isotropic(axis, **k),
    "split of roles": role_splits,
    "trait": lambda axis, vectors, **k: trait_directions(axis, vectors, TRAITS),
    "component": lambda axis, vectors, **k: other_components(axis, vectors),
}


# -- what controls are --------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", MADE)
def test_no_control_holds_anything_of_the_axis(space, kind):
    axis, vectors = space
    controls = MADE[kind](axis, vectors)
    assert len(controls) == {"isotropic": 3, "split of roles": 3, "trait": 1, "component": 2}[kind]
    assert len({c.name for c in controls}) == len(controls)
    for c in controls:
        assert c.cosine(axis).abs().max() < 1e-5
        assert (c.site, c.values.dtype) == (axis.site, torch.float32)
        assert (c.name in c.toward, c.made_from["kind"]) == (True, kind)
        before = c.made_from["cosine_before_the_axis_was_taken_out"]
        assert len(before) == 2
        assert 0 < max(map(abs, before)) < 1


@pytest.mark.parametrize("kind", MADE)
def test_the_length_of_the_axis_and_its_sign_play_no_part(space, kind):
    axis, vectors = space
    for one, other in zip(MADE[kind](axis, vectors), MADE[kind](axis * -30, vectors), strict=True):
        assert torch.allclose(one.values, other.values, atol=1e-5)


@pytest.mark.parametrize("kind", ["isotropic", "split of roles"])
def test_draws_differ_and_are_those_of_their_seed(space, kind):
    axis, vectors = space
    first, again, other = (MADE[kind](axis, vectors, n=4, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.values, b.values) for a, b in zip(first, again, strict=True))
    assert all(a.cosine(b).abs().max() < 0.9 for i, a in enumerate(first) for b in [*first[i + 1 :], *other])
    assert torch.equal(MADE[kind](axis, vectors, n=1)[0].values, first[0].values)  # more of them leave the first as they are


def test_the_cosine_before_is_what_was_taken_out():
    """Roles with the trait lie 4 along the axis and 3 across from those without."""
    axis = Direction(torch.tensor([[2.0, 0.0, 0.0]]), make_site(1, 3), "axis", "default")
    values = torch.tensor([[0.0, 0.0, 5.0]] * 3 + [[4.0, 3.0, 5.0]] * 3)[:, None]
    vectors = make_activations(values, [f"r{i}" for i in range(6)])
    [control] = trait_directions(axis, vectors, {"warmth": {f"r{i}": i for i in range(6)}})
    assert torch.allclose(control.values, torch.tensor([[0.0, 3.0, 0.0]]))
    assert control.made_from["cosine_before_the_axis_was_taken_out"] == [0.8]


def test_random_directions_are_the_same_at_every_layer_but_for_the_axis():
    axis = Direction(torch.eye(3, 400), make_site(3, 400), "axis", "default")
    for control in isotropic(axis, 2):
        assert torch.equal(control.values[0, 3:], control.values[2, 3:])
        assert control.values[[0, 1, 2], [0, 1, 2]].abs().max() < 1e-6
        assert abs(float(control.values[0, 3:].std()) - 1) < 0.15
    one, other = isotropic(axis, 2)
    assert one.cosine(other).abs().max() < 0.2


def test_splits_are_of_roles_and_leave_the_default_out(space):
    """Each role counts once, on one side or the other: with one role moved, every split moves by its share."""
    axis, vectors = space
    moved = vectors.values.clone()
    moved[vectors.rows["role"].tolist().index("default")] += 1000
    same = role_splits(axis, Activations(moved, vectors.rows, vectors.site))
    assert all(torch.equal(a.values, b.values) for a, b in zip(role_splits(axis, vectors), same, strict=True))
    away = torch.zeros_like(axis.values)
    away[:, 0] = 120.0
    away = away - (away * axis.unit().values).sum(-1, keepdim=True) * axis.unit().values
    moved = vectors.values.clone()
    moved[5] += away
    for a, b in zip(role_splits(axis, vectors), role_splits(axis, Activations(moved, vectors.rows, vectors.site)), strict=True):
        change = b.values - a.values
        assert torch.allclose(change.abs(), away.abs() / 12, atol=1e-3)  # one of twelve


def test_traits_point_to_the_roles_that_have_more_of_them(space):
    axis, vectors = space
    planted = torch.nn.functional.normalize(torch.randn(2, 64, generator=torch.Generator().manual_seed(5)), dim=-1)
    much = torch.tensor([TRAITS["warmth"].get(role, 0) / 24 for role in vectors.rows["role"]])
    warm = Activations(vectors.values + 5 * much[:, None, None] * planted, vectors.rows, vectors.site)
    [control] = trait_directions(axis, warm, TRAITS)
    assert (control.unit().values * planted).sum(-1).min() > 0.9
    cold = {"coldness": {role: -value for role, value in TRAITS["warmth"].items()}}
    [turned] = trait_directions(axis, warm, cold)
    assert turned.cosine(control).max() < -0.999
    stranger = {"warmth": TRAITS["warmth"] | {"nobody": 99.0, "role03": -99.0}}  # a role without a vector changes nothing
    known = {"warmth": TRAITS["warmth"] | {"role03": -99.0}}
    assert torch.equal(trait_directions(axis, warm, stranger)[0].values, trait_directions(axis, warm, known)[0].values)


def test_a_trait_of_too_few_roles_is_refused(space):
    with pytest.raises(DataError, match=r"^the trait 'wit' is known of 5 roles with a vector; a direction needs 6$"):
        trait_directions(*space, {"wit": {f"role{i:02d}": i for i in range(5)} | {"nobody": 1.0}})


def test_components_agree_between_layers():
    """PC2 is one dimension throughout, but its most extreme role lies on the other side at the second layer."""
    x = torch.tensor([-9.0, -6.0, -3.0, 0.0, 0.0, 3.0, 6.0, 9.0])
    second = torch.tensor([[1.0, -2.0, 1.0, 5.0, -4.0, -1.0, 2.0, -2.0], [1.0, -2.0, 1.0, 4.0, -5.0, -1.0, 2.0, 0.0]])
    values = torch.zeros(9, 2, 5)
    values[1:, :, 1], values[1:, :, 2], values[0, :, 0] = x[:, None], second.T, 10.0
    vectors = make_activations(values, ["default", *(f"r{i}" for i in range(8))])
    axis = contrast(vectors.mean("role"))
    [control] = other_components(axis, vectors, [2])
    assert control.name == "PC2"
    assert control.values[:, 2].min() > 0.95
    assert control.values[0] @ control.values[1] > 0.95
    assert control.values[:, 0].abs().max() < 1e-6


# -- matched to a cap ---------------------------------------------------------------------------------
def met(within_share: float = 1.0, n: int = 400, seed: int = 0) -> Met:
    rng = np.random.default_rng(seed)
    return Met(rng.normal(3, 20, n), rng.gamma(20, 5, n), rng.random(n) < within_share)


def share_and_dose(m: Met, level: float) -> tuple[float, float]:
    """What a floor at `level` would do, over all tokens."""
    push = np.where(m.within, np.maximum(level - m.p, 0), 0)
    return float((push > 0).mean()), float((push / m.length).mean())


@pytest.mark.parametrize("within", [1.0, 0.4])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.35])
def test_a_level_for_a_share_changes_that_share_of_all_tokens(within, share):
    m = met(within)
    assert share_and_dose(m, _level_for(m, "share", Target(share, math.nan)))[0] == pytest.approx(share, abs=1.01 / 400)


@pytest.mark.parametrize("within", [1.0, 0.4])
@pytest.mark.parametrize("dose", [0.001, 0.05, 0.5])
def test_a_level_for_a_dose_gives_that_dose_over_all_tokens(within, dose):
    m = met(within)
    assert share_and_dose(m, _level_for(m, "dose", Target(math.nan, dose)))[1] == pytest.approx(dose, rel=1e-6)


def test_more_than_there_are_tokens_to_act_on_changes_all_of_them():
    m = met(0.3)
    level = _level_for(m, "share", Target(0.9, math.nan))
    assert level == m.p[m.within].max()
    with pytest.raises(DataError, match=r"^there is no token to act on at this layer$"):
        _level_for(met(0.0), "share", Target(0.1, 0.1))


def test_a_dose_of_nothing_changes_nothing():
    assert share_and_dose(met(), _level_for(met(), "dose", Target(0.0, 0.0))) == (0.0, 0.0)


def test_the_same_percentile_is_that_of_the_control(planted, space):
    axis, _ = space
    [control] = isotropic(axis, 1)
    capped = Floor(axis, threshold(axis, planted[0], 75), layers=[1], positions="generated")
    floor = matched_floor(None, control, capped, "percentile", [], {}, planted[0])
    assert floor.direction is control
    assert (floor.at_layers, floor.positions) == ((1,), "generated")
    scores = planted[0].project(control)[1]
    assert (scores < floor.levels[1]).mean() == pytest.approx(0.75, abs=0.01)
    assert floor.levels[1] != capped.levels[1]


def test_what_cannot_be_matched_is_refused(planted, space):
    axis, _ = space
    at = threshold(axis, planted[0], 75)
    with pytest.raises(DataError, match=r"^controls are matched by percentile, share, dose, not by 'size'$"):
        matched_floor(None, axis, Floor(axis, at), "size", [], {})
    for cap, responses in ((Floor(axis, at), None), (Floor(axis, 3.0), planted[0])):
        with pytest.raises(DataError, match=r"^to match a percentile, the cap's threshold must be one, and its set of responses be given$"):
            matched_floor(None, axis, cap, "percentile", [], {}, responses)


@pytest.mark.parametrize("how", [m for m in MATCHES if m != "percentile"])
@pytest.mark.parametrize("positions", ["all", "generated"])
def test_a_matched_floor_does_as_much_as_the_cap_at_every_layer(organism, how, positions):
    """Layer by layer, the earlier layers' floors in place: what the later ones meet is what the earlier ones leave."""
    axis = Direction(torch.randn(5, 96, generator=torch.Generator().manual_seed(3)), organism.bare_site(), "axis", "one end")
    [control] = isotropic(axis, 1)
    readings = [Reading(tuple(range(10 + i, 40 + i)), 12, 30) for i in range(4)]
    cap = Floor(axis, {1: 4.0, 2: 6.0, 3: 9.0}, positions=positions)
    wanted = done_by(organism, cap, readings)
    found = done_by(organism, matched_floor(organism, control, cap, how, readings, wanted), readings)
    assert list(wanted) == [1, 2, 3]
    for layer, target in wanted.items():
        assert target.share > 0.1
        aim, within = getattr(target, how), {"share": 1.01 / 120, "dose": 1e-3 * target.dose}[how]
        assert getattr(found[layer], how) == pytest.approx(aim, abs=within)
