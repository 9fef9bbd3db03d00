"""Micro-expressions: `duchenne micro-expressions` and `duchenne train micro-expressions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne import limits
from duchenne.cli.app import Cached, Fresh, app, face_reader, log, progress, train
from duchenne.errors import OutputError, UsageError


@app.command("micro-expressions")
def micro_expressions(
    clip: Annotated[Path, typer.Argument(help="A video, or a folder of numbered images with --rate.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help=".csv or .json; without it, CSV on stdout.")] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Folder of a model that names what is spotted; none ships.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second of a folder of images.")] = None,
    start: Annotated[float | None, typer.Option(help="Seconds at which to start.")] = None,
    end: Annotated[float | None, typer.Option(help="Seconds at which to stop.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps, for the model.")] = "auto",
    allow_truncated: Annotated[bool, typer.Option(help="Use what is there of a video that was cut short.")] = False,
    cache: Cached = True,
) -> None:
    """Spot movements of the face that come and go within 1/25 to 1/2 second: onset, apex and offset in seconds.

    Film at 100 or 200 frames per second. A brief movement is no proof of a hidden feeling, and none of a lie.
    """
    from duchenne import io, micro
    from duchenne.micro.spotting import to_csv

    if out is not None:
        if out.suffix.lower() not in (".csv", ".json"):
            raise UsageError(f"{out} names no kind of file that can be written; end it in .csv or .json.")
        if out.is_dir():
            raise OutputError(f"The table cannot be written to {out}, which is a folder; name a file in it.")
        io.check_folder(out.parent)
    with progress(clip.name) as tick:
        found = micro.examine(
            clip, model=model, rate=rate, start=start, end=end, device=device, allow_truncated=allow_truncated,
            on_frame=tick, read=face_reader(cache),
        )  # fmt: skip
    for warning in found.warnings:
        log(f"note: {warning}")
    if out is None:
        typer.echo(to_csv(found), nl=False)
    else:
        micro.save(found, out)
        count = len(found.spots)
        log(
            f"{count} micro-expression{'s' * (count != 1)} in {found.duration:.2f} s at {found.rate:.3g} frames per "
            f"second, written to {out}."
        )
    log(limits.MICRO)


@train.command("micro-expressions")
def train_micro_expressions(
    data: Annotated[
        Path, typer.Option(help="Folder with CASME II, SAMM or SMIC, or a manifest CSV (path, subject, emotion, …).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    classes: Annotated[
        str, typer.Option(help="emotions, labelled (the coders' own words) or three (positive, negative, surprise).")
    ] = "emotions",
    features: Annotated[
        str, typer.Option(help="Expression network whose features are read: a shipped id or a model folder.")
    ] = "expression",
    recipe: Annotated[str, typer.Option(help="ours, paper, or a TOML with your own.")] = "ours",
    rate: Annotated[
        float | None, typer.Option(help="Frames per second of folders of images whose rows do not tell it.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and order.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps, for the features.")] = "auto",
    fresh: Fresh = False,
) -> None:
    """Learn what micro-expressions show, judged on each person by what was learnt from the others.

    Killed at any moment, the same command goes on.
    """
    from duchenne import micro
    from duchenne.micro.recipe import MicroRecipe

    chosen = MicroRecipe.read(recipe, epochs=epochs, seed=seed)
    card = micro.train(
        data, out, chosen, seeing=features, classes=classes, rate=rate, device=device, resume=not fresh, log=log
    )
    typer.echo(
        f"{out}: {card['people']} people, {card['clips']} clips, {len(card['classes'])} classes; leaving each person "
        f"out UF1 {card['uf1']:.3f}, UAR {card['uar']:.3f} (chance {1 / len(card['classes']):.3f}), accuracy "
        f"{card['accuracy']:.3f}"
    )
    wide = max(map(len, card["classes"]))
    for name, row in card["per_class"].items():
        typer.echo(f"  {name:<{wide}} {row['rows']:>4} clips, recall {row['recall']:.3f}, F1 {row['f1']:.3f}")
    worst = ", ".join(f"{who} {row['right']}/{row['clips']}" for who, row in card["per_person"].items())
    typer.echo(f"  right per person: {worst}")
