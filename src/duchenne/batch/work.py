"""What a worker does with one clip of a batch (`workers.protocol.Work`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from duchenne import io
from duchenne.batch import measures
from duchenne.batch.job import ClipJob, Options, Row, cache_of
from duchenne.batch.tables import publish
from duchenne.errors import InputError, OutputError
from duchenne.registry import DETECTORS, LANDMARKERS
from duchenne.types import Json, JsonMap
from duchenne.workers.protocol import Heartbeat

if TYPE_CHECKING:
    from duchenne.types import FaceTrack

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def load(options: Options, shared: bool) -> None:
    """Load code and models; `shared`: for workers that are forked from this process."""
    if options["task"] == "analyze":
        from duchenne import judging
        from duchenne.expression import reading, visibility

        loaded = judging.load_model(options["model"], options["reader"])
        judging.resolve_device(options["device"], loaded)
        reading.of_clips()
        visibility.predictor()
    elif options["task"] == "emotions":
        from duchenne.expression import reading as networks

        networks.load(options["model"], options["device"], in_colour=True)
    elif options["task"] == "units":
        from duchenne.units import reading as units

        units.load()
    from duchenne.faces.reading import chain  # a package that is broken stops the run, not each clip

    if options["cache"] and shared:  # so that not every fork does
        chain(options["reader"])  # hashes its models
    # inherited by all forks; a single worker loads them for the first clip that is not cached
    if shared and options["reader"] == "paper":
        for part in (LANDMARKERS.load("dlib68"), DETECTORS.load("hog")):
            part()


def run(options: Options, arguments: JsonMap, heartbeat: Heartbeat) -> Json:
    """Run a task on a clip, move its results into place, and return its rows, one per face (see `TASKS`), and its
    files: name below `job.place` → size and sha256.

    Earlier results of the clip are removed first. The working directory is the folder of the clips, so that results and
    messages name clips as the tables do. InputError for errors of the clip, OutputError if results cannot be written.
    """
    job = ClipJob(**arguments)
    os.chdir(job.root)
    try:
        _clear(job, options["task"])
        rows = TASKS[options["task"]](job, options, heartbeat)
        files = sorted(job.unfinished.iterdir()) if job.unfinished.is_dir() else [job.unfinished]
        about = {str(f.relative_to(job.unfinished)): (f.stat().st_size, io.sha256(f)) for f in files}
        publish({file: Path(job.out) / file.relative_to(job.scratch) for file in files})
    except (OSError, OutputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.ENAMETOOLONG:  # of this clip alone
            raise InputError(f"{job.path}: the path of its results is too long; shorten its name or path.") from error
        if isinstance(error, OutputError) or number not in _FULL:
            raise
        raise OutputError(f"{job.out} cannot be written to ({error.strerror}); free space and run again.") from error
    found: Json = io.plain({"rows": rows, "files": about})
    return found


def extract_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Track the faces of a clip and write a table of frames to `job.place`; InputError if no face is found."""
    from duchenne import video
    from duchenne.expression import visibility
    from duchenne.faces.reading import no_face
    from duchenne.preprocess import clean

    gauges, found, frames, parts = list[clean.Gauge](), set[int](), 0, visibility.Watch()
    covered = cache(parts.covered)

    def each(tracks: list[FaceTrack]) -> list[FaceTrack]:
        found.update(face for face, track in enumerate(tracks) if track.seen.any())
        tracks = [visibility.hidden(track, covered(face)) for face, track in enumerate(tracks)]
        gauges.extend(clean.Gauge() for _ in tracks[len(gauges) :])
        for gauge, track in zip(gauges, tracks, strict=True):
            gauge.add(track)
        return tracks

    def count(done: int) -> None:
        nonlocal frames
        frames = done
        heartbeat(done)

    settings = {name: options[name] for name in ("reader", "detector", "all_faces", "allow_truncated")}
    blocks = cache_of(options).read_faces(job.path, **job.stretch, **settings, on_frame=count)
    end = io.write_frames(job.unfinished, parts.of(blocks), job.name, each)
    if not found:
        raise no_face(job.path, frames, **job.stretch)
    (width, height), notes = end.frame_size, video.notes(job.path)
    rows: list[Row] = []
    for face, (gauge, blur, light) in enumerate(zip(gauges, end.sharpness, end.light, strict=True)):
        if face in found:
            quality = gauge.result(blur, light)
            told = (*notes, *quality.warnings, *visibility.sentences(covered(face)), *gauge.breaks(end.cuts))
            warnings = " ".join(told)
            rows.append({"face": face, "width": width, "height": height, **quality.to_row(), "warnings": warnings})
    return rows


def analyze_clip(job: ClipJob, options: Options, heartbeat: Heartbeat) -> list[Row]:
    """Judge a clip as `duchenne analyze` does, into the folder `job.place`; InputError if no face is found."""
    from duchenne import judging, pipeline

    names = ("model", "emotion", "all_faces", "device", "reader", "detector", "mesh", "allow_truncated")
    settings: Json = {**job.stretch, **{name: options[name] for name in names}, "subject": job.subject}
    if "calibration" in options:
        settings["calibration"] = judging.Calibration(**options["calibration"])
    analyses = pipeline.examine(job.path, **settings, on_frame=heartbeat, read=cache_of(options).read_faces)
    card = judging.load_model(options["model"], options["reader"]).card
    page, faces = options["report"], options["faces"]
    pipeline.save(analyses, job.unfinished, card, rate=job.rate, start=job.start, page=page, faces=faces, thumb=True)
    return [each.verdict.to_row() for each in analyses]


#: Task → function that runs it on one clip.
TASKS: dict[str, Callable[[ClipJob, Options, Heartbeat], list[Row]]] = {
    "extract": extract_clip,
    "analyze": analyze_clip,
    "emotions": measures.emotions_clip,
    "units": measures.units_clip,
    "micro-expressions": measures.micro_clip,
}


def _clear(job: ClipJob, task: str) -> None:
    place = Path(job.out) / job.place
    patterns = ("verdict.json", "frames.csv", "curves.csv", "emotions.csv", "report*.html", "thumb*.jpg")
    try:
        if task != "analyze":
            place.unlink(missing_ok=True)
        for file in [f for p in patterns for f in place.glob(p)] if task == "analyze" else ():
            file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{place} cannot be replaced ({error.strerror}); check the folder's permissions.") from error
    with suppress(OSError):
        place.rmdir()
