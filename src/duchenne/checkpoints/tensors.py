"""Tensors on disk beside a `model.json`: written atomically, and checked before use.

The file repeats the settings they belong to, so that a changed `model.json` is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from duchenne import io
from duchenne.errors import ModelError

NAME = "weights.safetensors"
_MOST_HEADER = 2**22  # bytes: thousands of tensors
_STUMBLES = (ArithmeticError, AttributeError, LookupError, TypeError)
Shapes = Mapping[str, tuple[int, ...]]


def write(path: Path, tensors: Mapping[str, Tensor], made_for: str) -> None:
    """Write tensors with the settings `made_for` (JSON); ModelError where one is not finite."""
    plain = torch.contiguous_format
    tensors = {key: value.detach().cpu().clone(memory_format=plain) for key, value in tensors.items()}
    if wrong := [key for key, value in tensors.items() if not bool(value.isfinite().all())]:
        kind = str(tensors[wrong[0]].dtype).removeprefix("torch.")
        raise ModelError(f"The weights {wrong[0]} of the network are not finite {kind} numbers; train it again.")
    with io.atomic(path) as part:
        # `save_file` would make it unreadable for other users
        part.write_bytes(serialise(tensors, {"made_for": made_for}))


def read(
    path: Path, made_for: str, shapes: Callable[[Shapes], Shapes], *, most: int, of: str = "settings"
) -> dict[str, Tensor]:
    """The tensors of a file, all finite; ValueError, with a phrase, where it is larger than `most` bytes, truncated, of
    other shapes than `shapes` derives from those found, or made for other settings (`of`)."""
    if not path.is_file() or path.stat().st_size > most:
        raise ValueError(f"{path.name} is missing or larger than {most >> 20} MB")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _MOST_HEADER:
            raise ValueError(f"{path.name} is not a safetensors file (header too large)")
    try:
        with safe_open(str(path), framework="pt") as stored:
            stored_for = io.parse_json((stored.metadata() or {}).get("made_for", "null"))
            found = {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
        if wrong := sorted(found.items() ^ shapes(found).items()):
            raise ValueError(f"{path.name} does not hold the network that model.json describes, see {wrong[0][0]}")
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, RuntimeError, *_STUMBLES) as error:
        raise ValueError(f"{path.name} is truncated or not a safetensors file") from error
    if stored_for != json.loads(made_for):
        raise ValueError(f"{path.name} was trained with other {of} than model.json says")
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"{path.name} holds weights that are not finite")
    return tensors
