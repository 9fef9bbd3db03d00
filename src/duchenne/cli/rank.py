"""Two clips of one person: `duchenne rank`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne import limits
from duchenne.cli.app import Cached, app, face_reader, log, progress

if TYPE_CHECKING:
    from duchenne.ranking import Ranking


@app.command()
def rank(
    first: Annotated[str, typer.Argument(help="A video, or a folder of numbered images with --rate.")],
    second: Annotated[str, typer.Argument(help="Another of the same person.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Id of a shipped model or a model folder.")] = "default",
    emotion: Annotated[
        str | None, typer.Option(help="What both clips show, instead of letting the model guess.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, alone, on stdout.")] = False,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    detector: Annotated[str, typer.Option(help="haar or hog; the other takes over where it finds nothing.")] = "haar",
    rate: Annotated[float | None, typer.Option(help="Frames per second of folders of images.")] = None,
    allow_truncated: Annotated[bool, typer.Option(help="Judge what is there of a file that was cut short.")] = False,
    cache: Cached = True,
) -> None:
    """Tell which of two clips of one person is the more genuine, where one is posed and the other is not."""
    from duchenne import ranking
    from duchenne.io import plain

    with progress("two clips") as tick:
        found = ranking.rank(
            first, second, model=model, emotion=emotion, device=device, detector=detector, rate=rate,
            allow_truncated=allow_truncated, on_frame=tick, read=face_reader(cache),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(plain(found.to_dict()), indent=2, allow_nan=False))
    else:
        _say(found)
    for warning in found.warnings:
        log(f"note: {warning}")


def _say(found: Ranking) -> None:
    """For people, half a dozen lines."""
    from duchenne.ranking import ASSUMES

    names = [each.verdict.source for each in found.clips]
    if found.winner is None or found.p is None:
        typer.echo(f"No judgement. {found.reason}")
    else:
        sure = max(found.p, 1 - found.p)
        typer.echo(f"{names[found.winner]}")
        typer.echo(f"  moves the more like spontaneous clips; P = {sure:.2f} that it is the genuine one of the two")
    for name, analysis in zip(names, found.clips, strict=True):
        typer.echo(f"  by itself  {name}: P(genuine) = {analysis.p_raw:.2f}")
    if found.scale.pairs:
        typer.echo(
            f"  measured   of {found.scale.pairs} such pairs of {found.scale.people} people left out "
            f"{found.scale.accuracy:.0%} were told right"
        )
    typer.echo(f"  {ASSUMES}")
    typer.echo(f"  {limits.BELOW}")
