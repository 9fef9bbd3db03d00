"""Model folders: `model.json`, arrays, boosters, tensors and a card. Never pickle; a damaged folder is refused.

`format` in `model.json` names what kind of model it is, and so the system that writes and reads its parts. A model made
of others names these by their sha256; they lie in folders inside its own, or beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

from duchenne import io
from duchenne.checkpoints import audit, boosters
from duchenne.checkpoints.audit import ModelFolder
from duchenne.errors import DuchenneError, ModelError
from duchenne.registry import Registry
from duchenne.types import Classifier

VERSION = 1
#: Format → who writes and reads such models, each a `Store`. Of a method, the kind that its settings name follows a
#: slash.
STORES = Registry(
    "format of models",
    {
        "duchenne-descriptors": "duchenne.tabular.store:DESCRIPTORS",
        "duchenne-lstm-pb": "duchenne.lstm_pb.store:STORE",
        "duchenne-hybrid": "duchenne.methods.store:HYBRID",
        "duchenne-clip": "duchenne.clipnets.store:STORE",
        "duchenne-method/table": "duchenne.tabular.store:TABLE",
        "duchenne-method/nets": "duchenne.tabular.store:NETS",
        "duchenne-method/two-stage": "duchenne.methods.store:TWO_STAGE",
        "duchenne-method/stack": "duchenne.methods.store:STACK",
        "duchenne-expression": "duchenne.expression.store:STORE",
        "duchenne-micro": "duchenne.micro.store:STORE",
    },
)
#: What a stranger's folder can make the readers of its parts stumble over, beside what they say in words.
_STUMBLES = (OSError, ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class Model(Protocol):
    """What can be kept: a class says its `format`, a model its `facts` (people, clips, …)."""

    format: ClassVar[str]
    facts: dict[str, Any]


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Store:
    """How models of one format are kept.

    save  (model, folder) → what `model.json` is to say of it, and the names of the files that were written; members are
          saved by `save_members`. InputError for a model that is not fitted
    load  folder → model; ValueError, in words, where its files do not fit what its `model.json` says
    file  the file without which there is no such model; "" where all it has is members
    """

    save: Callable[[Any, Path], tuple[dict[str, Any], Sequence[str]]]
    load: Callable[[ModelFolder], Any]
    file: str


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


def save(model: Model, folder: Path, *, name: str) -> Path:
    """Write a fitted model; the folder is complete only once `model.json`, written last, is there."""
    said, written = STORES.load(model.format).save(model, folder)
    about = {
        "format": model.format.partition("/")[0],
        "version": VERSION,
        "id": name,
        **said,
        "facts": model.facts,
        "files": {file: io.sha256(folder / file) for file in written},
    }
    io.write_json(folder / "model.json", about)
    return folder


def save_members(members: Mapping[str, Model], folder: Path) -> dict[str, str]:
    """Write the models that another is made of into folders of their names inside its own; name → sha256."""
    return {name: audit.digest(save(member, folder / name, name=name)) for name, member in members.items()}


def tidy(folder: Path) -> None:
    """Remove files of a model that stood here before, in the folders of its members as well: they would count as this
    one's."""
    about = audit.describe(folder)
    for path in folder.iterdir():
        if path.name.endswith((".npz", boosters.SUFFIX, ".safetensors")) and path.name not in about["files"]:
            path.unlink()
    for member in audit.mapping(about, "members"):
        if (folder / member / "model.json").is_file():
            tidy(folder / member)


def load(model: str | Path | ModelFolder) -> tuple[Any, dict[str, Any]]:
    """(model, {"id", "sha256", ...}) of a shipped id or a folder; ModelError on any mismatch or damage."""
    folder = model if isinstance(model, ModelFolder) else audit.read(locate(model))
    about = folder.about
    try:
        store = _store(folder)
        if folder.problems:
            raise ValueError(folder.problems[0])
        if not isinstance(about["id"], str) or not isinstance(about["facts"], dict):
            raise TypeError("its name is no text, or its facts are none")
        if store.file and store.file not in about["files"]:
            raise KeyError(store.file)
        facts = {**about["facts"], "id": about["id"], "sha256": folder.sha256, "version": VERSION}
        return store.load(folder), facts
    except ModelError:  # of another format, or of a member, which names itself
        raise
    except (DuchenneError, *_STUMBLES) as error:
        words = isinstance(error, DuchenneError) or type(error) is ValueError  # XGBoost's own has many lines
        why = str(error).rstrip(".") if words else "its files do not fit together"
        raise ModelError(f"Model {folder.path} is damaged: {why}; get or train it again.") from error


def _store(folder: ModelFolder) -> Store:
    """Who reads this folder; ModelError where nobody here does."""
    about = folder.about
    name, version = str(about["format"]), about.get("version")
    name = f"{name}/{about['settings']['kind']}" if name == "duchenne-method" else name
    if name in STORES and version == VERSION:
        return cast(Store, STORES.load(name))
    raise ModelError(
        f"{folder.path} holds a model of format {name[:40]!r} version {str(version)[:40]}; expected "
        f"{', '.join(STORES)} version {VERSION}: train it again or install the matching duchenne."
    )


def load_as(model: str | Path | ModelFolder, kind: type[M]) -> tuple[M, dict[str, Any]]:
    """As `load`, where nothing but this kind of model will do."""
    found, facts = load(model)
    if not isinstance(found, kind):
        raise ModelError(f"{model} is a {found.format} model, expected {kind.format}; choose another model.")
    return found, facts


def load_classifier(model: str | Path | ModelFolder) -> tuple[Classifier, dict[str, Any]]:
    """As `load`, where a model must tell genuine from posed."""
    found, facts = load(model)
    if not isinstance(found, Classifier):
        raise ModelError(f"{model} does not tell genuine from posed, which is needed here; choose another model.")
    return found, facts


def card(model: str | Path) -> dict[str, Any]:
    """The facts of a model's card (measured scores, people, limits); empty when it has none."""
    path = locate(model) / "card.json"
    try:
        return dict(io.read_json(audit.file(path.parent, path.name))) if path.is_file() else {}
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a readable card; the model is damaged, get or train it again.") from error
