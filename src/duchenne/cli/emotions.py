"""Emotions and action units of single faces: `duchenne emotions` and `duchenne units`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from duchenne.cli import batch, options
from duchenne.cli.app import MEASURE, app, face_reader, limit_memory, log, print_csv, progress
from duchenne.errors import OutputError, UsageError
from duchenne.registry import READERS

if TYPE_CHECKING:
    from duchenne.types import Json


@app.command(rich_help_panel=MEASURE)
def emotions(
    inputs: options.Images = None,
    out: options.TableOut = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Id of a shipped expression network, or its folder.")
    ] = "expression",
    aligned: Annotated[bool, typer.Option("--aligned", help="Images are cropped faces, as in FER2013.")] = False,
    all_faces: options.AllFaces = False,
    every: options.Every = 0.1,
    flips: Annotated[bool, typer.Option(help="Average with the mirrored face.")] = True,
    second: Annotated[
        bool, typer.Option("--second", help="Predict the network's second labels; of the shipped one FER2013's own.")
    ] = False,
    rate: options.Rate = None,
    reader: options.Reader = READERS[0],
    device: options.Device = "auto",
    allow_truncated: options.AllowTruncated = False,
    manifest: options.Manifest = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    stall: options.Stall = 120.0,
    retry: options.Retry = False,
    memory: options.Memory = None,
    cache: options.Cached = True,
) -> None:
    """Predict the emotion that each face shows, as a table of probabilities.

    What a face shows is not what a person feels, nor whether it is genuine. Of a folder of videos: a folder of tables,
    read on every core; an interrupted run resumes.
    """
    inputs = inputs or []
    several: Json = {"manifest": manifest, "workers": workers, "shard": shard, "retry": retry}
    if batch.many(inputs, rate, several, out):
        from duchenne.batch import emotions_task

        if aligned:
            raise UsageError("--aligned is for images that are cropped faces; leave it out.")
        task = emotions_task(
            model=model, second=second, all_faces=all_faces, every=every, flips=flips, reader=reader, device=device,
            allow_truncated=allow_truncated, cache=cache,
        )  # fmt: skip
        batch.run(task, [*map(str, inputs)], cast(Path, out), rate=rate, stall=stall, memory=memory, **several)
        return
    limit_memory(memory)
    from duchenne.expression import emotions

    if out is not None:
        check_output(out, inputs)
    with progress("reading", "images and frames") as tick:
        table = emotions.table(
            inputs, model=model, all_faces=all_faces, is_aligned=aligned, every=every, flips=flips, second=second,
            device=device, allow_truncated=allow_truncated, rate=rate, reader=reader, tick=tick, log=log,
            read=face_reader(cache),
        )  # fmt: skip
    finish(table, out, inputs)


@app.command(rich_help_panel=MEASURE)
def units(
    inputs: options.Images = None,
    out: options.TableOut = None,
    neutral: Annotated[
        str | None,
        typer.Option(help="Relative to the person at rest: START-END in seconds of a video, or lowest."),
    ] = None,
    all_faces: options.AllFaces = False,
    every: options.Every = 0.1,
    rate: options.Rate = None,
    allow_truncated: options.AllowTruncated = False,
    manifest: options.Manifest = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    stall: options.Stall = 120.0,
    retry: options.Retry = False,
    memory: options.Memory = None,
    cache: options.Cached = True,
) -> None:
    """Measure the action units that each face shows, as a table of probabilities.

    AU06 and AU12 come first: together they are the Duchenne smile, which posed smiles show as well. Of a folder of
    videos: a folder of tables, read on every core; an interrupted run resumes.
    """
    inputs = inputs or []
    several: Json = {"manifest": manifest, "workers": workers, "shard": shard, "retry": retry}
    from duchenne.units import table as of

    rest = None if neutral is None else of.parse_neutral(neutral)
    if batch.many(inputs, rate, several, out):
        from duchenne.batch import units_task

        task = units_task(neutral=rest, all_faces=all_faces, every=every, allow_truncated=allow_truncated, cache=cache)
        batch.run(task, [*map(str, inputs)], cast(Path, out), rate=rate, stall=stall, memory=memory, **several)
        return
    limit_memory(memory)
    if out is not None:
        check_output(out, inputs)
    with progress("reading", "images and frames") as tick:
        table = of.table(
            inputs, neutral=rest, all_faces=all_faces, every=every,
            allow_truncated=allow_truncated, rate=rate, tick=tick, log=log, read=face_reader(cache),
        )  # fmt: skip
    finish(table, out, inputs)


def finish(table: Any, out: Path | None, inputs: list[Path]) -> None:
    """Write or print a table of faces, a pandas.DataFrame, and report what failed; exit code 1 where a file that was
    named failed, or all."""
    from duchenne import io

    if out is not None:
        io.write_table(out, table)
        log(f"{len(table)} row{'s' * (len(table) != 1)} written to {out}.")
    else:
        print_csv(io.table_csv(table))
    failed = table[table["problem"].notna()]
    if len(failed):
        count = f"{len(failed)} of {table['file'].nunique()} files failed"
        log(f"{count}, see the column problem; the first: {failed['problem'].iloc[0]}")
    if len(failed) == len(table) or {*failed["file"]} & {str(path) for path in inputs}:
        sys.exit(1)


def check_output(out: Path, inputs: list[Path]) -> None:
    """Check that the table can be written, before any work."""
    from duchenne import io

    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file in it for the table.")
    if any(out.resolve() == path.resolve() for path in inputs):
        raise UsageError(f"{out} is an input and would be overwritten; choose another name for the table.")
    io.check_folder(out.parent)
