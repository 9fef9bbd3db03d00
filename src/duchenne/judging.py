"""A loaded classifier and what it is combined with: which device it runs on, and its opinion of one clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from duchenne import checkpoints
from duchenne.checkpoints import reference
from duchenne.errors import InputError, UsageError
from duchenne.io import person
from duchenne.learn.calibration import logit, sigmoid
from duchenne.tabular.appearance import Appearance
from duchenne.tabular.model import DescriptorModel
from duchenne.types import (
    Array,
    Classifier,
    CropReader,
    FaceTrack,
    Familiarity,
    Json,
    JsonMap,
    Opinion,
    Phase,
    Question,
)

#: (track, reader) → the frames of the track that are read, with crops.
CutCrops = Callable[[FaceTrack, CropReader], FaceTrack]

#: The shipped model for faces of which only points are known: those of the reader paper, and other programs' tables.
POINTS = "default-0.1"
_BORROWED = "; familiarity, and the emotion where no face was seen, are from the default descriptor model"


@dataclass(frozen=True)
class Loaded:
    """A model and what it is combined with, read once.

    descriptors   the model's own descriptor model, or the shipped one for emotion and familiarity
    smile         the smile expert, which gets `smile_share` of the log-odds of a smile; None where it is not used
    """

    model: Classifier
    about: Json
    card: Json
    descriptors: DescriptorModel
    smile: DescriptorModel | None = None
    smile_share: float = 0.0

    @property
    def borrows_descriptors(self) -> bool:
        """Whether the model has no descriptor model of its own."""
        return self.model.part(DescriptorModel) is None


@dataclass(frozen=True)
class Calibration:
    """By how much the log-odds of genuine of clips of one recording are moved, measured on such clips without labels.

    What results is shrunk: in another place a model is right less often than it says.

    model    sha256 of the model that judged them
    clips    how many they were
    shift    for every clip: minus their median, so that half of them come to lie on either side of 0.5
    persons  person → what comes to it: minus the median of the person's own clips after that

    Both medians are shrunk towards 0 as if `_SHRINK` more clips had it there. What is moved is multiplied by `SLOPES`,
    for a person without and with clips of its own (experiments/verdict.json). Where far more or fewer than half of the
    clips are genuine, a calibration makes verdicts worse.
    """

    LEAST: ClassVar[int] = 10
    SLOPES: ClassVar[tuple[float, float]] = (0.63, 0.81)
    _SHRINK: ClassVar[int] = 10

    model: str
    clips: int
    shift: float
    persons: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, p: Sequence[float], subject: Sequence[str | None], model: str) -> Calibration:
        """From the P(genuine) of clips, and the person that each shows, None where unknown.

        InputError for fewer than `LEAST` clips.
        """
        if len(p) < cls.LEAST:
            raise InputError(
                f"A calibration needs {cls.LEAST} clips of the recording that can be judged, found {len(p)}; add clips."
            )
        z, names = logit(np.asarray(p, float)), np.array([person(each) if each else "" for each in subject])
        shift = cls._middle(z)
        persons = {str(name): cls._middle(z[names == name] + shift) for name in np.unique(names) if name}
        return cls(model, len(p), shift, persons)

    @classmethod
    def _middle(cls, z: Array) -> float:
        return round(-float(np.median(z)) * len(z) / (len(z) + cls._SHRINK), 6)

    def note(self, before: float, after: float) -> str:
        """A sentence on what it did to P(genuine)."""
        return (
            f"P(genuine) was moved from {before:.2f} to {after:.2f}, the level of {self.clips} clips of its recording, "
            "taking half of them for genuine; the shares of what counted are those before."
        )

    def moved(self, p: float, subject: str | None) -> float:
        """P(genuine) of a clip of the recording, which shows this person."""
        more = self.persons.get(person(subject)) if subject else None
        slope = self.SLOPES[more is not None]
        return float(sigmoid(slope * (logit(np.array(p)) + self.shift + (more or 0.0))))


def check_calibration(calibration: Calibration | None, loaded: Loaded) -> None:
    """UsageError where a calibration was measured with another model."""
    if calibration is not None and calibration.model != loaded.about["sha256"]:
        raise UsageError(
            f"The calibration was measured with another model than {loaded.about['id']}; calibrate again with this one."
        )


def chosen(model: str | Path, reader: str | None) -> str | Path:
    """The model that is meant for faces which this reader reads: `POINTS` in place of default for the reader paper."""
    return POINTS if str(model) == "default" and reader == "paper" else model


def load_model(model: str | Path, reader: str | None = None) -> Loaded:
    """Load a shipped model by id, or a folder, with the smile expert if the model was combined with it; of `default`
    the one for faces read by `reader` (None: by its own)."""
    return _load(chosen(model, reader))


def suited(loaded: Loaded, track: FaceTrack) -> Loaded:
    """The model; `POINTS` in place of the default model where the track has no coefficients."""
    if track.coefficients is not None or loaded.about["id"] != "default":  # before another model is loaded to compare
        return loaded
    return load_model(POINTS) if loaded.about["sha256"] == load_model("default").about["sha256"] else loaded


@cache
def _load(model: str | Path) -> Loaded:
    main, about = checkpoints.load_classifier(model)
    card = checkpoints.card(model) | {"reference": reference.read(model)}
    own = main.part(DescriptorModel)
    if own is None:
        return Loaded(main, about, card, checkpoints.load_as("descriptors", DescriptorModel)[0])
    share = float(main.facts.get("smile_share", 0.0))
    return Loaded(main, about, card, own, checkpoints.load_as("smile", DescriptorModel)[0] if share else None, share)


def resolve_device(device: str, loaded: Loaded) -> str:
    """Move the model to a device and return its name; UsageError if the model cannot run there."""
    used = loaded.model.on(device)
    if used == "cpu" and device not in ("auto", "cpu"):
        raise UsageError(f"Device '{device}' cannot be used: this model runs on the CPU; pass auto or cpu.")
    return used


def other_reader(loaded: Loaded, reader: str) -> tuple[str, ...]:
    """A warning where faces were read by another reader than the model's training clips."""
    own = loaded.model.face_reader
    if reader == own:
        return ()
    return (
        f"Model {loaded.about['id']} learned from faces that the reader {own} read, and these were read by {reader}, "
        "whose points lie elsewhere; its accuracy on them is not known.",
    )


