"""Paired tests of two methods on the same clips, by resampling persons, not clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from scipy.special import bdtr

from duchenne.datasets.splits import persons
from duchenne.errors import UsageError
from duchenne.metrics import scores
from duchenne.metrics.intervals import draws, percentiles, swaps
from duchenne.types import Array, Json

_METRICS: dict[str, scores.Metric] = {
    name: getattr(scores, name) for name in ("accuracy", "balanced_accuracy", "auc", "f1", "brier")
}
NOTE = "counts clips as if they were independent, which clips of one person are not; trust the tests over persons"


def compare(
    p_a: Array,
    p_b: Array,
    y: Array,
    subject: Iterable[object],
    *,
    emotion: Iterable[object] | None = None,
    rank_a: Array | None = None,
    rank_b: Array | None = None,
    metrics: Sequence[str] = ("accuracy", "auc", "brier"),
    n: int = 2000,
    seed: int = 0,
) -> Json:
    """Method a against method b on the same clips, as plain numbers; all arrays are (N,), row by row one clip.

    rows (answered by both), unanswered (left out: one of them gave no p), persons; for each metric
    {a, b, difference, interval, p}; mcnemar {only_a, only_b, p, note}; with `emotion` also forced_pairs, as a
    metric, with pairs (their number), decided by `rank_a` and `rank_b` where these are given.

    difference = a − b; of the Brier score a smaller one is better. interval: 95 % of the differences when
    persons are drawn with replacement. p: how often a difference is at least as large, to either side, when
    the methods exchange all answers of a person by chance (all ways where these are no more than `n`). For
    AUC they exchange ranks within all rows, so that methods with unlike scales may be compared. Raises
    UsageError without persons or for an unknown metric, ValueError for arrays of unlike length.
    """
    if unknown := [name for name in metrics if name not in _METRICS]:
        raise UsageError(f"Methods cannot be compared by '{unknown[0]}'; choose among: {', '.join(_METRICS)}.")
    names = persons(subject)
    a, b, truth = np.asarray(p_a, float), np.asarray(p_b, float), np.asarray(y)
    if not len(a) == len(b) == len(truth) == len(names):
        lengths = ", ".join(str(len(each)) for each in (a, b, truth, names))
        raise ValueError(f"Both methods, the truth and the persons must be of one length, found {lengths}.")
    answered = ~np.isnan(a) & ~np.isnan(b)
    a, b, truth, names = a[answered], b[answered], truth[answered], names[answered]
    codes, person = np.unique(names, return_inverse=True)
    out: Json = {"rows": len(a), "unanswered": int((~answered).sum()), "persons": len(codes)}
    chance = (person, len(codes), n, seed)
    for name in metrics:
        sides = (_ranks(a), _ranks(b)) if name == "auc" else (a, b)
        out[name] = _difference(partial(_METRICS[name], np.concatenate(sides), np.tile(truth, 2)), chance)
    if emotion is not None:
        what = np.array(list(emotion), object)[answered]
        by_a, by_b = (
            p if rank is None else np.asarray(rank, float)[answered] for p, rank in ((a, rank_a), (b, rank_b))
        )
        out["forced_pairs"] = _test_pairs(by_a, by_b, truth, names, what, chance)
    out["mcnemar"] = mcnemar(a, b, truth)
    return out


def mcnemar(p_a: Array, p_b: Array, y: Array) -> Json:
    """{only_a, only_b: rows that only this method gets right, p, note}: McNemar's test, two-sided.

    Exact: by the binomial distribution of only_a among only_a + only_b with chance 1/2. Rows that one of
    them did not answer are left out.
    """
    p_a, p_b, y = np.asarray(p_a, float), np.asarray(p_b, float), np.asarray(y)
    answered = ~np.isnan(p_a) & ~np.isnan(p_b)
    right_a, right_b = (((p >= 0.5) == y)[answered] for p in (p_a, p_b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return {"only_a": only_a, "only_b": only_b, "p": p, "note": NOTE}


_Chance = tuple[Array, int, int, int]  # person (N,), number of persons, number of draws, seed


def _test_pairs(a: Array, b: Array, y: Array, who: Array, what: Array, chance: _Chance) -> Json:
    either = np.isnan(a) | np.isnan(b)  # a pair counts only where both methods rank both of its clips
    sides = [scores.pair_rows(np.where(either, np.nan, p), y, who, what) for p in (a, b)]
    right, pairs = (np.concatenate(side) for side in zip(*sides, strict=True))

    def share(weights: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ right) / (weights @ pairs))

    return _difference(share, chance) | {"pairs": int(pairs.sum()) // 2}


def _difference(measure: Callable[[Array], Array], chance: _Chance) -> Json:
    """{a, b, difference, interval, p} of a measure of weights (B, 2N), rows of a and then rows of b."""
    person, count, n, seed = chance
    ones, zeros = np.ones((1, len(person))), np.zeros((1, len(person)))
    a, b = (float(measure(np.hstack(side))[0]) for side in ((ones, zeros), (zeros, ones)))
    drawn = [np.full(1, np.nan)]
    for counts in draws(count, n, seed, 2 * len(person)) if count > 1 else ():
        w = np.take(counts, person, axis=1)
        none = np.zeros_like(w)
        drawn.append(measure(np.hstack([w, none])) - measure(np.hstack([none, w])))
    swapped, complete = swaps(count, n, seed)
    larger, block = 0, max(1, 2**19 // max(1, 2 * len(person)))
    for start in range(0, len(swapped), block):
        w = np.take(swapped[start : start + block], person, axis=1).astype(float)
        gap = measure(np.hstack([1 - w, w])) - measure(np.hstack([w, 1 - w]))
        larger += int((np.abs(gap) >= abs(a - b) - 1e-12).sum())
    p = larger / len(swapped) if complete else (1 + larger) / (1 + n)
    interval = list(percentiles(np.concatenate(drawn)))
    return {"a": a, "b": b, "difference": a - b, "interval": interval, "p": p if np.isfinite(a - b) else float("nan")}


def _ranks(p: Array) -> Array:
    """Ranks (N,) with ties at their middle: the permutation of Bandos, Rockette and Gur (2005) exchanges these."""
    inner = np.sort(p)
    return np.asarray((np.searchsorted(inner, p) + np.searchsorted(inner, p, "right")) / 2)
