"""The emotions of images and videos as one table: a row per image, or per moment of a video, and face."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duchenne import video
from duchenne.clips.load import ReadFaces
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression import reading
from duchenne.faces import crops, join, protagonist
from duchenne.faces.reading import no_face, read_faces
from duchenne.progress import Log, Tick
from duchenne.registry import READERS, check_reader
from duchenne.types import Array, Json
from duchenne.video import folders, images

if TYPE_CHECKING:
    import pandas as pd

#: Columns beside the network's own, in order; `time` only where there is a video, `emotion` only of emotions.
COLUMNS = ("file", "time", "face", "emotion", "problem")
_ROUNDING = 1e-6  # s by which a video's timestamps may miss a moment


class _Row(NamedTuple):
    file: str
    time: float = math.nan
    face: int | None = None
    problem: str | None = None
    seen: bool = False


@dataclass(frozen=True)
class _Options:
    """What applies to every input."""

    all_faces: bool
    is_aligned: bool
    in_colour: bool
    every: float
    allow_truncated: bool
    read: ReadFaces
    reader: str
    rate: float | None = None
    videos: frozenset[Path] = frozenset()


class _Progress:
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


def table(
    paths: str | Path | Sequence[str | Path],
    *,
    model: str | Path = "expression",
    all_faces: bool = False,
    is_aligned: bool = False,
    every: float = 0.1,
    flips: bool = True,
    device: str = "auto",
    allow_truncated: bool = False,
    rate: float | None = None,
    reader: str = READERS[0],
    tick: Tick | None = None,
    log: Log | None = None,
    read: ReadFaces = read_faces,
) -> pd.DataFrame:
    """The predictions of a network for the faces in images, videos, and folders of images (with their subfolders).

    Columns: file; time, seconds from a video's first frame, only if there is a video; face, 0 for the most prominent;
    emotion, the likeliest, of a network for emotions; one column per class with its probability (per action unit with
    its probability, or its intensity 0 to 5); problem. `file` is relative to a folder that is the only input. The
    prediction is missing where a face is not seen, and where a file cannot be used, as `problem` then says.

    model       id of a shipped expression network, or its folder
    all_faces   a row for each face, not only for the most prominent
    is_aligned  the images are themselves cropped faces
    every       seconds between two rows of a video, 0 for every frame
    flips       the mean with the prediction for the mirrored face
    rate        frames/s of a file that stores no times: a bare stream, an image of several pages, which is then a video
    reader      of faces: mesh or paper
    device      see `learn.optim.device_of`; `log` reports the one that is used
    read        yields the blocks of a video's faces
    tick, log   called with the number of images and frames done, and with lines for people

    InputError where the only input is a file that cannot be used or a folder without images; UsageError for options
    that are not allowed; ModelError for a model that is not an expression network.
    """
    inputs = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not inputs:
        raise UsageError("There are no inputs; name images, videos or folders of images.")
    if not (every >= 0 and math.isfinite(every)):
        raise UsageError(f"--every must be a number of seconds, or 0 for every frame, found {every}; correct it.")
    videos = [path for path in inputs if _is_video(path, rate)]
    if videos and is_aligned:
        raise UsageError(f"--aligned is for images that are cropped faces, found {videos[0]}; leave --aligned out.")
    network, about = reading.load(model, device, in_colour=True)
    names, head = network.classes, network.network.config.head
    if taken := [name for name in names if name in COLUMNS]:
        raise ModelError(f"{model} has a class '{taken[0]}', which is also a column of the table; rename the class.")
    in_colour = network.network.config.channels == 3
    options = _Options(
        all_faces, is_aligned, in_colour, every, allow_truncated, read, check_reader(reader), rate, frozenset(videos)
    )
    progress = _Progress(tick)
    rows: list[_Row] = []

    def faces() -> Iterator[Array]:
        for row, face in _all(inputs, options, progress):
            rows.append(row)
            if face is not None:
                yield face

    predicted = reading.predict_crops(network, faces(), flips=flips)
    if log is not None:
        where = str(network.network.mean.device)
        log(f"Model {about['id']} ({head}: {', '.join(names)}) on {where}.")
        if notes := progress.notes:
            more = f" So were {len(notes) - 1} more files, smaller or in part." if len(notes) > 1 else ""
            log(f"{notes[0]}{more}")
        for warning in progress.warnings:
            log(f"note: {warning}")
    return _table(rows, predicted, names, head, bool(videos))


def _table(rows: list[_Row], predicted: Array, names: tuple[str, ...], head: str, timed: bool) -> pd.DataFrame:
    import pandas as pd

    seen = np.array([row.seen for row in rows], bool)
    values = np.full((len(rows), len(names)), np.nan)
    values[seen] = predicted.round(6)
    columns: dict[str, object] = {"file": [row.file for row in rows]}
    if timed:
        columns["time"] = np.array([row.time for row in rows]).round(6)
    columns["face"] = pd.array([row.face for row in rows], dtype="Int64")
    if head == "emotions":
        best = iter(predicted.argmax(axis=1).tolist())
        columns["emotion"] = pd.array([names[next(best)] if row.seen else None for row in rows], dtype="string")
    columns |= dict(zip(names, values.T, strict=True))
    return pd.DataFrame(columns | {"problem": pd.array([row.problem for row in rows], dtype="string")})


def _all(inputs: list[Path], options: _Options, progress: _Progress) -> Iterator[tuple[_Row, Array | None]]:
    """Every row, with its crop if the face is seen; files are read lazily."""
    alone = len(inputs) == 1
    for path in inputs:
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
            yield _Row(str(path), problem=str(error)), None
            continue
        for file in files:
            name = file.relative_to(path).as_posix() if alone and file != path else str(file)
            read = _of_video if file in options.videos else _of_image
            try:
                yield from read(file, name, options, progress)
            except InputError as error:
                if alone and file == path:
                    raise
                yield _Row(name, problem=str(error)), None


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


def _of_image(path: Path, name: str, options: _Options, progress: _Progress) -> Iterator[tuple[_Row, Array]]:
    try:
        found, notes = crops.faces(
            path, is_aligned=options.is_aligned, in_colour=options.in_colour, reader=options.reader
        )
    finally:
        progress.add()
    progress.notes += notes
    for k, face in enumerate(found if options.all_faces else found[:1]):
        yield _Row(name, face=k, seen=True), face.crop


def _of_video(path: Path, name: str, options: _Options, progress: _Progress) -> Iterator[tuple[_Row, Array | None]]:
    """Reads the file twice: that a face was tracked wrongly shows only later, when its rows are withdrawn."""
    how: Json = {"rate": options.rate, "allow_truncated": options.allow_truncated}
    found = join(
        options.read(path, reader=options.reader, all_faces=options.all_faces, on_frame=progress.counter(), **how),
        str(path),
    )
    progress.warnings += [f"{path}: {note}" for note in video.notes(path)]
    main = protagonist(found.tracks)
    tracks = [(t, seen) for t in found.tracks if (seen := t.seen).any() and (options.all_faces or t is main)]
    if not tracks:
        raise no_face(path, len(found.time), **how)
    pending = set(_moments(found.time, options.every))
    with closing(video.frames(path, **how)) as again:
        for frame in again:
            if frame.index in pending:
                pending.remove(frame.index)
                picture = frame.bgr[..., ::-1] if options.in_colour else frame.grey
                for k, (track, seen) in enumerate(tracks):
                    face = crops.crop(picture, track.points[frame.index]) if seen[frame.index] else None
                    yield _Row(name, frame.time, k, seen=face is not None), face
            if not pending:
                return


def _moments(time: Array, every: float) -> list[int]:
    """Rows of `time` (T,), the first at or after each multiple of `every` seconds; all for 0."""
    if every == 0:
        return list(range(len(time)))
    step = np.floor((time + _ROUNDING) / every)
    return np.flatnonzero(np.diff(step, prepend=-1.0) > 0).tolist()
