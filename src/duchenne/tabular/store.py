"""Tabular models on disk: descriptor models, scorers on rows of numbers, networks on rows of numbers.

Only networks load torch.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import io
from duchenne.checkpoints import ModelFolder, Store, boosters, parts
from duchenne.checkpoints.parts import ARRAYS, Parts, StoredParts
from duchenne.errors import InputError
from duchenne.io import quoted
from duchenne.learn import recipes
from duchenne.learn.boosting import CANDIDATES, Recipe, Tabular
from duchenne.learn.kernel import Kernel
from duchenne.learn.linear import Linear
from duchenne.learn.rank_svm import RankSVM
from duchenne.tabular.model import DescriptorModel, column_names
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import SCORERS, TableModel
from duchenne.types import LABELS, Array

if TYPE_CHECKING:
    from duchenne.tabular.nets import NetRecipe, TableNet, TableNets

_MOST_BOOSTERS = 100
_LINEAR = ("median", "spread", "weights", "bias")
_KERNEL = tuple(each.name for each in fields(Kernel))
_NOT_FITTED = "This model has not been fitted; call fit first."


def _save_descriptors(model: DescriptorModel, folder: Path) -> tuple[dict[str, Any], list[str]]:
    tabular = model.fitted
    arrays: dict[str, Any] = {
        "envelope": model.envelope,
        "strangeness": model.strangeness,
        **{f"typical_{label}": value for label, value in model.typical.items()},
        **_linear_arrays("linear", tabular.linear),
        **_linear_arrays("emotion", model.emotion),
    }
    arrays = {key: np.asarray(value, np.float32) for key, value in arrays.items() if value is not None}
    if tabular.kernel is not None:
        kinds = {"axes": np.float16, "signs": np.int8}
        of = {name: getattr(tabular.kernel, name) for name in _KERNEL}
        arrays |= {f"kernel_{name}": np.asarray(each, kinds.get(name, np.float32)) for name, each in of.items()}
    with io.atomic(folder / ARRAYS) as path, path.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    files = [ARRAYS, *map(_booster, range(len(tabular.boosters)))]
    for file, booster in zip(files[1:], tabular.boosters, strict=True):
        boosters.write(folder / file, booster)
    about = {
        "family": model.family,
        "fps": model.fps,
        "needs": model.needs,
        "classes": list(LABELS),
        "emotions": list(model.emotion_names),
        "names": list(model.names),
        "margin": model.margin,
        **tabular.settings(),
    }
    return about, files


def _load_descriptors(folder: ModelFolder) -> DescriptorModel:
    about, path = folder.about, folder.path
    arrays = {key: value.astype(float) for key, value in parts.read_arrays(path / ARRAYS).items()}
    recipe = Recipe.of(about["recipe"], "model.json")
    names, emotions = tuple(recipes.names(about, "names")), tuple(recipes.emotions(about, "emotions"))
    family, fps, scale = str(about["family"]), recipes.numbers(about, "fps", "margin"), about["calibration"]
    if names != column_names(family):
        raise ValueError("its descriptors are unknown")
    if list(emotions) != sorted(emotions):
        raise ValueError(f"its emotions are {quoted(emotions)}, expected them in alphabetical order")
    model = DescriptorModel(
        names=names,
        family=family,
        fps=fps["fps"],
        recipe=recipe,
        emotion_names=emotions,
        emotion=_linear(arrays, "emotion"),
        margin=fps["margin"],
        envelope=arrays["envelope"],
        strangeness=arrays["strangeness"],
        typical={label: arrays[f"typical_{label}"] for label in LABELS},
        facts=about["facts"],
    )
    columns = len(model.inputs_names)
    if type(about["boosters"]) is not int or not 0 <= about["boosters"] <= _MOST_BOOSTERS:
        raise ValueError(f"it has {quoted(about['boosters'])} boosters")
    bag = [boosters.read(path / _booster(i), columns) for i in range(about["boosters"])]
    linear, chosen = _linear(arrays, "linear"), about["members"]
    kernel = Kernel(*(arrays[f"kernel_{name}"] for name in _KERNEL)) if "kernel_weights" in arrays else None
    held = (("boosting", bool(bag)), ("linear", linear is not None), ("kernel", kernel is not None))
    if chosen not in CANDIDATES or chosen != "+".join(name for name, is_held in held if is_held):
        raise ValueError(f"a part of {quoted(chosen)} is missing")
    model.tabular = Tabular(
        model.inputs_names, recipe, chosen, bag, linear, kernel, **recipes.numbers(scale, "slope", "intercept")
    )
    _check_shapes(model, columns)
    return model


def _check_shapes(model: DescriptorModel, columns: int) -> None:
    """ValueError where its parts do not match."""
    wide, tabular, emotions = len(model.names), model.fitted, len(model.emotion_names)
    assert model.envelope is not None and model.strangeness is not None
    found: list[tuple[Array, tuple[int, ...]]] = [
        (each, (2, wide)) for each in (model.envelope, *model.typical.values())
    ]
    found += [(model.strangeness, (max(1, model.strangeness.size),))]
    rows = 1 if emotions == 2 else emotions  # two share one row of weights
    for linear, inputs, outputs in ((tabular.linear, columns, 1), (model.emotion, wide, rows)):
        if linear is not None:
            found += [(linear.median, (inputs,)), (linear.spread, (inputs,))]
            found += [(linear.weights, (outputs, inputs)), (linear.bias, (outputs,))]
            if not (linear.spread > 0).all():
                raise ValueError("it has inputs with a spread of 0")
    if tabular.kernel is not None:
        found += tabular.kernel.shapes(columns)
    if not all(array.shape == shape for array, shape in found):
        raise ValueError("its arrays have the wrong shapes")
    ordered = (model.envelope, *model.typical.values(), model.strangeness[:, None])
    if any((np.diff(array, axis=0) < 0).any() for array in ordered) or not _are_shares(model.strangeness):
        raise ValueError("its quantiles are not in order")
    if (emotions > 0) != (model.emotion is not None):
        raise ValueError("a part is missing")


def _are_shares(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _booster(number: int) -> str:
    return f"genuine-{number}{boosters.SUFFIX}"


def _linear_arrays(prefix: str, linear: Linear | None) -> dict[str, Any]:
    return {} if linear is None else {f"{prefix}_{key}": value for key, value in vars(linear).items()}


def _linear(arrays: dict[str, Any], prefix: str) -> Linear | None:
    return Linear(*(arrays[f"{prefix}_{key}"] for key in _LINEAR)) if f"{prefix}_weights" in arrays else None


# --- rows of numbers --------------------------------------------------------------------------------------------------


def _save_table(model: TableModel, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if model.scorer is None:
        raise InputError(_NOT_FITTED)
    held = Parts({**_scale(model), "learner": model.learner}, {"centre": model.centre})
    held.add("scorer", model.scorer)
    if model.ranker is not None and model.ranker.weights is not None:
        held.arrays["rank"] = model.ranker.weights
    return parts.save(model, held, folder)


def _load_table(folder: ModelFolder) -> TableModel:
    found = parts.read(folder)
    columns, learner = found.arrays["centre"].size, found.settings["learner"]
    if learner not in SCORERS:
        raise ValueError(f"there is no learner {quoted(learner)}")
    return TableModel(
        _reader(found),
        learner,
        ranker=RankSVM(weights=found.array("rank", columns)) if "rank" in found.arrays else None,
        scorer=found.scorer("scorer", columns),
        centre=found.array("centre", columns),
        facts=dict(folder.about["facts"]),
        **found.numbers("slope", "intercept", "margin"),
    )


def _scale(model: TableModel | TableNets) -> dict[str, Any]:
    """Settings of both: what is read, and how an answer becomes a probability."""
    scale = {name: vars(model)[name] for name in ("slope", "intercept", "margin")}
    return {"reader": asdict(model.reader), **scale}


def _reader(found: StoredParts) -> Reader:
    return Reader.of(found.settings["reader"], "model.json")


# --- networks on rows of numbers --------------------------------------------------------------------------------------


def _save_nets(model: TableNets, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if not model.networks:
        raise InputError(_NOT_FITTED)
    said = {"recipe": model.recipe.stored(), "emotions": model.emotion_names, "networks": len(model.networks)}
    arrays = {
        f"{i}.{key}": value.detach().numpy()
        for i, network in enumerate(model.networks)
        for key, value in network.state_dict().items()
    }
    arrays |= {"median": model.median, "centre": model.centre, "spread": model.spread}
    return parts.save(model, Parts({**_scale(model), **said}, arrays), folder)


def _load_nets(folder: ModelFolder) -> TableNets:
    from duchenne.tabular.nets import NetRecipe, TableNets

    found = parts.read(folder)
    columns = found.arrays["median"].size
    recipe = NetRecipe.of(found.settings["recipe"], "model.json")
    names = tuple(recipes.emotions(found.settings, "emotions"))
    scale = {name: found.array(name, columns) for name in ("median", "centre", "spread")}
    if not (scale["spread"] > 0).all():
        raise ValueError(f"{ARRAYS} holds inputs with a spread of 0")
    return TableNets(
        _reader(found),
        recipe,
        networks=_networks(found, columns, names, recipe),
        emotion_names=names,
        median=scale["median"],
        centre=scale["centre"],
        spread=scale["spread"],
        facts=dict(folder.about["facts"]),
        **found.numbers("slope", "intercept", "margin"),
    )


def _networks(found: StoredParts, columns: int, names: tuple[str, ...], recipe: NetRecipe) -> list[TableNet]:
    import torch

    from duchenne.tabular.nets import TableNet

    count = found.settings["networks"]
    if type(count) is not int or not 1 <= count <= recipe.n_networks:
        raise ValueError(f"it has {quoted(count)} networks, expected 1 to {recipe.n_networks}")
    with torch.device("meta"):  # shapes alone
        one = {key: tuple(each.shape) for key, each in TableNet(columns, len(names), recipe).state_dict().items()}
    expected = {f"{i}.{key}": shape for i in range(count) for key, shape in one.items()}
    held = {key: each for key, each in found.arrays.items() if key not in ("median", "centre", "spread")}
    if {key: each.shape for key, each in held.items()} != expected or {each.dtype for each in held.values()} != {
        np.dtype(np.float32)
    }:
        raise ValueError(f"{ARRAYS} does not hold the networks that model.json describes")
    networks = []
    for i in range(count):
        network = TableNet(columns, len(names), recipe)
        network.load_state_dict({key: torch.from_numpy(held[f"{i}.{key}"].copy()) for key in one})
        networks.append(network.eval())
    return networks


DESCRIPTORS = Store(_save_descriptors, _load_descriptors, ARRAYS)
TABLE = Store(_save_table, _load_table, ARRAYS)
NETS = Store(_save_nets, _load_nets, ARRAYS)
