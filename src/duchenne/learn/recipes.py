"""Recipes of LSTM-PB as TOML: read, checked, changed by name. An unknown key is an error, not a wish."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from duchenne import io
from duchenne.errors import UsageError
from duchenne.learn.pb import READINGS, PBRecipe

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
    root = Path(str(files("duchenne"))) / "recipes"
    return {path.stem: path for path in sorted(root.glob("*.toml"))}


def read(name: str | Path, **changes: Any) -> PBRecipe:
    """A shipped recipe by name, or a TOML file's; `changes` replace single settings (None: as the recipe says).

    InputError where there is no such file or it is no TOML; UsageError for unknown keys and impossible values.
    """
    path = shipped().get(str(name), Path(name))
    found = io.read_toml(path, f"There is no recipe '{name}'; choose one of {', '.join(shipped())}, or a TOML.")
    changed = {key: value for key, value in changes.items() if value is not None}
    return recipe({**found, **changed}, str(path))


def recipe(settings: dict[str, Any], where: str) -> PBRecipe:
    """The recipe of these settings, all others at their defaults but the rate `fps`, which has none.

    UsageError, beginning with `where`, for unknown keys, wrong kinds and values outside what makes sense.
    """
    known = [field.name for field in fields(PBRecipe)]
    if unknown := [key for key in settings if key not in known]:
        raise UsageError(f"{where} has the unknown key '{unknown[0]}'; known are: {', '.join(known)}.")
    if "fps" not in settings:
        raise UsageError(f"{where} lacks fps, the frames per second that the network is to read; add it.")
    return check(replace(PBRecipe(), **{key: _typed(key, value, where) for key, value in settings.items()}), where)


def check(found: PBRecipe, where: str) -> PBRecipe:
    """The recipe itself; UsageError, beginning with `where`, for what makes no sense."""
    for name, (least, most) in _RANGES.items():
        value = getattr(found, name)
        if not least <= value <= most:
            raise UsageError(f"{where}: {name} must lie between {least:g} and {most:g}, found {value!r}.")
    for name, known in _WORDS.items():
        if getattr(found, name) not in known:
            raise UsageError(f"{where}: {name} must be one of {', '.join(known)}, found {getattr(found, name)!r}.")
    if not all(0 <= each <= 1 for each in found.jitter):
        raise UsageError(f"{where}: jitter must be two shares of half a face between 0 and 1, found {found.jitter!r}.")
    if found.head and found.pose:
        raise UsageError(f"{where}: head and pose tell the head's movement twice; ask for one of them.")
    if found.reading == "solved" and found.copies > 1:
        raise UsageError(f"{where}: solved learns from varied takes and judges a clip as it is; set copies to 1.")
    return found


def _typed(name: str, value: Any, where: str) -> Any:
    default = getattr(PBRecipe(), name)
    if isinstance(default, tuple):
        if isinstance(value, list | tuple) and len(value) == len(default) and all(map(_number, value)):
            return tuple(map(float, value))
        raise UsageError(f"{where}: {name} must be a list of {len(default)} numbers, found {value!r}.")
    if isinstance(default, float) and _number(value):
        return float(value)
    if type(value) is not type(default):
        raise UsageError(f"{where}: {name} must be {type(default).__name__}, found {value!r}.")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
