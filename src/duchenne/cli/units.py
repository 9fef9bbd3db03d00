"""Action units of single faces: `duchenne units`."""

from __future__ import annotations

from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import MEASURE, app, face_reader, limit_memory, log, progress
from duchenne.cli.emotions import check_output, finish


@app.command(rich_help_panel=MEASURE)
def units(
    inputs: options.Images,
    out: options.TableOut = None,
    neutral: Annotated[
        str | None,
        typer.Option(help="Relative to the person at rest: START-END in seconds of a video, or lowest."),
    ] = None,
    all_faces: options.AllFaces = False,
    every: options.Every = 0.1,
    rate: options.Rate = None,
    allow_truncated: options.AllowTruncated = False,
    memory: options.Memory = None,
    cache: options.Cached = True,
) -> None:
    """Measure the action units that each face shows, as a table of probabilities.

    AU06 and AU12 come first: together they are the Duchenne smile, which posed smiles show as well.
    """
    limit_memory(memory)
    from duchenne.units import table as of

    if out is not None:
        check_output(out, inputs)
    with progress("reading", "images and frames") as tick:
        table = of.table(
            inputs, neutral=None if neutral is None else of.parse_neutral(neutral), all_faces=all_faces, every=every,
            allow_truncated=allow_truncated, rate=rate, tick=tick, log=log, read=face_reader(cache),
        )  # fmt: skip
    finish(table, out, inputs)
