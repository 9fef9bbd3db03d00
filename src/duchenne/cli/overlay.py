"""The clip with what was seen drawn in: `duchenne overlay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import app, log, progress
from duchenne.cli.clips import ModelOption


@app.command()
def overlay(
    clip: Annotated[str, typer.Argument(help="A video, or a folder of numbered images with --rate.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="MP4 to write.")],
    model: ModelOption = "default",
    emotion: Annotated[
        str | None, typer.Option(help="What the clip shows, instead of letting the model guess.")
    ] = None,
    all_faces: Annotated[bool, typer.Option("--all-faces", help="Every face, not only the most prominent.")] = False,
    faces: Annotated[bool, typer.Option(help="Show the picture; without it only points and curves.")] = True,
    device: Annotated[str, typer.Option(help="auto or cpu; of a clip network cuda and mps too.")] = "auto",
    detector: Annotated[str, typer.Option(help="haar or hog; the other takes over where it finds nothing.")] = "haar",
    rate: Annotated[float | None, typer.Option(help="Frames per second of a folder of images.")] = None,
    allow_truncated: Annotated[bool, typer.Option(help="Use what is there of a file that was cut short.")] = False,
) -> None:
    """Write the clip with box, points, phase, running P(genuine) and curves drawn in; sound and timing are kept."""
    from duchenne import io
    from duchenne.overlay import overlay as make
    from duchenne.video import check_target

    check_target(clip, out)
    io.check_folder(out.parent)
    with progress(Path(clip).name) as tick:
        found = make(
            clip, out, model=model, emotion=emotion, all_faces=all_faces, device=device, detector=detector, rate=rate,
            faces=faces,             allow_truncated=allow_truncated, on_frame=tick,
        )  # fmt: skip
    many = f"{len(found)} face{'s' * (len(found) != 1)}"
    log(f"{out}: {found[0].verdict.frames} frames, {found[0].verdict.duration:.2f} s, {many}.")
