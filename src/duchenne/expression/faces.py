"""Labelled faces in memory, and how they are cropped from images and videos, as in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from duchenne import video
from duchenne.clips.cache import Cache, content
from duchenne.datasets import splits
from duchenne.errors import InputError
from duchenne.faces import crops
from duchenne.progress import TickOf
from duchenne.types import Array
from duchenne.video import images

#: A class, or the levels of action units.
Label = str | tuple[float, ...]


#: What a fold may be called → its role.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "public_test"), "validation"),
    **dict.fromkeys(("test", "testing", "private_test"), "test"),
}


@dataclass(frozen=True)
class Row:
    """One image before it is read: a file, or the frame (from 1) of a video; `label` a class, or units' levels."""

    path: Path
    label: Label
    subject: str = ""
    fold: str = ""
    frame: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.frame is None else f"{self.path}#{self.frame}"


@dataclass(frozen=True, eq=False)
class Faces:
    """Labelled faces.

    images    uint8 (N, 48, 48), or RGB (N, 48, 48, 3)
    labels    int64 (N,), indices of `classes`; or of action units float64 (N, K), NaN where not coded
    subjects  str (N,), or None where they are not known
    folds     str (N,), as the data name them, "" where they name none; `roles` says what they are for
    notes     sentences on what was left out or assumed
    shares    float64 (N, K), or None: the share of the raters that gave each class, of which `labels` are the most
              frequent; they need not add up to 1
    second    int64 (N,), or None: labels of another set of classes, `second_classes`; −1 where not known
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    files: tuple[str, ...]
    subjects: Array | None
    folds: Array
    notes: tuple[str, ...] = ()
    shares: Array | None = None
    second: Array | None = None
    second_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def roles(self) -> Array:
        """str (N,): train, validation or test."""
        return np.array([ROLES.get(fold, "test") if fold else "train" for fold in self.folds.tolist()], str)

    def of(self, rows: Array) -> Faces:
        """Those of these rows."""
        files = tuple(np.array(self.files, object)[rows].tolist())
        subjects = None if self.subjects is None else self.subjects[rows]
        images, labels, folds = self.images[rows], self.labels[rows], self.folds[rows]
        shares, second = (None if each is None else each[rows] for each in (self.shares, self.second))
        found = replace(self, images=images, labels=labels, files=files, subjects=subjects, folds=folds)
        return replace(found, shares=shares, second=second)


@dataclass(frozen=True)
class Reader:
    """How images become faces.

    is_aligned  every image is itself a cropped face; an image of exactly 48×48 pixels always is
    skip        images in which no face is found are left out with a note, instead of an error
    person      regular expression; its group (or all of it) in an image's path below the data is the subject
    channels    1 for grey crops, 3 for RGB
    cache       of the faces that were found, so that no image is searched twice
    tick        called with the number of images that are read, and of all
    """

    is_aligned: bool = False
    skip: bool = False
    person: str | None = None
    channels: int = 1
    cache: Cache | None = None
    tick: TickOf | None = None

    def faces(self, rows: Sequence[Row], classes: Sequence[str], where: str | Path) -> Faces:
        """Every row's face; InputError for missing or unreadable files, and images without a face."""
        if missing := [row.path for row in rows if not row.path.is_file()]:
            lost = f"{len(missing)} of {len(rows)} files of {where} are missing"
            raise InputError(f"{lost}, first {missing[0]}; check the paths.")
        found = [(row, crop) for row, crop in zip(rows, self._crops(rows), strict=True) if crop is not None]
        notes: tuple[str, ...] = ()
        if len(found) < len(rows):
            first = next(row for i, row in enumerate(rows) if i == len(found) or row is not found[i][0])
            fault = f"No face was found in {len(rows) - len(found)} of {len(rows)} images of {where}, first {first}"
            if first.frame is None and (turn := crops.lying(images.read(first.path).grey)):
                fault += f" (which shows one when it is turned by {turn})"
            if not self.skip:
                raise InputError(
                    f"{fault}; pass --aligned if they are cropped faces, --skip-missing-faces to leave them out."
                )
            notes = (f"{fault}; they are left out.",)
        shape = (crops.SIDE, crops.SIDE, 3)[: 3 if self.channels == 3 else 2]
        faces = np.array([crop for _, crop in found], np.uint8).reshape(-1, *shape)
        if self.channels == 3 and (faces == faces[..., :1]).all():
            raise InputError(f"{where} has no image in colour; train a network for grey faces, with --channels 1.")
        labels = [classes.index(row.label) if isinstance(row.label, str) else row.label for row, _ in found]
        subjects = [row.subject for row, _ in found]
        return Faces(
            faces,
            np.array(labels, np.int64 if rows and isinstance(rows[0].label, str) else np.float64),
            tuple(classes),
            tuple(str(row) for row, _ in found),
            splits.persons(subjects) if subjects and all(subjects) else None,
            np.array([row.fold for row, _ in found], str),
            notes,
        )

    def _crops(self, rows: Sequence[Row]) -> Iterator[Array | None]:
        of_video: dict[tuple[Path, int], Array | None] = {}
        for i, row in enumerate(rows):
            if row.frame is None:
                yield self._image_crop(row)
            else:
                if (row.path, row.frame) not in of_video:
                    of_video = self._video_crops([each for each in rows if each.path == row.path])
                yield of_video[row.path, row.frame]
            if self.tick is not None:
                self.tick(i + 1, len(rows))

    def _video_crops(self, rows: Sequence[Row]) -> dict[tuple[Path, int], Array | None]:
        """The faces of the labelled frames of one video, read once; InputError for a frame that it does not have."""
        pending = {row.frame or 0: row for row in rows}
        found: dict[tuple[Path, int], Array | None] = {}
        for frame in video.frames(rows[0].path):
            if row := pending.pop(frame.index + 1, None):
                picture = frame.bgr[..., ::-1] if self.channels == 3 else frame.grey
                found[row.path, frame.index + 1] = self._largest(row, frame.grey, picture)
            if not pending:
                break
        if pending:
            raise InputError(f"{rows[0].path} has no frame {min(pending)}, which has labels; copy both again.")
        return found

    def _image_crop(self, row: Row) -> Array | None:
        still = images.read(row.path)
        picture = still.colours()[..., ::-1] if self.channels == 3 else still.grey
        if self.is_aligned or still.grey.shape == (crops.SIDE, crops.SIDE):
            return crops.aligned(picture)
        return self._largest(row, still.grey, picture)

    def _largest(self, row: Row, grey: Array, picture: Array) -> Array | None:
        """The crop of the largest face, found in grey levels, of the picture, which may be RGB."""

        def find() -> dict[str, Array]:
            faces = crops.find(grey)
            return {"face": crops.crop(picture, faces[0].points)} if faces else {}

        key = ["face", content(row.path), row.frame, *([self.channels] if self.channels == 3 else ())]
        found = find() if self.cache is None else self.cache.arrays(key, find)
        return found.get("face")
