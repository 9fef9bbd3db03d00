"""Compares a clip with the training people: its P(genuine) with theirs, and its movement with theirs, in sentences.

Uses what `checkpoints.reference` recorded; without it there is no comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from duchenne.features.measures import KINDS, MEASURES, measure
from duchenne.plots.text import clamp, finite, number, percent
from duchenne.types import LABELS, Json, JsonMap, Phase, Signals

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


def movement(curves: Signals, phase: Phase | None, emotion: Mapping[str, float], reference: JsonMap) -> list[Json]:
    """Measurements of an expression, each with a sentence and, if known, the middle half of the training clips.

    Rows: name, title, text, value, value_text, group; of training clips posed and genuine (lower, upper quartile), and
    in words reads, only and beside.
    """
    if phase is None or phase.curve not in KINDS:
        return []
    known = (reference.get("movements") or {}).get(phase.curve, {})
    rows = []
    for name, value in measure(curves, phase).items():
        if not finite(value):
            continue
        about = MEASURES[name]
        row: Json = {"name": name, "title": about.title, "value": value, "value_text": _text(value, about.unit)}
        row |= dict.fromkeys(("group", "posed", "genuine", "reads", "only", "beside"))
        text = (_FALLING if value < 0 else {}).get(name, about.text)
        magnitude = _text(abs(value) if name in _FALLING else value, about.unit)
        sentence = text.format(what=KINDS[phase.curve], value=magnitude)
        row["text"] = f"{sentence[:1].upper()}{sentence[1:]}."
        if groups := known.get(name):
            row |= _compare(value, about.unit, groups, group(emotion, groups))
        rows.append(row)
    return rows


#: Texts for values below 0.
_FALLING = {
    "lids": "the lids moved apart by {value} of how far they were apart at rest",
    "brows": "the brows came down by {value} of the distance between the eyes",
}


def _compare(value: float, unit: str, groups: JsonMap, name: str) -> Json:
    both = groups[name]
    ranges = {label: (both[label]["quantiles"][0], both[label]["quantiles"][-1]) for label in LABELS}
    inside = [label for label, (low, high) in ranges.items() if low <= value <= high]
    reads = {
        0: "outside the middle half of both",
        1: f"in the middle half of the {WORDS[inside[0]]} clips only" if inside else "",
        2: "in the middle half of both",
    }[len(inside)]
    of = "" if name == ALL else f" {name}"
    beside = "; ".join(
        f"{WORDS[label]}{of}: {_span(*ranges[label], unit)} ({both[label]['clips']:,} clips)" for label in LABELS
    )
    return {"group": name, **ranges, "reads": reads, "only": inside[0] if len(inside) == 1 else None, "beside": beside}


def _text(value: float, unit: str, *, bare: bool = False) -> str:
    """A number with its unit, rounded to what can be measured on a face."""
    if unit == "s":
        return f"{value:.2f}" if bare else number(value, "s")
    digits = 0 if abs(value) >= 10 else 1
    text = f"{value:.{digits}f}".replace("-", "−")
    return text if bare else text + {"%": "%", "°": "°", "%/s": "% per second"}[unit]


def _span(low: float, high: float, unit: str) -> str:
    """A range with its unit, such as "0.45–0.90 s"; with "to" if an end is negative."""
    return f"{_text(low, unit, bare=True)}{' to ' if min(low, high) < 0 else '–'}{_text(high, unit)}"
