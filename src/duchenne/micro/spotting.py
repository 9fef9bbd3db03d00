"""Spotting micro-expressions in a clip, and recognising them with a trained model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints, io, limits, video
from duchenne.clips.cache import Cache
from duchenne.clips.load import ReadFaces
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.expression import reading, visibility
from duchenne.faces import crops, join, protagonist
from duchenne.faces.reading import about_reader, no_face, read_faces
from duchenne.features.phases import smoothed
from duchenne.features.spotting import FEWEST, LONGEST, SHORTEST, Spot, spot
from duchenne.io import Block
from duchenne.metrics.spotting import spotting_f1
from duchenne.micro.data import entries, frame_rate
from duchenne.preprocess.clean import breaks, stretches
from duchenne.preprocess.repeats import distinct
from duchenne.progress import Log, Tick
from duchenne.registry import READERS, check_reader
from duchenne.types import Array, FaceTrack, Json

if TYPE_CHECKING:
    from duchenne.micro.model import MicroModel

METHOD = (
    "feature difference analysis (Moilanen et al. 2014) of 68 points in 10 parts of the face; "
    f"{1000 * SHORTEST:g} to {1000 * LONGEST:g} ms that come and go"
)
#: Reader of faces, unless another is chosen (docs/micro-expressions.md compares them).
READER = READERS[0]
#: Share of a movement's frames in which the face must be seen, for training.
SEEN = 0.8
_STEADY = 0.1  # s, of the smoothing that keeps crops from jittering with their points


@dataclass(frozen=True)
class Found:
    """The micro-expressions of one clip, in order of time.

    rate      frames per second, the median; frames, of which the face was seen in `seen`
    answers   class → probability of each spot, with a model; else ()
    reader    what read the faces (`faces.reading.about_reader`)
    """

    source: str
    rate: float
    frames: int
    seen: int
    duration: float
    spots: tuple[Spot, ...]
    answers: tuple[dict[str, float], ...] = ()
    warnings: tuple[str, ...] = ()
    model: Json | None = None
    reader: Json = field(default_factory=dict)

    def rows(self) -> list[Json]:
        """A row per micro-expression: times in seconds, size in distances between the eyes, and what it is."""
        out = []
        for i, each in enumerate(self.spots):
            row: Json = {name: round(getattr(each, name), 3) for name in ("onset", "apex", "offset")}
            row |= {"duration": round(each.duration, 3), "size": round(each.size, 4), "clear": round(each.clear, 2)}
            row["parts"] = "; ".join(each.parts)
            if self.answers:
                p = self.answers[i]
                row |= {"expression": max(p, key=p.__getitem__), **{f"p_{name}": round(v, 4) for name, v in p.items()}}
            out.append(row)
        return out


def examine(
    path: str | Path,
    *,
    model: str | Path | None = None,
    rate: float | None = None,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: bool = False,
    device: str = "cpu",
    reader: str = READER,
    on_frame: Tick | None = None,
    read: ReadFaces = read_faces,
) -> Found:
    """Spot the micro-expressions of the most prominent face of a video or folder of images (`rate`, frames/s).

    With `model`, a folder that `train` wrote, each is also classified. `reader` reads the faces (mesh, paper);
    models are trained with `READER`. Times count from `start`; `read` yields the face's blocks. Below `FEWEST` frames/s
    there is a warning. InputError where the clip is a single image, shows no face or shows it too briefly; ModelError
    for a model of another kind; UsageError as `video.frames`.
    """
    loaded = None
    if model is not None:
        from duchenne.micro.model import MicroModel

        loaded = checkpoints.load_as(model, MicroModel)
        loaded[0].expression.on(device)

    options: Json = {"rate": rate, "start": start, "end": end, "allow_truncated": allow_truncated}
    blocks = read(path, reader=check_reader(reader), most=np.inf, **options, on_frame=on_frame)
    track, cuts = face(blocks, str(path), **options)
    spots = spot(track)
    answers = () if loaded is None else tuple(_recognised(track, video.frames(path, **options), spots, loaded[0]))
    frame_rate = 1 / float(np.median(np.diff(track.time)))
    return Found(
        str(path),
        frame_rate,
        len(track),
        int(track.seen.sum()),
        track.duration,
        spots,
        answers,
        (*video.notes(path), *_warnings(track, frame_rate), *cuts),
        None if loaded is None else loaded[1],
        about_reader(reader),
    )


def face(blocks: Iterable[Block], source: str, **stretch: Any) -> tuple[FaceTrack, list[str]]:
    """The most prominent face's track, without the points of covered parts, and a sentence on each cut in it.

    InputError for a single image, and where no face is seen in the `stretch`.
    """
    parts = visibility.predictor()
    found = join(reading.consume(blocks, parts), source)
    if len(found.time) < 2:
        raise InputError(
            f"{source} is a single image, expected a movement; pass a video, or a folder of images with --rate."
        )
    track = protagonist(found.tracks)
    if track is None or not track.seen.any():
        raise no_face(source, len(found.time), **stretch)
    place = found.tracks.index(track)
    covered = visibility.covered(parts.signals(place, found.looks[place].time), track)
    whole = visibility.hidden(track, covered)
    if not whole.seen.any():
        names = " and ".join(dict.fromkeys(part for part, _, _ in covered))
        raise InputError(f"{source} shows a face whose {names} cannot be seen in any frame; show the whole face.")
    return distinct(whole), breaks(whole.time, whole.seen, found.cuts)


def _warnings(track: FaceTrack, frame_rate: float) -> Iterable[str]:
    if round(frame_rate, 3) < FEWEST:
        yield (
            f"{frame_rate:.3g} frames per second are too few for micro-expressions, which last {1000 * SHORTEST:g} to "
            f"{1000 * LONGEST:g} ms: many are missed, and the listed ones rest on few frames; film at 100 or 200."
        )
    if (lost := 1 - float(track.seen.mean())) > 0.02:
        yield f"The face is lost in {100 * lost:.0f} % of the frames, where nothing can be spotted."


def steady(track: FaceTrack) -> FaceTrack:
    """The track with points smoothed over a fifth of a second, so that crops follow the head without jitter."""
    points = track.points.astype(np.float64)
    for a, b in stretches(track):
        flat = points[a:b].reshape(b - a, -1)
        flat[:] = np.stack([smoothed(track.time[a:b], column, _STEADY) for column in flat.T], axis=1)
        points[a:b] = flat.reshape(b - a, 68, 2)
    return track.evolve(f"steady: points smoothed by {_STEADY:g} s", points=points)


def cropped(track: FaceTrack, frames: Iterable[video.Frame]) -> tuple[Array, Array]:
    """(seconds (N,), crops uint8 (N, 48, 48)) of the seen frames of a track that is `steady`."""
    found = [(track.time[row], crop) for row, crop in crops.along(track, frames)]
    return np.array([time for time, _ in found]), np.stack([crop for _, crop in found])


def _recognised(
    track: FaceTrack, frames: Iterable[video.Frame], spots: tuple[Spot, ...], model: MicroModel
) -> Iterable[dict[str, float]]:
    if not spots:
        return []
    frame = float(np.median(np.diff(track.time)))  # one more on either side, so that every spot has two
    inside = [(track.time >= s.onset - frame - 1e-6) & (track.time <= s.offset + frame + 1e-6) for s in spots]
    rows = np.flatnonzero(np.any(inside, axis=0) & track.seen)
    time, faces = cropped(steady(track).take("frames of micro-expressions", rows), frames)
    return [model.recognise(time[each[rows]], faces[each[rows]]) for each in inside]


def save(found: Found, path: str | Path) -> Path:
    """Write a clip's micro-expressions as .csv (a row each) or .json (with what the clip is, and warnings)."""
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return io.write_text(path, to_csv(found))
    if path.suffix.lower() == ".json":
        return io.write_json(path, to_json(found))
    raise UsageError(f"{path}: the table is written as CSV or JSON; use a name that ends in .csv or .json.")


