"""The data that flow through duchenne, and the protocols of models and readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: A JSON object: settings, facts of a model, results.
Json = dict[str, Any]
JsonMap = Mapping[str, Any]

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
    "stored_rate": ("stored_rate", 3),
    "seen": ("seen_frames", None),
    "coverage": ("coverage", 4),
    "longest_gap": ("longest_gap", 3),
    "face_size": ("face_size", 2),
    "jitter": ("jitter", 3),
    "confidence": ("confidence", 3),
    "sharpness": ("blur", 3),
    "contrast": ("contrast", 1),
    "overexposed": ("overexposed", 3),
    "underexposed": ("underexposed", 3),
}


@dataclass(frozen=True)
class Clip:
    """One row of a manifest: a stretch of video and what is known about it.

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
    """One face over time. Shapes are checked; functions return a new track with a longer history.

    time        float64 (T,)        seconds from clip start, strictly increasing (variable rate is legal)
    points      float32 (T, 68, 2)  pixels, x right, y down; NaN = not seen, never zero
    confidence  float32 (T,)        tracker's peak-to-sidelobe ratio, or an importing tool's own score; NaN = none
    box         float32 (T, 4)      x0 y0 x1 y1 in pixels; NaN = no face
    crops       uint8 (T, S, S, C)  or None; only for models of pixels
    frame_size  (width, height) in pixels
    change      float32 (T,)        mean difference of the face from the frame before in grey levels; NaN = unknown,
                                    None where no video was read: see `preprocess.repeats`
    """

    time: Array
    points: Array
    confidence: Array
    box: Array
    frame_size: tuple[int, int]
    crops: Array | None = None
    change: Array | None = None
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
        if self.change is not None:
            put(self, "change", np.asarray(self.change, np.float32))
            if self.change.shape != (n,):
                raise ValueError(f"FaceTrack.change must have shape {(n,)}, found {self.change.shape}.")
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

    def take(self, step: str, rows: Array, crops: Array | None = None) -> FaceTrack:
        """These rows of it, with `crops` of them, and `step` added to its history."""
        parts = {name: getattr(self, name)[rows] for name in ("time", "points", "confidence", "box")}
        change = None if self.change is None else self.change[rows]
        return self.evolve(step, crops=crops, change=change, **parts)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One contribution to a verdict.

    `value` is in `unit`, `contribution` in log-odds of genuine, `text` a sentence on both. `descriptor` is the name of
    the number; the ranges are quartiles of the training people, None where there are none.
    """

    feature: str
    descriptor: str | None = None
    value: float
    unit: str = ""
    contribution: float
    text: str
    posed_range: tuple[float, float] | None = None
    genuine_range: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, object]:
        """Without the fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a clip shows its face; None = cannot be measured.

    coverage     share of the frames in which the face is seen
    rate         frames/s, 1 / median step; repeated pictures (`preprocess.repeats`) are not counted
    stored_rate  with them
    lost         (start, end) in seconds of each stretch without a face; `longest_gap` (s) is the longest of them
    face_size    median px between the eye centres
    jitter       median length of the second difference of the stable points over three consecutive frames, in % of the
                 interocular distance
    confidence   median peak-to-sidelobe ratio of the tracker
    blur         sharpness of the face, see `faces.follow`
    contrast, overexposed, underexposed   see `Light`
    yaw, pitch, roll   medians in degrees
    """

    frames: int = 0
    seen_frames: int = 0
    coverage: float = 0.0
    duration: float = 0.0
    rate: float | None = None
    lost: tuple[tuple[float, float], ...] = ()
    longest_gap: float = 0.0
    face_size: float | None = None
    jitter: float | None = None
    confidence: float | None = None
    blur: float | None = None
    warnings: tuple[str, ...] = ()
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    contrast: float | None = None
    overexposed: float | None = None
    underexposed: float | None = None
    stored_rate: float | None = None

    def to_row(self) -> dict[str, float | None]:
        """Columns of a table, rounded; None where it could not be measured."""
        return {name: _rounded(getattr(self, key), digits) for name, (key, digits) in _QUALITY_COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How similar a clip is to the training clips.

    outside              share of the descriptors outside the range of 99 % of the training clips
    distance_percentile  % of the clips of people left out with a smaller share
    """

    outside: float
    distance_percentile: float
    familiar: bool
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A model card, see `checkpoints.card`; None where a fact is missing.

    human       human accuracy: a share, a sentence, or both as {"accuracy", "text"}
    reference   distributions over the training people (`checkpoints.reference`)
    other       further facts
    """

    data: str | None = None
    people: int | None = None
    accuracy: float | None = None
    accuracy_interval: Sequence[float | None] | None = None
    auc: float | None = None
    human: float | str | JsonMap | None = None
    per_emotion: JsonMap | None = None
    risk_coverage: Sequence[object] | None = None
    abstain_band: tuple[float, float] | None = None
    limits: str | Sequence[str] | None = None
    reference: JsonMap | None = None
    other: JsonMap = field(default_factory=dict)

    @classmethod
    def of(cls, facts: JsonMap) -> Card:
        """From the facts of a card.json."""
        own = {each.name for each in fields(cls)} - {"other"}
        return cls(
            **{name: value for name, value in facts.items() if name in own},
            other={name: value for name, value in facts.items() if name not in own},
        )

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Required facts that are missing."""
        return tuple(name for name in ("data", "people", "accuracy", "limits") if getattr(self, name) is None)


