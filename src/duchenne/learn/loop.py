"""The one training loop: epochs of steps, early stopping, a checkpoint after each epoch, and no pickle.

What is trained is a `Learner`; the loop knows neither its data nor its loss. A run that is killed goes on after its
last whole epoch and ends with the same weights: what an epoch draws depends on the seed and its number alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duchenne import io
from duchenne.errors import InputError, ModelError
from duchenne.progress import Log

Tick = Callable[[dict[str, Any]], None]


class Diverged(InputError):
    """A loss, score or weight was no number; the checkpoint of the epoch before stands."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    patience  epochs without a better score before the rates are multiplied by `factor`
    stop      epochs without a better score before training ends (0: never)
    last      keep the last epoch whatever the scores say
    """

    epochs: int = 100
    patience: int = 10
    factor: float = 0.1
    stop: int = 0
    seed: int = 0
    last: bool = False


class Learner(Protocol):
    """What the loop trains."""

    def epoch(self, rng: np.random.Generator, pace: float) -> Iterator[float]:
        """Go through the data once, stepping after each batch, rates times `pace`; yield each batch's loss."""
        ...

    def score(self) -> float:
        """What early stopping watches, lower is better: a loss on people left out, or NaN for the training loss."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors from which training can go on (weights, optimiser, whatever is learnt beside)."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`."""
        ...


def fit(
    learner: Learner, schedule: Schedule, folder: Path | None = None, tick: Tick | None = None
) -> list[dict[str, Any]]:
    """Train to the end of the schedule and leave the learner at its best epoch; return the learning curve.

    A curve's row has epoch, loss (mean over batches), score, pace and best. With `folder` a checkpoint stands there
    after each epoch, and training goes on from it. Diverged where the loss, the score or a weight is no number: the
    best epoch so far is restored first, so that nothing is lost. ModelError where a checkpoint is damaged, or of
    another schedule or network.
    """
    curve = _resume(learner, schedule, folder)
    best = _best_state(learner, folder, curve)
    while len(curve) < schedule.epochs and not _over(curve, schedule):
        number = len(curve)
        rng, pace = np.random.default_rng([schedule.seed, number]), _pace(curve, schedule)
        losses = [float(loss) for loss in learner.epoch(rng, pace)]
        loss = float(np.mean(losses)) if losses else math.nan
        # the losses were measured before the last step, which may have been the one that broke the weights
        sound = math.isfinite(loss) and all(bool(tensor.isfinite().all()) for tensor in learner.state().values())
        score = learner.score() if sound else math.nan
        if not sound or math.isinf(score):
            if best is not None:
                learner.restore(best)
            kept = "the best epoch before it is kept" if best is not None else "no epoch before it could be kept"
            raise Diverged(
                f"Training diverged in epoch {number + 1}: the loss is no number; {kept}. Lower the learning rate."
            )
        watched = loss if math.isnan(score) else score
        record = min((row["watched"] for row in curve), default=math.inf)
        row = {
            "epoch": number + 1,
            "loss": loss,
            "score": score,
            "watched": watched,
            "pace": pace,
            "best": schedule.last or watched < record,
        }
        curve.append(row)
        if row["best"]:
            best = {name: tensor.clone() for name, tensor in learner.state().items()}
        if folder is not None:
            _keep(folder, learner.state(), best, curve, schedule)
        if tick is not None:
            tick(row)
    if best is not None:
        learner.restore(best)
    return curve


def teller(epochs: int, log: Log, score: str = "people left out", name: str = "") -> Callable[[dict[str, Any]], None]:
    """What tells `log` of each epoch, in a line that calls the score by its name; `name` or the row's network first."""
    began = time.monotonic()

    def tell(row: dict[str, Any]) -> None:
        nonlocal began
        first = f"{found}: " if (found := name or row.get("network", "")) else ""
        held = f", {score} {row['score']:.5f}" if math.isfinite(row["score"]) else ""
        rate = f", rates x {row['pace']:g}" if row["pace"] < 1 else ""
        best, seconds = ", kept" if row["best"] else "", time.monotonic() - began
        log(f"{first}epoch {row['epoch']} of {epochs}: loss {row['loss']:.5f}{held}{rate}{best} ({seconds:.0f} s)")
        began = time.monotonic()

    return tell


def _since_best(curve: list[dict[str, Any]]) -> int:
    at = max((i for i, row in enumerate(curve) if row["best"]), default=-1)
    return len(curve) - 1 - at


def _over(curve: list[dict[str, Any]], schedule: Schedule) -> bool:
    return bool(schedule.stop) and bool(curve) and _since_best(curve) >= schedule.stop


def _pace(curve: list[dict[str, Any]], schedule: Schedule) -> float:
    """1, times `factor` for every `patience` epochs on end that brought nothing."""
    pace, idle = 1.0, 0
    for row in curve:
        idle = 0 if row["best"] else idle + 1
        if idle == schedule.patience:
            pace, idle = pace * schedule.factor, 0
    return pace


def _keep(
    folder: Path, state: dict[str, Any], best: dict[str, Any] | None, curve: list[dict[str, Any]], schedule: Schedule
) -> None:
    """The tensors first, the curve last: a checkpoint whose files are of two epochs is told by its number."""
    from safetensors.torch import save_file

    tensors = {f"now.{name}": tensor.contiguous() for name, tensor in state.items()}
    tensors |= {f"best.{name}": tensor.contiguous() for name, tensor in (best or {}).items()}
    with io.atomic(folder / f"epoch-{len(curve)}.safetensors") as part:
        save_file(tensors, str(part))
    io.write_json(folder / "curve.json", {"schedule": asdict(schedule), "curve": curve})
    for old in folder.glob("epoch-*.safetensors"):
        if old.name != f"epoch-{len(curve)}.safetensors":
            old.unlink(missing_ok=True)


def _resume(learner: Learner, schedule: Schedule, folder: Path | None) -> list[dict[str, Any]]:
    path = None if folder is None else folder / "curve.json"
    if path is None or not path.is_file():
        return []
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        curve, told = [dict(row) for row in about["curve"]], dict(about["schedule"])
        for row in curve:
            row["score"] = math.nan if row["score"] is None else float(row["score"])
            row["watched"], row["best"] = float(row["watched"]), bool(row["best"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no checkpoint of a training; remove its folder to start anew.") from error
    ours = asdict(schedule)
    if any(told.get(name) != ours[name] for name in ours if name not in ("epochs", "stop")):
        raise ModelError(f"{path} is of a training with other settings; remove its folder to start anew.")
    tensors = path.parent / f"epoch-{len(curve)}.safetensors"
    try:
        learner.restore(_load(tensors, "now."))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{tensors} is of another network; remove its folder to start the training anew.") from error
    return curve


def _best_state(learner: Learner, folder: Path | None, curve: list[dict[str, Any]]) -> dict[str, Any] | None:
    return _load(folder / f"epoch-{len(curve)}.safetensors", "best.") if folder is not None and curve else None


def _load(path: Path, prefix: str) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is missing or cut short; remove its folder to start the training anew.") from error
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
