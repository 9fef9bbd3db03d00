"""Genuine or posed from the movement descriptors of a track, and how familiar a clip is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from duchenne import io
from duchenne.errors import InputError
from duchenne.features.descriptors import FAMILIES
from duchenne.features.smile import EXPERT
from duchenne.learn.boosting import Recipe, Tabular
from duchenne.learn.calibration import abstention_margin, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear, as_stored, quantiles
from duchenne.tabular import appearance, evidence, groups
from duchenne.tabular.rows import Reader, from_columns
from duchenne.types import (
    NO_EMOTION,
    Array,
    Classifier,
    Familiarity,
    Json,
    JsonMap,
    Opinion,
    Question,
    Reason,
    Sample,
    readable,
)
from duchenne.types import Reader as AnyReader

#: Feature weight of the few emotion columns beside over a thousand others; C of the emotion model.
EMPHASIS, EMOTION_PENALTY = 8.0, 0.003
#: Quantiles of the envelope of the training clips per descriptor; quantile, over clips of people left out, of the share
#: of descriptors outside it above which a clip is unfamiliar.
_ENVELOPE, _STRANGE = (0.005, 0.995), 0.995
#: Power of a descriptor's reliability by which it counts, and the least reliability.
_RELIANCE, _LEAST_RELIABLE = 3, 0.05

#: The family of descriptors of how a face looks (`tabular.appearance`).
APPEARANCE = "appearance"


def column_names(family: str) -> tuple[str, ...]:
    """Names of the descriptors of a family; KeyError for an unknown one."""
    own = {"smile": tuple(EXPERT), APPEARANCE: appearance.NAMES}
    return own[family] if family in own else FAMILIES[family].names


@dataclass
class DescriptorModel(Classifier):
    """Gradient boosting and a linear model on descriptors of a track, or on a table of them.

    fps       frames per second that tracks are resampled to
    typical   quartiles {"posed": (2, D), "genuine": (2, D)} of the training people, for evidence
    """

    format: ClassVar[str] = "duchenne-descriptors"

    names: tuple[str, ...]
    family: str = "dynamics"
    fps: float = 25.0
    recipe: Recipe = field(default_factory=Recipe)
    tabular: Tabular | None = None
    emotion_names: tuple[str, ...] = ()
    emotion: Linear | None = None
    margin: float = 0.0
    envelope: Array | None = None
    strangeness: Array | None = None
    typical: dict[str, Array] = field(default_factory=dict)
    facts: Json = field(default_factory=dict)
    out_of_fold: Array | None = field(default=None, repr=False)

    @classmethod
    def of_family(cls, family: str = "dynamics", *, fps: float = 25.0, recipe: Recipe | None = None) -> DescriptorModel:
        """An unfitted model on one of `features.descriptors.FAMILIES`, or on "appearance"."""
        return cls(names=column_names(family), family=family, fps=fps, recipe=recipe or Recipe())

    @property
    def reader(self) -> AnyReader:
        """Descriptors of its family."""
        return appearance.Appearance(self.fps) if self.family == APPEARANCE else Reader(self.family, self.fps)

    def table(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, D): descriptors of each track's longest stretch with a face; NaN where too short."""
        return self.reader.table(samples).reshape(len(samples), len(self.names))

    def from_columns(self, columns: JsonMap, source: str) -> Array:
        """float64 (N, D) from named columns; the smile expert also reads those of the public UvA-NEMO table."""
        return from_columns(columns, self.names, source, family=self.family)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on descriptors (N, D). InputError with fewer than four persons or only one class."""
        usable = readable(x)
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        people = len(np.unique(groups))
        if people < 4 or len(np.unique(y)) < 2:
            raise InputError(
                f"Training needs clips of both labels from at least 4 people, found {people} people and "
                f"{int(y.sum())} genuine of {len(y)} usable clips; add people or clips to the manifest."
            )
        guesses = self._fit_emotions(x, groups, None if emotions is None else np.asarray(emotions)[usable])
        emphasis = np.r_[np.ones(x.shape[1]), np.full(guesses.shape[1], EMPHASIS)]
        importance = np.r_[_importance(self.family, x.shape[1]), np.ones(guesses.shape[1])]
        self.tabular = Tabular(self.inputs_names, self.recipe)
        self.tabular.fit(np.hstack([x, guesses]), y, groups, emphasis, importance)
        p = self.tabular.out_of_fold
        assert p is not None
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.margin = abstention_margin(p, y)
        self._fit_envelope(x, groups)
        quartiles = [as_stored(quantiles(x[y == value], (0.25, 0.75))) for value in (0, 1)]
        self.typical = dict(zip(("posed", "genuine"), quartiles, strict=True))
        self.facts = {**self.facts, "people": people, "clips": len(y), "genuine": int(y.sum())}
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of each row of descriptors (N, D)."""
        return self.fitted.predict_proba(self.inputs(x))

    @property
    def inputs_names(self) -> tuple[str, ...]:
        """Columns of the classifier: descriptors, then emotion probabilities."""
        return (*self.names, *(f"emotion.{name}" for name in self.emotion_names))

    def inputs(self, x: Array, given: Mapping[str, float] | None = None) -> Array:
        """float64 (N, D + E): descriptors (N, D) with probabilities of E emotions, estimated from the movement, or as
        given if most of their mass is on emotions of the model."""
        if self.emotion is None:
            return x
        known = np.array([(given or {}).get(name, 0.0) for name in self.emotion_names])
        if known.sum() < 0.5:
            return np.hstack([x, self.emotion.probabilities(x)])
        return np.hstack([x, np.tile(known / known.sum(), (len(x), 1))])

    @property
    def fitted(self) -> Tabular:
        """The fitted classifier; InputError before `fit`."""
        if self.tabular is None:
            raise InputError("This model has not been fitted; call fit or load a trained model.")
        return self.tabular

    def emotions(self, x: Array) -> list[dict[str, float]]:
        """Per row: emotion name → probability; empty when the model was trained without emotions."""
        if self.emotion is None:
            return [{} for _ in x]
        rows = self.emotion.probabilities(x)
        return [dict(zip(self.emotion_names, map(float, row), strict=True)) for row in rows]

    def named(self, row: Array) -> dict[str, float]:
        """`emotions` of one clip's descriptors (D,); empty where there are none."""
        return self.emotions(row[None])[0] if np.isfinite(row).any() else {}

    def familiarity(self, row: Array) -> Familiarity | None:
        """How similar a clip's descriptors (D,) are to those of the training clips; None where there are none."""
        if not np.isfinite(row).any():
            return None
        share, percentile = self.unfamiliarity(row[None])
        limit = self.familiar_limit
        text = (
            f"{100 * share[0]:.1f} % of the measurements lie outside what 99 % of the training clips show; "
            f"up to {100 * limit:.1f} % is usual for people the model has not seen."
        )
        return Familiarity(float(share[0]), float(percentile[0]), bool(share[0] <= limit), text)

    def read(self, question: Question) -> tuple[Array, Array | None]:
        """(descriptors (D,) of a clip, those (K, D) of its `groups.copies` where the question asks for evidence)."""
        row = self.table([question.track])[0]
        shaken = self.family != APPEARANCE and _told(question, row)
        return row, self.table(groups.copies(question.track)) if shaken else None

    def log_odds(self, question: Question, row: Array) -> tuple[float, float]:
        """(log-odds of genuine of descriptors (D,), this model's share in them); the smile expert has the rest
        (docs/decisions/0004-smile-expert.md)."""
        z = float(self.fitted.logit(self.inputs(row[None], question.seen))[0])
        if question.expert is None:
            return z, 1.0
        expert, share = question.expert
        return (1 - share) * z + share * expert, 1 - share

    def abstain_reason(self, row: Array) -> Reason | None:
        """Why to abstain from a clip with these descriptors (D,), in a sentence; None where it is familiar."""
        found = self.familiarity(row)
        if found is None:
            what = "no smile, which this model needs" if self.family == "smile" else "too little of the face"
            return Reason("not_measured", f"Nothing to judge: the clip shows {what}.")
        if found.familiar:
            return None
        return Reason("unfamiliar", f"Unlike anything the model was trained on: {found.text}")

    def pulls(self, question: Question, row: Array, shaken: Array | None) -> dict[str, groups.Pull]:
        """What groups of descriptors, as of `read`, and the smile expert add to `log_odds`; nothing where the question
        does not ask for evidence."""
        if not _told(question, row):
            return {}
        found = groups.pulls(self, row, question.seen, shaken)
        if question.expert is None:
            return found
        expert, share = question.expert
        return groups.scaled(found, 1 - share) | {"smile": (share * expert, 0.0)}

    def opinion(self, question: Question) -> Opinion:
        """Prediction for one clip, mixed with the smile expert's where there is one."""
        row, shaken = self.read(question)
        z, share = self.log_odds(question, row)
        why = groups.evidence(self.pulls(question, row, shaken), z)
        opinion = Opinion(float(sigmoid(np.array(z))), self.abstain_reason(row), why)
        return self.detailed(opinion, question, row, z, share)

    def detailed(self, opinion: Opinion, question: Question, row: Array, z: float, share: float) -> Opinion:
        """The opinion with single descriptors and what would change the verdict, where the question asks for them; `z`
        are the log-odds of the verdict, in which those of this model count `share` times."""
        if not (question.details and _told(question, row)):
            return opinion
        single = evidence.evidence(self, row, question.seen, weight=share)
        turning = evidence.turning(self, row, question.seen, z, share)
        return replace(opinion, evidence=(*opinion.evidence, *single), turning=turning)

    def unfamiliarity(self, x: Array) -> tuple[Array, Array]:
        """(share, percentile), each (N,): share of descriptors outside what 99 % of training clips show, and
        the percentage of unseen people's clips that stay below that share."""
        assert self.envelope is not None and self.strangeness is not None
        share = _outside(x, self.envelope)
        return share, 100.0 * np.searchsorted(self.strangeness, share, side="left") / len(self.strangeness)

    def _fit_emotions(self, x: Array, groups: Array, emotions: Array | None) -> Array:
        """Fit the emotion model; return out-of-fold probabilities, float64 (N, E)."""
        known = sorted({str(e) for e in emotions} - {*NO_EMOTION}) if emotions is not None else []
        if emotions is None or len(known) < 2:
            return np.empty((len(x), 0))
        named = np.isin(emotions, known)
        classes = np.searchsorted(known, emotions.astype(str))
        self.emotion_names = tuple(known)
        guesses = np.full((len(x), len(known)), 1 / len(known))
        for train, test in person_folds(groups, self.recipe.folds, self.recipe.seed):
            rows = train[named[train]]
            if len(np.unique(classes[rows])) == len(known):
                guesses[test] = Linear.fit(x[rows], classes[rows], EMOTION_PENALTY).probabilities(x[test])
        self.emotion = Linear.fit(x[named], classes[named], EMOTION_PENALTY)
        return guesses

    def _fit_envelope(self, x: Array, groups: Array) -> None:
        unseen = np.concatenate(
            [_outside(x[test], quantiles(x[train], _ENVELOPE)) for train, test in person_folds(groups, 10, 0)]
        )
        self.strangeness = as_stored(np.quantile(unseen, np.linspace(0, 1, 201)))
        self.envelope = as_stored(quantiles(x, _ENVELOPE))

    @property
    def familiar_limit(self) -> float:
        """Share of descriptors outside the envelope above which a clip is unlike the training clips."""
        assert self.strangeness is not None
        return float(np.interp(_STRANGE, np.linspace(0, 1, len(self.strangeness)), self.strangeness))


def _importance(family: str, columns: int) -> Array:
    """float64 (D,): how much each descriptor counts for the kernel, by how well it repeats when the same clip is shown
    otherwise (`experiments/reliability.py`); 1 where that was not measured."""
    measured = io.read_arrays(Path(str(files("duchenne"))) / "weights" / "reliability.npz").get(family)
    return np.ones(columns) if measured is None else np.maximum(measured.astype(float), _LEAST_RELIABLE) ** _RELIANCE


def _told(question: Question, row: Array) -> bool:
    """Whether the question asks for evidence, and anything is known of the clip, of descriptors (D,)."""
    return question.explain and bool(np.isfinite(row).any())


def _outside(x: Array, envelope: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(((x < envelope[0]) | (x > envelope[1])).mean(axis=1))
