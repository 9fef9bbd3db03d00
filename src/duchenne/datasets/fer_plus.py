"""FER+ (Barsoum et al. 2016, arXiv:1608.01041): ten raters' votes on the images of FER2013, in two forms.

The published form is `fer2013new.csv` beside `fer2013.csv`, row by row; the packed one `labels.npz` beside sheets of
images. Both keep FER2013's own labels, which agree with the majority of the votes in fewer than two of three images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne.datasets import fer2013
from duchenne.datasets.packed import open_arrays
from duchenne.errors import InputError
from duchenne.io import Table
from duchenne.types import Array
from duchenne.video.images import read as read_image

#: Classes that are voted on; `fer2013.CLASSES` are the first seven.
CLASSES = (*fer2013.CLASSES, "contempt")
RATERS = 10
_TABLE = "fer2013new.csv"
_COLUMNS = (*CLASSES, "unknown", "nf")  # of the table; the last two are votes for none of the classes
_ACROSS, _DOWN = 50, 20  # images of a sheet
_FOLDS = ("train", "public_test", "private_test")
_ARRAYS = ("images", "shares", "own", "folds")


@dataclass(frozen=True, eq=False)
class Votes:
    """images uint8 (N, 48, 48); shares float64 (N, 8), of the raters, for `CLASSES`; own int64 (N,), FER2013's labels,
    −1 where not known; folds and files str (N,)."""

    images: Array
    shares: Array
    own: Array
    folds: Array
    files: tuple[str, ...]


def read(root: Path) -> Votes | None:
    """A copy's images and votes; None where the folder has no votes.

    InputError where votes add up to none, or to more than `RATERS`, and where tables, sheets and images do not belong
    together.
    """
    if (root / _TABLE).is_file():
        return _table(root)
    if (root / "labels.npz").is_file() and any(root.glob("*-00.webp")):
        return _sheets(root)
    return None


def agreed(shares: Array) -> Array:
    """bool (N,): whether at least half of the raters give one class (N, K), which is then the image's label."""
    return np.asarray(shares.max(axis=1) >= 0.5)


def _table(root: Path) -> Votes:
    entries = fer2013.table(root)
    rows = list(Table(root / _TABLE, ("usage", *_COLUMNS)))
    if len(entries) != len(rows):
        raise InputError(
            f"{root / _TABLE} has {len(rows)} rows, expected the {len(entries)} of the images' table; get both again."
        )
    votes = np.array([[_vote(row.cells[name], row.where) for name in _COLUMNS] for row in rows], np.int64)
    where = [row.where for row in rows]
    has_name = np.array([bool(row.cells.get("image name", "x")) for row in rows])  # FER+ took out images of nothing
    shares = _shares(votes[has_name], [each for each, kept in zip(where, has_name.tolist(), strict=True) if kept])
    kept = [entry for entry, there in zip(entries, has_name.tolist(), strict=True) if there]
    own = np.array([fer2013.CLASSES.index(str(entry.clip.emotion)) for entry in kept], np.int64)
    folds, files = [str(entry.clip.fold) for entry in kept], tuple(entry.clip.path for entry in kept)
    return Votes(fer2013.images(kept), shares[:, : len(CLASSES)], own, np.array(folds, str), files)


def _vote(text: str, where: str) -> int:
    if not text.isdigit():
        raise InputError(f"{where}: expected a number of votes, found '{text}'; correct the cell.")
    return int(text)


def _shares(votes: Array, where: list[str]) -> Array:
    """Of all votes of an image, of which few have one less than `RATERS`."""
    total = votes.sum(axis=1)
    wrong = np.flatnonzero((total < 1) | (total > RATERS) | (votes < 0).any(axis=1))
    if len(wrong):
        found = "+".join(map(str, votes[wrong[0]].tolist()))
        raise InputError(f"{where[wrong[0]]}: expected 1 to {RATERS} votes in all, found {found}; get the file again.")
    return np.asarray(votes / total[:, None])


def _sheets(root: Path) -> Votes:
    path = root / "labels.npz"
    arrays = open_arrays(path)
    names = [str(each) for each in arrays.get("vote_names", ())]
    if not {*names} >= {*CLASSES}:
        raise InputError(f"{path} has votes for {', '.join(names) or 'nothing'}; expected {', '.join(CLASSES)}.")
    order = [names.index(name) for name in CLASSES]
    parts = [_fold(root, fold, arrays, order) for fold in _FOLDS if f"{fold}_votes" in arrays]
    if not parts:
        raise InputError(f"{path} has no train_votes; copy it again.")
    images, shares, own, folds = (np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS)
    return Votes(images, shares, own, folds, tuple(file for part in parts for file in part.files))


def _fold(root: Path, fold: str, arrays: dict[str, Array], order: list[int]) -> Votes:
    votes, own = arrays[f"{fold}_votes"].astype(np.int64), arrays[f"{fold}_labels"].astype(np.int64)
    count = len(votes)
    shares = _shares(votes, [f"{root / 'labels.npz'}, {fold} image {i}" for i in range(count)])
    files = tuple(f"{root / fold}-{i // 1000:02d}.webp#{i % 1000}" for i in range(count))
    return Votes(_faces(root, fold, count), shares[:, order], own, np.full(count, fold), files)


def _faces(root: Path, fold: str, count: int) -> Array:
    side, found = fer2013.SIDE, []
    for path in sorted(root.glob(f"{fold}-*.webp")):
        sheet = read_image(path).grey
        if sheet.shape != (_DOWN * side, _ACROSS * side):
            raise InputError(
                f"{path} has {sheet.shape[1]}×{sheet.shape[0]} pixels; expected {_ACROSS * side}×{_DOWN * side}."
            )
        found.append(sheet.reshape(_DOWN, side, _ACROSS, side).transpose(0, 2, 1, 3).reshape(-1, side, side))
    if sum(map(len, found)) < count:
        raise InputError(f"{root} has {sum(map(len, found))} images of {fold}, expected {count}; copy it again.")
    return np.concatenate(found)[:count]
