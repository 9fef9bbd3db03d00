"""LSTM-PB as a classifier: predict the movement, recognise a clip's parametric bias (PB), classify the PB vector.

Huynh & Kim (ICCV Workshops 2017) train one network per emotion and classify the PB vectors of augmented copies by
boosting. The readings `paper`, `published-code` and `rnnpb` are those of `lstm_pb.network`. `solved` is ours: a bag of
networks whose PB has a closed-form solution, so that labels can shape it (`solved_network`, `solved_learner`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError
from duchenne.features.sequences import LEAST, SequenceReader, in_batches, jittered, padded
from duchenne.learn import optim, pieces
from duchenne.learn.boosting import Recipe, boost
from duchenne.learn.calibration import averaged, calibrate, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.linear import Linear
from duchenne.learn.loop import Learner, OnEpoch, Row, fit
from duchenne.lstm_pb import evidence
from duchenne.lstm_pb.learner import PBLearner
from duchenne.lstm_pb.network import LSTMPB, first_step, recognise
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.scorer import NetworkHead, Scorer, score_rows
from duchenne.lstm_pb.solved_learner import SolvedLearner
from duchenne.lstm_pb.solved_network import SolvedBag
from duchenne.types import Array, Classifier, Evidence, Json, Opinion, Question, Reason, Sample, readable

_BOOSTING = Recipe(subsample=0.5, colsample_bytree=0.3)  # the rest is in `PBRecipe`


@dataclass
class PBModel(Classifier):
    """LSTM-PB networks, and scorers of the PB vectors that they recognise.

    networks, scorers  by emotion, or "" for all emotions: PB vectors of two networks are not comparable
    class_pb           float32 (2, pb) per network: PB vectors trained for posed and genuine; (0, pb) where one was
                       trained per clip
    typical            float32 (2, D) per network: where generation starts, `class_pb` or the mean PB vectors of the
                       posed and of the genuine training clips
    out_of_fold        P(genuine) of the clips given to `fit_table`, by a scorer (and with solved by a network) trained
                       on other people; NaN where there is none
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
    curves: dict[str, list[Row]] = field(default_factory=dict)
    on_epoch: OnEpoch | None = None
    device: str = "cpu"

    @property
    def reader(self) -> SequenceReader:
        """What is read of a clip."""
        r = self.recipe
        return SequenceReader(r.fps, r.head, r.pose, (r.trimmed_boxes, r.trim if r.trimmed_boxes else 0.0))

    def on(self, device: str) -> str:
        """See `Classifier.on`; UsageError for a device that does not exist."""
        self.device = optim.device_of(device).type
        return self.device

    @property
    def needs_emotions(self) -> bool:
        """Of networks per emotion."""
        return self.recipe.per_emotion

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on sequences (N,) of float32 (T, D), None where a clip is too short, or with `trimmed_boxes` on tuples of
        a clip's own sequence and its copies. InputError with too few people, or without copies where they are read.
        """
        usable = readable(x)
        where = self._network_names(len(x), emotions)[usable]
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        self._check(y, groups, where)
        z = np.full((len(y), 2), np.nan)
        copies, of = self._trimmed(x)
        for name in np.unique(where).tolist():
            rows = np.flatnonzero(where[of] == name)
            if self.recipe.reading == "solved":
                z[rows] = self._fit_bag(name, copies[rows], y[rows], groups[rows])
            else:
                self._fit_network(name, copies[rows], y[of][rows], groups[of][rows])
        vectors, copy_of = self._vectors(copies, where[of], self.recipe.seed)
        of = of[copy_of]
        self.typical = {name: self._typical(name, vectors, y[of], where[of]) for name in self.networks}
        if self.recipe.reading != "solved":
            z[:, 0] = self._cross_validate(vectors, of, y, groups, where)
            self.scorers = self._fit_scorers(vectors, y[of], where[of])
        # NaN: a fold without both labels of an emotion
        self.slope, self.intercept, self.margin, p = calibrate(z[:, 0], y)
        surer = averaged(z, y, max(map(_n_members, self.networks.values())))
        self.slope, self.intercept = self.slope * surer, self.intercept * surer
        self.facts = {**self.facts, "bag_factor": surer}
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.facts = {**self.facts, "device": optim.described(optim.device_of(self.device))}
        self.facts = {**self.facts, "people": len(np.unique(groups)), "clips": len(y), "genuine": int(y.sum())}
        return self

    def _network_names(self, n: int, emotions: Array | None) -> Array:
        """(n,): which network each clip is for."""
        return np.full(n, "") if emotions is None or not self.recipe.per_emotion else np.asarray(emotions).astype(str)

    def _cross_validate(self, vectors: Array, of: Array, y: Array, groups: Array, where: Array) -> Array:
        """float64 (N,): log-odds of each clip by scorers fitted on the PB vectors of other people."""
        z = np.full(len(y), np.nan)
        # a clip that is left out is scored as it is, without copies that only training has
        own = np.diff(of, prepend=-1) > 0 if self.recipe.trimmed_boxes else np.ones(len(of), bool)
        for train, test in person_folds(groups, 5, self.recipe.seed):
            fitted, scored = np.isin(of, train), np.isin(of, test) & own
            scorers = self._fit_scorers(vectors[fitted], y[of][fitted], where[of][fitted])
            score = score_rows(scorers, vectors[scored], where[of[scored]])
            z[test] = np.bincount(of[scored], score, len(y))[test] / np.bincount(of[scored], minlength=len(y))[test]
        return z

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine); NaN for clips that are too short, and for emotions without a network:
        networks per emotion need `emotions` (N,). InputError before `fit`."""
        if not self.networks:
            raise InputError("This model has not been fitted; call fit or load a trained one.")
        out = np.full((len(x), 2), np.nan)
        where = self._network_names(len(x), emotions)
        usable = np.flatnonzero(readable(x) & np.isin(where, list(self.networks)))
        if len(usable):
            vectors, of = self._vectors(x[usable], where[usable], self.recipe.seed + 1)
            z = np.bincount(of, score_rows(self.scorers, vectors, where[usable][of])) / np.bincount(of)
            p = sigmoid(self.slope * z + self.intercept)
            out[usable] = np.column_stack([1 - p, p])
        return out

    def contributions(self, x: Array, where: Array | None = None) -> Array:
        """float64 (N, D): what each number of `vectors` adds to the log-odds, mean over the copies of each clip;
        `where` (N,) are names of networks."""
        where = np.full(len(x), "") if where is None else where
        vectors, of = self._vectors(x, where, self.recipe.seed + 1)
        terms = np.zeros_like(vectors)
        for name, scorer in self.scorers.items():
            terms[where[of] == name] = scorer.terms(vectors[where[of] == name])
        return np.asarray(self.slope * terms.reshape(len(x), self.recipe.augmented_copies, -1).mean(axis=1))

    def vectors(self, x: Array, where: Array | None = None) -> Array:
        """float64 (N, pb, of solved bag · pb): each clip's PB vector, without jitter."""
        plain = replace(self, recipe=replace(self.recipe, augmented_copies=1))
        return plain._vectors(x, np.full(len(x), "") if where is None else where, 0)[0]

    def recognise(self, track: Sample, network: str = "") -> Array:
        """float64 (pb,): the PB vector of one track, by the network of that name. InputError where it is too short."""
        return np.asarray(self.vectors(self.sequence(track), np.array([network]))[0])

    def predictions(self, track: Sample, network: str = "") -> tuple[Array, Array]:
        """(x, predicted), float64 (T, D) each, for `plots.prediction`: what is read of a track, and, in row t, frame
        t + 1 as the network predicts it with the PB vector that it recognised."""
        x, net = self.sequence(track), self.networks[network].cpu()
        values, mask = map(torch.from_numpy, padded(list(x)))
        if isinstance(net, SolvedBag):
            predicted = net.predict(values, mask)
        else:
            pb = torch.from_numpy(self.vectors(x, np.array([network]))).float()  # recognition needs gradients
            with torch.no_grad():
                predicted = net(values, pb)[0]
        return x[0].astype(float), predicted[0].double().numpy()

    def sequence(self, track: Sample) -> Array:
        """object (1,): `table` of one track; InputError where it is too short."""
        x = self.table([track])
        if x[0] is None:
            raise InputError(
                f"{track.source} is too short: expected {LEAST / self.recipe.fps:.2g} s without a gap; use a longer "
                "clip."
            )
        return x

    def evidence(self, x: Array, network: str = "") -> tuple[Evidence, ...]:
        """Of one clip, x object (1,), by the network of that name.

        Reading solved: the regions of the face, with their exact shares of the log-odds; the others: the numbers of
        the PB vector with the largest contributions.
        """
        net, where, r = self.networks[network].cpu(), np.array([network]), self.recipe
        if isinstance(net, SolvedBag):
            shares = net.shares(*map(torch.from_numpy, padded(list(x))))[0].double().numpy()
            return evidence.of_regions(self.slope * shares, r.fps)
        typical = None if r.reading == "published-code" else self.typical[network].numpy()
        classifier = "boosted trees" if r.classifier == "boosting" else "a linear model"
        return evidence.of_numbers(self.vectors(x, where)[0], self.contributions(x, where)[0], typical, classifier)

    def opinion(self, question: Question) -> Opinion:
        """See `Classifier.opinion`; with networks per emotion, by that of the emotion which the clip shows."""
        r, named = self.recipe, question.named
        steps = (f"judge: LSTM-PB '{question.model}', reading {r.reading}, at {r.fps:g} frames/s",)
        x = self.table([question.track])
        if x[0] is None:
            reason = Reason("too_short", f"Too short for this model, which needs {LEAST / r.fps:.2g} s without a gap.")
            return Opinion(np.nan, reason, steps=steps)
        emotion = max(set(named) - {"neutral"}, key=lambda name: (named[name], name), default="")
        network = emotion if r.per_emotion else ""
        if network not in self.networks:
            known = ", ".join(sorted(self.networks))
            shown = emotion or "no emotion"
            reason = Reason("other_emotion", f"This model covers {known}; the clip shows {shown}.")
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
        for name in np.unique(where).tolist() if self.recipe.per_emotion else ():
            if not name or len(np.unique(y[where == name])) < 2:
                found = f"clips of {name} with one label only" if name else "clips without an emotion"
                raise InputError(
                    f"A network per emotion needs clips of both labels for each emotion, found {found}; correct the "
                    "manifest or set per_emotion = false."
                )

    def _typical(self, name: str, vectors: Array, y: Array, where: Array) -> Tensor:
        if len(self.class_pb[name]):
            return self.class_pb[name].clone()
        size = self.recipe.pb_size * _n_members(self.networks[name])
        means = [vectors[(where == name) & (y == label), :size].mean(axis=0) for label in (0, 1)]
        return torch.from_numpy(np.array(means, np.float32))

    def _trimmed(self, x: Array) -> tuple[Array, Array]:
        """(copies object (M,), of (M,)): the sequences to train on, and the clip of each, in order."""
        if self.recipe.trimmed_boxes and not all(isinstance(each, tuple) for each in x):
            raise InputError(
                "trimmed_boxes needs videos, on which landmarks are found again, found tracks; pass the videos or set "
                "trimmed_boxes = 0."
            )
        each = [item if isinstance(item, tuple) else (item,) for item in x]
        copies = np.empty(sum(map(len, each)), object)
        copies[:] = [sequence for item in each for sequence in item]
        return copies, np.repeat(np.arange(len(x)), list(map(len, each)))

    def _fit_network(self, name: str, x: Array, y: Array, groups: Array) -> None:
        """Train one network."""
        r, held_out = self.recipe, np.zeros(len(y), bool)
        if r.validation_fraction:
            people = np.random.default_rng(r.seed).permutation(np.unique(groups))
            held_out = np.isin(groups, people[: max(1, round(r.validation_fraction * len(people)))])
        learner = PBLearner(r, list(x), y, np.flatnonzero(held_out), optim.device_of(self.device))
        self._train(name, learner, r.seed, list(x), (y, held_out))
        self.networks[name] = learner.network.eval().cpu()
        self.class_pb[name] = learner.pb.detach().cpu() if learner.by_class else torch.zeros(0, r.pb_size)

    def _fit_bag(self, name: str, x: Array, y: Array, groups: Array) -> Array:
        """Train a bag; float64 (n, 2) log-odds by the network that left the person out, and for a part of the people by
        another one that did, which is not in the bag; NaN elsewhere."""
        r, z, members = self.recipe, np.full((len(y), 2), np.nan), []
        folds = [(0, fold) for fold in person_folds(groups, r.n_networks, r.seed)]
        # another assignment of people: its networks differ in whom they were trained on, as those of the bag do
        folds.append((1, next(person_folds(groups, r.n_networks, r.seed + 1))))
        for i, (again, (train, test)) in enumerate(folds):
            if len(np.unique(y[train])) < 2:
                continue
            learner = SolvedLearner(r, list(x), y, test, r.seed + i, optim.device_of(self.device))
            self._train(f"{name}-{i + 1}".lstrip("-"), learner, r.seed + i, list(x), (y, test))
            z[test, again] = learner.logits(test)
            members += [] if again else [learner.average.cpu()]
        if not members:
            what = f"Clips of {name}" if name else "Clips"
            raise InputError(f"{what} with both labels are needed from two people or more; add some.")
        bag = SolvedBag(members).eval()
        self.networks[name], self.scorers[name] = bag, Scorer(NetworkHead(*bag.weights))
        self.class_pb[name] = torch.zeros(0, r.pb_size)
        return z

    def _train(self, name: str, learner: Learner, seed: int, x: list[Array], truth: tuple[Array, ...]) -> None:
        folder = pieces.network_folder(name or "all", {**self.recipe.lasting(), "seed": seed}, [*x, *truth])
        callback = self.on_epoch
        on_epoch = None if callback is None else lambda row: callback({**row, "network": name})
        self.curves[name] = fit(learner, self.recipe.schedule, folder, on_epoch)

    def _vectors(self, x: Array, where: Array, seed: int) -> tuple[Array, Array]:
        """(vectors (M, D), of (M,)): PB vectors of every jittered copy of every clip, and the clip of each."""
        r = self.recipe
        n, own = r.augmented_copies, [each[0] if isinstance(each, tuple) else each for each in x]
        of = np.repeat(np.arange(len(x)), n)
        # the same jitter for every clip: its score must not depend on the other clips of the batch
        copies = [
            own[i] if n == 1 else jittered(own[i], np.random.default_rng([seed, k % n]), r.jitter)
            for k, i in enumerate(of)
        ]
        # the bag of an emotion that few people show is smaller: its rows end with zeros, which nothing reads
        width = max(map(_n_members, self.networks.values()), default=1)
        vectors = np.zeros((len(of), r.pb_size * width))
        device = optim.device_of(self.device)
        for name, network in self.networks.items():
            network.to(device)
            rows = np.flatnonzero(where[of] == name)
            for batch in in_batches(copies, rows, 64, np.random.default_rng(0)) if len(rows) else ():
                values, mask = (torch.from_numpy(v).to(device) for v in padded([copies[i] for i in batch]))
                found = self._recognise(network, values, mask).double().cpu().numpy()
                vectors[batch, : found.shape[1]] = found
        return vectors, of

    def _recognise(self, network: LSTMPB | SolvedBag, x: Tensor, mask: Tensor) -> Tensor:
        r = self.recipe
        if isinstance(network, SolvedBag):
            return network.recognise(x, mask)
        if r.reading == "published-code":
            return first_step(network, x)
        rate, momentum, adaptive = r.pb_learning_rate, r.pb_momentum, r.recognition == "adaptive"
        steps = r.recognition_steps
        return recognise(network, x, mask, steps=steps, learning_rate=rate, momentum=momentum, adaptive=adaptive)[0]

    def _fit_scorers(self, vectors: Array, y: Array, where: Array) -> dict[str, Scorer]:
        rows = {name: where == name for name in self.networks}
        return {name: self.fit_scorer(name, vectors[r], y[r]) for name, r in rows.items() if len(set(y[r])) == 2}

    def fit_scorer(self, name: str, vectors: Array, y: Array) -> Scorer:
        r = self.recipe
        if r.classifier == "nearest":
            means = np.array([vectors[y == label].mean(axis=0) for label in (0, 1)], np.float32)  # as stored
            return Scorer(NetworkHead.nearest(self.class_pb[name].numpy() if r.by_class else means))
        if r.classifier == "boosting":
            same = {key: getattr(r, key) for key in ("n_estimators", "max_depth", "reg_lambda", "seed")}
            return Scorer(booster=boost(vectors, y, replace(_BOOSTING, learning_rate=r.tree_learning_rate, **same)))
        return Scorer(Linear.fit(vectors, y, 0.05))


def _n_members(network: LSTMPB | SolvedBag) -> int:
    return len(network.members) if isinstance(network, SolvedBag) else 1
