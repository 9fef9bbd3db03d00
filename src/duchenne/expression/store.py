"""An expression network on disk: `model.json` and `weights.safetensors`, checked before use.

Filters and matrices are stored in half precision, the few other weights in float32.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duchenne.checkpoints import ModelFolder, Store
from duchenne.checkpoints import tensors as tensor_file
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN, ExpressionConfig
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.io import quoted
from duchenne.learn import recipes

WEIGHTS = tensor_file.NAME
_MOST = 2**28  # bytes of weights: twenty times the paper's
#: Settings that came later: left out at their defaults, so that weights from before them open.
_LATER = {"gamma": 0.0, "contrast": 0.0, "equalization": 0.0, "small_images": 0.0, "second_weight": 0.0, "second": ()}


def save(model: ExpressionModel, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Write a network's weights: see `checkpoints.Store`.

    ModelError where a weight is beyond half precision (65,504).
    """
    config = model.network.config
    tensors = {key: value.to(_precision(value)) for key, value in model.network.state_dict().items()}
    tensor_file.write(folder / WEIGHTS, tensors, _made_for(model.recipe, config))
    about = {
        "family": f"expression ({config.kind})",
        "head": config.head,
        "classes": list(config.classes),
        **({"second": list(config.second)} if config.second else {}),
        "mean": list(config.mean),
        "spread": list(config.spread),
        "side": config.side,
        "recipe": model.recipe.stored(),
    }
    return about, [WEIGHTS]


def load(folder: ModelFolder) -> ExpressionModel:
    """The model of a folder; ValueError where its files do not match its `model.json`."""
    about = folder.about
    recipe = ExpressionRecipe.of(about["recipe"], "model.json")
    classes, scale = recipes.names(about, "classes"), [_levels(about, name) for name in ("mean", "spread")]
    second = recipes.names(about, "second") if "second" in about else ()
    config = recipe.config(classes, scale[0], scale[1], second)
    if about["side"] != config.side or about["head"] != config.head:
        raise ValueError(
            f"expected the head {config.head} and faces of {config.side} pixels, found {quoted(about['head'])}, "
            f"{quoted(about['side'])}"
        )
    tensors = _tensors(folder.path / WEIGHTS, recipe, config)
    network = ExpressionCNN(config)
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    return ExpressionModel(network, recipe, dict(about["facts"]))


def _levels(about: dict[str, Any], name: str) -> list[float]:
    """Grey levels of each channel."""
    found = about[name]
    if not isinstance(found, list) or not all(type(each) in (int, float) and 0 <= each <= 1e3 for each in found):
        raise ValueError(f"{name} is {quoted(found)}, expected grey levels")
    return [float(each) for each in found]


def _precision(value: Tensor) -> torch.dtype:
    return torch.float16 if value.ndim > 1 else torch.float32


def _tensors(path: Path, recipe: ExpressionRecipe, config: ExpressionConfig) -> dict[str, Tensor]:
    def shapes(_: tensor_file.Shapes) -> tensor_file.Shapes:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in ExpressionCNN(config).state_dict().items()}

    made_for = _made_for(recipe, config)
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or classes")
    if not all(value.dtype == _precision(value) for value in tensors.values()):
        raise ValueError(f"{path.name} has weights that are not in half precision")
    return tensors


def _made_for(recipe: ExpressionRecipe, config: ExpressionConfig) -> str:
    """The network that the weights belong to."""
    parts = {"recipe": recipe.stored(), "network": asdict(config)}
    known = {
        name: {key: value for key, value in part.items() if key not in _LATER or value != _LATER[key]}
        for name, part in parts.items()
    }
    return json.dumps(known, sort_keys=True)


STORE = Store(save, load, WEIGHTS)
