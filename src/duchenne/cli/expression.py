"""Expression networks: `duchenne train expression` and `duchenne finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from duchenne.cli.app import Fresh, app, log, train

if TYPE_CHECKING:
    from duchenne.expression.data import Reader

_OFTEN = 500  # pictures between two lines on how many are read
_Out = Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")]
_Recipe = Annotated[str | None, typer.Option(help="Name of a shipped recipe, or a TOML with your own.")]
_Epochs = Annotated[int | None, typer.Option(help="How many epochs; else the recipe's.")]
_ImagesPerEpoch = Annotated[
    int | None, typer.Option(help="Pictures per epoch, after each of which it may be stopped; 0: all.")
]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
_Seed = Annotated[int | None, typer.Option(help="Seed of weights, order and whoever is held back.")]
_Aligned = Annotated[bool, typer.Option("--aligned", help="Pictures are cropped faces; look for none in them.")]
_Person = Annotated[
    str | None, typer.Option(help="Who is seen, as a regular expression on a picture's path: '(S[0-9]+)_'.")
]
_Skip = Annotated[bool, typer.Option("--skip-missing-faces", help="Leave out pictures that show no face.")]


@train.command("expression")
def train_expression(
    data: Annotated[Path, typer.Option(help="A copy of FER2013, or a folder with one of pictures for each emotion.")],
    out: _Out,
    recipe: _Recipe = "ours",
    epochs: _Epochs = None,
    images_per_epoch: _ImagesPerEpoch = None,
    validation: Annotated[
        str | None, typer.Option(help="Fold of the data, or folder of class folders, to choose the epoch by.")
    ] = None,
    aligned: _Aligned = False,
    person: _Person = None,
    skip_missing_faces: _Skip = False,
    device: _Device = "auto",
    seed: _Seed = None,
    fresh: Fresh = False,
) -> None:
    """Train a network that names a face's emotion; killed at any moment, the same command goes on."""
    from duchenne.expression import training
    from duchenne.expression.recipe import ExpressionRecipe

    chosen = ExpressionRecipe.read(recipe or "ours", epochs=epochs, images_per_epoch=images_per_epoch, seed=seed)
    reader = _reader(aligned, person, skip_missing_faces)
    card = training.train(
        data, out, chosen, reader=reader, validation=validation, device=device, resume=not fresh, log=log
    )
    typer.echo(_told(out, card))


@app.command()
def finetune(
    data: Annotated[
        Path, typer.Option(help="Class folders, a table (file, subject, AU1, AU12, …), or a copy of CK+ or DISFA.")
    ],
    out: _Out,
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped expression network or a folder.")] = (
        "expression"
    ),
    head: Annotated[
        Literal["emotions", "units", "intensity"] | None,
        typer.Option(help="What to learn: emotions, action units there or not, or their intensity 0 to 5."),
    ] = None,
    freeze_backbone: Annotated[
        bool | None, typer.Option(help="Only the output learns, or everything; else the recipe's way.")
    ] = None,
    recipe: _Recipe = None,
    units: Annotated[str | None, typer.Option(help="Which action units, such as AU6,AU12; else all there are.")] = None,
    folds: Annotated[
        int, typer.Option(help="Person-disjoint folds for the card's scores; 0 leaves them out.", min=0)
    ] = 5,
    epochs: _Epochs = None,
    images_per_epoch: _ImagesPerEpoch = None,
    aligned: _Aligned = False,
    person: _Person = None,
    skip_missing_faces: _Skip = False,
    device: _Device = "auto",
    seed: _Seed = None,
    fresh: Fresh = False,
) -> None:
    """Let a network that knows emotions learn other ones, or action units; killed, the same command goes on."""
    from duchenne.errors import UsageError
    from duchenne.expression import training
    from duchenne.expression.recipe import ExpressionRecipe

    task = head or (ExpressionRecipe.read(recipe).head if recipe else "emotions")
    if units is not None and task == "emotions":
        raise UsageError("--units chooses among action units; pass --head units or --head intensity with it.")
    changes: dict[str, Any] = {
        "epochs": epochs,
        "images_per_epoch": images_per_epoch,
        "seed": seed,
        "freeze_backbone": freeze_backbone,
        "head": task,
    }
    if freeze_backbone and recipe is None:
        changes["learning_rate"] = training.FROZEN_RATE
    chosen = ExpressionRecipe.read(recipe or training.TRANSFER[task], **changes)
    only = None if units is None else [name.strip() for name in units.split(",")]
    card = training.finetune(
        *(model, data, out),
        head=task,
        recipe=chosen,
        reader=_reader(aligned, person, skip_missing_faces),
        only=only,
        folds=folds,
        device=device,
        resume=not fresh,
        log=log,
    )
    typer.echo(_told(out, card))


def _reader(aligned: bool, person: str | None, skip: bool) -> Reader:
    from duchenne.expression.data import Reader

    def tick(done: int, of: int) -> None:
        if done % _OFTEN == 0 or done == of:
            log(f"{done} of {of} pictures read")

    return Reader(is_aligned=aligned, skip=skip, person=person, tick=tick)


def _told(out: Path, card: dict[str, Any]) -> str:
    """One sentence on what was learnt and how good it is."""
    found = f"{out}: {card['head']} from {card['images']} images on {card['device']}; "
    if "per_unit" in card and card["head"] == "units":
        found += f"mean F1 {_shown(card['mean_f1'])} of {len(card['classes'])} units"
    elif "per_unit" in card:
        found += f"mean ICC(3,1) {_shown(card['mean_icc'])} of {len(card['classes'])} units"
    elif "accuracy" in card:
        found += f"accuracy {_shown(card['accuracy'])}, macro F1 {_shown(card['uf1'])}"
    return f"{found} ({card['protocol']})"


def _shown(value: float) -> str:
    return "unknown" if value != value else f"{value:.3f}"
