"""Methods on disk: `model.json`, `arrays.npz`, boosters, and in folders of their own the models that a method asks.

A method is a `TableModel`, networks on tables, two stages or a stack. Numbers keep their precision, so that a saved
method answers bit for bit the same. What `model.json` says is repeated inside the arrays, and checked before use.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints, io
from duchenne.checkpoints import boosters as booster_file
from duchenne.errors import DuchenneError, InputError, ModelError
from duchenne.learn import recipes as settings
from duchenne.learn.rank_svm import RankSVM
from duchenne.learn.scorers import KINDS, Boosted, Trees
from duchenne.methods.stack import Stack, no_more
from duchenne.methods.two_stage import Stages, TwoStage
from duchenne.tabular.rows import Reader
from duchenne.tabular.table_model import TableModel
from duchenne.types import Array

if TYPE_CHECKING:
    from duchenne.checkpoints.folder import Method
    from duchenne.tabular.nets import TableNets

FORMAT = "duchenne-method"
VERSION = 1
ARRAYS = "arrays.npz"
_MOST = 2**30  # bytes of arrays unpacked: hundreds of times the largest
_MOST_MEMBERS = 64


@dataclass
class _Box:
    """What a method is taken apart into: settings as JSON, arrays and boosters by name, the models that it asks."""

    settings: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)
    boosters: dict[str, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)

    def part(self, prefix: str, part: Any) -> dict[str, Any]:
        """The settings of one of `fitted.KINDS`, whose arrays or booster are kept."""
        held = dict(vars(part))
        if "booster" in held:
            self.boosters[f"{prefix}.ubj"] = held.pop("booster")
        self.arrays |= {f"{prefix}.{key}": value for key, value in held.items() if isinstance(value, np.ndarray)}
        kind = next(name for name, each in KINDS.items() if each is type(part))
        return {"kind": kind, **{key: value for key, value in held.items() if not isinstance(value, np.ndarray)}}

    def member(self, model: Any) -> str:
        """The name of its folder; a model that is asked twice is kept once."""
        from duchenne.methods.names import AsIs

        model = model.model if isinstance(model, AsIs) else model
        if not any(each is model for each in self.members):
            self.members.append(model)
        return f"member-{next(i for i, each in enumerate(self.members) if each is model)}"


def save(model: Method, folder: Path, *, name: str) -> Path:
    """Write a fitted method; the folder is complete only once `model.json`, written last, is there."""
    box = _packed(model)
    members = {f"member-{i}": each for i, each in enumerate(box.members)}
    for place, member in members.items():
        checkpoints.save(member, folder / place, name=place)
    hashes = {place: checkpoints.digest(folder / place) for place in members}
    box.settings = io.plain(box.settings)
    if wrong := [key for key, value in box.arrays.items() if not np.isfinite(value).all()]:
        raise ModelError(f"The numbers {wrong[0]} of this method are none; train it again.")
    made_for = np.frombuffer(_made_for(box.settings, hashes).encode(), np.uint8)
    with io.atomic(folder / ARRAYS) as path, path.open("wb") as handle:
        np.savez_compressed(handle, made_for=made_for, **box.arrays)  # type: ignore[arg-type]
    for file, booster in box.boosters.items():
        with io.atomic(folder / file) as path:
            path.write_bytes(bytes(booster.save_raw("ubj")))
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": name,
        "family": f"method {model.facts.get('method', box.settings['kind'])}",
        "needs": _needs(model.reader),
        "classes": ["posed", "genuine"],
        "settings": box.settings,
        "facts": model.facts,
        "members": hashes,
        "files": {file: io.sha256(folder / file) for file in (ARRAYS, *box.boosters)},
    }
    io.write_json(folder / "model.json", about)
    return folder


def _packed(model: Method) -> _Box:
    scale = {"margin": model.margin}
    if isinstance(model, Stack):
        box = _Box({"kind": "stack", "bias": model.bias, "names": model.names, **scale})
        box.settings["asked"] = [box.member(each) for each in _fitted(model.members)]
        pair = {} if model.pair_weights is None else {"pair_weights": model.pair_weights}
        box.arrays |= {"weights": model.weights, **pair}
        return box
    scale |= {"slope": model.slope, "intercept": model.intercept}
    if isinstance(model, TwoStage):
        both: Stages = _fitted(model.stages)
        told = {"first": model.first, "how": model.how, "names": both.names, "columns": both.columns}
        box = _Box({"kind": "two-stage", **told, "sharpness": both.sharpness, **scale})
        box.settings["namer"] = box.part("namer", both.namer)
        box.settings["judges"] = {emotion: box.member(each) for emotion, each in both.judges.items()}
        return box
    if isinstance(model, TableModel):
        box = _Box({"kind": "table", "reader": asdict(model.reader), "learner": model.learner, **scale})
        box.settings["scorer"] = box.part("scorer", _fitted(model.scorer))
        rank = {} if model.ranker is None or model.ranker.weights is None else {"rank": model.ranker.weights}
        box.arrays |= {"centre": model.centre, **rank}
        return box
    nets = _fitted(model.networks)
    told = {"reader": asdict(model.reader), "recipe": asdict(model.recipe), "emotions": model.emotion_names}
    box = _Box({"kind": "nets", **told, "networks": len(nets), **scale})
    box.arrays |= {f"{i}.{k}": v.detach().numpy() for i, net in enumerate(nets) for k, v in net.state_dict().items()}
    box.arrays |= {"median": model.median, "centre": model.centre, "spread": model.spread}
    return box


def _fitted(part: Any) -> Any:
    if not part:
        raise InputError("This model has not been fitted; call fit first.")
    return part


def _needs(reader: Any) -> str:
    """ "crops" where anything of what is read is pictures."""
    inside = [_needs(each) for each in getattr(reader, "readers", ())]
    return "crops" if "crops" in (getattr(reader, "needs", "points"), *inside) else "points"


@dataclass(frozen=True)
class _Shelf:
    """A folder's settings, arrays and boosters, all of which must be used as they were kept."""

    folder: Path
    settings: dict[str, Any]
    arrays: dict[str, Array]
    members: dict[str, str]

    def numbers(self, *names: str) -> dict[str, Any]:
        """Finite numbers among the settings."""
        return settings.numbers(self.settings, *names)

    def array(self, name: str, *shape: int) -> Array:
        """float64 of this shape."""
        found = self.arrays[name]
        if found.shape != shape or found.dtype != np.float64:
            raise ValueError(f"its array {name} is {found.dtype} {found.shape}, expected float64 {shape}")
        return found

    def part(self, prefix: str, columns: int, shape: tuple[int, ...]) -> Any:
        """One of `fitted.KINDS` that reads so many columns, and answers a row in this shape."""
        told = dict(self.settings[prefix])
        made_by = KINDS[told.pop("kind")]
        held = {
            key.removeprefix(f"{prefix}."): value for key, value in self.arrays.items() if key.startswith(f"{prefix}.")
        }
        if made_by is Boosted:
            held["booster"] = booster_file.read(self.folder / f"{prefix}.ubj", columns)
        if set(held) | set(told) != {each.name for each in fields(made_by)}:
            raise ValueError(f"its {prefix} lacks some of its numbers")
        part = made_by(**held, **told)
        if isinstance(part, Trees):
            part.check(columns)
        with np.errstate(all="ignore"):
            said = part(np.zeros((1, columns)))
        if said.shape != (1, *shape) or not np.isfinite(said).all():
            raise ValueError(f"its {prefix} does not answer as it should")
        return part

    def member(self, name: str) -> Any:
        """A model of a folder inside, which `checkpoint` has found to be the one that was kept."""
        if name not in self.members or not (self.folder / name / "model.json").is_file():
            raise ValueError(f"it has no part {name}")
        return checkpoints.load_judge(self.folder / name)[0]


