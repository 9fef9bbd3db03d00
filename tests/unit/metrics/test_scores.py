"""Scores against scikit-learn, against brute force and against cases worked out by hand."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from duchenne import io
from duchenne import metrics as m
from duchenne.errors import UsageError
from duchenne.metrics import intervals

NAN = float("nan")
#: Probabilities on a coarse grid, so that ties are common.
ANSWERS = st.lists(st.tuples(st.integers(0, 10).map(lambda i: i / 10), st.booleans()), min_size=2, max_size=40)


def simulated_answers(seed: int = 0, persons: int = 12, skill: float = 0.2) -> tuple[Any, Any, Any, Any]:
    """p, y, subject, emotion of 20 clips each; every person has a tendency of their own."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(persons), 20)
    y = rng.integers(0, 2, len(subject))
    shift = rng.normal(0, 0.15, persons)[subject]
    p = np.clip(0.5 + skill * (y - 0.5) + shift + rng.normal(0, 0.1, len(y)), 0, 1)
    return p, y, subject, rng.choice(["fear", "anger"], len(y))


def interval(name: str, p: Any, y: Any, who: Any, n: int = 1000, seed: int = 0) -> Any:
    return m.score(p, y, who, n=n, seed=seed)[f"{name}_interval"]


@given(ANSWERS)
@settings(deadline=None)  # scikit-learn's checks take long on a busy machine
def test_scores_agree_with_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    called = p >= 0.5
    assert m.accuracy(p, y) == pytest.approx(sk.accuracy_score(y, called))
    assert m.brier(p, y) == pytest.approx(np.mean((p - y) ** 2))
    if called.any() or y.any():
        assert m.f1(p, y) == pytest.approx(sk.f1_score(y, called))
    if 0 < y.sum() < len(y):
        assert m.auc(p, y) == pytest.approx(sk.roc_auc_score(y, p))
        assert m.balanced_accuracy(p, y) == pytest.approx(sk.balanced_accuracy_score(y, called))
        assert m.brier(p, y) == pytest.approx(sk.brier_score_loss(y, p))


def test_missing_answers_are_left_out() -> None:
    p, y, subject, _ = simulated_answers()
    q, who = np.append(p, [NAN] * 3), np.append(subject, [1, 2, 99])
    z = np.append(y, [0, 1, 1])
    for name in ("accuracy", "balanced_accuracy", "auc", "f1", "brier", "ece"):
        assert getattr(m, name)(q, z) == getattr(m, name)(p, y)
    assert m.forced_pair_accuracy(q, z, who) == m.forced_pair_accuracy(p, y, subject)
    assert interval("auc", q, z, who, 50) == interval("auc", p, y, subject, 50)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "auc", "f1", "brier", "ece"])
def test_nothing_to_score_is_nan(name: str) -> None:
    assert np.isnan(getattr(m, name)([], []))
    assert np.isnan(getattr(m, name)([NAN], [1]))
    if name in ("auc", "balanced_accuracy"):
        assert np.isnan(getattr(m, name)([0.2, 0.9], [1, 1]))


def test_invalid_labels_and_probabilities_raise() -> None:
    for p, y, message in (
        ([0.5], [2], "y must hold"),
        ([0.5], [NAN], "y must hold"),
        ([0.5, 1], [1], "shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            m.accuracy(p, y)
    with pytest.raises(ValueError, match="between 0 and 1"):
        m.brier([1.5], [1])
    assert m.auc([-3.0, 7.0], [0, 1]) == 1.0  # a rank needs no probability


def test_ece_by_hand() -> None:
    # bin [.2, .3): two rows, mean p .25, share 0.5; bin [.9, 1]: two rows, mean p .95, share 1
    assert m.ece([0.2, 0.3 - 1e-9, 0.9, 1.0], [0, 1, 1, 1]) == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)
    assert m.ece([0.3, 0.7], [0, 1]) == pytest.approx(0.3)
    # one bin: only the mean counts
    assert m.ece([0.0, 1.0], [1, 0], bins=1) == pytest.approx(0.0)
    assert m.ece([0.0, 1.0], [1, 0], bins=2) == pytest.approx(1.0)


def test_ece_of_calibrated_probabilities_is_small() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20000)
    y = rng.random(20000) < p
    assert m.ece(p, y) < 0.02 < 0.2 < m.ece(p**3, y)


