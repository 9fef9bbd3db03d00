"""A model of action units on disk: `model.json` and `arrays.npz`, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io
from duchenne.checkpoints import ModelFolder, Store, parts
from duchenne.checkpoints.parts import ARRAYS
from duchenne.io import quoted
from duchenne.learn import recipes
from duchenne.learn.linear import Linear
from duchenne.types import COEFFICIENTS, Array
from duchenne.units import features
from duchenne.units.model import UnitsModel

_PARTS = ("median", "spread", "weights", "bias")
_MOST = 100  # units


def save(model: UnitsModel, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Write the arrays: see `checkpoints.Store`."""
    arrays = {f"{part}_{name}": getattr(getattr(model, part), name) for part in ("shape", "look") for name in _PARTS}
    stored = {name: np.asarray(value, np.float32) for name, value in (arrays | {"rest": model.rest}).items()}
    with io.atomic(folder / ARRAYS) as path, path.open("wb") as handle:
        np.savez_compressed(handle, **stored)  # type: ignore[arg-type]
    return {"family": "action units", "classes": list(model.names)}, [ARRAYS]


def load(folder: ModelFolder) -> UnitsModel:
    """The model of a folder; ValueError where its files do not match its `model.json`."""
    names = tuple(recipes.names(folder.about, "classes"))
    if not 0 < len(names) <= _MOST:
        raise ValueError(f"it has {len(names)} units, expected 1 to {_MOST}")
    arrays = {key: value.astype(float) for key, value in parts.read_arrays(folder.path / ARRAYS).items()}
    shape, look = (_linear(arrays, part, width, len(names)) for part, width in _widths().items())
    if arrays["rest"].shape != (len(names),):
        raise ValueError(f"it has {quoted(arrays['rest'].shape)} levels at rest, expected {len(names)}")
    return UnitsModel(names, shape, look, arrays["rest"], dict(folder.about["facts"]))


def _widths() -> dict[str, int]:
    """How many numbers each part reads."""
    shape = features.shape(np.zeros((1, 68, 2)), np.zeros((1, len(COEFFICIENTS))))
    return {"shape": shape.shape[1], "look": features.look(np.zeros((1, 48, 48), np.uint8)).shape[1]}


def _linear(arrays: dict[str, Array], part: str, width: int, units: int) -> Linear:
    found = Linear(*(arrays[f"{part}_{name}"] for name in _PARTS))
    shapes = [(width,), (width,), (units, width), (units,)]
    if [getattr(found, name).shape for name in _PARTS] != shapes:
        raise ValueError(f"its arrays of {part} have the wrong shapes")
    found.check(width)
    return found


STORE = Store(save, load, ARRAYS)
