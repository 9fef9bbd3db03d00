"""Recipes of LSTM-PB as TOML: read, checked, changed by name. An unknown key is an error, not a wish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from duchenne.errors import UsageError
from duchenne.learn import recipes
from duchenne.lstm_pb.model import READINGS, PBRecipe

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
