"""Out-of-fold answers: a spy for a model shows what reaches it, a hand-written loop what must come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne.datasets import splits
from duchenne.errors import InputError, UsageError
from duchenne.evaluation.crossval import Truth, crossval, represent
from duchenne.methods import names
from duchenne.types import Array, Classifier, Clip, Features, readable

NAMES = ("row", "label", "c", "d")


def simulated_rows(people: int = 6, each: int = 4, seed: int = 0) -> tuple[list[Features], list[Clip]]:
    """Rows that hold their own number and a noisy label; the fifth clip of a person, if any, is as the first."""
    rng = np.random.default_rng(seed)
    rows, clips = [], []
    for i in range(people * each):
        genuine = (i + i // each) % 2  # no two people in one order, so that a row that slips is seen
        rows.append(Features(np.array([i, genuine + rng.normal(), *rng.normal(size=2)]), NAMES, f"t.csv#{i}"))
        emotion = "fear" if i % 4 < 2 else None
        clips.append(Clip(f"{i}.mp4", f"p{i // each}", emotion, "genuine" if genuine else "posed"))
    return rows, clips


class Spy:
    """A model that writes down what it is given and answers with the number of the row."""

    def __init__(self, log: list[dict[str, Any]]) -> None:
        self.log = log

    def fit(self, tracks: list[Any], labels: Array, groups: Array, emotions: Array) -> None:
        self.log.append({"fit": tracks, "labels": labels, "groups": groups, "emotions": emotions, "model": self})

    def predict_proba(self, tracks: list[Any]) -> Array:
        assert self.log[-1]["model"] is self, "another model was fitted for this fold"
        self.log[-1]["asked"] = tracks
        p = np.array([track.values[0] / 1000 for track in tracks])
        return np.column_stack([1 - p, p])


def test_a_model_without_a_table_gets_samples_and_never_a_person_or_label_of_the_other_side():
    rows, clips = simulated_rows()
    log: list[dict[str, Any]] = []
    done: list[int] = []
    found = crossval(
        lambda: Spy(log), rows, clips, splits.by_person([c.subject for c in clips], 3, 0), on_fold=done.append
    )
    person = {id(row): clip.subject for row, clip in zip(rows, clips, strict=True)}
    truth = {id(row): clip for row, clip in zip(rows, clips, strict=True)}
    assert len(log) == 3 and done == [0, 1, 2]
    for fold in log:
        assert all(isinstance(sample, Features) for sample in fold["fit"] + fold["asked"])
        learnt, asked = ({person[id(sample)] for sample in fold[side]} for side in ("fit", "asked"))
        assert learnt and asked and not learnt & asked
        given_ = zip(fold["fit"], fold["labels"], fold["groups"], fold["emotions"], strict=True)
        for sample, label, group, emotion in given_:  # exactly of the training clips, each with its own
            clip = truth[id(sample)]
            assert (label, group, emotion) == (int(clip.label == "genuine"), clip.subject, clip.emotion or "")
    assert len({id(fold["model"]) for fold in log}) == 3
    np.testing.assert_allclose(found.p, np.arange(24) / 1000)  # every answer stands in its own clip's row
    np.testing.assert_array_equal(found.rank, found.p)
    assert found.sure.all() and set(found.fold.tolist()) == {0, 1, 2}


@given(st.integers(2, 7), st.integers(1, 4), st.integers(2, 7), st.integers(0, 99))
@settings(max_examples=25)
def test_no_person_is_trained_on_and_tested(people, each, k, seed):
    rows, clips = simulated_rows(people, each)
    log: list[dict[str, Any]] = []
    person = {row.values[0]: clip.subject for row, clip in zip(rows, clips, strict=True)}
    if k > people:
        with pytest.raises(UsageError, match="as many persons"):
            crossval(lambda: Spy(log), rows, clips, splits.by_person(list(person.values()), k, seed))
        return
    crossval(lambda: Spy(log), rows, clips, splits.by_person(list(person.values()), k, seed))
    asked = [sample.values[0] for fold in log for sample in fold["asked"]]
    assert sorted(asked) == list(range(people * each))  # each clip once
    for fold in log:
        sides = [{person[sample.values[0]] for sample in fold[side]} for side in ("fit", "asked")]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("name", ["linear-svm", "rank-svm"])
def test_answers_are_those_of_a_loop_written_by_hand(name):
    rows, clips = simulated_rows(8)
    x, y = np.array([row.values for row in rows]), np.array([clip.label == "genuine" for clip in clips]).astype(int)
    who, what = np.array([clip.subject for clip in clips]), np.array([clip.emotion or "" for clip in clips])
    p, rank, fold = np.full(32, np.nan), np.full(32, np.nan), np.full(32, -1)
    for number, (train, test) in enumerate(splits.by_person(who, 4, 1)):
        model = names.make(name, 5).fit_table(x[train], y[train], who[train], what[train])
        p[test], fold[test] = model.predict_table(x[test])[:, 1], number
        rank[test] = p[test] if name == "linear-svm" else model.rank_table(x[test])
    found = crossval(lambda: names.make(name, 5), rows, clips, splits.by_person(who, 4, 1))
    np.testing.assert_array_equal(found.p, p)
    np.testing.assert_array_equal(found.rank, rank)
    np.testing.assert_array_equal(found.fold, fold)
    assert found.fit > 0 and found.predict > 0
    assert (name == "rank-svm") == bool((found.rank != found.p).any())


def test_the_label_of_a_tested_clip_changes_no_answer():
    """Turn all labels of the tested people round: what was learnt from others must say the same of them."""
    rows, clips = simulated_rows(8)
    train, test = np.arange(16), np.arange(16, 32)
    turned = [
        clip
        if i < 16
        else Clip(clip.path, clip.subject, clip.emotion, "posed" if clip.label == "genuine" else "genuine")
        for i, clip in enumerate(clips)
    ]
    a, b = (crossval(lambda: names.make("boosting"), rows, given_, [(train, test)]) for given_ in (clips, turned))
    np.testing.assert_array_equal(a.p, b.p)
    assert np.isnan(a.p[:16]).all() and np.isfinite(a.p[16:]).all()
    assert (a.fold == np.where(np.arange(32) < 16, -1, 0)).all() and not a.sure[:16].any()


def test_empty_rows_are_not_answered_and_change_nothing():
    rows, clips = simulated_rows(8)
    empty = [Features(np.full(4, np.nan), NAMES, "t.csv") if i in (3, 17) else row for i, row in enumerate(rows)]
    folds = list(splits.by_person([c.subject for c in clips], 4, 0))
    found = crossval(lambda: names.make("rank-svm"), empty, clips, folds)
    assert np.flatnonzero(np.isnan(found.p)).tolist() == np.flatnonzero(np.isnan(found.rank)).tolist() == [3, 17]
    assert not found.sure[[3, 17]].any() and (found.fold >= 0).all()
    kept = [i for i in range(32) if i not in (3, 17)]
    place = {row: i for i, row in enumerate(kept)}
    fewer = [tuple(np.array([place[i] for i in side.tolist() if i in place]) for side in fold) for fold in folds]
    again = crossval(lambda: names.make("rank-svm"), [rows[i] for i in kept], [clips[i] for i in kept], fewer)
    np.testing.assert_allclose(found.p[kept], again.p)


def test_identity_reads_one_mean_row_per_person():
    rows, clips = simulated_rows(4)
    x = np.array([row.values for row in rows])
    x[5, 1] = np.nan  # left out of the mean of its person, clips 4 to 7
    x[8:12, 2] = np.nan  # a person without any
    x[15] = np.nan  # a clip that could not be read
    truth = Truth.of(clips)
    found = represent(names.BASELINES["identity"](0), x, truth.person)
    for first in (0, 4, 8):
        np.testing.assert_array_equal(found[first : first + 4], found[[first] * 4])
        np.testing.assert_allclose(found[first, 0], first + 1.5)  # the mean of four numbers in a row
    np.testing.assert_allclose(found[12:15, 0], 13)  # of 12, 13 and 14
    assert np.isnan(found[15]).all()
    np.testing.assert_allclose(found[4, 1], x[[4, 6, 7], 1].mean())
    assert np.isnan(found[8:12, 2]).all() and not np.isnan(np.delete(found[:15], 2, axis=1)).any()
    assert represent(names.make("linear-svm"), x, truth.person) is x


def test_identity_gives_all_clips_of_a_person_one_answer():
    rows, clips = simulated_rows(8)
    who = [clip.subject for clip in clips]
    found = crossval(lambda: names.BASELINES["identity"](0), rows, clips, splits.by_person(who, 4, 0))
    assert all(np.ptp(found.p[i : i + 4]) == 0 for i in range(0, 32, 4)) and np.ptp(found.p) > 0


# --- sequences ------------------------------------------------------------------------------------------------------


class Lengths(Classifier):
    """A model of sequences of any length, None where there is none: it says how long they are, and of which emotion."""

    reader, margin, recipe, out_of_fold = None, 0.0, "", None
    needs_emotions = True

    def table(self, tracks: list[Any]) -> Array:
        out = np.empty(len(tracks), object)
        for i, track in enumerate(tracks):
            out[i] = None if i in (3, 17) else np.full((i + 2, 80), track.values[0], np.float32)
        return out

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array) -> None:
        self.seen = [each for each in x if each is not None]
        assert x.dtype == object and len(x) == len(labels) == len(groups) == len(emotions)

    def predict_table(self, x: Array, emotions: Array) -> Array:
        assert not any(a is b for a in self.seen for b in x)
        p = np.array([np.nan if each is None else len(each) / 100 for each in x])
        p = p + np.where(emotions == "fear", 0.5, 0.0)
        return np.column_stack([1 - p, p])


def test_sequences_go_through_as_they_are_and_emotions_are_given_to_models_that_need_them():
    rows, clips = simulated_rows(8)
    who = [clip.subject for clip in clips]
    found = crossval(Lengths, rows, clips, splits.by_person(who, 4, 0))
    expected = np.array([(i + 2) / 100 + (0.5 if clip.emotion == "fear" else 0.0) for i, clip in enumerate(clips)])
    expected[[3, 17]] = np.nan  # by hand: the sequence of clip i has i + 2 frames
    np.testing.assert_allclose(found.p, expected)
    np.testing.assert_array_equal(found.rank, found.p)
    assert np.flatnonzero(~found.sure).tolist() == [3, 17] and (found.fold >= 0).all()


def test_readable_rows_of_a_table_and_of_sequences():
    x = np.array([[np.nan, np.nan], [np.nan, 1.0]])
    assert readable(x).tolist() == [False, True]
    sequences = np.empty(3, object)
    sequences[1] = np.zeros((4, 80))
    assert readable(sequences).tolist() == [False, True, False] and readable(sequences[:0]).dtype == bool


def test_invalid_arguments_raise():
    rows, clips = simulated_rows(4)
    with pytest.raises(InputError, match=r"^Person 'p1' is on both sides of a split"):
        crossval(lambda: names.make("linear-svm"), rows, clips, [(np.arange(6), np.arange(6, 16))])
    with pytest.raises(InputError, match=r"^2\.mp4 has no label"):
        crossval(lambda: Spy([]), rows, [*clips[:2], Clip("2.mp4", "p0"), *clips[3:]], [])
    with pytest.raises(UsageError, match="no person"):
        crossval(lambda: Spy([]), rows, [*clips[:-1], Clip("15.mp4", None, None, "posed")], [])
    with pytest.raises(InputError, match="found 15 tracks and 16 clips"):
        crossval(lambda: Spy([]), rows[:-1], clips, [])


def test_persons_are_identified_by_their_text():
    rows, clips = simulated_rows(4)
    spaced = [Clip(c.path, f"{c.subject} " if i == 1 else c.subject, None, c.label) for i, c in enumerate(clips)]
    with pytest.raises(InputError, match="Person 'p0' is on both sides"):
        crossval(lambda: Spy([]), rows, spaced, [(np.r_[0, 4:16], np.array([1, 2, 3]))])