def crops_of(looks: FaceTrack | None, cut: CutCrops | None) -> CutCrops | None:
    """What cuts crops for a model: those that the reader of faces cut, `looks`, where the model reads the same; `cut`
    for others. None where there are no images."""
    if looks is None or looks.crops is None:
        return cut

    def given(track: FaceTrack, reader: CropReader) -> FaceTrack:
        if isinstance(reader, Appearance):
            inside = np.isin(looks.time, track.time)
            return looks.take("judge: crops of the reader", inside, np.asarray(looks.crops)[inside])
        if cut is None:
            raise InputError("This model reads pixels, found only landmarks; pass the video to `duchenne analyze`.")
        return cut(track, reader)

    return given


def opinion(loaded: Loaded, question: Question) -> Opinion:
    """The model's opinion of one clip, mixed with the smile expert's; InputError if it needs pixels and has none."""
    model, name = loaded.model, str(loaded.about["id"])
    if model.needs == "crops" and question.crops is None:
        raise InputError(
            f"Model {name} reads pixels, found only landmarks in {question.track.source or 'this track'}; pass the "
            "video to `duchenne analyze`."
        )
    if question.given:
        model = model.with_emotion(question.given)
    found = model.opinion(replace(question, model=name, expert=_expert(loaded, question)))
    if not loaded.borrows_descriptors:
        return found
    return replace(found, steps=(*found.steps[:-1], found.steps[-1] + _BORROWED))


def familiarity(loaded: Loaded, row: Array) -> tuple[Familiarity | None, tuple[str, ...]]:
    """(familiarity of a clip with these descriptors (D,), warnings).

    With the default descriptor model in place of its own, an unfamiliar clip gives a warning and no reason to abstain.
    """
    found = loaded.descriptors.familiarity(row)
    if found is None or not loaded.borrows_descriptors:
        return found, ()
    doubts = () if found.familiar else (f"Unlike anything the default model was trained on: {found.text}",)
    return replace(found, text=f"By the default descriptor model: {found.text}"), doubts


#: Way in which a clip is cut → how it looks; `{rest}` is the time before the onset.
_CUTS = {
    "whole": "The clip begins at rest",
    "late": "The expression is already under way where the clip begins",
    "rest": "The face rests for {rest:.1f} s before it moves",
}


def record(card: JsonMap, phase: Phase | None, begins: float) -> Json:
    """How often clips that are cut like this one were judged rightly, by the `cuts` of a model card; empty if unknown.

    phase  the one that is judged      begins  first second of the stretch in which the face is seen

    `late` is a clip without an onset; `rest` one with at least as many `seconds` before it as were put before the
    clips that were measured.
    """
    rows = card.get("cuts")
    if phase is None or not rows:
        return {}
    rest = np.nan if phase.onset is None else phase.onset - begins
    cut = "late" if np.isnan(rest) else "rest" if rest >= rows["rest"]["seconds"] else "whole"
    row = rows[cut]
    text = f"{_CUTS[cut].format(rest=rest)}: of {row['clips']}, {row['accuracy']:.0%} were judged rightly"
    text += "" if cut == "whole" else f", instead of {row['uncut']:.0%} ({row['by']})"
    text = " ".join((f"{text}.", card.get("elsewhere") or "")).strip()
    return {"cut": cut, "accuracy": row["accuracy"], "accuracy_interval": row["accuracy_interval"], "text": text}


def spread(card: JsonMap, p: float) -> tuple[float, float] | None:
    """`Verdict.spread`: P(genuine) where the log-odds move by the `spread` of a model card; None where it has none."""
    if card.get("spread") is None:
        return None
    low, high = sigmoid(logit(np.array(p)) + np.array([-1, 1]) * card["spread"])
    return float(low), float(high)


def _expert(loaded: Loaded, question: Question) -> tuple[float, float] | None:
    """(log-odds of genuine by the smile expert, its share); None if the clip is not a smile or cannot be read."""
    if loaded.smile is None or question.named.get("happiness", 0.0) <= 0.5:
        return None
    row = loaded.smile.table([question.track])
    return (float(loaded.smile.fitted.logit(row)[0]), loaded.smile_share) if np.isfinite(row).any() else None
