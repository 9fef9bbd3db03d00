"""Figures of groups: the distribution of each measure per group, and the means of people who are in two or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from duchenne.plots import figures
from duchenne.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Measure → group → values float64 (N,), one a face.
Values = Mapping[str, Mapping[str, Array]]
#: Measure → (groups, people × groups means, NaN where a person has none).
Means = Mapping[str, tuple[Sequence[str], Array]]
_ROW, _TOP = 1.5, 0.75  # inches


def distributions(values: Values, titles: Mapping[str, str], title: str) -> Figure:
    """One panel per measure: every face as a dot, the middle half as a box, the median as a line."""
    figure = _new(len(values), title, "each dot a face; box: middle half, line: median")
    for ax, (name, groups) in zip(_panels(figure, len(values)), values.items(), strict=True):
        for at, (_, own) in enumerate(groups.items()):
            seen = own[np.isfinite(own)]
            colour = figures.look(at)[0]
            spread = 0.16 * (np.arange(len(seen)) % 9 - 4) / 4  # dots side by side, the same on every run
            ax.plot(at + spread, seen, ls="", marker=".", ms=5, color=colour, alpha=0.6, mew=0)
            if len(seen):
                low, middle, high = np.quantile(seen, (0.25, 0.5, 0.75))
                ax.fill_between([at - 0.3, at + 0.3], low, high, color=colour, alpha=0.15, lw=0)
                ax.plot([at - 0.3, at + 0.3], [middle] * 2, color=colour, lw=2)
        _finish(ax, [*groups], titles.get(name, name))
    return figure


def paired(means: Means, titles: Mapping[str, str], title: str) -> Figure:
    """One panel per measure: a grey line per person through the means in each group, and the mean of all people."""
    figure = _new(len(means), title, "each line a person (means of their faces); thick: mean of all people")
    for ax, (name, (groups, table)) in zip(_panels(figure, len(means)), means.items(), strict=True):
        for row in table:
            ax.plot(range(len(groups)), row, color=figures.GREY, lw=0.8, alpha=0.7, marker=".", ms=3)
        whole = table[np.isfinite(table).all(axis=1)]
        if len(whole):
            ax.plot(range(len(groups)), whole.mean(axis=0), color=figures.BLUE, lw=2.4, marker="o", ms=4)
        _finish(ax, groups, titles.get(name, name))
    return figure


def _new(count: int, title: str, below: str) -> Figure:
    with figures.style():
        figure = figures.new_figure(_TOP + _ROW * 1.28 * -(-count // 2))
        figures.heading(figure, title, below)
        return figure


def _panels(figure: Figure, count: int) -> list[Axes]:
    with figures.style():
        return [
            figures.axes_at(figure, 0.55 + 2.25 * (i % 2), _TOP + 0.2 + 1.28 * _ROW * (i // 2), 1.8, _ROW - 0.15)
            for i in range(count)
        ]


def _finish(ax: Axes, groups: Sequence[str], title: str) -> None:
    ax.set_title(figures.short(title, 34), loc="left", fontsize=8, color=figures.INK)
    ax.set_xticks(range(len(groups)), [figures.short(name, 14) for name in groups], fontsize=7.5)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.grid(axis="x", visible=False)
