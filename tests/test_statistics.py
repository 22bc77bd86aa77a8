import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from workbench.errors import DataError
from workbench.evaluation.statistics import (
    Interval,
    auc,
    clustered_rate,
    cohens_d,
    correlation,
    interval,
    paired_change,
    separation,
    widest,
    wilson,
)


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return rng.normal(1, 1, 80), rng.normal(0, 1, 120)


def test_auc_is_scikit_learns(samples):
    a, b = samples
    assert auc(a, b) == pytest.approx(roc_auc_score([1] * 80 + [0] * 120, np.concatenate([a, b])))
    assert auc([1, 1], [1, 1]) == 0.5
    assert auc([2], [1]) == 1.0
    assert auc(b, a) == pytest.approx(1 - auc(a, b))


def test_cohens_d(samples):
    a, b = samples
    assert cohens_d(a, b) == pytest.approx(1.0, abs=0.25)
    assert cohens_d(b, a) == -cohens_d(a, b)
    assert cohens_d([0, 2], [0, 2]) == 0
    assert np.isnan(cohens_d([1, 1], [1, 1]))


def test_too_few_scores_are_refused():
    with pytest.raises(DataError, match="needs both groups; there are 0 and 1"):
        auc([], [1])
    with pytest.raises(DataError, match="there are 1 and 2"):
        cohens_d([1], [1, 2])


def test_intervals_redraw_whole_roles():
    """Ten responses of each role that are all alike: the interval must be that of 12 roles, not of 120 responses."""
    rng = np.random.default_rng(1)
    role_means = rng.normal(0, 1, 12)
    groups, alike = np.repeat(np.arange(12), 10), np.repeat(role_means, 10)
    positive = rng.normal(0.5, 1, 100)
    wide, _ = separation(positive, alike, groups)
    narrow, _ = separation(positive, alike, np.arange(120))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_draws_are_paired_by_the_seed(samples):
    a, b = samples
    groups = np.arange(120) // 10
    _, first = separation(a, b, groups, n_boot=50, seed=3)
    _, second = separation(a + 1e-9, b, groups, n_boot=50, seed=3)
    assert np.allclose(first, second)


def test_intervals_cover_about_as_often_as_they_say():
    """95 % intervals of an AUC over 200 repetitions: between 88 and 99 % hold the true value."""
    rng = np.random.default_rng(2)
    true, hits = auc(rng.normal(1, 1, 4000), rng.normal(0, 1, 4000)), 0
    for i in range(200):
        found, _ = separation(rng.normal(1, 1, 40), rng.normal(0, 1, 60), np.arange(60), n_boot=100, seed=i)
        hits += found.low <= true <= found.high
    assert 176 <= hits <= 198


def test_wilson():
    assert str(wilson(5, 10)) == "0.500 [0.237, 0.763]"
    assert wilson(0, 400).low == 0
    assert wilson(400, 400).high == 1
    assert np.isnan(wilson(0, 0).value)


def test_nan_draws_are_left_out():
    found = interval(1.0, np.array([1.0, np.nan, 3.0]))
    assert (found.low, found.high) == pytest.approx((1.05, 2.95))


