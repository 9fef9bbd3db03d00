"""The protocols of models, and what models are asked and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from duchenne.types.data import Array, FaceTrack, Json, Sample
from duchenne.types.verdicts import Evidence

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

    @property
    def is_optional(self) -> bool:
        """Whether its `crop_readers` can do without crops."""
        return False

    @property
    def trims(self) -> tuple[int, float]:
        """Copies of a clip for training, with landmarks found again in boxes of which up to that share is cut off at
        each edge (`clips.trimmed`): of a table of sequences, each item is then a tuple, the clip's own first."""
        return 0, 0.0

    @property
    def inner(self) -> tuple[Reader, ...]:
        """Readers whose tables, `joined`, are its table."""
        return ()

    @property
    def identity(self) -> str:
        """All that determines its tables but the clips and the code of duchenne."""
        return repr(self)

    def joined(self, tables: Sequence[Array]) -> Array:
        """Its table, from those of its `inner` readers."""
        (table,) = tables
        return table

    def with_cutter(self, cut: Cutter) -> Reader:
        """The same for tracks without crops: its `crop_readers` get theirs from `cut`."""
        return self


class CropReader(Reader, Protocol):
    """A reader of crops, with all that determines them.

    side, channels  width and height in pixels; 1 grey, 3 RGB
    scene           body and whole frame are read beside the face
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
    explain  asks for evidence, `details` for that of single descriptors as well
    """

    track: FaceTrack
    model: str = ""
    seen: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[str, float] = field(default_factory=dict)
    given: str | None = None
    crops: Callable[[FaceTrack, CropReader], FaceTrack] | None = None
    expert: tuple[float, float] | None = None
    explain: bool = True
    details: bool = False

    def cut(self, reader: CropReader) -> FaceTrack:
        """The track with the crops of a reader."""
        return self.track if self.crops is None else self.crops(self.track, reader)


@dataclass(frozen=True, eq=False)
class Opinion:
    """A model's prediction for one clip.

    p         P(genuine), NaN where there is none
    reason    why to abstain: a `Reason`, or a sentence, which counts as "not_measured"
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
    def face_reader(self) -> str:
        """The reader of faces by which its training clips were read: "mesh" or "paper" (all models before there were
        two)."""
        return str(self.facts.get("reader", "paper"))

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
