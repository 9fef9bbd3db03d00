"""No person on both sides, ever; each row tested once; refusal without persons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from duchenne.datasets.splits import Split, by_person, cross, fixed, leave_one_person_out
from duchenne.errors import UsageError

PERSONS = st.lists(st.integers(0, 12) | st.sampled_from(["a", "b ", " b", "Ünal"]), min_size=2, max_size=60)


def check(splits: Iterator[Split], subjects: list[object]) -> list[list[int]]:
    """Assert what every split promises; return the tested rows of each."""
    names = [str(subject).strip() for subject in subjects]
    tested: list[list[int]] = []
    for train, test in splits:
        assert len(train) and len(test)
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(names)))
        assert not {names[i] for i in train} & {names[i] for i in test}
        tested.append(test.tolist())
    assert sorted(row for rows in tested for row in rows) == list(range(len(names)))
    return tested


@given(PERSONS, st.integers(2, 6), st.integers(0, 5))
def test_by_person_keeps_persons_apart(subjects: list[object], k: int, seed: int) -> None:
    assume(len({str(s).strip() for s in subjects}) >= k)
    tested = check(by_person(subjects, k, seed), subjects)
    assert len(tested) == k
    assert tested == [test.tolist() for _, test in by_person(subjects, k, seed)]
    most = max(Counter(str(s).strip() for s in subjects).values())
    sizes = [len(rows) for rows in tested]
    assert max(sizes) - min(sizes) <= most


@given(PERSONS)
def test_leave_one_person_out_keeps_persons_apart(subjects: list[object]) -> None:
    names = {str(s).strip() for s in subjects}
    assume(len(names) >= 2)
    assert len(check(leave_one_person_out(subjects), subjects)) == len(names)


@given(PERSONS, st.integers(2, 4))
def test_fixed_follows_the_given_folds(subjects: list[object], k: int) -> None:
    folds = [f"f{sum(map(ord, str(s).strip())) % k}" for s in subjects]
    assume(len(set(folds)) > 1)
    tested = check(fixed(folds, subjects), subjects)
    assert [{folds[i] for i in rows} for rows in tested] == [{name} for name in sorted(set(folds))]


def test_folds_depend_on_the_seed_not_on_row_order() -> None:
    subjects = np.repeat(np.arange(20), np.arange(1, 21))
    shuffled = np.random.default_rng(0).permutation(subjects)

    def together(rows: np.ndarray, seed: int) -> list[set[int]]:
        return [set(rows[test].tolist()) for _, test in by_person(rows, 5, seed)]

    assert together(subjects, 3) == together(shuffled, 3)
    assert together(subjects, 3) != together(subjects, 4)


def test_equal_persons_make_equal_folds() -> None:
    sizes = [len(test) for _, test in by_person(np.repeat(np.arange(12), 7), 4, 0)]
    assert sizes == [21] * 4


@pytest.mark.parametrize("subjects", [None, [], ["a", None], ["a", ""], ["a", " "], [1.0, float("nan")]])
def test_missing_persons_raise(subjects: list[object] | None) -> None:
    for split in (
        lambda: by_person(subjects, 2, 0),
        lambda: leave_one_person_out(subjects),
        lambda: fixed(["x", "y"], subjects),
    ):
        with pytest.raises(UsageError, match="person"):
            split()


def test_invalid_arguments_raise_at_once() -> None:
    for split, message in (
        (lambda: by_person("aab", 3, 0), "3 folds need as many persons, found 2"),
        (lambda: by_person("aab", 1, 0), "Expected at least 2 folds, found 1"),
        (lambda: leave_one_person_out("aaa"), "at least 2 persons"),
        (lambda: fixed("xxx", "abc"), "found only 'x'"),
        (lambda: fixed("xyx", "aab"), "Person 'a' is in the folds 'x' and 'y'"),
        (lambda: fixed("xy", "aab"), "found 2 folds, 3 persons"),
        (lambda: fixed(None, "aab"), "The fold of every row is needed"),
        (lambda: fixed(["x", None], "ab"), r"Row 1 \(from 0\) has no fold"),
    ):
        with pytest.raises(UsageError, match=message):
            split()


@pytest.mark.parametrize("name", ["train", "Training", " TRAIN "])
def test_folds_named_train_are_never_tested(name: str) -> None:
    splits = list(fixed([name, "val", "test", name, "val"], "abcab"))
    assert [[rows.tolist() for rows in split] for split in splits] == [[[0, 3], [2]], [[0, 3], [1, 4]]]
    with pytest.raises(UsageError, match="found only 'train'"):
        fixed(["train", "train"], "ab")
    with pytest.raises(UsageError, match="Person 'a' is in the folds 'train' and 'test'"):
        fixed(["train", "test"], "aa")
    with pytest.raises(UsageError, match="Person 'b' is in the folds 'val' and 'test'"):
        fixed(["train", "val", "test"], "abb")


def test_cross_trains_on_one_data_set_and_tests_another_both_ways() -> None:
    found = [(learnt, tested, train.tolist(), test.tolist()) for learnt, tested, train, test in cross("zyzxy", "abacd")]
    rows = {"x": [3], "y": [1, 4], "z": [0, 2]}
    expected = [("x", "y"), ("x", "z"), ("y", "x"), ("y", "z"), ("z", "x"), ("z", "y")]
    assert found == [(a, b, rows[a], rows[b]) for a, b in expected]


def test_fixed_and_cross_raise_at_once() -> None:
    for split, message in (
        (lambda: cross(None, "ab"), "The data set of every row is needed"),
        (lambda: cross(["x", ""], "ab"), r"Row 1 \(from 0\) has no data set"),
        (lambda: cross("xx", "ab"), "At least 2 data sets .* found only 'x'"),
        (lambda: cross("xy", "abc"), "found 2 data sets, 3 persons"),
        (lambda: cross(["x", "y"], ["1", 1]), "Person '1' is in the data sets 'x' and 'y'; .* rename one"),
    ):
        with pytest.raises(UsageError, match=message):
            split()
