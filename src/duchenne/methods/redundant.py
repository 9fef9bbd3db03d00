"""Independent methods whose agreement reinforces their answer, and whose conflicts withhold it.

After the learning systems of Vanderhaegen & Zieba (2014), "Reinforced learning systems based on merged and cumulative
knowledge to predict human actions", Information Sciences 276: knowledge of how past predictions turned out is
reinforced by every new case, either merged into one table or cumulated by situation. Here a situation is an emotion, a
case is the pattern of the members' votes on a person whom none of them had seen, and what is learned is how often such
a clip was genuine. The table over all emotions (merged) is the prior of that of one emotion (cumulative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from duchenne.learn.calibration import LEAST_ACCURACY, logit
from duchenne.methods.stack import Stack
from duchenne.tabular.evidence import opinion_of
from duchenne.types import LABELS, NO_EMOTION, Array, Evidence, Opinion, Question

_PRIOR = 8.0  # cases that the merged table counts for in one emotion's
MOST = 6  # members: 64 patterns


@dataclass
class Redundant(Stack):
    """Members, and how often each pattern of their votes was genuine.

    counts         float64 (E + 1, 2^M, 2): past cases per emotion, last of all emotions, by pattern and label; bit k of
                   a pattern is 1 where member k said genuine
    emotion_names  (E,) of the rows of `counts`
    emotion        of the clips, where it is given
    """

    format: ClassVar[str] = "duchenne-method/redundant"
    word: ClassVar[str] = "redundant method"

    counts: Array = field(default_factory=lambda: np.zeros((0, 0, 2)))
    emotion_names: tuple[str, ...] = ()
    emotion: str = ""

    @property
    def needs_emotions(self) -> bool:
        """Whether it learned the agreements of several emotions apart."""
        return bool(self.emotion_names)

    def with_emotion(self, emotion: str) -> Self:
        """As `Classifier.with_emotion`."""
        return replace(super().with_emotion(emotion), emotion=emotion)

    def opinion(self, question: Question) -> Opinion:
        """See `Classifier.opinion`; a conflict that past cases do not resolve is a reason to abstain, and where they
        do in some emotions, the reason asks for the emotion."""
        named = max(question.named, key=lambda name: (question.named[name], name), default="")
        model = self if self.emotion else self.with_emotion(named)
        found = opinion_of(model, question)
        if not np.isfinite(found.p) or abs(found.p - 0.5) >= self.margin:
            return found
        x = self.reader.with_cutter(lambda _, __, reader: question.cut(reader)).table([question.track])
        return replace(found, reason=model._why(model.member_answers(x)))

    def _why(self, answers: Sequence[Array]) -> str:
        z = np.column_stack([logit(p) for p in answers])
        votes = [f"{self._called(k)} says {LABELS[int(v > 0)]}" for k, v in enumerate(z[0], 1)]
        apart = len(set(votes_of(z)[0].tolist())) > 1
        what = "The members disagree" if apart else "The members agree, but were often wrong together"
        text = f"{what}: {', '.join(votes)}; past cases like this do not decide it."
        surer = [
            name for name in self.emotion_names if abs(float(self._p(z, np.array([name]))[0]) - 0.5) >= self.margin
        ]
        if surer and not self.emotion:
            text += f" They do in {', '.join(surer)}: pass --emotion if it is known."
        return text

    def evidence(self, x: Array) -> tuple[Evidence, ...]:
        """Each member's vote, with the log-odds of the pattern shared among the members that voted for it."""
        answers = self.member_answers(x)
        z = np.column_stack([logit(p) for p in answers])
        if not np.isfinite(z).all():
            return ()
        total = float(self._mixed(z)[0])
        votes = votes_of(z)[0]
        with_it = np.flatnonzero(votes == (total > 0))
        found = []
        for k, p in enumerate(answers):
            text = f"The {self._called(k + 1)} says {LABELS[int(votes[k])]}, with P(genuine) = {p[0]:.2f}."
            pull = total / len(with_it) if k in with_it else 0.0
            title = f"Redundant {self._called(k + 1).replace(' ', ': ', 1)}"
            found.append(
                Evidence(
                    feature=title, descriptor=f"redundant.{k + 1}", value=float(p[0]), contribution=pull, text=text
                )
            )
        return tuple(found)

    def _fit_mix(self, z: Array, y: Array, groups: Array, emotions: Array | None) -> Array:
        """Count the past cases; float64 (N,): P(genuine) of each by the cases of other people."""
        what = np.full(len(y), "") if emotions is None else emotions.astype(str)
        self.emotion_names = tuple(sorted({*what.tolist()} - {*NO_EMOTION}))
        self.weights = np.ones(z.shape[1])
        self.margin = LEAST_ACCURACY - 0.5
        whole, p = self._cases(z, y, what), np.full(len(y), np.nan)
        for person in np.unique(groups):
            own = groups == person
            self.counts = whole - self._cases(z[own], y[own], what[own])
            p[own] = self._p(z[own], what[own])
        self.counts = whole
        return p

    def _cases(self, z: Array, y: Array, what: Array) -> Array:
        counts = np.zeros((len(self.emotion_names) + 1, 2 ** z.shape[1], 2))
        row = self._rows(what)
        np.add.at(counts, (row, _patterns(z), y), 1)
        counts[-1] = counts.sum(axis=0)
        return counts

    def _rows(self, what: Array) -> Array:
        known = {name: i for i, name in enumerate(self.emotion_names)}
        return np.array([known.get(name, len(known)) for name in what.tolist()], int)

    def _p(self, z: Array, what: Array) -> Array:
        """float64 (N,): P(genuine) of votes z (N, M) in emotions (N,); unknown ones by the table of all."""
        pattern, row = _patterns(z), self._rows(what)
        merged = self.counts[-1, pattern]
        prior = (merged[:, 1] + 1) / (merged.sum(axis=1) + 2)
        own = np.where((row < len(self.emotion_names))[:, None], self.counts[row, pattern], 0.0)
        return np.asarray((own[:, 1] + _PRIOR * prior) / (own.sum(axis=1) + _PRIOR))

    def _mixed(self, z: Array, emotions: Array | None = None) -> Array:
        known = np.isfinite(z).all(axis=1)
        what = np.full(len(z), self.emotion) if emotions is None or self.emotion else np.asarray(emotions).astype(str)
        out = np.full(len(z), np.nan)
        out[known] = logit(self._p(z[known], what[known]))
        return out


def votes_of(z: Array) -> Array:
    """bool (N, M): whether each member says genuine."""
    return np.asarray(z > 0)


def _patterns(z: Array) -> Array:
    return np.asarray(votes_of(z) @ (2 ** np.arange(z.shape[1])))
