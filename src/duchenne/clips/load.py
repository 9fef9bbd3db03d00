"""The sample of a manifest's row: a face tracked through a video, a packed track, or a row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io
from duchenne.clips.cache import content
from duchenne.datasets import manifest
from duchenne.errors import InputError
from duchenne.faces import join, protagonist
from duchenne.faces.reading import no_face, read_faces
from duchenne.io import Block
from duchenne.types import Clip, FaceTrack, Features, Sample

#: `faces.reading.read_faces`, or `clips.cache.Cache.read_faces`.
ReadFaces = Callable[..., Iterator[Block]]
#: Columns of a feature table that are not features.
ABOUT = frozenset(
    {"genuine", "label", "posed", "subject", "person", "group", "gender", "sex", "age", "emotion", "video"}
    | {"clip", "fold", "file", "filename", "name", "path", "id"}
)


def read(clip: Clip, faces: ReadFaces = read_faces) -> Sample:
    """The protagonist of a clip's video, or one track or table row of a packed file ("x.npz#3", "x.csv#12").

    `faces` reads a video's faces: `faces.reading.read_faces`, or a cache of its results. Table columns named in `ABOUT`
    and columns of text are left out. InputError where there is no face or row.
    """
    file, which = manifest.split_path(clip.path)
    if which is None:
        followed = join(faces(clip.path, reader=clip.reader, **clip.stretch), clip.path)
        track = protagonist(followed.tracks)
        if track is None:
            raise no_face(clip.path, len(followed.time), **clip.stretch)
        return track
    packed = _packed(file, _stamp(file))
    number = int(which) if which.isdecimal() and len(which) < 10 else -1
    index = packed.where.get(which, number)
    if not 0 <= index < len(packed):
        raise InputError(f"{file} has no row '{which}'; it holds {len(packed)}, numbered from 0.")
    return packed[index]


def is_video(clip: Clip) -> bool:
    """Whether the clip is a file or folder of images of its own, in which a face must be followed."""
    return manifest.split_path(clip.path)[1] is None and Path(clip.path).exists()


def identity(clip: Clip) -> list[Any]:
    """Identifies a clip wherever it lies: the bytes of its file, and which part of it. OSError for a missing file."""
    file, which = manifest.split_path(clip.path)
    return [content(Path(file)), Path(file).suffix.lower(), which, *clip.stretch.values(), clip.reader]


class _Packed:
    """Tracks or feature rows of one file, and the index of each name."""

    def __init__(self, rows: Any, names: list[str], features: tuple[str, ...] = (), source: str = "") -> None:
        self.rows, self.features, self.source = rows, features, source
        self.where = {name: i for i, name in enumerate(names)} if len(set(names)) == len(names) else {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        if not self.features:
            track: FaceTrack = self.rows[index]
            return track
        return Features(self.rows[index], self.features, f"{self.source}#{index}")


def _stamp(file: str) -> tuple[int, int] | None:
    """Changes when the file does, so that a long-running process reads it again."""
    try:
        found = Path(file).stat()
    except OSError:  # reading it raises the error
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=2)
def _packed(file: str, _: tuple[int, int] | None) -> _Packed:
    if file.lower().endswith(".csv"):
        return _table(file)
    features = _feature_archive(file)
    if features is not None:
        names = tuple(f"f{i}" for i in range(features.shape[1]))
        return _Packed(features, [], names, file)
    tracks = io.load_tracks(file)
    return _Packed(tracks, [track.source for track in tracks])


def _feature_archive(file: str) -> Any:
    """float64 (N, D) of an .npz with a matrix `features`; None for anything else."""
    try:
        found = io.read_arrays(Path(file), ("features",)).get("features")
        found = None if found is None else np.asarray(found, float)
    except (OSError, ValueError):
        return None
    return found if found is not None and found.ndim == 2 and found.shape[1] else None


def _table(file: str) -> _Packed:
    try:
        table = io.read_table(Path(file))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a CSV table ({error}); correct the file.") from error
    numbers = table.select_dtypes("number")
    numbers = numbers[[name for name in numbers.columns if not _about(str(name))]]
    if not len(numbers.columns):
        raise InputError(f"{file} has no numeric column; expected one row per clip and one column per feature.")
    return _Packed(numbers.to_numpy(float), [], tuple(map(str, numbers.columns)), file)


def _about(name: str) -> bool:
    return not name or name.lower() in ABOUT or name.startswith("Unnamed:")  # pandas' name for a column without one
