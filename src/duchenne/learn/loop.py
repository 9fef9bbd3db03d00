"""The training loop: epochs of steps, early stopping, a checkpoint after each epoch, and no pickle.

It trains a `Learner` and knows neither its data nor its loss. A run that is killed resumes after its last complete
epoch and ends with the same weights: the random numbers of an epoch depend on the seed and its number only.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duchenne import io
from duchenne.errors import InputError, ModelError
from duchenne.learn import pieces
from duchenne.progress import Log

Row = dict[str, Any]
OnEpoch = Callable[[Row], None]
KEEPS = ("best", "last")


class Diverged(InputError):
    """A loss, score or weight was not finite; the checkpoint of the epoch before stands."""


@dataclass(frozen=True)
class Schedule:
    """When to lower the learning rate and when to stop.

    lr_patience  epochs without a better score before learning rates are multiplied by `lr_factor` (0: never)
    early_stopping_patience  epochs without a better score before training ends (0: never)
    keep         the "best" or the "last" epoch
    """

    epochs: int = 100
    lr_patience: int = 0
    lr_factor: float = 0.1
    early_stopping_patience: int = 0
    seed: int = 0
    keep: str = "best"


class Learner(Protocol):
    """What the loop trains."""

    def epoch(self, rng: np.random.Generator, lr_scale: float) -> Iterator[float]:
        """Go through the data once, stepping after each batch, learning rates times `lr_scale`; yield each loss."""
        ...

    def score(self) -> float:
        """What early stopping monitors, lower is better: the validation loss, or NaN for the training loss."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors from which training can resume (weights, optimiser, ...)."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Load a `state`."""
        ...


def fit(learner: Learner, schedule: Schedule, folder: Path | None = None, on_epoch: OnEpoch | None = None) -> list[Row]:
    """Train to the end of the schedule and leave the learner at its best epoch; return the learning curve.

    A row has epoch, loss (mean over batches), score, lr_scale and best. With `folder`, a checkpoint is written there
    after each epoch and training resumes from it. Diverged where the loss, the score or a weight is not finite; the
    best epoch so far is restored first. A damaged checkpoint is not resumed from; ModelError where it is of another
    schedule or network.
    """
    curve = _resume(learner, schedule, folder)
    best = _best_state(learner, folder, curve)
    while len(curve) < schedule.epochs and not _over(curve, schedule):
        row = _epoch(learner, schedule, curve)
        if row is None:
            raise _diverged(learner, best, len(curve) + 1)
        curve.append(row)
        if row["best"]:
            best = {name: tensor.clone() for name, tensor in learner.state().items()}
        if folder is not None:
            _keep(folder, learner.state(), best, curve, schedule)
        if on_epoch is not None:
            on_epoch(row)
    if best is not None:
        learner.restore(best)
    return curve


def _epoch(learner: Learner, schedule: Schedule, curve: list[Row]) -> Row | None:
    """Train for one epoch; its row, or None where anything is not finite."""
    rng, lr_scale = np.random.default_rng([schedule.seed, len(curve)]), _lr_scale(curve, schedule)
    losses = [float(loss) for loss in learner.epoch(rng, lr_scale)]
    loss = float(np.mean(losses)) if losses else math.nan
    # losses are measured before the last step, which may be the one that diverged
    if not math.isfinite(loss) or not all(bool(tensor.isfinite().all()) for tensor in learner.state().values()):
        return None
    score = learner.score()
    if math.isinf(score):
        return None
    watched = loss if math.isnan(score) else score
    best = schedule.keep == "last" or watched < min((row["watched"] for row in curve), default=math.inf)
    row = {"epoch": len(curve) + 1, "loss": loss, "score": score, "watched": watched}
    return {**row, "lr_scale": lr_scale, "best": best}


def _diverged(learner: Learner, best: dict[str, Any] | None, epoch: int) -> Diverged:
    if best is not None:
        learner.restore(best)
    kept = "the best epoch before it is kept" if best is not None else "no epoch before it could be kept"
    return Diverged(f"Training diverged in epoch {epoch}: the loss is not finite; {kept}. Lower the learning rate.")


def log_epochs(epochs: int, log: Log, score: str = "people left out", name: str = "") -> OnEpoch:
    """A callback that logs a line per epoch: `name` or the row's network, the loss, and the score, named `score`."""
    began = time.monotonic()

    def write(row: Row) -> None:
        nonlocal began
        first = f"{found}: " if (found := name or row.get("network", "")) else ""
        held = f", {score} {row['score']:.5f}" if math.isfinite(row["score"]) else ""
        rate = f", learning rate x {row['lr_scale']:g}" if row["lr_scale"] < 1 else ""
        best, seconds = ", kept" if row["best"] else "", time.monotonic() - began
        log(f"{first}epoch {row['epoch']} of {epochs}: loss {row['loss']:.5f}{held}{rate}{best} ({seconds:.0f} s)")
        began = time.monotonic()

    return write


