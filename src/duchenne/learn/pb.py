"""LSTM-PB as a method: learn to predict movement, recognise each clip's parametric bias, tell genuine from posed by it.

Huynh & Kim (ICCV Workshops 2017) train one network per emotion and class PB vectors of augmented copies with boosting. The
readings `paper`, `published-code` and `rnnpb` are those of `models.lstm_pb`. `contrast` is ours: two PB vectors, one for
each class, are learnt so that the right one leaves the smaller prediction error, and a clip is judged by the two
errors; nothing else is fitted to the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duchenne.errors import InputError
from duchenne.learn.classifiers import TARGET_ACCURACY, abstention_margin
from duchenne.learn.fit import Schedule, fit
from duchenne.learn.sequences import SequenceReader, jittered, padded
from duchenne.learn.tabular import Recipe, boost, log_odds, person_folds, platt, sigmoid
from duchenne.models.lstm_pb import LSTMPB, LSTMPBConfig, first_step, prediction_error, recognise
from duchenne.types import Array, Sample

READINGS = ("paper", "published-code", "rnnpb", "contrast")
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
    classifier        "logistic" or "boosting" on PB vectors
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
    sharpness: float = 10.0
    seed: int = 0

    @property
    def config(self) -> LSTMPBConfig:
        """The network's sizes."""
        network = "rnnpb" if self.reading == "contrast" else self.reading
        return LSTMPBConfig(network, 80, self.pb, self.context, self.hidden, self.layers)

    @property
    def schedule(self) -> Schedule:
        """The training loop's settings."""
        return Schedule(self.epochs, self.patience, 0.1, self.stop, self.seed)


