"""The command line: each command is one library call; results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne import __version__
from duchenne.errors import DuchenneError, OutputError, UsageError

if TYPE_CHECKING:
    from duchenne.pipeline import Analysis

app = typer.Typer(
    name="duchenne",
    help="Tell genuine from posed facial expressions in video. Not for lie detection, hiring, schooling or policing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="List, verify or apply models.", no_args_is_help=True)
train = typer.Typer(help="Train a model on your own people.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(train, name="train")

ModelOption = Annotated[str, typer.Option("--model", "-m", help="Id of a shipped model or a model folder.")]


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


@app.command()
def analyze(
    clips: Annotated[list[str], typer.Argument(help="Video files, or a folder of numbered images with --rate.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for verdict.json, frames.csv, report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON, alone, on stdout.")] = False,
    model: ModelOption = "default",
    emotion: Annotated[
        str | None, typer.Option(help="What the clip shows, instead of letting the model guess.")
    ] = None,
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Judge every face, not only the most prominent.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    detector: Annotated[str, typer.Option(help="haar or hog; the other takes over where it finds nothing.")] = "haar",
    rate: Annotated[float | None, typer.Option(help="Frames per second of a folder of images.")] = None,
    start: Annotated[float | None, typer.Option(help="Seconds at which to start.")] = None,
    end: Annotated[float | None, typer.Option(help="Seconds at which to stop.")] = None,
    allow_truncated: Annotated[bool, typer.Option(help="Judge what is there of a file that was cut short.")] = False,
) -> None:
    """Judge whether the expression in each clip moves like posed or like spontaneous ones."""
    from duchenne import pipeline
    from duchenne.io import check_folder

    loaded = pipeline.load_model(model)
    pipeline.resolve_device(device)
    if out is not None:
        check_folder(out)
    failures: list[tuple[str, DuchenneError]] = []
    results: list[Any] = []
    targets = _targets(clips, out)
    for clip in clips:
        try:
            with _progress(clip) as tick:
                found = pipeline.examine(
                    clip, model=model, emotion=emotion, all_faces=all_faces, device=device, detector=detector,
                    rate=rate, start=start, end=end, allow_truncated=allow_truncated, on_frame=tick,
                )  # fmt: skip
            if out is not None:
                pipeline.save(found, targets[clip], loaded.card, rate=rate, start=start)
        except DuchenneError as error:
            failures.append((clip, error))
            results.append({"source": clip, "error": str(error)})
            if len(clips) > 1:
                typer.echo(f"duchenne: {error}", err=True)
            continue
        results.append(_json(found))
        if not as_json:
            for analysis in found:
                _say(analysis, len(found) > 1, targets.get(clip))
    if as_json and (len(clips) > 1 or not failures):
        typer.echo(json.dumps(results if len(clips) > 1 else results[0], indent=2, allow_nan=False))
    _finish(failures, len(clips))


def _finish(failures: list[tuple[str, DuchenneError]], total: int) -> None:
    if not failures:
        return
    if total == 1:
        raise failures[0][1]
    typer.echo(f"{len(failures)} of {total} inputs failed:", err=True)
    for clip, _ in failures:
        typer.echo(f"  {clip}", err=True)
    sys.exit(1)


def _json(found: list[Analysis]) -> Any:
    from duchenne.io import plain

    rows = [plain(a.verdict.to_dict()) for a in found]
    return rows[0] if len(rows) == 1 else {**rows[0], "faces": rows}


def _targets(clips: list[str], out: Path | None) -> dict[str, Path]:
    """Where each clip's results go: the folder itself for one clip, a folder per clip for several."""
    if out is None:
        return {}
    if len(clips) == 1:
        return {clips[0]: out}
    targets: dict[str, Path] = {}
    for clip in clips:
        name, n = Path(clip).stem or "clip", 2
        while (out / name) in targets.values():
            name, n = f"{Path(clip).stem}-{n}", n + 1
        targets[clip] = out / name
    return targets


@contextmanager
def _progress(clip: str) -> Iterator[Any]:
    """A frame counter on stderr where a person watches; nothing in pipes."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} frames"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(Path(clip).name, total=None)
        yield lambda n: bar.update(task, completed=n)


def _say(analysis: Analysis, many: bool, folder: Path | None) -> None:
    """The verdict for people, a dozen lines."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    v = analysis.verdict
    console.print(f"[bold]{_escape(v.source)}[/bold]" + (f"  face {v.face + 1}" if many else ""))
    if v.abstained:
        console.print(f"  [bold yellow]No judgement.[/bold yellow] {_escape(v.reason or '')}")
    else:
        colour = "green" if v.label == "genuine" else "magenta"
        like = "spontaneous" if v.label == "genuine" else "posed"
        console.print(
            f"  [bold {colour}]{v.label}[/bold {colour}]  moves like the {like} clips; P(genuine) = {v.p_genuine:.2f}"
        )
    if v.emotion:
        best = sorted(v.emotion.items(), key=lambda e: -e[1])[:2]
        console.print("  emotion   " + ", ".join(f"{name} {p:.0%}" for name, p in best if p >= 0.01))
    for phase in v.phases:
        console.print(
            "  phases    " + ", ".join(f"{k} {_seconds(getattr(phase, k))}" for k in ("onset", "apex", "offset", "end"))
        )
    for item in v.evidence[:3] if not v.abstained else ():
        console.print(f"  because   {_escape(item['feature'])}: {_escape(item['text'])}")
    for warning in v.quality["warnings"]:
        console.print(f"  [yellow]note[/yellow]      {_escape(warning)}")
    console.print(
        f"  seen      {v.frames} frames, {v.duration:.2f} s, face in {v.quality['coverage']:.0%}; device {v.device}"
    )
    if folder is not None:
        console.print(f"  written   {_escape(str(folder / 'report.html'))}")
    console.print(
        "  [dim]Posed means told to act; it is not lying. Not for lie detection, hiring, schooling or policing.[/dim]"
    )


