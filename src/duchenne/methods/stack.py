"""Several methods whose log-odds are mixed by out-of-fold predictions.

Pairs of clips of one person are ranked by separate weights, for rank SVMs.

Wolpert (1992), "Stacked generalization", Neural Networks 5(2), with folds that leave people out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from duchenne.errors import InputError, UsageError
from duchenne.learn.calibration import abstention_margin, logit, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.rank_svm import pairs
from duchenne.tabular.evidence import opinion_of
from duchenne.types import (
    Array,
    Classifier,
    CropReader,
    Cutter,
    Evidence,
    Json,
    Reader,
    Sample,
    readable,
)

FOLDS = 4  # for members without out-of-fold predictions
Make = Callable[[], Classifier]


def refuse_refit() -> Classifier:
    """Stands for `make` in a loaded model; UsageError."""
    raise UsageError("A loaded model cannot be fitted; train another with `duchenne train method`.")


@dataclass(frozen=True)
class CombinedReader(Reader):
    """Several readers as one; if they are equal, simply that one."""

    readers: tuple[Reader, ...]

    @property
    def crop_readers(self) -> tuple[CropReader, ...]:
        """Those of all its readers."""
        return tuple(each for reader in self.readers for each in reader.crop_readers)

    @property
    def is_optional(self) -> bool:
        """Whether none of them needs crops."""
        return all(reader.is_optional or not reader.crop_readers for reader in self.readers)

    @property
    def identity(self) -> str:
        """Of all of them."""
        return " ".join(reader.identity for reader in self.readers)

    def with_cutter(self, cut: Cutter) -> CombinedReader:
        """As `Reader.with_cutter`, for all readers."""
        return CombinedReader(tuple(reader.with_cutter(cut) for reader in self.readers))

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): a tuple of what each reader reads, None where none can; or the one reader's own table."""
        if len(set(self.readers)) == 1:
            return np.asarray(self.readers[0].table(samples))
        each = [reader.table(samples) for reader in self.readers]
        out = np.empty(len(samples), object)
        for i, row in enumerate(zip(*each, strict=True)):
            out[i] = row if any(_known(part) for part in row) else None
        return out

    def parts(self, x: Array) -> list[Array]:
        """A table (N, ...) split by reader: float (N, D), or object (N,)."""
        if x.dtype != object or len(set(self.readers)) == 1:
            return [x] * len(self.readers)
        return [_column([None if row is None else row[i] for row in x]) for i in range(len(self.readers))]


def _known(part: Any) -> bool:
    if part is None:
        return False
    return not (isinstance(part, np.ndarray) and part.dtype.kind == "f") or bool(np.isfinite(part).any())


def _column(cells: list[Any]) -> Array:
    """float64 (N, D) of rows of numbers, NaN where missing; object (N,) of anything else."""
    known = [cell for cell in cells if cell is not None]
    if known and all(isinstance(cell, np.ndarray) and cell.dtype == np.float64 and cell.ndim == 1 for cell in known):
        return np.array([np.full(len(known[0]), np.nan) if cell is None else cell for cell in cells])
    out = np.empty(len(cells), object)
    for i, cell in enumerate(cells):
        out[i] = cell
    return out


@dataclass(frozen=True, eq=False)
class FittedMember:
    """A fitted model with out-of-fold P(genuine) and ranking scores, float64 (N,) each, NaN where missing; `rank` None
    where P(genuine) ranks pairs."""

    model: Classifier
    p: Array
    rank: Array | None


def fit_member(make: Make, x: Array, y: Array, groups: Array, emotions: Array | None, seed: int = 0) -> FittedMember:
    """Fit a model from `make` on all rows of `x`, and others on folds for out-of-fold predictions.

    A model with its own `out_of_fold` is fitted once only, unless `refit_in_stack`.
    """
    use = np.flatnonzero(readable(x))

    def fitted(rows: Array) -> Classifier:
        return make().fit_table(x[rows], y[rows], groups[rows], None if emotions is None else emotions[rows])

    model, p, rank = fitted(use), np.full(len(y), np.nan), np.full(len(y), np.nan)
    if model.out_of_fold is not None and not model.refit_in_stack:
        p[use] = model.out_of_fold
        return FittedMember(model, p, None)
    ranks = False
    for train, test in person_folds(groups[use], FOLDS, seed):
        if len(np.unique(y[use[train]])) < 2:
            continue
        other, rows = fitted(use[train]), use[test]
        p[rows] = other.predict_table(x[rows], None if emotions is None else emotions[rows])[:, 1]
        scores = other.rank_table(x[rows])
        if scores is not None:
            rank[rows], ranks = scores, True
    return FittedMember(model, p, rank if ranks else None)


