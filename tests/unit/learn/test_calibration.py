"""Calibration and abstention, each against an independent way to the answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from duchenne.learn.calibration import abstention_margin, averaged, platt, sigmoid


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


def test_silence_ends_where_answers_are_right_in_six_of_ten():
    rng = np.random.default_rng(0)
    p = sigmoid(rng.normal(size=20_000))
    calibrated = (rng.random(len(p)) < p).astype(int)
    assert abstention_margin(p, calibrated) == pytest.approx(0.1, abs=0.01)  # P = .6 is right in .6
    assert abstention_margin(p, calibrated, 0.55) == pytest.approx(0.05, abs=0.02)
    boastful = (rng.random(len(p)) < 0.5 + (p - 0.5) / 2).astype(int)
    # .2 would silence more than half
    assert abstention_margin(p, boastful) == pytest.approx(np.median(np.abs(p - 0.5)))
    assert abstention_margin(p, boastful, 0.55) == pytest.approx(0.1, abs=0.02)


def test_all_answers_are_given_where_all_are_right_and_half_where_none_is():
    p = np.array([0.95, 0.10, 0.80, 0.25, 0.60, 0.45])
    right = (p > 0.5).astype(int)
    assert abstention_margin(p, right) == 0.0
    assert abstention_margin(p, 1 - right) == pytest.approx(0.275)


@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
@settings(max_examples=50, deadline=None)
def test_half_of_the_answers_are_always_kept(seed, least):
    rng = np.random.default_rng(seed)
    p = rng.random(40)
    margin = abstention_margin(p, (rng.random(40) < p).astype(int), least)
    assert 0 <= margin <= 0.5 and (np.abs(p - 0.5) >= margin).sum() >= 20


@pytest.mark.parametrize(("noise", "n"), [(1.5, 5), (0.5, 3)])
def test_the_mean_of_several_is_surer_by_what_two_of_them_differ(noise, n):
    """Beside the slope that is fitted to the mean itself; a fifth of the clips have a second answer."""
    rng = np.random.default_rng(n)
    y = np.arange(20_000) % 2
    each = (rng.normal(size=len(y)) + y)[:, None] + noise * rng.normal(size=(len(y), n + 2))
    z = each[:, n:].copy()
    z[4_000:, 1] = np.nan
    expected = platt(each[:, :n].mean(axis=1), y)[0] / platt(z[:, 0], y)[0]
    assert averaged(z, y, n) == pytest.approx(expected, rel=0.08)
    assert averaged(z, y, 1) == averaged(np.c_[z[:, 0], np.full(len(y), np.nan)], y, n) == 1
    assert averaged(np.c_[z[:, 0], -z[:, 0]], y, n) == pytest.approx(n)  # nothing in common: never more