@dataclass(frozen=True)
class Verdict:
    """The result for one face in one clip.

    `p_genuine` is None when it abstains, with a sentence as `reason`. `evidence` is ranked, largest contribution
    first. `familiarity` is None where nothing could be measured.
    """

    p_genuine: float | None
    label: str | None
    abstained: bool
    reason: str | None
    emotion: dict[str, float]
    phases: tuple[Phase, ...]
    evidence: tuple[Evidence, ...]
    quality: Quality
    familiarity: Familiarity | None
    model: Json
    frames: int
    duration: float
    device: str = "cpu"
    source: str = ""
    face: int = 0
    limits: str = ""
    history: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> Json:
        """Plain, JSON-ready dictionary (tuples become lists when serialised)."""
        familiarity = {} if self.familiarity is None else asdict(self.familiarity)
        return asdict(self) | {"evidence": tuple(i.to_dict() for i in self.evidence), "familiarity": familiarity}

    def to_row(self) -> Json:
        """One row of a table, rounded: quality, verdict, p_<emotion>, and the first phase's moments in seconds."""
        main = self.phases[0] if self.phases else Phase(None, None, None, None)
        return {
            "face": self.face,
            **self.quality.to_row(),
            "p_genuine": _rounded(self.p_genuine, 6),
            "label": self.label,
            "abstained": self.abstained,
            "reason": self.reason,
            "emotion": max(self.emotion, key=self.emotion.__getitem__, default=None),
            **{f"p_{name}": _rounded(p, 4) for name, p in self.emotion.items()},
            "familiar": None if self.familiarity is None else self.familiarity.familiar,
            "phases": len(self.phases),
            **{name: _rounded(getattr(main, name), 3) for name in MOMENTS},
            "warnings": " ".join(self.quality.warnings),
        }


def _rounded(value: float | None, digits: int | None) -> float | None:
    return None if value is None or value != value else round(float(value), digits)


# --- models -------------------------------------------------------------------------------------------------

#: (place of a sample, the sample, a reader of crops) → the frames of the sample that it reads, with crops.
Cutter = Callable[[int, Sample, "CropReader"], FaceTrack]
Kind = TypeVar("Kind")


class Reader(Protocol):
    """What a model reads of a clip. Hashable: models that read the same share one table."""

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D), NaN where a clip cannot be read; or object (N,), None where it cannot."""
        ...

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Readers of crops in it: itself, or parts of it."""
        return ()

    def with_cutter(self, cut: Cutter) -> Reader:
        """The same for tracks without crops: its `crop_readers` get theirs from `cut`."""
        return self


class CropReader(Reader, Protocol):
    """A reader of crops, with all that determines them.

    side, channels  width and height in pixels; 1 grey, 3 RGB
    scene           the whole frame is read beside the face
    """

    if TYPE_CHECKING:  # read-only: a dataclass' field or a property

        @property
        def side(self) -> int: ...
        @property
        def channels(self) -> int: ...
        @property
        def scene(self) -> bool: ...

    def rows(self, track: FaceTrack) -> Array:
        """int64 (T,): frames of a track that are read, increasing; empty where it is too short."""
        ...


