"""Models and the installation: `duchenne models`, `duchenne train`, `duchenne doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import MODELS, SETUP, app, echo, limit_memory, log, models, print_table, train
from duchenne.errors import DuchenneError, UsageError
from duchenne.registry import READER_WORDS, READERS

if TYPE_CHECKING:
    from duchenne.types import Json


@models.command("list")
def models_list(
    model: Annotated[list[str] | None, typer.Argument(help="Ids or model folders, by default all shipped.")] = None,
    networks: Annotated[
        bool, typer.Option("--networks", help="List the clip networks that `duchenne train` offers instead.")
    ] = False,
) -> None:
    """List models: input, scores on new people, size and terms."""
    from duchenne import checkpoints

    if networks:
        _networks()
        return
    folders = {name: checkpoints.locate(name) for name in model} if model else checkpoints.shipped()
    print_table((name, _description(folder)) for name, folder in folders.items())


def _description(folder: Path) -> str:
    from duchenne import checkpoints
    from duchenne.methods import inventory

    found, card = checkpoints.read(folder), checkpoints.card(folder)
    about = found.about
    score = ", ".join(
        f"{text} {card[key]:.3f}"
        for key, text in (("accuracy", "accuracy"), ("auc", "AUC"))
        if card.get(key) is not None
    )
    read = next((f"{about['facts'][key]} {key}" for key in ("clips", "images") if key in about["facts"]), "")
    size, speed = inventory.weights(found), card.get("clips_per_second")
    parts = [
        card.get("title", about["family"]),
        read,
        score or "no measured score",
        f"reads {card.get('input') or about.get('needs', 'images')}",
        f"{size / 1e6:.1f} million weights" if size else "",
        f"{speed:g} clips per second on {card.get('device', 'cpu')}" if speed else "",
        f"terms: {card.get('licence') or card.get('data') or 'those of its data'}",
    ]
    return "; ".join(filter(None, parts))


def _networks() -> None:
    from duchenne.clipnets.recipe import ClipRecipe
    from duchenne.clipnets.training import input_of
    from duchenne.methods import inventory

    rows = []
    for name in ClipRecipe.shipped():
        found = inventory.network(name)
        work = f"; {found.multiply_adds / 1e9:.1f} billion multiply-adds a clip" if found.multiply_adds else ""
        size = f"{found.weights / 1e6:.2f} million weights{work}"
        rows.append((name, f"reads {input_of(ClipRecipe.read(name).reader)}; {size}; starts from: {found.published}"))
    print_table(rows)
    log(inventory.TERMS)


@models.command("verify")
def models_verify() -> None:
    """Verify every shipped model file against its recorded SHA-256."""
    from duchenne import checkpoints

    folders = {name: checkpoints.read(path) for name, path in checkpoints.shipped().items()}
    print_table((name, "; ".join(each.problems) or "ok", f"sha256 {each.sha256}") for name, each in folders.items())
    if damaged := sum(bool(each.problems) for each in folders.values()):
        raise DuchenneError(f"{damaged} shipped model(s) are damaged; reinstall duchenne.")


@models.command("apply")
def models_apply(
    model: Annotated[str, typer.Argument(help="Id of a shipped model or a model folder.")],
    source: Annotated[
        Path, typer.Argument(help="CSV of descriptors, OpenFace or py-feat, frames.csv, or tracks (.npz or folder).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write.")] = Path("predictions.csv"),
    rate: Annotated[float | None, typer.Option(help="Frames per second, if the table has no times.")] = None,
    memory: options.Memory = None,
) -> None:
    """Apply a model to descriptors or tracks, without video."""
    limit_memory(memory)
    from duchenne import io
    from duchenne.batch.apply import apply

    table = apply(model, source, rate=rate)
    io.write_table(out, table)
    log(f"{len(table)} rows written to {out}")


@train.command("descriptors")
def train_descriptors(
    out: options.ModelOut,
    manifest: Annotated[Path | None, typer.Option(help="CSV with columns path, subject, emotion, label.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV of smile descriptors with genuine and subject or group.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Descriptors: dynamics (default), movement, uncut, face, head, activity, …")
    ] = None,
    smile_share: Annotated[
        float | None, typer.Option(help="Weight of the shipped smile expert on smiles, by default 0.", min=0, max=1)
    ] = None,
    reader: options.Reader = READERS[0],
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    fresh: options.Fresh = False,
) -> None:
    """Train gradient boosting and a linear model on descriptors, calibrated on held-out people."""
    from duchenne.methods import training

    if (manifest is None) == (table is None):
        raise UsageError("Give either --manifest with clips or --table with smile descriptors.")
    if table is not None:
        if family is not None or smile_share is not None:
            raise UsageError("--family and --smile-share do not apply to a --table; leave them out.")
        card = training.train_table(table, out, seed=seed, resume=not fresh, log=log)
    else:
        share = smile_share or 0.0
        card = training.train(
            str(manifest),
            out,
            family=family or "dynamics",
            seed=seed,
            smile_share=share,
            reader=reader,
            resume=not fresh,
            log=log,
        )
    echo(_summary(out, card))


def _summary(out: Path, card: Json) -> str:
    return (
        f"{out}: {card['people']} people, {card['clips']} clips; on held-out people accuracy {card['accuracy']:.3f}, "
        f"AUC {card['auc']:.3f}, calibration error {card['ece']:.3f}"
    )


@train.command("hybrid")
def train_hybrid(
    manifest: options.TrainManifest,
    out: options.ModelOut,
    family: Annotated[
        str | None, typer.Option(help="Descriptors: by default mesh-relative, or dynamics for faces read by paper.")
    ] = None,
    smile_share: Annotated[
        float, typer.Option(help="Weight of the shipped smile expert on smiles.", min=0, max=1)
    ] = 0.0,
    reader: options.Reader = READERS[0],
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    fresh: options.Fresh = False,
) -> None:
    """Train the default model: descriptors of movement and of how the face looks, combined on held-out people.

    Beside descriptors of points alone (--family dynamics) stands an LSTM-PB. An interrupted run resumes.
    """
    from duchenne.methods import training

    card = training.train_hybrid(
        manifest, out, family=family, smile_share=smile_share, seed=seed, reader=reader, resume=not fresh, log=log
    )
    echo(_summary(out, card))


@train.command("lstm-pb")
def train_lstm_pb(
    manifest: options.TrainManifest,
    out: options.ModelOut,
    recipe: options.Recipe = None,
    reading: Annotated[str | None, typer.Option(help="Variant: solved (ours), paper, published-code or rnnpb.")] = None,
    per_emotion: Annotated[
        bool | None, typer.Option("--per-emotion/--pooled", help="Train a network per emotion, or one for all.")
    ] = None,
    epochs: options.Epochs = None,
    hidden_size: Annotated[int | None, typer.Option(help="Number of hidden units.")] = None,
    faces: Annotated[
        str | None,
        typer.Option("--reader", help="Reader of faces: mesh or paper; by default paper for the readings of others."),
    ] = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    given: options.Set = None,
    fresh: options.Fresh = False,
) -> None:
    """Train an LSTM-PB; an interrupted training resumes.

    Options override the recipe, which is by default the shipped one of the --reading.
    """
    from duchenne.lstm_pb.recipe import PBRecipe
    from duchenne.methods import training

    changes = options.settings(
        given, {"per_emotion": per_emotion, "epochs": epochs, "hidden_size": hidden_size, "seed": seed}
    )
    if recipe is None:
        chosen = PBRecipe.of_reading(reading or "solved", **changes)
    else:
        chosen = PBRecipe.read(recipe, reading=reading, **changes)
    card = training.train_pb(manifest, out, chosen, reader=faces, device=device, resume=not fresh, log=log)
    echo(
        f"{out}: {card['people']} people, {card['clips']} clips, on {card['device']}; accuracy {card['accuracy']:.3f}, "
        f"AUC {card['auc']:.3f} ({card['protocol']})"
    )


@train.command("method")
def train_method(
    name: Annotated[
        str, typer.Argument(help="Method of `evaluate --model`, such as linear-svm or stack:descriptors+rank-svm.")
    ],
    manifest: options.TrainManifest,
    out: options.ModelOut,
    cache: Annotated[Path | None, typer.Option(help="Cache folder, instead of that of `duchenne cache`.")] = None,
    reader: options.Reader = READERS[0],
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    fresh: options.Fresh = False,
) -> None:
    """Train any method that `duchenne evaluate` compares."""
    from duchenne.methods import training

    card = training.train_method(name, manifest, out, cache=cache, seed=seed, reader=reader, resume=not fresh, log=log)
    echo(_summary(out, card))


@app.command(rich_help_panel=SETUP)
def doctor() -> None:
    """Check versions, models with their hashes, landmark model and device, for a bug report."""
    from duchenne.cli.doctor import findings

    found = findings()
    print_table(found.items())
    if any(value.startswith("PROBLEM") for value in found.values()):
        raise typer.Exit(1)


@app.command("methods", rich_help_panel=MODELS)
def list_methods() -> None:
    """List the methods that `evaluate` and `train method` know, the families of descriptors, and the readers."""
    from duchenne.features.descriptors import FAMILIES
    from duchenne.methods import names

    rows = [(name, "method", names.ABOUT[name]) for name in names.LEARNERS]
    rows += [(name, "baseline of evaluate", names.ABOUT[name]) for name in names.BASELINES]
    rows += [
        (f"METHOD:{name}", "family of descriptors", f"{len(found.names)} numbers a clip")
        for name, found in FAMILIES.items()
    ]
    rows += [(name, "reader of faces (--reader)", text) for name, text in READER_WORDS.items()]
    print_table(rows)
    log("A trained model is as-is:MODEL; methods are combined as stack:ONE+OTHER and two-stage:METHOD.")
