"""The annotated video: `duchenne overlay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import JUDGE, app, limit_memory, log, progress


@app.command(rich_help_panel=JUDGE)
def overlay(
    clip: Annotated[str, typer.Argument(help="Video, or folder of numbered images with --rate.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="MP4 to write.")],
    model: options.Model = "default",
    emotion: options.Emotion = None,
    all_faces: options.AllFaces = False,
    faces: Annotated[bool, typer.Option(help="Show the frames, not only points and curves.")] = True,
    mesh: options.Mesh = False,
    device: options.Device = "auto",
    reader: options.ModelReader = None,
    detector: options.Detector = "haar",
    rate: options.Rate = None,
    allow_truncated: options.AllowTruncated = False,
    memory: options.Memory = None,
) -> None:
    """Write a video with the face box, points, phases, curves and running P(genuine) drawn in, with sound."""
    limit_memory(memory)
    from duchenne import io
    from duchenne import overlay as overlays
    from duchenne.video import check_target

    check_target(clip, out)
    io.check_folder(out.parent)
    with progress(Path(clip).name) as tick:
        results = overlays.overlay(
            clip, out, model=model, emotion=emotion, all_faces=all_faces, device=device, reader=reader,
            detector=detector, rate=rate, faces=faces, mesh=mesh,
            allow_truncated=allow_truncated, on_frame=tick,
        )  # fmt: skip
    for warning in results[0].verdict.quality.warnings:
        log(f"note: {warning}")
    many = f"{len(results)} face{'s' * (len(results) != 1)}"
    log(f"{out}: {results[0].verdict.frames} frames, {results[0].verdict.duration:.2f} s, {many}.")
