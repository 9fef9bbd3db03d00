"""Clip networks: `duchenne train NETWORK`, one command for each recipe in recipes/clips."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import echo, step_bar, train
from duchenne.registry import READERS

_RECIPES = Path(str(files("duchenne"))) / "recipes" / "clips"


def _add(path: Path) -> None:
    """Add the command of one recipe; the comment at its head is the help text."""
    head = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    summary = " ".join(head).partition(". ")[0].rstrip(".")

    @train.command(path.stem, help=f"Train {path.stem}: {summary}.")
    def command(
        manifest: options.TrainManifest,
        out: options.ModelOut,
        recipe: Annotated[str | None, typer.Option(help="TOML file to use instead of the shipped recipe.")] = None,
        frames: Annotated[int | None, typer.Option(help="Number of frames per clip, evenly spaced.")] = None,
        fps: Annotated[float | None, typer.Option(help="Frames per second instead, --frames in the middle.")] = None,
        image_size: Annotated[int | None, typer.Option(help="Width and height of a face crop in pixels.")] = None,
        backbone: Annotated[str | None, typer.Option(help="Name of another backbone.")] = None,
        task: Annotated[str | None, typer.Option(help="Task: authenticity, multi or classes.")] = None,
        loss: Annotated[str | None, typer.Option(help="cross-entropy, euclidean, focal or multilabel-focal.")] = None,
        weights: Annotated[
            str | None,
            typer.Option(
                help="Initial weights: .safetensors, .pth, or an expression model; several with commas between."
            ),
        ] = None,
        freeze_backbone: Annotated[bool | None, typer.Option(help="Keep the weights of the backbone fixed.")] = None,
        epochs: options.Epochs = None,
        batch_size: Annotated[int | None, typer.Option(help="Number of clips per batch.")] = None,
        accumulate_steps: Annotated[int | None, typer.Option(help="Number of batches per optimiser step.")] = None,
        device: options.Device = "auto",
        workers: Annotated[int, typer.Option(help="Number of threads that load crops.", min=0)] = 2,
        jobs: Annotated[int, typer.Option(help="Number of processes that track faces and crop them.", min=1)] = 1,
        reader: options.Reader = READERS[0],
        cache: Annotated[Path | None, typer.Option(help="Cache folder for tracks and crops.")] = None,
        seed: options.Seed = None,
        given: options.Set = None,
        fresh: options.Fresh = False,
    ) -> None:
        from duchenne.clipnets import training
        from duchenne.clipnets.recipe import ClipRecipe

        changes = {
            "frames": frames, "fps": fps, "image_size": image_size, "backbone": backbone, "task": task, "loss": loss,
            "freeze_backbone": freeze_backbone, "epochs": epochs, "batch_size": batch_size,
            "accumulate_steps": accumulate_steps, "seed": seed,
        }  # fmt: skip
        chosen = ClipRecipe.read(recipe or path.stem, **options.settings(given, changes))
        with step_bar() as (report, tick):
            card = training.train(
                manifest, out, chosen, device=device, weights=weights, workers=workers, jobs=jobs, reader=reader,
                cache=cache, resume=not fresh, log=report, tick=tick,
            )  # fmt: skip
        echo(
            f"{out}: {card['people']} people, {card['clips']} clips; on {card['judged']} clips of held-out people "
            f"accuracy {card['accuracy']:.3f}, AUC {card['auc']:.3f}; {card['clips_per_second']:g} clips per second"
        )


for _path in sorted(_RECIPES.glob("*.toml")):
    _add(_path)
