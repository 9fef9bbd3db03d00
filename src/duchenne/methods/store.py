"""Hybrids, their pairs, two-stage models and stacks on disk; their members are models in folders of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints
from duchenne.checkpoints import ModelFolder, Store, parts
from duchenne.checkpoints.parts import ARRAYS, Parts, StoredParts
from duchenne.errors import InputError
from duchenne.io import quoted
from duchenne.learn import recipes
from duchenne.methods.cuts import Cuts
from duchenne.methods.hybrid import Hybrid, Mix
from duchenne.methods.names import AsIs
from duchenne.methods.redundant import MOST, Redundant
from duchenne.methods.stack import Stack, refuse_refit
from duchenne.methods.two_stage import Stages, TwoStage
from duchenne.tabular.model import DescriptorModel
from duchenne.types import LABELS, Classifier

#: The second member of a hybrid, by its name, and under which the weight of its log-odds is stored.
OTHERS = {"lstm-pb": "pb", "appearance": "appearance"}
#: The members of a model for whole and cut clips.
_CUTS: dict[str, type[Any]] = {"whole": Hybrid, "late": Hybrid, "detector": DescriptorModel}
_NOT_FITTED = "This model has not been fitted; call fit first."


def _save_hybrid(model: Hybrid, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if model.mix is None:
        raise InputError(_NOT_FITTED)
    other = "appearance" if isinstance(model.other, DescriptorModel) else "lstm-pb"
    mix = asdict(model.mix)
    about = {
        "family": f"descriptors + {other}",
        "needs": model.needs,
        "classes": list(LABELS),
        "mix": {OTHERS[other] if name == "other" else name: value for name, value in mix.items()},
        "members": checkpoints.save_members({"descriptors": model.descriptors, other: model.other}, folder),
    }
    return about, []


def _load_hybrid(folder: ModelFolder) -> Hybrid:
    about = folder.about
    other = next((name for name in OTHERS if set(about["members"]) == {"descriptors", name}), None)
    if other is None:
        raise ValueError(f"its members are not descriptors and one of {', '.join(OTHERS)}")
    weights = recipes.numbers(about["mix"], "descriptors", OTHERS[other], "bias", "margin")
    mix = Mix(other=weights.pop(OTHERS[other]), **weights)
    descriptors = checkpoints.load_as(folder.members["descriptors"], DescriptorModel)[0]
    return Hybrid(descriptors, _other(folder, other), mix, facts=about["facts"])


def _other(folder: ModelFolder, name: str) -> Classifier:
    if name == "appearance":
        return checkpoints.load_as(folder.members[name], DescriptorModel)[0]
    from duchenne.lstm_pb.model import PBModel

    return checkpoints.load_as(folder.members[name], PBModel)[0]


def _save_cuts(model: Cuts, folder: Path) -> tuple[dict[str, Any], list[str]]:
    about = {
        "family": "hybrids of whole and of cut clips",
        "needs": model.needs,
        "classes": list(LABELS),
        "margin": model.margin,
        "members": checkpoints.save_members({name: getattr(model, name) for name in _CUTS}, folder),
    }
    return about, []


def _load_cuts(folder: ModelFolder) -> Cuts:
    about = folder.about
    if set(about["members"]) != set(_CUTS):
        raise ValueError(f"its members are not {', '.join(_CUTS)}")
    members = {name: checkpoints.load_as(folder.members[name], kind)[0] for name, kind in _CUTS.items()}
    return Cuts(**members, facts=about["facts"], **recipes.numbers(about, "margin"))


def _members(models: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """(folder name → model, the name of each model); a model used twice is saved once."""
    models = [model.model if isinstance(model, AsIs) else model for model in models]
    names = {id(model): f"member-{i}" for i, model in enumerate({id(each): each for each in models}.values())}
    return {names[id(model)]: model for model in models}, [names[id(model)] for model in models]


def _save_two_stage(model: TwoStage, folder: Path) -> tuple[dict[str, Any], list[str]]:
    both = model.stages
    if both is None:
        raise InputError(_NOT_FITTED)
    members, asked = _members(list(both.classifiers.values()))
    scale = {name: vars(model)[name] for name in ("slope", "intercept", "margin")}
    settings = {"first": model.first, "how": model.how, "names": both.names, "columns": both.columns, **scale}
    judges = dict(zip(both.classifiers, asked, strict=True))
    held = Parts({**settings, "sharpness": both.sharpness, "judges": judges})
    held.add("namer", both.emotion_scorer)
    return parts.save(model, held, folder, members=members)


def _load_two_stage(folder: ModelFolder) -> TwoStage:
    found = parts.read(folder)
    settings = found.settings
    names, how, columns = tuple(recipes.emotions(settings, "names")), str(settings["how"]), settings["columns"]
    if type(columns) is not int or not 0 < columns < 2**24:
        raise ValueError(f"it reads {quoted(columns)} columns")
    if how not in ("apart", "conditioned") or set(settings["judges"]) != ({""} if how == "conditioned" else set(names)):
        raise ValueError("its classifiers do not match its emotions")
    members = {place: _member(folder, place) for place in set(settings["judges"].values())}
    judges = {emotion: members[place] for emotion, place in settings["judges"].items()}
    namer, sharpness = found.scorer("namer", columns, (len(names),)), found.numbers("sharpness")["sharpness"]
    stages = Stages(names, namer, sharpness, columns, judges)
    scale, facts = found.numbers("slope", "intercept", "margin"), dict(folder.about["facts"])
    return TwoStage(first=str(settings["first"]), how=how, stages=stages, facts=facts, **scale)


def _save_stack(model: Stack, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if not model.members:
        raise InputError(_NOT_FITTED)
    members, asked = _members(model.members)
    held = Parts({"asked": asked, "names": model.names, "bias": model.bias, "margin": model.margin})
    held.arrays["weights"] = model.weights
    if model.pair_weights is not None:
        held.arrays["pair_weights"] = model.pair_weights
    return parts.save(model, held, folder, members=members)


def _load_stack(folder: ModelFolder) -> Stack:
    found = parts.read(folder)
    held = _held(folder, found)
    many = len(held["members"])
    pairs = found.array("pair_weights", many) if "pair_weights" in found.arrays else None
    return Stack(**held, weights=found.array("weights", many), pair_weights=pairs, **found.numbers("bias", "margin"))


def _save_redundant(model: Redundant, folder: Path) -> tuple[dict[str, Any], list[str]]:
    if not model.members:
        raise InputError(_NOT_FITTED)
    members, asked = _members(model.members)
    held = Parts({"asked": asked, "names": model.names, "emotions": model.emotion_names, "margin": model.margin})
    held.arrays["counts"] = model.counts
    return parts.save(model, held, folder, members=members)


def _load_redundant(folder: ModelFolder) -> Redundant:
    found = parts.read(folder)
    held = _held(folder, found)
    many = len(held["members"])
    if many > MOST:
        raise ValueError(f"it has {many} members")
    emotions = tuple(recipes.emotions(found.settings, "emotions"))
    counts = found.array("counts", len(emotions) + 1, 2**many, 2)
    if (counts < 0).any():
        raise ValueError("it counts fewer than no cases")
    numbers = found.numbers("margin")
    return Redundant(**held, weights=np.ones(many), counts=counts, emotion_names=emotions, **numbers)


def _held(folder: ModelFolder, found: StoredParts) -> dict[str, Any]:
    """What any stack holds."""
    members = [_member(folder, place) for place in found.settings["asked"]]
    if not members:
        raise ValueError("it has no members")
    names = tuple(recipes.names(found.settings, "names", distinct=False))
    makes = (refuse_refit,) * len(members)
    return {"makes": makes, "members": members, "names": names, "facts": dict(folder.about["facts"])}


def _member(folder: ModelFolder, name: Any) -> Any:
    if name not in folder.members:
        raise ValueError(f"it has no member {name}")
    return checkpoints.load_classifier(folder.members[name])[0]


HYBRID = Store(_save_hybrid, _load_hybrid, "")
CUTS = Store(_save_cuts, _load_cuts, "")
TWO_STAGE = Store(_save_two_stage, _load_two_stage, ARRAYS)
REDUNDANT = Store(_save_redundant, _load_redundant, ARRAYS)
STACK = Store(_save_stack, _load_stack, ARRAYS)
