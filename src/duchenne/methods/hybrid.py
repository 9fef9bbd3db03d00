"""Descriptors beside a second model that errs on different clips: of how the face looks, or an LSTM-PB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from duchenne.errors import InputError
from duchenne.learn.calibration import abstention_margin, logit, sigmoid
from duchenne.tabular import groups
from duchenne.tabular.model import DescriptorModel
from duchenne.types import (
    Array,
    Classifier,
    CropReader,
    Cutter,
    Json,
    Kind,
    Opinion,
    Question,
    Reader,
    Sample,
    readable,
)


@dataclass(frozen=True)
class PairReader(Reader):
    """Reads for both models."""

    first: Reader
    second: Reader

    @property
    def inner(self) -> tuple[Reader, Reader]:
        """Both."""
        return self.first, self.second

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Those of both."""
        return self.first.crop_readers + self.second.crop_readers

    @property
    def is_optional(self) -> bool:
        """Without crops the descriptors answer alone."""
        return True

    def with_cutter(self, cut: Cutter) -> Reader:
        """Both with crops from `cut`."""
        return PairReader(self.first.with_cutter(cut), self.second.with_cutter(cut))

    def joined(self, tables: Sequence[Array]) -> Array:
        """object (N,): what each reads of each clip, in a tuple; None where the first reads nothing, and in the tuple
        where the second does."""
        first, second = tables
        ours, others = readable(first), readable(second)
        out = np.empty(len(first), object)
        for i in np.flatnonzero(ours):
            out[i] = (first[i], second[i] if others[i] else None)
        return out

    def table(self, samples: Sequence[Sample]) -> Array:
        """As `joined`."""
        return self.joined([each.table(samples) for each in self.inner])


def column(x: Array, index: int) -> Array:
    """object (N,): one of what each item of `x` (N,) holds."""
    out = np.empty(len(x), object)
    for i, item in enumerate(x):
        out[i] = item[index]
    return out


@dataclass(frozen=True)
class Mix:
    """Log-odds of genuine are `descriptors` · z_d + `other` · z_o + `bias`; abstain within `margin` of ½."""

    descriptors: float
    other: float
    bias: float
    margin: float

    @classmethod
    def fit(cls, p_descriptors: Array, p_other: Array, y: Array) -> Mix:
        """From out-of-fold P(genuine), (N,) each; NaN where one has no prediction."""
        from sklearn.linear_model import LogisticRegression

        both = np.isfinite(p_descriptors) & np.isfinite(p_other)
        z = np.column_stack([logit(p_descriptors[both]), logit(p_other[both])])
        model = LogisticRegression(C=1e3).fit(z, y[both])
        (a, b), c = model.coef_[0], model.intercept_[0]
        draft = cls(float(a), float(b), float(c), 0.0)
        p = sigmoid(draft(z[:, 0], z[:, 1]))
        return replace(draft, margin=abstention_margin(p, y[both]))

    def __call__(self, descriptors: Array, other: Array) -> Array:
        """Mixed log-odds; those of the descriptors where the other model has none (NaN)."""
        mixed = self.descriptors * descriptors + self.other * other + self.bias
        return np.where(np.isfinite(other), mixed, descriptors)


@dataclass(frozen=True)
class Read:
    """Of one clip: descriptors (D,), those of its copies (`DescriptorModel.read`), the table (1, ...) of the other."""

    row: Array
    shaken: Array | None
    other: Array


@dataclass(frozen=True)
class Answer:
    """Log-odds of genuine of one clip, what groups and what the descriptors have of them, and how they were found."""

    z: float
    pulls: dict[str, groups.Pull]
    share: float
    step: str

    def mixed(self, other: Answer, weight: float) -> Answer:
        """With another answer to the same question, which counts `weight`; `share` and `step` are of this one."""
        pulls = groups.added(groups.scaled(self.pulls, 1 - weight), groups.scaled(other.pulls, weight))
        return Answer((1 - weight) * self.z + weight * other.z, pulls, (1 - weight) * self.share, self.step)


