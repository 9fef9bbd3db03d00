"""Recipes as validated dataclasses, filled from TOML or `model.json`: invalid values, unknown keys and settings that
nothing reads are errors. The fields and their limits are in the recipe module of each system.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Self

from duchenne import io
from duchenne.errors import UsageError, meant
from duchenne.io import quoted, shown
from duchenne.types import ALL_EMOTIONS

_MOST_NAMES, _LARGEST = 4096, 1e15
#: What the fitted numbers of a model may be: beyond any that training yields, and never so large that a probability is
#: not a number.
_RANGES = {
    "margin": (0.0, 0.5),
    "slope": (-1e6, 1e6),
    "intercept": (-1e4, 1e4),
    "fps": (1.0, 1000.0),
    "sharpness": (0.0, 1e4),
    **dict.fromkeys(("descriptors", "pb", "appearance", "bias"), (-1e3, 1e3)),
}


class Above(float):
    """The numbers greater than this one, as a condition of `setting`."""

    def __contains__(self, value: float) -> bool:
        return value > self


def setting(
    default: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    choices: Container[Any] = (),
    lengths: tuple[int, ...] = (),
    each: type = float,
    when: Mapping[str, tuple[Any, ...] | Above] | None = None,
    was: str = "",
    required: bool = False,
) -> Any:
    """A dataclass field of `Settings`.

    least, most, choices  allowed values, of each item of a list; upper limits only guard against mistakes
    lengths, each         of a list: allowed lengths (else that of the default), and the type of its items
    when                  other settings → their values with which this one is read; None: always
    was                   an earlier name, refused with a hint
    required              whether a file must give it
    """
    limits = {"least": least, "most": most, "choices": choices, "lengths": lengths, "each": each, "when": when or {}}
    return field(default=default, metadata={**limits, "was": was, "required": required})


@dataclass(frozen=True)
class Settings:
    """A dataclass with typed and checked fields, 1 for 1.0 too: UsageError names the first invalid one."""

    def __post_init__(self) -> None:
        for each in fields(self):  # all typed before any is compared with another
            object.__setattr__(self, each.name, _typed(each, getattr(self, each.name)))
        for each in fields(self):
            self._check(each)

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Self:
        """From a mapping, others at their defaults.

        UsageError, beginning with `where`, for unknown keys, invalid types and values, and settings that nothing reads.
        """
        known = {each.name: each for each in fields(cls)}
        renamed = {each.metadata.get("was"): each.name for each in fields(cls)}
        for key in given:
            if key in renamed:
                raise UsageError(f"{where}: {key} is now {renamed[key]}; rename it.")
            if key not in known:
                raise UsageError(
                    f"{where} has the unknown key '{shown(key)}'{meant(key, known)}; known are: {', '.join(known)}."
                )
        for name, each in known.items():
            if each.metadata.get("required") and name not in given:
                raise UsageError(f"{where} lacks {name}; add it.")
        try:
            found = cls(**given)
            for name in given:
                found._check_read(name)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
        return found

    def reads(self, name: str) -> bool:
        """Whether a setting is read, given the others."""
        return self._unmet(name) is None

    def stored(self) -> dict[str, Any]:
        """The settings that are read, for `of`."""
        return {each.name: getattr(self, each.name) for each in fields(self) if self.reads(each.name)}

    def _unmet(self, name: str) -> tuple[str, tuple[Any, ...] | Above] | None:
        """The setting that keeps this one from being read, and the values it would need."""
        for other, values in self.__dataclass_fields__[name].metadata.get("when", {}).items():
            if (unmet := self._unmet(other)) is not None:
                return unmet
            if getattr(self, other) not in values:
                return other, values
        return None

    def _check_read(self, name: str) -> None:
        if (unmet := self._unmet(name)) is not None:
            other, values = unmet
            known = f"above {values:g}" if isinstance(values, Above) else " or ".join(map(json.dumps, values))
            found = json.dumps(getattr(self, other))
            raise UsageError(f"{name} is read only where {other} is {known}, found {found}; leave {name} out.")

    def _check(self, each: Field[Any]) -> None:
        value, limits = getattr(self, each.name), each.metadata
        values, choices = value if isinstance(value, tuple) else (value,), limits.get("choices")
        if value != each.default:
            self._check_read(each.name)
        if choices and not all(one in choices for one in values):
            raise UsageError(f"{each.name} must be one of {', '.join(map(str, choices))}, found {quoted(value)}.")
        least, most = limits.get("least", -math.inf), limits.get("most", math.inf)
        if (least, most) != (-math.inf, math.inf) and not all(least <= one <= most for one in values):
            raise UsageError(f"{each.name} must lie between {least:g} and {most:g}, found {quoted(value)}.")


@dataclass(frozen=True)
class Recipe(Settings):
    """Settings of a training in TOML; those in `folder` of the package's recipes are known by name."""

    folder: ClassVar[str] = ""

    @classmethod
    def shipped(cls) -> dict[str, Path]:
        """Recipes in the package: name → TOML."""
        root = Path(str(files("duchenne"))) / "recipes" / cls.folder
        return {path.stem: path for path in sorted(root.glob("*.toml"))}

    @classmethod
    def read(cls, name: Self | str | Path, **changes: Any) -> Self:
        """A shipped recipe by name, a TOML file's, or one itself; `changes` replace settings (None: as in the recipe).

        UsageError for an unknown name and as of `of`; InputError where a file is missing or not TOML.
        """
        changes = {key: value for key, value in changes.items() if value is not None}
        if not isinstance(name, str | Path):
            return replace(name, **changes)
        known = cls.shipped()
        path = known.get(str(name), Path(name))
        missing = f"There is no recipe '{name}'{meant(name, known)}; choose one of {', '.join(known)}, or a TOML."
        if path.name == str(name) and not path.suffix and not path.exists():
            raise UsageError(missing)
        found = io.read_toml(path, missing)
        also = "".join(f", {key} = {quoted(value)}" for key, value in changes.items() if found.get(key) != value)
        return cls.of({**found, **changes}, f"{path}{also}")

    def lasting(self) -> dict[str, Any]:
        """The settings that must not change when a training resumes: all but its length."""
        free = ("epochs", "early_stopping_patience")
        return {name: value for name, value in self.stored().items() if name not in free}


