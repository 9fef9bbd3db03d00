"""The nouns: what flows through duchenne. Everything else is functions on these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The six emotions a default verdict distinguishes, in the order of every probability vector.
EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
#: The field's full vocabulary; a manifest or a user's own model may use any of these.
ALL_EMOTIONS: tuple[str, ...] = (*EMOTIONS, "contempt", "neutral")
#: `genuine` is the positive class everywhere.
LABELS: tuple[str, str] = ("posed", "genuine")
#: The moments of a phase, in their order.
MOMENTS: tuple[str, ...] = ("onset", "apex", "offset", "end")
#: Column of a table -> entry of a verdict's quality and the digits to which it is rounded (None: as it is).
_QUALITY_COLUMNS = {
    "frames": ("frames", None),
    "seconds": ("duration", 6),
    "rate": ("rate", 3),
    "seen": ("seen_frames", None),
    "coverage": ("coverage", 4),
    "longest_gap": ("longest_gap", 3),
    "face_size": ("face_size", 2),
    "jitter": ("jitter", 3),
    "confidence": ("confidence", 3),
    "sharpness": ("blur", 3),
}


@dataclass(frozen=True)
class Clip:
    """One row of a manifest: names a stretch of video and what is known about it.

    `label` is "genuine", "posed" or None; `start` and `end` are seconds (None: the file's own ends).
    """

    path: str
    subject: str | None = None
    emotion: str | None = None
    label: str | None = None
    start: float | None = None
    end: float | None = None
    fold: str | None = None


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face over time. Shapes are checked at birth; functions return a new track with a longer history.

    time        float64 (T,)        seconds from clip start, strictly increasing (variable rate is legal)
    points      float32 (T, 68, 2)  pixels, x right, y down; NaN = not seen, never zero
    confidence  float32 (T,)        tracker's peak-to-sidelobe ratio, or an importing tool's own score; NaN = none
    box         float32 (T, 4)      x0 y0 x1 y1 in pixels; NaN = no face
    crops       uint8 (T, S, S, C)  or None; only when an image model asks
    frame_size  (width, height) in pixels
    """

    time: Array
    points: Array
    confidence: Array
    box: Array
    frame_size: tuple[int, int]
    crops: Array | None = None
    layout: str = "dlib68"
    unit: str = "px"
    source: str = ""
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.time)
        put = object.__setattr__
        put(self, "time", np.asarray(self.time, np.float64))
        put(self, "points", np.asarray(self.points, np.float32))
        put(self, "confidence", np.asarray(self.confidence, np.float32))
        put(self, "box", np.asarray(self.box, np.float32))
        expected = {"time": (n,), "points": (n, 68, 2), "confidence": (n,), "box": (n, 4)}
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"FaceTrack.{name} must have shape {shape}, found {found}.")
        if n and not np.isfinite(self.time).all():
            raise ValueError("FaceTrack.time must be finite.")
        if (np.diff(self.time) <= 0).any():
            raise ValueError("FaceTrack.time must be strictly increasing.")
        if self.crops is not None and len(self.crops) != n:
            raise ValueError(f"FaceTrack.crops must have {n} rows, found {len(self.crops)}.")

    def __len__(self) -> int:
        return len(self.time)

    @property
    def seen(self) -> Array:
        """bool (T,): frames in which all points were found."""
        return np.asarray(np.isfinite(self.points).all(axis=(1, 2)))

    @property
    def duration(self) -> float:
        """Seconds from the first to the end of the last frame (the last frame lasts a median step)."""
        if len(self) < 2:
            return 0.0
        return float(self.time[-1] - self.time[0] + np.median(np.diff(self.time)))

    def evolve(self, step: str, **changes: Any) -> FaceTrack:
        """A copy with `changes`, and `step` added to its history."""
        return replace(self, history=(*self.history, step), **changes)


@dataclass(frozen=True, eq=False)
class Features:
    """One clip as numbers made elsewhere (a row of a table): what a model that reads no video learns from.

    `values` float64 (D,), NaN = missing; `names` (D,), equal for all clips of one corpus.
    """

    values: Array
    names: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values, np.float64))
        if self.values.shape != (len(self.names),):
            raise ValueError(f"Features.values must have shape ({len(self.names)},), found {self.values.shape}.")


@dataclass(frozen=True, eq=False)
class Signals:
    """Named curves over time: `values` float64 (T, F), one unit per curve ("iod" = interocular distance)."""

    time: Array
    values: Array
    names: tuple[str, ...]
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.time), len(self.names))
        if self.values.shape != shape or len(self.units) != len(self.names):
            raise ValueError(f"Signals.values must have shape {shape}, found {self.values.shape}.")

    def __getitem__(self, name: str) -> Array:
        """float64 (T,): one curve by name."""
        return np.asarray(self.values[:, self.names.index(name)])


#: What a model may be given for one clip.
Sample = FaceTrack | Features


@dataclass(frozen=True)
class Phase:
    """One expression in a clip, in seconds from clip start.

    onset = start of the rise, apex = start of the plateau, offset = start of the fall, end = end of the
    fall. None where the clip is cut and the moment lies outside it. `curve` names the signal it was found in.
    """

    onset: float | None
    apex: float | None
    offset: float | None
    end: float | None
    curve: str = ""


@dataclass(frozen=True)
class Verdict:
    """What duchenne says about one face in one clip, and why.

    `p_genuine` is None when abstained; `reason` then says why in a sentence. `evidence` is ranked, the most
    telling first. `quality` and `familiarity` are plain dictionaries of numbers and warnings.
    """

    p_genuine: float | None
    label: str | None
    abstained: bool
    reason: str | None
    emotion: dict[str, float]
    phases: tuple[Phase, ...]
    evidence: tuple[dict[str, Any], ...]
    quality: dict[str, Any]
    familiarity: dict[str, Any]
    model: dict[str, Any]
    frames: int
    duration: float
    device: str = "cpu"
    source: str = ""
    face: int = 0
    limits: str = ""
    history: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready dictionary (tuples become lists when serialised)."""
        return asdict(self)

    def to_row(self) -> dict[str, Any]:
        """One row of a table, rounded: quality, verdict, p_<emotion>, and the first phase's moments in seconds."""
        main = self.phases[0] if self.phases else Phase(None, None, None, None)
        return {
            "face": self.face,
            **quality_row(self.quality),
            "p_genuine": _rounded(self.p_genuine, 6),
            "label": self.label,
            "abstained": self.abstained,
            "reason": self.reason,
            "emotion": max(self.emotion, key=self.emotion.__getitem__, default=None),
            **{f"p_{name}": _rounded(p, 4) for name, p in self.emotion.items()},
            "familiar": self.familiarity.get("familiar"),
            "phases": len(self.phases),
            **{name: _rounded(getattr(main, name), 3) for name in MOMENTS},
            "warnings": " ".join(self.quality["warnings"]),
        }


def quality_row(quality: Mapping[str, Any]) -> dict[str, Any]:
    """What `clean.assess` found, as columns of a table; None where it could not be measured."""
    return {
        name: quality[key] if digits is None else _rounded(quality[key], digits)
        for name, (key, digits) in _QUALITY_COLUMNS.items()
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or value != value else round(float(value), digits)
