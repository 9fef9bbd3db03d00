"""Scores of P(genuine), with intervals that know that clips of one person are not independent.

Everywhere `p` is float (N,), the probability of "genuine", and `y` is (N,), 1 genuine and 0 posed. Rows
whose p is NaN were not answered and are left out. p >= 0.5 counts as "genuine". What cannot be computed
(no rows, only one class) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from duchenne.evaluate.splits import is_missing, persons
from duchenne.types import Array

Metric = Callable[[Array, Array], float]


def accuracy(p: Array, y: Array) -> float:
    """Share of rows that are called right."""
    p, y = _answered(p, y)
    return _mean((p >= 0.5) == y)


def balanced_accuracy(p: Array, y: Array) -> float:
    """Mean of the share of genuine rows called genuine and the share of posed rows called posed."""
    p, y = _answered(p, y)
    return (_mean(p[y] >= 0.5) + _mean(p[~y] < 0.5)) / 2


def auc(p: Array, y: Array) -> float:
    """Chance that a genuine row has a higher p than a posed one, ties count half (Mann-Whitney U / n₁n₀)."""
    p, y = _answered(p, y)
    pairs = int(y.sum()) * int((~y).sum())
    return _wins(p, y) / pairs if pairs else float("nan")


def f1(p: Array, y: Array) -> float:
    """2 TP / (2 TP + FP + FN), "genuine" being positive; NaN where no truth and no call is genuine."""
    p, y = _answered(p, y)
    called = p >= 0.5
    total = int(called.sum() + y.sum())
    return float(2 * (called & y).sum() / total) if total else float("nan")


def brier(p: Array, y: Array) -> float:
    """Mean squared distance of p from the truth: 0 is perfect, 0.25 is always saying 0.5."""
    p, y = _probabilities(p, y)
    return _mean((p - y) ** 2)


def ece(p: Array, y: Array, bins: int = 10) -> float:
    """Expected calibration error: Σ over bins of (rows in bin / N) · |share genuine − mean p|.

    The bins are of equal width in P(genuine), [0, 1/bins), …, [1 − 1/bins, 1]; empty ones count nothing.
    """
    p, y = _probabilities(p, y)
    if not len(p):
        return float("nan")
    at = np.minimum((p * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(at, weights=p - y)).sum() / len(p))


def forced_pair_accuracy(
    p: Array, y: Array, subject: Iterable[Any], emotion: Iterable[Any] | None = None
) -> tuple[float, int]:
    """Of two clips of one person and emotion, one genuine and one posed: how often p tells which is which.

    Returns (share right, number of pairs) over all such pairs together; a tie counts half. Rows without
    person or emotion (None, empty) form no pair. Without `emotion` pairs are of one person only.
    """
    groups = _pair_groups(subject, emotion)
    p, y, groups = _answered(p, y, groups)
    right, pairs = _pair_counts(p, y, groups)
    total = int(pairs.sum())
    return (float(right.sum() / total) if total else float("nan")), total


def risk_coverage(p: Array, y: Array) -> tuple[Array, Array]:
    """(coverage, accuracy), both float64 (K,): what is right if only the surest rows are answered.

    Rows are ordered by |p − 0.5|, surest first; rows equally sure are answered together, so K <= N. Coverage
    is the share of all N rows, those with NaN p included: it ends below 1 if some were not answered.
    """
    total = len(np.asarray(p))
    p, y = _answered(p, y)
    sure = np.round(np.abs(p - 0.5), 12)
    order = np.argsort(-sure, kind="stable")
    right = np.cumsum(((p >= 0.5) == y)[order])
    last = np.flatnonzero(np.diff(sure[order], append=-1.0))
    return (last + 1) / max(total, 1), right[last] / (last + 1)


# --- intervals and chance -----------------------------------------------------------------------------------


def clustered_bootstrap(
    metric: Metric, p: Array, y: Array, groups: Iterable[Any], n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """(low, high): 95 % percentile interval of `metric` when persons, not rows, are drawn with replacement.

    Draws whose metric is NaN are left out. NaN where fewer than 2 persons answered: nothing is known then.
    """
    p, y, person = _answered(p, y, _codes(groups))
    rows = [np.flatnonzero(person == who) for who in np.unique(person)]
    if len(rows) < 2:
        return float("nan"), float("nan")
    rng, values = np.random.default_rng(seed), []
    for _ in range(n):
        at = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        values.append(metric(p[at], y[at]))
    return _interval(np.array(values))


def permutation_p(metric: Metric, p: Array, y: Array, groups: Iterable[Any], n: int = 1000, seed: int = 0) -> float:
    """How often labels shuffled within each person score at least as high: (1 + count) / (1 + n), one-sided.

    A small value says that p tells a person's genuine clips from the same person's posed ones; knowing the
    persons does not help. `metric` must be one that grows with skill.
    """
    p, y, person = _answered(p, y, _codes(groups))
    observed = metric(p, y)
    if np.isnan(observed):
        return float("nan")
    rng, place, shuffled, count = np.random.default_rng(seed), np.argsort(person, kind="stable"), y.copy(), 0
    for _ in range(n):
        shuffled[place] = y[np.lexsort((rng.random(len(y)), person))]
        count += metric(p, shuffled) >= observed - 1e-12
    return (1 + count) / (1 + n)


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
    subject: Iterable[Any] | None = None,
    emotion: Iterable[Any] | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score of one set of answers as a flat dictionary of plain numbers.

    rows, unanswered, genuine (share among answered rows); each metric and `<metric>_interval` [low, high];
    risk_coverage, rows {coverage, accuracy}, each the largest coverage up to a fifth, two fifths, … of all
    rows. With `subject` also persons, forced_pairs, pairs (their number), permutation_p (of AUC); without it
    no interval can be given and those are None. With `emotion` also per_emotion: name → {rows, unanswered,
    accuracy, auc, forced_pairs, pairs, and intervals}. `n` is the number of draws. Resampling adds noise to
    calibration: the interval of `ece` leans upwards and may lie above it.
    """
    p, y = np.asarray(p, float), np.asarray(y)
    who = None if subject is None else np.array(list(subject), object)
    what = None if emotion is None else np.array(list(emotion), object)
    result = _some(p, y, who, what, tuple(_METRICS), n, seed)
    result["risk_coverage"] = _coverage_rows(p, y)
    if who is not None:
        result["permutation_p"] = permutation_p(auc, p, y, who, n, seed)
    if what is not None:
        names = sorted({str(name) for name in what.tolist() if not is_missing(name)})
        masks = {name: np.array([str(each) == name for each in what.tolist()]) for name in names}
        result["per_emotion"] = {
            name: _some(p[m], y[m], None if who is None else who[m], None, ("accuracy", "auc"), n, seed)
            for name, m in masks.items()
        }
    return result


