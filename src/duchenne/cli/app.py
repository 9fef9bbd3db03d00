"""The command line application: groups of commands, shared options, progress bars, and errors with exit codes."""

from __future__ import annotations

import functools
import io
import os
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from duchenne import __version__, limits
from duchenne.errors import DuchenneError, OutputError, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from duchenne.io import Block

app = typer.Typer(
    name="duchenne",
    help=f"Tell genuine from posed facial expressions in video. {limits.NOT_FOR}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: Panels of `duchenne --help`, in order.
PANELS = JUDGE, MEASURE, TABLES, MODELS, EVALUATE, SETUP = (
    "Judge clips",
    "Measure faces and movements",
    "Tables of results",
    "Train and inspect models",
    "Evaluate methods and prepare data",
    "Check the installation",
)
models = typer.Typer(help="List, verify or apply models.", no_args_is_help=True)
train = typer.Typer(help="Train a model on your own clips or images.", no_args_is_help=True)
datasets = typer.Typer(help="List known data sets, check a copy, or write its manifest.")
for _name, _group, _panel in (("models", models, MODELS), ("train", train, MODELS), ("datasets", datasets, EVALUATE)):
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


_IS_PROGRAM = False  # whether this process runs a command and nothing else


def program() -> None:
    """Entry point of the program: `main`, where a command may go on in a child process."""
    global _IS_PROGRAM
    _IS_PROGRAM = True
    # before numpy is imported: as `workers.resources.blas_on_one_thread`, for all commands
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()


def limit_memory(memory: float | None) -> None:
    """Limit the memory of a command that reads clips in this process, as `workers` do for a batch."""
    from duchenne.workers import command, resources

    command.limit_memory(int(memory * 1e9) if memory else resources.share(1), fork=_IS_PROGRAM)


def main() -> None:
    """Run a command: one sentence and an exit code (1 input failed, 2 wrong usage) instead of a traceback."""
    from duchenne.workers.command import limited

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be undecodable, and terminals may lack µ
    try:
        with limited():
            code = _command()(standalone_mode=False)
    except DuchenneError as error:
        fail(error)
    except KeyboardInterrupt:
        fail(DuchenneError("Stopped."), 130)
    except BrokenPipeError:  # the reader of stdout has exited (head, less)
        _discard_stdout()
        sys.exit(1)
    except OSError as error:
        _discard_stdout()
        file = f"{error.filename}: " if error.filename else ""
        fail(OutputError(f"{file}{error.strerror or error}; check names, permissions and free space."))
    except Exception as error:
        if hasattr(error, "format_message"):
            _fail_usage(error)
        where = "".join(traceback.format_tb(error.__traceback__)).splitlines()
        echo("Traceback (most recent call last):", *where, f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
    sys.exit(code)


@functools.cache
def _command() -> Callable[..., Any]:
    """Every command with its options; making them takes a quarter of a second."""
    return typer.main.get_command(app)


def _fail_usage(error: Any) -> NoReturn:
    """Print what typer found wrong with the arguments, which file names may be, and exit."""
    from typer import rich_utils

    error.message = printable(error.message)
    rich_utils.rich_format_error(error)
    sys.exit(error.exit_code)


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that flushing it at exit does not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: Exception, code: int | None = None) -> None:
    """Print an error and exit."""
    echo(f"duchenne: {error}", err=True)
    sys.exit(code if code is not None else getattr(error, "exit_code", 1))


def _version(requested: bool) -> None:
    if requested:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `duchenne` itself."""


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on stdout, or on stderr. All that a person reads passes here: no name of a file, cell or model can
    command a terminal."""
    for line in lines:
        typer.echo(printable(line), err=err)


def log(text: str) -> None:
    """Print a line to stderr."""
    echo(text, err=True)


def print_csv(text: str) -> None:
    """Print a table on stdout: as it is into a file or pipe, printable on a terminal."""
    if sys.stdout.isatty():
        echo(*text.splitlines())
    else:
        typer.echo(text, nl=False)


def print_table(rows: Iterable[Sequence[str]], right: Container[int] = ()) -> None:
    """Print rows of cells on stdout in aligned columns (those numbered `right` to the right), one line a row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for i in range(max(map(len, rows), default=0)):
        table.add_column(no_wrap=True, justify="right" if i in right else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=10_000, color_system=None)  # no line is cut or wrapped, on a terminal or in a file
    with console.capture() as capture:
        console.print(table)
    echo(*(line.rstrip() for line in capture.get().splitlines()))


def face_reader(cache: bool) -> Callable[..., Iterator[Block]]:
    """The function that tracks faces in videos, with or without the cache."""
    from duchenne.clips.cache import Cache

    return Cache(limit=None if cache else 0).read_faces


@contextmanager
def progress(text: str, unit: str = "frames", total: int | None = None) -> Iterator[Any]:
    """A counter on a terminal, to be called with the number of units done; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    texts = (TextColumn("{task.description}", markup=False), TextColumn("{task.completed} " + unit))
    with Progress(SpinnerColumn(), *texts, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(text), total=total)
        yield lambda n: bar.update(task, completed=n)


def bar() -> Progress:
    """A progress bar on stderr with count and times, removed when done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, *times, console=Console(stderr=True), transient=True)


@contextmanager
def step_bar() -> Iterator[tuple[Any, Any]]:
    """(log, tick) with a progress bar of each step on a terminal, else lines only."""
    if not sys.stderr.isatty():
        yield log, lambda *_: None
        return
    with bar() as shown:
        task = shown.add_task("")
        yield (
            lambda text: shown.console.print(printable(text), markup=False, highlight=False),
            lambda stage, done, total: shown.update(task, description=stage, completed=done, total=total),
        )
