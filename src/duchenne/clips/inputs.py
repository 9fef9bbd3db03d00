"""The faces of images, videos, and folders of images: a row for each image, or moment of a video, and face."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duchenne import video
from duchenne.clips.load import ReadFaces
from duchenne.errors import InputError, UsageError
from duchenne.faces import crops, join, protagonist
from duchenne.faces.crops import Face
from duchenne.faces.reading import no_face
from duchenne.progress import Log, Tick
from duchenne.registry import check_reader
from duchenne.types import Array, Json
from duchenne.video import folders, images

if TYPE_CHECKING:
    import pandas as pd

_ROUNDING = 1e-6  # s by which a video's timestamps may miss a moment


class Row(NamedTuple):
    """Where a face is: `file`, `time` in seconds (NaN of an image), `face` 0 for the most prominent; or a `problem`."""

    file: str
    time: float = math.nan
    face: int | None = None
    problem: str | None = None
    seen: bool = False


@dataclass(frozen=True)
class Inputs:
    """Checked inputs and what applies to each.

    all_faces    a row for each face, not only for the most prominent
    is_aligned   images are themselves cropped faces
    in_colour    crops are RGB
    every        seconds between two rows of a video, 0 for every frame
    read         yields the blocks of a video's faces, as `reader` follows them
    rate         frames/s of a file that stores no times
    videos       those of `paths` that are read over time
    """

    paths: tuple[Path, ...]
    all_faces: bool
    is_aligned: bool
    every: float
    allow_truncated: bool
    read: ReadFaces
    reader: str
    rate: float | None
    videos: frozenset[Path]
    in_colour: bool = False

    @classmethod
    def of(
        cls, paths: str | Path | Sequence[str | Path], *, every: float, is_aligned: bool, rate: float | None,
        reader: str, all_faces: bool, allow_truncated: bool, read: ReadFaces,
    ) -> Inputs:  # fmt: skip
        """UsageError for options that are not allowed."""
        inputs = (Path(paths),) if isinstance(paths, str | Path) else tuple(Path(path) for path in paths)
        if not inputs:
            raise UsageError("There are no inputs; name images, videos or folders of images.")
        if not (every >= 0 and math.isfinite(every)):
            raise UsageError(f"--every must be a number of seconds, or 0 for every frame, found {every}; correct it.")
        videos = [path for path in inputs if _is_video(path, rate)]
        if videos and is_aligned:
            raise UsageError(f"--aligned is for images that are cropped faces, found {videos[0]}; leave --aligned out.")
        reader = check_reader(reader)
        return cls(inputs, all_faces, is_aligned, every, allow_truncated, read, reader, rate, frozenset(videos))


class Progress:
    """How many images and frames are done, and notes on them."""

    def __init__(self, tick: Tick | None) -> None:
        self.done, self.notes, self.warnings = 0, list[str](), list[str]()
        self._tick = tick

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        if self._tick is not None:
            self._tick(self.done)

    def counter(self) -> Tick:
        """The callback for one video, called with the number of its frames that are done."""
        before = self.done
        return lambda n: self.add(before + n - self.done)

    def report(self, log: Log) -> None:
        """Log the first note and how many there are, and every warning."""
        if notes := self.notes:
            more = f" So were {len(notes) - 1} more files, smaller or in part." if len(notes) > 1 else ""
            log(f"{notes[0]}{more}")
        for warning in self.warnings:
            log(f"note: {warning}")


def table(rows: Sequence[Row], columns: Mapping[str, object], timed: bool) -> pd.DataFrame:
    """Columns file, time (if `timed`), face, then `columns`, then problem."""
    import pandas as pd

    place: dict[str, object] = {"file": [row.file for row in rows]}
    if timed:
        place["time"] = np.array([row.time for row in rows]).round(6)
    place["face"] = pd.array([row.face for row in rows], dtype="Int64")
    return pd.DataFrame({**place, **columns} | {"problem": pd.array([row.problem for row in rows], dtype="string")})


def rows(inputs: Inputs, progress: Progress) -> Iterator[tuple[Row, Face | None]]:
    """Every row, with its face if that is seen; files are read lazily.

    InputError where the only input is a file that cannot be used or a folder without images.
    """
    alone = len(inputs.paths) == 1
    for path in inputs.paths:
        try:
            files = list(_images(path)) if path.is_dir() else [path]
            if not files:
                known = " ".join(sorted(folders.SUFFIXES))
                raise InputError(
                    f"{path} is a folder without images; expected files in {known}, or name videos one by one."
                )
        except InputError as error:
            if alone:
                raise
            yield Row(str(path), problem=str(error)), None
            continue
        for file in files:
            name = file.relative_to(path).as_posix() if alone and file != path else str(file)
            read = _of_video if file in inputs.videos else _of_image
            try:
                yield from read(file, name, inputs, progress)
            except InputError as error:
                if alone and file == path:
                    raise
                yield Row(name, problem=str(error)), None


def faces(inputs: Inputs, progress: Progress, into: list[Row]) -> Iterator[Face]:
    """Every face that is seen, as it is read; `into` gets all rows. Errors as `rows`."""
    for row, face in rows(inputs, progress):
        into.append(row)
        if face is not None:
            yield face


def _is_video(path: Path, rate: float | None) -> bool:
    """Whether a file is read over time: a video, or an animation or pages whose times are stored or given."""
    if path.is_dir():
        return False
    if not images.is_image(path):
        return path.suffix.lower() not in folders.SUFFIXES
    try:
        return images.count(path) > 1 and bool(rate or images.read(path).seconds)
    except InputError:
        return False  # which is reported in its row


def _images(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The images of a folder and its subfolders, in natural order, without hidden files."""
    try:
        here, inside = folder.resolve(), sorted(folder.iterdir(), key=video.natural)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
    for path in inside:
        if path.name[0] == "." or path.name == "__MACOSX":  # the latter holds a second, unreadable set
            continue
        if path.is_dir():
            if path.resolve() not in above | {here}:  # a link may lead back
                yield from _images(path, above | {here})
        elif path.suffix.lower() in folders.SUFFIXES and path.is_file():
            yield path