def _some(
    p: Array, y: Array, who: Array | None, what: Array | None, names: tuple[str, ...], n: int, seed: int
) -> dict[str, Any]:
    kept, truth = _answered(p, y)
    out: dict[str, Any] = {"rows": len(p), "unanswered": len(p) - len(kept), "genuine": _mean(truth)}
    for name in names:
        out[name] = _METRICS[name](p, y)
        interval = None if who is None else clustered_bootstrap(_METRICS[name], p, y, who, n, seed)
        out[f"{name}_interval"] = interval and list(interval)
    if who is not None:
        out["persons"] = len(np.unique(_codes(who)[np.isfinite(p)]))
        out["forced_pairs"], out["pairs"] = forced_pair_accuracy(p, y, who, what)
        out["forced_pairs_interval"] = list(_pair_interval(p, y, who, what, n, seed))
    return out


def _pair_interval(p: Array, y: Array, who: Array, what: Array | None, n: int, seed: int) -> tuple[float, float]:
    """As `clustered_bootstrap`; a person drawn twice counts twice but forms no pairs with its own copy."""
    p, y, groups, person = _answered(p, y, _pair_groups(who, what), _codes(who))
    names = np.unique(person)
    if len(names) < 2:
        return float("nan"), float("nan")
    counts = [_pair_counts(p[m], y[m], groups[m]) for m in (person == each for each in names)]
    right, pairs = (np.array([part.sum() for part in parts]) for parts in zip(*counts, strict=True))
    draws = np.random.default_rng(seed).integers(0, len(names), (n, len(names)))
    with np.errstate(invalid="ignore"):
        return _interval(right[draws].sum(axis=1) / pairs[draws].sum(axis=1))


def _coverage_rows(p: Array, y: Array) -> list[dict[str, float]]:
    coverage, right = risk_coverage(p, y)
    at = np.searchsorted(coverage, np.array(_SHARES) + 1e-9) - 1
    return [{"coverage": float(coverage[i]), "accuracy": float(right[i])} for i in np.unique(at[at >= 0])]


def _interval(values: Array) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _pair_groups(subject: Iterable[Any], emotion: Iterable[Any] | None) -> Array:
    """int64 (N,): one number per person and emotion, -1 where either is missing."""
    keys = [list(subject)] + ([] if emotion is None else [list(emotion)])
    rows = list(zip(*keys, strict=True))
    bad = np.array([any(map(is_missing, row)) for row in rows], bool)
    numbers: dict[tuple[str, ...], int] = {}
    codes = [numbers.setdefault(tuple(str(v).strip() for v in row), len(numbers)) for row in rows]
    return np.where(bad, -1, np.array(codes, np.int64))


def _pair_counts(p: Array, y: Array, groups: Array) -> tuple[Array, Array]:
    """Pairs told right and all pairs, each (number of groups,)."""
    masks = [groups == group for group in np.unique(groups[groups >= 0])]
    right = [_wins(p[m], y[m]) for m in masks]
    pairs = [int(y[m].sum()) * int((~y[m]).sum()) for m in masks]
    return np.array(right, float), np.array(pairs, np.int64)


def _wins(p: Array, y: Array) -> float:
    """Pairs (genuine, posed) in which the genuine row has the higher p; ties count half."""
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    genuine = int(y.sum())
    return float(rank[place[y]].sum() - genuine * (genuine + 1) / 2)


def _codes(groups: Iterable[Any]) -> Array:
    return np.asarray(np.unique(persons(groups), return_inverse=True)[1])


def _answered(p: Array, y: Array, *more: Array) -> tuple[Array, ...]:
    """float64 p, bool y and `more` without the rows whose p is NaN; ValueError for what is no truth."""
    p, y = np.asarray(p, float), np.asarray(y)
    if any(each.shape != (len(p),) for each in (p, y, *more)):
        shapes = ", ".join(str(each.shape) for each in (p, y, *more))
        raise ValueError(f"p, y and groups must be vectors of one length, found the shapes {shapes}.")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("y must hold only 1 (genuine) and 0 (posed).")
    keep = ~np.isnan(p)
    return p[keep], y[keep].astype(bool), *(each[keep] for each in more)


def _probabilities(p: Array, y: Array) -> tuple[Array, Array]:
    p, y = _answered(p, y)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p must lie between 0 and 1, found {p.min():g} to {p.max():g}.")
    return p, y


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
