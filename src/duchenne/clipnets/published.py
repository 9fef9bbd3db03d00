"""Published weights of others, to start a network from: read without pickle."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from duchenne import checkpoints
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError, UsageError
from duchenne.expression.model import ExpressionModel
from duchenne.types import Json


def published(where: Path | str, recipe: ClipRecipe) -> Json:
    """Weights to start a trunk from, by name: of a .safetensors, of a .pth or .pt, which torch reads as numbers only,
    or of an expression model's folder or id.

    UsageError for a network that reads points; InputError for a file that is not there or holds anything else.
    """
    if recipe.inputs != "crops":
        raise UsageError("A network that reads points has no published weights to start from; leave them out.")
    path = Path(where)
    if str(where) in checkpoints.shipped() or path.is_dir():
        return dict(checkpoints.load_as(where, ExpressionModel)[0].network.state_dict())
    if not path.is_file():
        raise InputError(f"There are no weights {path}; expected a .safetensors or .pth file, or an expression model.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(str(path)))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be read as weights: expected a .safetensors file, or a .pth that holds nothing but tensors."
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{path} holds no weights by name; expected a state dict.")
    return found
