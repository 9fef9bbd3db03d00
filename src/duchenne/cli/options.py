"""Options that several commands share."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne.errors import UsageError

if TYPE_CHECKING:
    from duchenne.types import Json

# panels of the help of a command
_reading = partial(typer.Option, rich_help_panel="Reading the video")
_many = partial(typer.Option, rich_help_panel="Many clips")

AllFaces = Annotated[bool, _reading("--all-faces", help="Use every face, not only the most prominent.")]
AllowTruncated = Annotated[bool, _reading(help="Accept a file that was cut short, and use what it contains.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the complete result as JSON.")]
Cached = Annotated[bool, _many(help="Cache face tracks for later runs; see `duchenne cache`.")]
Calibrate = Annotated[
    Path | None,
    typer.Option(
        help="Clips of the same recording, without labels: a folder, a manifest, or results of `analyze`; P(genuine) "
        "is moved to their level."
    ),
]
Detector = Annotated[str, _reading(help="Face detector of the reader paper: haar or hog.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")]
Emotion = Annotated[str | None, typer.Option(help="Emotion shown, instead of the predicted one.")]
End = Annotated[float | None, _reading(help="End of the stretch to use, in seconds.")]
Every = Annotated[float, _reading(help="Seconds between two rows of a video; 0 for every frame.")]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs, instead of the recipe's.")]
Fresh = Annotated[
    bool,
    typer.Option("--force", "--fresh", help="Start again: discard an interrupted training, replace a finished model."),
]
Images = Annotated[
    list[Path] | None,
    typer.Argument(metavar="IMAGE|VIDEO|FOLDER", help="Images, videos, folders of images, or a folder of videos."),
]
Manifest = Annotated[Path | None, _many(help="CSV that lists the clips, instead of files and folders.")]
Memory = Annotated[float | None, _many(help="Memory limit per process in GB.", min=0.5)]
Mesh = Annotated[bool, _reading("--mesh", help="Draw the face mesh, of the reader mesh.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Id of a shipped model, or a model folder.")]
ModelOut = Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")]
OnCluster = Annotated[str | None, _many(help="Run on the Dask scheduler at this address, such as tcp://host:8786.")]
Rate = Annotated[float | None, _reading(help="Frames per second of a folder of images or a stream without times.")]
Reader = Annotated[
    str, _reading(help="Reader of faces: mesh (478 points, coefficients, head pose) or paper (Haar, MOSSE, dlib).")
]
ModelReader = Annotated[
    str | None,
    _reading("--reader", help="Reader of faces: mesh or paper; by default as the model was trained."),
]
Recipe = Annotated[str | None, typer.Option(help="Name of a shipped recipe, or a TOML file.")]
Retry = Annotated[bool, _many("--retry", help="Process clips again that failed in an earlier run.")]
Seed = Annotated[int | None, typer.Option(help="Random seed.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the recipe, such as learning_rate=0.001; repeat for several."),
]
Shard = Annotated[str | None, _many(help="Process only this shard of the clips, such as 3/16.")]
Slurm = Annotated[int | None, _many(help="Run on this number of SLURM jobs, as Dask workers.", min=1)]
Stall = Annotated[float, _many(help="Seconds without progress after which a clip fails.", min=1)]
Start = Annotated[float | None, _reading(help="Start of the stretch to use, in seconds.")]
Subject = Annotated[str | None, typer.Option(help="Who is seen, as in the manifest of --calibrate.")]
TableOut = Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; by default stdout.")]
TrainManifest = Annotated[Path, typer.Option(help="CSV with columns path, subject, emotion, label.")]
Workers = Annotated[int | None, _many(help="Number of worker processes; by default one per core.", min=1)]


def settings(given: list[str] | None, changes: Json) -> Json:
    """The settings of `--set NAME=VALUE`, values as in TOML or else text, and over them `changes` that are not None.

    A section before the name does not count: optimizer.learning_rate is learning_rate. UsageError for other text.
    """
    found: Json = {}
    for each in given or ():
        name, equals, text = each.partition("=")
        if not (equals and name.strip()):
            raise UsageError(f"--set must be NAME=VALUE, such as learning_rate=0.001, found '{each}'; correct it.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        found[name.strip().rpartition(".")[2]] = value
    return found | {name: value for name, value in changes.items() if value is not None}
