"""Figures of an LSTM-PB: clips in PB space, and predictions beside the observed movement.

Both state what they hide: the share of the variance that two axes show, and the error relative to predicting that
nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne.errors import UsageError
from duchenne.plots.figures import (
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
    key,
    new_figure,
    short,
    style,
)
from duchenne.types import LABELS, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Coordinates of `features.points40` (x0 y0 x1 y1 …) that carry most of an expression.
SHOWN = {
    "mouth’s left corner, sideways": 64,
    "mouth’s left corner, up and down": 65,
    "lower lip": 69,
    "left upper lid": 47,
    "left brow": 15,
}
_NAMED = 12  # people: with more, their names would hide the clips
_CROWD, _FAR = 20, 4.0  # clips from which outliers are drawn at the edge; multiple of the 90th percentile distance
_LABEL_MARKS = ((VERMILLION, "o"), (BLUE, "D"), (GREY, "s"))  # as in the report
_GIDS = (*(f"pb-{label}" for label in LABELS), "pb-unlabelled")
_AROUND = ((0, 1), (1, 0), (-1, 0), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))


def pb_space(
    vectors: Array,
    labels: Sequence[object] | Array,
    people: Sequence[object] | Array,
    title: str = "PB space",
    *,
    typical: Array | None = None,
    of_typical: str = "{} training clips’ mean",
    names: Sequence[str] | None = None,
) -> Figure:
    """Clips in the plane of the two largest principal components of their PB vectors, a mark and colour per label, and
    thin lines from each clip to the mean of its person, named if few.

    vectors float (N, D), rows with NaN left out; labels (N,) 1 genuine, 0 posed and None or NaN unknown; people (N,),
    None where unknown; names (N,) are written beside the marks. `typical` (2, D), called `of_typical`, are PB vectors
    of posed and of genuine, drawn large, without effect on the plane. With them fewer than 3 clips, and clips without
    any label, are shown in a plane through the line from one to the other (`along`). States the variance that the plane
    shows, and its shares between people and between labels (`share_between`) where known. UsageError for fewer than 3
    vectors without `typical`, for none, and for different lengths.
    """
    vectors, y = np.asarray(vectors, float), np.asarray(labels, float)
    who = np.array(["" if each is None else str(each) for each in people], str)
    called = np.array([""] * len(vectors) if names is None else [short(name, 26) for name in names], str)
    if vectors.ndim != 2 or not len(vectors) == len(y) == len(who) == len(called):
        raise UsageError(
            f"PB vectors must be (N, D) with N labels and people, found {vectors.shape}, {len(y)} and {len(who)}."
        )
    means = np.zeros((0, vectors.shape[1])) if typical is None else np.asarray(typical, float)
    if means.shape not in {(0, vectors.shape[1]), (2, vectors.shape[1])}:
        raise UsageError(f"Typical PB vectors must be (2, {vectors.shape[1]}), found {means.shape}.")
    keep = np.isfinite(vectors).all(axis=1)
    vectors, y, who, called = vectors[keep], y[keep], who[keep], called[keep]
    if len(vectors) < (1 if len(means) else 3):
        least = "1 PB vector is" if len(means) else "3 PB vectors are"
        raise UsageError(f"At least {least} needed for this figure, found {len(vectors)}.")
    lone = bool(len(means)) and (len(vectors) < 3 or bool(_unlabelled(y).all()))
    flat, shown = along(vectors, means) if lone else plane(vectors, means)
    flat, means = flat[: len(vectors)], flat[len(vectors) :]
    with style():
        down = 0.22 * bool(len(means))
        figure = new_figure(5.5 + down)
        heading(figure, title, _crowd(who))
        _legend(figure, y, of_typical if len(means) else "")
        ax = axes_at(figure, 0.95, 1.0 + down, WIDTH - 1.15, 3.4)
        ax.set_aspect("equal", adjustable="datalim")
        ax.margins(0.14 if len(flat) <= _NAMED else 0.06)
        ax.locator_params(nbins=5)
        if lone:
            ax.set(xlabel="from posed to genuine", ylabel="away from the line between them")
        else:
            ax.set(xlabel=f"first component, {shown[0]:.0%} of the variance", ylabel=f"second, {shown[1]:.0%}")
        _limits(ax, flat, means)
        clipped = _clipped(ax, flat)
        _clips(ax, flat, clipped, y)
        _typical(ax, means)
        _people(ax, flat, clipped, who, called, means)
        far = int((flat != clipped).any(axis=1).sum())
        text = _shares(vectors, who, y, shown, lone) + f"\n{far:,} far off, drawn hollow at the edge." * bool(far)
        figure.text(*at_inches(figure, 0.2, 4.87 + down), text, size=8, color=SOFT, va="top", linespacing=1.35)
    return figure


def plane(vectors: Array, others: Array | None = None) -> tuple[Array, Array]:
    """(coordinates (N, 2) on the two largest principal components, their shares of the variance (2,)).

    The largest weight of a component is positive. Without variance all is 0. `others` (M, D) are
    projected into the same plane and follow as further rows.
    """
    centre = vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(vectors - centre, full_matrices=False)
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    power = np.concatenate([sizes**2, [0.0, 0.0]])
    seen = vectors if others is None else np.concatenate([vectors, others])
    flat = np.concatenate([(seen - centre) @ axes[:2].T, np.zeros((len(seen), 2))], axis=1)[:, :2]
    return flat, power[:2] / max(power.sum(), np.finfo(float).tiny)


def along(vectors: Array, ends: Array) -> tuple[Array, Array]:
    """(coordinates (N + 2, 2), those of `ends` last; shares (2,)): distance along the line through `ends` (2, D), from
    its middle towards the second, and distance from that line, as far as one direction shows it.

    Shares are of the squared distances from the middle of `vectors` (N, D), of which 1 is shown wholly.
    """
    middle, way = ends.mean(axis=0), ends[1] - ends[0]
    way = way / max(float(np.linalg.norm(way)), np.finfo(float).tiny)
    gone = vectors - middle
    rest = gone - np.outer(gone @ way, way)
    _, _, axes = np.linalg.svd(rest, full_matrices=False)
    up = axes[0] * (np.sign((rest @ axes[0]).sum()) or 1.0)
    flat = (np.concatenate([vectors, ends]) - middle) @ np.stack([way, up]).T
    power = (flat[: len(vectors)] ** 2).sum(axis=0)
    return flat, power / max(float((gone**2).sum()), np.finfo(float).tiny)


def share_between(vectors: Array, groups: Array) -> float:
    """Share (0..1) of the variance of vectors (N, D) that lies between the means of their groups (N,), corrected
    for chance (ε²), and not below 0; NaN without variance and where every clip is its own group."""
    total = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    names, which = np.unique(groups, return_inverse=True)
    means = np.stack([vectors[which == i].mean(axis=0) for i in range(len(names))])
    within = float(((vectors - means[which]) ** 2).sum())
    spare = len(vectors) - len(names)
    if not total or not spare:
        return float("nan")
    return max(0.0, 1.0 - (within / spare) / (total / (len(vectors) - 1)))


def _unlabelled(y: Array) -> Array:
    return np.asarray((y != 0) & (y != 1))


def _crowd(who: Array) -> str:
    """How many clips and people are shown."""
    known = who != ""
    n, people = len(who), len(np.unique(who[known]))
    text = f"{n:,} clip{'s' * (n != 1)}"
    if people:
        text += "" if known.all() else f", {known.sum():,} of them"
        text += f" of {people:,} {'people' if people > 1 else 'person'}"
        text += "; lines lead to a person’s mean" if people < known.sum() else ""
    return text


def _shares(vectors: Array, who: Array, y: Array, shown: Array, lone: bool) -> str:
    """The variance that the plane shows, and its shares between people and labels."""
    size = vectors.shape[1]
    if lone:
        whose = "the clip’s" if len(vectors) == 1 else "the clips’"
        return (
            f"Shown: {sum(shown):.0%} of {whose} squared distance from halfway, in {size} dimensions.\n"
            "The nearer mean is not a verdict: the model weighs dimensions."
        )
    found: list[str] = []
    for rows, groups, words in ((who != "", who, "people"), (~_unlabelled(y), y, "labels")):
        share = share_between(vectors[rows], groups[rows]) if len(np.unique(groups[rows])) > 1 else math.nan
        if math.isfinite(share):
            some = "" if rows.all() else f" (of {rows.sum():,} clips)"
            found.append(f"{share:.0%} {'' if found else 'lies '}between {words}{some}")
    text = f"Shown: {sum(shown):.0%} of the variance in {size} dimensions."
    return f"{text} Of all of it\n{' and '.join(found)}." if found else text


def _legend(figure: Figure, y: Array, of_typical: str) -> None:
    counts = [int((y == 0).sum()), int((y == 1).sum()), int(_unlabelled(y).sum())]
    entries = zip(_LABEL_MARKS, (*LABELS, "no label"), counts, strict=True)
    for i, ((colour, mark), name, n) in enumerate(entry for entry in entries if entry[2]):
        _entry(figure, 0.28 + 1.5 * i, 0.82, f"{name}, {n:,}", mark, color=colour, ms=5.5)
    for i, (colour, mark) in enumerate(_LABEL_MARKS[:2] if of_typical else ()):
        x, text = 0.28 + 2.2 * i, of_typical.format(LABELS[i])
        _entry(figure, x, 1.04, text, mark, ms=(9, 8)[i], mfc="white", mec=colour, mew=1.9)
        _entry(figure, x, 1.04, "", mark, ms=2.5, color=colour)


def _entry(figure: Figure, x: float, y: float, text: str, mark: str, **kwargs: Any) -> None:
    from matplotlib.lines import Line2D

    place, height = at_inches(figure, x, y)
    figure.add_artist(Line2D([place], [height], marker=mark, ls="", **kwargs))
    figure.text(place + 0.14 / WIDTH, height - 0.002, text, size=8.5, va="center")


def _limits(ax: Axes, flat: Array, means: Array) -> None:
    """Show all but distant outliers."""
    near = flat
    if len(flat) >= _CROWD:
        low, middle, high = np.quantile(flat, (0.1, 0.5, 0.9), axis=0)
        near = np.clip(flat, middle - _FAR * (middle - low), middle + _FAR * (high - middle))
    ax.update_datalim(np.concatenate([near, means]))
    ax.autoscale_view()
    ax.apply_aspect()
    ax.autoscale(False)


def _clipped(ax: Axes, flat: Array) -> Array:
    """Places (N, 2) within the axes: outliers are moved straight towards the middle, to the edge."""
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    gone = flat - (low + high) / 2
    times = np.abs(gone / (0.475 * (high - low))).max(axis=1, keepdims=True)
    return np.where(times > 1, (low + high) / 2 + gone / np.maximum(times, 1), flat)


def _clips(ax: Axes, flat: Array, clipped: Array, y: Array) -> None:
    outside = (flat != clipped).any(axis=1)
    for i, (colour, mark) in enumerate(_LABEL_MARKS):
        chosen = _unlabelled(y) if i == 2 else y == i
        size = 5.5 if i < 2 else 5.0
        ax.plot(*flat[chosen].T, mark, color=colour, ms=size, mec="white", mew=0.6, zorder=3, gid=_GIDS[i])
        ax.plot(
            *clipped[chosen & outside].T,
            mark,
            mfc="white",
            mec=colour,
            ms=size,
            mew=1.1,
            zorder=3,
            gid=f"{_GIDS[i]}-far",
        )


def _typical(ax: Axes, means: Array) -> None:
    for i, centre in enumerate(means):
        colour, mark = _LABEL_MARKS[i]
        ax.plot(*centre, mark, color="white", ms=(15.5, 13.5)[i], zorder=3.4)
        ax.plot(
            *centre, mark, mfc="white", mec=colour, ms=(12, 10.5)[i], mew=2.2, zorder=3.5, gid=f"typical-{LABELS[i]}"
        )
        ax.plot(*centre, mark, color=colour, ms=3.5, zorder=3.6)


def _people(ax: Axes, flat: Array, clipped: Array, who: Array, called: Array, means: Array) -> None:
    """Lines from clips to the means of their people, and names where there are few."""
    found = np.unique(who[who != ""])
    labels_at: list[tuple[str, Array, bool]] = []
    for name in found:
        chosen = clipped[who == name]
        centre = _clipped(ax, flat[who == name].mean(axis=0, keepdims=True))[0]
        for clip in chosen:
            ax.plot(*np.array([centre, clip]).T, color=GREY, lw=0.5, alpha=0.6, zorder=1.5)
        if len(found) <= _NAMED:
            labels_at.append((short(name, 16), centre, len(chosen) > 1))
    if np.sum(called != "") <= _NAMED:
        labels_at += [(name, place, False) for name, place in zip(called, clipped, strict=True) if name]
    _write(ax, labels_at, clipped, means)


def _write(ax: Axes, labels_at: Sequence[tuple[str, Array, bool]], flat: Array, means: Array) -> None:
    """Labels beside their places (or on them), where they overlap each other and marks least."""
    scale = 72 / ax.figure.dpi
    corners = ax.get_window_extent().get_points() * scale
    marks, large = (ax.transData.transform(each) * scale for each in (flat, means))
    taken = [np.array([place, (8.0, 8.0)]) for place in large]
    for words, place, on_it in labels_at:
        text = ax.annotate(words, (place[0], place[1]), (0, 0), textcoords="offset points", ha="center", va="center")
        text.set(color=INK, size=8.5, weight="bold" if on_it else "normal", zorder=4, path_effects=halo())
        size = text.get_window_extent().get_points() * scale
        half = (size[1] - size[0]) / 2
        middle = ax.transData.transform(place) * scale
        gaps = [(0.0, 0.0)] * on_it + [(x * r, y * r) for r in (1.0, 1.6, 2.4, 3.4) for x, y in _AROUND]
        steps = [np.array([x * (half[0] + 6), y * (half[1] + 5)]) for x, y in gaps]
        hidden = marks[:0] if on_it else marks
        costs = [_cost(middle + step, half, hidden, taken, corners) + 0.05 * i for i, step in enumerate(steps)]
        best = steps[int(np.argmin(costs))]
        text.set_position((best[0], best[1]))
        taken.append(np.array([middle + best, half]))


def _cost(middle: Array, half: Array, marks: Array, taken: Sequence[Array], corners: Array) -> float:
    """Cost of a label there: overlapping another label or the edge is worse than overlapping marks."""
    over = sum(bool((np.abs(middle - other) < half + size).all()) for other, size in taken)
    out = bool((middle - half < corners[0]).any() or (middle + half > corners[1]).any())
    return 10.0 * over + 10.0 * out + float((np.abs(marks - middle) < half + 3).all(axis=1).sum())


def prediction(
    x: Array,
    predicted: Array,
    time: Array,
    *,
    shown: Mapping[str, int] = SHOWN,
    title: str = "Predicted and observed movement",
) -> Figure:
    """Coordinates over time and their predictions, a panel each, with the error relative to no movement.

    x, predicted float (T, D), where row t of `predicted` is of frame t + 1, as `LSTMPB` returns it; time (T,) seconds;
    `shown` maps a coordinate's name to its column. The reference predicts each frame to equal the one before;
    from 1 on a prediction is no better. Values are those of the sequence, downwards positive. UsageError for shapes
    that do not match and for fewer than 2 frames.
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
        heading(figure, title, f"squared error {_relative_error(x, predicted)}; no movement: each frame repeats")
        for i, (text, colour, dash) in enumerate((("observed", INK, "-"), ("predicted one frame before", BLUE, "-"))):
            key(figure, 0.2 + 1.35 * i, 0.78, text, colour, dash)
        for i, (name, column) in enumerate(shown.items()):
            ax = axes_at(figure, 0.62, 1.18 + step * i, WIDTH - 0.82, tall)
            ax.plot(time, x[:, column], color=INK, lw=1.1, gid=f"target-{column}")
            ax.plot(time[1:], predicted[:-1, column], color=BLUE, lw=1.6, alpha=0.85, gid=f"predicted-{column}")
            error = _relative_error(x[:, [column]], predicted[:, [column]])
            ax.set_title(f"{short(name, 34)}: {error}", loc="left", size=8.5, pad=3)
            ax.set(xlim=(time[0], time[-1]))
            ax.locator_params(axis="y", nbins=3)
            ax.tick_params(labelbottom=i == len(shown) - 1)
            if i == len(shown) - 1:
                ax.set_xlabel("seconds of the stretch")
    return figure


def _relative_error(x: Array, predicted: Array) -> str:
    still = float(((x[1:] - x[:-1]) ** 2).mean())
    error = float(((x[1:] - predicted[:-1]) ** 2).mean())
    return f"{error / still:.2g} × no movement’s" if still else "unknown: nothing moves"