def write_events(rows: Iterable[Mapping[str, str]], folder: Path) -> None:
    """Write the cells of a curve.csv as event files of TensorBoard, one run (folder) for each network.

    Needs the package tensorboard. The files have a fixed name, so that the next ones replace them.
    """
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, SummaryWriter] = {}
    for row in rows:
        run = row.get("network") or "training"
        if run not in writers:
            writers[run] = SummaryWriter(str(folder / re.sub(r"\W", "_", run)))
        for name in ("loss", "score", "lr_scale"):
            if row.get(name):
                writers[run].add_scalar(name, io.number(row[name]), int(io.number(row["epoch"])))
    for writer in writers.values():
        writer.close()
    for file in folder.rglob("events.out.tfevents.*"):
        file.rename(file.with_name("events.out.tfevents.duchenne"))


def _since_best(curve: list[Row]) -> int:
    at = max((i for i, row in enumerate(curve) if row["best"]), default=-1)
    return len(curve) - 1 - at


def _over(curve: list[Row], schedule: Schedule) -> bool:
    patience = schedule.early_stopping_patience
    return bool(patience) and bool(curve) and _since_best(curve) >= patience


def _lr_scale(curve: list[Row], schedule: Schedule) -> float:
    """1, times `lr_factor` for every `lr_patience` epochs in a row without a better score."""
    scale, idle = 1.0, 0
    for row in curve:
        idle = 0 if row["best"] else idle + 1
        if schedule.lr_patience and idle == schedule.lr_patience:
            scale, idle = scale * schedule.lr_factor, 0
    return scale


def _keep(
    folder: Path, state: dict[str, Any], best: dict[str, Any] | None, curve: list[Row], schedule: Schedule
) -> None:
    """Tensors first, curve last: files of two different epochs are noticed by the epoch number."""
    from safetensors.torch import save_file

    tensors = {f"now.{name}": tensor.contiguous() for name, tensor in state.items()}
    tensors |= {f"best.{name}": tensor.contiguous() for name, tensor in (best or {}).items()}
    with io.atomic(folder / f"epoch-{len(curve)}.safetensors") as part:
        save_file(tensors, str(part))
    io.write_json(folder / "curve.json", {"schedule": asdict(schedule), "curve": curve})
    for old in folder.glob("epoch-*.safetensors"):
        if old.name != f"epoch-{len(curve)}.safetensors":
            old.unlink(missing_ok=True)


def _resume(learner: Learner, schedule: Schedule, folder: Path | None) -> list[Row]:
    from safetensors import SafetensorError

    path = None if folder is None else folder / "curve.json"
    if path is None or not path.is_file():
        return []
    try:
        about = io.read_json(path)
        curve, saved = [dict(row) for row in about["curve"]], dict(about["schedule"])
        for row in curve:
            row["score"] = math.nan if row["score"] is None else float(row["score"])
            row["watched"], row["best"] = float(row["watched"]), bool(row["best"])
        tensors = _load(path.parent / f"epoch-{len(curve)}.safetensors", "now.")
    except (OSError, ValueError, LookupError, TypeError, SafetensorError):
        pieces.report(f"{path.parent} is damaged; its network is trained again from the start")
        return []
    current = asdict(schedule)
    for name in ("epochs", "early_stopping_patience"):
        current.pop(name)
    if any(saved.get(name) != value for name, value in current.items()):
        raise ModelError(f"{path} is from a training with other settings; remove its folder to start again.")
    try:
        learner.restore(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} is from another network; remove its folder to start again.") from error
    return curve


def _best_state(learner: Learner, folder: Path | None, curve: list[Row]) -> dict[str, Any] | None:
    return _load(folder / f"epoch-{len(curve)}.safetensors", "best.") if folder is not None and curve else None


def _load(path: Path, prefix: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    found = load_file(str(path))
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
