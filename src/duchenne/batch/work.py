"""What is done to one clip of a batch, in a worker (`workers.protocol.Work`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duchenne import io
from duchenne.batch.tables import publish
from duchenne.errors import InputError, OutputError
from duchenne.registry import DETECTORS, LANDMARKERS
from duchenne.workers.protocol import Heartbeat

if TYPE_CHECKING:
    from duchenne.clips.cache import Cache
    from duchenne.types import FaceTrack

Options = Mapping[str, Any]
Row = dict[str, Any]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(frozen=True)
class ClipJob:
    """One clip, as it travels between processes.

    `path` is below `root`, and `name` is what tables call it; results go to `place` below `out`, and are made at the
    same place below `scratch`.
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
    def made(self) -> Path:
        """Where results are made before they are moved to their place."""
        return Path(self.scratch) / self.place

    @property
    def stretch(self) -> dict[str, float | None]:
        """The arguments `start`, `end` and `rate` of `video.frames`."""
        return {"start": self.start, "end": self.end, "rate": self.rate}


def load(options: Options, shared: bool) -> None:
    """Load what a task's clips need once: code and models; `shared`: for workers that are forked from this process."""
    if options["task"] == "analyze":
        from duchenne import judging
        from duchenne.expression import reading

        loaded = judging.load_model(options["model"])
        judging.resolve_device(options["device"], loaded)
        reading.load()
    else:
        from duchenne.clips import cache  # noqa: F401
        from duchenne.preprocess import clean  # noqa: F401
    if shared:  # these stay loaded; a process that works alone waits for a clip that is not in the cache
        for make in (LANDMARKERS.load("dlib68"), DETECTORS.load("hog")):
            make()


def run(options: Options, arguments: Mapping[str, Any], heartbeat: Heartbeat) -> list[Row]:
    """Do a task with a clip, put its results in place, and return its rows, one per face; see `TASKS`.

    What an earlier version of the clip left is removed first. The work runs in the folder of the clips, so that
    results and sentences name clips as the tables do, wherever they lie. InputError where the clip is at fault,
    OutputError where results cannot be written.
    """
    job = ClipJob(**arguments)
    os.chdir(job.root)
    _clear(job)
    try:
        rows = TASKS[options["task"]](job, options, heartbeat)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OutputError(f"{job.out} takes no more ({error.strerror}); make space and start again.") from error
    for made in sorted(job.made.iterdir()) if job.made.is_dir() else [job.made]:
        publish(made, Path(job.out) / made.relative_to(job.scratch))
    found: list[Row] = io.plain(rows)
    return found


def extract_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Follow the faces of a clip into a table of frames, `job.place`; InputError where none is seen."""
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

    chosen = {name: options[name] for name in ("detector", "all_faces", "allow_truncated")}
    blocks = _cache(options).read_faces(job.path, **job.stretch, **chosen, on_frame=count)
    end = io.write_frames(job.made, blocks, job.name, watch)
    if not any(gauge.seen_frames for gauge in gauges):
        raise InputError(f"{job.path} shows no face: none was found in {frames} frames.")
    width, height = end.frame_size
    return [
        {"face": face, "width": width, "height": height, **gauge.result(blur).to_row()}
        for face, (gauge, blur) in enumerate(zip(gauges, end.sharpness, strict=True))
        if gauge.seen_frames
    ]


def analyze_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Judge a clip as `duchenne analyze` does, into the folder `job.place`; InputError where no face is seen."""
    from duchenne import judging, pipeline

    wanted = ("model", "emotion", "all_faces", "device", "detector", "allow_truncated")
    chosen: dict[str, Any] = {**job.stretch, **{name: options[name] for name in wanted}}
    found = pipeline.examine(job.path, **chosen, on_frame=heartbeat, read=_cache(options).read_faces)
    card = judging.load_model(options["model"]).card
    page, faces = options["report"], options["faces"]
    pipeline.save(found, job.made, card, rate=job.rate, start=job.start, page=page, faces=faces, thumb=True)
    return [each.verdict.to_row() for each in found]


#: Task → what does it with one clip.
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
