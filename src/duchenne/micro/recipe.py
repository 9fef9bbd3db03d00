"""How a micro-expression network is made and learnt, as TOML: read and checked. An unknown key is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duchenne.learn import recipes
from duchenne.learn.loop import Schedule
from duchenne.micro.network import MicroConfig


@dataclass(frozen=True)
class MicroRecipe:
    """The network (see `micro.network.MicroConfig`), then its learning, which always goes on to its last epoch: nobody
    is held back to choose an earlier one by, as there are too few people.

    rate     of Adam, falling as a half cosine to nothing
    decay    of weights, decoupled (AdamW); biases do not decay
    batch    movements per step
    balance  0 to 1: classes weigh as their frequency to the power −balance
    """

    steps: int = 24
    hidden: int = 64
    relative: bool = True
    dropout: float = 0.5
    recurrent: float = 0.25

    epochs: int = 60
    batch: int = 16
    rate: float = 2e-3
    decay: float = 0.01
    balance: float = 1.0
    seed: int = 0

    @property
    def schedule(self) -> Schedule:
        """For `learn.loop.fit`: rates are this recipe's own affair."""
        return Schedule(self.epochs, patience=1_000_000_000, seed=self.seed, last=True)

    def config(self, classes: Sequence[str], inputs: int) -> MicroConfig:
        """The network that this recipe asks for."""
        return MicroConfig(tuple(classes), inputs, self.steps, self.hidden, self.relative, self.dropout, self.recurrent)


#: Number → (least, most) that makes sense; the upper ends only keep mistakes from filling the memory.
_RANGES: dict[str, tuple[float, float]] = {
    "steps": (2, 1000),
    "hidden": (1, 4096),
    **dict.fromkeys(("dropout", "recurrent"), (0, 0.9)),
    **dict.fromkeys(("epochs", "batch"), (1, 1_000_000)),
    "rate": (1e-12, 10),
    "decay": (0, 1e3),
    "balance": (0, 1),
    "seed": (0, 2**31 - 1),
}


def shipped() -> dict[str, Path]:
    """The recipes inside the package: name → TOML."""
    return recipes.shipped("micro")


def read(name: str | Path, **changes: Any) -> MicroRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    return recipe(*recipes.read(name, shipped(), changes))


def recipe(given: dict[str, Any], where: str) -> MicroRecipe:
    """The recipe of these settings, all others at their defaults.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    found = recipes.filled(MicroRecipe(), given, where)
    recipes.check(found, where, _RANGES)
    return found
