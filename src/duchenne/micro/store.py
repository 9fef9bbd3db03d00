"""A micro-expression model on disk: `model.json`, `weights.safetensors`, and in `expression/` the expression network
through which it sees, a model by itself. What it says of itself is checked before use."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duchenne import checkpoints, io
from duchenne.checkpoints import tensors as tensor_file
from duchenne.errors import DuchenneError, ModelError
from duchenne.expression import store
from duchenne.expression.model import ExpressionModel
from duchenne.micro import recipe as micro_recipe
from duchenne.micro.model import MicroModel
from duchenne.micro.network import MicroConfig, MicroLSTM

FORMAT = "duchenne-micro"
VERSION = 1
WEIGHTS = tensor_file.NAME
MEMBER = "expression"
_MOST = 2**28  # bytes of weights: some hundred times the largest


def save(model: MicroModel, folder: Path, *, name: str) -> Path:
    """Write a model; the folder is complete only once `model.json`, written last, is there.

    ModelError where a weight is no number, which no sound training brings about.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.network.state_dict().items()}
    if wrong := [key for key, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ModelError(f"The network's weights {wrong[0]} are no numbers; train it again.")
    store.save(model.seeing, folder / MEMBER, name=MEMBER)
    config = model.network.config
    digest = tensor_file.write(folder / WEIGHTS, tensors, json.dumps(asdict(config), sort_keys=True))
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": name,
        "family": "micro-expressions (LSTM over expression features)",
        "classes": list(model.classes),
        "inputs": config.inputs,
        "recipe": asdict(model.recipe),
        "members": {MEMBER: checkpoints.digest(folder / MEMBER)},
        "facts": model.facts,
        "files": {WEIGHTS: digest},
    }
    io.write_json(folder / "model.json", about)
    return folder


def load(folder: Path, about: dict[str, Any], seeing: ExpressionModel) -> MicroModel:
    """The model of a folder whose `model.json` says `about`; ValueError, in words, where its files do not fit it."""
    try:
        recipe = micro_recipe.recipe(dict(about["recipe"]), "model.json")
        classes = about["classes"]
        if not isinstance(classes, list) or not all(isinstance(each, str) for each in classes) or len(classes) > 4096:
            raise ValueError("its classes are no list of names")
        if about["inputs"] != seeing.network.width:
            raise ValueError(
                f"it reads {about['inputs']!r} features, but its expression network has {seeing.network.width}"
            )
        config = recipe.config(classes, seeing.network.width)
    except DuchenneError as error:
        raise ValueError(str(error).rstrip(".")) from error
    network = MicroLSTM(config)
    network.load_state_dict(_tensors(folder / WEIGHTS, config))
    return MicroModel(network, seeing, recipe, dict(about["facts"]))


def _tensors(path: Path, config: MicroConfig) -> dict[str, Tensor]:
    def shapes(_: tensor_file.Shapes) -> tensor_file.Shapes:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in MicroLSTM(config).state_dict().items()}

    made_for = json.dumps(asdict(config))
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or classes")
    if not all(value.dtype == torch.float32 and bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"{path.name} holds weights that are no numbers of single precision")
    return tensors
