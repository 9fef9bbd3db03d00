"""Model folders: `model.json`, arrays, boosters and a card. Never pickle; a damaged folder is refused.

`format` in `model.json` says which kind of model it is. A hybrid names its two members by their sha256; they lie in
folders inside its own, or beside it, and so does a method (`methods.store`). Only networks load torch
(`lstm_pb.store`, `clipnets.store`, `expression.store`, `micro.store`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from duchenne import io
from duchenne.checkpoints import audit
from duchenne.checkpoints import boosters as booster_file
from duchenne.errors import InputError, ModelError
from duchenne.features.descriptors import FAMILIES
from duchenne.features.smile import EXPERT
from duchenne.learn import recipes
from duchenne.learn.boosting import Recipe, Tabular
from duchenne.learn.linear import Linear
from duchenne.methods.hybrid import Hybrid, Mix
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, Classifier

if TYPE_CHECKING:
    from duchenne.clipnets.model import ClipModel
    from duchenne.expression.model import ExpressionModel
    from duchenne.lstm_pb.model import PBModel
    from duchenne.methods.stack import Stack
    from duchenne.methods.two_stage import TwoStage
    from duchenne.micro.model import MicroModel
    from duchenne.tabular.nets import TableNets
    from duchenne.tabular.table_model import TableModel

    Method = TableModel | TableNets | TwoStage | Stack
    Model = Classifier | ExpressionModel | MicroModel

FORMAT = "duchenne-descriptors"
LSTM_PB = "duchenne-lstm-pb"
HYBRID = "duchenne-hybrid"
CLIP = "duchenne-clip"
EXPRESSION = "duchenne-expression"
MICRO = "duchenne-micro"
METHOD = "duchenne-method"
MEMBERS = ("descriptors", "lstm-pb")
VERSION = 1
_MOST_BOOSTERS = 100
#: What a stranger's folder can make the readers of its parts stumble over, beside what they say in words.
_STUMBLES = (OSError, ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def shipped() -> dict[str, Path]:
    """The models inside the package: id → folder."""
    root = Path(str(files("duchenne"))) / "weights"
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / "model.json").is_file()}


def locate(model: str | Path) -> Path:
    """Folder of a shipped model's id or of a path; ModelError names what there is."""
    known = shipped()
    if str(model) in known:
        return known[str(model)]
    folder = Path(model)
    audit.refuse_pickles(folder)
    if (folder / "model.json").is_file():
        return folder
    raise ModelError(
        f"There is no model '{model}': expected one of {', '.join(known)} or a folder with model.json; "
        "see `duchenne models list` or train one with `duchenne train`."
    )


def digest(folder: Path) -> str:
    """sha256 over names and bytes of the folder's model files (card and learning curve are no part of the model)."""
    return audit.digest(folder)


