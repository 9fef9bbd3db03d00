"""Compares a clip's P(genuine) with that of the training people.

Uses what `checkpoints.reference` recorded; without it there is no comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from duchenne.plots.text import clamp, percent
from duchenne.types import LABELS, Json, JsonMap

ALL = "all"
_BINS = 40  # columns of dots between P(genuine) 0 and 1
_LIKELY = 0.5  # probability from which a clip is compared with training clips of that emotion
WORDS = {"posed": "posed", "genuine": "spontaneous"}


def group(emotion: Mapping[str, float], known: JsonMap) -> str:
    """The emotion whose training clips a clip is compared with, or "all"."""
    name = max(emotion, key=lambda e: emotion[e], default=ALL)
    return name if name in known and emotion.get(name, 0.0) >= _LIKELY else ALL


def position(p: float | None, emotion: Mapping[str, float], reference: JsonMap) -> Json | None:
    """Where `p` lies among the training clips; None without a reference.

    dots    label → dots (x in percent, row from 0), each an equal share of the clips
    below   label → share of its training clips with a lower P(genuine)
    beyond  label → share on the other side of this clip: `below`, or 1 − `below` for posed
    """
    known = reference.get("answers") or {}
    name = group(emotion, known)
    if name not in known:
        return None
    both = known[name]
    below = {} if p is None else {label: float(np.mean(np.array(both[label]["quantiles"]) < p)) for label in LABELS}
    dots = {label: _dots(both[label]["quantiles"]) for label in LABELS}
    return {
        "group": name,
        "dots": dots,
        "rows": {label: 1 + max(dot["row"] for dot in dots[label]) for label in LABELS},
        "share": percent(1 / len(both["posed"]["quantiles"])),
        "below": below,
        "beyond": {label: share if p is not None and p >= 0.5 else 1 - share for label, share in below.items()},
        "clips": {label: both[label]["clips"] for label in LABELS},
        "people": max(both[label]["people"] for label in LABELS),
    }


def _dots(quantiles: list[float]) -> list[Json]:
    columns = np.clip((np.array(quantiles) * _BINS).astype(int), 0, _BINS - 1)
    filled: dict[int, int] = {}
    dots = []
    for column in map(int, columns):
        row = filled.get(column, 0)
        filled[column] = row + 1
        dots.append({"x": clamp(100 * (column + 0.5) / _BINS), "row": row})
    return dots
