import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from workbench.errors import DataError
from workbench.evaluation.statistics import auc, cohens_d, interval, separation, wilson


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