def save(model: Model, folder: Path, *, name: str) -> Path:
    """Write a fitted model; the folder is complete only once `model.json`, written last, is there."""
    from duchenne.methods import stack, store, two_stage
    from duchenne.tabular import table_model

    if isinstance(model, Hybrid):
        return _save_hybrid(model, folder, name)
    if isinstance(model, table_model.TableModel | two_stage.TwoStage | stack.Stack):
        return store.save(model, folder, name=name)
    if not isinstance(model, DescriptorModel):
        from duchenne.clipnets import model as clip_model
        from duchenne.clipnets import store as clip_files
        from duchenne.expression import model as expression_model
        from duchenne.expression import store as expression_files
        from duchenne.lstm_pb import store as pb_files
        from duchenne.micro import model as micro_model
        from duchenne.micro import store as micro_files
        from duchenne.tabular.nets import TableNets

        if isinstance(model, TableNets):
            return store.save(model, folder, name=name)
        if isinstance(model, clip_model.ClipModel):
            return clip_files.save(model, folder, name=name)
        if isinstance(model, expression_model.ExpressionModel):
            return expression_files.save(model, folder, name=name)
        if isinstance(model, micro_model.MicroModel):
            return micro_files.save(model, folder, name=name)
        return pb_files.save(cast("PBModel", model), folder, name=name)
    tabular = model.fitted
    arrays: dict[str, Any] = {
        "envelope": model.envelope,
        "strangeness": model.strangeness,
        **{f"typical_{label}": value for label, value in model.typical.items()},
        **_linear_arrays("linear", tabular.linear),
        **_linear_arrays("emotion", model.emotion),
    }
    arrays = {key: np.asarray(value, np.float32) for key, value in arrays.items() if value is not None}
    with io.atomic(folder / "arrays.npz") as path, path.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    hashes = {"arrays.npz": io.sha256(folder / "arrays.npz")}
    for i, booster in enumerate(tabular.boosters):
        file = f"genuine-{i}.ubj"
        with io.atomic(folder / file) as path:
            path.write_bytes(bytes(booster.save_raw("ubj")))
        hashes[file] = io.sha256(folder / file)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "id": name,
        "family": model.family,
        "fps": model.fps,
        "needs": model.needs,
        "classes": ["posed", "genuine"],
        "emotions": list(model.emotion_names),
        "names": list(model.names),
        "margin": model.margin,
        **tabular.settings(),
        "facts": model.facts,
        "files": hashes,
    }
    io.write_json(folder / "model.json", about)
    return folder


def _save_hybrid(model: Hybrid, folder: Path, name: str) -> Path:
    if model.mix is None:
        raise InputError("This model has not been fitted; call fit first.")
    save(model.descriptors, folder / MEMBERS[0], name=MEMBERS[0])
    save(model.pb, folder / MEMBERS[1], name=MEMBERS[1])
    about = {
        "format": HYBRID,
        "version": VERSION,
        "id": name,
        "family": " + ".join(MEMBERS),
        "needs": model.needs,
        "classes": ["posed", "genuine"],
        "mix": asdict(model.mix),
        "members": {member: digest(folder / member) for member in MEMBERS},
        "facts": model.facts,
        "files": {},
    }
    io.write_json(folder / "model.json", about)
    return folder


def describe(folder: Path) -> dict[str, Any]:
    """What `model.json` says; ModelError where it is no description of a model."""
    path = folder / "model.json"
    try:
        about = io.read_json(audit.file(folder, path.name))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise ModelError(f"{folder / 'model.json'} does not describe a model: it is damaged; get or train it again.")
    return about


def tidy(folder: Path) -> None:
    """Remove files of a model that stood here before, in the folders of its parts as well: they would count as this
    one's."""
    about = describe(folder)
    for path in folder.iterdir():
        if path.suffix in (".npz", ".ubj", ".safetensors") and path.name not in about["files"]:
            path.unlink()
    parts = about.get("members")
    for part in parts if isinstance(parts, dict) else ():
        if (folder / part / "model.json").is_file():
            tidy(folder / part)


def load(model: str | Path) -> tuple[Model, dict[str, Any]]:
    """(model, {"id", "sha256", ...}) of a shipped id or a folder; ModelError on any mismatch or damage."""
    folder = locate(model)
    about = describe(folder)
    makers: dict[str, Callable[[Path, dict[str, Any]], Model]] = {
        FORMAT: _assemble,
        LSTM_PB: _lstm_pb,
        HYBRID: _hybrid,
        CLIP: _clip,
        EXPRESSION: _expression,
        MICRO: _micro,
        METHOD: _method,
    }
    if not isinstance(about["format"], str) or about["format"] not in makers or about.get("version") != VERSION:
        told = f"format {str(about['format'])[:40]!r} version {str(about.get('version'))[:40]}"
        raise ModelError(
            f"{folder} holds a model of {told}; expected "
            f"{', '.join(makers)} version {VERSION}: train it again or install the matching duchenne."
        )
    try:
        problems = verify(folder, about)
        if problems:
            raise ModelError(f"Model {folder} is damaged: {problems[0]}; get or train it again.")
        if not isinstance(about["id"], str) or not isinstance(about["facts"], dict):
            raise TypeError("its name is no text, or its facts are none")
        facts = {**about["facts"], "id": about["id"], "sha256": digest(folder), "version": VERSION}
        return makers[about["format"]](folder, about), facts
    except _STUMBLES as error:  # xgboost's own error is a ValueError
        raise ModelError(f"Model {folder} is damaged: its files do not fit together; get or train it again.") from error


