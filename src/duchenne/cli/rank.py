"""Two clips of one person: `duchenne rank`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne import limits
from duchenne.cli import options
from duchenne.cli.app import JUDGE, app, echo, face_reader, limit_memory, log, progress

if TYPE_CHECKING:
    from duchenne.ranking import Ranking


@app.command(rich_help_panel=JUDGE)
def rank(
    first: Annotated[str, typer.Argument(help="Video, or folder of numbered images with --rate.")],
    second: Annotated[str, typer.Argument(help="Another clip of the same person.")],
    model: options.Model = "default",
    emotion: options.Emotion = None,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
    reader: options.ModelReader = None,
    detector: options.Detector = "haar",
    rate: options.Rate = None,
    allow_truncated: options.AllowTruncated = False,
    memory: options.Memory = None,
    cache: options.Cached = True,
) -> None:
    """Rank two clips of one person, of which one is posed: which is more genuine?"""
    limit_memory(memory)
    from duchenne import ranking
    from duchenne.io import plain

    with progress("two clips") as tick:
        result = ranking.rank(
            first, second, model=model, emotion=emotion, device=device, reader=reader, detector=detector,
            rate=rate, allow_truncated=allow_truncated, on_frame=tick, read=face_reader(cache),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(plain(result.to_dict()), indent=2, allow_nan=False))
    else:
        _print(result)
    for warning in result.warnings:
        log(f"note: {warning}")


def _print(ranking: Ranking) -> None:
    """Print a ranking as text."""
    from duchenne.ranking import ASSUMES

    names = [each.verdict.source for each in ranking.clips]
    if ranking.winner is None or ranking.p is None:
        echo(ranking.reason or "" if ranking.draw else f"No verdict. {ranking.reason}")
    else:
        probability = max(ranking.p, 1 - ranking.p)
        echo(f"{names[ranking.winner]}")
        echo(
            f"  moves more like spontaneous clips; probability {probability:.2f} that it is the genuine one of the two"
        )
    for name, analysis in zip(names, ranking.clips, strict=True):
        part = analysis.verdict.judged
        span = "" if part is None else f", judged from {part[0]:.2f} s to {part[1]:.2f} s"
        echo(f"  alone      {name}: P(genuine) = {analysis.p_raw:.2f}{span}")
    if ranking.scale.pairs:
        echo(
            f"  accuracy   {ranking.scale.accuracy:.0%} of {ranking.scale.pairs} such pairs of {ranking.scale.people} "
            "held-out people"
        )
    echo(f"  {ASSUMES}")
    echo(f"  {limits.BELOW}")
