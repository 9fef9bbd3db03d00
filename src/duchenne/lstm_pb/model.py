"""LSTM-PB as a method: learn to predict movement, recognise a clip's parametric bias, tell genuine from posed by it.

Huynh & Kim (ICCV Workshops 2017) train one network per emotion and tell the PB vectors of augmented copies apart by
boosting. The readings `paper`, `published-code` and `rnnpb` are those of `lstm_pb.network`. `solved` is ours: a bag of
networks whose PB has an exact solution, so that labels can shape what it means (`solved_network`, `solved_learner`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError
from duchenne.features.sequences import LEAST, SequenceReader, in_batches, jittered, padded
from duchenne.learn import pieces
from duchenne.learn.boosting import Recipe, boost
from duchenne.learn.calibration import TARGET_ACCURACY, abstention_margin, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear
from duchenne.learn.loop import Learner, fit
from duchenne.lstm_pb import evidence
from duchenne.lstm_pb.learner import PBLearner
from duchenne.lstm_pb.network import LSTMPB, first_step, recognise
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.scorer import Plain, Scorer, score_rows
from duchenne.lstm_pb.solved_learner import SolvedLearner
from duchenne.lstm_pb.solved_network import SolvedBag
from duchenne.types import Array, Classifier, Evidence, Json, Opinion, Question, Sample

_BOOSTING = Recipe(
    n_estimators=200, max_depth=2, learning_rate=0.05, subsample=0.5, colsample_bytree=0.3, reg_lambda=10.0
)


@dataclass
class PBModel(Classifier):
    """LSTM-PB networks, and scorers of the PB vectors that they recognise.

    networks, scorers  by emotion, "" for the ones of all emotions: PB vectors of two networks cannot be compared
    class_pb           float32 (2, pb) of each network: PB vectors learnt for posed and genuine; (0, pb) for readings
                       that learn none
    typical            float32 (2, D) of each network: what generation starts from, `class_pb` or the mean PB vectors
                       of the posed and of the genuine training clips
    out_of_fold        P(genuine) of the clips given to `fit_table`, by a scorer that had not seen the person (and of
                       solved by a network that had not either); NaN where there is none
    """

    format: ClassVar[str] = "duchenne-lstm-pb"

    recipe: PBRecipe = field(default_factory=PBRecipe)
    networks: dict[str, LSTMPB | SolvedBag] = field(default_factory=dict)
    class_pb: dict[str, Tensor] = field(default_factory=dict)
    typical: dict[str, Tensor] = field(default_factory=dict)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    out_of_fold: Array | None = None
    facts: Json = field(default_factory=dict)
    curves: dict[str, list[Json]] = field(default_factory=dict)
    on_epoch: Any = None

    @property
    def reader(self) -> SequenceReader:
        """What is read of a clip."""
        return SequenceReader(self.recipe.fps, self.recipe.head, self.recipe.pose)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on sequences (N,) of float32 (T, D), None where a clip is too short. InputError with too few people."""
        usable = np.array([each is not None for each in x])
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[usable]
        where = what if self.recipe.per_emotion else np.full(len(y), "")
        self._check(y, groups, where)
        z = np.full(len(y), np.nan)
        for name in np.unique(where).tolist():
            mine = np.flatnonzero(where == name)
            learn = self._learn_bag if self.recipe.reading == "solved" else self._learn
            z[mine] = learn(name, x[mine], y[mine], groups[mine])
        rows, of = self._vectors(x, where, self.recipe.seed)
        self.typical = {name: self._typical(name, rows, y[of], where[of]) for name in self.networks}
        if self.recipe.reading != "solved":
            z = self._judged_without_them(rows, of, y, groups, where)
            self.scorers = self._fit_scorers(rows, y[of], where[of], np.ones(len(of), bool))
        judged = np.isfinite(z)  # a fold may have had one class only of an emotion
        self.slope, self.intercept = platt(z[judged], y[judged])
        p = sigmoid(self.slope * z + self.intercept)
        self.margin = abstention_margin(p[judged], y[judged], TARGET_ACCURACY)
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.facts = {**self.facts, "people": len(np.unique(groups)), "clips": len(y), "genuine": int(y.sum())}
        return self

    def _judged_without_them(self, rows: Array, of: Array, y: Array, groups: Array, where: Array) -> Array:
        """float64 (N,): log-odds of each clip by scorers of other people's PB vectors."""
        z = np.full(len(y), np.nan)
        for train, test in person_folds(groups, 5, self.recipe.seed):
            here = np.isin(of, test)
            scorers = self._fit_scorers(rows, y[of], where[of], np.isin(of, train))
            score = score_rows(scorers, rows[here], where[of[here]])
            z[test] = np.bincount(of[here], score, minlength=len(y))[test] / np.bincount(of)[test]
        return z

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine); NaN for clips that are too short. A model of networks per emotion must
        be told the `emotions` (N,); an emotion that it has no network for is not answered. InputError before `fit`."""
        if not self.networks:
            raise InputError("This model has not been fitted; call fit or load a trained one.")
        out = np.full((len(x), 2), np.nan)
        where = (
            np.full(len(x), "") if not self.recipe.per_emotion or emotions is None else np.asarray(emotions).astype(str)
        )
        usable = np.flatnonzero(
            [each is not None and name in self.networks for each, name in zip(x, where, strict=True)]
        )
        if len(usable):
            rows, of = self._vectors(x[usable], where[usable], self.recipe.seed + 1)
            z = np.bincount(of, score_rows(self.scorers, rows, where[usable][of])) / np.bincount(of)
            p = sigmoid(self.slope * z + self.intercept)
            out[usable] = np.column_stack([1 - p, p])
        return out

    def contributions(self, x: Array, where: Array | None = None) -> Array:
        """float64 (N, D): what each number of `vectors` adds to the log-odds, mean over the copies of each clip;
        `where` (N,) are names of networks."""
        where = np.full(len(x), "") if where is None else where
        rows, of = self._vectors(x, where, self.recipe.seed + 1)
        terms = np.zeros_like(rows)
        for name, scorer in self.scorers.items():
            terms[where[of] == name] = scorer.terms(rows[where[of] == name])
        return np.asarray(self.slope * terms.reshape(len(x), self.recipe.augmented_copies, -1).mean(axis=1))

    def vectors(self, x: Array, where: Array | None = None) -> Array:
        """float64 (N, pb, of solved bag · pb): each clip's PB vector, without jitter."""
        plain = replace(self, recipe=replace(self.recipe, augmented_copies=1))
        return plain._vectors(x, np.full(len(x), "") if where is None else where, 0)[0]

    def recognise(self, track: Sample, network: str = "") -> Array:
        """float64 (pb,): the PB vector of one track, by the network of that name. InputError where it is too short."""
        return np.asarray(self.vectors(self._one(track), np.array([network]))[0])

    def predictions(self, track: Sample, network: str = "") -> tuple[Array, Array]:
        """(x, predicted), float64 (T, D) each, as `plots.prediction` takes them: what is read of a track, and, in row
        t, what the network with the PB vector that it recognised expected of frame t + 1."""
        x, which = self._one(track), self.networks[network]
        values, mask = map(torch.from_numpy, padded(list(x)))
        if isinstance(which, SolvedBag):
            said = which.predict(values, mask)
        else:
            pb = torch.from_numpy(self.vectors(x, np.array([network]))).float()  # recognition needs gradients
            with torch.no_grad():
                said = which(values, pb)[0]
        return x[0].astype(float), said[0].double().numpy()

    def _one(self, track: Sample) -> Array:
        x = self.table([track])
        if x[0] is None:
            raise InputError(f"{track.source} is too short: {LEAST / self.recipe.fps:.2g} s without a gap are needed.")
        return x

    @property
    def needs_emotions(self) -> bool:
        """Of networks per emotion."""
        return self.recipe.per_emotion

    def evidence(self, x: Array, network: str = "") -> tuple[Evidence, ...]:
        """Of one clip, x object (1,), by the network of that name.

        Reading solved: the regions of the face, with their exact shares of the log-odds and when they spoke; the
        others: the numbers of the PB vector that weighed most.
        """
        net, where, r = self.networks[network], np.array([network]), self.recipe
        if isinstance(net, SolvedBag):
            shares = net.shares(*map(torch.from_numpy, padded(list(x))))[0].double().numpy()
            return evidence.of_regions(self.slope * shares, r.fps)
        typical = None if r.reading == "published-code" else self.typical[network].numpy()
        judge = "boosted trees" if r.classifier == "boosting" else "a linear model"
        return evidence.of_numbers(self.vectors(x, where)[0], self.contributions(x, where)[0], typical, judge)

    def opinion(self, question: Question) -> Opinion:
        """What it says of one clip; a model of networks per emotion by the network of what the clip shows."""
        r, named = self.recipe, question.named
        steps = (f"judge: LSTM-PB '{question.model}', reading {r.reading}, at {r.fps:g} frames/s",)
        x = self.table([question.track])
        if x[0] is None:
            reason = f"Too short for this model, which needs {LEAST / r.fps:.2g} s without a gap."
            return Opinion(np.nan, reason, steps=steps)
        emotion = max(set(named) - {"neutral"}, key=lambda name: (named[name], name), default="")
        network = emotion if r.per_emotion else ""
        if network not in self.networks:
            known = ", ".join(sorted(self.networks))
            reason = f"This model judges {known}; the clip shows {emotion or 'nothing that has a name'}."
            return Opinion(np.nan, reason, steps=steps)
        p = float(self.predict_table(x, np.array([network]))[0, 1])
        return Opinion(p, None, self.evidence(x, network) if question.explain else (), steps)

    def _check(self, y: Array, groups: Array, where: Array) -> None:
        people = len(np.unique(groups))
        if people < 4 or len(np.unique(y)) < 2:
            raise InputError(
                f"LSTM-PB needs usable clips of both labels from at least 4 people, found {people} people and "
                f"{int(y.sum())} genuine of {len(y)} clips; add to the manifest."
            )
        for name in np.unique(where).tolist():
            if self.recipe.per_emotion and (not name or len(np.unique(y[where == name])) < 2):
                what = f"clips of {name} of one label only" if name else "clips without an emotion"
                raise InputError(
                    f"A network per emotion cannot be learnt: there are {what}; mend the manifest or pool."
                )

    def _typical(self, name: str, rows: Array, y: Array, where: Array) -> Tensor:
        if len(self.class_pb[name]):
            return self.class_pb[name].clone()
        network = self.networks[name]
        own = self.recipe.pb_size * (len(network.members) if isinstance(network, SolvedBag) else 1)
        means = [rows[(where == name) & (y == label), :own].mean(axis=0) for label in (0, 1)]
        return torch.from_numpy(np.array(means, np.float32))

    def _learn(self, name: str, x: Array, y: Array, groups: Array) -> Array:
        """Train one network; NaN (n,), as it judges nothing yet."""
        r, held = self.recipe, np.zeros(len(y), bool)
        if r.validation_fraction:
            people = np.random.default_rng(r.seed).permutation(np.unique(groups))
            held = np.isin(groups, people[: max(1, round(r.validation_fraction * len(people)))])
        learner = PBLearner(r, list(x), y, np.flatnonzero(held))
        self._fit(name, learner, r.seed, list(x), (y, held))
        self.networks[name] = learner.network.eval()
        self.class_pb[name] = learner.pb.detach() if learner.by_class else torch.zeros(0, r.pb_size)
        return np.full(len(y), np.nan)

    def _learn_bag(self, name: str, x: Array, y: Array, groups: Array) -> Array:
        """Train a bag; float64 (n,) log-odds by the network that left the person out."""
        r, z, members = self.recipe, np.full(len(y), np.nan), []
        for i, (train, test) in enumerate(person_folds(groups, min(r.n_networks, len(np.unique(groups))), r.seed)):
            if len(np.unique(y[train])) < 2:
                continue
            learner = SolvedLearner(r, list(x), y, test, r.seed + i)
            self._fit(f"{name}-{i + 1}".lstrip("-"), learner, r.seed + i, list(x), (y, test))
            members.append(learner.kept)
            z[test] = learner.answers(test)
        if not members:
            what = f"Clips of {name}" if name else "Clips"
            raise InputError(
                f"{what} of both labels are needed from more than one person, so that one can be left out; add some."
            )
        bag = SolvedBag(members).eval()
        self.networks[name], self.scorers[name] = bag, Scorer(Plain(*bag.weights))
        self.class_pb[name] = torch.zeros(0, r.pb_size)
        return z

    def _fit(self, name: str, learner: Learner, seed: int, x: list[Array], truth: tuple[Array, ...]) -> None:
        about = {**self.recipe.lasting(), "seed": seed}
        folder = pieces.place(name or "all", about, [*x, *truth])
        on_epoch = None if self.on_epoch is None else lambda row: self.on_epoch({**row, "network": name})
        self.curves[name] = fit(learner, self.recipe.schedule, folder, on_epoch)

    def _vectors(self, x: Array, where: Array, seed: int) -> tuple[Array, Array]:
        """(rows (M, D), of (M,)): PB vectors of every copy of every clip, and which clip each is of."""
        r = self.recipe
        of = np.repeat(np.arange(len(x)), r.augmented_copies)
        # the same jitter for every clip: an answer must not depend on which clips are judged beside it
        copies = [
            x[i]
            if r.augmented_copies == 1
            else jittered(x[i], np.random.default_rng([seed, k % r.augmented_copies]), r.jitter)
            for k, i in enumerate(of)
        ]
        # a bag of an emotion that fewer people show is smaller: its rows end with zeros, which nobody reads
        width = max((len(n.members) if isinstance(n, SolvedBag) else 1 for n in self.networks.values()), default=1)
        rows = np.zeros((len(of), r.pb_size * width))
        for name, network in self.networks.items():
            mine = np.flatnonzero(where[of] == name)
            for batch in in_batches(copies, mine, 64, np.random.default_rng(0)) if len(mine) else ():
                values, mask = map(torch.from_numpy, padded([copies[i] for i in batch]))
                found = self._recognise(network, values, mask).double().numpy()
                rows[batch, : found.shape[1]] = found
        return rows, of

    def _recognise(self, network: LSTMPB | SolvedBag, x: Tensor, mask: Tensor) -> Tensor:
        r = self.recipe
        if isinstance(network, SolvedBag):
            return network.recognise(x, mask)
        if r.reading == "published-code":
            return first_step(network, x)
        return recognise(network, x, mask, steps=r.recognition_steps, rate=r.pb_learning_rate, momentum=r.pb_momentum)[
            0
        ]

    def _fit_scorers(self, rows: Array, y: Array, where: Array, train: Array) -> dict[str, Scorer]:
        found = {}
        for name in self.networks:
            mine = train & (where == name)
            if len(np.unique(y[mine])) == 2:
                found[name] = self._fit_scorer(rows[mine], y[mine])
        return found

    def _fit_scorer(self, rows: Array, y: Array) -> Scorer:
        r = self.recipe
        if r.classifier == "boosting":
            return Scorer(booster=boost(rows, y, replace(_BOOSTING, n_estimators=r.n_estimators, seed=r.seed)))
        return Scorer(Linear.fit(rows, y, 0.05))
