"""Curves and phases as positions on a shared time axis: dictionaries and SVG path data for the templates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from duchenne.features.phases import moments
from duchenne.plots.text import clamp, number, percent, words
from duchenne.preprocess.clean import runs
from duchenne.types import MOMENTS, Array, FaceTrack, Json, Phase, Signals

#: Curves shown first, in this order, with descriptions; all others are collapsed.
MAIN_CURVES = {
    "lip_corner_pull": "distance between the mouth’s corners",
    "mouth_opening": "distance between the inner lips",
    "eye_aperture": "distance between the lids, both eyes",
    "brow_height": "brows above the line of the eyes",
}
#: Action units with their names in FACS (Ekman, Friesen and Hager, 2002).
UNITS = {
    "AU01": "inner brow raiser", "AU02": "outer brow raiser", "AU04": "brow lowerer", "AU05": "upper lid raiser",
    "AU06": "cheek raiser", "AU07": "lid tightener", "AU09": "nose wrinkler", "AU10": "upper lip raiser",
    "AU12": "lip corner puller", "AU14": "dimpler", "AU15": "lip corner depressor", "AU16": "lower lip depressor",
    "AU17": "chin raiser", "AU20": "lip stretcher", "AU23": "lip tightener", "AU24": "lip pressor",
    "AU25": "lips part", "AU26": "jaw drop", "AU27": "mouth stretch",
}  # fmt: skip
TRACED = 2  # action units with a curve: AU06 and AU12, which come first
PLOT_HEIGHT = 76  # px of one curve's panel
MAX_ROWS = 40  # of the table of the curves, for readers without vision
MAX_CELLS = 240  # of an emotion's lane; each is a mean
MAX_STEPS = 1500  # bins of a long curve; each keeps its lowest and highest sample
STRETCHES = ("rise", "plateau", "fall")
_HEIGHT, _WIDTH = 480, 640  # px of a view, at most
#: Margins around all positions of the face, relative to its size.
_ABOVE, _BELOW, _BESIDE = 0.55, 0.3, 0.45


@dataclass(frozen=True)
class View:
    """The part of the frame that a report shows: its edges in the clip's pixels, and its own size."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    def to_view(self, points: Array) -> Array:
        """Points (..., 2) from pixels of the clip to pixels of the view."""
        scale = self.width / (self.right - self.left), self.height / (self.bottom - self.top)
        return np.asarray((points - (self.left, self.top)) * scale)

    def crop(self, frame: Array) -> Array:
        """This part of a frame (H, W, 3), in pixels of the clip."""
        return frame[self.top : self.bottom, self.left : self.right]


def face_view(track: FaceTrack) -> View:
    """The part of the frame in which the face stays, with a margin; the whole frame without a face."""
    width, height = track.frame_size
    left, top, right, bottom = 0, 0, width, height
    seen = track.points[track.seen].astype(float)
    if len(seen):
        (x0, y0), (x1, y1) = np.quantile(seen, (0.01, 0.99), axis=(0, 1))
        size = float(np.median(np.ptp(seen, axis=1)))
        left, right = max(0, int(x0 - _BESIDE * size)), min(width, int(x1 + _BESIDE * size))
        top, bottom = max(0, int(y0 - _ABOVE * size)), min(height, int(y1 + _BELOW * size))
    if right - left < 2 or bottom - top < 2:
        left, top, right, bottom = 0, 0, max(width, 2), max(height, 2)
    zoom = min(1.0, _WIDTH / (right - left), _HEIGHT / (bottom - top))
    even = (max(2, 2 * round(side * zoom / 2)) for side in (right - left, bottom - top))
    return View(left, top, right, bottom, *even)


