"""Models and this machine: `duchenne models`, `duchenne train`, `duchenne doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from duchenne.cli.app import Fresh, app, log, models, train
from duchenne.errors import DuchenneError, UsageError


@models.command("list")
def models_list(
    model: Annotated[list[str] | None, typer.Argument(help="Ids or model folders; default: all shipped ones.")] = None,
    networks: Annotated[
        bool, typer.Option("--networks", help="The clip networks that `duchenne train` can learn instead.")
    ] = False,
) -> None:
    """The shipped models: what they read, how good they are on people they have not seen, how large, on which terms."""
    from duchenne import checkpoints

    if networks:
        _networks()
        return
    for name, folder in ({m: checkpoints.locate(m) for m in model} if model else checkpoints.shipped()).items():
        typer.echo(f"{name:<12} {_described(folder)}")


def _described(folder: Path) -> str:
    from duchenne import checkpoints
    from duchenne.methods import inventory

    found, card = checkpoints.read(folder), checkpoints.card(folder)
    about = found.about
    score = ", ".join(
        f"{text} {card[key]:.3f}" for key, text in (("accuracy", "accuracy"), ("auc", "AUC")) if key in card
    )
    read = next((f"{about['facts'][key]} {key}" for key in ("clips", "images") if key in about["facts"]), "")
    size, speed = inventory.weights(found), card.get("clips_per_second")
    told = [
        card.get("title", about["family"]),
        read,
        score or "no measured score",
        f"reads {card.get('input') or about.get('needs', 'pictures')}",
        f"{size / 1e6:.1f} million weights" if size else "",
        f"{speed:g} clips per second on {card.get('device', 'cpu')}" if speed else "",
        f"terms: {card.get('licence') or card.get('data') or 'those of its data'}",
    ]
    return "; ".join(filter(None, told))


def _networks() -> None:
    from duchenne.clipnets.recipe import ClipRecipe
    from duchenne.clipnets.training import input_of
    from duchenne.methods import inventory

    for name in ClipRecipe.shipped():
        found = inventory.network(name)
        work = f"; {found.multiply_adds / 1e9:.1f} billion multiply-adds a clip" if found.multiply_adds else ""
        reads = input_of(ClipRecipe.read(name).reader)
        typer.echo(
            f"{name:<17} reads {reads}; {found.weights / 1e6:.2f} million weights{work}; starts from: {found.published}"
        )
    log(inventory.TERMS)


@models.command("verify")
def models_verify() -> None:
    """Check every shipped model file against its recorded sha256."""
    from duchenne import checkpoints

    bad = 0
    for name, path in checkpoints.shipped().items():
        folder = checkpoints.read(path)
        bad += bool(folder.problems)
        typer.echo(f"{name:<12} {'; '.join(folder.problems) or 'ok'}  sha256 {folder.sha256}")
    if bad:
        raise DuchenneError(f"{bad} shipped model(s) are damaged; reinstall duchenne.")


@models.command("apply")
def models_apply(
    model: Annotated[str, typer.Argument(help="Id of a shipped model or a model folder.")],
    source: Annotated[
        Path, typer.Argument(help="CSV of descriptors, of OpenFace or py-feat, frames.csv, .npz (or folder) of tracks.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write.")] = Path("predictions.csv"),
    rate: Annotated[
        float | None, typer.Option(help="Frames per second of an OpenFace or py-feat table, if it holds no times.")
    ] = None,
) -> None:
    """Run a model without video, row for row."""
    from duchenne import io, pipeline

    table = pipeline.apply(model, source, rate=rate)
    io.write_table(out, table)
    typer.echo(f"{len(table)} rows written to {out}", err=True)


@train.command("descriptors")
def train_descriptors(
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    manifest: Annotated[Path | None, typer.Option(help="CSV with columns path, subject, emotion, label.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV of smile descriptors with genuine and subject or group.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Which descriptors: dynamics (default), movement, uncut, face, head, activity, …")
    ] = None,
    smile_share: Annotated[
        float | None, typer.Option(help="Weight of the shipped smile expert on smiles; default: 0.", min=0, max=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and boosters.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Train on your own people: descriptors, boosting and a linear model, calibrated on people left out."""
    from duchenne.methods import training

    if (manifest is None) == (table is None):
        raise UsageError("Give either --manifest with clips or --table with smile descriptors.")
    if table is not None:
        if family is not None or smile_share is not None:
            raise UsageError("A table holds the smile's descriptors; leave out --family and --smile-share.")
        card = training.train_table(table, out, seed=seed, resume=not fresh, log=log)
    else:
        share = smile_share or 0.0
        card = training.train(
            str(manifest), out, family=family or "dynamics", seed=seed, smile_share=share, resume=not fresh, log=log
        )
    typer.echo(_told(out, card))


