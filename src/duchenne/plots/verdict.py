"""A verdict as a figure: P(genuine), the phases on the time axis of the clip, and the evidence."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from duchenne.plots import figures
from duchenne.types import MOMENTS, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRETCHES = {"rise": "#009E73", "plateau": "#CC79A7", "fall": "#E69F00"}
_MOST = 5  # items of evidence


def draw(verdict: Verdict) -> Figure:
    """Three panels, one below the other; without a probability the first says why."""
    with figures.style():
        figure = figures.new_figure(3.4)
        like = {"genuine": "moves like spontaneous clips", "posed": "moves like posed clips"}
        words = like.get(verdict.label or "", "no verdict")
        below = verdict.reason or f"P(genuine) = {verdict.p_genuine:.2f}"
        figures.heading(figure, f"{figures.short(verdict.source, 24)}: {words}", figures.short(below, 88))
        _probability(figures.axes_at(figure, 1.5, 0.75, 3.0, 0.3), verdict)
        _phases(figures.axes_at(figure, 1.5, 1.3, 3.0, 0.4), verdict)
        _evidence(figures.axes_at(figure, 1.5, 2.15, 3.0, 0.95), verdict)
    return figure


def _probability(ax: Axes, verdict: Verdict) -> None:
    if verdict.p_genuine is not None:
        ax.plot(
            [verdict.p_genuine],
            [0],
            "o",
            ms=8,
            color=figures.BLUE if verdict.label == "genuine" else figures.VERMILLION,
        )
    ax.axvline(0.5, color=figures.GREY, lw=0.8)
    ax.set(xlim=(0, 1), ylim=(-1, 1), yticks=[], xticks=(0, 0.5, 1))
    ax.set_xticklabels(("posed", "0.5", "genuine"))


def _phases(ax: Axes, verdict: Verdict) -> None:
    for phase in verdict.phases:
        known = [getattr(phase, name) for name in MOMENTS]
        for (a, b), colour in zip(pairwise(known), _STRETCHES.values(), strict=True):
            if a is not None and b is not None:
                ax.barh(0, b - a, left=a, height=1.2, color=colour)
    if verdict.judged is not None:
        ax.plot(verdict.judged, [-0.9, -0.9], color=figures.INK, lw=2)
    ax.set(xlim=(0, max(verdict.duration, 0.1)), ylim=(-1.2, 1), yticks=[0], xlabel="s")
    ax.set_yticklabels(["rise, plateau, fall"], fontsize=7.5)


def _evidence(ax: Axes, verdict: Verdict) -> None:
    items = verdict.evidence[:_MOST][::-1]
    colours = [figures.BLUE if item.contribution > 0 else figures.VERMILLION for item in items]
    ax.barh(range(len(items)), [item.contribution for item in items], color=colours, height=0.7)
    ax.axvline(0, color=figures.GREY, lw=0.8)
    ax.set_yticks(range(len(items)), [figures.short(item.feature, 26) for item in items], fontsize=7)
    ax.set_xlabel("log-odds: left posed, right genuine")
