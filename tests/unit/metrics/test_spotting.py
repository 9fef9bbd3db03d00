"""Spotted intervals: by hand, and against trying every matching."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duchenne.errors import InputError, UsageError
from duchenne.metrics.spotting import iou, match, spotting_f1

INTERVALS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda i: (i[0], i[0] + i[1])), max_size=4)


def test_overlap_by_hand() -> None:
    assert iou((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert iou((0, 4), (1, 3)) == 0.5
    assert iou((0, 1), (1, 2)) == iou((0, 1), (5, 6)) == 0.0
    assert iou((0.25, 0.5), (0.25, 0.5)) == 1.0
    np.testing.assert_allclose(iou([[0, 2], [0, 4]], (1, 3)), [1 / 3, 0.5])
    # frames 10..19 and 15..24 at 30/s share 5 of 15
    assert iou((10 / 30, 20 / 30), (15 / 30, 25 / 30)) == pytest.approx(5 / 15)


def test_an_iou_at_the_threshold_is_a_match() -> None:
    assert match([(0, 4)], [(1, 3)]).tolist() == [[0, 0]]
    assert match([(0, 4.01)], [(1, 3)]).tolist() == []
    assert match([(0.1, 0.3)], [(0.2, 0.3)]).tolist() == [[0, 0]]  # 0.5 but for rounding


def test_two_spotted_for_one_true_are_one_hit_and_one_miss() -> None:
    assert match([(0, 10), (0, 9)], [(0, 9)]).tolist() == [[1, 0]]  # the better one
    counted = spotting_f1([[(0, 10), (0, 9)]], [[(0, 9)]])
    assert (counted["tp"], counted["fp"], counted["fn"]) == (1, 1, 0)


def test_two_pairs_are_preferred_to_the_best_pair() -> None:
    # the first of both is one interval; given up, each finds another, which shares less even taken together
    spotted, truth = [(0, 10), (0, 3)], [(0, 10), (7, 12)]
    assert iou(spotted[0], truth[0]) == 1 > iou(spotted[1], truth[0]) + iou(spotted[0], truth[1])
    assert match(spotted, truth, 0.2).tolist() == [[0, 1], [1, 0]]
    assert match(spotted, truth, 0.5).tolist() == [[0, 0]]


@given(INTERVALS, INTERVALS, st.sampled_from([0.2, 0.5, 0.75]))
def test_match_is_optimal(a: list, b: list, threshold: float) -> None:
    def exact(x: tuple[int, int], y: tuple[int, int]) -> float:
        frames = [set(range(*each)) for each in (x, y)]
        return len(frames[0] & frames[1]) / len(frames[0] | frames[1])

    best = (0, 0.0)
    for size in range(1, min(len(a), len(b)) + 1):
        for rows in combinations(range(len(a)), size):
            for columns in permutations(range(len(b)), size):
                shares = [exact(a[i], b[j]) for i, j in zip(rows, columns, strict=True)]
                if min(shares) >= threshold:
                    best = max(best, (size, sum(shares)))
    found = match(a, b, threshold)
    assert len(set(found[:, 0])) == len(set(found[:, 1])) == len(found) == best[0]
    assert all(exact(a[i], b[j]) >= threshold for i, j in found)
    assert sum(exact(a[i], b[j]) for i, j in found) == pytest.approx(best[1])


def test_scores_are_pooled_over_clips() -> None:
    spotted = [[(0, 1), (5, 6)], [], [(2, 3)]]
    truth = [[(0, 1.2)], [(1, 2), (3, 4)], [(2.1, 3)]]
    result = spotting_f1(spotted, truth)
    # 2 of 3 spotted are right and 2 of 4 are found; a mean over clips would be another number
    assert result == {"precision": 2 / 3, "recall": 0.5, "f1": pytest.approx(4 / 7), "tp": 2, "fp": 1, "fn": 2}
    assert spotting_f1(spotted, truth, threshold=0.95)["tp"] == 0
    nothing = spotting_f1([[], np.zeros((0, 2))], [[], []])
    assert all(np.isnan(nothing[name]) for name in ("precision", "recall", "f1"))
    assert spotting_f1([[]], [[(0, 1)]]) == pytest.approx(
        {"precision": np.nan, "recall": 0, "f1": 0, "tp": 0, "fp": 0, "fn": 1}, nan_ok=True
    )


def test_invalid_intervals_raise() -> None:
    for call, message in (
        (lambda: iou((1, 1), (0, 1)), "found 1 s to 1 s"),
        (lambda: match([(0, 1), (3, 2)], []), "found 3 s to 2 s"),
        (lambda: match([(0, 1)], [(0, np.nan)]), "found 0 s to nan s"),
        (lambda: match([(0, np.inf)], []), "found 0 s to inf s"),
        (lambda: match([(0, 1, 2)], []), "a start and an end"),
        (lambda: match([0.0, 1.0], []), "A list of intervals"),
        (lambda: spotting_f1([[]], []), "found 1 and 0 clips"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    for threshold in (0, 1.01, float("nan")):
        with pytest.raises(UsageError, match="threshold"):
            match([], [], threshold)
