"""Recipes of LSTM-PB as TOML: read, checked, changed by name. An unknown key is an error, not a wish."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duchenne.errors import UsageError
from duchenne.learn import recipes
from duchenne.learn.loop import Schedule
from duchenne.lstm_pb.network import LSTMPBConfig

READINGS = ("paper", "published-code", "rnnpb", "solved")


@dataclass(frozen=True)
class PBRecipe:
    """Everything an LSTM-PB may be told.

    head, pose, fps   what is read (`features.sequences.SequenceReader`)
    per_emotion       one network per emotion, as in the paper, or one for all
    rate, pb_rate     of the weights and of the PB vectors; `adam` or plain SGD for the weights
    patience, stop    epochs without gain before the rates are divided by ten, and before training ends
    held_out          share of the training people on whose prediction error training is stopped; 0: none
    copies, jitter    jittered copies of a clip, and how far their crop moves (x, y)
    recognition       steps of recognition
    classifier        "logistic" or "boosting" on PB vectors, the latter with so many `trees`
    bag               solved: networks, each of which leaves out other people
    dropout, decay    solved: against learning clips by heart
    prediction        solved: weight of the prediction error beside that of the labels
    """

    reading: str = "paper"
    hidden: int = 128
    layers: int = 4
    pb: int = 64
    context: int = 64
    fps: float = 12.5
    head: bool = False
    pose: bool = False
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
    bag: int = 5
    dropout: float = 0.2
    decay: float = 0.05
    prediction: float = 0.3
    seed: int = 0

    @property
    def inputs(self) -> int:
        """Numbers of a frame."""
        return 86 if self.pose else 80

    @property
    def config(self) -> LSTMPBConfig:
        """The network's sizes, of the readings of the paper."""
        return LSTMPBConfig(self.reading, self.inputs, self.pb, self.context, self.hidden, self.layers)

    @property
    def schedule(self) -> Schedule:
        """The training loop's settings."""
        if self.reading == "solved":  # its rate falls by itself and its weights are averages: the last are the best
            return Schedule(self.epochs, 1, 1.0, 0, self.seed, last=True)
        return Schedule(self.epochs, self.patience, 0.1, self.stop, self.seed)


#: Recipe's number → (least, most) that makes sense; the upper ends only keep mistakes from filling the memory.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("hidden", "pb", "context"), (1, 8192)),
    **dict.fromkeys(("epochs", "batch", "patience", "copies", "trees"), (1, 1_000_000)),
    **dict.fromkeys(("stop", "recognition"), (0, 1_000_000)),
    **dict.fromkeys(("rate", "pb_rate"), (1e-12, 1e6)),
    "layers": (1, 64),
    "fps": (1, 1000),
    "momentum": (0, 0.9999),
    "held_out": (0, 0.5),
    "bag": (2, 100),
    "dropout": (0, 0.9),
    **dict.fromkeys(("decay", "prediction"), (0, 1e6)),
    "seed": (0, 2**31 - 1),
}
_WORDS = {"reading": READINGS, "classifier": ("logistic", "boosting")}


def shipped() -> dict[str, Path]:
    """The recipes inside the package: name → TOML."""
    return recipes.shipped()


def read(name: str | Path, **changes: Any) -> PBRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    return recipe(*recipes.read(name, shipped(), changes))


def recipe(given: dict[str, Any], where: str) -> PBRecipe:
    """The recipe of these settings, all others at their defaults but the rate `fps`, which has none.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    recipes.check_names(PBRecipe(), given, where)
    if "fps" not in given:
        raise UsageError(f"{where} lacks fps, the frames per second that the network is to read; add it.")
    return check(recipes.filled(PBRecipe(), given, where), where)


def check(found: PBRecipe, where: str) -> PBRecipe:
    """The recipe itself; UsageError, beginning with `where`, for what makes no sense."""
    recipes.check(found, where, _RANGES, _WORDS)
    if not all(0 <= each <= 1 for each in found.jitter):
        raise UsageError(f"{where}: jitter must be two shares of half a face between 0 and 1, found {found.jitter!r}.")
    if found.head and found.pose:
        raise UsageError(f"{where}: head and pose tell the head's movement twice; ask for one of them.")
    if found.reading == "solved" and found.copies > 1:
        raise UsageError(f"{where}: solved learns from varied takes and judges a clip as it is; set copies to 1.")
    return found
