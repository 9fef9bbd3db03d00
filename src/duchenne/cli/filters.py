"""What an expression network's filters see: `duchenne filters`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import app, log, progress
from duchenne.errors import DuchenneError


@app.command()
def filters(
    images: Annotated[
        Path, typer.Option(help="Folder of images, a copy of FER2013, or an .npz with the array images.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write (.html); contact sheets (.png) beside it.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Id of a shipped expression model or its folder.")
    ] = "expression",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer", "--layers", help="Layer to show, or all; or several, a,b. Else the last two with maps."
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Images per filter.", min=1, max=16)] = 9,
    units: Annotated[
        Path | None, typer.Option(help="CSV of action units: file, AU1, AU2, … with 1, 0 or nothing.")
    ] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="The images are themselves cropped faces.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet to write (.png).")] = None,
) -> None:
    """Show which images excite each filter of an expression network most, and what in them does.

    Views of features, not reasons for an answer.
    """
    from duchenne.report import filters as filter_report

    layers = [name for each in layer or () for name in each.split(",")]
    with progress("searching", "images") as tick:
        found = filter_report.report(
            model, images, out, layers=layers, top=top, units=units, is_aligned=aligned, device=device,
            sheet=sheet, tick=tick and (lambda done, _: tick(done)),
        )  # fmt: skip
    for name, excited in found["layers"].items():
        count, dead = len(excited.active), int(excited.dead.sum())
        text = f"{name}: {count} filters, {dead} dead ({100 * dead / count:.0f} %)"
        if name in found["units"]:
            held = int((found["units"][name].adjusted < 0.05).sum())
            text += f"; {held} pairs of filter and action unit with a corrected p below 0.05"
        typer.echo(text)
    beside = ", ".join(path.name for path in found["sheets"])
    typer.echo(f"{found['page']}: {found['images']} images searched; beside it {beside}.")
    if found["skipped"]:
        for sentence in found["skipped"][:5]:
            log(f"duchenne: {sentence}")
        raise DuchenneError(f"{len(found['left'])} images were left out; the page shows the others.")
