"""LSTM-PB as a method: learn to predict movement, recognise a clip's parametric bias, tell genuine from posed by it.

Huynh & Kim (ICCV Workshops 2017) train one network per emotion and tell the PB vectors of augmented copies apart by
boosting. The readings `paper`, `published-code` and `rnnpb` are those of `models.lstm_pb`. `contrast` is ours: two PB
vectors, one for each class, are learnt so that the right one leaves the smaller prediction error, and a clip is judged
by the two errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError
from duchenne.learn.classifiers import TARGET_ACCURACY, abstention_margin
from duchenne.learn.fit import Schedule, fit
from duchenne.learn.linear import Linear
from duchenne.learn.scorer import Scorer, score_rows
from duchenne.learn.sequences import SequenceReader, jittered, padded, varied
from duchenne.learn.tabular import Recipe, boost, person_folds, platt, sigmoid
from duchenne.models.lstm_pb import LSTMPB, LSTMPBConfig, first_step, prediction_error, recognise
from duchenne.types import Array, Sample

READINGS = ("paper", "published-code", "rnnpb", "contrast")
_DOUBT = 0.1  # that is left in contrast's targets, as a label is no more certain than its data set
_BOOSTING = Recipe(rounds=200, depth=2, rate=0.05, rows=0.5, columns=0.3, shrink=10.0)


@dataclass(frozen=True)
class PBRecipe:
    """Everything an LSTM-PB may be told.

    head, fps         what is read (`learn.sequences.SequenceReader`)
    per_emotion       one network per emotion, as in the paper, or one for all
    rate, pb_rate     of the weights and of the PB vectors; `adam` or plain SGD for the weights
    patience, stop    epochs without gain before the rates are divided by ten, and before training ends
    held_out          share of the training people on whose prediction error (or log loss) training is stopped; 0: none
    copies, jitter    jittered copies of a clip, and how far their crop moves (x, y)
    recognition       steps of recognition
    movement          read and predict steps rather than places (`models.lstm_pb`), as contrast must to learn anything
    augment, decay    contrast: other takes of each clip (`sequences.varied`), and decay of the weights
    sharpness, pull   contrast: what the log ratio of the errors starts to be multiplied by, and the weight of the right
                      class's error itself
    classifier        "logistic" or "boosting" on PB vectors, the latter with so many `trees`
    """

    reading: str = "paper"
    hidden: int = 128
    layers: int = 4
    pb: int = 64
    context: int = 64
    fps: float = 12.5
    head: bool = False
    per_emotion: bool = False
    epochs: int = 30
    batch: int = 32
    adam: bool = True
    rate: float = 2e-3
    pb_rate: float = 0.9
    momentum: float = 0.0
    patience: int = 10
    stop: int = 0
    held_out: float = 0.0
    copies: int = 1
    jitter: tuple[float, float] = (0.06, 0.03)
    recognition: int = 20
    classifier: str = "logistic"
    trees: int = 200
    movement: bool = False
    augment: bool = False
    decay: float = 0.0
    sharpness: float = 10.0
    pull: float = 300.0
    seed: int = 0

    @property
    def config(self) -> LSTMPBConfig:
        """The network's sizes."""
        network = "rnnpb" if self.reading == "contrast" else self.reading
        return LSTMPBConfig(network, 80, self.pb, self.context, self.hidden, self.layers, movement=self.movement)

    @property
    def schedule(self) -> Schedule:
        """The training loop's settings."""
        return Schedule(self.epochs, self.patience, 0.1, self.stop, self.seed)


