"""A clip network on disk: `model.json` and `weights.safetensors`; and published weights of others, read without pickle.

Weights stay float32, so that a saved model answers bit for bit the same. What it says of itself is checked before use.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from duchenne import checkpoints, io
from duchenne.checkpoints import tensors as tensor_file
from duchenne.clipnets import recipe as clip_recipe
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.network import ClipNet
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import DuchenneError, InputError, ModelError, UsageError
from duchenne.learn import recipes

FORMAT = "duchenne-clip"
VERSION = 1
WEIGHTS = tensor_file.NAME
#: What the numbers of a frame are; a model of other points reads nothing here.
LAYOUT = "points40 of dlib68"
_MOST = 2**32  # bytes of weights: a bag of ten of the largest
_LEVELS = ("mean", "spread")


def save(model: ClipModel, folder: Path, *, name: str) -> Path:
    """Write a fitted model; the folder is complete only once `model.json`, written last, is there."""
    if not model.networks:
        raise InputError("This model has not been fitted; call fit first.")
    tensors = {f"{i}.{key}": value for i, net in enumerate(model.networks) for key, value in net.state_dict().items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    if wrong := [key for key, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ModelError(f"The network's weights {wrong[0]} are no numbers; train it again.")
    digest = tensor_file.write(folder / WEIGHTS, tensors, _made_for(model.recipe, model.emotion_names))
    r = model.recipe
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": name,
        "family": f"clip network ({r.kind}, {r.backbone if r.inputs == 'crops' else 'points'})",
        "needs": model.needs,
        "layout": LAYOUT,
        "classes": ["posed", "genuine"],
        "emotions": list(model.emotion_names),
        "networks": len(model.networks),
        "recipe": asdict(r),
        "calibration": {"slope": model.slope, "intercept": model.intercept},
        "margin": model.margin,
        "facts": model.facts,
        "files": {WEIGHTS: digest},
    }
    io.write_json(folder / "model.json", about)
    return folder


def load(folder: Path, about: dict[str, Any]) -> ClipModel:
    """The model of a folder whose `model.json` says `about`; ValueError, in words, where its files do not fit it."""
    try:
        recipe = clip_recipe.recipe(dict(about["recipe"]), "model.json")
        names, count = about["emotions"], about["networks"]
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names) or len(names) > 4096:
            raise ValueError("its emotions are no list of names")
        if type(count) is not int or not 1 <= count <= recipe.bag:
            raise ValueError(f"it tells of {count!r} networks, expected 1 to {recipe.bag}")
        if about["needs"] != recipe.inputs or about["layout"] != LAYOUT:
            raise ValueError(f"it reads {about['needs']} in {about['layout']}, expected {recipe.inputs} in {LAYOUT}")
        config = recipe.config(len(names))
        tensors = _tensors(folder / WEIGHTS, recipe, names, count)
        networks = [ClipNet(config) for _ in range(count)]
    except DuchenneError as error:
        raise ValueError(str(error).rstrip(".")) from error
    for i, network in enumerate(networks):
        mine = {key.split(".", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{i}.")}
        network.load_state_dict(mine)
        network.eval()
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
            one = {key: tuple(each.shape) for key, each in ClipNet(recipe.config(len(names))).state_dict().items()}
        return {f"{i}.{key}": shape for i in range(count) for key, shape in one.items()}

    made_for = _made_for(recipe, names)
    tensors = tensor_file.read(path, made_for, shapes, most=_MOST, of="settings or emotions")
    whole = (torch.float32, torch.int64)  # the latter counts batches
    if not all(value.dtype in whole and bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"{path.name} holds weights that are no numbers of single precision")
    if not all(bool((value > 0).all()) for key, value in tensors.items() if key.endswith(".spread")):
        raise ValueError(f"{path.name} holds inputs without any spread")
    return tensors


def published(where: Path | str, recipe: ClipRecipe) -> dict[str, Any]:
    """Weights to start a trunk from, by name: of a .safetensors, of a .pth or .pt, which torch reads as numbers only,
    or of an expression model's folder or id.

    UsageError for a network that reads points; InputError for a file that is not there or holds anything else.
    """
    if recipe.inputs != "crops":
        raise UsageError("A network that reads points has no published weights to start from; leave them out.")
    path = Path(where)
    if str(where) in checkpoints.shipped() or path.is_dir():
        return dict(checkpoints.load_expression(where)[0].network.state_dict())
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


def _made_for(recipe: ClipRecipe, names: Any) -> str:
    """What the weights are of."""
    return json.dumps({"layout": LAYOUT, "recipe": asdict(recipe), "emotions": list(names)}, sort_keys=True)