@dataclass
class Hybrid(Classifier):
    """Descriptors and a second model, trained separately, mixed by their out-of-fold predictions.

    other  a DescriptorModel of how the face looks, or a PBModel
    """

    format: ClassVar[str] = "duchenne-hybrid"

    descriptors: DescriptorModel
    other: Classifier
    mix: Mix | None = None
    facts: Json = field(default_factory=dict)
    out_of_fold: Array | None = field(default=None, repr=False)

    @property
    def reader(self) -> PairReader:
        """Of both."""
        return PairReader(self.descriptors.reader, self.other.reader)

    @property
    def needs(self) -> str:
        """ "points": without crops the descriptors answer alone."""
        return "points"

    @property
    def recipe(self) -> tuple[object, object]:
        """Both recipes."""
        return self.descriptors.recipe, self.other.recipe

    @property
    def margin(self) -> float:
        """|P(genuine) − 0.5| below which it abstains."""
        return 0.0 if self.mix is None else self.mix.margin

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on what `table` gives. InputError with too few people, and where the second model reads no clip."""
        usable = readable(x)
        rows, others = self._parts(x[usable])
        y, groups = np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        emotions = None if emotions is None else np.asarray(emotions)[usable]
        if self.other.reader.crop_readers and not readable(others).any():
            raise InputError("No clip has images, which half of this model reads; train on videos, not on tracks.")
        self.descriptors.fit_table(rows, y, groups, emotions)
        # one emotion model is enough
        self.other.fit_table(others, y, groups, None if isinstance(self.other, DescriptorModel) else emotions)
        first, second = self.descriptors.out_of_fold, self.other.out_of_fold
        assert first is not None and second is not None
        self.mix = Mix.fit(first, second, y)
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = sigmoid(self.mix(logit(first), logit(second)))
        self.facts = {**self.facts, **self.descriptors.facts}
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine), NaN for clips that are too short. InputError before `fit`."""
        if self.mix is None:
            raise InputError("This model has not been fitted; call fit first.")
        out = np.full((len(x), 2), np.nan)
        usable = readable(x)
        if usable.any():
            rows, others = self._parts(x[usable])
            z = np.full(len(rows), np.nan)
            if (known := readable(others)).any():
                z[known] = logit(self.other.predict_table(others[known])[:, 1])
            p = sigmoid(self.mix(logit(self.descriptors.predict_table(rows)[:, 1]), z))
            out[usable] = np.column_stack([1 - p, p])
        return out

    def part(self, kind: type[Kind]) -> Kind | None:
        """Itself or one of the two, of this kind."""
        return next((each for each in (self, self.descriptors, self.other) if isinstance(each, kind)), None)

    def read(self, question: Question) -> Read:
        """What both read of a clip."""
        row, shaken = self.descriptors.read(question)
        reader = self.other.reader
        if reader.crop_readers and question.crops is not None:
            reader = reader.with_cutter(lambda _, __, each: question.cut(each))
        return Read(row, shaken, reader.table([question.track]))

    def answer(self, question: Question, read: Read) -> Answer:
        """Of both; of the descriptors alone where the other model cannot read the clip. InputError before `fit`."""
        if self.mix is None:
            raise InputError("This model has not been fitted; call fit first.")
        z, share = self.descriptors.log_odds(question, read.row)
        pulls = self.descriptors.pulls(question, read.row, read.shaken)
        if not readable(read.other)[0]:
            return Answer(z, pulls, share, f"judge: descriptors alone: {self.other_name} cannot read the clip")
        other = float(logit(self.other.predict_table(read.other)[0, 1]))
        if pulls:
            its = {"sequence": (other, 0.0)}
            if isinstance(self.other, DescriptorModel):
                its = groups.pulls(self.other, read.other[0])
            pulls = groups.scaled(pulls, self.mix.descriptors) | groups.scaled(its, self.mix.other)
        step = f"log-odds of descriptors x {self.mix.descriptors:.2f} and of {self.other_name} x {self.mix.other:.2f}"
        return Answer(
            float(self.mix(np.array(z), np.array(other))), pulls, share * self.mix.descriptors, f"judge: {step}"
        )

    def say(self, question: Question, row: Array, answer: Answer, *steps: str) -> Opinion:
        """The opinion, with evidence, of an answer on a clip of these descriptors (D,)."""
        why, reason = groups.evidence(answer.pulls, answer.z), self.descriptors.abstain_reason(row)
        opinion = Opinion(float(sigmoid(np.array(answer.z))), reason, why, (answer.step, *steps))
        return self.descriptors.detailed(opinion, question, row, answer.z, answer.share)

    def opinion(self, question: Question) -> Opinion:
        """Mixed opinion of both; of the descriptors alone where the other model cannot read the clip."""
        read = self.read(question)
        return self.say(question, read.row, self.answer(question, read))

    @property
    def other_name(self) -> str:
        """The second model, in words."""
        return "the face's look" if isinstance(self.other, DescriptorModel) else "an LSTM-PB"

    def _parts(self, x: Array) -> tuple[Array, Array]:
        """Rows (N, D) of the descriptors, and what the other model reads: rows, NaN where None, or object (N,)."""
        rows = np.array([row for row, _ in x]).reshape(len(x), len(self.descriptors.names))
        others = column(x, 1)
        if not isinstance(self.other, DescriptorModel):
            return rows, others
        missing = np.full(len(self.other.names), np.nan)
        return rows, np.array([missing if each is None else each for each in others]).reshape(len(x), len(missing))
