"""A redundant method: past agreements counted by hand, each person judged without their own, and conflicts."""

from __future__ import annotations

import numpy as np
import pytest

from duchenne.datasets import simulate
from duchenne.errors import UsageError
from duchenne.learn.folds import person_folds
from duchenne.methods import names
from duchenne.methods.stack import FOLDS
from duchenne.types import Question

NAME = "redundant:linear-svm+boosting"


def people(n=96, seed=0):
    """Columns tell the label, not surely, and in fear the wrong way round."""
    rng = np.random.default_rng(seed)
    y, what = np.arange(n) % 2, np.array(["fear", "anger"])[np.arange(n) // 2 % 2]
    x = rng.normal(size=(n, 3))
    x[:, 1] += 1.5 * y * np.where(what == "fear", -0.2, 1)
    return x, y, np.array([f"p{i}" for i in np.arange(n) // 8]), what


def p_by_hand(patterns, y, what, pattern, emotion):
    """The merged share, with one case of each label, as eight cases of the emotion's."""
    alike = patterns == pattern
    prior = (y[alike].sum() + 1) / (alike.sum() + 2)
    own = alike & (what == emotion)
    return (y[own].sum() + 8 * prior) / (own.sum() + 8)


def test_p_is_how_often_such_votes_were_right_before_in_this_emotion():
    x, y, who, what = people()
    made = names.make(NAME).fit_table(x, y, who, what)
    votes, asked = np.zeros((len(y), 2), int), np.zeros((len(y), 2), int)
    for k, name in enumerate(("linear-svm", "boosting")):
        for train, test in person_folds(who, FOLDS, 0):
            member = names.make(name).fit_table(x[train], y[train], who[train], what[train])
            votes[test, k] = member.predict_table(x[test])[:, 1] > 0.5
        asked[:, k] = names.make(name).fit_table(x, y, who, what).predict_table(x)[:, 1] > 0.5
    patterns, now = votes @ [1, 2], asked @ [1, 2]
    expected = [p_by_hand(patterns, y, what, a, b) for a, b in zip(now, what, strict=True)]
    np.testing.assert_allclose(made.predict_table(x, what)[:, 1], expected, rtol=1e-9)
    given = [p_by_hand(patterns, y, what, a, "fear") for a in now]
    np.testing.assert_allclose(made.with_emotion("fear").predict_table(x)[:, 1], given, rtol=1e-9)
    apart = [
        p_by_hand(patterns[who != w], y[who != w], what[who != w], a, b)
        for a, b, w in zip(patterns, what, who, strict=True)
    ]
    np.testing.assert_allclose(made.out_of_fold, apart, rtol=1e-9)
    assert len(set(patterns.tolist())) > 2  # there were conflicts


def test_a_conflict_that_the_past_does_not_decide_is_a_reason_that_names_the_votes():
    tracks = [simulate.track((simulate.POSED, simulate.SPONTANEOUS)[i % 2], 25.0, seed=i) for i in range(8)]
    who, y = np.arange(8) // 2, np.arange(8) % 2
    made = names.make("redundant:linear-svm:movement+linear-svm:head")
    made.fit_table(made.table(tracks), y, who)
    made.counts[:] = 5.0  # every pattern of votes was right half of the time
    found = made.opinion(Question(tracks[0]))
    assert found.p == 0.5 and "past cases like this do not decide it" in found.reason
    assert "member linear-svm:movement says" in found.reason and "member linear-svm:head says" in found.reason
    made.counts[:, :, 0] = 50.0
    assert made.opinion(Question(tracks[0])).reason is None


def test_one_member_or_many_are_refused():
    for name in ("redundant:boosting", "redundant:" + "+".join(["boosting"] * 7)):
        with pytest.raises(UsageError, match="2 to 6 members"):
            names.make(name)