def load_descriptors(model: str | Path) -> DescriptorModel:
    """As `load`, where nothing but a descriptor model will do."""
    found = load(model)[0]
    if not isinstance(found, DescriptorModel):
        raise ModelError(f"{model} is no descriptor model, which is needed here; choose another.")
    return found


def load_judge(model: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """As `load`, where a model must tell genuine from posed."""
    found, facts = load(model)
    if describe(locate(model))["format"] in (EXPRESSION, MICRO):
        raise ModelError(f"{model} does not tell genuine from posed, which is needed here; choose another model.")
    return cast("Classifier", found), facts


def load_expression(model: str | Path) -> tuple[ExpressionModel, dict[str, Any]]:
    """As `load`, where nothing but an expression network will do."""
    from duchenne.expression.model import ExpressionModel

    found, facts = load(model)
    if not isinstance(found, ExpressionModel):
        raise ModelError(f"{model} is no expression network, which is needed here; choose another.")
    return found, facts


def load_micro(model: str | Path) -> tuple[MicroModel, dict[str, Any]]:
    """As `load`, where nothing but a model of micro-expressions will do."""
    from duchenne.micro.model import MicroModel

    found, facts = load(model)
    if not isinstance(found, MicroModel):
        raise ModelError(f"{model} is no model of micro-expressions, which is needed here; choose another.")
    return found, facts


def card(model: str | Path) -> dict[str, Any]:
    """The facts of a model's card (measured scores, people, limits); empty when it has none."""
    path = locate(model) / "card.json"
    try:
        return dict(io.read_json(audit.file(path.parent, path.name))) if path.is_file() else {}
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a readable card; the model is damaged, get or train it again.") from error


def verify(folder: Path, about: dict[str, Any]) -> list[str]:
    """What is missing or changed, one phrase per file; empty when all is well."""
    problems = []
    for file, expected in about.get("files", {}).items():
        path = audit.file(folder, file)
        if not path.is_file():
            problems.append(f"{file} is missing")
        elif io.sha256(path) != expected:
            problems.append(f"{file} is not the file that was saved (sha256 differs)")
    members = about.get("members")  # of a descriptor model a word: which of its own parts judge
    for member, expected in members.items() if isinstance(members, dict) else ():
        path = audit.member(folder, member)
        if not (path / "model.json").is_file():
            problems.append(f"its part {member} is missing")
        elif digest(path) != expected:  # over all of its files, so nothing else can differ
            problems.append(f"its part {member} is not the model that it was saved with (sha256 differs)")
    return problems


def _hybrid(folder: Path, about: dict[str, Any]) -> Hybrid:
    from duchenne.lstm_pb.model import PBModel

    if set(about["members"]) != set(MEMBERS):
        raise KeyError("members")
    descriptors, pb = (load_judge(audit.member(folder, name))[0] for name in MEMBERS)
    if not isinstance(descriptors, DescriptorModel) or not isinstance(pb, PBModel):
        raise ValueError("members of other kinds")
    mix = Mix(**recipes.numbers(about["mix"], "descriptors", "pb", "bias", "margin"))
    return Hybrid(descriptors, pb, mix, facts=about["facts"])


def _lstm_pb(folder: Path, about: dict[str, Any]) -> PBModel:
    from duchenne.lstm_pb import store as pb_files

    if set(about["files"]) < {pb_files.WEIGHTS}:
        raise KeyError(pb_files.WEIGHTS)
    try:
        return pb_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _clip(folder: Path, about: dict[str, Any]) -> ClipModel:
    from duchenne.clipnets import store as clip_files

    if set(about["files"]) < {clip_files.WEIGHTS}:
        raise KeyError(clip_files.WEIGHTS)
    try:
        return clip_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _method(folder: Path, about: dict[str, Any]) -> Method:
    from duchenne.methods import store

    if set(about["files"]) < {store.ARRAYS}:
        raise KeyError(store.ARRAYS)
    try:
        return store.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _expression(folder: Path, about: dict[str, Any]) -> ExpressionModel:
    from duchenne.expression import store as expression_files

    if set(about["files"]) < {expression_files.WEIGHTS}:
        raise KeyError(expression_files.WEIGHTS)
    try:
        return expression_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _micro(folder: Path, about: dict[str, Any]) -> MicroModel:
    from duchenne.micro import store as micro_files

    if set(about["files"]) < {micro_files.WEIGHTS} or set(about["members"]) != {micro_files.MEMBER}:
        raise KeyError(micro_files.WEIGHTS)
    seeing = load_expression(audit.member(folder, micro_files.MEMBER))[0]
    try:
        return micro_files.load(folder, about, seeing)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _assemble(folder: Path, about: dict[str, Any]) -> DescriptorModel:
    arrays = {key: value.astype(float) for key, value in io.read_arrays(folder / "arrays.npz").items()}
    recipe = Recipe(**{**about["recipe"], "members": tuple(about["recipe"]["members"])})
    names, emotions = (tuple(map(str, about[each])) for each in ("names", "emotions"))
    family, fps, scale = str(about["family"]), recipes.numbers(about, "fps", "margin"), about["calibration"]
    if not 1 <= fps["fps"] <= 1000 or names != (EXPERT if family == "smile" else FAMILIES[family].names):
        raise ValueError("what it reads is not known here")
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
        typical={label: arrays[f"typical_{label}"] for label in ("posed", "genuine")},
        facts=about["facts"],
    )
    columns = len(model.inputs_names)
    if type(about["boosters"]) is not int or not 0 <= about["boosters"] <= _MOST_BOOSTERS:
        raise ValueError(f"it tells of {about['boosters']!r} boosters")
    boosters = [booster_file.read(folder / f"genuine-{i}.ubj", columns) for i in range(about["boosters"])]
    linear, chosen = _linear(arrays, "linear"), str(about["members"])
    model.tabular = Tabular(
        model.inputs_names, recipe, chosen, boosters, linear, **recipes.numbers(scale, "slope", "intercept")
    )
    _check_shapes(model, columns)
    return model


