"""Calibration, abstention, the linear model and person folds, each against an independent way to the answer."""

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from duchenne.learn.boosting import Recipe, Tabular, quantiles
from duchenne.learn.calibration import abstention_margin, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear


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


def test_sigmoid_is_safe_far_out():
    np.testing.assert_allclose(sigmoid(np.array([-1e6, -2.0, 0.0, 1e6])), [0, 1 / (1 + np.e**2), 0.5, 1])


def test_the_margin_by_hand():
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


def clips(n=120, d=6, seed=0):
    """(x, y): two informative columns, the others noise, some cells missing."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, d))
    x[:, :2] += 1.5 * y[:, None]
    x[rng.random((n, d)) < 0.05] = np.nan
    return x, y


def test_terms_and_bias_make_the_log_odds():
    x, y = clips()
    model = Linear.fit(x, y, 0.1)
    assert model.terms(x).shape == x.shape
    np.testing.assert_allclose(model.terms(x).sum(axis=1) + model.bias[0], model.logits(x)[:, 0])


def test_missing_and_wild_values_cannot_decide_alone():
    x, y = clips()
    model = Linear.fit(x, y, 0.1)
    missing, wild = np.full((1, 6), np.nan), np.tile(model.median, (1, 1))
    wild[0, 0] = 1e12
    assert model.logits(missing)[0, 0] == pytest.approx(model.bias[0])
    assert abs(model.logits(wild)[0, 0] - model.bias[0]) == pytest.approx(2 * abs(model.weights[0, 0]))


def test_class_probabilities_sum_to_one():
    x, _ = clips()
    kind = np.digitize(np.nan_to_num(x[:, 0]), [0.0, 1.0])
    p = Linear.fit(x, kind, 0.1).probabilities(x)
    assert p.shape == (len(x), 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == kind).mean() > 0.7


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(2, 8), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_no_person_stands_on_both_sides_of_a_fold(people, k, seed):
    groups = np.array([f"p{i}" for i in people])
    folds = list(person_folds(groups, k, seed))
    assert len(folds) == min(k, len(set(people)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(groups)))
    assert sorted(i for _, test in folds for i in test) == list(range(len(groups)))


def test_quantiles_pass_over_missing_cells():
    x = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan], [2.0, 8.0, np.nan]])
    np.testing.assert_allclose(quantiles(x, (0.0, 0.5, 1.0)), [[1, 4, 0], [2, 6, 0], [3, 8, 0]])


@pytest.mark.parametrize("member", ["boosting", "linear", "boosting+linear"])
def test_each_member_learns_and_explains_itself(member):
    x, y = clips()
    groups = np.arange(len(y)) % 12
    recipe = Recipe(rounds=20, columns=0.5, penalty=0.1, bag=2, members=(member,))
    model = Tabular(tuple("abcdef"), recipe).fit(x, y, groups)
    assert model.chosen == member
    assert bool(model.boosters) == ("boosting" in member) and (model.linear is not None) == ("linear" in member)
    assert model.out_of_fold is not None and ((model.out_of_fold >= 0.5) == y).mean() > 0.75
    rest = model.logit(x) - model.contributions(x).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)
    told = np.abs(model.contributions(x)).mean(axis=0)
    assert set(np.argsort(told)[-2:]) == {0, 1}


def test_predictions_for_unseen_people_are_not_those_of_the_fitted_model():
    x, y = np.random.default_rng(3).normal(size=(60, 8)), np.arange(60) % 2  # nothing to learn
    model = Tabular(
        tuple("abcdefgh"), Recipe(rounds=40, rate=0.05, rows=0.7, columns=1.0, members=("boosting",), bag=1)
    )
    model.fit(x, y, np.arange(60) // 4)
    assert model.out_of_fold is not None
    assert ((model.out_of_fold >= 0.5) == y).mean() < 0.7
    raw = model.boosters[0].predict(xgboost.DMatrix(x), output_margin=True)
    assert ((raw > 0) == y).mean() > 0.9
