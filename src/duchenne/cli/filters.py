"""Filters of an expression network: `duchenne filters`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import MODELS, app, echo, limit_memory, log, step_bar
from duchenne.errors import DuchenneError

if TYPE_CHECKING:
    from duchenne.expression.filter_units import FilterUnits


@app.command(rich_help_panel=MODELS)
def filters(
    images: Annotated[Path, typer.Option(help="Folder of images, copy of FER2013, or .npz with the array images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write (.html), and contact sheets (.png).")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Id of a shipped expression network, or its folder.")
    ] = "expression",
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "--layers", help="Layers to show: all, or names such as a,b; by default the last two."),
    ] = None,
    top: Annotated[int, typer.Option(help="Number of images per filter.", min=1, max=16)] = 9,
    units: Annotated[Path | None, typer.Option(help="CSV with columns file, AU1, AU2, …; cells 1, 0 or empty.")] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="Images are cropped faces, as in FER2013.")] = False,
    device: options.Device = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet to write (.png).")] = None,
    memory: options.Memory = None,
) -> None:
    """Show the images with the highest response of each filter of an expression network, and the pixels that cause it.

    This shows features, not explanations of predictions.
    """
    limit_memory(memory)
    from duchenne.report import filters as report

    layers = [name for each in layer or () for name in each.split(",")]
    with step_bar() as (_, tick):
        result = report.report(
            model, images, out, layers=layers, top=top, units=units, is_aligned=aligned, device=device,
            sheet=sheet, tick=tick,
        )  # fmt: skip
    for name, excited in result["layers"].items():
        count, dead = len(excited.active), int(excited.dead.sum())
        text = f"{name}: {count} filters, {dead} dead ({100 * dead / count:.0f} %)"
        if name in result["units"]:
            text += _units(result["units"][name])
        echo(text)
    beside = ", ".join(path.name for path in result["sheets"])
    echo(f"{result['page']}: {result['images']} images searched; beside it {beside}.")
    if result["skipped"]:
        for sentence in result["skipped"][:5]:
            log(f"note: {sentence}")
        raise DuchenneError(f"{len(result['skipped'])} images were skipped; the page shows the others.")


def _units(table: FilterUnits) -> str:
    """Of a layer's filters: those unanimous for an action unit, beside chance, and the significant pairs."""
    coded = (table.count > 0).any(axis=1)
    if not coded.any():
        return "; no image of its filters is coded"
    share, chance = table.unanimous[coded].mean(), table.by_chance[coded].mean()
    return (
        f"; {table.unanimous.sum()} of {coded.sum()} filters with coded images ({100 * share:.0f} %) unanimous for an "
        f"action unit, {100 * chance:.0f} % by chance; {(table.adjusted < 0.05).sum()} pairs of filter and action unit "
        "with a corrected p below 0.05"
    )
