"""Several classes: against scikit-learn, against one-class-at-a-time counting, and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from duchenne.errors import UsageError
from duchenne.metrics import classes as c

ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40)


@given(ROWS)
@settings(deadline=None)  # scikit-learn's checks take long on a busy machine
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")  # a class that is said and never there; a single class
def test_scores_agree_with_scikit_learn(rows: list[tuple[str, str]]) -> None:
    said, true = (list(column) for column in zip(*rows, strict=True))
    names, matrix = c.confusion(said, true)
    assert matrix.tolist() == sk.confusion_matrix(true, said, labels=names).tolist()
    assert c.accuracy(matrix) == pytest.approx(sk.accuracy_score(true, said))
    assert c.uar(matrix) == pytest.approx(sk.balanced_accuracy_score(true, said))
    for name, average in ((c.uf1, "macro"), (c.weighted_f1, "weighted")):
        assert name(matrix) == pytest.approx(sk.f1_score(true, said, average=average, zero_division=0))
    precision, recall, _, _ = sk.precision_recall_fscore_support(true, said, labels=names, zero_division=np.nan)
    np.testing.assert_allclose(c.precision(matrix), precision)
    np.testing.assert_allclose(c.recall(matrix), recall)


def test_uf1_and_uar_by_hand_over_pooled_persons() -> None:
    # person 1 shows no surprise; negative: TP 2 FN 1 FP 1, positive: TP 1 FN 1 FP 1, surprise: TP 1 FN 0 FP 0
    true = ["negative", "negative", "positive", "negative", "positive", "surprise"]
    said = ["negative", "positive", "positive", "negative", "negative", "surprise"]
    result = c.score_classes(said, true, [1, 1, 1, 2, 2, 2], n=50)
    assert result["uf1"] == pytest.approx((4 / 6 + 2 / 4 + 1) / 3)
    assert result["uar"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["weighted_f1"] == pytest.approx((3 * 4 / 6 + 2 * 2 / 4 + 1) / 6)
    assert result["classes"] == ["negative", "positive", "surprise"]
    assert result["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert result["per_class"]["positive"] == {"rows": 2, "recall": 0.5, "precision": 0.5, "f1": 0.5}
    json.dumps(result)  # plain numbers


def test_a_class_neither_present_nor_predicted_does_not_count() -> None:
    _, matrix = c.confusion("aab", "aba", classes=["a", "b", "c"])
    assert c.uf1(matrix) == c.uf1(matrix[:2, :2]) and c.uar(matrix) == c.uar(matrix[:2, :2])
    assert np.isnan(c.f1(matrix)[2])
    # called once and never there: no recall of its own, but an F1 of 0
    _, matrix = c.confusion("aac", "aaa")
    assert c.uar(matrix) == pytest.approx(2 / 3) and c.uf1(matrix) == pytest.approx((4 / 5 + 0) / 2)


def test_unanswered_rows_are_left_out_and_counted() -> None:
    said, true = ["a", None, "b ", float("nan"), ""], ["a", "a", "b", "b", "c"]
    result = c.score_classes(said, true)
    assert (result["rows"], result["unanswered"], result["accuracy"]) == (5, 3, 1.0)
    assert result["classes"] == ["a", "b", "c"] and result["uf1_interval"] is None
    silence = c.score_classes([None], ["a"], ["x"])
    assert np.isnan(silence["uf1"]) and np.isnan(silence["uf1_interval"]).all()


def test_intervals_draw_persons() -> None:
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(7), 12)
    true = rng.choice(list("abc"), len(who))
    said = np.where(rng.random(len(who)) < 0.6, true, rng.choice(list("abc"), len(who)))
    result = c.score_classes(said, true, who, n=80)
    values = {"accuracy": [], "uf1": [], "uar": []}
    for draw in np.random.default_rng(0).integers(0, 7, (80, 7)):
        at = np.concatenate([np.flatnonzero(who == person) for person in draw])
        values["accuracy"].append(sk.accuracy_score(true[at], said[at]))
        values["uf1"].append(sk.f1_score(true[at], said[at], average="macro"))
        values["uar"].append(sk.balanced_accuracy_score(true[at], said[at]))
    for name, each in values.items():
        assert result[f"{name}_interval"] == pytest.approx(np.percentile(each, (2.5, 97.5)))
    assert np.isnan(c.score_classes(said, true, ["one"] * len(who))["uar_interval"]).all()


def test_rows_without_truth_raise() -> None:
    for call, message in (
        (lambda: c.confusion("ab", "abc"), "found 2 answers and 3 truths"),
        (lambda: c.confusion("ab", ["a", None]), r"Row 1 \(from 0\) has no true class"),
        (lambda: c.confusion("ax", "ab", "ab"), "'x' is not one of the classes a, b"),
        (lambda: c.score_classes("ab", "ab", "x"), "found 2 rows and 1 persons"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(UsageError, match="person"):
        c.score_classes("ab", "ab", ["x", None])
