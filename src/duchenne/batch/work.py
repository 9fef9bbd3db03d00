"""What is done to one clip of a corpus, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duchenne.batch.tables import publish
from duchenne.errors import InputError, OutputError

if TYPE_CHECKING:
    from duchenne.clips.cache import Cache
    from duchenne.types import FaceTrack

Tick = Callable[[int], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One clip and what to do with it, as it travels between processes.

    `path` is below `root`, and `name` is what tables call it; results go to `place` below `out`, and are made at the
    same place below `scratch`.
    """

    number: int
    kind: str
    root: str
    path: str
    name: str
    out: str
    place: str
    scratch: str
    start: float | None = None
    end: float | None = None
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def made(self) -> Path:
        """Where results are made before they are moved to their place."""
        return Path(self.scratch) / self.place

    @property
    def stretch(self) -> dict[str, float | None]:
        """The arguments `start`, `end` and `rate` of `video.frames`."""
        return {"start": self.start, "end": self.end, "rate": self.rate}


def do(job: Job, tick: Tick) -> list[Row]:
    """Do a job, put its results in place, and return its rows, one per face; see `KINDS`.

    What an earlier version of the clip left is removed first. The work runs in the corpus' own folder, so that
    results and sentences name clips as the tables do, wherever the corpus lies. InputError where the clip is at fault.
    """
    os.chdir(job.root)
    _clear(job)
    rows = KINDS[job.kind](job, tick)
    for made in sorted(job.made.iterdir()) if job.made.is_dir() else [job.made]:
        publish(made, Path(job.out) / made.relative_to(job.scratch))
    return rows


def prepare(kind: str, options: Mapping[str, Any]) -> None:
    """Load what a kind of job needs once: code, and models."""
    if kind == "analyze":
        from duchenne import judging
        from duchenne.expression import reading

        loaded = judging.load_model(options["model"])
        judging.resolve_device(options["device"], loaded)
        reading.load()
    else:
        from duchenne.clips import cache  # noqa: F401
        from duchenne.preprocess import clean  # noqa: F401


def extract_clip(job: Job, tick: Tick) -> list[Row]:
    """Follow the faces of a clip into a table of frames, `job.place`; InputError where none is seen."""
    from duchenne import io
    from duchenne.preprocess import clean

    options, gauges, frames = job.options, list[clean.Gauge](), 0

    def watch(tracks: list[FaceTrack]) -> None:
        gauges.extend(clean.Gauge() for _ in tracks[len(gauges) :])
        for gauge, track in zip(gauges, tracks, strict=True):
            gauge.add(track)

    def count(done: int) -> None:
        nonlocal frames
        frames = done
        tick(done)

    told = {name: options[name] for name in ("detector", "all_faces", "allow_truncated")}
    blocks = _cache(job).read_faces(job.path, **job.stretch, **told, on_frame=count)
    end = io.write_frames(job.made, blocks, job.name, watch)
    if not any(gauge.seen_frames for gauge in gauges):
        raise InputError(f"{job.path} shows no face: none was found in {frames} frames.")
    width, height = end.frame_size
    return [
        {"face": face, "width": width, "height": height, **gauge.result(blur).to_row()}
        for face, (gauge, blur) in enumerate(zip(gauges, end.sharpness, strict=True))
        if gauge.seen_frames
    ]


def analyze_clip(job: Job, tick: Tick) -> list[Row]:
    """Judge a clip as `duchenne analyze` does, into the folder `job.place`; InputError where no face is seen."""
    from duchenne import judging, pipeline

    wanted = ("model", "emotion", "all_faces", "device", "detector", "allow_truncated")
    options: dict[str, Any] = {**job.stretch, **{name: job.options[name] for name in wanted}}
    found = pipeline.examine(job.path, **options, on_frame=tick, read=_cache(job).read_faces)
    card = judging.load_model(job.options["model"]).card
    page, faces = job.options["report"], job.options["faces"]
    pipeline.save(found, job.made, card, rate=job.rate, start=job.start, page=page, faces=faces, thumb=True)
    return [each.verdict.to_row() for each in found]


#: Kind of job → what does it.
KINDS: dict[str, Callable[[Job, Tick], list[Row]]] = {"extract": extract_clip, "analyze": analyze_clip}


def _cache(job: Job) -> Cache:
    from duchenne.clips.cache import Cache

    return Cache() if job.options["cache"] else Cache(limit=0)


def _clear(job: Job) -> None:
    place = Path(job.out) / job.place
    patterns = ("verdict.json", "frames.csv", "emotions.csv", "report*.html", "thumb*.jpg")
    try:
        for file in [f for p in patterns for f in place.glob(p)] if place.is_dir() else [place]:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be replaced ({error.strerror}); check the folder's permissions.") from error
    with suppress(OSError):
        place.rmdir()
