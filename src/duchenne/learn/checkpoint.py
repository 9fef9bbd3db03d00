"""Model folders: `model.json`, arrays, boosters and a card. Never pickle; a damaged folder is refused.

`format` in `model.json` says which kind of model it is. A hybrid names its two members by their sha256; they lie in
folders inside its own, or beside it, and so does a method (`learn.method_files`). Only networks load torch
(`learn.pb_files`, `learn.clip_files`, `learn.expression_files`, `learn.micro_files`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from duchenne import io
from duchenne.errors import InputError, ModelError
from duchenne.learn.classifiers import DescriptorModel
from duchenne.learn.hybrid import Hybrid, Mix
from duchenne.learn.linear import Linear
from duchenne.learn.tabular import Recipe, Tabular

if TYPE_CHECKING:
    from duchenne.learn.clip_model import ClipModel
    from duchenne.learn.expression import ExpressionModel
    from duchenne.learn.micro import MicroModel
    from duchenne.learn.pb import PBModel
    from duchenne.learn.stack import Stack
    from duchenne.learn.table_model import TableModel
    from duchenne.learn.table_nets import TableNets
    from duchenne.learn.two_stage import TwoStage

    Method = TableModel | TableNets | TwoStage | Stack
    Judge = DescriptorModel | PBModel | Hybrid | ClipModel | Method
    Model = Judge | ExpressionModel | MicroModel

FORMAT = "duchenne-descriptors"
LSTM_PB = "duchenne-lstm-pb"
HYBRID = "duchenne-hybrid"
CLIP = "duchenne-clip"
EXPRESSION = "duchenne-expression"
MICRO = "duchenne-micro"
METHOD = "duchenne-method"
MEMBERS = ("descriptors", "lstm-pb")
VERSION = 1
_MOST = 2**24  # bytes of a model.json: a hundred times the largest


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
    if (folder / "model.json").is_file():
        return folder
    raise ModelError(
        f"There is no model '{model}': expected one of {', '.join(known)} or a folder with model.json; "
        "see `duchenne models list` or train one with `duchenne train`."
    )


def digest(folder: Path) -> str:
    """sha256 over names and bytes of the folder's model files (what tells of it is no part of the model)."""
    total = hashlib.sha256()
    kinds, beside = {".json", ".npz", ".ubj", ".safetensors"}, {"card.json", "curve.json", "reference.json"}
    for path in sorted(p for p in folder.iterdir() if p.suffix in kinds and p.name not in beside):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def save(model: Model, folder: Path, *, name: str) -> Path:
    """Write a fitted model; the folder is complete only once `model.json`, written last, is there."""
    from duchenne.learn import method_files, stack, table_model, two_stage

    if isinstance(model, Hybrid):
        return _save_hybrid(model, folder, name)
    if isinstance(model, table_model.TableModel | two_stage.TwoStage | stack.Stack):
        return method_files.save(model, folder, name=name)
    if not isinstance(model, DescriptorModel):
        from duchenne.learn import clip_files, clip_model, expression, expression_files, micro, micro_files, pb_files
        from duchenne.learn.table_nets import TableNets

        if isinstance(model, TableNets):
            return method_files.save(model, folder, name=name)
        if isinstance(model, clip_model.ClipModel):
            return clip_files.save(model, folder, name=name)
        if isinstance(model, expression.ExpressionModel):
            return expression_files.save(model, folder, name=name)
        if isinstance(model, micro.MicroModel):
            return micro_files.save(model, folder, name=name)
        return pb_files.save(model, folder, name=name)
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
        about = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= _MOST else None
    except (OSError, ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise ModelError(f"{folder / 'model.json'} does not describe a model: it is damaged; get or train it again.")
    return about


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
    if about["format"] not in makers or about.get("version") != VERSION:
        raise ModelError(
            f"{folder} holds a model of format {about['format']!r} version {about.get('version')!r}; expected "
            f"{', '.join(makers)} version {VERSION}: train it again or install the matching duchenne."
        )
    problems = verify(folder, about)
    if problems:
        raise ModelError(f"Model {folder} is damaged: {problems[0]}; get or train it again.")
    try:
        facts = {"id": about["id"], "sha256": digest(folder), "version": VERSION, **about["facts"]}
        return makers[about["format"]](folder, about), facts
    except (OSError, KeyError, TypeError, ValueError) as error:  # xgboost's own error is a ValueError
        raise ModelError(f"Model {folder} is damaged: its files do not fit together; get or train it again.") from error


def load_descriptors(model: str | Path) -> DescriptorModel:
    """As `load`, where nothing but a descriptor model will do."""
    found = load(model)[0]
    if not isinstance(found, DescriptorModel):
        raise ModelError(f"{model} is no descriptor model, which is needed here; choose another.")
    return found


def load_judge(model: str | Path) -> tuple[Judge, dict[str, Any]]:
    """As `load`, where a model must tell genuine from posed."""
    found, facts = load(model)
    if describe(locate(model))["format"] in (EXPRESSION, MICRO):
        raise ModelError(f"{model} does not tell genuine from posed, which is needed here; choose another model.")
    return cast("Judge", found), facts


def load_expression(model: str | Path) -> tuple[ExpressionModel, dict[str, Any]]:
    """As `load`, where nothing but an expression network will do."""
    from duchenne.learn.expression import ExpressionModel

    found, facts = load(model)
    if not isinstance(found, ExpressionModel):
        raise ModelError(f"{model} is no expression network, which is needed here; choose another.")
    return found, facts


def load_micro(model: str | Path) -> tuple[MicroModel, dict[str, Any]]:
    """As `load`, where nothing but a model of micro-expressions will do."""
    from duchenne.learn.micro import MicroModel

    found, facts = load(model)
    if not isinstance(found, MicroModel):
        raise ModelError(f"{model} is no model of micro-expressions, which is needed here; choose another.")
    return found, facts


def card(model: str | Path) -> dict[str, Any]:
    """The facts of a model's card (measured scores, people, limits); empty when it has none."""
    path = locate(model) / "card.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a readable card; the model is damaged, get or train it again.") from error


