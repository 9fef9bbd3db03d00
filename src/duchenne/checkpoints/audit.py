"""Untrusted model folders: which files are read, that they lie inside the folder, and their hashes.

Files that may be pickles are refused by name: unpickling can run any program.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duchenne import io
from duchenne.checkpoints import facts
from duchenne.errors import ModelError

#: Suffixes that are read; files beside the model that are not part of its digest.
KINDS = (".json", ".npz", ".safetensors")
BESIDE = ("card.json", "curve.json", "reference.json")
_PICKLES = frozenset(
    (".pkl", ".pickle", ".p", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".mar", ".npy", ".h5", ".keras")
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST = 2**32  # bytes of one file
_MOST_DEPTH = 16  # of nested models


def refuse_pickles(place: Path) -> None:
    """ModelError where `place` is a pickle, or a folder that holds one."""
    if not place.exists():
        return
    found = sorted(each for each in (place.iterdir() if place.is_dir() else (place,)))
    if bad := [each.name for each in found if each.suffix.lower() in _PICKLES]:
        inside = f"{place} holds {bad[0]}, which" if place.is_dir() else f"{place}"
        raise ModelError(
            f"{inside} may be a pickle, which can run any program when it is read; expected only "
            f"{', '.join(KINDS)} files: remove it, or get the model in these formats."
        )


def file(folder: Path, name: Any) -> Path:
    """Path of a file that `model.json` names; ModelError for names outside the folder, and for links."""
    if isinstance(name, str) and _NAME.fullmatch(name) and Path(name).suffix in KINDS:
        path = folder / name
        if path.resolve().parent == folder.resolve():
            return path
    raise ModelError(
        f"Model {folder} names a file {str(name)[:80]!r}, expected a {', '.join(KINDS)} file inside the folder; get or "
        "train it again."
    )


def member(folder: Path, name: Any) -> Path:
    """Folder of a member that `model.json` names, inside its own or beside it; ModelError as `file`."""
    if isinstance(name, str) and _NAME.fullmatch(name) and "." not in name:
        places = [folder / name, folder.parent / name]
        for place in places:
            if place.is_dir() and place.resolve() == place.parent.resolve() / name:
                return place
        if not any(place.is_symlink() for place in places):
            return places[0]  # where it is missing
    raise ModelError(f"Model {folder} names a member {str(name)[:80]!r} outside its folder; get the model again.")


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder, each of its files hashed once.

    about     content of `model.json`
    sha256    over names and bytes of its model files, without card and learning curve
    problems  what is missing or changed, one phrase per file
    members   folders of its member models, those that are unchanged
    """

    path: Path
    about: dict[str, Any]
    sha256: str
    problems: tuple[str, ...] = ()
    members: dict[str, ModelFolder] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.path)


def read(folder: Path, hashes: Mapping[str, str] | None = None, depth: int = 0) -> ModelFolder:
    """Read `model.json` and compare it with the files; `hashes` of `_hashes` where known, `depth` of nesting.

    ModelError for a folder without a model, for pickles, and for files and members outside the folder.
    """
    refuse_pickles(folder)
    if depth > _MOST_DEPTH:
        raise ModelError(f"Model {folder} is nested in more than {_MOST_DEPTH} others; train it again.")
    about, found, problems, members = describe(folder), hashes or _hashes(folder), [], {}
    if missing := [name for name in ("id", "family", "facts", "files") if name not in about]:
        raise ModelError(f"{folder / 'model.json'} is damaged ({missing[0]} is missing); get or train the model again.")
    for name, expected in mapping(about, "files").items():
        if file(folder, name).name not in found:
            problems.append(f"{name} is missing")
        elif found[name] != expected:
            problems.append(f"{name} is not the file that was saved (sha256 differs)")
    for name, expected in mapping(about, "members").items():
        place = member(folder, name)
        inside = _hashes(place) if (place / "model.json").is_file() else {}
        if not inside:
            problems.append(f"its member {name} is missing")
        elif _digest(inside) != expected:  # over all of its files, so nothing else can differ
            problems.append(f"its member {name} is not the model that was saved (sha256 differs)")
        else:
            members[name] = read(place, inside, depth + 1)
    return ModelFolder(folder, about, _digest(found), tuple(problems), members)


def describe(folder: Path) -> dict[str, Any]:
    """Content of `model.json`; ModelError where it does not describe a model, or with invalid facts."""
    path = file(folder, "model.json")
    try:
        about = io.read_json(path)
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise ModelError(f"{path} is damaged (no model format); get or train the model again.")
    try:
        facts.check_model(about)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); get or train the model again.") from error
    return about


def mapping(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The "files" or "members" of a `model.json`; empty where there are none ("members" may be text)."""
    found = about.get(name)
    return found if isinstance(found, dict) else {}


def digest(folder: Path) -> str:
    """sha256 over names and bytes of a folder's model files; ModelError for links, pipes and oversized files."""
    return _digest(_hashes(folder))


def _hashes(folder: Path) -> dict[str, str]:
    """Name → sha256 of a folder's model files, by name."""
    found = {}
    for path in sorted(each for each in folder.iterdir() if each.suffix in KINDS and each.name not in BESIDE):
        inside = file(folder, path.name)
        if not inside.is_file() or inside.stat().st_size > _MOST:
            raise ModelError(
                f"Model {folder} holds {path.name}, which is not a regular file or is too large; get the model again."
            )
        found[path.name] = io.sha256(path)
    return found


def _digest(hashes: Mapping[str, str]) -> str:
    total = hashlib.sha256()
    for name, value in hashes.items():
        total.update(name.encode() + b"\0" + bytes.fromhex(value))
    return total.hexdigest()
