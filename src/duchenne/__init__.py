"""duchenne tells genuine from posed facial expressions in video: calibrated, with evidence, and with limits.

    >>> import duchenne
    >>> verdict = duchenne.analyze("clip.mp4")          # doctest: +SKIP
    >>> verdict.label, verdict.p_genuine                # doctest: +SKIP
    ('genuine', 0.81)

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "analyze": "duchenne.pipeline",
    "analyze_many": "duchenne.batch.many",
    "calibrate": "duchenne.batch.many",
    "crossval": "duchenne.evaluation.crossval",
    "examine": "duchenne.pipeline",
    "load_tracks": "duchenne.io",
    "save_tracks": "duchenne.io",
    "Clip": "duchenne.types",
    "DescriptorClassifier": "duchenne.learn.estimator",
    "FaceTrack": "duchenne.types",
    "Features": "duchenne.types",
    "Plan": "duchenne.evaluation",
    "Phase": "duchenne.types",
    "Signals": "duchenne.types",
    "Verdict": "duchenne.types",
    "DuchenneError": "duchenne.errors",
}
__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'duchenne' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