def _told(out: Path, card: dict[str, Any]) -> str:
    return (
        f"{out}: {card['people']} people, {card['clips']} clips; on people left out accuracy {card['accuracy']:.3f}, "
        f"AUC {card['auc']:.3f}, calibration error {card['ece']:.3f}"
    )


@train.command("hybrid")
def train_hybrid(
    manifest: Annotated[Path, typer.Option(help="CSV with columns path, subject, emotion, label.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    smile_share: Annotated[
        float, typer.Option(help="Weight of the shipped smile expert on smiles.", min=0, max=1)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of folds, boosters and networks.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Train what the shipped default is: descriptors and an LSTM-PB, mixed by what they say of people left out.

    Killed at any moment, the same command goes on.
    """
    from duchenne.methods import training

    card = training.train_hybrid(manifest, out, smile_share=smile_share, seed=seed, resume=not fresh, log=log)
    typer.echo(_told(out, card))


@train.command("lstm-pb")
def train_lstm_pb(
    manifest: Annotated[Path, typer.Option(help="CSV with columns path, subject, emotion, label.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    recipe: Annotated[str | None, typer.Option(help="Name of a shipped recipe, or a TOML with your own.")] = None,
    reading: Annotated[str | None, typer.Option(help="solved (ours), paper, published-code or rnnpb.")] = None,
    per_emotion: Annotated[
        bool | None, typer.Option("--per-emotion/--pooled", help="A network per emotion, or one for all.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips, at most.")] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Width of the network.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and folds.")] = None,
    fresh: Fresh = False,
) -> None:
    """Train an LSTM-PB on your own people; killed at any moment, the same command goes on.

    Options take the place of what the recipe says, which is by default the shipped one of the reading.
    """
    from duchenne.lstm_pb.recipe import PBRecipe
    from duchenne.methods import training

    changes = {"per_emotion": per_emotion, "epochs": epochs, "hidden_size": hidden_size, "seed": seed}
    if recipe is None:
        chosen = PBRecipe.of_reading(reading or "solved", **changes)
    else:
        chosen = PBRecipe.read(recipe, reading=reading, **changes)
    card = training.train_pb(manifest, out, chosen, resume=not fresh, log=log)
    typer.echo(
        f"{out}: {card['people']} people, {card['clips']} clips; accuracy {card['accuracy']:.3f}, "
        f"AUC {card['auc']:.3f} ({card['protocol']})"
    )


@train.command("method")
def train_method(
    name: Annotated[
        str, typer.Argument(help="As `evaluate --model`: linear-svm, two-stage:boosting, stack:descriptors+rank-svm, …")
    ],
    manifest: Annotated[Path, typer.Option(help="CSV with columns path, subject, emotion, label.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder for what is read of clips; default: `duchenne cache info`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and of all that is learnt.")] = 0,
    fresh: Fresh = False,
) -> None:
    """Train any method that `duchenne evaluate` compares, and keep it."""
    from duchenne.methods import training

    card = training.train_method(name, manifest, out, cache=cache, seed=seed, resume=not fresh, log=log)
    typer.echo(_told(out, card))


@app.command()
def doctor() -> None:
    """Versions, models with their hashes, landmark model, device: what to send with a bug report."""
    from duchenne.cli.doctor import doctor as examine

    found = examine()
    for name, value in found.items():
        typer.echo(f"{name:<32} {value}")
    if any(value.startswith("PROBLEM") for value in found.values()):
        raise typer.Exit(1)
