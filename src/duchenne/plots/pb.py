"""Pictures of an LSTM-PB: where clips lie in PB space, and predictions beside what came.

In both the question is what a picture may hide: how much of the spread two axes show, and whether a prediction is any
better than expecting that nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import UsageError
from duchenne.plots.board import (
    BLUE,
    GREY,
    INK,
    SOFT,
    VERMILLION,
    WIDTH,
    at_inches,
    axes_at,
    halo,
    heading,
    new_figure,
    short,
    style,
    swatch,
)  # fmt: skip
from duchenne.types import LABELS, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Coordinates of `features.points40` (x0 y0 x1 y1 …) that tell most of an expression.
SHOWN = {
    "mouth’s left corner, sideways": 64,
    "mouth’s left corner, up and down": 65,
    "lower lip": 69,
    "left upper lid": 47,
    "left brow": 15,
}
_NAMED = 12  # people: with more, their names would hide the clips


def pb_space(vectors: Array, labels: Array, people: Sequence[object] | Array, title: str = "PB space") -> Figure:
    """Clips in the plane of the two largest principal components of their PB vectors, a mark and colour per label, and
    thin lines from each clip to the mean of its person, who is named where there are few.

    vectors float (N, D), rows with NaN left out; labels (N,) 1 genuine and 0 posed; people (N,). It says how much of
    the variance the plane shows, and how much of it lies between people and between labels (`share_between`). Raises
    UsageError for fewer than 3 vectors, and for lengths that differ.
    """
    vectors, y, who = np.asarray(vectors, float), np.asarray(labels), np.asarray([str(each) for each in people])
    if vectors.ndim != 2 or not len(vectors) == len(y) == len(who):
        raise UsageError(
            f"PB vectors must be (N, D) with N labels and people, found {vectors.shape}, {len(y)} and {len(who)}."
        )
    keep = np.isfinite(vectors).all(axis=1)
    vectors, y, who = vectors[keep], y[keep], who[keep]
    if len(vectors) < 3:
        raise UsageError(f"At least 3 PB vectors are needed for a picture, found {len(vectors)}.")
    flat, shown = plane(vectors)
    by_person, by_label = share_between(vectors, who), share_between(vectors, y)
    with style():
        figure = new_figure(5.3)
        heading(figure, title, f"{len(flat):,} clips of {len(np.unique(who)):,} people; lines lead to a person’s mean")
        ax = axes_at(figure, 0.95, 1.0, WIDTH - 1.15, 3.4)
        _people(ax, flat, who)
        for label, (colour, mark) in enumerate(((BLUE, "o"), (VERMILLION, "D"))):
            mine = flat[y == label]
            ax.plot(*mine.T, mark, color=colour, ms=5.5, mec="white", mew=0.6, zorder=3, gid=f"pb-{LABELS[label]}")
            x, height = at_inches(figure, 0.62 + 1.5 * label, 0.82)
            figure.text(x, height, {"o": "●", "D": "◆"}[mark], color=colour, size=9, va="center")
            figure.text(x + 0.16 / WIDTH, height, f"{LABELS[label]}, {len(mine):,}", size=8.5, va="center")
        ax.set(xlabel=f"first component, {shown[0]:.0%} of the variance", ylabel=f"second, {shown[1]:.0%}")
        ax.set_aspect("equal", adjustable="datalim")
        ax.margins(0.06)
        ax.locator_params(nbins=5)
        text = (
            f"Shown: {sum(shown):.0%} of the variance in {vectors.shape[1]} dimensions. Of all of it\n"
            f"{_share(by_person)} lies between people and {_share(by_label)} between labels."
        )
        figure.text(*at_inches(figure, 0.2, 4.87), text, size=8.5, color=SOFT, va="top", linespacing=1.35)
    return figure


def plane(vectors: Array) -> tuple[Array, Array]:
    """(coordinates (N, 2) on the two largest principal components, their shares of the variance (2,)).

    A component's sign is set so that its largest weight is positive. Where nothing varies all is 0.
    """
    centred = vectors - vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    power = np.concatenate([sizes**2, [0.0, 0.0]])
    flat = np.concatenate([centred @ axes[:2].T, np.zeros((len(vectors), 2))], axis=1)[:, :2]
    return flat, power[:2] / max(power.sum(), np.finfo(float).tiny)


def share_between(vectors: Array, groups: Array) -> float:
    """Share (0..1) of the variance of vectors (N, D) that lies between the means of their groups (N,), less what groups
    drawn by lot would show (ε²), and not below 0; NaN where nothing varies or every clip is a group of its own."""
    total = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    names, which = np.unique(groups, return_inverse=True)
    means = np.stack([vectors[which == i].mean(axis=0) for i in range(len(names))])
    within = float(((vectors - means[which]) ** 2).sum())
    spare = len(vectors) - len(names)
    if not total or not spare:
        return float("nan")
    return max(0.0, 1.0 - (within / spare) / (total / (len(vectors) - 1)))


def _share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "an unknown part"


def _people(ax: Axes, flat: Array, who: Array) -> None:
    names = np.unique(who)
    for name in names:
        mine = flat[who == name]
        centre = mine.mean(axis=0)
        for clip in mine:
            ax.plot(*np.array([centre, clip]).T, color=GREY, lw=0.5, alpha=0.6, zorder=1.5)
        if len(names) <= _NAMED:
            text = ax.annotate(short(name, 16), centre, ha="center", va="center", size=8.5, color=INK, zorder=4)
            text.set_path_effects(halo())


def prediction(
    x: Array,
    predicted: Array,
    time: Array,
    *,
    shown: Mapping[str, int] = SHOWN,
    title: str = "What the network expects, and what comes",
) -> Figure:
    """A few coordinates over time beside their predictions, a panel each, with the error against that of stillness.

    x, predicted float (T, D), where row t of `predicted` is of frame t + 1, as `LSTMPB` returns it; time (T,) seconds;
    `shown` maps a coordinate's name to its column. Stillness expects each frame to be as the one before: from 1 on a
    prediction is no better than that. Values are those of the sequence, downwards positive. UsageError for shapes that
    do not fit and for fewer than 2 frames.
    """
    x, predicted, time = np.asarray(x, float), np.asarray(predicted, float), np.asarray(time, float)
    if x.ndim != 2 or x.shape != predicted.shape or time.shape != (len(x),) or len(x) < 2:
        raise UsageError(
            f"Target and prediction must be (T, D) with T times and T at least 2, found {x.shape}, {predicted.shape} "
            f"and {time.shape}."
        )
    if out := [name for name, column in shown.items() if not 0 <= column < x.shape[1]]:
        raise UsageError(f"There is no column {shown[out[0]]} for '{out[0]}'; the sequence has {x.shape[1]}.")
    step, tall = 1.02, 0.68
    with style():
        figure = new_figure(0.95 + step * len(shown) + 0.35)
        heading(figure, title, f"mean squared error, all coordinates: {_against(x, predicted)}")
        for i, (text, colour, dash) in enumerate((("what came", INK, "-"), ("predicted one frame before", BLUE, "-"))):
            place, height = at_inches(figure, 0.2 + 1.35 * i, 0.78)
            swatch(figure, place, height, colour, dash)
            figure.text(place + 0.3 / WIDTH, height, text, size=8.5, va="center")
        for i, (name, column) in enumerate(shown.items()):
            ax = axes_at(figure, 0.62, 1.18 + step * i, WIDTH - 0.82, tall)
            ax.plot(time, x[:, column], color=INK, lw=1.1, gid=f"target-{column}")
            ax.plot(time[1:], predicted[:-1, column], color=BLUE, lw=1.6, alpha=0.85, gid=f"predicted-{column}")
            error = _against(x[:, [column]], predicted[:, [column]])
            ax.set_title(f"{short(name, 34)}: {error}", loc="left", size=8.5, pad=3)
            ax.set(xlim=(time[0], time[-1]))
            ax.locator_params(axis="y", nbins=3)
            ax.tick_params(labelbottom=i == len(shown) - 1)
            if i == len(shown) - 1:
                ax.set_xlabel("seconds")
    return figure


def _against(x: Array, predicted: Array) -> str:
    still = float(((x[1:] - x[:-1]) ** 2).mean())
    error = float(((x[1:] - predicted[:-1]) ** 2).mean())
    return f"{error / still:.2g} × stillness’" if still else "nothing moves"