def test_forced_pairs_by_hand() -> None:
    #         a fear: .9 beats .2, ties .9   a anger: .1 loses to .3   b: genuine only
    p = [0.9, 0.2, 0.9, 0.1, 0.3, 0.7]
    y = [1, 0, 0, 1, 0, 1]
    subject = ["a", "a", "a", "a", "a", "b"]
    emotion = ["fear", "fear", "fear", "anger", "anger", "fear"]
    assert m.forced_pair_accuracy(p, y, subject, emotion) == (0.5, 3)
    value, pairs = m.forced_pair_accuracy(p, y, subject)
    assert (value, pairs) == (pytest.approx((1 + 0.5 + 1) / 6), 6)
    assert m.forced_pair_accuracy(p, y, ["a", None, "a", "a", "a", "b"], emotion) == (0.25, 2)
    value, pairs = m.forced_pair_accuracy([0.5], [1], ["a"], ["fear"])
    assert np.isnan(value) and pairs == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2), st.integers(0, 1)), max_size=30))
def test_forced_pairs_brute_force(rows: list[tuple[int, bool, int, int]]) -> None:
    won, count = 0.0, 0
    for a, b in product(rows, rows):
        if a[1] and not b[1] and a[2:] == b[2:]:
            count += 1
            won += (a[0] > b[0]) + 0.5 * (a[0] == b[0])
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    value, pairs = m.forced_pair_accuracy(*columns)
    assert pairs == count
    assert value == pytest.approx(won / count) if count else np.isnan(value)


def test_risk_coverage_by_hand_and_brute_force() -> None:
    coverage, right = m.risk_coverage([0.9, 0.1, 0.6, 0.4, NAN], [1, 1, 1, 0, 0])
    np.testing.assert_allclose(coverage, [0.4, 0.8])  # .9 and .1 are equally sure, and so are .6 and .4
    np.testing.assert_allclose(right, [0.5, 0.75])
    p, y, *_ = simulated_answers()
    for share, value in zip(*m.risk_coverage(p, y), strict=True):
        limit = np.sort(abs(p - 0.5))[::-1][round(share * len(p)) - 1]
        kept = abs(p - 0.5) >= limit - 1e-12
        assert kept.mean() == pytest.approx(share)
        assert ((p >= 0.5) == y)[kept].mean() == pytest.approx(value)
    assert [each.tolist() for each in m.risk_coverage([], [])] == [[], []]


# --- intervals and chance -----------------------------------------------------------------------------------


def test_bootstrap_draws_persons() -> None:
    # two persons, one always right, one never: a draw scores 0, 1/2 or 1, each extreme in a quarter of draws
    p, y, who = [0.9] * 50 + [0.1] * 50, [1] * 100, ["a"] * 50 + ["b"] * 50
    assert interval("accuracy", p, y, who) == [0.0, 1.0]
    rows = interval("accuracy", p, y, range(100))  # as if no person had two clips
    assert 0.38 < rows[0] < 0.42 and 0.58 < rows[1] < 0.62  # 0.5 ± 1.96 · 0.05


def test_bootstrap_is_repeatable_and_needs_two_persons() -> None:
    p, y, who, _ = simulated_answers()
    assert interval("auc", p, y, who, 99) == interval("auc", p, y, who, 99)
    low, high = interval("auc", p, y, who, 99, seed=1)
    assert low < m.auc(p, y) < high
    assert np.isnan(interval("auc", p, y, ["a"] * len(p))).all()
    with pytest.raises(UsageError, match="person"):
        interval("auc", p, y, [None] * len(p))


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    # persons' own rates are uniform in 0..1, so the mean over persons is 0.5; 95 % of 100 is 95 ± 2.2
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(40), 5)
        y = rng.random(200) < rng.random(40)[who]
        low, high = interval("accuracy", np.ones(200), y, who, 200, seed)
        hits += low <= 0.5 <= high
    assert hits >= 86


def test_permutation_separates_skill_from_chance() -> None:
    p, y, who, _ = simulated_answers(skill=0.2)
    assert m.permutation_p(m.auc, p, y, who, 199) == 1 / 200
    values = [m.permutation_p(m.auc, *simulated_answers(seed, skill=0.0)[:3], 49) for seed in range(40)]
    assert 0.35 < np.mean(values) < 0.65 and np.min(values) < 0.2


