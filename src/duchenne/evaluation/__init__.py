"""Judge methods on the clips of manifests: same folds, same baselines, one table that decides."""

from duchenne.evaluation.plan import Plan
from duchenne.evaluation.run import evaluate

__all__ = ["Plan", "evaluate"]
