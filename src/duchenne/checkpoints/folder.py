"""Model folders: `model.json`, arrays, boosters, tensors and a card. Never pickle; a damaged folder is refused.

`format` in `model.json` names the store that reads and writes the model. A model made of others names these members by
sha256; their folders lie inside its own, or beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

from duchenne import io
from duchenne.checkpoints import audit, boosters, facts
from duchenne.checkpoints.audit import ModelFolder
from duchenne.errors import DuchenneError, ModelError, UsageError, meant
from duchenne.io import quoted
from duchenne.registry import Registry
from duchenne.types import LABELS, Classifier

VERSION = 1
#: Format → its `Store`; the kind of a method follows a slash.
STORES = Registry(
    "format of models",
    {
        "duchenne-descriptors": "duchenne.tabular.store:DESCRIPTORS",
        "duchenne-lstm-pb": "duchenne.lstm_pb.store:STORE",
        "duchenne-hybrid": "duchenne.methods.store:HYBRID",
        "duchenne-cuts": "duchenne.methods.store:CUTS",
        "duchenne-clip": "duchenne.clipnets.store:STORE",
        "duchenne-method/table": "duchenne.tabular.store:TABLE",
        "duchenne-method/nets": "duchenne.tabular.store:NETS",
        "duchenne-method/two-stage": "duchenne.methods.store:TWO_STAGE",
        "duchenne-method/stack": "duchenne.methods.store:STACK",
        "duchenne-method/redundant": "duchenne.methods.store:REDUNDANT",
        "duchenne-expression": "duchenne.expression.store:STORE",
        "duchenne-units": "duchenne.units.store:STORE",
        "duchenne-micro": "duchenne.micro.store:STORE",
    },
)
#: What reading a damaged folder can raise besides errors with a message of ours.
_STUMBLES = (OSError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Model(Protocol):
    """What can be saved: its class has a `format`, the model has `facts` (people, clips, …)."""

    format: ClassVar[str]
    facts: dict[str, Any]


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Store:
    """How models of one format are saved and loaded.

    save  (model, folder) → (entries of `model.json`, names of the files written); members by `save_members`. InputError
          for a model that is not fitted
    load  folder → model; ValueError, with a phrase, where files and `model.json` do not match
    file  the file that such a model must have; "" if it has members only
    """

    save: Callable[[Any, Path], tuple[dict[str, Any], Sequence[str]]]
    load: Callable[[ModelFolder], Any]
    file: str


def shipped() -> dict[str, Path]:
    """The models inside the package: id → folder."""
    root = Path(str(files("duchenne"))) / "weights"
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / "model.json").is_file()}


def locate(model: str | Path) -> Path:
    """Folder of a shipped model by id, or of a path; UsageError for another name, ModelError for another path."""
    known = shipped()
    if str(model) in known:
        return known[str(model)]
    folder = Path(model)
    audit.refuse_pickles(folder)
    if (folder / "model.json").is_file():
        return folder
    is_name = folder.name == str(model) and not folder.exists()
    raise (UsageError if is_name else ModelError)(
        f"There is no model '{model}'{meant(model, known)}: expected one of {', '.join(known)} or a folder with "
        "model.json; see `duchenne models list` or train one with `duchenne train`."
    )


def save(model: Model, folder: Path, *, name: str) -> Path:
    """Write a fitted model; the folder is complete only once `model.json`, written last, is there."""
    entries, written = STORES.load(model.format).save(model, folder)
    about = {
        "format": model.format.partition("/")[0],
        "version": VERSION,
        "id": name,
        **entries,
        "facts": model.facts,
        "files": {file: io.sha256(folder / file) for file in written},
    }
    io.write_json(folder / "model.json", about)
    return folder


def save_members(members: Mapping[str, Model], folder: Path) -> dict[str, str]:
    """Save member models into folders of their names; name → sha256."""
    return {name: audit.digest(save(member, folder / name, name=name)) for name, member in members.items()}


def tidy(folder: Path) -> None:
    """Remove files of an earlier model, in its members as well: they would count as part of this one."""
    about = audit.describe(folder)
    for path in folder.iterdir():
        if path.name.endswith((".npz", boosters.SUFFIX, ".safetensors")) and path.name not in about["files"]:
            path.unlink()
    for member in audit.mapping(about, "members"):
        if (folder / member / "model.json").is_file():
            tidy(folder / member)


def load(
    model: str | Path | ModelFolder, read: Callable[[ModelFolder], Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """(model, {"id", "sha256", ...}) of a shipped id or a folder, read by its store or by `read`; ModelError on any
    mismatch or damage."""
    folder = model if isinstance(model, ModelFolder) else audit.read(locate(model))
    about = folder.about
    try:
        read = read or _reader(folder)
        if folder.problems:
            raise ValueError(folder.problems[0])
        known = {**about["facts"], "id": about["id"], "sha256": folder.sha256, "version": VERSION}
        model = read(folder)
        if isinstance(model, Classifier) and about["classes"] != list(LABELS):
            raise ValueError(f"its classes are {quoted(about['classes'])}, expected {', '.join(LABELS)}")
        return model, known
    except ModelError:
        raise
    except (DuchenneError, *_STUMBLES) as error:
        ours = isinstance(error, DuchenneError) or type(error) is ValueError  # XGBoost's own has many lines
        why = str(error).rstrip(".") if ours else "its files do not match"
        raise ModelError(f"Model {folder.path} is damaged: {why}; get or train it again.") from error


def _reader(folder: ModelFolder) -> Callable[[ModelFolder], Any]:
    """What reads models of this folder's format; ModelError where it is unknown, KeyError where its file is missing."""
    store = _store(folder)
    if store.file and store.file not in folder.about["files"]:
        raise KeyError(store.file)
    return store.load


def _store(folder: ModelFolder) -> Store:
    """The store of this folder's format; ModelError where it is unknown."""
    about = folder.about
    name, version = str(about["format"]), about.get("version")
    name = f"{name}/{about['settings']['kind']}" if name == "duchenne-method" else name
    if name in STORES and type(version) is int and version == VERSION:
        return cast(Store, STORES.load(name))
    raise ModelError(
        f"{folder.path} holds a model of format {name[:40]!r} version {str(version)[:40]}; expected "
        f"{', '.join(STORES)} version {VERSION}: train it again or install the matching duchenne."
    )


def load_as(model: str | Path | ModelFolder, kind: type[M]) -> tuple[M, dict[str, Any]]:
    """As `load`; ModelError unless it is a model of this kind."""
    found, facts = load(model)
    if not isinstance(found, kind):
        raise ModelError(f"{model} is a {found.format} model, expected {kind.format}; choose another model.")
    return found, facts


def load_classifier(model: str | Path | ModelFolder) -> tuple[Classifier, dict[str, Any]]:
    """As `load`; ModelError unless it tells genuine from posed."""
    found, facts = load(model)
    if not isinstance(found, Classifier):
        raise ModelError(f"{model} does not tell genuine from posed; choose another model with duchenne models list.")
    return found, facts


def card(model: str | Path) -> dict[str, Any]:
    """The facts of a model's card (measured scores, people, limits); empty when it has none."""
    path = locate(model) / "card.json"
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = io.read_json(audit.file(path.parent, path.name))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON; get or train the model again.") from error
    try:
        facts.check_card(found)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); get or train the model again.") from error
    return found
