"""Tables of results: `duchenne codebook`, `summary` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import TABLES, app, log, print_csv, print_table


@app.command(rich_help_panel=TABLES)
def codebook(
    out: options.TableOut = None,
    page: Annotated[bool, typer.Option("--page", help="As a page in Markdown.")] = False,
) -> None:
    """Explain every column of the tables: unit, meaning and source."""
    from duchenne import io
    from duchenne.tables import codebook

    text = codebook.page() if page else codebook.table()
    if out is None:
        print_csv(text)
    else:
        io.write_text(out, text)
        log(f"written to {out}")


@app.command(rich_help_panel=TABLES)
def summary(
    results: Annotated[Path, typer.Argument(help="Folder that `duchenne analyze` of a folder or manifest wrote.")],
    by: Annotated[str, typer.Option(help="Columns that make the groups, such as condition,subject.")] = "label,subject",
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Column to compare; repeat for several. By default ten.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write, by default RESULTS/summary.")
    ] = None,
) -> None:
    """Compare groups of clips: distributions, the same people in several groups, and scripts for R and Python.

    With subject among the columns, people who are in several groups are drawn as lines.
    """
    from duchenne import io
    from duchenne.tables import groups

    target = out or results / "summary"
    io.check_folder(target)
    names = [name.strip() for name in by.split(",") if name.strip()]
    found = groups.summarise(results, names, target, tuple(measure or groups.MEASURES))
    shown = ["group", "faces", "people", "genuine", "posed", "abstained", "measure", "n", "median", "q25", "q75"]
    cells = found[shown].astype(object).where(found[shown].notna(), "–")
    print_table([shown, *([str(cell) for cell in row] for row in cells.to_numpy())], right=(1, 2, 3, 4, 5, 7, 8, 9, 10))
    log(f"written to {target}: groups.csv, long.csv (one row per face and measure), figures, compare.R, compare.py")


@app.command(rich_help_panel=TABLES)
def export(
    results: Annotated[
        Path, typer.Argument(help="Folder that `duchenne analyze -o` wrote, of one clip or of many; or a model folder.")
    ],
    to: Annotated[
        list[str],
        typer.Option(help="xlsx, sav (SPSS), parquet, eaf (ELAN), boris; of a model tensorboard; repeat for several."),
    ],
) -> None:
    """Write results for other programs: Excel, SPSS, Parquet, and phases and action units for ELAN and BORIS.

    Of a model folder: the learning curves for TensorBoard.
    """
    from duchenne.tables import results as tables

    for kind in to:
        written = tables.export(results, kind)
        more = f" and {len(written) - 1} more" if len(written) > 1 else ""
        log(f"written: {written[0]}{more}")
