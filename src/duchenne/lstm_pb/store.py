"""LSTM-PB on disk: `model.json`, `weights.safetensors` and boosters, checked before use.

Weights stay float32, so that a saved model predicts bit for bit the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from duchenne.checkpoints import ModelFolder, Store, boosters
from duchenne.checkpoints import tensors as tensor_file
from duchenne.errors import InputError
from duchenne.io import quoted
from duchenne.learn import recipes
from duchenne.learn.linear import Linear
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.network import LSTMPB
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.lstm_pb.scorer import NetworkHead, Scorer
from duchenne.lstm_pb.solved_network import SolvedBag, SolvedPB
from duchenne.types import Json

#: The 80 numbers of a frame (`features.sequences`); models of other points are refused.
LAYOUT = "points40 of dlib68"
WEIGHTS = tensor_file.NAME
_MOST = 2**30  # bytes of weights: eight times the paper's six networks of 512
_MOST_NAMES = 100
_LATER = (
    *("grid_layer", "context", "summed", "pb_per_class", "recognition", "max_depth", "tree_learning_rate"),
    *("reg_lambda", "trimmed_boxes"),
)
_LINEAR = ("median", "spread", "weights", "bias")


def save(model: PBModel, folder: Path) -> tuple[Json, list[str]]:
    """Write a fitted model's weights and boosters: see `checkpoints.Store`."""
    if not model.networks:
        raise InputError("This model has not been fitted; call fit first.")
    tensors: dict[str, Tensor] = {}
    files = [WEIGHTS]
    for i, (network, scorer) in enumerate((network, model.scorers[network]) for network in model.networks):
        tensors |= {f"{i}.network.{key}": value for key, value in model.networks[network].state_dict().items()}
        tensors |= {f"{i}.class_pb": model.class_pb[network], f"{i}.typical": model.typical[network]}
        if isinstance(scorer.linear, Linear):  # a `NetworkHead` is part of its network
            tensors |= {f"{i}.linear.{key}": torch.from_numpy(getattr(scorer.linear, key)) for key in _LINEAR}
        if scorer.booster is not None:
            files.append(f"scorer-{i}{boosters.SUFFIX}")
            boosters.write(folder / files[-1], scorer.booster)
    tensors = {key: value.to("cpu", torch.float32) for key, value in tensors.items()}
    tensor_file.write(folder / WEIGHTS, tensors, _made_for(model.recipe))
    about = {
        "family": f"lstm-pb ({model.recipe.reading})",
        "fps": model.recipe.fps,
        "layout": LAYOUT,
        "needs": model.needs,
        "classes": ["posed", "genuine"],
        "emotions": list(model.networks),
        "recipe": model.recipe.stored(),
        "calibration": {"slope": model.slope, "intercept": model.intercept},
        "margin": model.margin,
    }
    return about, files


def load(folder: ModelFolder) -> PBModel:
    """The model of a folder; ValueError where its files do not fit its `model.json`."""
    about = folder.about
    recipe = PBRecipe.of(about["recipe"], "model.json")
    names = recipes.emotions(about, "emotions") if recipe.per_emotion else recipes.names(about, "emotions")
    if about["fps"] != recipe.fps or about["layout"] != LAYOUT:
        raise ValueError(
            f"it reads {quoted(about['layout'])} at {quoted(about['fps'])} frames/s, expected {LAYOUT} at "
            f"{recipe.fps:g} frames/s"
        )
    if not 0 < len(names) <= _MOST_NAMES or (not recipe.per_emotion and names != [""]):
        raise ValueError(f"its networks are named {quoted(names)}")
    tensors = _tensors(folder.path / WEIGHTS, recipe, len(names))
    scale = recipes.numbers(about["calibration"], "slope", "intercept") | recipes.numbers(about, "margin")
    model = PBModel(recipe, **scale, facts=dict(about["facts"]))
    for i, name in enumerate(names):
        own = _below(f"{i}.", tensors)
        network = _network(recipe, _members(own))
        network.load_state_dict(_below("network.", own))
        model.networks[name] = network.eval()
        model.class_pb[name], model.typical[name] = own["class_pb"], own["typical"]
        if isinstance(network, SolvedBag):
            model.scorers[name] = Scorer(NetworkHead(*network.weights))
        else:
            model.scorers[name] = _scorer(folder.path / f"scorer-{i}{boosters.SUFFIX}", recipe, own)
    return model


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _network(recipe: PBRecipe, members: int) -> LSTMPB | SolvedBag:
    if recipe.reading == "solved":
        return SolvedBag([SolvedPB(recipe.solved_config) for _ in range(members)])
    return LSTMPB(recipe.config)


def _members(names: Iterable[str]) -> int:
    """How many networks of a bag the tensors belong to: few people make fewer than `n_networks`."""
    return len({name.split(".")[2] for name in names if name.startswith("network.members.")})


def _scorer(path: Path, recipe: PBRecipe, tensors: dict[str, Tensor]) -> Scorer:
    if recipe.classifier == "logistic":
        return Scorer(Linear(*(tensors[f"linear.{key}"].double().numpy() for key in _LINEAR)))
    if recipe.classifier == "nearest":
        return Scorer(NetworkHead.nearest(tensors["typical"].double().numpy()))
    return Scorer(booster=boosters.read(path, recipe.pb_size))


def _shapes(recipe: PBRecipe, members: list[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a model of this recipe, without making them; `members` per network."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, number in enumerate(members):
        with torch.device("meta"):
            network = _network(recipe, number).state_dict()
        own = {f"network.{key}": tuple(value.shape) for key, value in network.items()}
        own |= {"class_pb": (2 if recipe.by_class else 0, recipe.pb_size)}
        own |= {"typical": (2, recipe.pb_size * max(number, 1))}
        if recipe.reading != "solved" and recipe.classifier == "logistic":
            own |= {"linear.median": (recipe.pb_size,), "linear.spread": (recipe.pb_size,)}
            own |= {"linear.weights": (1, recipe.pb_size), "linear.bias": (1,)}
        shapes |= {f"{i}.{key}": shape for key, shape in own.items()}
    return shapes


def _tensors(path: Path, recipe: PBRecipe, networks: int) -> dict[str, Tensor]:
    def shapes(found: tensor_file.Shapes) -> tensor_file.Shapes:
        members = [_members(k.removeprefix(f"{i}.") for k in found if k.startswith(f"{i}.")) for i in range(networks)]
        if recipe.reading == "solved" and not all(0 < number <= recipe.n_networks for number in members):
            raise ValueError(f"{path.name} holds {members} networks, expected 1 to {recipe.n_networks} of each")
        return _shapes(recipe, members)

    tensors = tensor_file.read(path, _made_for(recipe), shapes, most=_MOST)
    if not all(value.dtype == torch.float32 for value in tensors.values()):
        raise ValueError(f"{path.name} holds weights that are not float32")
    return tensors


def _made_for(recipe: PBRecipe) -> str:
    """What the weights belong to; without settings at their default that older models did not have."""
    default = {each.name: each.default for each in fields(recipe) if each.name in _LATER}
    stored = {name: value for name, value in recipe.stored().items() if default.get(name, ...) != value}
    return json.dumps({"layout": LAYOUT, **stored}, sort_keys=True)


STORE = Store(save, load, WEIGHTS)
