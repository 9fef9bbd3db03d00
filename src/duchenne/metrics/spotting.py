"""Scores of spotted intervals: when something is reported to happen in a long video, against when it does.

An interval is (start, end) in seconds, end after start. Frames, both included, become first / fps and
(last + 1) / fps: the overlap is then that of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from duchenne.errors import InputError, UsageError
from duchenne.metrics.ratios import Score, ratio
from duchenne.types import Array, Json


def iou(a: Array | Sequence[object], b: Array | Sequence[object]) -> Score:
    """Shared time over joint time of intervals (..., 2) and (..., 2): 1 is the same interval, 0 is none shared.

    A float, or float64 (...) for many. InputError for invalid intervals.
    """
    a, b = _intervals(a), _intervals(b)
    shared = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    shared = np.maximum(shared, 0)
    share = shared / (a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - shared)
    return share if share.ndim else float(share)


def match(spotted: Array | Sequence[object], truth: Array | Sequence[object], threshold: float = 0.5) -> Array:
    """int64 (M, 2): pairs (spotted, true) of row numbers whose IoU is at least `threshold`, each row used once.

    As many pairs as possible, and of these the ones that share most. InputError for invalid intervals,
    UsageError for a threshold outside ]0, 1].
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"The threshold of the overlap must lie above 0 and be at most 1, found {threshold:g}.")
    a, b = _intervals(spotted), _intervals(truth)
    if a.ndim != 2 or b.ndim != 2:
        raise InputError(f"A list of intervals is (n, 2), found the shapes {a.shape} and {b.shape}.")
    share = np.asarray(iou(a[:, None], b[None]))
    enough = share >= threshold - 1e-9
    # one more pair outweighs any gain in overlap
    rows, columns = linear_sum_assignment(enough * (share + min(share.shape) + 1), maximize=True)
    return np.asarray(np.stack([rows, columns], axis=1)[enough[rows, columns]])


def spotting_f1(
    per_clip_spotted: Sequence[Array | Sequence[object]],
    per_clip_truth: Sequence[Array | Sequence[object]],
    threshold: float = 0.5,
) -> Json:
    """{precision, recall, f1, tp, fp, fn}, counted over all clips together; each clip has (n, 2) intervals.

    A spotted interval is a true positive when it is matched to a true one with IoU at least `threshold`
    (MEGC: 0.5). precision is NaN where nothing is spotted, recall where there is nothing to spot, f1 where
    both. Raises as `match` does, and InputError for an unequal number of clips.
    """
    if len(per_clip_spotted) != len(per_clip_truth):
        counts = f"{len(per_clip_spotted)} and {len(per_clip_truth)}"
        raise InputError(f"Spotted and true intervals must be of the same clips, found {counts} clips.")
    tp = fp = fn = 0
    for spotted, truth in zip(per_clip_spotted, per_clip_truth, strict=True):
        hits = len(match(spotted, truth, threshold))
        tp, fp, fn = tp + hits, fp + len(spotted) - hits, fn + len(truth) - hits
    return {
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }


def _intervals(values: Array | Sequence[object]) -> Array:
    found = np.asarray(values, float)
    if found.shape == (0,):  # an empty list
        return np.zeros((0, 2))
    if found.shape[-1] != 2:
        raise InputError(f"An interval is a start and an end in seconds, found the shape {found.shape}.")
    wrong = ~((found[..., 1] > found[..., 0]) & np.isfinite(found).all(axis=-1))
    if wrong.any():
        start, end = found[wrong][0]
        raise InputError(f"An interval must end after it starts, found {start:g} s to {end:g} s; correct or remove it.")
    return found
