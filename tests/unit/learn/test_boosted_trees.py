"""Boosted trees that numpy follows, against XGBoost itself."""

from pathlib import Path

import numpy as np
import pytest
import xgboost

import duchenne
from duchenne import io
from duchenne.learn.boosted_trees import BoostedTrees

SHIPPED = sorted((Path(duchenne.__file__).parent / "weights").rglob("*-0.xgb.json"))


def rows(columns, count=80, seed=0):
    """Values with ties, of many sizes, one in five missing; the last row is missing as a whole."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(count, columns)) * rng.lognormal(size=columns)).round(1)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[-1] = np.nan
    return x


def both(booster):
    source = bytes(booster.save_raw("json"))
    return BoostedTrees.of(source, io.parse_json(source))


def check_log_odds(booster, x):
    trees, data = both(booster), xgboost.DMatrix(x, nthread=1)
    np.testing.assert_array_equal(trees.log_odds(x), booster.predict(data, output_margin=True))
    expected = booster.predict(data, pred_contribs=True)
    np.testing.assert_allclose(trees.contributions(x), expected[:, :-1], atol=1e-6 * max(1, np.abs(expected).max()))
    rest = trees.log_odds(x) - trees.contributions(x).sum(axis=1)
    np.testing.assert_allclose(rest, expected[0, -1], atol=1e-5)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.parent.name + "-" + path.parent.name)
def test_shipped_models_are_followed_as_by_xgboost(path):
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(path)
    check_log_odds(booster, rows(booster.num_features(), 20))


@pytest.mark.parametrize(("depth", "columns"), [(1, 3), (3, 6), (12, 3)])  # at 12, columns return along a path
def test_any_depth_is_followed_as_by_xgboost(depth, columns):
    x, y = rows(columns), np.arange(80) % 2
    settings = {"objective": "binary:logistic", "max_depth": depth, "min_child_weight": 0, "nthread": 1}
    check_log_odds(xgboost.train(settings, xgboost.DMatrix(x, label=y), 20), rows(columns, seed=1))


@pytest.mark.parametrize("classes", [2, 5])
def test_classes_are_followed_as_by_xgboost(classes):
    x, y = rows(4), np.arange(80) % 7 % classes
    settings = {"objective": "multi:softprob", "num_class": classes, "max_depth": 3, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(x, label=y), 10)
    np.testing.assert_allclose(both(booster).probabilities(x), booster.predict(xgboost.DMatrix(x)), atol=1e-6)


def test_a_base_score_as_older_versions_wrote_it():
    x, y = rows(4), np.arange(80) % 5 == 0
    source = bytes(xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, label=y), 5).save_raw("json"))
    found = io.parse_json(source)
    param = found["learner"]["learner_model_param"]
    expected = BoostedTrees.of(source, found).log_odds(x)
    param["base_score"] = param["base_score"].strip("[]")
    np.testing.assert_array_equal(BoostedTrees.of(source, found).log_odds(x), expected)


def test_rows_in_blocks_have_the_same_answer(monkeypatch):
    x, y = rows(4), np.arange(80) % 2
    trees = both(xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(x, label=y), 5))
    expected = trees.log_odds(x), trees.contributions(x)
    monkeypatch.setattr("duchenne.learn.boosted_trees._CELLS", 100)
    np.testing.assert_array_equal(trees.log_odds(x), expected[0])
    np.testing.assert_array_equal(trees.contributions(x), expected[1])