def test_permutation_gives_no_credit_for_recognising_persons() -> None:
    who = np.repeat(np.arange(10), 10)
    y = np.where(np.arange(100) % 10 < who, 1, 0)
    p = who / 10
    assert m.auc(p, y) > 0.8
    assert m.permutation_p(m.auc, p, y, who, 99) == 1.0
    assert np.isnan(m.permutation_p(m.auc, p, np.ones(100), who, 9))


# --- all of it ----------------------------------------------------------------------------------------------


def test_score_holds_every_metric(tmp_path: Path) -> None:
    p, y, who, what = simulated_answers()
    p[:3] = NAN
    result = m.score(p, y, who, what, n=60)
    assert (result["rows"], result["unanswered"], result["persons"]) == (240, 3, 12)
    assert result["genuine"] == pytest.approx(y[3:].mean())
    for name in ("accuracy", "balanced_accuracy", "auc", "f1", "brier"):
        low, high = result[f"{name}_interval"]
        assert result[name] == getattr(m, name)(p, y)
        assert low < result[name] < high
    assert (result["forced_pairs"], result["pairs"]) == m.forced_pair_accuracy(p, y, who, what)
    low, high = result["forced_pairs_interval"]
    assert low < result["forced_pairs"] < high
    assert 0 < result["permutation_p"] <= 1
    fear = result["per_emotion"]["fear"]
    assert list(result["per_emotion"]) == ["anger", "fear"]
    assert fear["auc"] == m.auc(p[what == "fear"], y[what == "fear"])
    assert fear["pairs"] + result["per_emotion"]["anger"]["pairs"] == result["pairs"]
    coverage = [row["coverage"] for row in result["risk_coverage"]]
    assert coverage == sorted(coverage) and coverage[-1] == pytest.approx(237 / 240)
    assert json.loads(io.write_json(tmp_path / "s.json", result).read_text()) == result


def test_score_without_persons_has_no_interval() -> None:
    p, y, *_ = simulated_answers()
    result = m.score(p, y)
    assert result["auc"] == m.auc(p, y) and result["auc_interval"] is None
    assert not {"forced_pairs", "permutation_p", "per_emotion", "persons"} & result.keys()


def test_score_without_answers_is_nan() -> None:
    result = m.score([NAN, NAN], [0, 1], ["a", "b"], ["fear", None])
    assert result["unanswered"] == 2 and np.isnan(result["auc"]) and np.isnan(result["auc_interval"]).all()
    assert result["risk_coverage"] == [] and np.isnan(result["permutation_p"])
    assert list(result["per_emotion"]) == ["fear"]


def test_interval_of_pairs_gives_each_drawn_copy_a_name_of_its_own() -> None:
    p, y, who, what = simulated_answers(persons=5)
    values = []
    for draw in np.random.default_rng(0).integers(0, 5, (80, 5)):
        rows = [np.flatnonzero(who == person) for person in draw]
        at, name = np.concatenate(rows), np.repeat(np.arange(5), [len(each) for each in rows])
        values.append(m.forced_pair_accuracy(p[at], y[at], name, what[at])[0])
    expected = np.percentile(values, (2.5, 97.5))
    assert m.score(p, y, who, what, n=80)["forced_pairs_interval"] == pytest.approx(expected)


# --- many at once -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25))
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "auc", "f1", "brier", "ece"])
def test_a_weight_equals_repeating_the_row(name: str, rows: list[tuple[int, bool, int]]) -> None:
    p, y, count = (np.array(column) for column in zip(*rows, strict=True))
    p, metric = p / 10, getattr(m, name)
    expected = metric(np.repeat(p, count), np.repeat(y, count))
    assert metric(p, y, count) == pytest.approx(expected, nan_ok=True) and isinstance(metric(p, y, count), float)
    weights = np.stack([count, np.ones(len(p)), np.zeros(len(p))])[None]
    found = metric(p, y, weights)
    assert found.shape == (1, 3)
    assert found[0] == pytest.approx([expected, metric(p, y), NAN], nan_ok=True)
    truths = np.stack([y, ~y])
    assert metric(p, truths) == pytest.approx([metric(p, y), metric(p, ~y)], nan_ok=True)


@given(ANSWERS, st.integers(0, 9))
@settings(deadline=None)
def test_weighted_scores_agree_with_scikit_learn(rows: list[tuple[float, bool]], seed: int) -> None:
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    w = np.random.default_rng(seed).random(len(p)) + 0.1  # any weights, not only counts
    assert m.accuracy(p, y, w) == pytest.approx(sk.accuracy_score(y, p >= 0.5, sample_weight=w))
    if 0 < y.sum() < len(y):
        assert m.auc(p, y, w) == pytest.approx(sk.roc_auc_score(y, p, sample_weight=w))
        assert m.brier(p, y, w) == pytest.approx(sk.brier_score_loss(y, p, sample_weight=w))


