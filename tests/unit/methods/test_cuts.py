"""A model of whole clips beside one of clips without their start."""

from dataclasses import replace

import numpy as np
import pytest

from duchenne import checkpoints
from duchenne.learn.boosting import Recipe
from duchenne.learn.calibration import logit, sigmoid
from duchenne.methods import names
from duchenne.methods.copies import CUT_AWAY, REST, CopyReader, after_rest, without_start
from duchenne.methods.cuts import Cuts
from duchenne.methods.hybrid import Answer, Hybrid
from duchenne.tabular.appearance import Appearance
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Question
from families import cuts, tracks

COLUMNS, PEOPLE, EACH = 5, 12, 8


def small():
    recipe = Recipe(candidates=("linear",), folds=3, C=0.1, n_estimators=2)
    return DescriptorModel(tuple(f"c{i}" for i in range(COLUMNS)), recipe=recipe)


def clips():
    """Whole clips show the label in column 0, those without their start in column 1; column 4 tells them apart."""
    rng, x, y = np.random.default_rng(0), np.empty(PEOPLE * EACH, object), np.arange(PEOPLE * EACH) % 2
    for i in range(len(x)):
        both = rng.normal(size=(2, COLUMNS))
        both[[0, 1], [0, 1]] += 2 * (2 * y[i] - 1)
        both[1, 4] += 4
        whole, late = ((row, row) for row in both)
        x[i] = (whole, ((whole[0] + 0.1, whole[1]), late))
    return x, y, np.repeat(np.arange(PEOPLE), EACH).astype(str)


def _objects(items):
    out = np.empty(len(items), object)
    out[:] = items
    return out


@pytest.fixture(scope="module")
def fitted():
    x, y, who = clips()
    x[3], x[5] = None, (x[5][0], (x[5][1][0], None))
    return Cuts(Hybrid(small(), small()), Hybrid(small(), small()), small()).fit_table(x, y, who), x, y


def test_log_odds_are_weighted_by_the_chance_that_the_start_is_missing(fitted):
    model, x, _ = fitted
    wholes = np.empty(len(x), object)
    wholes[:] = [None if item is None else item[0] for item in x]
    first, second = (each.predict_table(wholes)[:, 1] for each in (model.whole, model.late))
    known = np.arange(len(x)) != 3
    weight = model.detector.predict_table(np.array([item[0] for item in wholes[known]]))[:, 1]
    expected = sigmoid((1 - weight) * logit(first[known]) + weight * logit(second[known]))
    found = model.predict_table(x)
    np.testing.assert_allclose(found[known, 1], expected, rtol=1e-12)
    assert np.isnan(found[3]).all() and np.isnan(model.out_of_fold[3]) and np.isfinite(model.out_of_fold[known]).all()


def test_clips_without_a_start_are_judged_by_the_model_that_knows_them(fitted):
    model, x, y = fitted
    known = [i for i in range(len(x)) if i not in (3, 5)]
    parts = np.empty(len(known), object)
    parts[:] = [(x[i][1][1], None) for i in known]
    late = model.detector.predict_table(np.array([x[i][1][1][0] for i in known]))[:, 1]
    assert late.mean() > 0.8 > 0.2 > model.detector.predict_table(np.array([x[i][0][0] for i in known]))[:, 1].mean()

    def right(p):
        return float(np.mean((p > 0.5) == y[known]))

    alone = model.whole.predict_table(_objects([x[i][1][1] for i in known]))[:, 1]
    assert right(model.predict_table(parts)[:, 1]) > right(alone) + 0.2


def test_a_start_is_left_out_the_same_way_each_time():
    shares = []
    for track in tracks(24, 4)[0]:
        part = without_start(track)
        assert part.time[0] == without_start(replace(track, source="other")).time[0] and part.time[-1] == track.time[-1]
        shares.append(1 - part.duration / track.duration)
    assert CUT_AWAY[0] - 0.02 < min(shares) < 0.2 < 0.3 < max(shares) < CUT_AWAY[1] + 0.02


def test_a_rest_holds_the_face_and_keeps_the_clip():
    track = tracks(24, 4)[0][0]
    found, again = after_rest(track), after_rest(track)
    rest = found.time < REST
    assert (np.diff(found.time) > 0).all() and found.duration == pytest.approx(track.duration + REST, abs=0.05)
    np.testing.assert_array_equal(found.points, again.points)
    np.testing.assert_array_equal(found.points[~rest], track.points)
    moved = found.points[rest] - track.points[0]
    assert 0.2 < moved.std() < 3 and rest.sum() == pytest.approx(REST * 25, abs=1)


def test_copies_have_the_crops_of_the_whole_clip():
    track, asked = tracks(24, 4)[0][0], []

    def cut(i, sample, reader):
        asked.append((i, sample))
        rows = reader.rows(sample)
        crops = np.random.default_rng(0).integers(0, 256, (len(sample), reader.side, reader.side, 1), np.uint8)
        return sample.take("cut", rows, crops[rows])

    looking, seen = Appearance(), {}

    def keep(i, sample, reader):
        seen[len(sample)] = cut(i, sample, reader)
        return seen[len(sample)]

    (pair,) = CopyReader(looking).with_cutter(cut).table([track])
    assert len(asked) == 2 and all(i == 0 and sample is track for i, sample in asked)
    assert all(np.isfinite(row).all() for row in pair)
    whole = looking.with_cutter(keep).table([track])[0]
    assert not np.allclose(pair[0], whole) and not np.allclose(pair[1], whole)
    part, (looks,) = without_start(track), seen.values()
    rows = looks.time >= part.time[0]
    own = looking.with_cutter(lambda *_: looks.take("", rows, looks.crops[rows])).table([part])
    np.testing.assert_allclose(pair[1], own[0])


def test_an_opinion_is_the_table_s_answer_and_survives_saving(tmp_path):
    found, labels, people, _ = tracks(24, 4)
    model = cuts().fit(found, labels, people)
    again = checkpoints.load_classifier(checkpoints.save(model, tmp_path / "m", name="m"))[0]
    expected = model.predict_proba(found[:2])[:, 1]
    np.testing.assert_allclose(again.predict_proba(found[:2])[:, 1], expected, atol=1e-6)
    opinion = again.opinion(Question(found[0]))
    assert opinion.p == pytest.approx(expected[0], abs=1e-6) and "begins in the middle" in opinion.steps[-1]
    assert again.part(DescriptorModel) is again.whole.descriptors and again.part(Cuts) is again


def test_answers_are_mixed_with_what_the_groups_pull():
    first = Answer(2.0, {"mouth": (1.0, 0.2), "eyes": (0.4, 0.0)}, 0.5, "a")
    found = first.mixed(Answer(-2.0, {"mouth": (-3.0, 0.4)}, 0.9, "b"), 0.25)
    assert (found.z, found.share, found.step) == (1.0, 0.375, "a")
    assert found.pulls["mouth"] == pytest.approx((0.0, 0.25)) and found.pulls["eyes"] == pytest.approx((0.3, 0.0))


def test_the_default_for_faces_of_a_mesh_is_such_a_model():
    assert isinstance(names.make("default"), Cuts) and isinstance(names.make("default:dynamics"), Hybrid)
