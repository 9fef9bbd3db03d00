"""Two methods on the same clips: against scipy, against every exchange of answers, and by hand."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, rankdata

from duchenne import metrics as m
from duchenne.errors import UsageError
from duchenne.metrics.paired import compare, mcnemar

NAN = float("nan")


def methods(seed: int = 0, persons: int = 6, clips: int = 8, gain: float = 0.3) -> tuple[Any, ...]:
    """p of a better and a worse method, y, subject, emotion; answers on a grid, so that ties occur."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(persons), clips)
    y = rng.integers(0, 2, len(who))
    noise = rng.normal(0, 0.25, (2, len(who)))
    a, b = (
        np.clip(0.5 + skill * (y - 0.5) + each, 0, 1).round(1) for skill, each in zip((gain, 0), noise, strict=True)
    )
    return a, b, y, who, rng.choice(["fear", "anger"], len(who))


@pytest.mark.parametrize("seed", range(3))
def test_p_is_the_share_over_all_exchanges(seed: int) -> None:
    a, b, y, who, what = methods(seed)
    result = compare(a, b, y, who, emotion=what, seed=seed)
    ranked = [rankdata(p) for p in (a, b)]
    wanted = {
        "accuracy": (m.accuracy, a, b),
        "auc": (m.auc, *ranked),
        "brier": (m.brier, a, b),
        "forced_pairs": (lambda p, truth: m.forced_pair_accuracy(p, truth, who, what)[0], a, b),
    }
    for name, (metric, one, other) in wanted.items():
        gaps = []
        for signs in product((False, True), repeat=6):  # 64 exchanges, of which the first is none
            swap = np.array(signs)[who]
            gaps.append(metric(np.where(swap, other, one), y) - metric(np.where(swap, one, other), y))
        found = result[name]
        assert found["difference"] == pytest.approx(gaps[0]) == found["a"] - found["b"]
        assert found["p"] == np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12)
    assert result["auc"]["a"] == pytest.approx(m.auc(a, y)) and result["auc"]["b"] == pytest.approx(m.auc(b, y))
    assert result["forced_pairs"]["pairs"] == m.forced_pair_accuracy(a, y, who, what)[1]


def test_drawn_exchanges_come_near_to_all() -> None:
    a, b, y, who, _ = methods(5, persons=12, gain=0.1)
    exact, drawn = (compare(a, b, y, who, n=n)["accuracy"]["p"] for n in (2**12, 2**12 - 1))
    assert 0.05 < exact < 0.95 and exact != drawn
    assert abs(exact - drawn) < 4 * np.sqrt(exact * (1 - exact) / 2**12)


def test_interval_is_of_the_difference_over_drawn_persons() -> None:
    a, b, y, who, what = methods(1)
    result = compare(a, b, y, who, emotion=what, n=90, seed=5)
    gaps: dict[str, list[float]] = {"accuracy": [], "auc": [], "brier": [], "forced_pairs": []}
    for draw in np.random.default_rng(5).integers(0, 6, (90, 6)):
        rows = [np.flatnonzero(who == person) for person in draw]
        at, copy = np.concatenate(rows), np.repeat(np.arange(6), [len(each) for each in rows])
        for name in ("accuracy", "auc", "brier"):
            gaps[name].append(getattr(m, name)(a[at], y[at]) - getattr(m, name)(b[at], y[at]))
        pairs = [m.forced_pair_accuracy(p[at], y[at], copy, what[at])[0] for p in (a, b)]
        gaps["forced_pairs"].append(pairs[0] - pairs[1])
    for name, values in gaps.items():
        assert result[name]["interval"] == pytest.approx(np.percentile(values, (2.5, 97.5)))


def test_a_method_equals_itself_and_order_only_changes_the_sign() -> None:
    a, b, y, who, what = methods()
    same = compare(a, a, y, who, emotion=what)
    for name in ("accuracy", "auc", "brier", "forced_pairs"):
        assert (same[name]["difference"], same[name]["interval"], same[name]["p"]) == (0, [0, 0], 1)
    assert same["mcnemar"]["p"] == 1
    one, other = compare(a, b, y, who), compare(b, a, y, who)
    assert one["auc"]["difference"] == pytest.approx(-other["auc"]["difference"])
    assert one["auc"]["p"] == other["auc"]["p"]
    assert one["auc"]["interval"] == pytest.approx([-each for each in other["auc"]["interval"][::-1]])


