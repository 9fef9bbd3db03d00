"""How a clip network is made and learnt, as TOML: read and checked. An unknown key is an error, not a wish."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from duchenne.clipnets.inputs import LEAST, ClipReader
from duchenne.clipnets.network import INPUTS, KINDS, POOLS, TASKS, ClipConfig
from duchenne.errors import UsageError
from duchenne.expression.recipe import PRECISIONS, ExpressionRecipe
from duchenne.learn import recipes
from duchenne.learn.loop import Schedule
from duchenne.learn.losses import LOSSES, WEIGHINGS

KEEPS = ("best", "last")


@dataclass(frozen=True)
class ClipRecipe:
    """What is read (`clipnets.inputs`), the network (`clipnets.network.ClipConfig`), then its learning.

    bag         networks, each of which leaves out other people and all of which judge; 1: one, which leaves out the
                share `held_out` of the people
    frozen      the trunk stays as it was loaded
    epochs      passes over the clips; learning ends before, after `stop` without a better score (0: never)
    keep        the epoch that answers best for the people left out, or the last
    batch       clips at a time; `accumulate` such batches make a step
    taken       frames of a clip that a network which judges frame by frame sees in a pass, drawn anew (0: all)
    rate        of Adam, rising over `warm` steps and falling as a half cosine to nothing; `trunk` is the trunk's share
    decay       of weights, decoupled (AdamW); biases and norms do not decay
    ema         how slowly the averaged weights follow, which are kept; 0 keeps the weights themselves
    loss        of `learn.losses.LOSSES`, with `gamma` and `alpha` where it has them
    weighing    of the tasks genuine-or-posed and emotion, whose `weights` are used where it is "fixed"
    smoothing   share of a label that is spread over all answers
    flip, turn, shift, scale, shear, erase   as `expression.recipe` tells, the same for all frames of a clip
    vary        points are seen as another take of the movement (`features.sequences.varied`), which rests before it
                begins for up to `rest` s
    precision   of arithmetic in learning: bfloat16 where the machine has it in hardware with "auto"
    """

    kind: str = "lstm"
    inputs: str = "crops"
    backbone: str = "resnet50"
    task: str = "authenticity"
    frames: int = 20
    fps: float = 0.0
    side: int = 112
    channels: int = 3
    per_image: bool = False
    pose: bool = False
    own: bool = False
    speed: bool = False
    width: int = 64
    depth: int = 4
    hidden: int = 256
    layers: int = 1
    both: bool = False
    pool: str = "last"
    dropout: float = 0.5

    bag: int = 1
    held_out: float = 0.2
    frozen: bool = False
    epochs: int = 30
    stop: int = 0
    keep: str = "best"
    batch: int = 8
    accumulate: int = 1
    taken: int = 0
    rate: float = 1e-4
    trunk: float = 1.0
    warm: int = 0
    decay: float = 0.01
    ema: float = 0.0
    loss: str = "cross-entropy"
    gamma: float = 2.0
    alpha: float = 0.5
    weighing: str = "sum"
    weights: tuple[float, float] = (1.0, 1.0)
    smoothing: float = 0.0

    flip: bool = True
    turn: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    erase: float = 0.0
    vary: bool = True
    rest: float = 0.0

    precision: str = "auto"
    seed: int = 0

    @property
    def by_frame(self) -> bool:
        """Whether each frame is judged by itself."""
        return self.kind in ("frames", "context")

    @property
    def reader(self) -> ClipReader:
        """What is read of a clip."""
        least = 1 if self.by_frame else LEAST
        if self.inputs == "points":
            return ClipReader("points", self.frames, self.fps, 0, 0, pose=self.pose, least=least)
        return ClipReader("crops", self.frames, self.fps, self.side, self.channels, self.kind == "context", least=least)

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`; rates are this recipe's own affair."""
        return Schedule(self.epochs, 1_000_000_000, 1.0, self.stop, self.seed, last=self.keep == "last")

    @property
    def pictures(self) -> ExpressionRecipe:
        """What `expression.augment.augmented` is told."""
        names = ("flip", "turn", "shift", "scale", "shear", "erase")
        return ExpressionRecipe(**{name: getattr(self, name) for name in names})

    def config(self, emotions: int) -> ClipConfig:
        """The network that this recipe asks for, for so many emotions."""
        own = {each.name for each in fields(ClipConfig)} & {each.name for each in fields(self)}
        return ClipConfig(
            **{name: getattr(self, name) for name in own},
            emotions=0 if self.task == "authenticity" else emotions,
            numbers=86 if self.pose else 80,
        )


#: Number → (least, most) that makes sense, of each where there are several; upper ends only keep mistakes from harm.
_RANGES: dict[str, tuple[float, float]] = {
    "frames": (0, 10_000),
    "fps": (0, 1000),
    "side": (8, 1024),
    **dict.fromkeys(("width", "hidden"), (1, 8192)),
    "depth": (1, 12),
    "layers": (1, 16),
    "bag": (1, 100),
    "held_out": (0.01, 0.5),
    **dict.fromkeys(("epochs", "batch", "accumulate"), (1, 1_000_000)),
    **dict.fromkeys(("stop", "taken", "warm"), (0, 1_000_000)),
    "rate": (1e-12, 10),
    **dict.fromkeys(("trunk", "decay", "weights"), (0, 1e3)),
    **dict.fromkeys(("dropout", "smoothing", "shift"), (0, 0.9)),
    "ema": (0, 0.999999),
    "gamma": (0, 20),
    **dict.fromkeys(("alpha", "scale", "erase"), (0, 1)),
    "turn": (0, 180),
    "shear": (0, 60),
    "rest": (0, 60),
    "seed": (0, 2**31 - 1),
}
_WORDS = {
    "kind": KINDS,
    "inputs": INPUTS,
    "task": TASKS,
    "pool": POOLS,
    "channels": (1, 3),
    "keep": KEEPS,
    "loss": tuple(LOSSES),
    "weighing": tuple(WEIGHINGS),
    "precision": PRECISIONS,
}


def shipped() -> dict[str, Path]:
    """The recipes inside the package, each of a network: name → TOML."""
    return recipes.shipped("clips")


def read(name: str | Path, **changes: Any) -> ClipRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    return recipe(*recipes.read(name, shipped(), changes))


def recipe(given: dict[str, Any], where: str) -> ClipRecipe:
    """The recipe of these settings, all others at their defaults.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    found = recipes.filled(ClipRecipe(), given, where)
    recipes.check(found, where, _RANGES, _WORDS)
    least = 1 if found.by_frame else LEAST
    if found.frames < least and not (found.fps and not found.frames):
        raise UsageError(f"{where}: this network needs {least} frames or more, found {found.frames}; or set fps.")
    found.config(1)  # which tells of parts that do not go together
    return found
