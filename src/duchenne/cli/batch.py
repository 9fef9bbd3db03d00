"""Batches: `duchenne extract`, and `duchenne analyze` of a folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne.cli import options
from duchenne.cli.app import MEASURE, app, echo, log
from duchenne.errors import InputError, UsageError
from duchenne.registry import READERS

if TYPE_CHECKING:
    from duchenne.batch import Meter, Task
    from duchenne.types import Json
    from duchenne.workers.pool import Runner

_INTERVAL = 30.0  # s between two lines of progress in a log


@app.command(rich_help_panel=MEASURE)
def extract(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for clips.csv, failures.csv, summary.json and frames/.")
    ],
    clips: Annotated[list[str] | None, typer.Argument(help="Video files and folders, searched recursively.")] = None,
    format: Annotated[str, typer.Option(help="Format of the frame tables: csv or parquet.")] = "csv",
    all_faces: options.AllFaces = False,
    reader: options.Reader = READERS[0],
    detector: options.Detector = "haar",
    rate: options.Rate = None,
    allow_truncated: options.AllowTruncated = False,
    manifest: options.Manifest = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    stall: options.Stall = 120.0,
    memory: options.Memory = None,
    retry: options.Retry = False,
    cluster: options.OnCluster = None,
    slurm: options.Slurm = None,
    cache: options.Cached = True,
) -> None:
    """Track the faces of many clips, points in every frame, on all cores; an interrupted run resumes."""
    from duchenne.batch import extract_task

    task = extract_task(
        format=format, all_faces=all_faces, reader=reader, detector=detector, allow_truncated=allow_truncated,
        cache=cache,
    )  # fmt: skip
    run(
        task, clips or [], out, manifest=manifest, rate=rate, workers=workers, shard=shard, stall=stall, memory=memory,
        retry=retry, cluster=cluster, slurm=slurm,
    )  # fmt: skip


def is_batch(clips: list[str], rate: float | None, settings: Json) -> bool:
    """Whether `analyze` runs as a batch: on a manifest, a shard, or a folder that is not one clip of images."""
    if any(settings[name] for name in ("manifest", "shard", "workers", "retry", "cluster", "slurm")):
        return True
    folders = [Path(clip) for clip in clips if os.path.isdir(clip)]  # noqa: PTH112  Path.is_dir raises for some names
    if not folders or rate is not None:  # which makes a folder one clip
        return False
    from duchenne.batch.plan import holds_images

    return not all(map(holds_images, folders))


def many(inputs: Sequence[Path], rate: float | None, settings: Json, out: Path | None) -> bool:
    """Whether emotions, action units and the like are read of many clips: of a manifest, a shard, or a folder of
    videos; UsageError where there is no folder for the results."""
    from duchenne.batch.plan import holds_videos

    folders = [path for path in inputs if path.is_dir()]
    if not any(settings.values()) and (rate is not None or not any(map(holds_videos, folders))):
        return False
    if out is None or out.suffix.lower() in (".csv", ".json"):
        raise UsageError("Many clips need --out FOLDER for clips.csv and a table of each clip; name a folder.")
    return True


def run(
    task: Task,
    clips: list[str],
    out: Path,
    *,
    shard: str | None,
    cluster: str | None = None,
    slurm: int | None = None,
    **settings: Any,
) -> None:
    """Run a task on many clips, print a summary, and exit with 1 if clips failed."""
    from duchenne.batch import process
    from duchenne.batch.state import shard_of

    if missing := [clip for clip in clips if not os.path.lexists(clip)]:
        raise InputError(f"There is no file or folder {missing[0]}; check the path.")
    if cluster or slurm:
        settings["runner"] = _cluster(task, cluster, slurm, settings["stall"], settings["memory"])
    with _progress({"extract": "extracting", "analyze": "analyzing"}.get(task.kind, f"reading {task.kind}")) as watch:
        result = process(clips, out, task, shard=shard_of(shard), watch=watch, **settings)
    for note in result.notes:
        log(f"note: {note}")
    total = result.summary
    clips_done = f"{total['done']} of {total['clips']} clips done"
    echo(f"{clips_done}: {total['faces']} faces, {total['frames']} frames, {total['seconds']:.1f} s of video.")
    if result.clips:
        speed = result.frames / max(result.seconds, 1e-9)
        echo(f"This run: {result.clips} clips in {result.seconds:.1f} s, {speed:.0f} frames/s.")
    if total["left"]:
        echo(f"Remaining: {total['left']}; run the other shards, or the same command without --shard.")
    if total["failed"]:
        echo(f"Failed: {total['failed']}; see {out / 'failures.csv'}.")
    echo(f"Results: {out / 'clips.csv'}")
    if task.kind == "analyze":
        echo(f"Report: {out / 'index.html'}")
        if "calibration" not in task.settings:
            echo(f"To move P(genuine) to the level of these clips: the same with --calibrate {out} and another --out.")
    if result.failed:
        sys.exit(1)


def _cluster(task: Task, address: str | None, slurm: int | None, stall: float, memory: float | None) -> Runner:
    from duchenne.batch.cluster import Cluster
    from duchenne.workers.protocol import Limits

    if address and slurm:
        raise UsageError("--cluster and --slurm cannot be combined; give one of them.")
    limits = Limits(stall, int(memory * 1e9)) if memory else Limits(stall)
    return Cluster(task.work, task.fingerprint, limits, address=address, slurm=slurm)


@contextmanager
def _progress(verb: str) -> Iterator[Callable[[Meter], None]]:
    """A progress bar on a terminal, else a line at intervals."""
    if not sys.stderr.isatty():
        yield _lines(verb)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    fields = "  ".join(f"{{task.fields[{name}]}}" for name in ("speed", "eta", "failed"))
    text = TextColumn("{task.completed}/{task.total} clips  " + fields + " failed")
    columns = (TextColumn("{task.description}"), BarColumn(), text, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=0, speed="", eta="", failed=0)

        def show(meter: Meter) -> None:
            facts: Json = {"speed": f"{meter.speed:.0f} frames/s", "eta": _eta(meter), "failed": meter.failed}
            bar.update(task, completed=meter.done, total=meter.total, **facts)

        yield show


def _lines(verb: str) -> Callable[[Meter], None]:
    last = time.monotonic()

    def show(meter: Meter) -> None:
        nonlocal last
        if time.monotonic() - last >= _INTERVAL:
            last = time.monotonic()
            facts = f"{meter.done}/{meter.total} clips, {meter.speed:.0f} frames/s, {_eta(meter)}"
            log(f"{verb}: {facts}, {meter.failed} failed")

    return show


def _eta(meter: Meter) -> str:
    if meter.eta is None:
        return "ETA unknown"
    minutes, seconds = divmod(round(meter.eta), 60)
    return f"ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}"