def test_auc_ignores_the_scale() -> None:
    a, b, y, who, _ = methods()
    assert compare(a, b, y, who, metrics=["auc"])["auc"] == compare(a, b**3 / 50, y, who, metrics=["auc"])["auc"]


def test_the_better_method_is_found_and_two_equal_ones_rarely_differ() -> None:
    a, b, y, who, _ = methods(persons=30, gain=0.5)
    found = compare(a, b, y, who, n=500)
    assert found["accuracy"]["p"] < 0.01 and found["auc"]["p"] < 0.01 and found["auc"]["interval"][0] > 0
    assert found["brier"]["difference"] < 0 and found["brier"]["interval"][1] < 0
    # under equal methods p <= 0.2 in at most about a fifth of 60 tables: 12 ± 3.1
    values = [compare(*methods(seed, persons=10, gain=0)[:4], metrics=["accuracy"], n=99) for seed in range(60)]
    assert np.sum([each["accuracy"]["p"] <= 0.2 for each in values]) <= 21
    assert np.sum([each["accuracy"]["p"] <= 0.6 for each in values]) >= 20


def test_persons_not_clips_are_resampled() -> None:
    # a is right on all 40 clips of one of 4 persons, b on none: many clips, but one person decides
    y, who = np.ones(160, int), np.repeat(np.arange(4), 40)
    a, b = np.ones(160), np.where(who == 0, 0.0, 1.0)
    result = compare(a, b, y, who, metrics=["accuracy"])
    assert result["mcnemar"]["p"] < 1e-11 and "independent" in result["mcnemar"]["note"]
    assert result["accuracy"]["p"] == 1.0  # exchanging this person turns the sign and no more
    assert result["accuracy"]["interval"][0] == 0.0


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30))
def test_mcnemar_is_the_binomial_test(rows: list[tuple[bool, bool, bool]]) -> None:
    a, b, y = np.array(rows, float).reshape(-1, 3).T
    found = mcnemar(a, b, y)
    only_a, only_b = ((a == y) & (b != y)).sum(), ((b == y) & (a != y)).sum()
    assert (found["only_a"], found["only_b"]) == (only_a, only_b)
    wanted = binomtest(int(only_a), int(only_a + only_b), 0.5).pvalue if only_a + only_b else 1.0
    assert found["p"] == pytest.approx(wanted)


def test_rows_that_one_did_not_answer_are_left_out() -> None:
    a, b, y, who, what = methods()
    more_a, more_b = np.append(a, [NAN, 0.9, NAN]), np.append(b, [0.1, NAN, NAN])
    found = compare(more_a, more_b, np.append(y, [1, 1, 0]), [*who, 0, 1, 99], emotion=[*what, "fear", "fear", ""])
    assert (found["rows"], found["unanswered"], found["persons"]) == (48, 3, 6)
    assert found | {"unanswered": 0} == compare(a, b, y, who, emotion=what)
    json.dumps(found)


def test_ranks_decide_forced_pairs_where_given() -> None:
    a, b, y, who, what = methods()
    rank = y * 2.0  # tells every pair
    rank[0] = NAN
    found = compare(a, b, y, who, emotion=what, rank_a=rank)["forced_pairs"]
    alone = np.where(np.isnan(rank), NAN, b)
    assert (found["b"], found["pairs"]) == m.forced_pair_accuracy(alone, y, who, what)
    assert found["a"] == 1.0


def test_nothing_to_compare_gives_nan_or_raises() -> None:
    silence = compare([NAN], [0.5], [1], ["a"], emotion=["fear"])
    assert silence["rows"] == 0 and np.isnan(silence["accuracy"]["p"]) and silence["mcnemar"]["p"] == 1
    one = compare([0.9, 0.8], [0.1, 0.9], [1, 1], ["a", "a"])
    assert one["accuracy"]["difference"] == 0.5 and np.isnan(one["accuracy"]["interval"]).all()
    assert np.isnan(one["auc"]["p"]) and np.isnan(one["auc"]["a"])  # one class
    with pytest.raises(UsageError, match="'luck'; choose among: accuracy"):
        compare([0.5], [0.5], [1], ["a"], metrics=["luck"])
    with pytest.raises(UsageError, match="person"):
        compare([0.5], [0.5], [1], [None])
    with pytest.raises(ValueError, match="found 1, 2, 1, 1"):
        compare([0.5], [0.5, 1], [1], ["a"])
