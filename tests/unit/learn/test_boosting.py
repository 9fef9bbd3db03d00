"""Boosting, the linear model and person folds, each against an independent way to the answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne.learn.boosting import Recipe, Tabular
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear, quantiles


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


def test_quantiles_ignore_missing_values():
    x = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan], [2.0, 8.0, np.nan]])
    np.testing.assert_allclose(quantiles(x, (0.0, 0.5, 1.0)), [[1, 4, 0], [2, 6, 0], [3, 8, 0]])
    x = clips(n=30, d=40)[0]
    np.testing.assert_array_equal(quantiles(x, (0.1, 0.5, 0.99)), np.nanquantile(x, (0.1, 0.5, 0.99), axis=0))


@pytest.mark.parametrize("member", ["boosting", "linear", "boosting+linear"])
def test_each_member_learns_and_explains_itself(member):
    x, y = clips()
    groups = np.arange(len(y)) % 12
    recipe = Recipe(n_estimators=20, colsample_bytree=0.5, C=0.1, n_boosters=2, candidates=(member,))
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
        tuple("abcdefgh"),
        Recipe(
            n_estimators=40,
            learning_rate=0.05,
            subsample=0.7,
            colsample_bytree=1.0,
            candidates=("boosting",),
            n_boosters=1,
        ),
    )
    model.fit(x, y, np.arange(60) // 4)
    assert model.out_of_fold is not None
    assert ((model.out_of_fold >= 0.5) == y).mean() < 0.7
    assert ((model.boosters[0].log_odds(x) > 0) == y).mean() > 0.9
