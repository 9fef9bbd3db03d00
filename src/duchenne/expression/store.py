"""An expression network on disk: `model.json` and `weights.safetensors`. What it says of itself is checked before use.

Filters and matrices are stored in half precision, everything else, which is little, in float32.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duchenne import io
from duchenne.checkpoints import tensors as tensor_file
from duchenne.errors import DuchenneError, ModelError
from duchenne.expression import recipe as expression_recipe
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN, ExpressionConfig

FORMAT = "duchenne-expression"
VERSION = 1
WEIGHTS = tensor_file.NAME
_MOST = 2**28  # bytes of weights: twenty times the paper's


def save(model: ExpressionModel, folder: Path, *, name: str) -> Path:
    """Write a network; the folder is complete only once `model.json`, written last, is there.

    ModelError where a weight is beyond half precision (65,504), which no sound training brings about.
    """
    config = model.network.config
    tensors = {key: _stored(value) for key, value in model.network.state_dict().items()}
    if wrong := [key for key, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ModelError(f"The network's weights {wrong[0]} do not fit into half precision; train it again.")
    digest = tensor_file.write(folder / WEIGHTS, tensors, _made_for(model.recipe, config))
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": name,
        "family": f"expression ({config.kind})",
        "head": config.head,
        "classes": list(config.classes),
        "mean": list(config.mean),
        "spread": list(config.spread),
        "side": config.side,
        "recipe": asdict(model.recipe),
        "facts": model.facts,
        "files": {WEIGHTS: digest},
    }
    io.write_json(folder / "model.json", about)
    return folder


def load(folder: Path, about: dict[str, Any]) -> ExpressionModel:
    """The model of a folder whose `model.json` says `about`; ValueError, in words, where its files do not fit it."""
    try:
        recipe = expression_recipe.recipe(dict(about["recipe"]), "model.json")
        classes, scale = about["classes"], [about["mean"], about["spread"]]
        if not isinstance(classes, list) or not all(isinstance(each, str) for each in classes) or len(classes) > 4096:
            raise ValueError("its classes are no list of names")
        config = recipe.config(classes, *([float(level) for level in levels] for levels in scale))
    except DuchenneError as error:
        raise ValueError(str(error).rstrip(".")) from error
    if about["side"] != config.side or about["head"] != config.head:
        raise ValueError(
            f"it says {about['head']} of faces of {about['side']} pixels, expected {config.head} of {config.side}"
        )
    tensors = _tensors(folder / WEIGHTS, recipe, config)
    network = ExpressionCNN(config)
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    return ExpressionModel(network, recipe, dict(about["facts"]))


def _stored(value: Tensor) -> Tensor:
    kind = torch.float16 if value.ndim > 1 else torch.float32
    return value.detach().cpu().to(kind).contiguous().clone(memory_format=torch.contiguous_format)


def _tensors(path: Path, recipe: expression_recipe.ExpressionRecipe, config: ExpressionConfig) -> dict[str, Tensor]:
    def shapes(_: tensor_file.Shapes) -> tensor_file.Shapes:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in ExpressionCNN(config).state_dict().items()}

    made_for = _made_for(recipe, config)
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or classes")
    kinds = {key: torch.float16 if value.ndim > 1 else torch.float32 for key, value in tensors.items()}
    if not all(value.dtype == kinds[key] and bool(value.isfinite().all()) for key, value in tensors.items()):
        raise ValueError(f"{path.name} holds weights that are no numbers of half precision")
    return tensors


def _made_for(recipe: expression_recipe.ExpressionRecipe, config: ExpressionConfig) -> str:
    """What the weights are of."""
    return json.dumps({"recipe": asdict(recipe), "network": asdict(config)}, sort_keys=True)
