"""Pictures of how good an expression network is: what it takes for what, whether its certainty can be trusted, how it
learnt, and its worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import UsageError
from duchenne.metrics import classes
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
    look,
    new_figure,
    short,
    style,
    swatch,
)
from duchenne.types import Array, Json, JsonMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)  # BLUE, VERMILLION
_FEWEST = 10  # images in a bin below which its share is noise


def confusion(names: Sequence[str], matrix: Array, title: str = "What it takes for what") -> Figure:
    """Rows are the truth, columns the answers; a cell is the share of its row in %, blue where it is right.

    `matrix` (K, K) counts images, as `metrics.classes.confusion` does. At the right each class's images and F1.
    UsageError where nothing was counted, or the names do not fit.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(names), len(names)) or not counts.sum():
        shape = " × ".join(map(str, counts.shape))
        raise UsageError(
            f"{len(names)} classes need as many rows and columns of counts, found {shape} of {counts.sum()}."
        )
    shares, f1 = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), classes.f1(counts)
    k, side = len(names), min(0.42, 2.8 / len(names))
    with style():
        figure = new_figure(1.45 + side * k + 0.32)
        heading(figure, title, "% of each row's images; rows: label, columns: answer")
        ax = axes_at(figure, 0.95, 1.3, side * k, side * k)
        ax.imshow(_tints(shares), interpolation="nearest")
        ax.set(xticks=range(k), yticks=range(k), yticklabels=[short(name, 12) for name in names])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.xaxis.tick_top()
        ax.set_xticklabels([short(name, 12) for name in names], rotation=40, ha="left", rotation_mode="anchor")
        small = min(8.5, 22 * side)
        for i, j in np.ndindex(k, k):
            bold, ink = "bold" if i == j else "normal", "white" if shares[i, j] > 0.55 else INK
            ax.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", size=small, color=ink, weight=bold)
        for i, (count, value) in enumerate(zip(counts.sum(axis=1).tolist(), f1.tolist(), strict=True)):
            ax.text(k - 0.3, i, f"{count:,}", va="center", ha="left", size=small, color=SOFT)
            ax.text(k + 1.0, i, f"{value:.2f}" if math.isfinite(value) else "–", va="center", ha="left", size=small)
        ax.text(k - 0.3, k - 0.2, "images", va="center", size=small - 0.5, color=SOFT)
        ax.text(k + 1.0, k - 0.2, "F1", va="center", size=small - 0.5, color=SOFT)
        right = f"{classes.accuracy(counts):.1%} of {counts.sum():,} right"
        figure.text(*at_inches(figure, 0.95, 1.3 + side * k + 0.25), right, size=8.5, va="center", weight="bold")
    return figure


def _tints(shares: Array) -> Array:
    """uint8 (K, K, 3): white for 0, blue on the diagonal and orange beside it for 1; small mistakes are to be seen."""
    colours = np.where(np.eye(len(shares), dtype=bool)[..., None], _RIGHT, _WRONG)
    depth = np.where(np.eye(len(shares), dtype=bool), shares, np.sqrt(shares))[..., None]
    return np.asarray((255 + (colours - 255) * depth).round(), np.uint8)


def training(curves: Mapping[str, Sequence[JsonMap]], *, reference: tuple[str, float] | None = None) -> Figure:
    """How networks learnt: the share of held-back images told right by epoch, and below it the training loss.

    `curves` maps a name to rows of epoch, loss and accuracy (None where nothing was held back); `reference` is a name
    and an accuracy, drawn as a line. The ring marks the best epoch. UsageError where no network has an epoch.
    """
    shown = {name: rows for name, rows in curves.items() if rows}
    if not shown:
        raise UsageError("A learning curve needs at least one epoch, found none.")
    key = 0.2 * len(shown)
    with style():
        figure = new_figure(0.85 + key + 2.3 + 0.3 + 1.3 + 0.5)
        heading(figure, "How it learnt", "by epoch; ring: the epoch that was kept")
        upper = axes_at(figure, 0.75, 0.8 + key, WIDTH - 1.0, 2.3)
        lower = axes_at(figure, 0.75, 0.8 + key + 2.6, WIDTH - 1.0, 1.3)
        for i, (name, rows) in enumerate(shown.items()):
            told = _curve(upper, lower, name, rows, i)
            x, y = at_inches(figure, 0.75, 0.74 + 0.2 * i)
            swatch(figure, x, y, look(i)[0], look(i)[1])
            figure.text(x + 0.3 / WIDTH, y, told, size=8.5, va="center")
        if reference is not None:
            upper.axhline(reference[1], color=GREY, lw=1, ls=(0, (5, 2)), gid="reference")
            note = f"{short(reference[0], 40)} {100 * reference[1]:.1f} %"
            upper.annotate(note, (1, reference[1]), (0, 2), upper.get_yaxis_transform(), textcoords="offset points",
                           size=8, color=SOFT, ha="right", path_effects=halo())  # fmt: skip
        last = max(row["epoch"] for rows in shown.values() for row in rows)
        for ax, label in ((upper, "held-back images told right"), (lower, "loss in training")):
            ax.set_xlim(0.5, max(last, 2) + 0.5)
            ax.set_ylabel(label, size=8.5)
        upper.set_xticklabels([])
        upper.yaxis.set_major_formatter(_percent)
        lower.set_xlabel("epoch")
    return figure


