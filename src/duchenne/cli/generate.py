"""An LSTM-PB itself, not its verdict: `duchenne generate` and `duchenne pb`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import app, log, progress
from duchenne.errors import UsageError

_MOST_DRAWN = 12  # clips of a manifest whose predictions are drawn


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
    from duchenne.lstm_pb import generation

    found = generation.generate(
        model, out, label=label, seconds=seconds, emotion=emotion, mix=mix, rate=rate, seed_clip=seed_clip
    )
    for note in found["notes"]:
        typer.echo(note, err=True)
    typer.echo(
        f"{found['video']} and {found['table']}: {found['frames']} frames at {found['rate']:g} per second; the point "
        f"that moves most goes {found['farthest']:.2f} eye distances."
    )


@app.command()
def pb(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pb.csv and the pictures.")],
    clips: Annotated[list[str] | None, typer.Argument(help="Videos, or tracks of packed files (x.npz#3).")] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV of clips, instead of naming them here.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped LSTM-PB or its folder.")] = "lstm-pb",
    emotion: Annotated[
        str | None, typer.Option(help="Which network, of a model with one per emotion; else the manifest's emotion.")
    ] = None,
) -> None:
    """Write and draw the PB vectors by which an LSTM-PB knows clips, and what it expected of them.

    Clips that a model has learnt from lie further apart by label than new ones do.
    """
    from duchenne.datasets import manifest as manifests
    from duchenne.lstm_pb import space

    if bool(clips) == (manifest is not None):
        raise UsageError("Give either clips or --manifest with a CSV of them.")
    if manifest is not None and manifest.resolve() == (out / space.TABLE).resolve():
        raise UsageError(f"{manifest} would be written over; choose another folder.")
    named = clips or [] if manifest is None else manifests.read(manifest, persons=False)

    most = None if manifest is None else _MOST_DRAWN
    with progress("reading", "clips", len(named)) as tick:
        found = space.pb(model, named, out, emotion=emotion, most=most, log=log, tick=tick)
    read, pictures = len(found["clips"]), sum(file.suffix == ".png" for file in found["pictures"])
    typer.echo(
        f"{found['table']}: PB vectors of {read} of {len(named)} clip{'s' * (len(named) != 1)}, "
        f"{found['vectors'].shape[1]} numbers each; {pictures} pictures beside it."
    )
