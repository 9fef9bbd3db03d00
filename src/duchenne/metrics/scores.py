"""Scores of P(genuine), with intervals over persons, as clips of one person are not independent.

`p` is float (N,), the probability of "genuine"; `y` is (N,), 1 genuine and 0 posed. Rows with NaN p were not
answered and are left out. p >= 0.5 counts as "genuine". What cannot be computed (one class only) is NaN.

A metric also takes `weights`, how often each row counts. Where these, or without them `y`, are (..., N), it scores
them all at once and gives float64 (...); that is how a thousand draws cost little more than a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from duchenne.datasets.splits import persons
from duchenne.io import is_missing, person
from duchenne.metrics.intervals import draws, percentiles, shuffles
from duchenne.metrics.ratios import Score, ratio
from duchenne.types import Array, Json

#: (p, y, weights=None) → float, or float64 (...) where weights, or y without weights, are (..., N).
Metric = Callable[..., Score]


def accuracy(p: Array, y: Array, weights: Array | None = None) -> Score:
    """Share of rows classified correctly."""
    p, y, w = _answered(p, y, weights)
    return ratio(_total((p >= 0.5) == y, w), _total(np.ones(len(p)), w))


def balanced_accuracy(p: Array, y: Array, weights: Array | None = None) -> Score:
    """Mean of the share of genuine rows called genuine and the share of posed rows called posed."""
    p, y, w = _answered(p, y, weights)
    called = p >= 0.5
    return (ratio(_total(y & called, w), _total(y, w)) + ratio(_total(~y & ~called, w), _total(~y, w))) / 2


def auc(p: Array, y: Array, weights: Array | None = None) -> Score:
    """Chance that a genuine row has a higher p than a posed one, ties count half (Mann-Whitney U / n₁n₀)."""
    p, y, w = _answered(p, y, weights)
    if w is None:
        inner = np.sort(p)
        rank = (np.searchsorted(inner, p) + np.searchsorted(inner, p, "right") + 1) / 2
        genuine = _total(y, None)
        return ratio(y @ rank - genuine * (genuine + 1) / 2, genuine * _total(~y, None))
    order = np.argsort(p, kind="stable")
    low, high = order[~y[order]], order[y[order]]
    below = np.zeros((*w.shape[:-1], len(low) + 1))  # how many posed rows count among the first 0, 1, 2, …
    np.cumsum(np.take(w, low, axis=-1), axis=-1, out=below[..., 1:])
    lost, tied = np.searchsorted(p[low], p[high]), np.searchsorted(p[low], p[high], "right")
    wins = np.take(below, lost, axis=-1)
    if (lost != tied).any():
        wins = (wins + np.take(below, tied, axis=-1)) / 2
    return ratio(np.einsum("...n,...n->...", np.take(w, high, axis=-1), wins), _total(y, w) * below[..., -1])


def f1(p: Array, y: Array, weights: Array | None = None) -> Score:
    """2 TP / (2 TP + FP + FN), "genuine" being positive; NaN where no truth and no call is genuine."""
    p, y, w = _answered(p, y, weights)
    called = p >= 0.5
    return ratio(2 * _total(called & y, w), _total(called, w) + _total(y, w))


def brier(p: Array, y: Array, weights: Array | None = None) -> Score:
    """Mean squared distance of p from the truth: 0 is perfect, always 0.5 gets 0.25."""
    p, y, w = _probabilities(p, y, weights)
    return ratio(_total((p - y) ** 2, w), _total(np.ones(len(p)), w))


def ece(p: Array, y: Array, weights: Array | None = None, bins: int = 10) -> Score:
    """Expected calibration error: Σ over bins of (rows in bin / N) · |share genuine − mean p|.

    The bins are of equal width in P(genuine), [0, 1/bins), …, [1 − 1/bins, 1]; empty ones count nothing.
    """
    p, y, w = _probabilities(p, y, weights)
    at = np.minimum((p * bins).astype(int), bins - 1)
    gap = p - y
    gaps = sum(np.abs(_total(np.where(at == each, gap, 0), w)) for each in np.unique(at))
    return ratio(gaps, _total(np.ones(len(p)), w))


def forced_pair_accuracy(
    p: Array, y: Array, subject: Iterable[object], emotion: Iterable[object] | None = None
) -> tuple[float, int]:
    """Of two clips of one person and emotion, one genuine and one posed: how often p orders them correctly.

    Returns (share right, number of pairs) over all such pairs together; a tie counts half. Rows without
    person or emotion (None, empty) form no pair. Without `emotion` pairs are of one person only.
    """
    right, pairs = pair_rows(p, y, subject, emotion)
    return ratio(right.sum(), pairs.sum()), int(pairs.sum())


def pair_rows(
    p: Array, y: Array, subject: Iterable[object], emotion: Iterable[object] | None = None
) -> tuple[Array, Array]:
    """(right, pairs), both float64 (N,): what each genuine row adds to `forced_pair_accuracy`; 0 elsewhere.

    A row is paired with the posed rows of its own person and emotion only, so the sums over any draw of whole
    persons follow from these; a person drawn twice counts twice and forms no pairs with its own copy.
    """
    groups = _pair_groups(subject, emotion)
    _answered(p, y)  # checks y and the shapes
    p, truth = np.asarray(p, float), np.asarray(y).astype(bool)
    if groups.shape != p.shape:
        raise ValueError(f"Each row needs a person and an emotion, found {len(p)} rows and {len(groups)} of these.")
    right, pairs = np.zeros(len(p)), np.zeros(len(p))
    use = np.flatnonzero((groups >= 0) & ~np.isnan(p))
    order = use[np.lexsort((p[use], groups[use]))]
    group, value, posed = groups[order], p[order], np.insert(np.cumsum(~truth[order]), 0, 0)
    first, last = np.searchsorted(group, group), np.searchsorted(group, group, "right")
    start = np.ones(len(order) + 1, bool)  # of each run of equal p within a group, and the end of all
    start[1:-1] = (group[1:] != group[:-1]) | (value[1:] != value[:-1])
    edges, run = np.flatnonzero(start), np.cumsum(start[:-1]) - 1
    low, high = edges[run], edges[run + 1]
    right[order] = truth[order] * ((posed[low] + posed[high]) / 2 - posed[first])
    pairs[order] = truth[order] * (posed[last] - posed[first])
    return right, pairs


def risk_coverage(p: Array, y: Array) -> tuple[Array, Array]:
    """(coverage, accuracy), both float64 (K,): accuracy if only the most confident rows are answered.

    Rows are ordered by |p − 0.5|, most confident first; ties are answered together, so K <= N. Coverage
    is the share of all N rows, those with NaN p included: it ends below 1 if some were not answered.
    """
    total = len(np.asarray(p))
    p, y, _ = _answered(p, y)
    confidence = np.round(np.abs(p - 0.5), 12)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(((p >= 0.5) == y)[order])
    last = np.flatnonzero(np.diff(confidence[order], append=-1.0))
    return (last + 1) / max(total, 1), right[last] / (last + 1)


# --- intervals and chance -----------------------------------------------------------------------------------


def permutation_p(metric: Metric, p: Array, y: Array, groups: Iterable[object], n: int = 1000, seed: int = 0) -> float:
    """How often labels shuffled within each person score at least as high: (1 + count) / (1 + n), one-sided.

    A small value: p separates genuine from posed clips within persons; recognising persons does not help.
    A larger `metric` must be better.
    """
    person = _codes(groups)
    order = np.argsort(person, kind="stable")
    keep = order[~np.isnan(np.asarray(p, float)[order])]
    p, y, _ = _answered(np.asarray(p)[keep], np.asarray(y)[keep])
    observed = metric(p, y)
    if np.isnan(observed):
        return float("nan")
    count = sum(int((metric(p, block) >= observed - 1e-12).sum()) for block in shuffles(y, person[keep], n, seed))
    return (1 + count) / (1 + n)


def _intervals(
    measures: dict[str, Callable[[Array], Array]], person: Array, answered: dict[str, Array], n: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of each measure of row weights (B, N) → (B,) when persons, not rows, are drawn.

    All rest on the same draws with replacement, those whose measure is NaN left out; NaN where fewer than 2 persons
    answered: nothing is known then.
    `answered` holds for each measure the rows that it rests on, bool (N,); `person` is (N,), whole numbers.
    """
    kept = np.logical_or.reduce(list(answered.values()))
    column = np.zeros(len(person), np.int64)
    names, column[kept] = np.unique(person[kept], return_inverse=True)
    values: dict[str, list[Array]] = {name: [] for name in measures}
    for counts in draws(len(names), n, seed, len(person)) if len(names) > 1 else ():
        weights = np.take(counts, column, axis=1)
        for name, measure in measures.items():
            values[name].append(measure(weights))
    enough = {name: len(np.unique(person[rows])) > 1 for name, rows in answered.items()}
    return {
        name: percentiles(np.concatenate(each)) if each and enough[name] else (float("nan"), float("nan"))
        for name, each in values.items()
    }


