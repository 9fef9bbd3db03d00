"""Micro-expressions: `duchenne micro-expressions` and `duchenne train micro-expressions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from duchenne import limits
from duchenne.cli import batch, options
from duchenne.cli.app import MEASURE, app, echo, face_reader, limit_memory, log, print_csv, print_table, progress, train
from duchenne.errors import OutputError, UsageError
from duchenne.registry import READERS

if TYPE_CHECKING:
    from duchenne.types import Json


@app.command("micro-expressions", rich_help_panel=MEASURE)
def micro_expressions(
    clip: Annotated[
        Path | None, typer.Argument(help="Video, folder of numbered images with --rate, or folder of videos.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Table to write (.csv, .json); for many clips a folder.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Model folder of a classifier; none is shipped."),
    ] = None,
    rate: options.Rate = None,
    reader: options.Reader = READERS[0],
    start: options.Start = None,
    end: options.End = None,
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
    """Spot movements of the face that last 1/25 to 1/2 second: onset, apex and offset in seconds.

    Record at 100 or 200 frames per second. A brief movement proves neither a hidden feeling nor a lie.
    """
    several: Json = {"manifest": manifest, "workers": workers, "shard": shard, "retry": retry}
    inputs = [] if clip is None else [clip]
    if batch.many(inputs, rate, several, out):
        from duchenne.batch import micro_task

        if start is not None or end is not None:
            raise UsageError("--start and --end are for one clip; use a --manifest instead.")
        task = micro_task(model=model, reader=reader, device=device, allow_truncated=allow_truncated, cache=cache)
        batch.run(task, [*map(str, inputs)], cast(Path, out), rate=rate, stall=stall, memory=memory, **several)
        return
    if clip is None:
        raise UsageError("Give a video, a folder or a --manifest; see `duchenne micro-expressions --help`.")
    limit_memory(memory)
    from duchenne import io, micro
    from duchenne.micro.spotting import to_csv

    if out is not None:
        if out.suffix.lower() not in (".csv", ".json"):
            raise UsageError(f"{out}: the table is written as CSV or JSON; use a name that ends in .csv or .json.")
        if out.is_dir():
            raise OutputError(f"{out} is a folder; name a file in it for the table.")
        io.check_folder(out.parent)
    with progress(clip.name) as tick:
        result = micro.examine(
            clip, model=model, rate=rate, start=start, end=end, device=device, allow_truncated=allow_truncated,
            reader=reader, on_frame=tick, read=face_reader(cache),
        )  # fmt: skip
    for warning in result.warnings:
        log(f"note: {warning}")
    if out is None:
        print_csv(to_csv(result))
    else:
        micro.save(result, out)
        count = len(result.spots)
        log(
            f"{count} micro-expression{'s' * (count != 1)} in {result.duration:.2f} s at {result.rate:.3g} frames per "
            f"second, written to {out}."
        )
    log(limits.MICRO)


@train.command("micro-expressions")
def train_micro_expressions(
    data: Annotated[
        Path, typer.Option(help="Copy of CASME II, SAMM or SMIC, or a manifest (path, subject, emotion, …).")
    ],
    out: options.ModelOut,
    classes: Annotated[
        str,
        typer.Option(help="emotions, labelled (the coders' words), or three (positive, negative, surprise)."),
    ] = "emotions",
    features: Annotated[
        str, typer.Option(help="Expression network used as feature extractor: a shipped id, or a model folder.")
    ] = "expression",
    recipe: Annotated[str, typer.Option(help="Recipe: ours, paper, or a TOML file.")] = "ours",
    rate: Annotated[
        float | None, typer.Option(help="Frames per second of folders of images without a rate in the manifest.")
    ] = None,
    epochs: options.Epochs = None,
    tune_epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of tuning the expression network to the training people; 0: not at all.", min=0),
    ] = None,
    seed: options.Seed = None,
    given: options.Set = None,
    device: options.Device = "auto",
    fresh: options.Fresh = False,
) -> None:
    """Train a classifier of micro-expressions, evaluated leave-one-person-out; an interrupted training resumes."""
    from duchenne import micro
    from duchenne.micro.recipe import MicroRecipe

    changes = {"epochs": epochs, "tune_epochs": tune_epochs, "seed": seed}
    chosen = MicroRecipe.read(recipe, **options.settings(given, changes))
    card = micro.train(
        data, out, chosen, features=features, classes=classes, rate=rate, device=device, resume=not fresh, log=log
    )
    echo(
        f"{out}: {card['people']} people, {card['clips']} clips, {len(card['classes'])} classes; leaving each person "
        f"out UF1 {card['uf1']:.3f}, UAR {card['uar']:.3f} (chance {1 / len(card['classes']):.3f}), accuracy "
        f"{card['accuracy']:.3f}"
    )
    print_table(
        (f"  {name}", f"{row['rows']} clips", f"recall {row['recall']:.3f}", f"F1 {row['f1']:.3f}")
        for name, row in card["per_class"].items()
    )
    worst = ", ".join(f"{who} {row['right']}/{row['clips']}" for who, row in card["per_person"].items())
    echo(f"  right per person: {worst}")
