"""The command line's frame: its groups of commands, and one sentence and an exit code for every error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne import __version__, limits
from duchenne.errors import DuchenneError, OutputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from duchenne.io import Block

app = typer.Typer(
    name="duchenne",
    help=f"Tell genuine from posed facial expressions in video. {limits.NOT_FOR}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="List, verify or apply models.", no_args_is_help=True)
train = typer.Typer(help="Train a model on your own people.", no_args_is_help=True)
datasets = typer.Typer(help="List the catalogue of corpora, check a copy, write its manifest.", no_args_is_help=False)
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away the beginning of an earlier training.")]
Cached = Annotated[bool, typer.Option(help="Keep what following faces gave, for the next time: `duchenne cache`.")]
for _name, _group in (("models", models), ("train", train), ("datasets", datasets)):
    app.add_typer(_group, name=_name)


def main() -> None:
    """Entry point: one sentence and an exit code (1 input failed, 2 wrong usage) instead of a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be text, nor terminals know µ
    try:
        app()
    except DuchenneError as error:
        fail(error)
    except KeyboardInterrupt:
        fail(DuchenneError("Stopped."), 130)
    except BrokenPipeError:  # the reader of stdout went away (head, less): nothing to say
        _let_go()
        sys.exit(1)
    except OSError as error:
        _let_go()
        what = f"{error.filename}: " if error.filename else ""
        fail(OutputError(f"{what}{error.strerror or error}; check names, permissions and free space."))


def _let_go() -> None:
    """Send what stdout still holds nowhere, so that Python does not complain at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: Exception, code: int | None = None) -> None:
    """Print an error's sentence and leave."""
    typer.echo(f"duchenne: {error}", err=True)
    sys.exit(code if code is not None else getattr(error, "exit_code", 1))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Nothing happens before a command is chosen."""


def log(text: str) -> None:
    """A line on stderr, which leaves stdout to results."""
    typer.echo(text, err=True)


def face_reader(cache: bool) -> Callable[..., Iterator[Block]]:
    """What reads the faces of videos, through the cache or past it."""
    from duchenne.clips.cache import Cache

    return Cache(limit=None if cache else 0).read_faces


@contextmanager
def progress(text: str, unit: str = "frames", total: int | None = None) -> Iterator[Any]:
    """A counter on stderr where a person watches: call it with how many are done; nothing in pipes."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} " + unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda n: bar.update(task, completed=n)


def bar() -> Progress:
    """A bar on stderr for a person who watches: what is being done, how much of how much, how long; gone when done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True), transient=True)
