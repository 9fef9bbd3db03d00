"""Methods on disk: settings in `model.json`, `arrays.npz`, boosters. A saved method predicts bit for bit the same.

The settings are repeated inside the arrays, and checked before use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io
from duchenne.checkpoints import boosters
from duchenne.checkpoints.audit import ModelFolder
from duchenne.checkpoints.folder import save_members
from duchenne.errors import ModelError
from duchenne.learn.recipes import numbers
from duchenne.learn.scorers import KINDS, Boosted
from duchenne.types import Array, Classifier

ARRAYS = "arrays.npz"
_MOST = 2**30  # bytes of arrays unpacked: hundreds of times the largest
_MOST_MEMBERS = 64
_LARGEST = 1e15  # of a number in an array: sums of products of such numbers stay finite


@dataclass
class Parts:
    """What a method consists of: JSON settings, arrays and boosters by name."""

    settings: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)
    boosters: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, scorer: Any) -> None:
        """Add one of `scorers.KINDS` under this name."""
        held = dict(vars(scorer))
        if "booster" in held:
            self.boosters[name + boosters.SUFFIX] = held.pop("booster")
        self.arrays |= {f"{name}.{key}": value for key, value in held.items() if isinstance(value, np.ndarray)}
        kind = next(kind for kind, each in KINDS.items() if each is type(scorer))
        rest = {key: value for key, value in held.items() if not isinstance(value, np.ndarray)}
        self.settings[name] = {"kind": kind, **rest}


def save(
    model: Classifier, parts: Parts, folder: Path, *, members: Mapping[str, Classifier] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Write the parts of a method, and its members; returns as `Store.save`."""
    hashes = save_members(members or {}, folder)
    settings = io.plain({"kind": model.format.partition("/")[2], **parts.settings})
    if wrong := [key for key, value in parts.arrays.items() if not np.isfinite(value).all()]:
        raise ModelError(f"The numbers {wrong[0]} of this method are not finite; train it again.")
    stamp = np.frombuffer(made_for(settings, hashes).encode(), np.uint8)
    with io.atomic(folder / ARRAYS) as path, path.open("wb") as handle:
        np.savez_compressed(handle, made_for=stamp, **parts.arrays)  # type: ignore[arg-type]
    for file, booster in parts.boosters.items():
        boosters.write(folder / file, booster)
    about = {
        "family": f"method {model.facts.get('method', settings['kind'])}",
        "needs": model.needs,
        "classes": ["posed", "genuine"],
        "settings": settings,
        "members": hashes,
    }
    return about, [ARRAYS, *parts.boosters]


def made_for(settings: Any, members: Any) -> str:
    """Stamp inside the file of arrays, so that a changed `model.json` is noticed."""
    return json.dumps({"settings": settings, "members": members}, sort_keys=True)


@dataclass(frozen=True)
class StoredParts:
    """Settings, arrays and boosters of a saved method."""

    path: Path
    settings: dict[str, Any]
    arrays: dict[str, Array]

    def numbers(self, *names: str) -> dict[str, Any]:
        """Finite numbers among the settings."""
        return numbers(self.settings, *names)

    def array(self, name: str, *shape: int) -> Array:
        """float64 of this shape."""
        found = self.arrays[name]
        if found.shape != shape or found.dtype != np.float64:
            raise ValueError(f"its array {name} is {found.dtype} {found.shape}, expected float64 {shape}")
        return found

    def scorer(self, name: str, columns: int, shape: tuple[int, ...] = ()) -> Any:
        """One of `scorers.KINDS` that reads `columns` and returns this shape per row."""
        settings = dict(self.settings[name])
        made_by = KINDS[settings.pop("kind")]
        held: dict[str, Any] = {
            key.removeprefix(f"{name}."): each for key, each in self.arrays.items() if key.startswith(f"{name}.")
        }
        if made_by is Boosted:
            held["booster"] = boosters.read(self.path / f"{name}{boosters.SUFFIX}", columns)
        if set(held) | set(settings) != {each.name for each in fields(made_by)}:
            raise ValueError(f"{name} is incomplete")
        part = made_by(**held, **settings)
        part.check(columns)
        with np.errstate(all="ignore"):
            answer = part(np.zeros((1, columns)))
        if answer.shape != (1, *shape) or not np.isfinite(answer).all():
            raise ValueError(f"{name} does not return finite values of the expected shape")
        return part


def read(folder: ModelFolder) -> StoredParts:
    """The parts of a method's folder; ValueError, with a phrase, where they do not match its `model.json`."""
    settings, members = folder.about["settings"], folder.about["members"]
    if len(members) > _MOST_MEMBERS or set(members) != {f"member-{i}" for i in range(len(members))}:
        raise ValueError("its members are not those of a method")
    try:
        arrays = read_arrays(folder.path / ARRAYS)
        found = io.parse_json(arrays.pop("made_for").tobytes())
    except ValueError as error:
        raise ValueError(f"{ARRAYS} is not a readable archive of arrays ({error})") from error
    if found != json.loads(made_for(settings, members)):
        raise ValueError(f"{ARRAYS} was saved with other settings than model.json says")
    return StoredParts(folder.path, settings, arrays)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a model by name; ValueError where one holds anything but finite numbers of sensible size."""
    arrays = io.read_arrays(path, most=_MOST)
    for name, value in arrays.items():
        if value.dtype.kind not in "fiu" or not bool((np.abs(value.astype(float)) <= _LARGEST).all()):  # nor is NaN
            raise ValueError(f"its array {name} holds values that are not numbers up to {_LARGEST:g}")
    return arrays