def load(folder: Path, about: dict[str, Any]) -> Method:
    """The method of a folder whose `model.json` says `about`; ValueError, in words, where its files do not fit it."""
    members, settings = about["members"], about["settings"]
    if not isinstance(members, dict) or len(members) > _MOST_MEMBERS or set(members) != _places(len(members)):
        raise ValueError("the parts that it names are none of a method")
    shelf = _Shelf(folder, settings, _arrays(folder / ARRAYS, _made_for(settings, members)), members)
    makers: dict[str, Callable[[_Shelf], Method]] = {
        "table": _table,
        "two-stage": _two_stage,
        "stack": _stack,
        "nets": _nets,
    }
    try:
        model = makers[settings["kind"]](shelf)
    except ModelError:  # of a part, which names itself
        raise
    except DuchenneError as error:
        raise ValueError(str(error).rstrip(".")) from error
    model.facts = dict(about["facts"])
    return model


def _places(count: int) -> set[str]:
    return {f"member-{i}" for i in range(count)}


def _arrays(path: Path, made_for: str) -> dict[str, Array]:
    try:
        arrays = io.read_arrays(path, most=_MOST)
        found = io.parse_json(arrays.pop("made_for").tobytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is no archive of arrays that can be read ({error})") from error
    if found != json.loads(made_for):
        raise ValueError(f"{path.name} was kept with other settings than model.json says")
    if not all(value.dtype.kind in "fi" and bool(np.isfinite(value).all()) for value in arrays.values()):
        raise ValueError(f"{path.name} holds something else than numbers")
    return arrays


def _reader(shelf: _Shelf) -> Reader:
    reader = settings.filled(Reader(), shelf.settings["reader"], "model.json")
    settings.check(reader, "model.json", {"fps": (1, 1000)})
    return reader


def _table(shelf: _Shelf) -> TableModel:
    columns = shelf.arrays["centre"].size
    ranker = RankSVM(weights=shelf.array("rank", columns)) if "rank" in shelf.arrays else None
    return TableModel(
        _reader(shelf),
        str(shelf.settings["learner"]),
        ranker=ranker,
        scorer=shelf.part("scorer", columns, ()),
        centre=shelf.array("centre", columns),
        **shelf.numbers("slope", "intercept", "margin"),
    )


def _two_stage(shelf: _Shelf) -> TwoStage:
    told = shelf.settings
    names, how, columns = tuple(map(str, told["names"])), str(told["how"]), int(told["columns"])
    if set(told["judges"]) != ({""} if how == "conditioned" else set(names)) or not 0 < columns < 2**24:
        raise ValueError("its judges are not those of its emotions")
    kept = {place: shelf.member(place) for place in set(told["judges"].values())}
    judges = {emotion: kept[place] for emotion, place in told["judges"].items()}
    namer = shelf.part("namer", columns, (len(names),))
    stages = Stages(names, namer, shelf.numbers("sharpness")["sharpness"], columns, judges)
    scale = shelf.numbers("slope", "intercept", "margin")
    return TwoStage(first=str(told["first"]), how=how, stages=stages, **scale)


def _stack(shelf: _Shelf) -> Stack:
    members = [shelf.member(place) for place in shelf.settings["asked"]]
    if not members:
        raise ValueError("it asks nobody")
    return Stack(
        (no_more,) * len(members),
        members=members,
        names=tuple(map(str, shelf.settings["names"])),
        weights=shelf.array("weights", len(members)),
        pair_weights=shelf.array("pair_weights", len(members)) if "pair_weights" in shelf.arrays else None,
        **shelf.numbers("bias", "margin"),
    )


def _nets(shelf: _Shelf) -> TableNets:
    import torch

    from duchenne.tabular.nets import NetRecipe, TableNet, TableNets

    told, columns = shelf.settings, shelf.arrays["median"].size
    recipe = settings.filled(NetRecipe(), told["recipe"], "model.json")
    settings.check(recipe, "model.json", {"hidden": (1, 8192), "bag": (1, 100), "dropout": (0, 0.9)})
    names, count = tuple(map(str, told["emotions"])), int(told["networks"])
    if not 1 <= count <= recipe.bag or len(names) > 4096:
        raise ValueError(f"it tells of {count} networks, expected 1 to {recipe.bag}")
    with torch.device("meta"):  # shapes alone
        one = {key: tuple(each.shape) for key, each in TableNet(columns, len(names), recipe).state_dict().items()}
    expected = {f"{i}.{key}": shape for i in range(count) for key, shape in one.items()}
    found = {key: value.shape for key, value in shelf.arrays.items() if key not in ("median", "centre", "spread")}
    if found != expected or not all(shelf.arrays[key].dtype == np.float32 for key in found):
        raise ValueError(f"{ARRAYS} does not hold the networks that model.json describes")
    networks = []
    for i in range(count):
        network = TableNet(columns, len(names), recipe)
        network.load_state_dict({key: torch.from_numpy(shelf.arrays[f"{i}.{key}"].copy()) for key in one})
        networks.append(network.eval())
    arrays = {name: shelf.array(name, columns) for name in ("median", "centre", "spread")}
    if not (arrays["spread"] > 0).all():
        raise ValueError(f"{ARRAYS} holds inputs without any spread")
    scale = shelf.numbers("slope", "intercept", "margin")
    return TableNets(
        _reader(shelf), recipe, networks=networks, emotion_names=names, median=arrays["median"],
        centre=arrays["centre"], spread=arrays["spread"], **scale,
    )  # fmt: skip


_MAKERS: dict[str, Callable[[_Shelf], Method]] = {
    "table": _table,
    "two-stage": _two_stage,
    "stack": _stack,
    "nets": _nets,
}


def _made_for(settings: Any, members: Any) -> str:
    """What the arrays are of; it lies inside their file, so that a changed `model.json` is noticed."""
    return json.dumps({"settings": settings, "members": members}, sort_keys=True)
