"""Scores of action units: presence and intensity, unit by unit, beside constant answers.

Accuracy is here because it is what Breuer & Kimmel (2017, arXiv:1705.01842, section 3.2) report for all units at once;
most units are absent from most images, so always predicting absence is nearly as accurate: `accuracy_absent`.

`predicted` and `truth` are (N, K), a row per image and a column per unit; NaN (not coded, not answered) is left out.
What cannot be computed is NaN. Intervals resample persons, as images of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from duchenne.metrics.intervals import percentiles, person_draws
from duchenne.metrics.ratios import mean_of_known, ratio
from duchenne.types import Array, Json

#: Intensities run from 0 (absent) to this.
MAX_INTENSITY = 5
_Scores = Callable[[Array], dict[str, Array]]


def score_units(
    predicted: Array,
    truth: Array,
    names: Sequence[str],
    subject: Iterable[object] | None = None,
    *,
    threshold: float = 0.5,
    n: int = 1000,
    seed: int = 0,
) -> Json:
    """Scores of units present (1) or absent (0), `predicted` being probabilities; pass all folds together.

    rows, threshold, mean_f1 and mean_f1_interval (over the units whose F1 is known), mean_accuracy,
    mean_accuracy_absent, and per_unit: name → coded, positives, base_rate, f1, f1_interval, f1_always (of always
    predicting 1: 2b / (1 + b)), accuracy, accuracy_absent (of always predicting 0: 1 − b), precision, recall,
    balanced_accuracy and mcc. Intervals [low, high] hold 95 % of the draws of persons with replacement; None without
    `subject`. ValueError for other shapes or labels.
    """
    predicted, truth, known = _checked(predicted, truth, names)
    if not np.isin(truth[known], (0, 1)).all():
        raise ValueError("Labels of action units must be 1 (present), 0 (absent) or NaN (not coded).")
    called, there = predicted >= threshold, truth == 1
    sums = np.stack([called & there, called & ~there, ~called & there, ~called & ~there], axis=-1) & known[..., None]
    totals = sums.sum(axis=0).astype(float)
    positives = totals[:, 0] + totals[:, 2]
    base = ratio(positives, totals.sum(-1))
    always = {"f1_always": np.where(base > 0, 2 * base / (1 + base), np.nan), "accuracy_absent": 1 - base}
    found = _of_counts(totals) | always
    columns = {"coded": known.sum(0), "positives": positives.astype(int), "base_rate": base, **found}
    return _report(columns, sums.astype(float), _of_counts, "f1", names, subject, n, seed) | {"threshold": threshold}


def score_intensities(
    predicted: Array,
    truth: Array,
    names: Sequence[str],
    subject: Iterable[object] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Json:
    """Scores of intensities, 0 (absent) to 5; pass all folds together.

    rows, mean_icc and mean_icc_interval, mean_accuracy, mean_accuracy_absent, mean_mse, mean_mse_absent, and per_unit:
    name → coded, base_rate (share above 0), icc, icc_interval (see `icc31`), mae (mean absolute error, in levels),
    mae_median (of always predicting the median), accuracy (share of predictions that, rounded, are the rounded level),
    mse (mean squared error, in levels², not rounded), and both of always predicting 0 as accuracy_absent, mse_absent.
    Intervals as in `score_units`. ValueError for other shapes or labels.
    """
    predicted, truth, known = _checked(predicted, truth, names)
    if not ((truth[known] >= 0) & (truth[known] <= MAX_INTENSITY)).all():
        raise ValueError(f"Intensities of action units must lie from 0 to {MAX_INTENSITY}, or be NaN (not coded).")
    a, b = np.where(known, predicted, 0.0), np.where(known, truth, 0.0)
    sums = np.stack([known * 1.0, a, b, a * a, b * b, a * b, np.abs(a - b)], axis=-1)
    columns: dict[str, Array] = {
        "coded": known.sum(0),
        "base_rate": ratio((b > 0).sum(0), known.sum(0)),
        **_of_moments(sums.sum(axis=0)),
        "mae_median": np.array([_spread(column[use]) for column, use in zip(truth.T, known.T, strict=True)]),
        "accuracy": ratio((known & (_level(a) == _level(b))).sum(0), known.sum(0)),
        "accuracy_absent": ratio((known & (_level(b) == 0)).sum(0), known.sum(0)),
        "mse_absent": ratio((b * b).sum(0), known.sum(0)),
    }
    return _report(columns, sums, _of_moments, "icc", names, subject, n, seed)


def icc31(predicted: Array, truth: Array) -> float:
    """ICC(3,1) of two columns (N,): intraclass correlation of single answers, two-way mixed model, consistency.

    Shrout & Fleiss (1979): (BMS − EMS) / (BMS + EMS), the mean squares between images and of what is left; with two
    columns this is 2 cov / (var + var), which is what is computed. A constant offset between the columns costs
    nothing. NaN for fewer than two pairs without NaN, and where neither column varies.
    """
    pair = np.column_stack([np.asarray(predicted, float), np.asarray(truth, float)])
    a, b = pair[np.isfinite(pair).all(axis=1)].T
    sums = np.array([len(a), a.sum(), b.sum(), a @ a, b @ b, a @ b, np.abs(a - b).sum()])
    return float(_of_moments(sums)["icc"])


def _of_counts(counts: Array) -> dict[str, Array]:
    """Scores (...) of counts (..., 4): true and false positives, false and true negatives."""
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    recall, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    margin = np.sqrt((tp + fp) * (tn + fn) * (tp + fn) * (tn + fp))
    # a constant answer scores 0; images of one class score nothing: NaN
    mcc = np.where(margin > 0, ratio(tp * tn - fp * fn, margin), np.where((tp + fn) * (tn + fp) > 0, 0.0, np.nan))
    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "precision": ratio(tp, tp + fp),
        "recall": recall,
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": mcc,
    }


def _of_moments(sums: Array) -> dict[str, Array]:
    """Scores (...) of sums (..., 7): count, a, b, a², b², ab, |a − b|."""
    n, a, b, aa, bb, ab, off = np.moveaxis(sums, -1, 0)
    spread = (n * aa - a * a) + (n * bb - b * b)
    # rounding leaves a little variance in constant columns
    varied = spread > 1e-9 * n * (aa + bb)
    icc = np.where(varied, ratio(2 * (n * ab - a * b), spread), np.nan)
    return {"icc": icc, "mae": ratio(off, n), "mse": ratio(np.maximum(aa - 2 * ab + bb, 0), n)}


def _report(
    columns: dict[str, Array],
    sums: Array,
    scores: _Scores,
    main: str,
    names: Sequence[str],
    subject: Iterable[object] | None,
    n: int,
    seed: int,
) -> Json:
    """Plain numbers of `columns` (K,) by unit, their means, and intervals of the score `main` from `sums` (N, K, M)."""
    each: list[list[float] | None] = [None] * len(names)
    whole = None
    if subject is not None:
        drawn = np.concatenate([scores(block)[main] for block in person_draws(sums, subject, n, seed)])
        each = [list(percentiles(column)) for column in drawn.T]
        whole = list(percentiles(mean_of_known(drawn)))
    per_unit = {
        name: {key: column[k].item() for key, column in columns.items()} | {f"{main}_interval": each[k]}
        for k, name in enumerate(names)
    }
    shown = [key for key in columns if key == main or key.startswith(("accuracy", "mse"))]
    means = {f"mean_{key}": float(mean_of_known(columns[key])) for key in shown}
    return {"rows": len(sums), **means, f"mean_{main}_interval": whole, "per_unit": per_unit}


def _checked(predicted: Array, truth: Array, names: Sequence[str]) -> tuple[Array, Array, Array]:
    """(predicted, truth, bool: which cells are answered and coded), all (N, K)."""
    predicted, truth = np.asarray(predicted, float), np.asarray(truth, float)
    if predicted.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != len(names):
        raise ValueError(f"Expected answers and labels (N, {len(names)}), found {predicted.shape} and {truth.shape}.")
    return predicted, truth, ~(np.isnan(predicted) | np.isnan(truth))


def _level(values: Array) -> Array:
    """Whole levels; a half rounds up."""
    return np.asarray(np.floor(values + 0.5))


def _spread(values: Array) -> float:
    return float(np.abs(values - np.median(values)).mean()) if len(values) else float("nan")