def classify_gaps(track: FaceTrack, stretches: Sequence[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """Each stretch with its kind: "lost", without a face; "doubted", with a face whose points are not trusted."""
    kinds = []
    for start, end in stretches:
        seen = track.seen[(track.time >= start) & (track.time < end)]
        kinds.append((start, end, "doubted" if seen.size and seen.mean() > 0.5 else "lost"))
    return kinds


def table(curves: Signals, names: Sequence[str], emotions: Signals | None = None) -> Json:
    """The named curves and the likeliest emotion at even times, at most `MAX_ROWS`: header and rows of text."""
    if not len(curves.time) or not names:
        return {"header": [], "rows": []}
    lo, hi = float(curves.time[0]), float(curves.time[-1])
    steps = (m * 10.0**e for e in range(-2, 7) for m in (1, 2, 5))
    step = next(s for s in steps if (hi - lo) / s < MAX_ROWS)
    rows = []
    for t in np.arange(math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9) + 1) * step:
        i = int(np.abs(curves.time - t).argmin())
        cells = [number(float(curves[name][i]), curves.units[curves.names.index(name)]) for name in names]
        rows.append([number(float(t), "s"), *cells, *([] if emotions is None else [_likeliest(emotions, float(t))])])
    header = ["Time", *map(words, names), *([] if emotions is None else ["Shows most"])]
    return {"header": header, "rows": rows}


def _likeliest(emotions: Signals, t: float) -> str:
    near = np.abs(emotions.time - t)
    if not near.size or near.min() > 0.3:
        return "not seen"
    row = emotions.values[near.argmin()]
    return f"{emotions.names[int(row.argmax())]} {percent(float(row.max()))}"


def timeline(
    track: FaceTrack,
    curves: Signals,
    phases: Sequence[Phase],
    lost: Sequence[tuple[float, float] | tuple[float, float, str]],
    emotions: Signals | None = None,
    units: Signals | None = None,
    judged: tuple[float, float] | None = None,
) -> Json:
    """Everything on the shared time axis; x in percent of its width. `lost` as from `classify_gaps`."""
    times = np.concatenate([track.time, curves.time])
    lo, hi = (float(times.min()), float(times.max())) if len(times) else (0.0, 1.0)
    span = hi - lo if hi > lo else 1.0

    def x(t: float) -> float:
        return clamp(100 * (t - lo) / span)

    names = [n for n in MAIN_CURVES if n in curves.names]
    others = [n for n in curves.names if n not in names]
    named = [(getattr(p, m), m) for p in phases for m in MOMENTS]
    rooms = [_room(phase, phases, lost, lo, lo + span) for phase in phases]
    bands = [band for phase, room in zip(phases, rooms, strict=True) for band in _bands(phase, *room, x)]
    marks = _rows([{"x": x(t), "text": m, "time": t} for t, m in named if t is not None])
    gaps = [
        {"kind": kind, "x": x(a), "width": round(x(b) - x(a), 2), "start": a, "end": b}
        for a, b, kind in ((*gap, "lost")[:3] for gap in lost)
    ]
    return {
        "lo": lo,
        "span": span,
        "main": [_plot(curves, name, lo, span) for name in names],
        "others": [_plot(curves, name, lo, span) for name in others],
        "height": PLOT_HEIGHT,
        "ticks": [{"x": x(t), "text": s, "anchor": _edge(x(t))} for t, s in _ticks(lo, lo + span, 6)],
        "bands": bands,
        "kinds": {band["kind"] for band in (*bands, *gaps)},
        "marks": marks,
        "rows": 1 + max((mark["row"] for mark in marks), default=0),
        "lost": gaps,
        "phases": [
            _phase_row(phase, room[0] > lo, room[1] < lo + span) for phase, room in zip(phases, rooms, strict=True)
        ],
        "judged": None if judged is None else {"x": [x(t) for t in judged], "start": judged[0], "end": judged[1]},
        "lanes": [] if emotions is None else _lanes(emotions, x),
        "units": [] if units is None else [_plot(units, name, lo, span, (0.0, 1.0)) for name in units.names[:TRACED]],
        "peaks": [] if units is None else _peaks(units),
    }


def _peaks(units: Signals) -> list[Json]:
    """When each action unit is likeliest; none where no face was read."""
    rows = []
    for name, curve in zip(units.names, units.values.T, strict=True):
        if np.isfinite(curve).any():
            at = int(np.nanargmax(curve))
            shares = {"peak": f"{curve[at]:.2f}", "mean": f"{np.nanmean(curve):.2f}"}
            rows.append({"name": name, "time": number(float(units.time[at]), "s"), **shares})
    return rows


def _lanes(emotions: Signals, x: Callable[[float], float]) -> list[Json]:
    """A lane per emotion, the likeliest first: cells from one prediction to the next, with the probability."""
    if not len(emotions.time):
        return []
    parts = np.array_split(np.arange(len(emotions.time)), min(MAX_CELLS, len(emotions.time)))
    starts, steps = emotions.time[[part[0] for part in parts]], np.diff(emotions.time)
    step = float(np.median(steps)) if len(steps) else 0.0
    # a cell does not span a gap without predictions
    ends = np.minimum(np.append(starts[1:], np.inf), emotions.time[[part[-1] for part in parts]] + 1.5 * step)
    means = np.array([emotions.values[part].mean(axis=0) for part in parts])
    order = np.argsort(-emotions.values.mean(axis=0), kind="stable")
    return [
        {
            "name": emotions.names[k],
            "mean": float(emotions.values[:, k].mean()),
            "peak": float(emotions.time[emotions.values[:, k].argmax()]),
            "most": float(emotions.values[:, k].max()),
            "cells": [
                {"x": x(a), "width": max(0.1, round(x(b) - x(a), 2)), "p": round(float(p), 2)}
                for a, b, p in zip(starts, ends, means[:, k], strict=True)
                if p >= 0.03
            ],
        }
        for k in order
    ]


def _edge(at: float) -> str:
    return "start" if at < 3 else "end" if at > 97 else "middle"


def _room(phase: Phase, phases: Sequence[Phase], lost: Sequence[Any], lo: float, hi: float) -> tuple[float, float]:
    """From where to where an expression may be drawn: within the clip, without a gap, and beside the others."""
    own = moments(phase)
    if not own:
        return lo, hi
    others = [t for other in phases if other is not phase for t in moments(other)]
    ends = [*others, *(gap[1] for gap in lost)]
    starts = [*others, *(gap[0] for gap in lost)]
    return max([lo, *(t for t in ends if t <= own[0])]), min([hi, *(t for t in starts if t >= own[-1])])


def _bands(phase: Phase, lo: float, hi: float, x: Callable[[float], float]) -> list[Json]:
    """Shaded stretches. A moment that is not seen is drawn at the edge; one missing in between leaves a gap."""
    times = [getattr(phase, moment) for moment in MOMENTS]
    known = [i for i, t in enumerate(times) if t is not None]
    if not known:
        return []
    filled = [lo if i < known[0] else hi if i > known[-1] else t for i, t in enumerate(times)]
    return [
        {"kind": kind, "x": x(a), "width": round(x(b) - x(a), 2), "start": a, "end": b}
        for kind, a, b in zip(STRETCHES, filled, filled[1:], strict=False)
        if a is not None and b is not None and x(b) > x(a)
    ]


def _phase_row(phase: Phase, cut_before: bool, cut_after: bool) -> Json:
    """Moments and durations of an expression in words; `cut_before` and `cut_after` where a gap or another expression
    lies between it and the clip's edge."""
    times = [getattr(phase, moment) for moment in MOMENTS]
    known = [i for i, t in enumerate(times) if t is not None]

    def absent(i: int) -> str:
        if known and i < known[0]:
            return "not seen" if cut_before else "before the clip"
        if known and i > known[-1]:
            return "not seen" if cut_after else "after the clip"
        return "not found"

    texts = [absent(i) if t is None else number(float(t), "s") for i, t in enumerate(times)]
    lengths = ["–" if a is None or b is None else number(float(b - a), "s") for a, b in pairwise(times)]
    return {"curve": phase.curve, "moments": texts, "times": times, "lengths": lengths}


def _rows(marks: list[Json], need: float = 13.0) -> list[Json]:
    """Stack labels that would overlap on a phone (`need` percent wide each) into rows."""
    free: list[float] = []
    for mark in sorted(marks, key=lambda m: m["x"]):
        at_end = mark["x"] > 100 - need
        left = mark["x"] - need if at_end else mark["x"]
        row = next((i for i, edge in enumerate(free) if edge <= left), len(free))
        free[row : row + 1] = [left + need]
        mark.update(row=row, anchor="end" if at_end else "start")
    return marks


def _plot(curves: Signals, name: str, lo: float, span: float, limits: tuple[float, float] | None = None) -> Json:
    """One curve as an SVG path in a 1000 × PLOT_HEIGHT box, with ticks and a description; its axis has the `limits`, or
    those of the curve."""
    values, unit = curves[name], curves.units[curves.names.index(name)]
    seen = np.isfinite(values)
    plot: Json = {"name": name, "unit": unit, "path": "", "ticks": [], "low": 0.0, "high": 0.0}
    plot["summary"] = "no values were measured"
    if not seen.any():
        return plot
    low, high = float(values[seen].min()), float(values[seen].max())
    least, most = limits or (low, high)
    pad = 0.12 * (most - least) or max(abs(least), 1.0) * 0.1
    bottom, room = least - pad, most - least + 2 * pad
    y = PLOT_HEIGHT * (1 - (values - bottom) / room)
    ticks = _ticks(bottom, bottom + room, 3)
    peak = float(curves.time[np.nanargmax(values)])
    plot["low"], plot["high"] = bottom, bottom + room
    plot["path"] = _path(1000 * (curves.time - lo) / span, y)
    plot["ticks"] = [{"y": round(PLOT_HEIGHT * (1 - (t - bottom) / room), 1), "text": s} for t, s in ticks]
    plot["summary"] = (
        f"from {number(low, unit)} to {number(high, unit)}, highest at {number(peak, 's')}"
        f"{'' if seen.all() else '; gaps where the face was not seen'}"
    )
    return plot


def _path(x: Array, y: Array) -> str:
    """SVG path through the finite samples; NaN breaks the line, a single sample becomes a dot."""
    parts = []
    for start, stop in runs(np.isfinite(y)):
        keep = _thin(y[start:stop], math.ceil(len(y) / MAX_STEPS)) + start
        points = " ".join(f"{a:.1f} {b:.1f}" for a, b in zip(x[keep], y[keep], strict=True))
        parts.append(f"M{points}" + ("h0" if len(keep) == 1 else ""))
    return "".join(parts)


def net(mesh: Array, edges: Array) -> str:
    """SVG path of the `edges` (E, 2) of a face mesh (478, 2)."""
    return "".join(f"M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" for (x, y), (u, v) in mesh[edges])


def _thin(y: Array, every: int) -> Array:
    """Indices that keep the lowest and highest of each `every` samples, so that no peak is lost."""
    if every < 2:
        return np.arange(len(y))
    starts = range(0, len(y), every)
    keep = [s + pick(y[s : s + every]) for s in starts for pick in (np.argmin, np.argmax)]
    return np.unique([0, *keep, len(y) - 1])


def _ticks(lo: float, hi: float, about: int) -> list[tuple[float, str]]:
    """Round values between lo and hi (steps of 1, 2 or 5 times a power of ten), each with its text."""
    raw = (hi - lo) / about
    power = math.floor(math.log10(raw))
    step = next((m for m in (1, 2, 5) if m * 10.0**power >= raw), 10) * 10.0**power
    decimals = max(0, -math.floor(math.log10(step)))
    values = [i * step for i in range(math.ceil(lo / step), math.floor(hi / step) + 1)]
    return [(v, f"{v:,.{decimals}f}".replace("-", "−")) for v in values]
