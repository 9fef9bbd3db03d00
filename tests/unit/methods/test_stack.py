"""A stack: its answers from its members', recomputed by hand; pairs apart; names; clips that one member cannot read."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from duchenne.errors import InputError, UsageError
from duchenne.learn.calibration import logit
from duchenne.learn.folds import person_folds
from duchenne.learn.rank_svm import pairs
from duchenne.methods import names
from duchenne.methods.stack import FOLDS, CombinedReader, Stack
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import TableModel
from duchenne.types import Features


def people(n=96, seed=0):
    """Column 0 tells the label within a person only; column 1 tells it anywhere, not surely."""
    rng = np.random.default_rng(seed)
    y, who = np.arange(n) % 2, np.arange(n) // 4
    x = rng.normal(size=(n, 6))
    x[:, 0] = 50.0 * rng.normal(size=n // 4)[who] + 2 * y
    x[:, 1] += 1.5 * y
    return x, y, np.array([f"p{i}" for i in who]), np.array(["fear", "anger"])[np.arange(n) // 2 % 2]


def test_a_stack_is_a_logistic_regression_on_out_of_fold_log_odds():
    x, y, who, what = people()
    made = names.make("stack:linear-svm+boosting").fit_table(x, y, who, what)
    z, asked = np.zeros((len(y), 2)), np.zeros((len(y), 2))
    for column, name in enumerate(("linear-svm", "boosting")):
        for train, test in person_folds(who, FOLDS, 0):
            member = names.make(name).fit_table(x[train], y[train], who[train], what[train])
            z[test, column] = logit(member.predict_table(x[test])[:, 1])
        asked[:, column] = logit(names.make(name).fit_table(x, y, who, what).predict_table(x)[:, 1])
    mix = LogisticRegression(C=1.0).fit(z, y)
    np.testing.assert_allclose(made.weights, mix.coef_[0], rtol=1e-6)
    np.testing.assert_allclose(made.out_of_fold, mix.predict_proba(z)[:, 1], rtol=1e-6)
    np.testing.assert_allclose(made.predict_table(x), mix.predict_proba(asked), rtol=1e-6)
    assert made.rank_table(x) is None  # pairs are ranked by P(genuine)


def test_pairs_have_their_own_weights():
    x, y, who, what = people(160)
    train, test = np.arange(160) < 120, np.arange(160) >= 120
    made = names.make("stack:linear-svm+rank-svm").fit_table(x[train], y[train], who[train], what[train])
    rank, p = made.rank_table(x[test]), made.predict_table(x[test])[:, 1]
    genuine, posed = pairs(y[test], who[test], what[test])
    assert (rank[genuine] > rank[posed]).mean() > 0.95 > roc_auc_score(y[test], p)


def test_a_clip_that_a_member_cannot_read_has_no_answer_and_a_silent_member_is_an_error():
    x, y, who, what = people()
    table = np.empty(len(y), object)
    for i, row in enumerate(x):
        table[i] = (row, row[:3])
    makes = (partial(names.make, "linear-svm"), partial(names.make, "linear-svm:activity"))
    made = Stack(makes).fit_table(table, y, who, what)
    table[0] = (x[0], np.full(3, np.nan))
    table[1] = None
    p = made.predict_table(table)[:, 1]
    assert np.isnan(p[[0, 1]]).all() and np.isfinite(p[2:]).all()
    for i in range(len(y)):
        table[i] = (x[i], np.full(3, np.nan))
    with pytest.raises(InputError, match="member number 2 cannot be trained: Training needs usable clips"):
        Stack(makes).fit_table(table, y, who, what)


def test_members_are_told_the_emotion_that_the_stack_is_told():
    class Told(TableModel):
        """A member that answers by the emotion alone."""

        def predict_table(self, x, emotions=None):
            p = np.full(len(x), np.nan) if emotions is None else np.where(emotions == "fear", 0.9, 0.2)
            return np.column_stack([1 - p, p])

    x, y, who, what = people()
    made = Stack((lambda: Told(Reader(), "linear-svm"),)).fit_table(x, y, who, what)
    told = np.where(np.arange(len(y)) % 3 == 0, "fear", "anger")
    z = logit(np.where(told == "fear", 0.9, 0.2)) * made.weights[0] + made.bias
    np.testing.assert_allclose(logit(made.predict_table(x, told)[:, 1]), z)
    assert np.isnan(made.predict_table(x)).all()
    silent = Stack((partial(names.make, "linear-svm"), lambda: Told(Reader(), "linear-svm")), names=("one", "told"))
    with pytest.raises(InputError, match="member told gave no answer on people left out; leave it out"):
        silent.fit_table(x, y, who)


def test_names_may_hold_families_with_a_plus():
    made = names.make("stack:boosting:dynamics+activity+linear-svm")
    assert [reader.what for reader in made.reader.readers] == ["dynamics+activity", "all"]
    assert len(names.make("stack").makes) == 3
    with pytest.raises(UsageError, match="no method 'oracle'"):
        names.make("stack:oracle")


def test_readers_of_one_kind_share_one_table():
    rows = [Features(np.arange(3.0) + i, ("a", "b", "c"), f"t#{i}") for i in range(2)]
    same = CombinedReader((Reader("all"), Reader("all")))
    np.testing.assert_array_equal(same.table(rows), Reader("all").table(rows))
    other = CombinedReader((Reader("all"), Reader("nothing")))
    whole, nothing = other.parts(other.table(rows))
    np.testing.assert_array_equal(whole, Reader("all").table(rows))
    np.testing.assert_array_equal(nothing, np.zeros((2, 1)))


def test_it_refuses_before_it_is_fitted_and_with_one_label():
    x, y, who, what = people(16)
    fresh = names.make("stack:linear-svm+boosting")
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_table(x)
    with pytest.raises(InputError, match="both labels"):
        fresh.fit_table(x, np.ones(16, int), who, what)
    assert y.sum() == 8
