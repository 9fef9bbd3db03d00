"""Model folders as strangers write them: which of their files are read, that they lie inside, and what they hash to.

Pickles, and what may hold one, are refused by name: reading one can run any program.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duchenne import io
from duchenne.errors import ModelError

#: What is read of a model folder, and what of it makes its digest; what tells of it is no part of the model.
KINDS = (".json", ".npz", ".safetensors")
BESIDE = ("card.json", "curve.json", "reference.json")
_PICKLES = frozenset(
    (".pkl", ".pickle", ".p", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".mar", ".npy", ".h5", ".keras")
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST = 2**32  # bytes of one file
_MOST_DEPTH = 16  # of models that are made of models


def refuse_pickles(place: Path) -> None:
    """ModelError where `place` is, or is a folder that holds, a file that could run a program when it is read."""
    if not place.exists():
        return
    found = sorted(each for each in (place.iterdir() if place.is_dir() else (place,)))
    if bad := [each.name for each in found if each.suffix.lower() in _PICKLES]:
        inside = f"{place} holds {bad[0]}, which" if place.is_dir() else f"{place}"
        raise ModelError(
            f"{inside} may be a pickle, and to read one can run any program; expected a folder of "
            f"{', '.join(KINDS)}: take the file away, or get the model in these."
        )


def file(folder: Path, name: Any) -> Path:
    """The place of a file that `model.json` names; ModelError for names that lead out of the folder, and for links."""
    if isinstance(name, str) and _NAME.fullmatch(name) and Path(name).suffix in KINDS:
        path = folder / name
        if path.resolve().parent == folder.resolve():
            return path
    raise ModelError(
        f"Model {folder} names a file {str(name)[:80]!r}; expected one inside it, of the kinds {', '.join(KINDS)}: get "
        "or train it again."
    )


def member(folder: Path, name: Any) -> Path:
    """The folder of a part that `model.json` names, inside its own or beside it; ModelError as `file`."""
    if isinstance(name, str) and _NAME.fullmatch(name) and "." not in name:
        places = [folder / name, folder.parent / name]
        for place in places:
            if place.is_dir() and place.resolve() == place.parent.resolve() / name:
                return place
        if not any(place.is_symlink() for place in places):
            return places[0]  # where it is missing
    raise ModelError(f"Model {folder} names a part {str(name)[:80]!r}, which is none of it; get it anew.")


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder, each of its files hashed once.

    about     what its `model.json` says
    sha256    over names and bytes of its model files: card and learning curve are no part of the model
    problems  what is missing or changed, one phrase per file
    members   the folders of the models that it is made of, those that are as they were saved
    """

    path: Path
    about: dict[str, Any]
    sha256: str
    problems: tuple[str, ...] = ()
    members: dict[str, ModelFolder] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.path)


def read(folder: Path, hashes: Mapping[str, str] | None = None, depth: int = 0) -> ModelFolder:
    """Read `model.json` and compare what it says with the files; `hashes` as `_hashes` gives them, where known, and
    `depth`, how many models it is a member of.

    ModelError for a folder that describes no model, for pickles, and for files and members that are none inside it.
    """
    refuse_pickles(folder)
    if depth > _MOST_DEPTH:
        raise ModelError(f"Model {folder} lies in more than {_MOST_DEPTH} others; expected fewer: train it again.")
    about, found, problems, members = describe(folder), hashes or _hashes(folder), [], {}
    for name, expected in mapping(about, "files").items():
        if file(folder, name).name not in found:
            problems.append(f"{name} is missing")
        elif found[name] != expected:
            problems.append(f"{name} is not the file that was saved (sha256 differs)")
    for name, expected in mapping(about, "members").items():
        place = member(folder, name)
        inside = _hashes(place) if (place / "model.json").is_file() else {}
        if not inside:
            problems.append(f"its part {name} is missing")
        elif _digest(inside) != expected:  # over all of its files, so nothing else can differ
            problems.append(f"its part {name} is not the model that it was saved with (sha256 differs)")
        else:
            members[name] = read(place, inside, depth + 1)
    return ModelFolder(folder, about, _digest(found), tuple(problems), members)


def describe(folder: Path) -> dict[str, Any]:
    """What `model.json` says; ModelError where it is no description of a model."""
    try:
        about = io.read_json(file(folder, "model.json"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise ModelError(f"{folder / 'model.json'} does not describe a model: it is damaged; get or train it again.")
    return about


def mapping(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The "files" or "members" of a `model.json`; empty where it has none (a descriptor model's "members" is a word:
    which of its own parts judge)."""
    found = about.get(name)
    return found if isinstance(found, dict) else {}


def digest(folder: Path) -> str:
    """sha256 over names and bytes of a folder's model files; ModelError for links out of it, pipes and giants."""
    return _digest(_hashes(folder))


def _hashes(folder: Path) -> dict[str, str]:
    """Name → sha256 of a folder's model files, by name."""
    found = {}
    for path in sorted(each for each in folder.iterdir() if each.suffix in KINDS and each.name not in BESIDE):
        inside = file(folder, path.name)
        if not inside.is_file() or inside.stat().st_size > _MOST:
            raise ModelError(
                f"Model {folder} holds {path.name}, which is no file of a model, or too large; get it anew."
            )
        found[path.name] = io.sha256(path)
    return found


def _digest(hashes: Mapping[str, str]) -> str:
    total = hashlib.sha256()
    for name, value in hashes.items():
        total.update(name.encode() + b"\0" + bytes.fromhex(value))
    return total.hexdigest()
