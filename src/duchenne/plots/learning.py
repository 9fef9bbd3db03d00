"""The learning curve of a training: loss by epoch, on training clips and on held-out people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from duchenne.errors import UsageError
from duchenne.plots.figures import (
    BLUE,
    GREY,
    VERMILLION,
    WIDTH,
    axes_at,
    heading,
    key,
    new_figure,
    short,
    style,
)
from duchenne.types import JsonMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning(
    curves: Mapping[str, Sequence[JsonMap]], names: tuple[str, str] = ("training clips", "held-out people")
) -> Figure:
    """One panel per network (name → rows of `learn.loop.fit`: epoch, loss, score, lr_scale, best), one below the other.

    `names` are those of loss and score. The ring marks the epoch whose weights are used, dotted lines a lower learning
    rate. UsageError where no network has an epoch.
    """
    shown = {name: rows for name, rows in curves.items() if rows}
    if not shown:
        raise UsageError("A learning curve needs at least one epoch, found none.")
    tall = 2.4 if len(shown) == 1 else 1.4
    with style():
        figure = new_figure(1.15 + len(shown) * (tall + 0.35) + 0.15)
        heading(figure, "Learning curve", "loss by epoch; ring: the epoch used")
        held_out = any(
            row["score"] is not None and math.isfinite(row["score"]) for rows in shown.values() for row in rows
        )
        named = [(names[0], BLUE), *([(names[1], VERMILLION)] if held_out else [])]
        for i, (text, colour) in enumerate(named):
            key(figure, 0.7 + 1.7 * i, 0.74, text, colour, "-")
        for i, (name, rows) in enumerate(shown.items()):
            ax = axes_at(figure, 0.7, 1.15 + i * (tall + 0.35), WIDTH - 0.95, tall)
            _panel(ax, name, rows)
            if i == len(shown) - 1:
                ax.set_xlabel("epoch")
    return figure


def _panel(ax: Axes, name: str, rows: Sequence[JsonMap]) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    for column, colour in (("loss", BLUE), ("score", VERMILLION)):
        values = [math.nan if row[column] is None else row[column] for row in rows]
        if any(map(math.isfinite, values)):
            alone = "o" if len(rows) == 1 else None
            ax.plot(epochs, values, color=colour, lw=1.6, marker=alone, ms=4, gid=f"{column}-{name or 'all'}")
    best = max((row for row in rows if row["best"]), key=lambda row: row["epoch"], default=None)
    if best is not None:
        ring = BLUE if best["watched"] == best["loss"] else VERMILLION
        ax.plot([best["epoch"]], [best["watched"]], "o", ms=9, mfc="none", mec=ring, mew=1.8, clip_on=False, gid="kept")
    for before, row in pairwise(rows):
        if row["lr_scale"] < before["lr_scale"]:
            ax.axvline(row["epoch"], color=GREY, lw=1, ls=(0, (1, 1.6)), gid="slower")
    ax.set_xlim(0.5, max(epochs[-1], 2) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_title(short(name or "all emotions", 30), loc="left", size=10, weight="bold", pad=4)
