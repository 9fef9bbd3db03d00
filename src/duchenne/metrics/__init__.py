"""Scores with intervals that resample people: of P(genuine), of classes, of action units, of spotted intervals.

Arrays in, numbers out; no model and no file.
"""

from duchenne.metrics.scores import (
    accuracy,
    auc,
    balanced_accuracy,
    brier,
    ece,
    f1,
    forced_pair_accuracy,
    pair_rows,
    permutation_p,
    risk_coverage,
    score,
)

__all__ = [
    "accuracy",
    "auc",
    "balanced_accuracy",
    "brier",
    "ece",
    "f1",
    "forced_pair_accuracy",
    "pair_rows",
    "permutation_p",
    "risk_coverage",
    "score",
]
