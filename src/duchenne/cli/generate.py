"""Inside an LSTM-PB: `duchenne generate` and `duchenne pb`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import MODELS, app, echo, limit_memory, log, progress
from duchenne.errors import UsageError

_MAX_PLOTS = 12  # clips of a manifest with a plot of predictions


@app.command(rich_help_panel=MODELS)
def generate(
    label: Annotated[str, typer.Option(help="Label whose PB vector is used: posed or genuine.")],
    seconds: Annotated[float, typer.Option(help="Length of the movement in seconds.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Video to write (.mp4), and a .csv of its points.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped LSTM-PB, or its folder.")] = "lstm-pb",
    emotion: Annotated[str | None, typer.Option(help="Emotion, if the model has a network per emotion.")] = None,
    mix: Annotated[
        float, typer.Option(help="Interpolate from this label's PB vector (0) to the other's (1).", min=0, max=1)
    ] = 0.0,
    rate: Annotated[float | None, typer.Option(help="Frames per second; by default the model's.")] = None,
    seed_clip: Annotated[
        str | None, typer.Option("--seed-clip", help="Clip with the face to animate, instead of the mean face.")
    ] = None,
    memory: options.Memory = None,
) -> None:
    """Generate the movement of a face with an LSTM-PB, from the PB vector of posed or genuine clips."""
    limit_memory(memory)
    from duchenne.lstm_pb import generation

    result = generation.generate(
        model, out, label=label, seconds=seconds, emotion=emotion, mix=mix, rate=rate, seed_clip=seed_clip
    )
    for note in result["notes"]:
        log(note)
    echo(
        f"{result['video']} and {result['table']}: {result['frames']} frames at {result['rate']:g} per second; largest "
        f"displacement of a point {result['farthest']:.2f} eye distances."
    )


@app.command(rich_help_panel=MODELS)
def pb(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pb.csv and the plots.")],
    clips: Annotated[list[str] | None, typer.Argument(help="Videos, or tracks such as x.npz#3.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV that lists the clips instead.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped LSTM-PB, or its folder.")] = "lstm-pb",
    emotion: Annotated[
        str | None, typer.Option(help="Emotion, if the model has a network per emotion; by default the manifest's.")
    ] = None,
    memory: options.Memory = None,
) -> None:
    """Compute and plot the PB vectors of clips under an LSTM-PB, and its predictions of their movement.

    Training clips are separated by label more clearly than new ones.
    """
    limit_memory(memory)
    from duchenne.datasets import manifest as manifests
    from duchenne.lstm_pb import space

    if bool(clips) == (manifest is not None):
        raise UsageError("Give either clips or a --manifest, not both.")
    if manifest is not None and manifest.resolve() == (out / space.TABLE).resolve():
        raise UsageError(f"{manifest} would be overwritten; choose another folder.")
    sources = clips or [] if manifest is None else manifests.read(manifest, persons=False)

    with progress("reading", "clips", len(sources)) as tick:
        result = space.pb(
            model, sources, out, emotion=emotion, most=_MAX_PLOTS if manifest else None, log=log, tick=tick
        )
    read, plots = len(result["clips"]), sum(file.suffix == ".png" for file in result["pictures"])
    echo(
        f"{result['table']}: PB vectors of {read} of {len(sources)} clip{'s' * (len(sources) != 1)}, "
        f"{result['vectors'].shape[1]} numbers each; {plots} plots beside it."
    )
