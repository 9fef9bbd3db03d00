"""The cache of face tracks: `duchenne cache info` and `duchenne cache clear`."""

from __future__ import annotations

import typer

from duchenne.cli.app import SETUP, app, echo

group = typer.Typer(help="Show or clear the cache of face tracks.", no_args_is_help=True)
app.add_typer(group, name="cache", rich_help_panel=SETUP)


@group.command()
def info() -> None:
    """Print the folder of the cache, its entries, their size, and the size above which the oldest are removed."""
    from duchenne.clips.cache import Cache

    found = Cache().info()
    echo(f"folder   {found.folder}", f"entries  {found.entries}")
    echo(f"size     {_size(found.size)}", f"limit    {_size(found.limit)}")


@group.command()
def clear() -> None:
    """Remove all entries of the cache; other files in the folder are kept."""
    from duchenne.clips.cache import Cache

    before = Cache().clear()
    entries = "1 entry" if before.entries == 1 else f"{before.entries} entries"
    echo(f"Removed {entries}, {_size(before.size)}, from {before.folder}.")


def _size(count: float) -> str:
    value, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"
