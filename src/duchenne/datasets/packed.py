"""Labelled faces packed in one .npz: `images` beside `emotion`, or beside `units` and `unit_names`.

images      uint8 (N, 48, 48) grey, or (N, 48, 48, 3) RGB
emotion     text (N,): an emotion each
units       (N, K): 1 present, 0 absent, NaN not coded, or intensities from 0 to 5; unit_names text (K,): AU1, AU12, …
subject     text (N,), where people are known; fold text (N,), where there are folds
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from duchenne.errors import InputError
from duchenne.io import is_missing, read_arrays
from duchenne.types import Array

_TEXTS = ("emotion", "subject", "fold")


def open_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """All arrays of an .npz, or those of `names`; InputError where it cannot be read."""
    try:
        return read_arrays(path, names)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as .npz ({error}); copy it again.") from error


def read(path: Path, *needed: str) -> dict[str, Array]:
    """The arrays above, those that are there; InputError without `needed` and for other shapes, types and gaps."""
    arrays = open_arrays(path)
    if lacking := [name for name in ("images", *needed) if name not in arrays]:
        raise InputError(f"{path} has no array {lacking[0]}; expected {', '.join(('images', *needed))}: pack it again.")
    images = arrays["images"]
    if images.dtype != np.uint8 or images.shape[1:] not in ((48, 48), (48, 48, 3)) or not len(images):
        expected = "uint8 (N, 48, 48), or (N, 48, 48, 3) for RGB"
        raise InputError(f"{path} has images {images.dtype} {images.shape}; expected {expected}: pack it again.")
    for name in (each for each in _TEXTS if each in arrays):
        if arrays[name].shape != images.shape[:1] or arrays[name].dtype.kind != "U":
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise InputError(f"{path} has {name} {found}; expected a text for each of {len(images)} images.")
        if name != "fold" and (empty := [i for i, each in enumerate(arrays[name].tolist()) if is_missing(each)]):
            raise InputError(f"{path}, row {empty[0]} (from 0) has no {name}; fill it in, or leave the row out.")
    if "units" in needed:
        units, names = arrays["units"], arrays["unit_names"]
        if names.ndim != 1 or names.dtype.kind != "U" or units.shape != (len(images), len(names)):
            raise InputError(
                f"{path} has units {units.shape} with {names.shape} names; expected {(len(images), names.size)}: a row "
                "for each image, a column for each name."
            )
        if units.dtype.kind not in "biuf":
            raise InputError(f"{path} has units that are {units.dtype}; expected numbers.")
    return arrays
