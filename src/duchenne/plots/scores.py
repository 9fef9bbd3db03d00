"""Figures of an evaluation: arrays in, a matplotlib Figure out.

`p` is float (N,), P(genuine), NaN where a method did not answer; `y` is (N,), 1 genuine and 0 posed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import metrics
from duchenne.errors import UsageError
from duchenne.plots.figures import (
    BLUE,
    GREY,
    SOFT,
    VERMILLION,
    WIDTH,
    axes_at,
    halo,
    heading,
    key,
    look,
    new_figure,
    percent,
    short,
    style,
)
from duchenne.plots.text import finite
from duchenne.types import Array, JsonMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, tuple[Array, Array]]

_FEWEST = 20  # answered clips below which a share of them is noise and is not drawn


# --- forest -------------------------------------------------------------------------------------------------


def forest(
    rows: Sequence[JsonMap],
    *,
    human: float | None = None,
    chance: float = 0.5,
    title: str = "Accuracy on people not seen in training",
) -> Figure:
    """Every method and baseline with its 95 % interval, the best on top; baselines are grey.

    Each row has `name`, `accuracy` (0..1), `interval` ((low, high) or None) and `kind` ("method" or "baseline").
    `human` is the accuracy of a single rater and `chance` that of guessing, both lines. Rows without an accuracy are
    listed below the figure. UsageError where no row has one.
    """
    shown = sorted((r for r in rows if finite(r["accuracy"])), key=lambda r: -r["accuracy"])
    if not shown:
        raise UsageError("A forest plot needs at least one method with an accuracy, found none.")
    left_out = ", ".join(short(r["name"], 30) for r in rows if not finite(r["accuracy"]))
    step, right, tall = 0.47, 1.3, 0.47 * len(shown)
    with style():
        figure = new_figure(0.88 + tall + 0.52 + 0.2 * bool(left_out))
        heading(figure, title, "bar: 95 % interval over people")
        ax = axes_at(figure, 0.2, 0.88, WIDTH - 0.4 - right, tall)
        ends = [chance, *([human] if finite(human) else []), *(end for r in shown for end in _interval(r))]
        ax.set(xlim=(max(min(ends) - 0.04, 0), min(max(ends) + 0.03, 1)), ylim=(tall, 0), yticks=[])
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_formatter(percent)
        wide = float(np.ptp(ax.get_xlim()))
        ax.xaxis.set_major_locator(_steps(5 if wide < 0.4 else 10 if wide < 0.7 else 20))
        ax.set_xlabel("accuracy")
        _references(ax, human, chance)
        for i, row in enumerate(shown):
            _forest_row(ax, row, step * i)
        if left_out:
            figure.text(
                0.2 / WIDTH, 0.07 / figure.get_figheight(), short(f"No score: {left_out}", 72), size=8, color=SOFT
            )
    return figure


def _forest_row(ax: Axes, row: JsonMap, top: float) -> None:
    own, middle = row["kind"] == "method", top + 0.315
    colour, tint = (BLUE, "#b3d4e8") if own else (GREY, "#d9dce1")
    weight, wide, (low, high) = "bold" if own else "normal", ax.get_yaxis_transform(), _interval(row)
    name = ax.text(0, top + 0.2, short(row["name"], 46), transform=wide, size=9.5, weight=weight, va="bottom")
    name.set_path_effects(halo())
    ax.plot([low, high], [middle] * 2, color=tint, lw=6, solid_capstyle="round")
    ax.plot([row["accuracy"]], [middle], "o", color=colour, ms=8.5 if own else 7, mec="white", mew=1.2, zorder=4)

    def right(text: str, points: float, **look: Any) -> None:
        ax.annotate(text, (1, middle), (points, 0), wide, textcoords="offset points", va="center", **look)

    right(f"{100 * row['accuracy']:.1f} %", 8, size=10, weight=weight)
    if high > low:
        right(f"{100 * low:.0f}–{100 * high:.0f}", 58, size=8.5, color=SOFT)


def _references(ax: Axes, human: float | None, chance: float) -> None:
    """Vertical lines for chance and a single rater, named above the figure without overlap."""
    lines = [(chance, f"chance {100 * chance:.0f} %", SOFT, (0, (1, 1.6)))]
    if finite(human):
        lines.append((human, f"a single rater {100 * human:.0f} %", VERMILLION, (0, (5, 2))))
    lines.sort(key=lambda line: line[0])
    left, right = ax.get_xlim()
    letter = (
        0.073 / (ax.get_position().width * WIDTH) * (right - left)
    )  # about the width of a DejaVu letter at 8.5 points
    for i, (x, text, colour, dash) in enumerate(lines):
        ax.axvline(x, color=colour, lw=1.2, ls=dash, zorder=2.5)
        after = sum(len(later[1]) + 2 for later in lines[i + 1 :]) * letter
        start = max(min(x - len(text) * letter / 2, right - len(text) * letter - after), left)
        left = start + (len(text) + 2) * letter
        ax.annotate(text, (start, 0), (0, 3), textcoords="offset points", va="bottom", size=8.5, color=colour)


def _interval(row: JsonMap) -> tuple[float, float]:
    low, high = row.get("interval") or (None, None)
    return (low, high) if finite(low) and finite(high) else (row["accuracy"],) * 2


# --- ROC ----------------------------------------------------------------------------------------------------


def roc(curves: Curves, title: str, *, human: tuple[float, float] | None = None) -> Figure:
    """One panel per emotion with its ROC, those of other emotions faint, AUC and the number of answered clips.

    `curves` maps an emotion to (p, y) of one method. `human` is (posed called genuine, genuine called genuine) of a
    single rater. A panel with one class only has no curve and states it. UsageError for no curves.
    """
    if not curves:
        raise UsageError("A ROC figure needs the answers of at least one emotion, found none.")
    answered = {name: _answered(name, p, y) for name, (p, y) in curves.items()}
    lines = {name: roc_points(p, y) for name, (p, y) in answered.items()}
    columns = min(len(curves), 2)
    side = (WIDTH - 0.7 - 0.24 - 0.34 * (columns - 1)) / columns
    down = -(-len(curves) // columns)
    with style():
        figure = new_figure(0.82 + down * (side + 0.36) + 0.3)
        heading(figure, title, "each emotion among the others; dotted: guessing")
        for i, name in enumerate(curves):
            row, column = divmod(i, columns)
            ax = axes_at(figure, 0.7 + column * (side + 0.34), 0.95 + row * (side + 0.36), side, side)
            _roc_panel(ax, name, lines, len(answered[name][0]))
            if human is not None:
                _rater(ax, human, named=i == 0)
            ax.tick_params(labelleft=column == 0, labelbottom=i + columns >= len(curves))
            if column == 0:
                ax.set_ylabel("genuine called genuine")
            if i + columns >= len(curves):
                ax.set_xlabel("posed called genuine")
    return figure


def roc_points(p: Array, y: Array) -> tuple[Array, Array]:
    """(false, true positive rate), float64 (K,) each, from (0, 0) to (1, 1); NaN where one class is missing.

    Rows with one score are called together; no p may be NaN.
    """
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.diff(p[order], append=np.nan) != 0)
    truth = np.concatenate([[0.0], np.cumsum(y[order])[last]])
    called = np.concatenate([[0.0], last + 1.0])
    with np.errstate(invalid="ignore"):
        return (called - truth) / np.float64((1 - y).sum()), truth / np.float64(y.sum())


def _roc_panel(ax: Axes, name: str, lines: Mapping[str, tuple[Array, Array]], rows: int) -> None:
    fpr, tpr = lines[name]
    for other, (x, y) in lines.items():
        if other != name:
            ax.plot(x, y, color="#d3d7dd", lw=0.8)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (1, 1.6)))
    ax.plot(fpr, tpr, color=BLUE, lw=2, solid_joinstyle="round", gid=f"roc-{name}")
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)
    label = "no answers" if not rows else f"AUC {area:.3f}" if math.isfinite(area) else "one class only"
    ax.text(0.98, 0.14, label, ha="right", weight="bold", size=10, color=BLUE).set_path_effects(halo())
    ax.text(0.98, 0.04, f"{rows:,} clips", ha="right", size=8.5, color=SOFT).set_path_effects(halo())
    ax.set_title(short(name, 24), loc="left", size=10, weight="bold", pad=4)
    ax.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)


def _rater(ax: Axes, human: tuple[float, float], named: bool) -> None:
    ax.plot(*([value] for value in human), "D", color=VERMILLION, ms=6.5, mec="white", mew=1, zorder=5)
    if named:
        text = ax.annotate(
            "single rater", human, (6, -5), textcoords="offset points", va="top", size=8.5, color=VERMILLION
        )
        text.set_path_effects(halo())


# --- reliability --------------------------------------------------------------------------------------------


def reliability(p_by_method: Mapping[str, Array], y: Array, *, bins: int = 10) -> Figure:
    """Reliability diagram: share genuine by predicted probability, in equal bins, with ECE and the clips of each bin.

    Dots are at the mean p of their bin and grow with its clips. UsageError for no method, a p outside 0..1, and
    different lengths.
    """
    methods = _methods(p_by_method, y)
    side, strip = 3.55, 0.5
    with style():
        figure = new_figure(0.8 + side + 0.75 + strip * len(methods) + 0.1)
        heading(figure, "Reliability", "on the diagonal, 70 % predicted is genuine 70 % of the time")
        ax = axes_at(figure, 0.75, 0.8, side, side)
        ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (1, 1.6)))
        ax.set(xlim=(0, 1), ylim=(-0.01, 1.01), xlabel="predicted P(genuine)", ylabel="share genuine")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(percent)
            axis.set_major_locator(_steps(20))
        for i, (name, (p, truth)) in enumerate(methods.items()):
            count, claimed, share, ece = calibration(p, truth, bins)
            seen, (colour, dash, mark) = count > 0, look(i)
            ax.plot(claimed[seen], share[seen], color=colour, ls=dash, lw=1.3, gid=f"reliability-{name}")
            size = 14 + 130 * count[seen] / max(int(count.max()), 1)
            ax.scatter(claimed[seen], share[seen], s=size, marker=mark, color=colour, ec="white", lw=0.9, zorder=3)
            text = f"{short(name, 34)}   ECE {_three(ece)}, {len(p):,} clips"
            _counts(figure, 0.8 + side + 0.62 + strip * i, side, count, (colour, mark, text))
    return figure


def calibration(p: Array, y: Array, bins: int) -> tuple[Array, Array, Array, float]:
    """(clips, mean p, share genuine) per bin of equal width, each (bins,) and NaN where empty, and ECE."""
    at = np.minimum((p * bins).astype(int), bins - 1)
    count, claimed, right = (np.bincount(at, weights, bins) for weights in (None, p, y))
    with np.errstate(invalid="ignore"):
        return count, claimed / count, right / count, metrics.ece(p, y, bins=bins)


def _counts(figure: Figure, top: float, width: float, count: Array, label: tuple[str, str, str]) -> None:
    """A strip with the number of clips in every bin, headed by the method's mark and name."""
    colour, mark, text = label
    ax = axes_at(figure, 0.75, top + 0.19, width, 0.22)
    ax.set(xlim=(0, len(count)), ylim=(0, 1), xticks=[], yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    for i, number in enumerate(count.tolist()):
        ax.axvspan(i + 0.03, i + 0.97, color=colour, alpha=0.06 + 0.4 * number / max(count.max(), 1), lw=0)
        ax.text(i + 0.5, 0.46, f"{number}", ha="center", va="center", size=7.5)
    ax.plot([0.14], [1.45], mark, color=colour, ms=6, clip_on=False)
    ax.text(0.42, 1.42, text, va="center", size=8.5)


# --- risk and coverage --------------------------------------------------------------------------------------


def risk_coverage(
    p_by_method: Mapping[str, Array], y: Array, *, abstain: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Accuracy if only the most confident clips are answered, against their share.

    `abstain` marks (coverage, accuracy) of a method where it abstains by its own rule. The dotted line is the majority
    class. A curve begins at 20 answered clips: less is noise. UsageError as in `reliability`.
    """
    methods, y = _methods(p_by_method, y), np.asarray(y)
    base = max(float(np.mean(y)), 1 - float(np.mean(y)))
    drawn = {name: coverage_curve(p, truth, len(y)) for name, (p, truth) in methods.items()}
    marks = {name: point for name, point in (abstain or {}).items() if name in drawn}
    legend = 0.2 * len(methods)
    with style():
        figure = new_figure(0.78 + legend + 3.0 + 0.55)
        heading(
            figure,
            "Accuracy when abstaining",
            "on the most confident clips" + "; ring: the method's own rule" * bool(marks),
        )
        ax = axes_at(figure, 0.7, 0.85 + legend, WIDTH - 0.95, 2.95)
        heights = [base, *(v for _, right in drawn.values() for v in right), *(point[1] for point in marks.values())]
        floor, ceiling = min(heights), max(heights)
        ax.set(xlim=(0, 1.01), ylim=(max(floor - 0.05, -0.01), min(ceiling + 0.03, 1.01)))
        ax.set(xlabel="share of clips answered", ylabel="accuracy of those")
        ax.xaxis.set_major_formatter(percent)
        ax.yaxis.set_major_formatter(percent)
        ax.axhline(base, color=GREY, lw=1, ls=(0, (1, 1.6)))
        common = "genuine" if float(np.mean(y)) >= 0.5 else "posed"
        note = ax.annotate(f"always “{common}”", (1, base), (0, -3), textcoords="offset points", va="top", size=8.5)
        note.set(color=SOFT, ha="right", path_effects=halo())
        for i, (name, (share, right)) in enumerate(drawn.items()):
            colour, dash, _ = look(i)
            ax.plot(share, right, color=colour, ls=dash, lw=1.8, gid=f"coverage-{name}")
            text = short(name, 30) + (f"   {100 * right[-1]:.1f} %" if len(right) else "   too few answers")
            if name in marks:
                where, rate = marks[name]
                ax.plot([where], [rate], "o", ms=9, mfc="white", mec=colour, mew=2, zorder=5)
                text += f"; {100 * rate:.1f} % where it answers {100 * where:.0f} %"
            key(figure, 0.7, 0.79 + 0.2 * i, text, colour, dash)
    return figure


def coverage_curve(p: Array, y: Array, total: int) -> tuple[Array, Array]:
    """(coverage of `total` clips, accuracy), float64 (K,) each, most confident first, ties together."""
    share, right = metrics.risk_coverage(p, y)
    rows = np.rint(share * len(p))
    enough = rows >= min(_FEWEST, total)
    return rows[enough] / max(total, 1), right[enough]


def _steps(percent: int) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(percent / 100)


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _methods(p_by_method: Mapping[str, Array], y: Array) -> dict[str, tuple[Array, Array]]:
    if not p_by_method:
        raise UsageError("This figure needs the answers of at least one method, found none.")
    methods = {name: _answered(name, p, y) for name, p in p_by_method.items()}
    for name, (p, _) in methods.items():
        if ((p < 0) | (p > 1)).any():
            raise UsageError(f"P(genuine) of {name} must lie between 0 and 1, found {p.min():g} to {p.max():g}.")
    return methods


def _answered(name: str, p: Array, y: Array) -> tuple[Array, Array]:
    """float64 p and int64 y of the answered rows; UsageError for labels other than 0 and 1."""
    p, y = np.asarray(p, float), np.asarray(y)
    if p.ndim != 1 or p.shape != y.shape:
        raise UsageError(f"p and y of {name} must be vectors of one length, found the shapes {p.shape} and {y.shape}.")
    if not np.isin(y, (0, 1)).all():
        raise UsageError(f"Labels of {name} must be 1 (genuine) or 0 (posed); correct them.")
    keep = ~np.isnan(p)
    return p[keep], y[keep].astype(np.int64)