def _check_shapes(model: DescriptorModel, columns: int) -> None:
    """ValueError where its parts do not fit what it reads."""
    wide, tabular, emotions = len(model.names), model.fitted, len(model.emotion_names)
    assert model.envelope is not None and model.strangeness is not None
    parts: list[tuple[Array, tuple[int, ...]]] = [
        (each, (2, wide)) for each in (model.envelope, *model.typical.values())
    ]
    parts += [(model.strangeness, (max(1, model.strangeness.size),))]
    rows = 1 if emotions == 2 else emotions  # two share one row of weights
    for linear, inputs, outputs in ((tabular.linear, columns, 1), (model.emotion, wide, rows)):
        if linear is not None:
            parts += [(linear.median, (inputs,)), (linear.spread, (inputs,))]
            parts += [(linear.weights, (outputs, inputs)), (linear.bias, (outputs,))]
            if not (linear.spread > 0).all():
                raise ValueError("it has inputs without any spread")
    if not all(array.shape == shape and not np.isinf(array).any() for array, shape in parts):
        raise ValueError("its arrays are not of the numbers that it reads")
    if not (tabular.boosters or tabular.linear) or (emotions > 0) != (model.emotion is not None):
        raise ValueError("a part of it is missing")


def _linear_arrays(prefix: str, linear: Linear | None) -> dict[str, Any]:
    return {} if linear is None else {f"{prefix}_{key}": value for key, value in vars(linear).items()}


def _linear(arrays: dict[str, Any], prefix: str) -> Linear | None:
    keys = ("median", "spread", "weights", "bias")
    return Linear(*(arrays[f"{prefix}_{key}"] for key in keys)) if f"{prefix}_weights" in arrays else None
