"""Published weights to start a network from, read without pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from duchenne import checkpoints
from duchenne.clipnets.backbones import Backbone
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError, UsageError
from duchenne.expression.model import ExpressionModel
from duchenne.types import Json, JsonMap


def published(where: Path | str, recipe: ClipRecipe) -> list[Json]:
    """Weights of backbones by name, one entry for each of the files or models between the commas of `where`: of a
    .safetensors, of a .pth or .pt that holds tensors only, or of an expression model's folder or id.

    UsageError for a network that reads points; InputError for a file that does not exist or holds anything else.
    """
    if recipe.inputs != "crops":
        raise UsageError("There are no published weights for networks that read points; leave --weights out.")
    return [_read(each) for each in str(where).split(",")]


def load_all(network: ClipNet, starts: Sequence[JsonMap]) -> list[str]:
    """Load each of several published weights into the backbones that they fit, and set the mean and spread that these
    expect; return the names that were skipped. InputError for weights that fit none."""
    skipped, n = [], network.config.channels
    for start in starts:
        errors = []
        for i, backbone in enumerate(network.backbones):
            assert isinstance(backbone, Backbone)
            try:
                skipped += load(backbone, start)
            except InputError as error:
                errors.append(error)
                continue
            network.mean[i * n : (i + 1) * n] = 255 * torch.tensor(backbone.mean)
            network.spread[i * n : (i + 1) * n] = 255 * torch.tensor(backbone.spread)
        if len(errors) == len(network.backbones):
            raise errors[0]
    return skipped


def _read(where: str) -> Json:
    path = Path(where)
    if where in checkpoints.shipped() or path.is_dir():
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


def load(net: Backbone, state: JsonMap) -> list[str]:
    """Load published weights; return the names of those that were skipped, the classifier's.

    For a network with other channels the first convolution is adapted so that grey images give the same output: RGB
    weights are summed, grey ones divided over three channels. A prefix "module." of `DataParallel` is dropped, and
    `num_batches_tracked` may be missing, as in older files. InputError, before anything is loaded, when anything else
    is missing, left over or of another shape.
    """
    wrapped = bool(state) and all(name.startswith("module.") for name in state)
    found = {name.removeprefix("module.") if wrapped else name: value for name, value in state.items()}
    expected = net.state_dict()
    skipped = sorted(name for name in found if name not in expected)
    unknown = [name for name in skipped if not name.startswith(net.classifier)]
    missing = [name for name in expected if name not in found and not name.endswith(".num_batches_tracked")]
    kind = type(net).__name__
    if unknown or missing:
        what = f"misses '{missing[0]}'" if missing else f"holds the unknown '{unknown[0]}'"
        count = len(missing or unknown)
        raise InputError(
            f"The file does not hold weights of {kind}: it {what}{f' (and {count - 1} more)' if count > 1 else ''}; "
            f"expected the published names, {', '.join(list(expected)[:2])} and so on."
        )
    ready: dict[str, Tensor] = {}
    for name, own in expected.items():
        if name not in found:
            continue
        value = _with_channels(found[name], own) if isinstance(found[name], Tensor) else found[name]
        if not isinstance(value, Tensor) or value.shape != own.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"The file does not hold weights of {kind}: expected '{name}' as {tuple(own.shape)}, found {shape}; "
                "choose another file."
            )
        ready[name] = value
    net.load_state_dict(ready, strict=False)
    return skipped


def _with_channels(value: Tensor, own: Tensor) -> Tensor:
    """The first convolution's weights for the channels of `own`; others unchanged."""
    if value.ndim < 4 or value.shape[2:] != own.shape[2:]:
        return value
    if (value.shape[1], own.shape[1]) == (3, 1):
        return value.sum(dim=1, keepdim=True)
    if (value.shape[1], own.shape[1]) == (1, 3):
        return value.expand(-1, 3, *value.shape[2:]) / 3
    return value