def _seconds(value: float | None) -> str:
    return "outside the clip" if value is None else f"{value:.2f} s"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the clips and their reports.")] = Path(
        "duchenne-demo"
    ),
) -> None:
    """Make two short clips of a public-domain portrait, judge them, and leave reports for a browser."""
    from duchenne import pipeline
    from duchenne.datasets import simulate

    loaded = pipeline.load_model("default")
    for kind, words in (("genuine", "spontaneous"), ("posed", "posed")):
        clip = simulate.smile_clip(out / f"{words}.mp4", kind, rate=30.0)
        with _progress(str(clip)) as tick:
            found = pipeline.examine(clip, on_frame=tick)
        pipeline.save(found, out / words, loaded.card)
        typer.echo(f"A smile with the kinematics of a {words} one:")
        _say(found[0], False, out / words)
    typer.echo("\nSimulated movement shows that the machinery works; it is no evidence about people.")
    typer.echo(f"Open {out / 'spontaneous' / 'report.html'} in a browser.")


@models.command("list")
def models_list() -> None:
    """The shipped models: id, what they read, and how good they are on people they have not seen."""
    from duchenne.learn import checkpoint

    for name, folder in checkpoint.shipped().items():
        about, card = checkpoint.describe(folder), checkpoint.card(name)
        score = f"accuracy {card['accuracy']:.3f}, AUC {card['auc']:.3f}" if "accuracy" in card else "no measured score"
        facts = about["facts"]
        typer.echo(f"{name:<10} {card.get('title', about['family'])}; {facts['clips']} clips; {score}")


@models.command("verify")
def models_verify() -> None:
    """Check every shipped model file against its recorded sha256."""
    from duchenne.learn import checkpoint

    bad = 0
    for name, folder in checkpoint.shipped().items():
        problems = checkpoint.verify(folder, checkpoint.describe(folder))
        bad += bool(problems)
        typer.echo(f"{name:<10} {'; '.join(problems) or 'ok'}  sha256 {checkpoint.digest(folder)}")
    if bad:
        raise DuchenneError(f"{bad} shipped model(s) are damaged; reinstall duchenne.")


@models.command("apply")
def models_apply(
    model: Annotated[str, typer.Argument(help="Id of a shipped model or a model folder.")],
    source: Annotated[Path, typer.Argument(help="CSV of descriptors, frames.csv, or an .npz (or folder) of tracks.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write.")] = Path("predictions.csv"),
) -> None:
    """Run a model without video, row for row."""
    from duchenne import io, pipeline

    table = pipeline.apply(model, source)
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
        str, typer.Option(help="Which descriptors: dynamics, movement, uncut, face, head, activity, …")
    ] = "dynamics",
    smile_share: Annotated[
        float, typer.Option(help="Weight of the shipped smile expert on smiles.", min=0, max=1)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of folds and boosters.")] = 0,
) -> None:
    """Train on your own people: descriptors, boosting and a linear model, calibrated on people left out."""
    from duchenne import training
    from duchenne.io import check_folder

    if (manifest is None) == (table is None):
        raise UsageError("Give either --manifest with clips or --table with smile descriptors.")

    def log(text: str) -> None:
        typer.echo(text, err=True)

    check_folder(out)
    if table is not None:
        card = training.train_table(table, out, seed=seed, log=log)
    else:
        card = training.train(str(manifest), out, family=family, seed=seed, smile_share=smile_share, log=log)
    typer.echo(
        f"{out}: {card['people']} people, {card['clips']} clips; on people left out accuracy {card['accuracy']:.3f}, "
        f"AUC {card['auc']:.3f}, calibration error {card['ece']:.3f}"
    )


@app.command()
def doctor() -> None:
    """Versions, models with their hashes, landmark model, device: what to send with a bug report."""
    from duchenne.doctor import doctor as examine

    found = examine()
    for name, value in found.items():
        typer.echo(f"{name:<32} {value}")
    if any(value.startswith("PROBLEM") for value in found.values()):
        raise typer.Exit(1)
