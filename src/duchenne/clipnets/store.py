"""A clip network on disk: `model.json` and `weights.safetensors`.

Weights stay float32, so that a saved model predicts bit for bit the same. Both files are checked before use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from duchenne.checkpoints import ModelFolder, Store
from duchenne.checkpoints import tensors as tensor_file
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import InputError
from duchenne.io import quoted
from duchenne.learn import recipes
from duchenne.types import Json

WEIGHTS = tensor_file.NAME
#: The numbers of a frame; models of other points are refused.
LAYOUT = "points40 of dlib68"
_MOST = 2**32  # bytes of weights: a bag of ten of the largest


def save(model: ClipModel, folder: Path) -> tuple[Json, list[str]]:
    """Write a fitted model's weights: see `checkpoints.Store`."""
    if not model.networks:
        raise InputError("This model has not been fitted; call fit first.")
    tensors = {f"{i}.{key}": value for i, net in enumerate(model.networks) for key, value in net.state_dict().items()}
    tensor_file.write(folder / WEIGHTS, tensors, _made_for(model.recipe, model.emotion_names))
    r = model.recipe
    about = {
        "family": f"clip network ({r.kind}, {r.backbone if r.inputs == 'crops' else 'points'})",
        "needs": model.needs,
        "layout": LAYOUT,
        "classes": ["posed", "genuine"],
        "emotions": list(model.emotion_names),
        "networks": len(model.networks),
        "recipe": r.stored(),
        "calibration": {"slope": model.slope, "intercept": model.intercept},
        "margin": model.margin,
    }
    return about, [WEIGHTS]


def load(folder: ModelFolder) -> ClipModel:
    """The model of a folder; ValueError where its files do not fit its `model.json`."""
    about = folder.about
    recipe = ClipRecipe.of(about["recipe"], "model.json")
    names, count = recipes.emotions(about, "emotions"), about["networks"]
    if type(count) is not int or not 1 <= count <= recipe.n_networks:
        raise ValueError(f"it names {quoted(count)} networks, expected 1 to {recipe.n_networks}")
    if about["needs"] != recipe.inputs or about["layout"] != LAYOUT:
        found = f"{about['needs']} in {quoted(about['layout'])}"
        raise ValueError(f"it reads {found}, expected {recipe.inputs} in {LAYOUT}")
    config = recipe.config(len(names))
    tensors = _tensors(folder.path / WEIGHTS, recipe, names, count)
    networks = [ClipNet(config).eval() for _ in range(count)]
    for i, network in enumerate(networks):
        own = {key.split(".", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{i}.")}
        network.load_state_dict(own)
    return ClipModel(
        recipe,
        networks,
        tuple(names),
        **recipes.numbers(about["calibration"], "slope", "intercept"),
        **recipes.numbers(about, "margin"),
        facts=dict(about["facts"]),
    )


def _tensors(path: Path, recipe: ClipRecipe, names: list[str], count: int) -> dict[str, Tensor]:
    def shapes(_: tensor_file.Shapes) -> tensor_file.Shapes:
        with torch.device("meta"):
            own = {key: tuple(each.shape) for key, each in ClipNet(recipe.config(len(names))).state_dict().items()}
        return {f"{i}.{key}": shape for i in range(count) for key, shape in own.items()}

    made_for = _made_for(recipe, names)
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or emotions")
    known = (torch.float32, torch.int64)  # the latter counts batches
    if not all(value.dtype in known for value in tensors.values()):
        raise ValueError(f"{path.name} holds weights that are not float32")
    if not all(bool((value > 0).all()) for key, value in tensors.items() if key.endswith(".spread")):
        raise ValueError(f"{path.name} holds a spread of the inputs that is not positive")
    return tensors


def _made_for(recipe: ClipRecipe, names: Sequence[str]) -> str:
    """What the weights belong to."""
    return json.dumps({"layout": LAYOUT, "recipe": recipe.stored(), "emotions": list(names)}, sort_keys=True)


STORE = Store(save, load, WEIGHTS)
