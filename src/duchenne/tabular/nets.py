"""Small networks on one row of numbers per clip: one task, twelve classes, or two heads on a shared backbone.

binary   genuine or posed only: the baseline of the other two
single   one task with 2E classes, every emotion genuine and posed; P(genuine) is the sum over the emotions
multi    two tasks, an emotion head and an authenticity head on a shared backbone; the losses are added

Each network of the ensemble leaves out some of the people for calibration, and of those it is trained on some others
stop its training: scores on people that had chosen the epoch flatter, even on noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from duchenne.errors import InputError
from duchenne.learn import optim, pieces
from duchenne.learn.calibration import abstention_margin, platt, sigmoid
from duchenne.learn.folds import person_folds
from duchenne.learn.loop import Schedule, fit
from duchenne.learn.losses import cross_entropy
from duchenne.learn.recipes import Settings, setting
from duchenne.tabular.evidence import opinion_of
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import check_columns
from duchenne.types import NO_EMOTION, Array, Classifier, Json

KINDS = ("binary", "single", "multi")
_UNKNOWN = -1  # class of a clip without an emotion, which the losses ignore


@dataclass(frozen=True)
class NetRecipe(Settings):
    """Sizes and training; it ends after `early_stopping_patience` epochs without a better score."""

    kind: str = setting("multi", choices=KINDS)
    hidden_size: int = setting(64, 1, 8192, was="hidden")
    dropout: float = setting(0.5, 0, 0.9)
    learning_rate: float = setting(1e-3, 1e-12, 10, was="rate")
    weight_decay: float = setting(0.1, 0, 1e3, was="decay")
    epochs: int = setting(60, 1, 1_000_000)
    batch_size: int = setting(64, 1, 1_000_000, was="batch")
    early_stopping_patience: int = setting(10, 0, 1_000_000, was="stop")
    n_networks: int = setting(5, 2, 100, was="bag")
    seed: int = setting(0, 0, 2**31 - 1)


class TableNet(nn.Module):
    """Rows (N, D), z-scored, through one hidden layer to "authenticity" (N,) and "emotion" (N, E), both logits."""

    def __init__(self, inputs: int, emotions: int, recipe: NetRecipe) -> None:
        super().__init__()
        self.kind = recipe.kind
        self.trunk = nn.Sequential(
            nn.Dropout(recipe.dropout / 2), nn.Linear(inputs, recipe.hidden_size), nn.ReLU(), nn.Dropout(recipe.dropout)
        )
        width = {"binary": 1, "single": 2 * emotions, "multi": 1 + emotions}[recipe.kind]
        self.head = nn.Linear(recipe.hidden_size, width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """float32 (N, D) → "authenticity" (N,); but for `binary` "emotion" (N, E); of `single` "classes" (N, 2E),
        posed and genuine of each emotion in turn."""
        out: Tensor = self.head(self.trunk(x))
        if self.kind == "binary":
            return {"authenticity": out[:, 0]}
        if self.kind == "multi":
            return {"authenticity": out[:, 0], "emotion": out[:, 1:]}
        each = out.reshape(len(out), -1, 2)
        posed, genuine = each.logsumexp(dim=1).unbind(dim=1)
        return {"authenticity": genuine - posed, "emotion": each.logsumexp(dim=2), "classes": out}

    def loss(self, found: dict[str, Tensor], y: Tensor, emotion: Tensor) -> Tensor:
        """Scalar: `y` float (N,) 1 = genuine, `emotion` int (N,), -1 where unknown."""
        if self.kind == "single":
            return cross_entropy(found["classes"], torch.where(emotion == _UNKNOWN, emotion, 2 * emotion + y.long()))
        loss = cross_entropy(found["authenticity"], y)
        return loss if self.kind == "binary" else loss + cross_entropy(found["emotion"], emotion)


class NetLearner:
    """A `learn.loop.Learner`: a network on rows (N, D); `held_out` are rows of people left out."""

    def __init__(self, recipe: NetRecipe, x: Array, y: Array, emotion: Array, count: int, held_out: Array) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.held_out = recipe, held_out
        self.train = np.setdiff1d(np.arange(len(x)), held_out)
        self.x, self.y = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)
        self.emotion = torch.as_tensor(emotion, dtype=torch.int64)
        self.network = TableNet(x.shape[1], count, recipe)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """One pass over the training people in shuffled batches of about equal size."""
        self.network.train()
        torch.manual_seed(int(rng.integers(2**31)))
        optim.set_learning_rate(self.optimiser, self.recipe.learning_rate * lr_scale)
        order = rng.permutation(self.train)
        for rows in np.array_split(order, max(1, round(len(order) / self.recipe.batch_size))):
            loss = self.network.loss(self.network(self.x[rows]), self.y[rows], self.emotion[rows])
            yield optim.descend(loss, self.optimiser, self.network)

    @torch.no_grad()
    def score(self) -> float:
        """Cross-entropy of genuine or posed on people left out; NaN where there are none."""
        self.network.eval()
        if not len(self.held_out):
            return float("nan")
        logits = self.network(self.x[self.held_out])["authenticity"]
        return float(cross_entropy(logits, self.y[self.held_out]))

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimiser's moments."""
        return optim.state({"network": self.network}, self.optimiser)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Load a `state`."""
        optim.restore({"network": self.network}, self.optimiser, state)


@dataclass
class TableNets(Classifier):
    """An ensemble of networks on rows (N, D).

    centre, spread  float64 (D,) of the training rows; a missing number is its column's median
    """

    format: ClassVar[str] = "duchenne-method/nets"
    any_columns: ClassVar[bool] = True

    reader: Reader
    recipe: NetRecipe = field(default_factory=NetRecipe)
    networks: list[TableNet] = field(default_factory=list)
    emotion_names: tuple[str, ...] = ()
    median: Array = field(default_factory=lambda: np.zeros(0))
    centre: Array = field(default_factory=lambda: np.zeros(0))
    spread: Array = field(default_factory=lambda: np.ones(0))
    slope: float = 1.0
    intercept: float = 0.0
    margin: float = 0.0
    out_of_fold: Array | None = field(default=None, repr=False)
    curves: list[list[Json]] = field(default_factory=list, repr=False)
    facts: Json = field(default_factory=dict)

    def fit_table(self, x: Array, labels: Array, groups: Array, emotions: Array | None = None) -> Self:
        """Fit on rows (N, D). InputError with fewer than two persons, one label, or without the emotions needed."""
        use = np.isfinite(x).any(axis=1)
        y, groups = np.asarray(labels, int)[use], np.asarray(groups)[use]
        what = np.full(len(y), "") if emotions is None else np.asarray(emotions).astype(str)[use]
        self.emotion_names = tuple(sorted({*what.tolist()} - {*NO_EMOTION}))
        if len(np.unique(groups)) < 2 or len(np.unique(y)) < 2:
            raise InputError("Training needs usable clips of both labels from at least 2 people; add to the manifest.")
        if self.recipe.kind != "binary" and len(self.emotion_names) < 2:
            raise InputError(
                f"A network of kind '{self.recipe.kind}' is trained on emotions, but the manifest has fewer than 2; "
                "add them, or use the kind binary."
            )
        rows = x[use]
        self.median = np.nan_to_num(np.nanmedian(np.where(np.isfinite(rows).any(axis=0), rows, 0.0), axis=0))
        rows = np.where(np.isfinite(rows), rows, self.median)
        spread = rows.std(axis=0)
        self.centre, self.spread = rows.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)
        number = {name: i for i, name in enumerate(self.emotion_names)}
        classes = np.array([number.get(name, _UNKNOWN) for name in what.tolist()])
        z = self._fit_bag(self._scaled(rows), y, groups, classes)
        seen = np.isfinite(z)
        self.slope, self.intercept = platt(z[seen], y[seen])
        p = sigmoid(self.slope * z + self.intercept)
        self.margin = abstention_margin(p[seen], y[seen])
        self.out_of_fold = np.full(len(x), np.nan)
        self.out_of_fold[use] = p
        return self

    def _fit_bag(self, x: Array, y: Array, groups: Array, classes: Array) -> Array:
        """float64 (N,): out-of-fold log-odds of each clip."""
        r, z = self.recipe, np.full(len(y), np.nan)
        self.networks, self.curves = [], []
        for number, (train, held) in enumerate(person_folds(groups, r.n_networks, r.seed)):
            if len(np.unique(y[train])) < 2:
                continue
            stopping = _stopping(groups[train], y[train], number)
            learner = NetLearner(r, x[train], y[train], classes[train], len(self.emotion_names), stopping)
            patience = r.early_stopping_patience
            schedule = Schedule(r.epochs, early_stopping_patience=patience, seed=1000 * r.seed + number)
            of = pieces.network_folder(f"{number + 1}", asdict(r), (x, y, classes, held, stopping))
            self.curves.append(fit(learner, schedule, of))
            self.networks.append(learner.network.eval())
            z[held] = _outputs(learner.network, x[held])["authenticity"]
        if not self.networks:
            raise InputError("Training needs clips of both labels from people besides those left out; add people.")
        return z

    opinion = opinion_of

    def predict_table(self, x: Array, emotions: Array | None = None) -> Array:
        """float64 (N, 2): P(posed), P(genuine) of rows (N, D). InputError before `fit`."""
        p = sigmoid(self.slope * np.mean([out["authenticity"] for out in self._each(x)], axis=0) + self.intercept)
        return np.column_stack([1 - p, p])

    def emotions(self, x: Array) -> Array:
        """float64 (N, E): probabilities of `emotion_names`, ensemble mean; InputError of kind `binary`."""
        if self.recipe.kind == "binary":
            raise InputError("A network of kind 'binary' predicts no emotions; use single or multi.")
        return np.asarray(np.mean([_softmax(out["emotion"]) for out in self._each(x)], axis=0))

    def _each(self, x: Array) -> list[dict[str, Array]]:
        if not self.networks:
            raise InputError("This model has not been fitted; call fit first.")
        check_columns(x, len(self.median))
        scaled = self._scaled(np.where(np.isfinite(x), x, self.median))
        return [_outputs(network, scaled) for network in self.networks]

    def _scaled(self, x: Array) -> Array:
        # a value far outside the training range must not decide alone
        return np.asarray(np.clip((x - self.centre) / self.spread, -5, 5))


def _stopping(groups: Array, y: Array, seed: int) -> Array:
    """Rows of a fifth of the people, who stop a training; none where the others would lack people or a label."""
    people = np.random.default_rng(seed).permutation(np.unique(groups))
    rows = np.isin(groups, people[: max(1, round(len(people) / 5))])
    enough = len(people) > 2 and len(np.unique(y[~rows])) == 2
    return np.flatnonzero(rows) if enough else np.zeros(0, int)


@torch.no_grad()
def _outputs(network: TableNet, x: Array) -> dict[str, Array]:
    network.eval()
    found: dict[str, Tensor] = network(torch.as_tensor(x, dtype=torch.float32))
    return {name: np.asarray(tensor.double().numpy()) for name, tensor in found.items()}


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