class PBLearner:
    """A network and the PB vectors it is learnt with: one per clip, or one per class (published-code, contrast)."""

    def __init__(
        self, recipe: PBRecipe, sequences: Sequence[Array], labels: Array, held: Sequence[int] | Array = ()
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.sequences, self.labels = recipe, list(sequences), np.asarray(labels, int)
        self.held = np.asarray(held, int)
        self.learnt = np.setdiff1d(np.arange(len(self.sequences)), self.held)
        self.network = LSTMPB(recipe.config)
        self.by_class = recipe.reading in ("published-code", "contrast")
        rows = 2 if self.by_class else len(self.sequences)
        self.pb = torch.zeros(rows, recipe.pb)
        if recipe.reading == "contrast":  # from zero both would learn the same
            self.pb = torch.randn(2, recipe.pb) * 0.5
            self.pb.requires_grad_(True)
        self.log_sharpness = torch.tensor(float(recipe.sharpness)).log().requires_grad_(True)
        weights = list(self.network.parameters()) + (
            [self.pb, self.log_sharpness] if recipe.reading == "contrast" else []
        )
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
            if recipe.adam
            else torch.optim.SGD(weights, lr=recipe.rate, momentum=recipe.momentum)
        )

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """One pass over the clips that are learnt from, in batches of about equal length."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate * pace
        for rows in _batches(self.sequences, self.learnt, self.recipe.batch, rng):
            yield self._contrast(rows, rng) if self.recipe.reading == "contrast" else self._predict(rows, pace)

    def _predict(self, rows: Array, pace: float) -> float:
        x, mask = self._tensors(rows)
        which = torch.as_tensor(self.labels[rows] if self.by_class else rows)
        pb = self.pb[which].clone().requires_grad_(True)
        error = prediction_error(self.network(x, pb)[0], x, mask)
        self.optimiser.zero_grad()
        error.mean().backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimiser.step()
        assert pb.grad is not None
        # the mean over the batch is the weights' affair; each PB vector follows its own clip's error
        slope = pb.grad * len(rows) * self.recipe.config.inputs
        step = torch.zeros_like(self.pb).index_add_(0, which, slope)
        count = torch.zeros(len(self.pb)).index_add_(0, which, torch.ones(len(rows))).clamp(min=1)
        self.pb -= self.recipe.pb_rate * pace * step / count[:, None]
        return float(error.detach().mean())

    def _contrast(self, rows: Array, rng: np.random.Generator) -> float:
        x, mask = self._tensors(rows, rng if self.recipe.augment else None)
        loss = self._contrast_loss(x, mask, torch.as_tensor(self.labels[rows]))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip()
        self.optimiser.step()
        return float(loss.detach())

    def _contrast_loss(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        errors = class_errors(self.network, self.pb, x, mask)
        right = errors.gather(1, y[:, None])[:, 0]
        z, target = self.log_sharpness.exp() * log_ratio(errors), _DOUBT + (1 - 2 * _DOUBT) * y.float()
        return torch.nn.functional.binary_cross_entropy_with_logits(z, target) + self.recipe.pull * right.mean()

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)

    @torch.no_grad()
    def score(self) -> float:
        """On the people held out: prediction error with PB at zero, or of `contrast` 1 − AUC, as its loss grows with
        sureness long before the order of clips gets worse."""
        from sklearn.metrics import roc_auc_score

        if not len(self.held):
            return float("nan")
        found = np.zeros(len(self.sequences))
        for rows in _batches(self.sequences, self.held, 64, np.random.default_rng(0)):
            x, mask = self._tensors(rows)
            if self.recipe.reading == "contrast":
                found[rows] = log_ratio(class_errors(self.network, self.pb, x, mask)).numpy()
            else:
                found[rows] = prediction_error(self.network(x, x.new_zeros(len(x), self.recipe.pb))[0], x, mask).numpy()
        held = found[self.held]
        if self.recipe.reading != "contrast":
            return float(held.mean())
        y = self.labels[self.held]
        if len(np.unique(y)) < 2:
            return float("nan")
        z = float(self.log_sharpness.exp()) * held
        loss = float(np.mean(np.logaddexp(0, z) - y * z))
        return 1 - float(roc_auc_score(y, held)) + 1e-6 * min(loss, 100.0)  # the loss decides between equals

    def state(self) -> dict[str, Tensor]:
        """Weights, PB vectors and the optimiser's moments."""
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        found |= {"pb": self.pb.detach(), "log_sharpness": self.log_sharpness.detach()}
        for i, moments in self.optimiser.state_dict()["state"].items():
            found |= {
                f"optimiser.{i}.{name}": torch.as_tensor(value) for name, value in moments.items() if value is not None
            }
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        self.network.load_state_dict(
            {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
        )
        with torch.no_grad():
            self.pb.copy_(state["pb"])
            self.log_sharpness.copy_(state["log_sharpness"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimiser."):
                _, i, kind = name.split(".", 2)
                moments.setdefault(int(i), {})[kind] = tensor.clone()
        self.optimiser.load_state_dict({"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]})

    def _tensors(self, rows: Array, rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor]:
        some = [self.sequences[i] for i in rows]
        x, mask = padded(some if rng is None else [varied(sequence, rng) for sequence in some])
        return torch.from_numpy(x), torch.from_numpy(mask)


def log_ratio(errors: Tensor) -> Tensor:
    """(B,): log of posed over genuine error (B, 2), free of how much a clip moves; above 0 speaks for genuine."""
    return errors[:, 0].log() - errors[:, 1].log()


def class_errors(network: LSTMPB, pb: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """(B, 2): the prediction error that the PB vector of posed, and that of genuine, leaves on each sequence."""
    both = torch.cat([pb[:1].expand(len(x), -1), pb[1:].expand(len(x), -1)])
    twice, masks = torch.cat([x, x]), torch.cat([mask, mask])
    error = prediction_error(network(twice, both)[0], twice, masks)
    return error.view(2, len(x)).T + 1e-9


def _batches(sequences: Sequence[Array], rows: Array, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Rows in batches of about equal length, in random order: padding is work for nothing."""
    length = np.array([len(sequences[i]) for i in rows]) * rng.uniform(0.9, 1.1, len(rows))
    parts = np.array_split(rows[np.argsort(length)], max(1, round(len(rows) / size)))
    for i in rng.permutation(len(parts)):
        yield parts[i]


@dataclass
class PBModel:
    """`fit_table(sequences, labels, groups, emotions)` and `predict_table(sequences)` on what `reader` reads.

    networks, scorers  by emotion, "" for the ones of all emotions: PB vectors of two networks cannot be compared
    class_pb           float32 (2, pb) of each network: PB vectors learnt for posed and genuine; (0, pb) for readings
                       that learn one per clip
    typical            float32 (2, pb) of each network: what generation starts from, `class_pb` or the mean PB vectors
                       of the posed and of the genuine training clips
    out_of_fold        P(genuine) of the clips given to `fit_table`, for people that the scorer had not seen (and
                       contrast's networks neither); NaN for the others
    """

    recipe: PBRecipe = field(default_factory=PBRecipe)
    networks: dict[str, LSTMPB] = field(default_factory=dict)
    class_pb: dict[str, Tensor] = field(default_factory=dict)
    typical: dict[str, Tensor] = field(default_factory=dict)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    needs: str = "points"
    out_of_fold: Array | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    folder: Path | None = None
    tick: Any = None

    @property
    def reader(self) -> SequenceReader:
        """What is read of a clip."""
        return SequenceReader(self.recipe.fps, self.recipe.head)

    def table(self, samples: Sequence[Sample]) -> Array:
        """object (N,): see `SequenceReader.table`."""
        return self.reader.table(samples)

    def fit(self, samples: Sequence[Sample], labels: Array, groups: Array, emotions: Array | None = None) -> PBModel:
        """Fit on face tracks; labels (N,) 1 = genuine, groups (N,) persons, emotions (N,) names or None."""
        return self.fit_table(self.table(samples), labels, groups, emotions)

    def predict_proba(self, samples: Sequence[Sample]) -> Array:
        """float64 (N, 2): P(posed), P(genuine)."""
        return self.predict_table(self.table(samples))

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> PBModel:
        """Fit on sequences (N,) of float32 (T, 80), None where a clip is too short. InputError with too few people."""
        usable = np.array([each is not None for each in x])
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[usable]
        where = what if self.recipe.per_emotion else np.full(len(y), "")
        self._check(y, groups, where)
        held: Array = np.zeros(len(y), bool)
        for name in np.unique(where).tolist():
            mine = np.flatnonzero(where == name)
            held[mine] = self._learn(name, x[mine], y[mine], groups[mine])
        rows, of = self._vectors(x, where, self.recipe.seed)
        self.typical = {name: self._typical(name, rows, y[of], where[of]) for name in self.networks}
        # networks that saw labels are calibrated on people that they did not learn from
        judged: Array = held if self.recipe.reading == "contrast" and held.any() else np.ones(len(y), bool)
        z = np.full(len(y), np.nan)
        for train, test in person_folds(groups, 5, self.recipe.seed):
            here = np.isin(of, test)
            scorers = self._fit_scorers(rows, y[of], where[of], np.isin(of, train))
            score = score_rows(scorers, rows[here], where[of[here]])
            z[test] = np.bincount(of[here], score, minlength=len(y))[test] / np.bincount(of)[test]
        judged = judged & np.isfinite(z)  # a fold may have had one class only of an emotion
        self.slope, self.intercept = platt(z[judged], y[judged])
        p = np.where(judged, sigmoid(self.slope * z + self.intercept), np.nan)
        self.margin = abstention_margin(p[judged], y[judged], TARGET_ACCURACY)
        self.scorers = self._fit_scorers(rows, y[of], where[of], np.ones(len(of), bool))
        self.out_of_fold = np.full(len(usable), np.nan)
        self.out_of_fold[usable] = p
        self.facts = {**self.facts, "people": len(np.unique(groups)), "clips": len(y), "genuine": int(y.sum())}
        return self

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
        return np.asarray(self.slope * terms.reshape(len(x), self.recipe.copies, -1).mean(axis=1))

    def vectors(self, x: Array, where: Array | None = None) -> Array:
        """float64 (N, pb): each clip's PB vector, without jitter (contrast: log ratio of class errors, and both)."""
        plain = replace(self, recipe=replace(self.recipe, copies=1))
        return plain._vectors(x, np.full(len(x), "") if where is None else where, 0)[0]

    @property
    def told_emotion(self) -> bool:
        """Whether `predict_table` must be told the emotions."""
        return self.recipe.per_emotion

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
        means = [rows[(where == name) & (y == label)].mean(axis=0) for label in (0, 1)]
        return torch.from_numpy(np.array(means, np.float32))

    def _learn(self, name: str, x: Array, y: Array, groups: Array) -> Array:
        """Train one network; bool (n,) of the clips held out for early stopping."""
        r, held = self.recipe, np.zeros(len(y), bool)
        if r.held_out:
            people = np.random.default_rng(r.seed).permutation(np.unique(groups))
            held = np.isin(groups, people[: max(1, round(r.held_out * len(people)))])
        learner = PBLearner(r, list(x), y, np.flatnonzero(held))
        folder = None if self.folder is None else self.folder / (name or "all")
        tick = None if self.tick is None else lambda row: self.tick({**row, "network": name})
        self.curves[name] = fit(learner, r.schedule, folder, tick)
        self.networks[name] = learner.network.eval()
        self.class_pb[name] = learner.pb.detach() if learner.by_class else torch.zeros(0, r.pb)
        return held

    def _vectors(self, x: Array, where: Array, seed: int) -> tuple[Array, Array]:
        """(rows (M, D), of (M,)): PB vectors of every copy of every clip, and which clip each is of."""
        r, of = self.recipe, np.repeat(np.arange(len(x)), self.recipe.copies)
        # the same jitter for every clip: an answer must not depend on which clips are judged beside it
        copies = [
            x[i] if r.copies == 1 else jittered(x[i], np.random.default_rng([seed, k % r.copies]), r.jitter)
            for k, i in enumerate(of)
        ]
        rows = np.zeros((len(of), 3 if r.reading == "contrast" else r.pb))
        for name, network in self.networks.items():
            for batch in _batches(copies, np.flatnonzero(where[of] == name), 64, np.random.default_rng(0)):
                if not len(batch):
                    continue
                values, mask = map(torch.from_numpy, padded([copies[i] for i in batch]))
                rows[batch] = self._recognise(network, self.class_pb[name], values, mask).double().numpy()
        return rows, of

    def _recognise(self, network: LSTMPB, class_pb: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        r = self.recipe
        if r.reading == "contrast":
            with torch.no_grad():
                errors = class_errors(network, class_pb, x, mask)
            return torch.column_stack([log_ratio(errors), errors.log()])
        if r.reading == "published-code":
            return first_step(network, x)
        return recognise(network, x, mask, steps=r.recognition, rate=r.pb_rate, momentum=r.momentum)[0]

    def _fit_scorers(self, rows: Array, y: Array, where: Array, train: Array) -> dict[str, Scorer]:
        found = {}
        for name in self.networks:
            mine = train & (where == name)
            if len(np.unique(y[mine])) == 2:
                found[name] = self._fit_scorer(rows[mine], y[mine])
        return found

    def _fit_scorer(self, rows: Array, y: Array) -> Scorer:
        r = self.recipe
        if r.reading == "contrast":
            return Scorer()
        if r.classifier == "boosting":
            return Scorer(booster=boost(rows, y, replace(_BOOSTING, rounds=r.trees, seed=r.seed)))
        return Scorer(Linear.fit(rows, y, 0.05))
