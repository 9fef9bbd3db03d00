"""Many clips: `duchenne extract`, and `duchenne analyze` of a folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne.cli.app import Cached, app, log
from duchenne.errors import UsageError

if TYPE_CHECKING:
    from duchenne.batch import Meter, Task
    from duchenne.workers.pool import Runner

_EVERY = 30.0  # s between two lines where nobody watches
Workers = Annotated[int | None, typer.Option(help="Processes; else one per core.", min=1)]
Shard = Annotated[str | None, typer.Option(help="Only this share of the clips, for example 3/16.")]
Stall = Annotated[float, typer.Option(help="Seconds of silence after which a clip's process is ended.", min=1)]
Memory = Annotated[float | None, typer.Option(help="GB that one process may use; else a fair share.", min=0.5)]
Retry = Annotated[bool, typer.Option("--retry", help="Do clips again that failed in an earlier run.")]
OnCluster = Annotated[str | None, typer.Option(help="Address of a Dask scheduler, for example tcp://host:8786.")]
Slurm = Annotated[int | None, typer.Option(help="So many SLURM jobs do the work, as Dask workers.", min=1)]
Manifest = Annotated[Path | None, typer.Option(help="CSV that lists the clips, instead of files and folders.")]


@app.command()
def extract(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for clips.csv, failures.csv, summary.json, frames/.")
    ],
    clips: Annotated[list[str] | None, typer.Argument(help="Video files, or folders with all below them.")] = None,
    format: Annotated[str, typer.Option(help="Of the tables of frames: csv or parquet.")] = "csv",
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Follow every face, not only the most prominent.")
    ] = False,
    detector: Annotated[str, typer.Option(help="haar or hog; the other takes over where it finds nothing.")] = "haar",
    allow_truncated: Annotated[bool, typer.Option(help="Take what is there of a file that was cut short.")] = False,
    manifest: Manifest = None,
    workers: Workers = None,
    shard: Shard = None,
    stall: Stall = 120.0,
    memory: Memory = None,
    retry: Retry = False,
    cluster: OnCluster = None,
    slurm: Slurm = None,
    cache: Cached = True,
) -> None:
    """Follow the faces of many clips: 68 points a frame, on every core, going on where an earlier run was stopped."""
    from duchenne.batch import extract_task

    task = extract_task(
        format=format, all_faces=all_faces, detector=detector, allow_truncated=allow_truncated, cache=cache
    )
    run(
        task, clips or [], out, manifest=manifest, workers=workers, shard=shard, stall=stall, memory=memory,
        retry=retry, cluster=cluster, slurm=slurm,
    )  # fmt: skip


def is_batch(clips: list[str], rate: float | None, options: dict[str, Any]) -> bool:
    """Whether `analyze` is asked for a batch: a manifest, a share, a folder that is not one clip of images."""
    if rate is not None:
        return False
    if any(options[name] for name in ("manifest", "shard", "workers", "retry", "cluster", "slurm")):
        return True
    folders = [Path(clip) for clip in clips if os.path.isdir(clip)]  # noqa: PTH112  Path's raises for some names
    if not folders:
        return False
    from duchenne.batch.plan import holds_images

    return not all(map(holds_images, folders))


def run(
    task: Task,
    clips: list[str],
    out: Path,
    *,
    shard: str | None,
    cluster: str | None = None,
    slurm: int | None = None,
    **options: Any,
) -> None:
    """Run a task over many clips while a person watches, say what became of it, and leave with 1 if clips failed."""
    from duchenne.batch import process
    from duchenne.batch.state import shard_of

    if missing := [clip for clip in clips if not os.path.lexists(clip)]:
        raise UsageError(f"There is no file or folder {missing[0]}; check the path.")
    if cluster or slurm:
        options["runner"] = _cluster(task, cluster, slurm, options["stall"], options["memory"])
    with _watch({"extract": "extracting", "analyze": "analyzing"}[task.kind]) as watch:
        found = process(clips, out, task, shard=shard_of(shard), watch=watch, **options)
    for note in found.notes:
        log(f"duchenne: {note}")
    total = found.summary
    clips_done = f"{total['done']} of {total['clips']} clips done"
    typer.echo(f"{clips_done}: {total['faces']} faces, {total['frames']} frames, {total['seconds']:.1f} s of video.")
    if found.clips:
        speed = found.frames / max(found.seconds, 1e-9)
        typer.echo(f"This run: {found.clips} clips in {found.seconds:.1f} s, {speed:.0f} frames/s.")
    if total["left"]:
        typer.echo(f"Left: {total['left']}; other shares, or the same command without --shard, do them.")
    if total["failed"]:
        typer.echo(f"Failed: {total['failed']}; {out / 'failures.csv'} says why.")
    typer.echo(f"Results: {out / 'clips.csv'}")
    if task.kind == "analyze":
        typer.echo(f"Report: {out / 'index.html'}")
    if found.failed:
        sys.exit(1)


def _cluster(task: Task, address: str | None, slurm: int | None, stall: float, memory: float | None) -> Runner:
    from duchenne.batch.cluster import Cluster
    from duchenne.workers.protocol import Limits

    if address and slurm:
        raise UsageError("--cluster and --slurm exclude each other: name a scheduler, or ask for SLURM jobs.")
    limits = Limits(stall, int(memory * 1e9)) if memory else Limits(stall)
    return Cluster(task.work, task.fingerprint, limits, address=address, slurm=slurm)


@contextmanager
def _watch(verb: str) -> Iterator[Callable[[Meter], None]]:
    """A bar on stderr where a person watches, else a line now and then."""
    if not sys.stderr.isatty():
        yield _lines(verb)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    words = (
        "{task.completed}/{task.total} clips  {task.fields[speed]}  {task.fields[eta]}  {task.fields[failed]} failed"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(words), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=0, speed="", eta="", failed=0)

        def show(meter: Meter) -> None:
            facts: dict[str, Any] = {
                "speed": f"{meter.speed:.0f} frames/s",
                "eta": _left(meter),
                "failed": meter.failed,
            }
            bar.update(task, completed=meter.done, total=meter.total, **facts)

        yield show


def _lines(verb: str) -> Callable[[Meter], None]:
    last = time.monotonic()

    def show(meter: Meter) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            facts = f"{meter.done}/{meter.total} clips, {meter.speed:.0f} frames/s, {_left(meter)}"
            log(f"{verb}: {facts}, {meter.failed} failed")

    return show


def _left(meter: Meter) -> str:
    if meter.eta is None:
        return "ETA unknown"
    minutes, seconds = divmod(round(meter.eta), 60)
    return f"ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}"