def numbers(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The numbers, as float, of these names; KeyError for a missing one, ValueError for others and out of range."""
    for name in names:
        low, high = _RANGES[name]
        if type(given[name]) not in (int, float) or not low <= given[name] <= high:
            raise ValueError(f"{name} is {quoted(given[name])}, expected a number from {low:g} to {high:g}")
    return {name: float(given[name]) for name in names}


def names(given: Mapping[str, Any], name: str, *, distinct: bool = True) -> list[str]:
    """The list of texts of this name; ValueError for others, for thousands, and where two are equal."""
    found = given[name]
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found) or len(found) > _MOST_NAMES:
        raise ValueError(f"{name} is not a list of names")
    if distinct and len(set(found)) < len(found):
        raise ValueError(f"{name} holds a name twice")
    return found


def emotions(given: Mapping[str, Any], name: str) -> list[str]:
    """As `names`, of emotions."""
    found = names(given, name)
    if unknown := sorted(set(found) - set(ALL_EMOTIONS)):
        raise ValueError(f"{name} holds {quoted(unknown[0])}, which is not an emotion")
    return found


def _typed(each: Field[Any], value: Any) -> Any:
    """A TOML value as the field has it; UsageError for another type."""
    default: Any = each.default
    limits = each.metadata
    if not isinstance(default, tuple):
        if not _is(type(default), value):
            raise UsageError(f"{each.name} must be {type(default).__name__}, found {quoted(value)}.")
        return type(default)(value)
    lengths, kind = limits.get("lengths") or (len(default),), limits.get("each", float)
    if isinstance(value, list | tuple) and len(value) in lengths and all(_is(kind, one) for one in value):
        return tuple(map(kind, value))
    of = "texts" if kind is str else "numbers"
    raise UsageError(f"{each.name} must be a list of {lengths[-1]} {of}, found {quoted(value)}.")


def _is(kind: type, value: Any) -> bool:
    """Whether a TOML value is of the kind; int is accepted for float, but none that a float cannot hold."""
    if type(value) is int and abs(value) > _LARGEST:
        return False
    return type(value) is kind or (kind is float and type(value) is int)