def verify(folder: Path, about: dict[str, Any]) -> list[str]:
    """What is missing or changed, one phrase per file; empty when all is well."""
    problems = []
    for file, expected in about.get("files", {}).items():
        path = folder / file
        if not path.is_file():
            problems.append(f"{file} is missing")
        elif io.sha256(path) != expected:
            problems.append(f"{file} is not the file that was saved (sha256 differs)")
    members = about.get("members")  # of a descriptor model a word: which of its own parts judge
    for member, expected in members.items() if isinstance(members, dict) else ():
        path = _member(folder, member)
        if not (path / "model.json").is_file():
            problems.append(f"its part {member} is missing")
        elif digest(path) != expected:  # over all of its files, so nothing else can differ
            problems.append(f"its part {member} is not the model that it was saved with (sha256 differs)")
    return problems


def _member(folder: Path, name: str) -> Path:
    inside = folder / name
    return inside if inside.is_dir() else folder.parent / name


def _hybrid(folder: Path, about: dict[str, Any]) -> Hybrid:
    from duchenne.learn.pb import PBModel

    if set(about["members"]) != set(MEMBERS):
        raise KeyError("members")
    descriptors, pb = (load_judge(_member(folder, name))[0] for name in MEMBERS)
    if not isinstance(descriptors, DescriptorModel) or not isinstance(pb, PBModel):
        raise ValueError("members of other kinds")
    mix = Mix(**{key: float(value) for key, value in about["mix"].items()})
    return Hybrid(descriptors, pb, mix, facts=about["facts"])


def _lstm_pb(folder: Path, about: dict[str, Any]) -> PBModel:
    from duchenne.learn import pb_files

    if set(about["files"]) < {pb_files.WEIGHTS}:
        raise KeyError(pb_files.WEIGHTS)
    try:
        return pb_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _clip(folder: Path, about: dict[str, Any]) -> ClipModel:
    from duchenne.learn import clip_files

    if set(about["files"]) < {clip_files.WEIGHTS}:
        raise KeyError(clip_files.WEIGHTS)
    try:
        return clip_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _method(folder: Path, about: dict[str, Any]) -> Method:
    from duchenne.learn import method_files

    if set(about["files"]) < {method_files.ARRAYS}:
        raise KeyError(method_files.ARRAYS)
    try:
        return method_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _expression(folder: Path, about: dict[str, Any]) -> ExpressionModel:
    from duchenne.learn import expression_files

    if set(about["files"]) < {expression_files.WEIGHTS}:
        raise KeyError(expression_files.WEIGHTS)
    try:
        return expression_files.load(folder, about)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _micro(folder: Path, about: dict[str, Any]) -> MicroModel:
    from duchenne.learn import micro_files

    if set(about["files"]) < {micro_files.WEIGHTS} or set(about["members"]) != {micro_files.MEMBER}:
        raise KeyError(micro_files.WEIGHTS)
    seeing = load_expression(_member(folder, micro_files.MEMBER))[0]
    try:
        return micro_files.load(folder, about, seeing)
    except ValueError as error:
        raise ModelError(f"Model {folder} is damaged: {error}; get or train it again.") from error


def _assemble(folder: Path, about: dict[str, Any]) -> DescriptorModel:
    import xgboost

    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key].astype(float) for key in stored.files}
    recipe = Recipe(**{**about["recipe"], "members": tuple(about["recipe"]["members"])})
    boosters = []
    for i in range(about["boosters"]):
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray((folder / f"genuine-{i}.ubj").read_bytes()))
        boosters.append(booster)
    names = tuple(about["names"])
    if arrays["envelope"].shape != (2, len(names)):
        raise ValueError("as many columns in the envelope as names")
    calibration = about["calibration"]
    model = DescriptorModel(
        names=names,
        family=about["family"],
        fps=about["fps"],
        recipe=recipe,
        emotion_names=tuple(about["emotions"]),
        emotion=_linear(arrays, "emotion"),
        margin=about["margin"],
        envelope=arrays["envelope"],
        strangeness=arrays["strangeness"],
        typical={label: arrays[f"typical_{label}"] for label in ("posed", "genuine")},
        facts=about["facts"],
    )
    model.tabular = Tabular(
        model.inputs_names,
        recipe,
        about["members"],
        boosters,
        _linear(arrays, "linear"),
        calibration["slope"],
        calibration["intercept"],
    )
    return model


def _linear_arrays(prefix: str, linear: Linear | None) -> dict[str, Any]:
    return {} if linear is None else {f"{prefix}_{key}": value for key, value in vars(linear).items()}


def _linear(arrays: dict[str, Any], prefix: str) -> Linear | None:
    keys = ("median", "spread", "weights", "bias")
    return Linear(*(arrays[f"{prefix}_{key}"] for key in keys)) if f"{prefix}_weights" in arrays else None
