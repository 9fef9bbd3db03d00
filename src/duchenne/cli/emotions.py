"""What single faces show: `duchenne emotions`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import Cached, app, face_reader, log, progress
from duchenne.errors import OutputError, UsageError


@app.command()
def emotions(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|VIDEO|FOLDER", help="Pictures, videos, and folders with pictures in them."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; without it, stdout.")] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Id of a shipped expression network, or its folder.")
    ] = "expression",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The pictures are themselves cropped faces, such as FER2013's.")
    ] = False,
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="A row for every face, not only for the most prominent.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two rows of a video; 0: every frame.")] = 0.1,
    flips: Annotated[bool, typer.Option(help="Take the mean with the mirrored face.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    allow_truncated: Annotated[bool, typer.Option(help="Use what is there of a video that was cut short.")] = False,
    cache: Cached = True,
) -> None:
    """Name the emotion that each face shows, as a table with a probability for each.

    What a face shows is not what a person feels, and not whether it is meant.
    """
    from duchenne import io
    from duchenne.expression import emotions

    if out is not None:
        _check(out, inputs)
    with progress("reading", "pictures and frames") as tick:
        found = emotions.table(
            inputs, model=model, all_faces=all_faces, is_aligned=aligned, every=every, flips=flips, device=device,
            allow_truncated=allow_truncated, tick=tick, log=log, read=face_reader(cache),
        )  # fmt: skip
    if out is not None:
        io.write_table(out, found)
        log(f"{len(found)} row{'s' * (len(found) != 1)} written to {out}.")
    else:
        typer.echo(io.table_csv(found), nl=False)
    failed = found[found["problem"].notna()]
    if len(failed):
        few = f"{len(failed)} of {found['file'].nunique()} files have no answer"
        log(f"{few}, see the column problem; the first: {failed['problem'].iloc[0]}")
    if len(failed) == len(found) or {*failed["file"]} & {str(path) for path in inputs}:
        sys.exit(1)


def _check(out: Path, inputs: list[Path]) -> None:
    """Before any work: whether the table may be written there."""
    from duchenne import io

    if out.is_dir():
        raise OutputError(f"The table cannot be written to {out}, which is a folder; name a file in it.")
    if any(out.resolve() == path.resolve() for path in inputs):
        raise UsageError(f"{out} would be written over; choose another name for the table.")
    io.check_folder(out.parent)
