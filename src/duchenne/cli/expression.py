"""Expression networks: `duchenne train expression`, `finetune` and `evaluate-emotions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from duchenne.cli import options
from duchenne.cli.app import EVALUATE, MODELS, app, echo, log, print_table, train

if TYPE_CHECKING:
    from duchenne.expression.faces import Reader
    from duchenne.types import Json

_INTERVAL = 500  # images between two lines of progress
_ImagesPerEpoch = Annotated[int | None, typer.Option(help="Images per epoch; 0 for all.")]
_Channels = Annotated[int | None, typer.Option(help="1 for grey faces, 3 for RGB; by default as the recipe.")]
_Aligned = Annotated[bool, typer.Option("--aligned", help="Images are cropped faces, as in FER2013.")]
_Person = Annotated[
    str | None, typer.Option(help="Regular expression for the subject in the path of an image, such as '(S[0-9]+)_'.")
]
_Folds = Annotated[
    int | None,
    typer.Option(
        help="Person-disjoint folds for the scores on the card, 0 for none; for finetune by default 5.",
        min=0,
    ),
]
_Skip = Annotated[bool, typer.Option("--skip-missing-faces", help="Leave out images without a face.")]


@train.command("expression")
def train_expression(
    data: Annotated[Path, typer.Option(help="Copy of FER2013, or a folder with a subfolder of images per emotion.")],
    out: options.ModelOut,
    recipe: options.Recipe = "ours",
    epochs: options.Epochs = None,
    images_per_epoch: _ImagesPerEpoch = None,
    channels: _Channels = None,
    validation: Annotated[str | None, typer.Option(help="Fold of the data, or folder, to select the epoch on.")] = None,
    folds: _Folds = None,
    aligned: _Aligned = False,
    person: _Person = None,
    skip_missing_faces: _Skip = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    given: options.Set = None,
    fresh: options.Fresh = False,
) -> None:
    """Train a network that predicts the emotion of a face; an interrupted training resumes."""
    from duchenne.expression import training
    from duchenne.expression.recipe import ExpressionRecipe

    changes: Json = {"epochs": epochs, "images_per_epoch": images_per_epoch, "channels": channels, "seed": seed}
    chosen = ExpressionRecipe.read(recipe or "ours", **options.settings(given, changes))
    reader = _reader(aligned, person, skip_missing_faces)
    card = training.train(
        data, out, chosen, reader=reader, validation=validation, folds=folds or 0, device=device, resume=not fresh,
        log=log,
    )  # fmt: skip
    echo(_summary(out, card))


@app.command(rich_help_panel=MODELS)
def finetune(
    data: Annotated[
        Path, typer.Option(help="Folder with a subfolder per class, table (file, subject, AU1, …), CK+ or DISFA.")
    ],
    out: options.ModelOut,
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped expression network, or its folder.")] = (
        "expression"
    ),
    head: Annotated[
        Literal["emotions", "units", "intensity"] | None,
        typer.Option(help="Task: emotions, presence of action units, or their intensity from 0 to 5."),
    ] = None,
    freeze_backbone: Annotated[bool | None, typer.Option(help="Train the head only, instead of all weights.")] = None,
    recipe: options.Recipe = None,
    units: Annotated[str | None, typer.Option(help="Action units, such as AU6,AU12; by default all.")] = None,
    folds: _Folds = None,
    epochs: options.Epochs = None,
    images_per_epoch: _ImagesPerEpoch = None,
    channels: _Channels = None,
    aligned: _Aligned = False,
    person: _Person = None,
    skip_missing_faces: _Skip = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    given: options.Set = None,
    fresh: options.Fresh = False,
) -> None:
    """Fine-tune an expression network for other emotions or for action units; an interrupted training resumes."""
    from duchenne.errors import UsageError
    from duchenne.expression import training
    from duchenne.expression.recipe import ExpressionRecipe

    task = head or (ExpressionRecipe.read(recipe).head if recipe else "emotions")
    if units is not None and task == "emotions":
        raise UsageError("--units needs --head units or --head intensity; add one of them.")
    changes: Json = {
        "epochs": epochs, "images_per_epoch": images_per_epoch, "seed": seed, "freeze_backbone": freeze_backbone,
        "channels": channels, "head": task,
    }  # fmt: skip
    if freeze_backbone and recipe is None and "learning_rate" not in options.settings(given, {}):
        changes["learning_rate"] = training.FROZEN_RATE
    chosen = ExpressionRecipe.read(recipe or training.TRANSFER[task], **options.settings(given, changes))
    only = None if units is None else [name.strip() for name in units.split(",")]
    reader = _reader(aligned, person, skip_missing_faces)
    card = training.finetune(
        model, data, out, head=task, recipe=chosen, reader=reader, only=only, folds=folds, device=device,
        resume=not fresh, log=log,
    )  # fmt: skip
    echo(_summary(out, card))
    print_table(_unit_rows(card))


@app.command("evaluate-emotions", rich_help_panel=EVALUATE)
def evaluate_emotions(
    data: Annotated[list[Path], typer.Option(help="Labelled faces, as for `train expression`; repeat for several.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Id of an expression network, or its folder; repeat for several."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Results to write: .json or .csv.")] = None,
    fold: Annotated[
        str | None, typer.Option(help="Fold to test on; by default the test fold, or all images of data without one.")
    ] = None,
    flips: Annotated[bool, typer.Option(help="Average with the mirrored face.")] = True,
    aligned: _Aligned = False,
    person: _Person = None,
    skip_missing_faces: _Skip = False,
    device: options.Device = "auto",
) -> None:
    """Test expression networks on other data sets: accuracy, macro F1, UAR, calibration and confusion matrix."""
    from duchenne.evaluation import emotions

    if out is not None:
        emotions.check_output(out)
    reader = _reader(aligned, person, skip_missing_faces)
    found = emotions.networks(
        model or ["expression"], data, reader=reader, fold=fold, flips=flips, device=device, log=log
    )
    names = {
        "accuracy": "accuracy",
        "accuracy_shared": "of shared classes",
        "uf1": "macro F1",
        "uar": "UAR",
        "ece": "ECE",
    }
    for each in found:
        echo(f"{each['model']} on {each['data']}, {each['fold']}, {each['images']} images")
        echo("  " + ", ".join(f"{words} {_shown(each[key])}" for key, words in names.items()))
        rows = zip(each["classes"], each["confusion"], strict=True)
        print_table([("  true \\ predicted", *each["classes"]), *((f"  {name}", *map(str, row)) for name, row in rows)])
    if out is not None:
        emotions.save(found, out)
        log(f"{len(found)} result{'s' * (len(found) != 1)} written to {out}.")


def _reader(aligned: bool, person: str | None, skip: bool) -> Reader:
    from duchenne.expression.faces import Reader

    def tick(done: int, of: int) -> None:
        if done % _INTERVAL == 0 or done == of:
            log(f"{done} of {of} images read")

    return Reader(is_aligned=aligned, skip=skip, person=person, tick=tick)


def _summary(out: Path, card: Json) -> str:
    """One sentence on the trained model and its scores."""
    text = f"{out}: {card['head']} from {card['images']} images on {card['device']}; "
    if "per_unit" in card and card["head"] == "units":
        text += f"mean F1 {_shown(card['mean_f1'])}, {_accuracy(card, 'mean_')} of {len(card['classes'])} units"
    elif "per_unit" in card:
        text += f"mean ICC(3,1) {_shown(card['mean_icc'])}, {_accuracy(card, 'mean_')}, squared error "
        text += f"{_shown(card['mean_mse'])} of {len(card['classes'])} units"
    elif "accuracy" in card:
        text += f"accuracy {_shown(card['accuracy'])}{_spread(card)}, macro F1 {_shown(card['uf1'])}"
    return f"{text} ({card['protocol']})"


def _spread(card: Json) -> str:
    """The mean over folds and its spread, as papers give them."""
    each = [fold["accuracy"] for fold in card.get("folds", ())]
    return f" (of {len(each)} folds {fmean(each):.3f} ± {stdev(each):.3f})" if each else ""


def _unit_rows(card: Json) -> Iterator[tuple[str, ...]]:
    """One row of cells for each action unit that was scored."""
    for name, unit in card.get("per_unit", {}).items():
        keys = {"f1": "F1"} if card["head"] == "units" else {"icc": "ICC(3,1)", "mse": "squared error"}
        scores = (f"{words} {_shown(unit[key])}" for key, words in keys.items())
        yield f"  {name}", f"{unit['coded']} images", f"base rate {_shown(unit['base_rate'])}", *scores, _accuracy(unit)


def _accuracy(scores: Json, prefix: str = "") -> str:
    absent = _shown(scores[f"{prefix}accuracy_absent"])
    return f"accuracy {_shown(scores[f'{prefix}accuracy'])} (always absent: {absent})"


def _shown(value: float) -> str:
    return "unknown" if value != value else f"{value:.3f}"
