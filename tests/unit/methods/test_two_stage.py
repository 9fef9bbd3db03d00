"""Two stages: where the emotion decides what a movement means, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from duchenne.datasets import simulate
from duchenne.errors import InputError, UsageError
from duchenne.learn.calibration import logit, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear
from duchenne.methods import names
from duchenne.methods.stack import CombinedReader
from duchenne.methods.two_stage import FIRST, FOLDS, sharpened, sharpness
from duchenne.tabular.model import EMOTION_PENALTY


def turned(n=240, seed=0, clear=6.0):
    """Column 1 tells genuine of fear and posed of anger by the same number; column 0 and 30 more tell the emotion."""
    rng = np.random.default_rng(seed)
    y, what = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x = rng.normal(size=(n, 5))
    x[:, 0] += clear * what
    x[:, 1] += 4 * np.where(y == what, 1, -1)
    x = np.hstack([x, rng.normal(size=(n, 30)) + clear * what[:, None]])
    return x, y, np.array([f"p{i % 12}" for i in range(n)]), np.array(["anger", "fear"])[what]


@pytest.mark.parametrize(
    "first", [pytest.param(name, marks=[pytest.mark.slow] * (name == "extra-trees")) for name in FIRST]
)
def test_a_classifier_per_emotion_separates_what_one_cannot(first):
    x, y, who, what = turned()
    train, test = np.arange(240) < 160, np.arange(240) >= 160
    made = names.make(f"two-stage:{first}/linear-svm").fit_table(x[train], y[train], who[train], what[train])
    alone = names.make("linear-svm").fit_table(x[train], y[train], who[train], what[train])
    p = made.predict_table(x[test])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert roc_auc_score(y[test], p[:, 1]) > 0.95 and roc_auc_score(y[test], alone.predict_table(x[test])[:, 1]) < 0.7
    named = np.array(["anger", "fear"])[made.emotions(x[test]).argmax(axis=1)]
    assert (named == what[test]).mean() > 0.95


def test_sharpness_calibrates_the_first_stage():
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.ones(4), 4000)
    classes = np.array([rng.choice(4, p=row) for row in true])
    blunt = sharpened(true, 1 / 3)
    assert sharpness(true, classes) == pytest.approx(1, abs=0.1)
    assert sharpness(blunt, classes) == pytest.approx(3, abs=0.3)
    np.testing.assert_allclose(sharpened(blunt, 3.0), true, atol=1e-4)


def test_one_classifier_given_the_emotion_separates_too():
    x, y, who, what = turned(480)
    train, test = np.arange(480) < 320, np.arange(480) >= 320
    made = names.make("conditioned:boosting").fit_table(x[train], y[train], who[train], what[train])
    assert roc_auc_score(y[test], made.predict_table(x[test])[:, 1]) > 0.9


def test_a_certain_emotion_selects_its_classifier():
    x, y, who, what = turned(clear=1000.0)
    made = names.make("two-stage:extra-trees/linear-svm").fit_table(x, y, who, what)
    for emotion in ("anger", "fear"):
        mine = what == emotion
        judge = names.make("linear-svm").fit_table(x[mine], y[mine], who[mine])
        np.testing.assert_allclose(made.stages.p(x[mine], x[mine]), judge.predict_table(x[mine])[:, 1])


def test_calibration_uses_people_left_out():
    x, y, who, what = turned()
    made = names.make("two-stage:linear-svm").fit_table(x, y, who, what)
    z = np.zeros(len(y))
    for train, test in person_folds(who, FOLDS, 0):
        fear = (what == "fear").astype(int)
        inner, named = np.zeros((len(train), 2)), fear[train]
        for a, b in person_folds(who[train], FOLDS, 0):
            inner[b] = Linear.fit(x[train][a], named[a], EMOTION_PENALTY).probabilities(x[train][b])
        first = Linear.fit(x[train], named, EMOTION_PENALTY).probabilities(x[test]) ** sharpness(inner, named)
        first /= first.sum(axis=1, keepdims=True)
        said = [
            names.make("linear-svm").fit_table(x[m], y[m], who[m]).predict_table(x[test])[:, 1]
            for m in (np.isin(np.arange(len(y)), train) & (what == emotion) for emotion in ("anger", "fear"))
        ]
        z[test] = logit(first[:, 0] * said[0] + first[:, 1] * said[1])
    np.testing.assert_allclose(logit(made.out_of_fold), made.slope * z + made.intercept, atol=1e-6)


def test_a_given_emotion_replaces_the_estimate():
    x, y, who, what = turned()
    made = names.make("two-stage:linear-svm").fit_table(x, y, who, what)
    told = made.with_emotion("fear")
    np.testing.assert_allclose(told.emotions(x), np.tile([0.0, 1.0], (len(x), 1)), atol=1e-5)
    z = logit(made.stages.classifiers["fear"].predict_table(x)[:, 1])
    np.testing.assert_allclose(told.predict_table(x)[:, 1], sigmoid(made.slope * z + made.intercept), atol=1e-4)
    assert roc_auc_score(y[what == "anger"], told.predict_table(x)[what == "anger", 1]) < 0.1  # the wrong judge
    assert made.with_emotion("contempt") is made  # which no judge learnt
    assert made.emotions(x).std() > 0.1 and names.make("two-stage:linear-svm").with_emotion("fear").stages is None


def test_a_stack_passes_a_given_emotion_on():
    x, y, who, what = turned()
    made = names.make("stack:linear-svm+two-stage:linear-svm").fit_table(x, y, who, what)
    said, told = made.member_answers(x), made.with_emotion("fear").member_answers(x)
    np.testing.assert_array_equal(said[0], told[0])
    np.testing.assert_array_equal(told[1], made.members[1].with_emotion("fear").predict_table(x)[:, 1])
    assert np.abs(said[1] - told[1]).max() > 0.1


def test_an_emotion_of_too_few_people_gets_a_classifier_of_all():
    x, y, who, what = turned()
    what = np.where(np.arange(len(y)) < 3, "disgust", what)
    made = names.make("two-stage:linear-svm").fit_table(x, y, np.where(what == "disgust", "p0", who), what)
    everyone = names.make("linear-svm").fit_table(x, y, np.where(what == "disgust", "p0", who), what)
    np.testing.assert_allclose(made.stages.classifiers["disgust"].predict_table(x), everyone.predict_table(x))


def test_a_clip_that_cannot_be_read_gets_nan():
    x, y, who, what = turned()
    made = names.make("two-stage:linear-svm").fit_table(x, y, who, what)
    lame = x[:4].copy()
    lame[2] = np.nan
    p = made.predict_table(lame)[:, 1]
    assert np.isnan(p[2]) and np.isfinite(p[[0, 1, 3]]).all()
    np.testing.assert_allclose(p[[0, 1, 3]], made.predict_table(x[[0, 1, 3]])[:, 1])


def test_invalid_two_stage_methods_are_refused():
    x, y, who, what = turned(40)
    fresh = names.make("two-stage:linear-svm")
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_table(x)
    with pytest.raises(InputError, match="at least 2 emotions"):
        fresh.fit_table(x, y, who)
    with pytest.raises(InputError, match="at least 2 emotions"):
        fresh.fit_table(x, y, who, np.full(40, "fear"))
    with pytest.raises(UsageError, match="no method 'oracle'"):
        names.make("two-stage:oracle")
    with pytest.raises(UsageError, match="read emotion probabilities"):
        names.make("conditioned:descriptors")
    assert what.shape == (40,)


def test_a_classifier_of_sequences_gets_sequences_and_the_first_stage_rows():
    made = names.make("two-stage:lstm-pb")
    tracks = [simulate.track(simulate.KINDS[kind], 25.0, seed=i) for i, kind in enumerate(("posed", "genuine"))]
    table = made.table(tracks)
    rows, sequences = made.reader.parts(table)
    np.testing.assert_array_equal(rows, made.reader.readers[0].table(tracks))
    for mine, theirs in zip(sequences, made.reader.readers[1].table(tracks), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert isinstance(made.reader, CombinedReader) and hash(made.reader) == hash(names.make("two-stage:lstm-pb").reader)