# --- all of it ----------------------------------------------------------------------------------------------

_METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auc": auc,
    "f1": f1,
    "brier": brier,
    "ece": ece,
}
_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def score(
    p: Array,
    y: Array,
    subject: Iterable[object] | None = None,
    emotion: Iterable[object] | None = None,
    *,
    rank: Array | None = None,
    n: int = 1000,
    seed: int = 0,
) -> Json:
    """Every score of one set of answers as a flat dictionary of plain numbers.

    rows, unanswered, genuine (share among answered rows); each metric and `<metric>_interval` [low, high];
    risk_coverage, rows {coverage, accuracy}, each the largest coverage up to a fifth, two fifths, … of all
    rows. With `subject` also persons, forced_pairs, pairs (their number), permutation_p (of AUC); without it
    no interval can be given and those are None. With `emotion` also per_emotion: name → {rows, unanswered,
    accuracy, auc, forced_pairs, pairs, and intervals}. `n` is the number of draws. Resampling biases
    calibration: the interval of `ece` may lie above it.

    `rank` (N,), NaN where none, decides forced pairs in place of p, for a model that orders pairs by something else.
    """
    p, y = np.asarray(p, float), np.asarray(y)
    who = None if subject is None else np.array(list(subject), object)
    what = None if emotion is None else np.array(list(emotion), object)
    order = p if rank is None else np.asarray(rank, float)
    result = _subset_scores(p, y, order, who, what, tuple(_METRICS), n, seed)
    result["risk_coverage"] = _coverage_rows(p, y)
    if who is not None:
        result["permutation_p"] = permutation_p(auc, p, y, who, n, seed)
    if what is not None:
        names = sorted({str(name) for name in what.tolist() if not is_missing(name)})
        masks = {name: np.array([str(each) == name for each in what.tolist()]) for name in names}
        result["per_emotion"] = {
            name: _subset_scores(
                p[m], y[m], order[m], None if who is None else who[m], None, ("accuracy", "auc"), n, seed
            )
            for name, m in masks.items()
        }
    return result


