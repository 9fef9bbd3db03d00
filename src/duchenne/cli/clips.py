"""`duchenne analyze` and `duchenne demo`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duchenne import limits
from duchenne.cli import batch, options
from duchenne.cli.app import JUDGE, app, echo, face_reader, limit_memory, log, progress
from duchenne.errors import DuchenneError, InputError, UsageError, printable

if TYPE_CHECKING:
    from duchenne.pipeline import Analysis
    from duchenne.types import Json


@app.command(rich_help_panel=JUDGE)
def analyze(
    clips: Annotated[
        list[str] | None, typer.Argument(help="Videos, a folder of them, or a folder of images with --rate.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for verdict.json, tables and report.html.")
    ] = None,
    as_json: options.AsJson = False,
    model: options.Model = "default",
    emotion: options.Emotion = None,
    all_faces: options.AllFaces = False,
    device: options.Device = "auto",
    reader: options.ModelReader = None,
    detector: options.Detector = "haar",
    mesh: options.Mesh = False,
    rate: options.Rate = None,
    start: options.Start = None,
    end: options.End = None,
    allow_truncated: options.AllowTruncated = False,
    report: Annotated[bool, typer.Option(help="Write a report of each clip of a folder.")] = True,
    faces: Annotated[bool, typer.Option(help="Show the face in the report, not only points and curves.")] = True,
    details: Annotated[
        bool, typer.Option(help="Of single clips: list single descriptors too, and what would change the verdict.")
    ] = False,
    calibrate: options.Calibrate = None,
    subject: options.Subject = None,
    manifest: options.Manifest = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    stall: options.Stall = 120.0,
    memory: options.Memory = None,
    retry: options.Retry = False,
    cluster: options.OnCluster = None,
    slurm: options.Slurm = None,
    cache: options.Cached = True,
) -> None:
    """Judge whether the expression in each clip moves like posed or like spontaneous ones.

    All videos below a folder are judged on all cores; an interrupted run resumes.
    """
    clips = clips or []
    many: Json = {
        "manifest": manifest, "workers": workers, "shard": shard, "retry": retry, "cluster": cluster, "slurm": slurm,
    }  # fmt: skip
    judging: Json = {
        "model": model, "emotion": emotion, "all_faces": all_faces, "device": device, "reader": reader,
        "detector": detector, "mesh": mesh, "allow_truncated": allow_truncated,
    }  # fmt: skip
    single = not batch.is_batch(clips, rate, many)
    if subject is not None and not (single and calibrate):
        raise UsageError("--subject is for single clips with --calibrate; a manifest has a column subject.")
    target = None if single else _folder(out, as_json or start is not None or end is not None)
    if calibrate is not None:
        from duchenne.batch.many import calibrate as measure

        judging["calibration"] = measure(calibrate, model=model, reader=reader, workers=workers, cache=cache)
    if target is None:
        limit_memory(memory)
        judging |= {"rate": rate, "start": start, "end": end, "details": details, "subject": subject}
        _judge(clips, out, as_json, faces, judging, cache)
        return
    from duchenne.batch import analyze_task

    batch.run(
        analyze_task(**judging, report=report, faces=faces, cache=cache),
        clips,
        target,
        rate=rate,
        stall=stall,
        memory=memory,
        **many,
    )


def _folder(out: Path | None, of_one: bool) -> Path:
    """The folder for the results of many clips; UsageError without one, or with options of a single clip."""
    if of_one:
        raise UsageError("--json, --start and --end are for single clips; use a --manifest instead.")
    if out is None:
        raise UsageError("A folder of videos needs --out FOLDER for the results; a folder of images needs --rate.")
    return out


def _judge(clips: list[str], out: Path | None, as_json: bool, faces: bool, settings: Json, cache: bool) -> None:
    """Judge clips one after the other and print each verdict."""
    from duchenne import io, judging, pipeline
    from duchenne.tables import columns

    if not clips:
        raise UsageError("Give a video, a folder or a --manifest; see `duchenne analyze --help`.")
    if len(clips) == 1:  # before a model is loaded, which takes seconds
        try:
            os.lstat(clips[0])
        except FileNotFoundError:
            raise InputError(f"There is no file {Path(clips[0])}; check the path.") from None
        except (OSError, ValueError):  # reading it says why
            pass
    loaded = judging.load_model(settings["model"], settings["reader"])
    judging.resolve_device(settings["device"], loaded)
    if out is not None:
        io.check_folder(out)
    failures: list[tuple[str, DuchenneError]] = []
    results: list[Any] = []
    rows: list[Json] = []
    targets, read = _targets(clips, out), face_reader(cache)
    for clip in clips:
        try:
            with progress(Path(clip).name) as tick:
                analyses = pipeline.examine(clip, **settings, on_frame=tick, read=read)
            if out is not None:
                rate, start = settings["rate"], settings["start"]
                pipeline.save(analyses, targets[clip], loaded.card, rate=rate, start=start, faces=faces)
        except DuchenneError as error:
            failures.append((clip, error))
            rows.append({"file": clip, **columns.failed(str(error))})
            results.append({"source": clip, "error": str(error)})
            if len(clips) > 1:
                log(f"duchenne: {error}")
            continue
        results.append(_json(analyses))
        rows += [{"file": clip, **each.verdict.to_row()} for each in analyses]
        if not as_json:
            for analysis in analyses:
                _print(analysis, len(analyses) > 1, targets.get(clip))
    if out is not None and len(clips) > 1:
        io.write_table(out / "clips.csv", columns.frame(rows, columns.VERDICTS))
    if as_json and (len(clips) > 1 or not failures):
        typer.echo(json.dumps(results if len(clips) > 1 else results[0], indent=2, allow_nan=False))
    _finish(failures, len(clips))


def _finish(failures: list[tuple[str, DuchenneError]], total: int) -> None:
    if not failures:
        return
    if total == 1:
        raise failures[0][1]
    log(f"{len(failures)} of {total} inputs failed:")
    for clip, _ in failures:
        log(f"  {clip}")
    sys.exit(1)


def _json(analyses: list[Analysis]) -> Json:
    from duchenne.io import plain

    rows: list[Json] = [plain(a.to_dict()) for a in analyses]
    return rows[0] if len(rows) == 1 else {**rows[0], "faces": rows}


def _targets(clips: list[str], out: Path | None) -> dict[str, Path]:
    """Folder for the results of each clip: `out` itself for one clip, one below it per clip for several."""
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


def _print(analysis: Analysis, many: bool, folder: Path | None) -> None:
    """Print a verdict as text."""
    from rich.console import Console
    from rich.text import Text

    from duchenne.report.reference import WORDS
    from duchenne.report.signs import disagreement
    from duchenne.types import MOMENTS

    console = Console(highlight=False, soft_wrap=True)

    def line(*parts: str | tuple[str, str]) -> None:  # a part is a text, or (text, style): nothing in it is markup
        styled = [(part, "") if isinstance(part, str) else part for part in parts]
        console.print(Text.assemble(*((printable(text), style) for text, style in styled)))

    v = analysis.verdict
    line((v.source, "bold"), f"  face {v.face + 1}" if many else "")
    if v.abstained:
        line("  ", ("No verdict.", "bold yellow"), f" {v.reason or ''}")
    else:
        like, colour = ("spontaneous", "green") if v.label == "genuine" else ("posed", "magenta")
        text = f"  moves like the {like} clips; P(genuine) = {v.p_genuine:.2f}"
        if v.spread:
            text += f" ({v.spread[0]:.2f} to {v.spread[1]:.2f} were the same clip written or lit otherwise)"
        line("  ", (f"{v.label}", f"bold {colour}"), text)
    if v.emotion:
        best = sorted(v.emotion.items(), key=lambda e: -e[1])[:2]
        line("  emotion   " + ", ".join(f"{name} {p:.0%}" for name, p in best if p >= 0.01))
    if v.judged is not None:
        line(f"  judged    {v.judged[0]:.2f} s to {v.judged[1]:.2f} s of {v.duration:.2f} s")
    for phase in v.phases:
        mark = " (judged)" if phase == v.judged_phase and len(v.phases) > 1 else ""
        line("  phases    " + ", ".join(f"{name} {_seconds(getattr(phase, name))}" for name in MOMENTS) + mark)
    for sign in v.signs:
        lean = f" (leans to {WORDS[sign.leans]})" if sign.leans else ""
        line("  sign      ", (f"{sign.title}: ", "bold"), sign.text, (lean, "bold"))
    if against := disagreement(v.signs, v.label):
        line("  ", ("note", "yellow"), f"      {against}")
    for item in v.evidence:
        line(f"  for {'spontaneous' if item.contribution > 0 else 'posed':12}{item.feature}: {item.text}")
    if v.record:
        line(f"  how sure  {v.record['text']}")
    for warning in v.quality.warnings:
        line("  ", ("note", "yellow"), f"      {warning}")
    line(f"  quality   {v.frames} frames, {v.duration:.2f} s, face in {v.quality.coverage:.0%}; device {v.device}")
    if folder is not None:
        line(f"  written   {folder / 'report.html'}")
    line("  ", (limits.BELOW, "dim"))


def _seconds(value: float | None) -> str:
    return "not seen" if value is None else f"{value:.2f} s"


@app.command(rich_help_panel=JUDGE)
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the clips and their reports.")] = Path(
        "duchenne-demo"
    ),
) -> None:
    """Simulate two smiles on a public-domain portrait, judge them, and write reports."""
    from duchenne import judging, pipeline
    from duchenne.datasets import simulate
    from duchenne.datasets.kinematics import CLEAR

    loaded = judging.load_model("default")
    for kind, words, how in (("genuine", "spontaneous", "slow, small"), ("posed", "posed", "wide")):
        clip = simulate.smile_clip(out / f"{words}.mp4", CLEAR[kind], rate=25.0, seed=1)
        with progress(clip.name) as tick:
            analyses = pipeline.examine(clip, on_frame=tick)
        pipeline.save(analyses, out / words, loaded.card)
        echo(f"A simulated smile with {words} kinematics, a {how} one:")
        _print(analyses[0], False, out / words)
    echo("", "Simulated movement tests the software; it is no evidence about people.")
    echo(f"Open {out / 'spontaneous' / 'report.html'} in a browser.")
