"""Generation mode: `duchenne generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import app


@app.command()
def generate(
    label: Annotated[str, typer.Option(help="posed or genuine: whose PB vector moves the face.")],
    seconds: Annotated[float, typer.Option(help="Length of the movement.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Video to write (.mp4); a .csv of the points beside it.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped LSTM-PB or its folder.")] = "lstm-pb",
    emotion: Annotated[str | None, typer.Option(help="Which network, of a model with one per emotion.")] = None,
    mix: Annotated[
        float, typer.Option(help="From this label's PB vector (0) to the other's (1): 0.5 lies halfway.", min=0, max=1)
    ] = 0.0,
    rate: Annotated[float | None, typer.Option(help="Frames per second; else the model's own.")] = None,
    seed_clip: Annotated[
        str | None, typer.Option("--seed-clip", help="Clip whose first face is moved, instead of the mean face.")
    ] = None,
) -> None:
    """Let an LSTM-PB move a drawn face by itself, as the PB vector of posed or of genuine clips tells it."""
    from duchenne import generation

    found = generation.generate(
        model, out, label=label, seconds=seconds, emotion=emotion, mix=mix, rate=rate, seed_clip=seed_clip
    )
    for note in found["notes"]:
        typer.echo(note, err=True)
    typer.echo(
        f"{found['video']} and {found['table']}: {found['frames']} frames at {found['rate']:g} per second; the point "
        f"that moves most goes {found['farthest']:.2f} eye distances."
    )
