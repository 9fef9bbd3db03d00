"""What a worker does with one clip of a batch (`workers.protocol.Work`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duchenne import io
from duchenne.batch.tables import publish
from duchenne.errors import OutputError
from duchenne.registry import DETECTORS, LANDMARKERS
from duchenne.types import Json, JsonMap
from duchenne.workers.protocol import Heartbeat

if TYPE_CHECKING:
    from duchenne.clips.cache import Cache
    from duchenne.types import FaceTrack

Options = JsonMap
Row = Json
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(frozen=True)
class ClipJob:
    """One clip, as it is sent to a worker.

    `path` is below `root`, `name` is its name in tables; results are made at `place` below `scratch` and then moved to
    `place` below `out`.
    """

    root: str
    path: str
    name: str
    out: str
    place: str
    scratch: str
    start: float | None = None
    end: float | None = None
    rate: float | None = None

    @property
    def unfinished(self) -> Path:
        """Where results are made."""
        return Path(self.scratch) / self.place

    @property
    def stretch(self) -> dict[str, float | None]:
        """The arguments `start`, `end` and `rate` of `video.frames`."""
        return {"start": self.start, "end": self.end, "rate": self.rate}


def load(options: Options, shared: bool) -> None:
    """Load code and models; `shared`: for workers that are forked from this process."""
    if options["task"] == "analyze":
        from duchenne import judging
        from duchenne.expression import reading

        loaded = judging.load_model(options["model"])
        judging.resolve_device(options["device"], loaded)
        reading.load()
    else:
        from duchenne.clips import cache  # noqa: F401
        from duchenne.preprocess import clean  # noqa: F401
    if shared:  # inherited by all forks; a single worker loads them for the first clip that is not cached
        for part in (LANDMARKERS.load("dlib68"), DETECTORS.load("hog")):
            part()


def run(options: Options, arguments: JsonMap, heartbeat: Heartbeat) -> list[Row]:
    """Run a task on a clip, move its results into place, and return its rows, one per face; see `TASKS`.

    Earlier results of the clip are removed first. The working directory is the folder of the clips, so that results and
    messages name clips as the tables do. InputError for errors of the clip, OutputError if results cannot be written.
    """
    job = ClipJob(**arguments)
    os.chdir(job.root)
    _clear(job)
    try:
        rows = TASKS[options["task"]](job, options, heartbeat)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OutputError(f"{job.out} cannot be written to ({error.strerror}); free space and run again.") from error
    for file in sorted(job.unfinished.iterdir()) if job.unfinished.is_dir() else [job.unfinished]:
        publish(file, Path(job.out) / file.relative_to(job.scratch))
    plain: list[Row] = io.plain(rows)
    return plain


def extract_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Track the faces of a clip and write a table of frames to `job.place`; InputError if no face is found."""
    from duchenne import video
    from duchenne.faces.reading import no_face
    from duchenne.preprocess import clean

    gauges, frames = list[clean.Gauge](), 0

    def watch(tracks: list[FaceTrack]) -> None:
        gauges.extend(clean.Gauge() for _ in tracks[len(gauges) :])
        for gauge, track in zip(gauges, tracks, strict=True):
            gauge.add(track)

    def count(done: int) -> None:
        nonlocal frames
        frames = done
        heartbeat(done)

    settings = {name: options[name] for name in ("detector", "all_faces", "allow_truncated")}
    blocks = _cache(options).read_faces(job.path, **job.stretch, **settings, on_frame=count)
    end = io.write_frames(job.unfinished, blocks, job.name, watch)
    if not any(gauge.seen_frames for gauge in gauges):
        raise no_face(job.path, frames, **job.stretch)
    (width, height), notes = end.frame_size, video.notes(job.path)
    rows: list[Row] = []
    for face, (gauge, blur) in enumerate(zip(gauges, end.sharpness, strict=True)):
        if gauge.seen_frames:
            quality = gauge.result(blur)
            warnings = " ".join((*notes, *quality.warnings))
            rows.append({"face": face, "width": width, "height": height, **quality.to_row(), "warnings": warnings})
    return rows


def analyze_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Judge a clip as `duchenne analyze` does, into the folder `job.place`; InputError if no face is found."""
    from duchenne import judging, pipeline

    names = ("model", "emotion", "all_faces", "device", "detector", "allow_truncated")
    settings: Json = {**job.stretch, **{name: options[name] for name in names}}
    analyses = pipeline.examine(job.path, **settings, on_frame=heartbeat, read=_cache(options).read_faces)
    card = judging.load_model(options["model"]).card
    page, faces = options["report"], options["faces"]
    pipeline.save(analyses, job.unfinished, card, rate=job.rate, start=job.start, page=page, faces=faces, thumb=True)
    return [each.verdict.to_row() for each in analyses]


#: Task → function that runs it on one clip.
TASKS: dict[str, Callable[[ClipJob, Options, Heartbeat], list[Row]]] = {
    "extract": extract_clip,
    "analyze": analyze_clip,
}


def _cache(options: Options) -> Cache:
    from duchenne.clips.cache import Cache

    return Cache() if options["cache"] else Cache(limit=0)


def _clear(job: ClipJob) -> None:
    place = Path(job.out) / job.place
    patterns = ("verdict.json", "frames.csv", "emotions.csv", "report*.html", "thumb*.jpg")
    try:
        for file in [f for p in patterns for f in place.glob(p)] if place.is_dir() else [place]:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be replaced ({error.strerror}); check the folder's permissions.") from error
    with suppress(OSError):
        place.rmdir()
