"""Curves of a face with the phases of its expression, and its emotions over time:

python examples/plot_curves.py clip.mp4 curves.png
"""

import sys
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from duchenne import pipeline
from duchenne.types import Phase

CURVES = {
    "lip_corner_pull": ("lip corners apart", "#0072b2"),
    "mouth_opening": ("mouth open", "#56b4e9"),
    "eye_aperture": ("eyes open", "#000000"),
}
PHASES = {"rise": "#009e73", "plateau": "#b05c92", "fall": "#c78500"}  # of Okabe & Ito, safe for colour-blind readers


def spans(phase: Phase) -> dict[str, tuple[float, float]]:
    """rise, plateau and fall in seconds; those outside the clip are left out."""
    moments = (phase.onset, phase.apex, phase.offset, phase.end)
    pairs = zip(PHASES, pairwise(moments), strict=True)
    return {name: (a, b) for name, (a, b) in pairs if a is not None and b is not None}


def draw(analysis: pipeline.Analysis, title: str = "") -> Figure:
    """Curves in interocular distances over seconds, and below one row per emotion."""
    curves, emotions = analysis.curves, analysis.emotions
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for name, (words, colour) in CURVES.items():
        rest = np.nanmedian(curves[name][:10])
        upper.plot(curves.time, curves[name] - rest, label=words, color=colour)
    for phase in analysis.verdict.phases:
        for name, (start, end) in spans(phase).items():
            upper.axvspan(start, end, color=PHASES[name], alpha=0.16, lw=0)
            upper.text((start + end) / 2, 1.01, name, transform=upper.get_xaxis_transform(), ha="center", size=9)
    upper.set(ylabel="change, interocular distances")
    upper.set_title(title, loc="left", pad=18)
    upper.legend(frameon=False, loc="upper right")
    if emotions is not None:
        edges = np.append(emotions.time, emotions.time[-1] + 0.1)
        lower.pcolormesh(edges, np.arange(len(emotions.names) + 1), emotions.values.T, cmap="Blues", vmin=0, vmax=1)
        lower.set_yticks(np.arange(len(emotions.names)) + 0.5, emotions.names)
        lower.invert_yaxis()
    lower.set(xlabel="seconds", ylabel="")
    return figure


if __name__ == "__main__":
    best = pipeline.examine(sys.argv[1])[0]
    draw(best, f"{sys.argv[1]}: {best.verdict.label or 'no verdict'}").savefig(sys.argv[2], dpi=130)
    print("written", sys.argv[2])
