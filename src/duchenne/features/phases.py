"""Onset, apex, offset and end of the expressions in a clip, from curves of the face.

Everything is decided from the curve around one expression and no level is taken over the whole clip, so neutral
seconds before or after an expression change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from duchenne.errors import UsageError
from duchenne.features.filtering import peaks, prominence
from duchenne.preprocess.clean import runs
from duchenne.types import Array, Phase, Signals

ACTIVITY = "activity"
SMILE = 0.1  # iod by which lip corners part in a smile; half of PEDFE's smiles exceed 0.17

_STEP = 0.02  # s, the grid on which phases are sought
_SIGMA = 0.05  # s, standard deviation of the smoothing weights: about what a 0.17 s window does
_LEAST = {"iod": 0.05, "deg": 4.0, "log": 0.05}  # smallest expression; landmarks jitter by about 0.013 iod
_SPLIT = 0.5  # a dip this deep, as a share of the lower neighbour's height, separates two expressions
_FOOT, _HEAD = 0.06, 0.92  # shares of the amplitude at which a rise starts and ends
_FLAT = 0.4  # s without further fall that define a resting level
_STILL = 0.1  # s of rest that must be seen before a rise to know that it starts there
_SHORT = 0.25  # s at half height; a blink is shorter
_ROUGH = 8.0  # amplitude per scatter of the raw curve below which it is lost landmarks, not movement


@dataclass(frozen=True)
class _Side:
    """One side of an expression, walked outwards from its top. Indices; None where the clip is cut."""

    edge: int | None  # where the plateau ends
    foot: int | None  # where rest is reached
    drop: float


def phases(
    curves: Signals, *, curve: str = "lip_corner_pull", direction: str = "up", least: float | None = None
) -> tuple[Phase, ...]:
    """Every expression of the clip in time order; empty where nothing exceeds `least`.

    `curve` is the name of a curve, or "activity" for the movement of the whole face (see `activity`), computed here
    unless it is one of the curves. `direction` is
    "up", "down" (lowering brows), or "both": then complete expressions take precedence over cut ones, and larger over
    smaller. `least` is the smallest amplitude in the curve's unit (default 0.05 interocular distances). Times are in
    seconds; None where the moment lies outside the clip or in an unseen stretch. UsageError on unknown names.
    """
    signs = {"up": (1.0,), "down": (-1.0,), "both": (1.0, -1.0)}.get(direction)
    if signs is None:
        raise UsageError(f"direction must be up, down or both, found '{direction}'; choose one of them.")
    values, unit = _named(curves, curve)
    limit = _LEAST.get(unit, 0.05) if least is None else least
    if not limit > 0:
        raise UsageError(f"least must be above 0, found {limit}; give an amplitude in {unit}.")
    candidates = [
        (replace(phase, curve=curve), size, span)
        for sign in signs
        for start, stop in runs(np.asarray(np.isfinite(values)))
        for phase, size, span in _in_run(curves.time[start:stop], sign * values[start:stop], limit)
    ]
    candidates.sort(key=lambda f: (f[0].onset is None, f[0].end is None, -f[1]))
    chosen: list[tuple[Phase, tuple[float, float]]] = []
    for phase, _, (start, stop) in candidates:
        if all(stop <= a or start >= b for _, (a, b) in chosen):
            chosen.append((phase, (start, stop)))
    return tuple(phase for phase, _ in sorted(chosen, key=lambda k: k[1]))


def main_phase(found: Sequence[Phase], curves: Signals, span: tuple[float, float] = (-np.inf, np.inf)) -> Phase | None:
    """The expression with the largest amplitude in its own curve, of those with a moment in `span` (s); None without
    any."""
    inside = [phase for phase in found if any(span[0] <= t <= span[1] for t in moments(phase))]
    return max(inside, key=lambda phase: amplitude(phase, curves), default=None)


def moments(phase: Phase) -> list[float]:
    """The moments of an expression that are inside the clip, in seconds and in their order."""
    return [t for t in (phase.onset, phase.apex, phase.offset, phase.end) if t is not None]


def expression_curve(curves: Signals, emotion: str | None = None) -> str:
    """The curve that shows the expression: of the lip corners where they stretch as in a smile, else of the whole face.

    Decided by the curves alone, or by the given `emotion`, so that rest before or after does not change it.
    """
    smile = phases(curves, curve="lip_corner_pull")
    main = main_phase(smile, curves)
    wide = main is not None and amplitude(main, curves) >= SMILE
    if wide if emotion is None else emotion == "happiness":
        return "lip_corner_pull" if smile else ACTIVITY
    return "lip_corner_pull" if smile and not phases(curves, curve=ACTIVITY) else ACTIVITY


def amplitude(phase: Phase, curves: Signals) -> float:
    """From rest to plateau, in the curve's unit, on the side with the larger change; both in one seen stretch."""
    values, _ = _named(curves, phase.curve)
    inner = [t for t in (phase.apex, phase.offset) if t is not None]
    outer = [t for t in (phase.onset, phase.end) if t is not None]
    for start, stop in runs(np.asarray(np.isfinite(values))) if inner else ():
        time = curves.time[start:stop]
        if not time[0] - _STEP < inner[0] < time[-1] + _STEP:
            continue
        smooth = smoothed(time, values[start:stop])
        plateau = smooth[(time >= inner[0] - 1e-9) & (time <= inner[-1] + 1e-9)]
        if not plateau.size:
            return 0.0
        level = float(np.median(plateau))
        ends = outer or [time[0] if phase.apex is not None else time[-1]]
        return max(abs(level - float(np.interp(t, time, smooth))) for t in ends)
    return 0.0


