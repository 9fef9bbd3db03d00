"""Figures of an expression network: confusion matrix, calibration, learning curves, and its most confident errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from duchenne.errors import UsageError
from duchenne.metrics import classes
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
    look,
    new_figure,
    percent,
    short,
    style,
)
from duchenne.types import Array, Json, JsonMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)  # BLUE, VERMILLION
_FEWEST = 10  # images in a bin below which its share is noise


def confusion(names: Sequence[str], matrix: Array, title: str = "Confusion matrix") -> Figure:
    """Rows are labels, columns predictions; a cell is the share of its row in %, blue on the diagonal.

    `matrix` (K, K) counts images, as `metrics.classes.confusion` does. At the right the images and F1 of
    each class. UsageError for no counts or other names.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(names), len(names)) or not counts.sum():
        shape = " × ".join(map(str, counts.shape))
        raise UsageError(
            f"Expected counts of {len(names)} × {len(names)} classes, found {shape} with the sum {counts.sum()}."
        )
    shares, f1 = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), classes.f1(counts)
    k, side = len(names), min(0.42, 2.8 / len(names))
    with style():
        figure = new_figure(1.45 + side * k + 0.32)
        heading(figure, title, "% of each row's images; rows: label, columns: prediction")
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
        right = f"{classes.accuracy(counts):.1%} of {counts.sum():,} correct"
        figure.text(*at_inches(figure, 0.95, 1.3 + side * k + 0.25), right, size=8.5, va="center", weight="bold")
    return figure


def _tints(shares: Array) -> Array:
    """uint8 (K, K, 3): white for 0, blue on the diagonal and orange elsewhere for 1, with small errors made visible."""
    colours = np.where(np.eye(len(shares), dtype=bool)[..., None], _RIGHT, _WRONG)
    depth = np.where(np.eye(len(shares), dtype=bool), shares, np.sqrt(shares))[..., None]
    return np.asarray((255 + (colours - 255) * depth).round(), np.uint8)


def training(curves: Mapping[str, Sequence[JsonMap]], *, reference: tuple[str, float] | None = None) -> Figure:
    """Learning curves: accuracy on held-out images by epoch, and below it the training loss.

    `curves` maps a name to rows of epoch, loss and accuracy (None without held-out images); `reference` is a name
    and an accuracy, drawn as a line. The ring marks the best epoch. UsageError where no network has an epoch.
    """
    shown = {name: rows for name, rows in curves.items() if rows}
    if not shown:
        raise UsageError("A learning curve needs at least one epoch, found none.")
    legend = 0.2 * len(shown)
    with style():
        figure = new_figure(0.85 + legend + 2.3 + 0.3 + 1.3 + 0.5)
        heading(figure, "Learning curve", "by epoch; ring: the best epoch")
        upper = axes_at(figure, 0.75, 0.8 + legend, WIDTH - 1.0, 2.3)
        lower = axes_at(figure, 0.75, 0.8 + legend + 2.6, WIDTH - 1.0, 1.3)
        for i, (name, rows) in enumerate(shown.items()):
            key(figure, 0.75, 0.74 + 0.2 * i, _curve(upper, lower, name, rows, i), *look(i)[:2])
        if reference is not None:
            upper.axhline(reference[1], color=GREY, lw=1, ls=(0, (5, 2)), gid="reference")
            note = f"{short(reference[0], 40)} {100 * reference[1]:.1f} %"
            upper.annotate(note, (1, reference[1]), (0, 2), upper.get_yaxis_transform(), textcoords="offset points",
                           size=8, color=SOFT, ha="right", path_effects=halo())  # fmt: skip
        last = max(row["epoch"] for rows in shown.values() for row in rows)
        for ax, label in ((upper, "accuracy on held-out images"), (lower, "training loss")):
            ax.set_xlim(0.5, max(last, 2) + 0.5)
            ax.set_ylabel(label, size=8.5)
        upper.set_xticklabels([])
        upper.yaxis.set_major_formatter(percent)
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
    """Calibration of the top class: accuracy by its predicted probability.

    `bins` maps a name to rows of images, claimed (mean P of the answers) and right, the latter two None where a bin is
    empty. Dots grow with the images; below ten they are pale and not connected. UsageError without images.
    """
    if not any(row["images"] for rows in bins.values() for row in rows):
        raise UsageError("This figure needs predictions, found none.")
    side, legend = 3.3, 0.2 * len(bins)
    most = max(row["images"] for rows in bins.values() for row in rows)
    with style():
        figure = new_figure(0.85 + legend + side + 0.55)
        heading(figure, "Calibration", "on the diagonal, 70 % predicted is correct 70 % of the time")
        ax = axes_at(figure, 0.75, 0.8 + legend, side, side)
        ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (1, 1.6)))
        ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="P of the predicted class", ylabel="accuracy")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(percent)
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
            text = f"{short(name, 34)}   ECE {gap:.3f}, {count.sum():,} images"
            key(figure, 0.75, 0.74 + 0.2 * i, text, colour, dash)
    return figure


def mistakes(images: Array, labels: Sequence[str], answers: Sequence[str], p: Array, *, across: int = 5) -> Figure:
    """A sheet of errors: each image with its label, and below it the prediction and its probability.

    images uint8 (N, H, W); `p` (N,) is P of the answer. UsageError for none or for different numbers.
    """
    if not len(images) or not len(images) == len(labels) == len(answers) == len(p):
        raise UsageError(
            f"A sheet of errors needs as many labels, answers and P as images, found {len(images)}, "
            f"{len(labels)}, {len(answers)} and {len(p)}."
        )
    side = (WIDTH - 0.3) / across - 0.08
    step = side + 0.4
    with style():
        figure = new_figure(0.7 + -(-len(images) // across) * step)
        heading(
            figure, f"The {len(images)} most confident errors", "above: label; below: prediction and its probability"
        )
        for i, image in enumerate(images):
            ax = axes_at(figure, 0.15 + (i % across) * (side + 0.08), 0.85 + i // across * step, side, side)
            ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            ax.set_axis_off()
            ax.set_title(short(labels[i], 14), size=8, pad=2, color=BLUE)
            text = f"{short(answers[i], 12)} {100 * p[i]:.0f} %"
            ax.text(0.5, -0.03, text, size=8, color=VERMILLION, va="top", ha="center", transform=ax.transAxes)
    return figure
