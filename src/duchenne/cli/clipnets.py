"""Clip networks: `duchenne train NETWORK`, one command for each recipe in recipes/clips."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from duchenne.cli.app import Fresh, bar, log, train

_RECIPES = Path(str(files("duchenne"))) / "recipes" / "clips"


def _add(path: Path) -> None:
    """The command of one recipe, whose comment at its head tells what it is."""
    head = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    told = " ".join(head).partition(". ")[0].rstrip(".")

    @train.command(path.stem, help=f"{told}.")
    def command(
        manifest: Annotated[Path, typer.Option(help="CSV with columns path, subject, emotion, label.")],
        out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
        recipe: Annotated[str | None, typer.Option(help="A TOML of your own instead of the shipped one.")] = None,
        frames: Annotated[int | None, typer.Option(help="Frames of a clip, evenly over its seconds.")] = None,
        fps: Annotated[float | None, typer.Option(help="Frames a second instead, of --frames the middle ones.")] = None,
        image_size: Annotated[int | None, typer.Option(help="Pixels of a face, each way.")] = None,
        backbone: Annotated[str | None, typer.Option(help="Another trunk under the same network.")] = None,
        task: Annotated[str | None, typer.Option(help="authenticity, multi or classes.")] = None,
        loss: Annotated[str | None, typer.Option(help="cross-entropy, euclidean, focal or multilabel-focal.")] = None,
        weights: Annotated[
            str | None,
            typer.Option(help="Published weights (.safetensors, .pth) or an expression model to start from."),
        ] = None,
        freeze_backbone: Annotated[
            bool | None, typer.Option(help="Whether the backbone stays as it was loaded.")
        ] = None,
        epochs: Annotated[int | None, typer.Option(help="Passes over the clips, at most.")] = None,
        batch_size: Annotated[int | None, typer.Option(help="Clips at a time.")] = None,
        accumulate_steps: Annotated[int | None, typer.Option(help="Batches that make a step.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
        workers: Annotated[int, typer.Option(help="Threads that read crops ahead.", min=0)] = 2,
        jobs: Annotated[int, typer.Option(help="Processes that follow faces and cut crops.", min=1)] = 1,
        cache: Annotated[
            Path | None, typer.Option(help="Folder for tracks and crops; default: `duchenne cache info`.")
        ] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of weights, order and who is left out.")] = None,
        fresh: Fresh = False,
    ) -> None:
        from duchenne.clipnets import training
        from duchenne.clipnets.recipe import ClipRecipe

        changes = {
            "frames": frames, "fps": fps, "image_size": image_size, "backbone": backbone, "task": task, "loss": loss,
            "freeze_backbone": freeze_backbone, "epochs": epochs, "batch_size": batch_size,
            "accumulate_steps": accumulate_steps, "seed": seed,
        }  # fmt: skip
        chosen = ClipRecipe.read(recipe or path.stem, **changes)
        with _bar() as (say, tick):
            card = training.train(
                manifest, out, chosen, device=device, weights=weights, workers=workers, jobs=jobs, cache=cache,
                resume=not fresh, log=say, tick=tick,
            )  # fmt: skip
        typer.echo(
            f"{out}: {card['people']} people, {card['clips']} clips; of {card['judged']} clips of people left out "
            f"accuracy {card['accuracy']:.3f}, AUC {card['auc']:.3f}; {card['clips_per_second']:g} clips per second"
        )


for _path in sorted(_RECIPES.glob("*.toml")):
    _add(_path)


@contextmanager
def _bar() -> Iterator[tuple[Any, Any]]:
    """(a line on stderr, one bar of all that is done); where nobody watches, lines alone."""
    if not sys.stderr.isatty():
        yield log, lambda *_: None
        return
    with bar() as progress:
        task = progress.add_task("")
        yield (
            lambda text: progress.console.print(text, markup=False, highlight=False),
            lambda stage, done, total: progress.update(task, description=stage, completed=done, total=total),
        )
