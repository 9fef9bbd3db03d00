"""Calibration and abstention, each against an independent way to the answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from duchenne.learn.calibration import abstention_margin, platt, sigmoid


@pytest.mark.parametrize(("slope", "shift", "n"), [(0.4, 0.0, 200), (3.0, -1.0, 60), (-0.7, 0.5, 90)])
def test_platt_is_the_logistic_regression_on_smoothed_targets(slope, shift, n):
    rng = np.random.default_rng(n)
    z = rng.normal(size=n) * 2
    y = (rng.random(n) < sigmoid(slope * z + shift)).astype(int)
    positive, negative = y.sum(), n - y.sum()
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    # a soft target is two weighted hard ones
    hard = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(
        np.r_[z, z][:, None], np.r_[np.ones(n), np.zeros(n)], sample_weight=np.r_[target, 1 - target]
    )
    np.testing.assert_allclose(platt(z, y), (hard.coef_[0, 0], hard.intercept_[0]), atol=2e-4)


def test_platt_keeps_a_finite_slope_where_the_classes_part_cleanly():
    z = np.r_[np.full(20, -5.0), np.full(20, 5.0)]
    slope, intercept = platt(z, (z > 0).astype(int))
    # both sides are fitted exactly: P = 21/22 at z = 5
    assert 5 * slope + intercept == pytest.approx(np.log(21), abs=1e-3)
    assert intercept == pytest.approx(0, abs=1e-3)


def test_sigmoid_is_finite_for_large_inputs():
    np.testing.assert_allclose(sigmoid(np.array([-1e6, -2.0, 0.0, 1e6])), [0, 1 / (1 + np.e**2), 0.5, 1])


def test_abstention_margin_matches_a_worked_example():
    p = np.array([0.95, 0.10, 0.80, 0.25, 0.60, 0.45])
    sure_first = np.array([1, 0, 1, 0, 0, 1])  # the two least sure are wrong
    # accuracy of the surest 1..6: 1, 1, 1, 1, 4/5, 4/6
    assert abstention_margin(p, sure_first, 0.66) == 0.0
    assert abstention_margin(p, sure_first, 0.75) == pytest.approx(0.10)
    assert abstention_margin(p, sure_first, 0.90) == pytest.approx(0.25)
    # never right often enough: the surer half still speaks
    assert abstention_margin(p, 1 - sure_first, 0.90) == pytest.approx(0.25)


@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
@settings(max_examples=50, deadline=None)
def test_answers_beyond_the_margin_are_right_often_enough(seed, target):
    rng = np.random.default_rng(seed)
    p = rng.random(40)
    y = (rng.random(40) < p).astype(int)
    margin = abstention_margin(p, y, target)
    kept = np.abs(p - 0.5) >= margin
    assert kept.sum() >= 20
    right = ((p >= 0.5) == (y == 1))[kept].mean()
    reachable = any(((p >= 0.5) == (y == 1))[np.argsort(-np.abs(p - 0.5))[:k]].mean() >= target for k in range(20, 41))
    assert right >= target or not reachable