def activity(curves: Signals) -> Array:
    """float64 (T,): distance of the face from its start, over all its curves, in interocular distances.

    The norm of the smoothed curves' deviations from their median over the first 0.2 s of each seen stretch, as a face
    that was lost may come back turned or in other light; NaN where unseen. Left-right differences and curves of other
    units (head pose) are left out.
    """
    named = enumerate(zip(curves.names, curves.units, strict=True))
    use = [i for i, (name, unit) in named if unit == "iod" and "asymmetry" not in name]
    out = np.full(len(curves.time), np.nan)
    for start, stop in runs(np.asarray(np.isfinite(curves.values[:, use]).all(axis=1))) if use else ():
        time = curves.time[start:stop]
        smooth = np.stack([smoothed(time, curves.values[start:stop, i]) for i in use], axis=1)
        out[start:stop] = np.linalg.norm(smooth - np.median(smooth[time <= time[0] + 0.2], axis=0), axis=1)
    return out


def smoothed(time: Array, values: Array, sigma: float = _SIGMA) -> Array:
    """float64 (T,): local straight-line fit with Gaussian weights of `sigma` seconds; no lag at the ends.

    `time` must be even, as `preprocess.clean.resample` makes it; otherwise weights follow the median step.
    """
    if len(values) < 3:
        return np.asarray(values, float)
    step = float(np.median(np.diff(time)))
    reach = int(np.ceil(3.5 * sigma / step))
    k = np.arange(-reach, reach + 1) * step
    w, ones = np.exp(-0.5 * (k / sigma) ** 2), np.ones(len(values))
    # convolution flips the kernel, hence the signs of the odd moments
    s0, s1, s2 = (np.convolve(ones, m, "full")[reach:-reach] for m in (w, -k * w, k * k * w))
    centre = float(np.mean(values))
    x = np.asarray(values, float) - centre
    t0, t1 = (np.convolve(x, m, "full")[reach:-reach] for m in (w, -k * w))
    return np.asarray(centre + (s2 * t0 - s1 * t1) / (s0 * s2 - s1 * s1))


def _named(curves: Signals, name: str) -> tuple[Array, str]:
    if name == ACTIVITY and name not in curves.names:
        return activity(curves), "iod"
    if name not in curves.names:
        known = ", ".join((*curves.names, ACTIVITY))
        raise UsageError(f"There is no curve '{name}'; choose one of: {known}.")
    return curves[name], curves.units[curves.names.index(name)]


def _in_run(time: Array, values: Array, least: float) -> Iterator[tuple[Phase, float, tuple[float, float]]]:
    """Upward expressions of one seen stretch: (phase, amplitude, (start, stop) in seconds)."""
    grid = np.arange(time[0], time[-1] + 1e-6, _STEP)
    if len(grid) < 2 * _STILL / _STEP:
        return
    raw = np.interp(grid, time, values)
    y = smoothed(grid, raw)
    tops = _tops(y, least)
    if not tops:
        return
    bounds = [0, *(a + int(np.argmin(y[a:b])) for a, b in pairwise(tops)), len(y) - 1]
    for top, (low, high) in zip(tops, pairwise(bounds), strict=True):
        if (expression := _expression(y, top, low, high)) is None:
            continue
        first, last, size, marks = expression
        scatter = 1.4826 * float(np.median(np.abs(raw - y)[first : last + 1]))
        wide = _STEP * np.count_nonzero(y[low : high + 1] > y[top] - size / 2)
        if size >= max(least, _ROUGH * scatter) and wide >= _SHORT:
            onset, apex, offset, end = (None if m is None else float(grid[m]) for m in marks)
            yield Phase(onset, apex, offset, end), size, (float(grid[first]), float(grid[last]))


