"""A model of whole clips beside one that also learned from clips without their start, weighted by which a clip is.

People trim their recordings, and a clip that begins in the middle of an expression has no onset to go by. One model of
both kinds is worse on whole clips; learning from clips after a rest costs little there (experiments/LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from duchenne.learn.calibration import abstention_margin, logit, sigmoid
from duchenne.methods.copies import CopyReader
from duchenne.methods.hybrid import Hybrid, PairReader, column
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, Classifier, Json, Kind, Opinion, Question, readable


@dataclass
class Cuts(Classifier):
    """The log-odds of two models, weighted by how likely the clip begins in the middle of an expression.

    whole     learned from whole clips, and from the same after a rest
    late      learned from whole clips, and from the same without their start
    detector  tells the two apart by movement: its P(genuine) is P(begins in the middle), the weight of `late`
    """

    format: ClassVar[str] = "duchenne-cuts"

    whole: Hybrid
    late: Hybrid
    detector: DescriptorModel
    margin: float = 0.0
    facts: Json = field(default_factory=dict)
    out_of_fold: Array | None = field(default=None, repr=False)

    @property
    def reader(self) -> PairReader:
        """Of whole clips, and for training of their copies."""
        return PairReader(self.whole.reader, CopyReader(self.whole.reader))

    @property
    def needs(self) -> str:
        """As the model of whole clips."""
        return self.whole.needs

    @property
    def recipe(self) -> tuple[object, ...]:
        """Those of all."""
        return *self.whole.recipe, *self.late.recipe, self.detector.recipe

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on what `table` gives. InputError as `Hybrid.fit_table`."""
        usable = readable(x)
        wholes, copies = column(x[usable], 0), column(x[usable], 1)
        rested, late = (column(copies, i) for i in (0, 1))
        y, who = np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        named = None if emotions is None else np.asarray(emotions)[usable]

        def fit(model: Classifier, more: Array, begins: bool = False) -> Array:
            """Fit to whole clips and these copies, if `begins` to tell them apart; P (N,) of the whole clips."""
            takes = np.concatenate([wholes, more[readable(more)]])
            of = np.r_[np.arange(len(wholes)), np.flatnonzero(readable(more))]
            truth = np.arange(len(of)) >= len(wholes) if begins else y[of]
            x = np.array([row for row, _ in takes]) if begins else takes
            model.fit_table(x, truth, who[of], None if begins or named is None else named[of])
            assert model.out_of_fold is not None
            return model.out_of_fold[: len(wholes)]

        p = _mixed(fit(self.whole, rested), fit(self.late, late), fit(self.detector, late, begins=True))
        self.margin = abstention_margin(p, y)
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        counts = {"people": len(np.unique(who)), "clips": len(y), "genuine": int(y.sum())}
        self.facts = {**self.facts, **counts}
        return self

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine), NaN for clips that are too short. InputError before `fit`."""
        out, usable = np.full((len(x), 2), np.nan), readable(x)
        if usable.any():
            wholes = column(x[usable], 0)
            weight = self.detector.predict_table(np.array([row for row, _ in wholes]))[:, 1]
            p = _mixed(self.whole.predict_table(wholes)[:, 1], self.late.predict_table(wholes)[:, 1], weight)
            out[usable] = np.column_stack([1 - p, p])
        return out

    def part(self, kind: type[Kind]) -> Kind | None:
        """Itself, the model of whole clips or one of its two, of this kind."""
        return self if isinstance(self, kind) else self.whole.part(kind)

    def opinion(self, question: Question) -> Opinion:
        """Of both, as weighted; InputError before `fit`."""
        read = self.whole.read(question)
        weight = 0.0
        if np.isfinite(read.row).any():
            weight = float(self.detector.predict_table(read.row[None])[0, 1])
        answer = self.whole.answer(question, read).mixed(self.late.answer(question, read), weight)
        step = f"judge: begins in the middle with probability {weight:.2f}, the weight of the model of such clips"
        return self.whole.say(question, read.row, answer, step)


def _mixed(whole: Array, late: Array, weight: Array) -> Array:
    """P(genuine) (N,) of two models, the log-odds of `late` counting `weight`."""
    return sigmoid((1 - weight) * logit(whole) + weight * logit(late))
