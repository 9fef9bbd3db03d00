"""Model folders as strangers write them: which of their files are read, and that they lie inside.

Pickles, and what may hold one, are refused by name: reading one can run any program.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from duchenne import io
from duchenne.errors import ModelError

#: What is read of a model folder, and what of it makes its digest; what tells of it is no part of the model.
KINDS = (".json", ".npz", ".safetensors", ".ubj")
BESIDE = ("card.json", "curve.json", "reference.json")
_PICKLES = frozenset(
    (".pkl", ".pickle", ".p", ".dill", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".mar", ".npy", ".h5", ".keras")
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST = 2**32  # bytes of one file


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
    raise ModelError(f"Model {folder} names a file {str(name)[:80]!r}, which is none inside it; get it anew.")


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


def digest(folder: Path) -> str:
    """sha256 over names and bytes of a folder's model files; ModelError for links out of it, pipes and giants."""
    total = hashlib.sha256()
    for path in sorted(each for each in folder.iterdir() if each.suffix in KINDS and each.name not in BESIDE):
        inside = file(folder, path.name)
        if not inside.is_file() or inside.stat().st_size > _MOST:
            raise ModelError(
                f"Model {folder} holds {path.name}, which is no file of a model, or too large; get it anew."
            )
        total.update(path.name.encode() + b"\0" + bytes.fromhex(io.sha256(path)))
    return total.hexdigest()