@dataclass(frozen=True, eq=False)
class Question:
    """The input of `Classifier.opinion`: one clip.

    track    the part that is judged, in pixels
    model    id of the model, for messages
    seen     emotion → probability, by the expression network or the user; empty where unknown
    named    `seen`, or else estimated from the movement
    given    the user's emotion
    crops    cuts what a reader of crops reads; None without video
    expert   (log-odds of genuine by the smile expert, its share in the verdict), or None
    """

    track: FaceTrack
    model: str = ""
    seen: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[str, float] = field(default_factory=dict)
    given: str | None = None
    crops: Callable[[FaceTrack, CropReader], FaceTrack] | None = None
    expert: tuple[float, float] | None = None
    explain: bool = True

    def cut(self, reader: CropReader) -> FaceTrack:
        """The track with the crops of a reader."""
        return self.track if self.crops is None else self.crops(self.track, reader)


@dataclass(frozen=True, eq=False)
class Opinion:
    """A model's prediction for one clip.

    p         P(genuine), NaN where there is none
    reason    why to abstain, in a sentence
    steps     for the verdict's history
    turning   what would change the verdict, see `tabular.evidence.turning`
    """

    p: float
    reason: str | None = None
    evidence: tuple[Evidence, ...] = ()
    steps: tuple[str, ...] = ()
    turning: Json = field(default_factory=dict)


def readable(x: Array) -> Array:
    """bool (N,): rows of a table (N, D) with any number, or items of an object array (N,) that are not None."""
    if x.dtype == object:
        return np.array([each is not None for each in x], bool)
    return np.asarray(np.isfinite(x).any(axis=1))


@runtime_checkable
class Classifier(Protocol):
    """A model that tells genuine from posed. Methods that few models need have defaults.

    format          of its model folder (`checkpoints.folder.STORES`); "" where it has none
    margin          |P(genuine) − 0.5| below which it abstains
    facts           of its training, as in `model.json`
    recipe          its settings; equal repr means equal training
    out_of_fold     P(genuine) (N,) of the clips given to `fit_table` by models without the person, NaN where missing;
                    None for a loaded model
    any_columns     reads tables of any columns
    refit_in_stack  a stack refits it for out-of-fold predictions, whatever `out_of_fold` holds
    """

    format: ClassVar[str] = ""
    any_columns: ClassVar[bool] = False
    refit_in_stack: ClassVar[bool] = False

    if TYPE_CHECKING:  # read-only: a dataclass' field or a property

        @property
        def reader(self) -> Reader: ...
        @property
        def margin(self) -> float: ...
        @property
        def recipe(self) -> object: ...
        @property
        def out_of_fold(self) -> Array | None: ...

    facts: Json

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on what `reader` reads; labels (N,) 1 = genuine, groups (N,) persons, emotions (N,) names or None."""
        ...

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of what `reader` reads; NaN where it could not be read."""
        ...

    def opinion(self, question: Question) -> Opinion:
        """Its prediction for one clip, with evidence."""
        ...

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D) or object (N,): what `reader` reads."""
        return self.reader.table(samples)

    def fit(self, samples: Sequence[Sample], labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """As `fit_table`, on samples."""
        return self.fit_table(self.table(samples), labels, groups, emotions)

    def predict_proba(self, samples: Sequence[Sample]) -> Array:
        """As `predict_table`, of samples."""
        return self.predict_table(self.table(samples))

    def rank_table(self, x: Array) -> Array | None:
        """float64 (N,): scores that order two clips of one person and emotion; None where P(genuine) does."""
        return None

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """Contributions to the prediction for one clip's table (1, ...); empty where there are none."""
        return ()

    @property
    def needs(self) -> str:
        """ "points", or "crops" where it reads pixels."""
        return "crops" if self.reader.crop_readers else "points"

    @property
    def by_person(self) -> bool:
        """Whether it reads the mean row of each person."""
        return False

    @property
    def needs_emotions(self) -> bool:
        """Whether `predict_table` must be given the emotions."""
        return False

    def with_emotion(self, emotion: str) -> Self:
        """The same model with the emotion of every clip given."""
        return self

    def on(self, device: str) -> str:
        """Move it to "cpu", "auto" or a GPU; returns the device in use."""
        return "cpu"

    def part(self, kind: type[Kind]) -> Kind | None:
        """Itself, or the model inside it, of this kind."""
        return self if isinstance(self, kind) else None
