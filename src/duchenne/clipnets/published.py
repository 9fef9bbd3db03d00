"""Published weights to start a network from, read without pickle."""

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
    """Weights of a backbone by name: of a .safetensors, of a .pth or .pt that holds tensors only, or of an expression
    model's folder or id.

    UsageError for a network that reads points; InputError for a file that does not exist or holds anything else.
    """
    if recipe.inputs != "crops":
        raise UsageError("There are no published weights for networks that read points; leave --weights out.")
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
            f"{path} cannot be read: expected weights as .safetensors, or a .pth that holds only tensors; convert it."
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{path} does not hold weights by name; expected a state dict.")
    return found
