"""The data that flow through duchenne: a clip, its face over time, its curves and phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Array = NDArray[Any]
#: A JSON object: settings, facts of a model, results.
Json = dict[str, Any]
JsonMap = Mapping[str, Any]

#: The six emotions a default verdict distinguishes, in the order of every probability vector.
EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
#: The field's full vocabulary; a manifest or a user's own model may use any of these.
ALL_EMOTIONS: tuple[str, ...] = (*EMOTIONS, "contempt", "neutral")
#: No emotion is None, an empty cell or null; the last two are how arrays of text hold None and NaN. A face at rest is
#: "neutral", which is an emotion of its own.
NO_EMOTION: tuple[str, ...] = ("", "None", "nan")
#: `genuine` is the positive class everywhere.
LABELS: tuple[str, str] = ("posed", "genuine")
#: The moments of a phase, in their order.
MOMENTS: tuple[str, ...] = ("onset", "apex", "offset", "end")


@dataclass(frozen=True)
class Clip:
    """One row of a manifest: a stretch of video and what is known about it.

    `label` is "genuine", "posed" or None; `start` and `end` are seconds (None: the file's own ends); `rate` is the
    frames/s of what stores no times, a folder of images or a bare stream; `reader` (paper, mesh) follows faces.
    """

    path: str
    subject: str | None = None
    emotion: str | None = None
    label: str | None = None
    start: float | None = None
    end: float | None = None
    fold: str | None = None
    rate: float | None = None
    reader: str = "mesh"

    @property
    def stretch(self) -> Json:
        """The arguments `start`, `end` and `rate` of `video.frames`."""
        return {"start": self.start, "end": self.end, "rate": self.rate}


#: The expression coefficients of a face mesh, in MediaPipe's order; left and right are the person's own.
COEFFICIENTS = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip

#: What not every reader of faces gives, float32: its shape in a frame.
EXTRA: dict[str, tuple[int, ...]] = {
    "change": (),
    "coefficients": (len(COEFFICIENTS),),
    "pose": (3,),
    "mesh": (478, 3),
    "doubt": (),
}

#: Names of the further axes of what not every track has.
_AXES: dict[str, tuple[str, ...]] = {
    "change": (),
    "coefficients": ("coefficient",),
    "pose": ("angle",),
    "mesh": ("vertex", "xyz"),
    "doubt": (),
}


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face over time. Shapes are checked; functions return a new track with a longer history.

    time        float64 (T,)        seconds from clip start, strictly increasing (variable rate is legal)
    points      float32 (T, 68, 2)  pixels, x right, y down; NaN = not seen, never zero
    confidence  float32 (T,)        tracker's peak-to-sidelobe ratio, or an importing tool's own score; NaN = none
    box         float32 (T, 4)      x0 y0 x1 y1 in pixels; NaN = no face
    crops       uint8 (T, S, S, C)  or None; only for models of pixels
    frame_size  (width, height) in pixels
    change      float32 (T,)        mean difference of the face from the frame before in grey levels; NaN = unknown,
                                    None where no video was read: see `preprocess.repeats`
    coefficients  float32 (T, 52)   0 to 1, named by `coefficient_names`; NaN = not seen, None without a face mesh
    pose        float32 (T, 3)      yaw, pitch, roll of the head in degrees, as `mesh.pose.pose`; None without a mesh
    mesh        float32 (T, 478, 3) pixels, with depth, as `mesh.Reading.points`; None unless it was asked for
    doubt       float32 (T,)        of the mouth, as `mesh.FaceMesh.doubt`; NaN in frames without that measurement
    """

    time: Array
    points: Array
    confidence: Array
    box: Array
    frame_size: tuple[int, int]
    crops: Array | None = None
    change: Array | None = None
    coefficients: Array | None = None
    pose: Array | None = None
    mesh: Array | None = None
    doubt: Array | None = None
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
        for name, shape in EXTRA.items():
            if (values := getattr(self, name)) is not None:
                put(self, name, np.asarray(values, np.float32))
                expected[name] = (n, *shape)
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

    def filled(self, name: str) -> Array:
        """float32 (T, ...): one of `EXTRA`, NaN where the track does not have it."""
        values: Array | None = getattr(self, name)
        return np.full((len(self), *EXTRA[name]), np.nan, np.float32) if values is None else values

    @property
    def coefficient_names(self) -> tuple[str, ...]:
        """Of the columns of `coefficients`; none without them."""
        return () if self.coefficients is None else COEFFICIENTS

    @property
    def seen(self) -> Array:
        """bool (T,): frames with all points."""
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

    def to_xarray(self) -> xr.Dataset:
        """A Dataset with named dimensions: time (s), point, xy, edge, and what else the track has; needs xarray."""
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("to_xarray needs the package xarray, which is missing; pip install xarray.") from error

        data: dict[str, tuple[tuple[str, ...], Array]] = {
            "points": (("time", "point", "xy"), self.points),
            "box": (("time", "edge"), self.box),
            "confidence": (("time",), self.confidence),
        }
        data |= {
            name: (("time", *_AXES[name]), values) for name in _AXES if (values := getattr(self, name)) is not None
        }
        coordinates: Json = {"time": self.time, "xy": ["x", "y"], "edge": ["x0", "y0", "x1", "y1"]}
        coordinates |= {"coefficient": list(COEFFICIENTS)} if self.coefficients is not None else {}
        coordinates |= {"angle": ["yaw", "pitch", "roll"]} if self.pose is not None else {}
        about = {"unit": self.unit, "layout": self.layout, "source": self.source, "history": "\n".join(self.history)}
        return xr.Dataset(data, coordinates, about)

    def take(self, step: str, rows: Array, crops: Array | None = None, time: Array | None = None) -> FaceTrack:
        """These rows of it, with `crops` of them, at another `time` if given, and `step` added to its history."""
        parts = {name: getattr(self, name) for name in ("time", "points", "confidence", "box", *EXTRA)}
        kept = {name: None if values is None else values[rows] for name, values in parts.items()}
        return self.evolve(step, crops=crops, **kept | ({} if time is None else {"time": time}))


@dataclass(frozen=True, eq=False)
class Features:
    """One clip as a row of a feature table, for models that read no video.

    `values` float64 (D,), NaN = missing; `names` (D,), equal for all clips of one data set.
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

    def to_frame(self) -> pd.DataFrame:
        """A table with the column time (s) and one per curve."""
        import pandas as pd

        return pd.DataFrame({"time": self.time} | {name: self[name] for name in self.names})


class Light(NamedTuple):
    """How a face is lit: medians over a clip.

    contrast      grey levels between its 1st and 99th percentile
    overexposed   share of its pixels at the brightest grey value (± 2)
    underexposed  at the darkest
    """

    contrast: float
    overexposed: float
    underexposed: float


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