def _curve(upper: Axes, lower: Axes, name: str, rows: Sequence[JsonMap], i: int) -> str:
    """Draw one network; return its line of the key."""
    colour, dash, _ = look(i)
    epochs = [row["epoch"] for row in rows]
    alone = "o" if len(rows) == 1 else None
    right = [math.nan if row["accuracy"] is None else row["accuracy"] for row in rows]
    style_of: Json = {"color": colour, "ls": dash, "lw": 1.6, "marker": alone, "ms": 4}
    upper.plot(epochs, right, gid=f"accuracy-{name}", **style_of)
    lower.plot(epochs, [row["loss"] for row in rows], gid=f"loss-{name}", **style_of)
    if not any(map(math.isfinite, right)):
        return f"{short(name, 34)}, {len(rows)} epochs"
    best = int(np.nanargmax(right))
    upper.plot([epochs[best]], [right[best]], "o", ms=9, mfc="none", mec=colour, mew=1.8, gid=f"best-{name}")
    return f"{short(name, 34)}: {100 * right[best]:.1f} % after {epochs[best]} of {len(rows)} epochs"


def certainty(bins: Mapping[str, Sequence[JsonMap]]) -> Figure:
    """Whether the network is as often right as it is sure: per bin of P(its answer) the share that is right.

    `bins` maps a name to rows of images, claimed (mean P of the answers) and right, the latter two None where a bin is
    empty. Dots grow with the images; below ten they are pale and off the line. UsageError where no bin holds an image.
    """
    if not any(row["images"] for rows in bins.values() for row in rows):
        raise UsageError("A picture of certainty needs answers, found none.")
    side, key = 3.3, 0.2 * len(bins)
    most = max(row["images"] for rows in bins.values() for row in rows)
    with style():
        figure = new_figure(0.85 + key + side + 0.55)
        heading(figure, "Is it as often right as it is sure?", "on the line: 70 % sure is right 70 % of the time")
        ax = axes_at(figure, 0.75, 0.8 + key, side, side)
        ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (1, 1.6)))
        ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="P of its answer", ylabel="share of these that is right")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(_percent)
        for i, (name, rows) in enumerate(bins.items()):
            seen, (colour, dash, mark) = [row for row in rows if row["images"]], look(i)
            x, y = [row["claimed"] for row in seen], [row["right"] for row in seen]
            count = np.array([row["images"] for row in seen])
            enough = count >= _FEWEST
            ax.plot(np.array(x)[enough], np.array(y)[enough], color=colour, ls=dash, lw=1.3, gid=f"certainty-{name}")
            for at, share, number in zip(x, y, count, strict=True):
                pale = 0.35 if number < _FEWEST else 1.0
                ax.scatter([at], [share], s=14 + 130 * number / most, marker=mark, color=colour, alpha=pale, ec="white")
            gap = sum(n * abs(a - b) for n, a, b in zip(count, x, y, strict=True)) / count.sum()
            left, top = at_inches(figure, 0.75, 0.74 + 0.2 * i)
            swatch(figure, left, top, colour, dash)
            told = f"{short(name, 34)}   ECE {gap:.3f}, {count.sum():,} images"
            figure.text(left + 0.3 / WIDTH, top, told, size=8.5, va="center")
    return figure


def mistakes(images: Array, labels: Sequence[str], answers: Sequence[str], p: Array, *, across: int = 5) -> Figure:
    """A sheet of mistakes for looking at: each image with its label, and below it the answer and how sure it was.

    images uint8 (N, H, W); `p` (N,) is P of the answer. They are drawn in the order given. UsageError where there are
    none, or the numbers differ.
    """
    if not len(images) or not len(images) == len(labels) == len(answers) == len(p):
        raise UsageError(
            f"A sheet of mistakes needs images with a label, an answer and a P each, found {len(images)}, "
            f"{len(labels)}, {len(answers)} and {len(p)}."
        )
    side = (WIDTH - 0.3) / across - 0.08
    step = side + 0.4
    with style():
        figure = new_figure(0.7 + -(-len(images) // across) * step)
        heading(figure, f"Its {len(images)} surest mistakes", "above: the label; below: its answer and how sure it is")
        for i, image in enumerate(images):
            ax = axes_at(figure, 0.15 + (i % across) * (side + 0.08), 0.85 + i // across * step, side, side)
            ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            ax.set_axis_off()
            ax.set_title(short(labels[i], 14), size=8, pad=2, color=BLUE)
            told = f"{short(answers[i], 12)} {100 * p[i]:.0f} %"
            ax.text(0.5, -0.03, told, size=8, color=VERMILLION, va="top", ha="center", transform=ax.transAxes)
    return figure


def _percent(value: float, _: float = 0) -> str:
    return f"{100 * value:.0f} %" if value else "0"
