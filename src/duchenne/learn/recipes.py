"""Settings of a learning as TOML: read, changed by name, checked. An unknown key is an error, not a wish.

What the settings of one kind of network are, and between which numbers they lie, its own recipe module says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, cast

from duchenne import io
from duchenne.errors import UsageError

_MOST_NAMES = 4096
R = TypeVar("R")  # a frozen dataclass of settings


def shipped(*folders: str) -> dict[str, Path]:
    """The recipes inside the package, in `folders` below its own: name → TOML."""
    root = Path(str(files("duchenne"))).joinpath("recipes", *folders)
    return {path.stem: path for path in sorted(root.glob("*.toml"))}


def read(name: str | Path, known: Mapping[str, Path], changes: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(settings, where they stand) of a recipe that is `known` by name, or of a TOML file; `changes` replace single
    settings (None: as the recipe says). InputError where there is no such file or it is no TOML."""
    path = known.get(str(name), Path(name))
    found = io.read_toml(path, f"There is no recipe '{name}'; choose one of {', '.join(known)}, or a TOML.")
    return {**found, **{key: value for key, value in changes.items() if value is not None}}, str(path)


def check_names(usual: Any, settings: Mapping[str, Any], where: str) -> None:
    """UsageError, beginning with `where`, for a key that `usual` does not have."""
    known = [field.name for field in fields(usual)]
    if unknown := [key for key in settings if key not in known]:
        raise UsageError(f"{where} has the unknown key '{unknown[0]}'; known are: {', '.join(known)}.")


def filled(
    usual: R,
    settings: Mapping[str, Any],
    where: str,
    lengths: Mapping[str, tuple[int, ...]] | None = None,
    kinds: Mapping[str, type] | None = None,
) -> R:
    """`usual` with these settings; UsageError, beginning with `where`, for unknown keys and other kinds of values.

    A list has as many numbers as the usual one, or one of `lengths`, each a float, or one of `kinds`.
    """
    check_names(usual, settings, where)
    lengths, kinds = lengths or {}, kinds or {}

    def typed(name: str, value: Any) -> Any:
        default = getattr(usual, name)
        if not isinstance(default, tuple):
            if not _is(type(default), value):
                raise UsageError(f"{where}: {name} must be {type(default).__name__}, found {value!r}.")
            return type(default)(value)
        length, each = lengths.get(name, (len(default),)), kinds.get(name, float)
        if isinstance(value, list | tuple) and len(value) in length and all(_is(each, one) for one in value):
            return tuple(map(each, value))
        raise UsageError(f"{where}: {name} must be a list of {length[-1]} numbers, found {value!r}.")

    changed: R = replace(cast(Any, usual), **{name: typed(name, value) for name, value in settings.items()})
    return changed


def check(
    found: Any,
    where: str,
    ranges: Mapping[str, tuple[float, float]],
    words: Mapping[str, tuple[Any, ...]] | None = None,
) -> None:
    """UsageError, beginning with `where`, for numbers outside their `ranges` and choices that are none of `words`."""
    for name, (least, most) in ranges.items():
        value = getattr(found, name)
        if not all(least <= each <= most for each in (value if isinstance(value, tuple) else (value,))):
            raise UsageError(f"{where}: {name} must lie between {least:g} and {most:g}, found {value!r}.")
    for name, known in (words or {}).items():
        if getattr(found, name) not in known:
            told = ", ".join(map(str, known))
            raise UsageError(f"{where}: {name} must be one of {told}, found {getattr(found, name)!r}.")


def numbers(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The finite numbers, as float, of these names; KeyError for a missing one, ValueError for anything else."""
    for name in names:
        if type(told[name]) not in (int, float) or not math.isfinite(told[name]):
            raise ValueError(f"its {name} is no number")
    return {name: float(told[name]) for name in names}


def names(told: Mapping[str, Any], name: str) -> list[str]:
    """The list of texts of this name; ValueError for anything else, or for thousands of them."""
    found = told[name]
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found) or len(found) > _MOST_NAMES:
        raise ValueError(f"its {name} are no list of names")
    return found


def _is(kind: type, value: Any) -> bool:
    """Whether a TOML value is of the kind; a whole number will do for a float."""
    return type(value) is kind or (kind is float and type(value) is int)
