"""How an expression network is made and learnt, as TOML: read and checked. An unknown key is an error, not a wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duchenne.expression.network import HEADS, KINDS, ExpressionConfig
from duchenne.learn import recipes
from duchenne.learn.loop import Schedule

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class ExpressionRecipe:
    """The network (see `expression.network.ExpressionConfig`), then its learning.

    frozen     only the output learns: features stay as they were loaded
    epochs     each of `images` pictures (0: as many as there are), so that a long pass can be parted into epochs of a
               few thousand pictures, after each of which a training may end and go on
    batch      pictures per step
    rate       of Adam; it rises over the first `warm` steps, falls as a half cosine to nothing unless `cosine` is
               false, and as 1 / (1 + `fade` · step)
    decay      of weights, decoupled (AdamW); biases and norms do not decay
    ema        how slowly the averaged weights follow, which are kept; 0 keeps the weights themselves
    smoothing  share of a label that is spread over all emotions
    balance    0 to 1: classes weigh as their frequency to the power −balance
    sparse     weights of the mean of |p| and of p² over the action units' outputs p
    flip       half of the pictures are mirrored
    turn, shear  up to ± degrees; `shift` up to ± this share of the side; `scale` up to 1 + scale and down to
               its inverse
    erase      share of the pictures of which a box is covered
    ramp       share of the training over which these five grow from nothing
    precision  of arithmetic in learning: bfloat16 where the machine has it in hardware with "auto"
    """

    kind: str = "ours"
    head: str = "emotions"
    channels: int = 1
    per_image: bool = False
    widths: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    full: int = 512
    pad: bool = True
    dropout: tuple[float, ...] = (0.25, 0.5)

    frozen: bool = False
    epochs: int = 60
    images: int = 0
    batch: int = 128
    rate: float = 1e-3
    warm: int = 0
    cosine: bool = True
    fade: float = 0.0
    decay: float = 0.0
    ema: float = 0.0
    smoothing: float = 0.0
    balance: float = 0.0
    sparse: tuple[float, ...] = (0.0, 0.0)

    flip: bool = True
    turn: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    erase: float = 0.0
    ramp: float = 0.0

    precision: str = "auto"
    seed: int = 0

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`: the best epoch on the pictures held back is kept; rates are the recipe's own."""
        return Schedule(self.epochs, patience=1_000_000_000, seed=self.seed)

    def config(self, classes: Sequence[str], mean: Sequence[float], spread: Sequence[float]) -> ExpressionConfig:
        """The network that this recipe asks for."""
        return ExpressionConfig(
            tuple(classes),
            kind=self.kind,
            head=self.head,
            channels=self.channels,
            mean=tuple(mean),
            spread=tuple(spread),
            per_image=self.per_image,
            widths=self.widths,
            blocks=self.blocks,
            full=self.full,
            pad=self.pad,
            dropout=(self.dropout[0], self.dropout[1]),
        )


#: What the trunk of a network follows from: it comes with weights that are learnt on.
TRUNK = ("kind", "channels", "per_image", "widths", "blocks", "full", "pad")
#: Number → (least, most) that makes sense, of each where there are several; upper ends only keep mistakes from harm.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("widths", "full"), (1, 4096)),
    "blocks": (1, 20),
    **dict.fromkeys(("epochs", "batch"), (1, 1_000_000)),
    **dict.fromkeys(("images", "warm"), (0, 1_000_000_000)),
    "rate": (1e-12, 10),
    **dict.fromkeys(("fade", "decay", "sparse"), (0, 1e3)),
    **dict.fromkeys(("dropout", "smoothing", "shift"), (0, 0.9)),
    "ema": (0, 0.999999),
    **dict.fromkeys(("balance", "ramp", "scale", "erase"), (0, 1)),
    "turn": (0, 180),
    "shear": (0, 60),
    "seed": (0, 2**31 - 1),
}
_WORDS = {"kind": KINDS, "head": HEADS, "precision": PRECISIONS, "channels": (1, 3)}
_LENGTHS = {"dropout": (2,), "sparse": (2,), "widths": (0, 3, 4), "blocks": (0, 4)}
_KINDS: dict[str, type] = {"widths": int, "blocks": int, "dropout": float, "sparse": float}


def shipped() -> dict[str, Path]:
    """The recipes inside the package: name → TOML."""
    return recipes.shipped("expression")


def read(name: str | Path, **changes: Any) -> ExpressionRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    return recipe(*recipes.read(name, shipped(), changes))


def recipe(given: dict[str, Any], where: str) -> ExpressionRecipe:
    """The recipe of these settings, all others at their defaults.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    found = recipes.filled(ExpressionRecipe(), given, where, _LENGTHS, _KINDS)
    recipes.check(found, where, _RANGES, _WORDS)
    found.config(["any"], [0.0] * found.channels, [1.0] * found.channels)  # which tells widths of another kind
    return found