# -- rates over groups --------------------------------------------------------------------------------
def clustered(rng: np.random.Generator, n_groups: int = 24, each: int = 6, rate: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes whose groups differ: each has a rate of its own (Beta, mean `rate`)."""
    own = rng.beta(3 * rate, 3 * (1 - rate), n_groups)
    return (rng.random((n_groups, each)) < own[:, None]).astype(float).ravel(), np.repeat(np.arange(n_groups), each)


@pytest.mark.parametrize("seed", range(6))
def test_rates_are_never_surer_than_wilson(seed):
    rng = np.random.default_rng(seed)
    values, groups = clustered(rng, rate=rng.uniform(0.05, 0.95))
    found, simple = clustered_rate(values, groups), wilson(int(values.sum()), len(values))
    assert found.value == values.mean()
    assert 0 <= found.low <= simple.low <= simple.high <= found.high <= 1
    assert clustered_rate(1 - values, groups).low == pytest.approx(1 - found.high, abs=1e-6)


def test_outcomes_that_never_differ_still_have_an_interval():
    never, always = (clustered_rate(np.full(40, x), np.arange(40) // 4) for x in (0.0, 1.0))
    assert (never.value, never.low, always.value, always.high) == (0, 0, 1, 1)
    assert never.high == pytest.approx(1 - always.low) == pytest.approx(wilson(0, 40).high)


def test_a_rates_interval_redraws_whole_groups():
    """Ten groups of twelve outcomes that are all alike are ten outcomes, not 120."""
    alike = np.repeat([1.0] * 5 + [0.0] * 5, 12)
    wide, narrow = clustered_rate(alike, np.repeat(np.arange(10), 12)), clustered_rate(alike, np.arange(120))
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    assert wide.high - wide.low == pytest.approx(0.6, abs=0.1)  # of 2 * 1.96 * sqrt(.25 / 10) = .62
    assert clustered_rate(alike, np.array([f"role {i // 12}" for i in range(120)], object)) == wide  # names or numbers


def test_rates_cover_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    found = [clustered_rate(*clustered(rng), n_boot=200, seed=i) for i in range(200)]
    assert 180 <= sum(x.low <= 0.6 <= x.high for x in found) <= 199
    # The true spread of the mean over groups: variance between (.06) and within them (.18 / 6), over 24 groups.
    assert np.mean([x.high - x.low for x in found]) == pytest.approx(2 * 1.96 * np.sqrt(0.09 / 24), rel=0.15)


# -- paired changes -----------------------------------------------------------------------------------
def paired(rng: np.random.Generator, n_groups: int = 30, each: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Before .8; of those complied with half are lost, of the others a tenth is gained: .42 after."""
    before, groups = clustered(rng, n_groups, each, 0.8)
    draws = rng.random(len(before))
    return before, np.where(before == 1, draws < 0.5, draws < 0.1).astype(float), groups


def test_identical_outcomes_have_a_change_of_zero_and_a_width():
    """Agresti and Min with half a pair in each cell: +- 1.96 * sqrt(1) / (98 + 2)."""
    same = np.array([1.0, 0.0] * 49)
    difference, relative = paired_change(same, same, np.arange(98) // 2)
    assert (difference.value, difference.low, difference.high) == pytest.approx((0, -0.0196, 0.0196), abs=1e-6)
    assert (relative.value, relative.low, relative.high) == pytest.approx((0, -0.0392, 0.0392), abs=1e-6)


def test_changes_are_never_surer_than_agresti_and_min():
    """20 pairs: 12 lost, 3 gained. Half more each: (3.5 - 12.5) / 22, and its error by their formula."""
    before, after = np.array([1] * 14 + [0] * 6, float), np.array([0] * 12 + [1] * 2 + [1] * 3 + [0] * 3, float)
    centre, error = -9 / 22, np.sqrt(16 - 81 / 22) / 22
    for groups in (np.arange(20), np.arange(20) // 4):
        difference, relative = paired_change(before, after, groups)
        assert difference.value == pytest.approx(-0.45)
        assert relative.value == pytest.approx(-0.45 / 0.7)
        assert difference.low <= centre - 1.95 * error < centre + 1.95 * error <= difference.high
        assert relative.low <= max(-1, (centre - 1.95 * error) / 0.7)
        assert relative.high >= (centre + 1.95 * error) / 0.7


def test_a_change_turned_round_is_its_negative():
    before, after, groups = paired(np.random.default_rng(0))
    there, _ = paired_change(before, after, groups)
    back, _ = paired_change(after, before, groups)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there.value < 0 < back.value


def test_changes_stay_where_they_can_be():
    ones, zeros, groups = np.ones(12), np.zeros(12), np.array([0] * 9 + [1, 2, 3])  # groups of any size
    difference, relative = paired_change(ones, zeros, groups)
    assert (difference.value, difference.low, relative.value, relative.low) == (-1, -1, -1, -1)
    assert (
        difference.high == relative.high == pytest.approx((-12 + 1.96 * np.sqrt(13 - 144 / 14)) / 14, abs=1e-4)
    )  # Agresti and Min's, of 12 pairs
    difference, relative = paired_change(zeros, ones, groups)
    assert (difference.value, difference.high) == (1, 1)
    assert np.isnan([relative.value, relative.low, relative.high]).all()  # of nothing
    rare = np.eye(1, 12)[0]  # a third of the draws hold no case at all before: no warning, and no end beyond -1
    difference, relative = paired_change(rare, zeros, np.arange(12))
    assert (relative.value, relative.low) == (-1, -1)
    assert relative.high > 0


def test_a_relative_change_is_redrawn_with_its_own_baseline():
    """Groups differ in how much there is to lose, and each loses half: surely half in all, whichever are drawn."""
    before, after = np.repeat([1.0, 0.0] * 5, 8), np.tile([1.0] * 4 + [0.0] * 4, 10)
    difference, relative = paired_change(before, before * after, np.arange(80) // 8)
    centre, half = -20 / 82, 1.96 * np.sqrt(21 - 400 / 82) / 82  # Agresti and Min's: 20 of 80 pairs lost, none gained
    assert (relative.value, relative.low, relative.high) == pytest.approx((-0.5, 2 * (centre - half), 2 * (centre + half)), abs=1e-4)
    assert difference.low < centre - half - 0.03
    assert difference.high > centre + half + 0.03


def test_alike_groups_widen_a_change():
    before, after, groups = np.ones(120), np.repeat([1.0, 0.0] * 5, 12), np.repeat(np.arange(10), 12)
    (wide, wide_share), (narrow, narrow_share) = (paired_change(before, after, g) for g in (groups, np.arange(120)))
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    assert wide_share.high - wide_share.low > 2.5 * (narrow_share.high - narrow_share.low)
    assert paired_change(before, after, groups) == paired_change(before, after, groups)
    shuffle = np.random.default_rng(1).permutation(120)
    again, _ = paired_change(before[shuffle], after[shuffle], groups[shuffle])
    assert (again.low, again.high) == pytest.approx((wide.low, wide.high))


def test_changes_cover_about_as_often_as_they_say():
    rng = np.random.default_rng(6)
    found = [paired_change(*paired(rng), n_boot=200, seed=i) for i in range(200)]
    assert 180 <= sum(d.low <= -0.38 <= d.high for d, _ in found) <= 199
    assert 180 <= sum(r.low <= -0.38 / 0.8 <= r.high for _, r in found) <= 199
    assert np.mean([d.high - d.low for d, _ in found]) < 0.25


def test_the_widest_of_several_intervals_holds_them_all():
    found = widest([Interval(0.5, 0.4, 0.55), Interval(0.5, 0.45, 0.7), Interval(0.5, 0.41, 0.5)])
    assert found == Interval(0.5, 0.4, 0.7)
    assert widest([found]) == found


def test_baselines_without_an_event_leave_the_relative_change_open():
    """One prompt in eight complies at first, alone in its group; most draws of groups without it have no finite ratio."""
    groups = np.array([f"g{i}" for i in range(8)])
    before, after = np.array([1] + [0] * 7), np.array([1, 1] + [0] * 6)
    _, relative = paired_change(before, after, groups)
    assert relative.value == 1.0
    assert relative.high == np.inf
    assert relative.low <= 0


def test_infinite_draws_count():
    draws = np.array([1.0] * 90 + [np.inf] * 10)
    assert interval(1.0, draws).high == np.inf
    assert interval(1.0, np.array([1.0] * 99 + [np.inf])).high == 1.0


def test_equal_numbers_correlate_with_nothing():
    """Their standard deviation is not always 0: that of three times .1 is 1e-17."""
    assert np.isnan(correlation([0.1] * 3, [0.1, 0.2, 0.4]))
    assert np.isnan(correlation([0.1, 0.2, 0.4], [0.7] * 3))
    assert np.isnan(correlation([], []))