@dataclass
class Stack(Classifier):
    """Members and the weights of their log-odds.

    weights, bias   of the members' log-odds; a clip that one member cannot read has no prediction
    pair_weights    of the members' scores for ranking two clips of one person
    names           of the members, for messages
    """

    format: ClassVar[str] = "duchenne-method/stack"
    word: ClassVar[str] = "stack"

    makes: tuple[Make, ...]
    seed: int = 0
    members: list[Classifier] = field(default_factory=list)
    weights: Array = field(default_factory=lambda: np.zeros(0))
    bias: float = 0.0
    pair_weights: Array | None = None
    margin: float = 0.0
    out_of_fold: Array | None = field(default=None, repr=False)
    facts: Json = field(default_factory=dict)
    names: tuple[str, ...] = ()
    reader: CombinedReader = field(init=False)
    recipe: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        drafts = self.members or [make() for make in self.makes]
        self.reader = CombinedReader(tuple(draft.reader for draft in drafts))
        self.recipe = tuple(draft.recipe for draft in drafts)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on a table of `reader`; InputError with too few people for a member."""
        y, groups = np.asarray(labels, int), np.asarray(groups)
        emotions = None if emotions is None else np.asarray(emotions)
        asked = self._fit_members(x, y, groups, emotions)
        z = np.column_stack([logit(each.p) for each in asked])
        seen = np.isfinite(z).all(axis=1)
        if len(np.unique(y[seen])) < 2:
            raise InputError(f"A {self.word} needs clips of both labels that all its members can read; add people.")
        self.out_of_fold = np.full(len(y), np.nan)
        self.out_of_fold[seen] = self._fit_mix(
            z[seen], y[seen], groups[seen], None if emotions is None else emotions[seen]
        )
        self._fit_pairs(asked, y, groups, emotions)
        return self

    def _fit_members(self, x: Array, y: Array, groups: Array, emotions: Array | None) -> list[FittedMember]:
        asked = []
        for number, (make, part) in enumerate(zip(self.makes, self.reader.parts(x), strict=True), 1):
            try:
                asked.append(fit_member(make, part, y, groups, emotions, self.seed))
            except InputError as error:
                raise InputError(f"The {self.word}'s {self._called(number)} cannot be trained: {error}") from error
            if np.isnan(asked[-1].p).all():
                raise InputError(
                    f"The {self.word}'s {self._called(number)} gave no answer on people left out; leave it out, or "
                    "give it clips that it can read, of both labels from more people."
                )
        self.members = [each.model for each in asked]
        return asked

    def _fit_mix(self, z: Array, y: Array, groups: Array, emotions: Array | None) -> Array:
        """float64 (N,): P(genuine) from the members' out-of-fold log-odds (N, M), by a regression fitted on them."""
        from sklearn.linear_model import LogisticRegression

        mix = LogisticRegression(C=1.0).fit(z, y)
        self.weights, self.bias = mix.coef_[0], float(mix.intercept_[0])
        p = sigmoid(self._mixed(z))
        self.margin = abstention_margin(p, y)
        return p

    def _fit_pairs(self, asked: Sequence[FittedMember], y: Array, groups: Array, emotions: Array | None) -> None:
        """Logistic regression on differences, without an intercept: both orders of a pair are equivalent."""
        from sklearn.linear_model import LogisticRegression

        if all(each.rank is None for each in asked):
            return
        scores = np.column_stack([logit(each.p) if each.rank is None else each.rank for each in asked])
        better, worse = pairs(y, groups, emotions)
        gap = scores[better] - scores[worse]
        gap = gap[np.isfinite(gap).all(axis=1)]
        if len(gap) < 2:
            return
        spread = np.maximum(np.sqrt((gap**2).mean(axis=0)), 1e-12)
        first = np.arange(len(gap)) % 2 == 0
        fitted = LogisticRegression(C=1.0, fit_intercept=False).fit(
            gap / spread * np.where(first, 1, -1)[:, None], first
        )
        self.pair_weights = fitted.coef_[0] / spread

    def with_emotion(self, emotion: str) -> Self:
        """As `Classifier.with_emotion`, for all members."""
        return replace(self, members=[each.with_emotion(emotion) for each in self.members])

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """The weighted log-odds of each member."""
        found = []
        for number, (p, weight) in enumerate(zip(self.member_answers(x), self.weights, strict=True), 1):
            if np.isfinite(p[0]):
                what = self._called(number)
                text = f"The {what} alone gives P(genuine) = {p[0]:.2f}; its weight is {weight:.2f}."
                title, pull = f"Stack {what.replace(' ', ': ', 1)}", float(weight * logit(p)[0])
                found.append(
                    Evidence(
                        feature=title, descriptor=f"stack.{number}", value=float(p[0]), contribution=pull, text=text
                    )
                )
        return tuple(found)

    opinion = opinion_of

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine), NaN where a member has no prediction. InputError before `fit`."""
        z = np.column_stack([logit(p) for p in self.member_answers(x, emotions)])
        p = sigmoid(self._mixed(z, emotions))
        return np.column_stack([1 - p, p])

    @property
    def needs_emotions(self) -> bool:
        """Whether a member does."""
        return any(each.needs_emotions for each in self.members)

    def _called(self, number: int) -> str:
        """A member in words."""
        return f"member {self.names[number - 1] if self.names else f'number {number}'}"

    def rank_table(self, x: Array) -> Array | None:
        """float64 (N,): scores that order two clips of one person and emotion; None where P(genuine) does."""
        if self.pair_weights is None:
            return None
        columns = []
        for member, part, p in zip(self.members, self.reader.parts(x), self.member_answers(x), strict=True):
            scores = member.rank_table(part)
            columns.append(logit(p) if scores is None else scores)
        return np.asarray(np.column_stack(columns) @ self.pair_weights)

    def member_answers(self, x: Array, emotions: Array | None = None) -> list[Array]:
        """P(genuine), (N,), of each member; NaN where it cannot read a clip."""
        if not self.members:
            raise InputError("This stack has not been fitted; call fit first.")
        parts = self.reader.parts(x)
        return [_answers(member, part, emotions) for member, part in zip(self.members, parts, strict=True)]

    def _mixed(self, z: Array, emotions: Array | None = None) -> Array:
        """float64 (N,): log-odds of genuine from those of the members (N, M)."""
        return np.asarray(z @ self.weights + self.bias)


def _answers(member: Classifier, part: Array, emotions: Array | None) -> Array:
    out, use = np.full(len(part), np.nan), readable(part)
    if use.any():
        out[use] = member.predict_table(part[use], None if emotions is None else np.asarray(emotions)[use])[:, 1]
    return out
