"""Judging clips: `duchenne analyze` and `duchenne demo`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne import limits
from duchenne.cli import batch
from duchenne.cli.app import Cached, app, face_reader, progress
from duchenne.errors import DuchenneError, UsageError

if TYPE_CHECKING:
    from duchenne.pipeline import Analysis

ModelOption = Annotated[str, typer.Option("--model", "-m", help="Id of a shipped model or a model folder.")]


@app.command()
def analyze(
    clips: Annotated[
        list[str] | None, typer.Argument(help="Video files, a folder of videos, or one of numbered images with --rate.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for verdict.json, frames.csv, emotions.csv, report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON, alone, on stdout.")] = False,
    model: ModelOption = "default",
    emotion: Annotated[
        str | None, typer.Option(help="What the clip shows, instead of letting the model guess.")
    ] = None,
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Judge every face, not only the most prominent.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto or cpu; of a clip network cuda and mps too.")] = "auto",
    detector: Annotated[str, typer.Option(help="haar or hog; the other takes over where it finds nothing.")] = "haar",
    rate: Annotated[float | None, typer.Option(help="Frames per second of a folder of images.")] = None,
    start: Annotated[float | None, typer.Option(help="Seconds at which to start.")] = None,
    end: Annotated[float | None, typer.Option(help="Seconds at which to stop.")] = None,
    allow_truncated: Annotated[bool, typer.Option(help="Judge what is there of a file that was cut short.")] = False,
    report: Annotated[bool, typer.Option(help="Write the report of each clip of a folder.")] = True,
    faces: Annotated[
        bool, typer.Option(help="Show the face in the report; without it, points and curves alone.")
    ] = True,
    manifest: batch.Manifest = None,
    workers: batch.Workers = None,
    shard: batch.Shard = None,
    stall: batch.Stall = 120.0,
    memory: batch.Memory = None,
    retry: batch.Retry = False,
    cluster: batch.OnCluster = None,
    slurm: batch.Slurm = None,
    cache: Cached = True,
) -> None:
    """Judge whether the expression in each clip moves like posed or like spontaneous ones.

    Of a folder all videos below it are judged, on every core, going on where an earlier run was stopped.
    """
    clips = clips or []
    many: dict[str, Any] = {"manifest": manifest, "workers": workers, "shard": shard, "retry": retry}
    many |= {"cluster": cluster, "slurm": slurm}
    judging: dict[str, Any] = {
        "model": model,
        "emotion": emotion,
        "all_faces": all_faces,
        "device": device,
        "detector": detector,
    }
    judging |= {"allow_truncated": allow_truncated}
    if not batch.is_batch(clips, rate, many):
        _each(clips, out, as_json, faces, judging | {"rate": rate, "start": start, "end": end}, cache)
        return
    if as_json or start is not None or end is not None:
        raise UsageError("--json, --start and --end are for single clips; a batch has tables, and a --manifest.")
    if out is None:
        raise UsageError("A folder of videos needs --out FOLDER for its results; one of images needs --rate.")
    from duchenne.batch import analyze_task

    batch.run(
        analyze_task(**judging, report=report, faces=faces, cache=cache), clips, out, stall=stall, memory=memory, **many
    )


def _each(clips: list[str], out: Path | None, as_json: bool, faces: bool, options: dict[str, Any], cache: bool) -> None:
    """Judge clips one after the other and say each verdict as it comes."""
    from duchenne import judging as judges
    from duchenne import pipeline
    from duchenne.io import check_folder

    if not clips:
        raise UsageError("Name a video, a folder or a --manifest; see `duchenne analyze --help`.")
    loaded = judges.load_model(options["model"])
    judges.resolve_device(options["device"], loaded)
    if out is not None:
        check_folder(out)
    failures: list[tuple[str, DuchenneError]] = []
    results: list[Any] = []
    targets, read = _targets(clips, out), face_reader(cache)
    for clip in clips:
        try:
            with progress(Path(clip).name) as tick:
                found = pipeline.examine(clip, **options, on_frame=tick, read=read)
            if out is not None:
                rate, start = options["rate"], options["start"]
                pipeline.save(found, targets[clip], loaded.card, rate=rate, start=start, faces=faces)
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

    rows = [plain(a.to_dict()) for a in found]
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


def _say(analysis: Analysis, many: bool, folder: Path | None) -> None:
    """The verdict for people, a dozen lines."""
    from rich.console import Console

    from duchenne.types import MOMENTS

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
        console.print("  phases    " + ", ".join(f"{name} {_seconds(getattr(phase, name))}" for name in MOMENTS))
    for item in v.evidence[:3] if not v.abstained else ():
        console.print(f"  because   {_escape(item.feature)}: {_escape(item.text)}")
    for warning in v.quality.warnings:
        console.print(f"  [yellow]note[/yellow]      {_escape(warning)}")
    console.print(
        f"  seen      {v.frames} frames, {v.duration:.2f} s, face in {v.quality.coverage:.0%}; device {v.device}"
    )
    if folder is not None:
        console.print(f"  written   {_escape(str(folder / 'report.html'))}")
    console.print(f"  [dim]{limits.BELOW}[/dim]")


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
    from duchenne import judging as judges
    from duchenne import pipeline
    from duchenne.datasets import simulate

    loaded = judges.load_model("default")
    for kind, words in (("genuine", "spontaneous"), ("posed", "posed")):
        clip = simulate.smile_clip(out / f"{words}.mp4", kind, rate=25.0, seed=1)
        with progress(clip.name) as tick:
            found = pipeline.examine(clip, on_frame=tick)
        pipeline.save(found, out / words, loaded.card)
        typer.echo(f"A smile with the kinematics of a {words} one:")
        _say(found[0], False, out / words)
    typer.echo("\nSimulated movement shows that the machinery works; it is no evidence about people.")
    typer.echo(f"Open {out / 'spontaneous' / 'report.html'} in a browser.")
