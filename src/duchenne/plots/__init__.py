"""Figures: arrays in, a matplotlib Figure out; `save` writes it as SVG and PNG."""

from duchenne.plots.figures import BLUE, save
from duchenne.plots.learning import learning
from duchenne.plots.pb import pb_space, prediction
from duchenne.plots.scores import calibration, forest, reliability, risk_coverage, roc

__all__ = [
    "BLUE",
    "calibration",
    "forest",
    "learning",
    "pb_space",
    "prediction",
    "reliability",
    "risk_coverage",
    "roc",
    "save",
]