def test_weights_of_the_wrong_shape_raise() -> None:
    with pytest.raises(ValueError, match="shapes"):
        m.accuracy([0.5, 1], [1, 0], [1])
    with pytest.raises(ValueError, match="y must be a vector"):
        m.auc([0.5, 1], [[1, 0], [0, 1]], [1, 1])


@pytest.mark.parametrize("name", ["accuracy", "auc", "ece"])
def test_bootstrap_is_that_of_repeated_rows(name: str) -> None:
    p, y, who, _ = simulated_answers(2, persons=7)
    metric, values = getattr(m, name), []
    for draw in np.random.default_rng(3).integers(0, 7, (60, 7)):
        at = np.concatenate([np.flatnonzero(who == person) for person in draw])
        values.append(metric(p[at], y[at]))
    assert interval(name, p, y, who, 60, seed=3) == pytest.approx(np.percentile(values, (2.5, 97.5)))


def test_blocks_of_draws_are_one_stream() -> None:
    whole = np.concatenate(list(intervals.draws(9, 500, 4)))
    parts = list(intervals.draws(9, 500, 4, rows=2**13))
    assert len(parts) > 5 and max(len(part) for part in parts) * 2**13 <= 2**20
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole.sum(axis=1) == 9).all()


def test_shuffles_stay_within_persons_and_are_fair() -> None:
    person, y = np.array([0, 0, 0, 1, 1, 2]), np.array([True, False, False, True, False, True])
    drawn = np.concatenate(list(intervals.shuffles(y, person, 6000, 0)))
    assert drawn.shape == (6000, 6) and drawn.dtype == bool
    for who, count in ((0, 1), (1, 1), (2, 1)):
        assert (drawn[:, person == who].sum(axis=1) == count).all()
    # each row of a person is genuine equally often: 1/3 and 1/2, within 4 standard errors
    np.testing.assert_allclose(drawn.mean(axis=0), [1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2, 1], atol=4 * 0.5 / 6000**0.5)


def test_permutation_p_is_that_of_all_shuffles() -> None:
    # 2 of 4 rows of each of two persons are genuine: 6 · 6 labellings, all equally likely
    p, y, who = np.array([9, 5, 6, 1, 8, 3, 7, 2]), np.array([1, 1, 0, 0, 1, 0, 0, 1]), np.repeat([0, 1], 4)
    ways = [np.isin(np.arange(4), pair) for pair in combinations(range(4), 2)]
    better = [m.auc(p, np.concatenate(both)) >= m.auc(p, y) - 1e-12 for both in product(ways, ways)]
    exact = np.mean(better)
    assert 0.1 < exact < 0.9
    order = np.random.default_rng(1).permutation(8)  # the rows of a person need not lie together
    assert m.permutation_p(m.auc, p[order], y[order], who[order], 4000) == pytest.approx(exact, abs=0.032)


def test_a_rank_decides_forced_pairs_and_nothing_else() -> None:
    p, y, who, what = simulated_answers()
    rank = np.where(np.arange(len(p)) % 5 == 0, NAN, -p)
    plain, ranked = m.score(p, y, who, what, n=40), m.score(p, y, who, what, rank=rank, n=40)
    assert (ranked["forced_pairs"], ranked["pairs"]) == m.forced_pair_accuracy(rank, y, who, what)
    assert ranked["forced_pairs"] < 0.5 < plain["forced_pairs"]
    fear = what == "fear"
    wanted = m.forced_pair_accuracy(rank[fear], y[fear], who[fear])
    assert (ranked["per_emotion"]["fear"]["forced_pairs"], ranked["per_emotion"]["fear"]["pairs"]) == wanted
    others = [name for name in plain if "pair" not in name and name != "per_emotion"]
    assert len(others) > 15 and all(plain[name] == ranked[name] for name in others)
    # whom p does not answer for may still be ranked
    quiet = m.score(np.full(len(p), NAN), y, who, what, rank=p, n=40)
    assert quiet["forced_pairs_interval"] == pytest.approx(plain["forced_pairs_interval"])
    assert np.isnan(quiet["auc_interval"]).all() and quiet["persons"] == 0
