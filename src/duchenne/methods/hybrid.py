"""Descriptors and an LSTM-PB side by side, which err on different clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from duchenne.errors import InputError
from duchenne.features.sequences import SequenceReader
from duchenne.learn.calibration import TARGET_ACCURACY, abstention_margin, logit, sigmoid
from duchenne.tabular.evidence import turning
from duchenne.tabular.model import DescriptorModel
from duchenne.tabular.rows import Reader
from duchenne.types import Array, Classifier, Evidence, Json, Kind, Opinion, Question, Sample
from duchenne.types import Reader as AnyReader

if TYPE_CHECKING:
    from duchenne.lstm_pb.model import PBModel


MOST_REGIONS = 3  # of the LSTM-PB as evidence beside the descriptors


@dataclass(frozen=True)
class PairReader(AnyReader):
    """Reads for both models."""

    rows: Reader
    sequences: SequenceReader

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): (row float64 (D,), sequence float32 (T, D) or None) of each clip, None where too short."""
        rows, sequences = self.rows.table(samples), self.sequences.table(samples)
        out = np.empty(len(samples), object)
        for i, (row, sequence) in enumerate(zip(rows, sequences, strict=True)):
            out[i] = (row, sequence) if np.isfinite(row).any() else None
        return out


@dataclass(frozen=True)
class Mix:
    """Log-odds of genuine are `descriptors` · z_d + `pb` · z_p + `bias`; abstain within `margin` of ½."""

    descriptors: float
    pb: float
    bias: float
    margin: float

    @classmethod
    def fit(cls, p_descriptors: Array, p_pb: Array, y: Array) -> Mix:
        """From out-of-fold P(genuine), (N,) each; NaN where one has no prediction."""
        from sklearn.linear_model import LogisticRegression

        both = np.isfinite(p_descriptors) & np.isfinite(p_pb)
        z = np.column_stack([logit(p_descriptors[both]), logit(p_pb[both])])
        model = LogisticRegression(C=1e3).fit(z, y[both])
        (a, b), c = model.coef_[0], model.intercept_[0]
        draft = cls(float(a), float(b), float(c), 0.0)
        p = sigmoid(draft(z[:, 0], z[:, 1]))
        return replace(draft, margin=abstention_margin(p, y[both], TARGET_ACCURACY))

    def __call__(self, descriptors: Array, pb: Array) -> Array:
        """Mixed log-odds; those of the descriptors where the LSTM-PB has none (NaN)."""
        mixed = self.descriptors * descriptors + self.pb * pb + self.bias
        return np.where(np.isfinite(pb), mixed, descriptors)


@dataclass
class Hybrid(Classifier):
    """Descriptors and an LSTM-PB, trained separately, mixed by their out-of-fold predictions."""

    format: ClassVar[str] = "duchenne-hybrid"

    descriptors: DescriptorModel
    pb: PBModel
    mix: Mix | None = None
    facts: Json = field(default_factory=dict)
    out_of_fold: Array | None = field(default=None, repr=False)

    @property
    def reader(self) -> PairReader:
        """Of both."""
        return PairReader(self.descriptors.reader, self.pb.reader)

    @property
    def recipe(self) -> tuple[object, object]:
        """Both recipes."""
        return self.descriptors.recipe, self.pb.recipe

    @property
    def margin(self) -> float:
        """|P(genuine) − 0.5| below which it abstains."""
        return 0.0 if self.mix is None else self.mix.margin

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on what `table` gives. InputError with too few people."""
        usable = np.array([each is not None for each in x], bool)
        rows, sequences = self._parts(x[usable])
        y, groups = np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        emotions = None if emotions is None else np.asarray(emotions)[usable]
        self.descriptors.fit_table(rows, y, groups, emotions)
        self.pb.fit_table(sequences, y, groups, emotions)
        first, second = self.descriptors.out_of_fold, self.pb.out_of_fold
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
        usable = np.array([each is not None for each in x], bool)
        if usable.any():
            rows, sequences = self._parts(x[usable])
            each = (self.descriptors.predict_table(rows), self.pb.predict_table(sequences))
            p = sigmoid(self.mix(*(logit(found[:, 1]) for found in each)))
            out[usable] = np.column_stack([1 - p, p])
        return out

    def part(self, kind: type[Kind]) -> Kind | None:
        """Itself or one of the two, of this kind."""
        return next((each for each in (self, self.descriptors, self.pb) if isinstance(each, kind)), None)

    def opinion(self, question: Question) -> Opinion:
        """Mixed opinion of both; of the descriptors alone where the clip is too short for the LSTM-PB."""
        if self.mix is None:
            raise InputError("This model has not been fitted; call fit first.")
        z, share, row = self.descriptors.log_odds(question)
        why = self.descriptors.explain(question, row)
        x, step = self.pb.table([question.track]), "descriptors alone: the clip is too short for the LSTM-PB"
        if x[0] is not None:
            other = float(logit(self.pb.predict_table(x)[0, 1]))
            more = self.pb.evidence(x)[:MOST_REGIONS] if why else ()
            why = (*_scaled(why, self.mix.descriptors), *_scaled(more, self.mix.pb))
            z, share = float(self.mix(np.array(z), np.array(other))), share * self.mix.descriptors
            step = f"log-odds of descriptors x {self.mix.descriptors:.2f} and of an LSTM-PB x {self.mix.pb:.2f}"
        turn = turning(self.descriptors, row, question.seen, z, share) if why else {}
        return Opinion(
            float(sigmoid(np.array(z))), self.descriptors.abstain_reason(row), why, (f"judge: {step}",), turn
        )

    def _parts(self, x: Array) -> tuple[Array, Array]:
        sequences = np.empty(len(x), object)
        for i, (_, sequence) in enumerate(x):
            sequences[i] = sequence
        return np.array([row for row, _ in x]).reshape(len(x), len(self.descriptors.names)), sequences


def _scaled(items: tuple[Evidence, ...], weight: float) -> tuple[Evidence, ...]:
    return tuple(replace(item, contribution=weight * item.contribution) for item in items)
