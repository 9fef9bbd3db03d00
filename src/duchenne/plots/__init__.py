"""Pictures: arrays in, a matplotlib Figure out, and `save` writes it as SVG and PNG."""

from duchenne.plots.board import BLUE, COLOURS, VERMILLION, save
from duchenne.plots.learning import learning
from duchenne.plots.pb import pb_space, prediction
from duchenne.plots.scores import (
    Curves,
    calibration,
    coverage_curve,
    forest,
    reliability,
    risk_coverage,
    roc,
    roc_points,
)

__all__ = [
    "BLUE",
    "COLOURS",
    "VERMILLION",
    "Curves",
    "calibration",
    "coverage_curve",
    "forest",
    "learning",
    "pb_space",
    "prediction",
    "reliability",
    "risk_coverage",
    "roc",
    "roc_points",
    "save",
]
