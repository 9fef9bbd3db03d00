"""Scores of action units: by hand, against scikit-learn, and against the mean squares that define ICC(3,1)."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from duchenne.metrics.units import icc31, score_intensities, score_units

NAN = math.nan


def by_mean_squares(a, b):
    """ICC(3,1) as Shrout & Fleiss write it, from an analysis of variance of n rows and k = 2 columns."""
    table = np.column_stack([a, b])
    n, k = table.shape
    rows, columns, all_ = table.mean(axis=1), table.mean(axis=0), table.mean()
    between = k * ((rows - all_) ** 2).sum() / (n - 1)
    left = ((table - rows[:, None] - columns + all_) ** 2).sum() / ((n - 1) * (k - 1))
    return (between - left) / (between + (k - 1) * left)


def test_one_unit_by_hand():
    """Five coded and answered: 2 true, 1 false positive, 1 false, 1 true negative."""
    said = np.array([[0.9], [0.5], [0.7], [0.2], [0.1], [0.8], [NAN]])
    truth = np.array([[1.0], [1.0], [0.0], [1.0], [0.0], [NAN], [1.0]])
    found = score_units(said, truth, ["AU12"])
    unit = found["per_unit"]["AU12"]
    assert (found["rows"], unit["coded"], unit["positives"]) == (7, 5, 3)
    assert unit["base_rate"] == pytest.approx(3 / 5)
    assert unit["f1"] == found["mean_f1"] == pytest.approx(4 / 6)
    assert unit["f1_always"] == pytest.approx(2 * 0.6 / 1.6)
    assert unit["precision"] == unit["recall"] == pytest.approx(2 / 3)
    assert unit["accuracy"] == found["mean_accuracy"] == pytest.approx(3 / 5)
    assert unit["accuracy_absent"] == found["mean_accuracy_absent"] == pytest.approx(2 / 5)
    assert unit["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert unit["mcc"] == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))
    assert unit["f1_interval"] is None and found["mean_f1_interval"] is None


def test_scores_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 6)) < [0.5, 0.3, 0.1, 0.05, 0.8, 0.02]).astype(float)
    said = np.clip(0.3 * truth + rng.random((200, 6)) * 0.7, 0, 1)
    truth[rng.random(truth.shape) < 0.2] = NAN
    names = [f"AU{k}" for k in range(6)]
    found = score_units(said, truth, names)
    for k, name in enumerate(names):
        use = ~np.isnan(truth[:, k])
        y, called = truth[use, k].astype(int), said[use, k] >= 0.5
        unit = found["per_unit"][name]
        assert unit["f1"] == pytest.approx(reference.f1_score(y, called))
        assert unit["mcc"] == pytest.approx(reference.matthews_corrcoef(y, called))
        assert unit["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, called))
        assert unit["precision"] == pytest.approx(reference.precision_score(y, called))
        assert unit["accuracy"] == pytest.approx(reference.accuracy_score(y, called))
        assert unit["accuracy_absent"] == pytest.approx(reference.accuracy_score(y, np.zeros(len(y))))
        assert unit["f1_always"] == pytest.approx(reference.f1_score(y, np.ones(len(y))))
    assert found["mean_f1"] == pytest.approx(np.mean([unit["f1"] for unit in found["per_unit"].values()]))


def test_undefined_scores_are_nan():
    said = np.array([[0.9, 0.1, 0.2, 0.9], [0.8, 0.2, 0.3, 0.9], [0.7, 0.1, 0.1, 0.9]])
    truth = np.array([[NAN, 0.0, 1.0, 1.0], [NAN, 0.0, 0.0, 0.0], [NAN, 0.0, 0.0, 1.0]])
    units = score_units(said, truth, ["never coded", "never there", "never called", "always called"])["per_unit"]
    assert all(math.isnan(value) for key, value in units["never coded"].items() if key in ("f1", "mcc", "base_rate"))
    assert math.isnan(units["never there"]["f1"]) and math.isnan(units["never there"]["mcc"])
    assert units["never there"]["base_rate"] == 0.0 and math.isnan(units["never there"]["f1_always"])
    assert (units["never called"]["f1"], units["never called"]["mcc"]) == (0.0, 0.0)
    # one answer for all: as good as always saying so, and no better than chance
    assert units["always called"]["f1"] == units["always called"]["f1_always"] == pytest.approx(0.8)
    assert (units["always called"]["mcc"], units["always called"]["balanced_accuracy"]) == (0.0, 0.5)
    assert score_units(said, truth, list("abcd"))["mean_f1"] == pytest.approx((0.0 + 0.8) / 2)


def test_icc_by_hand_and_by_its_mean_squares():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0, 5.0])
    # cov = (1.5·1.25 + 0.5·1.25 + 0.5·0.75 + 1.5·1.75)/3 = 5.5/3, var = 5/3 and 6.75/3
    assert icc31(a, b) == pytest.approx(11 / 11.75) == pytest.approx(by_mean_squares(a, b))
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.normal(size=(2, 30)) + rng.normal(size=30)
        assert icc31(a, b) == pytest.approx(by_mean_squares(a, b))
    assert icc31(a, a + 3) == pytest.approx(1.0)  # consistency: an offset costs nothing
    assert icc31(a, -a) == pytest.approx(-1.0)
    assert icc31(a, np.full(30, 2.3)) == pytest.approx(0.0, abs=1e-12)  # one answer for all
    assert math.isnan(icc31(np.full(3, 0.1), np.full(3, 0.7))) and math.isnan(icc31(a[:1], b[:1]))
    assert icc31([*a, NAN, 1.0], [*b, 2.0, NAN]) == pytest.approx(icc31(a, b))


def test_intensities_by_hand():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 6, (50, 2)).astype(float)
    said = np.clip(truth + rng.normal(0, 1, truth.shape), 0, 5)
    truth[:10, 1] = NAN
    found = score_intensities(said, truth, ["AU6", "AU12"])
    for k, name in enumerate(("AU6", "AU12")):
        use, unit = ~np.isnan(truth[:, k]), found["per_unit"][name]
        y, x = truth[use, k], said[use, k]
        assert unit["coded"] == use.sum() and unit["base_rate"] == pytest.approx((y > 0).mean())
        assert unit["icc"] == pytest.approx(by_mean_squares(x, y))
        assert unit["mae"] == pytest.approx(reference.mean_absolute_error(y, x))
        assert unit["mae_median"] == pytest.approx(reference.mean_absolute_error(y, np.full(len(y), np.median(y))))
        assert unit["mse"] == pytest.approx(reference.mean_squared_error(y, x))
        assert unit["mse_absent"] == pytest.approx(reference.mean_squared_error(y, np.zeros(len(y))))
        assert unit["accuracy"] == pytest.approx(reference.accuracy_score(y, np.round(x)))
        assert unit["accuracy_absent"] == pytest.approx((y == 0).mean())
    for key in ("icc", "accuracy", "mse", "accuracy_absent", "mse_absent"):
        assert found[f"mean_{key}"] == pytest.approx(np.mean([unit[key] for unit in found["per_unit"].values()]))


def test_a_perfect_answer_and_one_off_by_a_level():
    truth = np.array([[0.0], [2.0], [5.0], [NAN]])
    right = score_intensities(truth.copy(), truth, ["AU12"])
    assert (right["mean_accuracy"], right["mean_mse"]) == (1.0, 0.0)
    near = score_intensities(np.array([[0.4], [2.5], [4.0], [1.0]]), truth, ["AU12"])  # 0, 3 and 4 when rounded
    assert near["mean_accuracy"] == pytest.approx(1 / 3) == near["mean_accuracy_absent"]
    assert near["mean_mse"] == pytest.approx((0.16 + 0.25 + 1) / 3)


def test_intervals_resample_persons():
    """Every person's images are alike, so a draw's F1 is that of whole persons, and the interval follows by hand."""
    truth = np.repeat([[1.0], [1.0], [0.0], [0.0]], 25, axis=0)
    said = np.repeat([[0.9], [0.1], [0.1], [0.9]], 25, axis=0)
    people = np.repeat(["a", "b", "c", "d"], 25)
    found = score_units(said, truth, ["AU1"], people, n=4000)
    rng, f1 = np.random.default_rng(9), []
    for _ in range(4000):
        a, b, _, d = np.bincount(rng.integers(0, 4, 4), minlength=4)
        f1.append(2 * a / (2 * a + b + d) if a + b + d else np.nan)
    assert found["per_unit"]["AU1"]["f1_interval"] == pytest.approx(np.nanpercentile(f1, (2.5, 97.5)), abs=0.05)
    assert found["mean_f1_interval"] == found["per_unit"]["AU1"]["f1_interval"]
    same = score_intensities(5 * said, 5 * truth, ["AU1"], people, n=200)
    low, high = same["per_unit"]["AU1"]["icc_interval"]
    assert low < same["mean_icc"] < high
    one = score_units(said, truth, ["AU1"], ["a"] * 100)
    assert all(math.isnan(end) for end in one["mean_f1_interval"])  # of one person nothing can be drawn


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: score_units(np.zeros((3, 2)), np.zeros((3, 1)), ["AU1"]), "Expected answers and labels"),
        (lambda: score_units(np.zeros((3, 1)), np.full((3, 1), 2.0), ["AU1"]), "must be 1"),
        (lambda: score_intensities(np.zeros((3, 1)), np.full((3, 1), 5.5), ["AU1"]), "from 0 to 5"),
        (lambda: score_units(np.zeros((3, 1)), np.zeros((3, 1)), ["AU1"], ["a", "b"]), "Each row needs a person"),
    ],
)
def test_other_shapes_and_labels_raise(call, fault):
    with pytest.raises(ValueError, match=fault):
        call()