def to_csv(found: Found) -> str:
    """The rows as CSV, with a header even if there are none."""
    empty = Found("", 0.0, 0, 0, 0.0, (Spot(0, 0, 0, 0, 0, ()),)).rows()[0]
    rows = found.rows()
    names = list(rows[0] if rows else empty)
    return io.rows_csv([names, *([row[name] for name in names] for row in rows)])


def to_json(found: Found) -> Json:
    """Everything that was found, ready for JSON."""
    about = {name: getattr(found, name) for name in ("source", "rate", "frames", "seen", "duration")}
    return {
        **about,
        "spots": found.rows(),
        "warnings": list(found.warnings),
        "method": METHOD,
        "model": found.model,
        "reader": found.reader,
        "limits": limits.MICRO,
    }


def spotting_scores(data: str | Path, *, rate: float | None = None, threshold: float = 0.5, log: Log = print) -> Json:
    """`metrics.spotting.spotting_f1` over the clips of `data` (`micro.data.entries`), whose rows are the truth.

    Each row's start and end are one micro-expression of the file at its path; rows of one path are one clip. Those
    longer than `LONGEST` (and a frame) are ignored. Adds `clips`, and `per_clip`: path → {"spotted", "truth"}, lists
    of [start, end] in seconds. Clips that cannot be read are logged and left out; InputError where none is left or a
    row has no start and end.
    """
    truth: dict[str, list[list[float]]] = {}
    rates: dict[str, float | None] = {}
    for entry in entries(data):
        clip = entry.clip
        if clip.start is None or clip.end is None:
            raise InputError(f"{clip.path} has no start and end of its micro-expression; add them.")
        rates[clip.path] = frame_rate(entry, rate)
        listed = truth.setdefault(clip.path, [])
        if clip.end - clip.start <= LONGEST + 1 / FEWEST:
            listed.append([clip.start, clip.end])
    spotted: dict[str, list[list[float]]] = {}
    for path in truth:
        try:
            track, _ = face(Cache().read_faces(path, reader=READER, most=np.inf, rate=rates[path]), path)
            spotted[path] = [[s.onset, s.offset] for s in spot(track)]
        except DuchenneError as error:
            log(f"left out: {error}")
    if not spotted:
        raise InputError(f"{data} has no clip that could be read; check the paths.")
    scores = spotting_f1([spotted[path] for path in spotted], [truth[path] for path in spotted], threshold)
    per_clip = {path: {"spotted": spotted[path], "truth": truth[path]} for path in spotted}
    return {**scores, "clips": len(spotted), "per_clip": per_clip}