def _of_image(path: Path, name: str, inputs: Inputs, progress: Progress) -> Iterator[tuple[Row, Face]]:
    try:
        found, notes = crops.faces(path, is_aligned=inputs.is_aligned, in_colour=inputs.in_colour, reader=inputs.reader)
    finally:
        progress.add()
    progress.notes += notes
    for k, face in enumerate(found if inputs.all_faces else found[:1]):
        yield Row(name, face=k, seen=True), face


def _of_video(path: Path, name: str, inputs: Inputs, progress: Progress) -> Iterator[tuple[Row, Face | None]]:
    """Reads the file twice: that a face was tracked wrongly shows only later, when its rows are withdrawn."""
    how: Json = {"rate": inputs.rate, "allow_truncated": inputs.allow_truncated}
    found = join(
        inputs.read(path, reader=inputs.reader, all_faces=inputs.all_faces, on_frame=progress.counter(), **how),
        str(path),
    )
    progress.warnings += [f"{path}: {note}" for note in video.notes(path)]
    main = protagonist(found.tracks)
    tracks = [(t, seen) for t in found.tracks if (seen := t.seen).any() and (inputs.all_faces or t is main)]
    if not tracks:
        raise no_face(path, len(found.time), **how)
    pending = set(_moments(found.time, inputs.every))
    with closing(video.frames(path, **how)) as again:
        for frame in again:
            if frame.index in pending:
                pending.remove(frame.index)
                picture = frame.bgr[..., ::-1] if inputs.in_colour else frame.grey
                for k, (track, seen) in enumerate(tracks):
                    face = crops.of_frame(picture, track, frame.index) if seen[frame.index] else None
                    yield Row(name, frame.time, k, seen=face is not None), face
            if not pending:
                return


def _moments(time: Array, every: float) -> list[int]:
    """Rows of `time` (T,), the first at or after each multiple of `every` seconds; all for 0."""
    if every == 0:
        return list(range(len(time)))
    step = np.floor((time + _ROUNDING) / every)
    return np.flatnonzero(np.diff(step, prepend=-1.0) > 0).tolist()
