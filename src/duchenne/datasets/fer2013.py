"""FER2013 (Goodfellow et al. 2013): 35,887 grey faces of 48×48 pixels, in the three forms in circulation.

A loader takes the folder and returns one entry per image, none where it is another form. People are not
identified, so no split can be person-disjoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duchenne.datasets.entry import Entry
from duchenne.datasets.manifest import EMOTION_WORDS
from duchenne.datasets.packed import open_arrays
from duchenne.errors import InputError
from duchenne.io import Row, Table
from duchenne.types import Array, Clip
from duchenne.video import IMAGE_SUFFIXES
from duchenne.video.images import read as read_image

#: Emotions in the order of its numbers.
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_FOLDS = {"training": "train", "publictest": "public_test", "privatetest": "private_test"}
SIDE = 48
_MAX_BYTES = 2**30  # of a table, which has 300 MB


def table(root: Path) -> list[Entry]:
    """From `fer2013.csv` or `icml_face_data.csv` (columns emotion, pixels, Usage): paths "fer2013.csv#7".

    Rows count from 0, the header not among them. Raises InputError with the line for an unknown emotion or Usage, or
    another number of pixels; `images` checks the grey levels.
    """
    files = [f / name for f in (root, root / "fer2013") for name in ("fer2013.csv", "icml_face_data.csv")]
    path = next(filter(Path.is_file, files), None)
    if path is None:
        return []
    return [_row(path, row) for row in _rows(path)]


def _rows(path: Path) -> Table:
    return Table(path, ("emotion", "pixels", "usage"), most=_MAX_BYTES)


def _row(path: Path, row: Row) -> Entry:
    where, emotion, usage = row.where, row.cells["emotion"], row.cells["usage"]
    if emotion not in {"0", "1", "2", "3", "4", "5", "6"}:
        raise InputError(f"{where}, has the emotion '{emotion}'; expected a number from 0 to 6.")
    if usage.lower() not in _FOLDS:
        raise InputError(f"{where}, has the Usage '{usage}'; expected Training, PublicTest or PrivateTest.")
    if (count := row.cells["pixels"].count(" ") + 1) != SIDE**2:
        raise InputError(f"{where}, has {count} pixels; expected {SIDE**2}, separated by single spaces.")
    return Entry(Clip(f"{path}#{row.number}", emotion=CLASSES[int(emotion)], fold=_FOLDS[usage.lower()]))


def folders(root: Path) -> list[Entry]:
    """From one folder of images per fold and class, such as `train/angry/Training_3908.jpg`.

    The fold is that of the file's name, else that of the folder ("train", "test", ...): in a common release `test`
    holds both PublicTest_… and PrivateTest_…. Raises InputError for a class that FER2013 does not have.
    """
    tops = [top for top in (root, *sorted(root.glob("*"))) if (top / "train").is_dir() or (top / "test").is_dir()]
    entries = []
    for folder in sorted(tops[0].glob("*/*")) if tops else ():
        files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES] if folder.is_dir() else []
        emotion = EMOTION_WORDS.get(folder.name.lower())
        if files and emotion not in CLASSES:
            raise InputError(f"{folder} is not a class of FER2013; expected a folder for each of {', '.join(CLASSES)}.")
        for path in files:
            fold = _FOLDS.get(path.name.split("_")[0].lower(), folder.parent.name.lower())
            entries.append(Entry(Clip(str(path), emotion=emotion, fold=fold)))
    return sorted(entries, key=lambda entry: entry.clip.path)


def packed(root: Path) -> list[Entry]:
    """From `train.npz`, `public_test.npz`, `private_test.npz` with images uint8 (N, 48, 48) and labels (N,) 0 to 6."""
    entries = []
    for fold in _FOLDS.values():
        path = root / f"{fold}.npz"
        if not path.is_file():
            continue
        labels = _array(path, "labels")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not np.isin(labels, range(7)).all():
            raise InputError(f"{path} has labels that are not whole numbers from 0 to 6; pack it again.")
        entries += [
            Entry(Clip(f"{path}#{row}", emotion=CLASSES[label], fold=fold)) for row, label in enumerate(labels.tolist())
        ]
    return entries


def _array(path: Path, name: str) -> Array:
    arrays = open_arrays(path, (name,))
    if name not in arrays:
        raise InputError(f"{path} must hold the arrays images and labels; pack it again.")
    return arrays[name]


def images(entries: Sequence[Entry]) -> Array:
    """uint8 (N, 48, 48): the grey images of entries of any of the loaders, in their order.

    Every packed file is read once, whatever the order. Raises InputError where a row or file is missing, or is not an
    image of 48×48 grey levels.
    """
    out = np.empty((len(entries), SIDE, SIDE), np.uint8)
    requested: dict[Path, list[tuple[int, int]]] = {}  # file → its rows, and their places in `out`
    for place, entry in enumerate(entries):
        name, _, number = entry.clip.path.rpartition("#")
        if name.endswith((".csv", ".npz")):
            requested.setdefault(Path(name), []).append((int(number), place))
        else:
            out[place] = _image(Path(entry.clip.path))
    for path, pairs in requested.items():
        rows, places = np.array(pairs, np.int64).T
        distinct, back = np.unique(rows, return_inverse=True)
        out[places] = (_table_images if path.suffix == ".csv" else _packed_images)(path, distinct)[back]
    return out


def _table_images(path: Path, rows: Array) -> Array:
    images, numbers = np.empty((len(rows), SIDE, SIDE), np.uint8), iter(rows.tolist())
    done, following = 0, next(numbers)
    for row in _rows(path):
        if row.number == following:
            images[done] = _levels(row.cells["pixels"], row.where)
            done, following = done + 1, next(numbers, -1)
    if done < len(rows):
        raise InputError(f"{path} has no row {following}; list its images again.")
    return images


def _levels(text: str, where: str) -> Array:
    levels = np.fromstring(text, np.int64, sep=" ") if re.fullmatch("[0-9 ]+", text) else np.empty(0)
    if len(levels) != SIDE**2 or levels.max() > 255:
        raise InputError(f"{where}, does not have {SIDE**2} pixels from 0 to 255; copy it again.")
    return levels.reshape(SIDE, SIDE)


def _packed_images(path: Path, rows: Array) -> Array:
    images = _array(path, "images")
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise InputError(f"{path} has images {images.dtype} {images.shape}; expected uint8 (N, {SIDE}, {SIDE}).")
    if rows[-1] >= len(images):
        raise InputError(f"{path} has no row {rows[-1]}; list its images again.")
    return np.asarray(images[rows])


def _image(path: Path) -> Array:
    grey = read_image(path).grey
    if grey.shape != (SIDE, SIDE):
        found = f"{grey.shape[1]}×{grey.shape[0]} pixels"
        raise InputError(f"{path} is {found}; expected {SIDE}×{SIDE} pixels.")
    return grey


def duplicates(images_a: Array, images_b: Array) -> Array:
    """int64 (K, 2): every pair (i, j) for which images_a[i] and images_b[j] agree in all pixels, by j, then i.

    280 images of the public test also occur in the training images, so a score needs to be given without them too.
    """
    seen: dict[bytes, list[int]] = {}
    for i, image in enumerate(images_a):
        seen.setdefault(image.tobytes(), []).append(i)
    pairs = [(i, j) for j, image in enumerate(images_b) for i in seen.get(image.tobytes(), ())]
    return np.array(pairs, np.int64).reshape(-1, 2)