class PBLearner:
    """A network and the PB vectors it is learnt with: one per clip, or for published-code and contrast one per class."""

    def __init__(self, recipe: PBRecipe, sequences: Sequence[Array], labels: Array, held: Sequence[int] = ()) -> None:
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
        weights = list(self.network.parameters()) + ([self.pb] if recipe.reading == "contrast" else [])
        self.optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(weights, lr=recipe.rate)
            if recipe.adam
            else torch.optim.SGD(weights, lr=recipe.rate, momentum=recipe.momentum)
        )

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """One pass over the clips that are learnt from, in batches of about equal length."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate * pace
        for rows in _batches(self.sequences, self.learnt, self.recipe.batch, rng):
            yield self._contrast(rows) if self.recipe.reading == "contrast" else self._predict(rows, pace)

    def _predict(self, rows: Array, pace: float) -> float:
        x, mask = self._tensors(rows)
        which = torch.as_tensor(self.labels[rows] if self.by_class else rows)
        pb = self.pb[which].clone().requires_grad_(True)
        error = prediction_error(self.network(x, pb)[0], x, mask)
        self.optimiser.zero_grad()
        error.mean().backward()
        self._clip()
        self.optimiser.step()
        assert pb.grad is not None
        # the mean over the batch is the weights' affair; each PB vector follows its own clip's error
        slope = pb.grad * len(rows) * self.recipe.config.inputs
        step = torch.zeros_like(self.pb).index_add_(0, which, slope)
        count = torch.zeros(len(self.pb)).index_add_(0, which, torch.ones(len(rows))).clamp(min=1)
        self.pb -= self.recipe.pb_rate * pace * step / count[:, None]
        return float(error.detach().mean())

    def _contrast(self, rows: Array) -> float:
        x, mask = self._tensors(rows)
        loss = self._contrast_loss(x, mask, torch.as_tensor(self.labels[rows]))
        self.optimiser.zero_grad()
        loss.backward()
        self._clip()
        self.optimiser.step()
        return float(loss.detach())

    def _contrast_loss(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        errors = class_errors(self.network, self.pb, x, mask)
        right = errors.gather(1, y[:, None])[:, 0]
        # log of the ratio of the two errors: free of the clip's own amount of movement
        log_ratio = self.recipe.sharpness * (errors[:, 0].log() - errors[:, 1].log())
        return torch.nn.functional.binary_cross_entropy_with_logits(log_ratio, y.float()) + 10.0 * right.mean()

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    @torch.no_grad()
    def score(self) -> float:
        """On the people held out: prediction error with PB at zero, or of `contrast` the loss."""
        if not len(self.held):
            return float("nan")
        total = 0.0
        for rows in _batches(self.sequences, self.held, 64, np.random.default_rng(0)):
            x, mask = self._tensors(rows)
            if self.recipe.reading == "contrast":
                total += float(self._contrast_loss(x, mask, torch.as_tensor(self.labels[rows]))) * len(rows)
            else:
                total += float(prediction_error(self.network(x, x.new_zeros(len(x), self.recipe.pb))[0], x, mask).sum())
        return total / len(self.held)

    def state(self) -> dict[str, Tensor]:
        """Weights, PB vectors and the optimiser's moments."""
        found = {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        found["pb"] = self.pb.detach()
        for i, moments in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{i}.{name}": torch.as_tensor(value) for name, value in moments.items() if value is not None}
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        self.network.load_state_dict(
            {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
        )
        with torch.no_grad():
            self.pb.copy_(state["pb"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimiser."):
                _, i, kind = name.split(".", 2)
                moments.setdefault(int(i), {})[kind] = tensor.clone()
        self.optimiser.load_state_dict({"state": moments, "param_groups": self.optimiser.state_dict()["param_groups"]})

    def _tensors(self, rows: Array) -> tuple[Tensor, Tensor]:
        x, mask = padded([self.sequences[i] for i in rows])
        return torch.from_numpy(x), torch.from_numpy(mask)


def class_errors(network: LSTMPB, pb: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """(B, 2): the prediction error that the PB vector of posed, and that of genuine, leaves on each sequence."""
    both = torch.cat([pb[:1].expand(len(x), -1), pb[1:].expand(len(x), -1)])
    twice, masks = torch.cat([x, x]), torch.cat([mask, mask])
    error = prediction_error(network(twice, both)[0], twice, masks)
    return error.view(2, len(x)).T + 1e-8


def _batches(sequences: Sequence[Array], rows: Array, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Rows in batches of about equal length, in random order: padding is work for nothing."""
    length = np.array([len(sequences[i]) for i in rows]) * rng.uniform(0.9, 1.1, len(rows))
    parts = np.array_split(rows[np.argsort(length)], max(1, round(len(rows) / size)))
    for i in rng.permutation(len(parts)):
        yield parts[i]


@dataclass
class PBModel:
    """`fit_table(sequences, labels, groups, emotions)` and `predict_table(sequences)` on what `reader` reads.

    networks  by emotion, "" for the one of all emotions
    """

    recipe: PBRecipe = field(default_factory=PBRecipe)
    networks: dict[str, LSTMPB] = field(default_factory=dict)
    class_pb: dict[str, Tensor] = field(default_factory=dict)
    scorer: Any = None
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    needs: str = "points"
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

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
        """Fit on sequences (N,) of float32 (T, 80), None where a clip is too short."""
        usable = np.array([each is not None for each in x])
        x, y, groups = x[usable], np.asarray(labels, int)[usable], np.asarray(groups)[usable]
        what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[usable]
        if len(np.unique(groups)) < 4 or len(np.unique(y)) < 2:
            raise InputError("LSTM-PB needs usable clips of both labels from at least 4 people; add to the manifest.")
        where = what if self.recipe.per_emotion else np.full(len(y), "")
        for name in np.unique(where).tolist():
            self._learn(name, x[where == name], y[where == name], groups[where == name])
        seen, z = self._unseen_scores(x, y, groups, where)
        self.slope, self.intercept = platt(z[seen], y[seen])
        p = sigmoid(self.slope * z[seen] + self.intercept)
        self.margin = abstention_margin(p, y[seen], TARGET_ACCURACY)
        return self