def _tops(y: Array, least: float) -> list[int]:
    """Indices of the tops of separate expressions, the clip's ends included."""
    if np.ptp(y) < least:
        return []  # the clip's highest point would always count as a top
    floor = y.min() - 1e3 * np.ptp(y)
    walled = np.r_[floor, y, floor]
    tops = [int(i) - 1 for i in peaks(walled) if prominence(walled, i) >= least]
    while len(tops) > 1:
        dips = [a + int(np.argmin(y[a:b])) for a, b in pairwise(tops)]
        walls = [0, *dips, len(y) - 1]
        shares = []
        for k, dip in enumerate(dips):
            lower = k if y[tops[k]] <= y[tops[k + 1]] else k + 1
            base = y[walls[lower] : walls[lower + 1] + 1].min()
            shares.append((y[tops[lower]] - y[dip]) / (y[tops[lower]] - base))
        k = int(np.argmin(shares))
        if shares[k] >= _SPLIT:
            break
        del tops[k if y[tops[k]] <= y[tops[k + 1]] else k + 1]
    return tops


def _expression(y: Array, top: int, low: int, high: int) -> tuple[int, int, float, list[int | None]] | None:
    """(first, last, amplitude, [onset, apex, offset, end]) of the expression with its `top` in low…high."""
    before, after = y[low : top + 1][::-1], y[top : high + 1]  # both walked outwards
    size = max(y[top] - before.min(), y[top] - after.min())
    rests = [_rest(side, size) for side in (before, after)]
    levels = [rest for rest in rests if rest is not None]
    if not levels:
        return None
    part = y[low : high + 1]
    plateau = float(np.median(part[part >= y[top] - 0.2 * (y[top] - min(levels))]))
    walks = (
        (before, rests[0], low == 0, after if rests[1] is None else None),
        (after, rests[1], high == len(y) - 1, before if rests[0] is None else None),
    )
    lowest: float | None = None  # rest seen on one side decides whether the other, cut, side reaches it
    for _ in range(2):
        b, a = (_side(side, plateau, rest, cut, other, lowest) for side, rest, cut, other in walks)
        shown = [r for r, s in zip(rests, (b, a), strict=True) if r is not None and s.foot is not None]
        lowest = min(shown, default=None)
    marks = [
        None if b.foot is None else top - b.foot,
        None if b.edge is None else top - b.edge,
        None if a.edge is None else top + a.edge,
        None if a.foot is None else top + a.foot,
    ]
    if all(mark is None for mark in marks):
        return None
    first = low if marks[0] is None else marks[0]
    last = high if marks[3] is None else marks[3]
    return first, last, max(b.drop, a.drop), marks


def _rest(side: Array, size: float) -> float | None:
    """Level at which one side comes to rest, walking outwards from half height; None if it stays up."""
    if side[0] - side.min() < 0.25 * size:
        return None
    start = _outermost(side, side[0] - 0.3 * (side[0] - side.min()))
    at, patience = start, round(_FLAT / _STEP)
    for i in range(start, len(side)):
        if side[i] < side[at] - 0.05 * (side[0] - side[at]):
            at = i
        elif i - at >= patience:
            break
    return float(np.median(side[at : at + patience]))


def _outermost(side: Array, level: float) -> int:
    """First index beyond the last sample above `level`; the curve does not come back to it."""
    return min(int(np.flatnonzero(side > level)[-1]) + 1, len(side) - 1)


def _side(
    side: Array, plateau: float, rest: float | None, cut: bool, other: Array | None, lowest: float | None
) -> _Side:
    """Where the plateau ends and where rest is reached, walking outwards; None where the clip is cut.

    `other` is the other side where the clip is cut there: its plateau may in fact be movement.
    """
    if rest is None or plateau <= rest:
        return _Side(None, None, 0.0)
    drop = plateau - rest
    edge = _outermost(side, rest + _HEAD * drop)
    inside = np.flatnonzero(side[edge:] <= rest + _FOOT * drop)
    foot = edge + int(inside[0]) if len(inside) else len(side) - 1
    stands = other is None or _stands(other, side, edge, foot)
    still = (len(side) - 1 - foot) * _STEP >= _STILL - 1e-9
    known = lowest is not None and side[foot] <= lowest + 0.15 * (plateau - lowest)
    seen = len(inside) > 0 and (not cut or still or known)
    return _Side(edge if stands else None, foot if seen else None, drop)


def _stands(other: Array, side: Array, edge: int, foot: int) -> bool:
    """Whether the curve from the cut end of `other` to `edge` is flat compared with that from `edge` to `foot`."""
    still, moving = len(other) - 1 + edge, foot - edge
    slope = abs(other[-1] - side[edge]) / max(still, 1)
    return still * _STEP >= _STILL / 2 and slope < 0.5 * abs(side[edge] - side[foot]) / max(moving, 1)
