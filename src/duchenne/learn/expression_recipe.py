"""How an expression network is made and learnt, as TOML: read and checked. An unknown key is an error, not a wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from duchenne import io
from duchenne.errors import UsageError
from duchenne.learn.fit import Schedule
from duchenne.models.expression_cnn import HEADS, KINDS, ExpressionConfig

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class ExpressionRecipe:
    """The network (see `models.expression_cnn.ExpressionConfig`), then its learning.

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
        """For `learn.fit.fit`: the best epoch on the pictures held back is kept; rates are this recipe's own affair."""
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
    root = Path(str(files("duchenne"))) / "recipes" / "expression"
    return {path.stem: path for path in sorted(root.glob("*.toml"))}


def read(name: str | Path, **changes: Any) -> ExpressionRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    path = shipped().get(str(name), Path(name))
    found = io.read_toml(path, f"There is no recipe '{name}'; choose one of {', '.join(shipped())}, or a TOML.")
    return recipe({**found, **{key: value for key, value in changes.items() if value is not None}}, str(path))


def recipe(settings: dict[str, Any], where: str) -> ExpressionRecipe:
    """The recipe of these settings, all others at their defaults.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    known = [field.name for field in fields(ExpressionRecipe)]
    if unknown := [key for key in settings if key not in known]:
        raise UsageError(f"{where} has the unknown key '{unknown[0]}'; known are: {', '.join(known)}.")
    found = replace(ExpressionRecipe(), **{name: _typed(name, value, where) for name, value in settings.items()})
    for name, (least, most) in _RANGES.items():
        value = getattr(found, name)
        if not all(least <= each <= most for each in (value if isinstance(value, tuple) else (value,))):
            raise UsageError(f"{where}: {name} must lie between {least:g} and {most:g}, found {value!r}.")
    for name, words in _WORDS.items():
        if getattr(found, name) not in words:
            told = ", ".join(map(str, words))
            raise UsageError(f"{where}: {name} must be one of {told}, found {getattr(found, name)!r}.")
    found.config(["any"], [0.0] * found.channels, [1.0] * found.channels)  # which tells widths of another kind
    return found


def _typed(name: str, value: Any, where: str) -> Any:
    default = getattr(ExpressionRecipe(), name)
    if isinstance(default, tuple):
        each = _KINDS[name]
        if isinstance(value, list | tuple) and len(value) in _LENGTHS[name] and all(_is(each, one) for one in value):
            return tuple(map(each, value))
        raise UsageError(f"{where}: {name} must be a list of {_LENGTHS[name][-1]} numbers, found {value!r}.")
    if not _is(type(default), value):
        raise UsageError(f"{where}: {name} must be {type(default).__name__}, found {value!r}.")
    return type(default)(value)


def _is(kind: type, value: Any) -> bool:
    """Whether a TOML value is of the kind; a whole number will do for a float."""
    return type(value) is kind or (kind is float and type(value) is int)
