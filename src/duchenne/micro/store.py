"""A micro-expression model on disk: `model.json`, `weights.safetensors`, and in `expression/` the model of its
expression network; checked before use."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duchenne import checkpoints
from duchenne.checkpoints import ModelFolder, Store
from duchenne.checkpoints import tensors as tensor_file
from duchenne.expression.model import ExpressionModel
from duchenne.learn import recipes
from duchenne.micro.model import MicroModel
from duchenne.micro.network import MicroConfig, MicroLSTM
from duchenne.micro.recipe import MicroRecipe

WEIGHTS = tensor_file.NAME
MEMBER = "expression"
_MOST = 2**28  # bytes of weights: some hundred times the largest


def save(model: MicroModel, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Write a model's weights and its expression network: see `checkpoints.Store`."""
    config = model.network.config
    tensor_file.write(folder / WEIGHTS, model.network.state_dict(), json.dumps(asdict(config), sort_keys=True))
    about = {
        "family": "micro-expressions (LSTM over expression features)",
        "classes": list(model.classes),
        "inputs": config.inputs,
        "recipe": model.recipe.stored(),
        "members": checkpoints.save_members({MEMBER: model.expression}, folder),
    }
    return about, [WEIGHTS]


def load(folder: ModelFolder) -> MicroModel:
    """The model of a folder; ValueError where its files do not match its `model.json`."""
    about = folder.about
    if set(about["members"]) != {MEMBER}:
        raise ValueError("it has another member than an expression network")
    expression = checkpoints.load_as(folder.members[MEMBER], ExpressionModel)[0]
    recipe = MicroRecipe.of(about["recipe"], "model.json")
    if about["inputs"] != expression.network.width:
        raise ValueError(
            f"it reads {about['inputs']!r} features, but its expression network has {expression.network.width}"
        )
    config = recipe.config(recipes.names(about, "classes"), expression.network.width)
    network = MicroLSTM(config)
    network.load_state_dict(_tensors(folder.path / WEIGHTS, config))
    return MicroModel(network, expression, recipe, dict(about["facts"]))


def _tensors(path: Path, config: MicroConfig) -> dict[str, Tensor]:
    def shapes(_: tensor_file.Shapes) -> tensor_file.Shapes:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in MicroLSTM(config).state_dict().items()}

    made_for = json.dumps(asdict(config))
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or classes")
    if not all(value.dtype == torch.float32 for value in tensors.values()):
        raise ValueError(f"{path.name} has weights that are not in single precision")
    return tensors


STORE = Store(save, load, WEIGHTS)