def _subset_scores(
    p: Array, y: Array, rank: Array, who: Array | None, what: Array | None, names: tuple[str, ...], n: int, seed: int
) -> Json:
    kept, truth, _ = _answered(p, y)
    person = None if who is None else _codes(who)
    out: Json = {"rows": len(p), "unanswered": len(p) - len(kept), "genuine": ratio(truth.sum(), len(truth))}
    for name in names:
        out |= {name: _METRICS[name](p, y), f"{name}_interval": None}
    if person is None:
        return out
    out["persons"] = len(np.unique(person[~np.isnan(p)]))
    right, pairs = pair_rows(rank, y, person, what)
    out["forced_pairs"], out["pairs"] = ratio(right.sum(), pairs.sum()), int(pairs.sum())
    measures: dict[str, Callable[[Array], Array]] = {name: partial(_METRICS[name], p, y) for name in names}
    measures["forced_pairs"] = lambda weights: ratio(weights @ right, weights @ pairs)
    answered = dict.fromkeys(names, ~np.isnan(p)) | {"forced_pairs": ~np.isnan(rank)}
    found = _intervals(measures, person, answered, n, seed)
    return out | {f"{name}_interval": list(interval) for name, interval in found.items()}


def _coverage_rows(p: Array, y: Array) -> list[dict[str, float]]:
    coverage, right = risk_coverage(p, y)
    at = np.searchsorted(coverage, np.array(_SHARES) + 1e-9) - 1
    return [{"coverage": float(coverage[i]), "accuracy": float(right[i])} for i in np.unique(at[at >= 0])]


def _pair_groups(subject: Iterable[object], emotion: Iterable[object] | None) -> Array:
    """int64 (N,): one number per person and emotion, -1 where either is missing."""
    keys = [list(subject)] + ([] if emotion is None else [list(emotion)])
    rows = list(zip(*keys, strict=True))
    bad = np.array([any(map(is_missing, row)) for row in rows], bool)
    numbers: dict[tuple[str, ...], int] = {}
    codes = [numbers.setdefault(tuple(map(person, row)), len(numbers)) for row in rows]
    return np.where(bad, -1, np.array(codes, np.int64))


def _codes(groups: Iterable[object]) -> Array:
    return np.asarray(np.unique(persons(groups), return_inverse=True)[1])


def _answered(p: Array, y: Array, weights: Array | None = None) -> tuple[Array, Array, Array | None]:
    """float64 p, bool y and `weights` without the rows whose p is NaN; ValueError for labels other than 0 and 1."""
    p, y = np.asarray(p, float), np.asarray(y)
    if weights is not None and y.ndim > 1:
        raise ValueError(f"Where weights are given y must be a vector, found the shape {y.shape}.")
    w = None if weights is None else np.asarray(weights, float)
    if p.ndim != 1 or any(each.shape[-1:] != p.shape for each in (p, y, w) if each is not None):
        shapes = ", ".join(str(each.shape) for each in (p, y, w) if each is not None)
        raise ValueError(f"p must be a vector; y and weights must be as long as it, found the shapes {shapes}.")
    if y.dtype != bool:
        if not ((y == 0) | (y == 1)).all():
            raise ValueError("y must hold only 1 (genuine) and 0 (posed).")
        y = y.astype(bool)
    keep = ~np.isnan(p)
    if not keep.all():
        p, y, w = p[keep], y[..., keep], None if w is None else w[..., keep]
    return p, y, w


def _probabilities(p: Array, y: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    p, y, w = _answered(p, y, weights)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p must lie between 0 and 1, found {p.min():g} to {p.max():g}.")
    return p, y, w


def _total(values: Array, weights: Array | None) -> Array:
    """Σ over rows of values · weights, (...)."""
    return np.asarray(values.sum(axis=-1) if weights is None else weights @ values, float)
