"""Corpora: `duchenne datasets`, `duchenne simulate`, `duchenne convert`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from duchenne.cli.app import app, datasets
from duchenne.errors import DuchenneError

Name = Annotated[str, typer.Argument(help="Name of the corpus, as `duchenne datasets` lists it.")]
Root = Annotated[Path, typer.Argument(help="Folder (or table) with your copy.")]
Layout = Annotated[str | None, typer.Option(help="Which of the corpus' layouts, if several would fit.")]


@datasets.callback(invoke_without_command=True)
def datasets_list(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole catalogue as JSON.")] = False,
) -> None:
    """List the catalogue: what each corpus holds, who gives it out, and what is known to be wrong with it."""
    from duchenne.datasets import catalog

    if context.invoked_subcommand is not None:
        return
    corpora = catalog.corpora()
    if as_json:
        typer.echo(json.dumps({name: asdict(corpus) for name, corpus in corpora.items()}, indent=2, default=str))
        return
    for name, corpus in corpora.items():
        size = ", ".join(f"{n} {word}" for n, word in ((corpus.clips, "clips"), (corpus.people, "people")) if n)
        typer.echo(f"{name:<10} {corpus.title}: {corpus.task}{f'; {size}' if size else ''}; {corpus.access}")
        typer.echo(f"{'':<10} {corpus.about}")


@datasets.command("show")
def datasets_show(name: Name) -> None:
    """Everything the catalogue knows about one corpus: citation, terms, how to get it, layouts, known faults."""
    from duchenne.datasets import catalog

    corpus = catalog.load(name)
    for key, value in asdict(corpus).items():
        if key == "layouts":
            for layout in corpus.layouts:
                typer.echo(f"layout      {layout.name}: {layout.expects}")
        elif isinstance(value, list | tuple):
            for each in value:
                typer.echo(f"{key:<11} {each}")
        elif value not in (None, ""):
            typer.echo(f"{key:<11} {value}")


@datasets.command("check")
def datasets_check(
    name: Name,
    root: Root,
    layout: Layout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, alone, on stdout.")] = False,
) -> None:
    """Compare a folder with the catalogue: what is there, what is missing, what is odd."""
    from duchenne.datasets import catalog

    report = catalog.check(name, root, layout=layout)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, default=str))
    else:
        typer.echo(f"{report.corpus} at {root}: {report.layout}; {report.clips} clips of {report.people} people")
        for what, counts in (("labels", report.labels), ("emotions", report.emotions)):
            typer.echo(f"  {what:<9} " + ", ".join(f"{word} {n}" for word, n in counts.items()))
        for what, lines in (("missing", report.missing), ("odd", report.odd)):
            for line in lines[:20]:
                typer.echo(f"  {what:<9} {line}")
            if len(lines) > 20:
                typer.echo(f"  {what:<9} … and {len(lines) - 20} more (all with --json)")
    if not report.ok:
        raise DuchenneError(f"{root} is not a complete, clean copy of {name}: see what is missing or odd above.")


@datasets.command("manifest")
def datasets_manifest(
    name: Name,
    root: Root,
    layout: Layout = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; default: stdout.")] = None,
) -> None:
    """Write the manifest of a copy: path, subject, emotion, label, start, end, fold, and what its annotators add."""
    from duchenne.datasets import catalog, manifest

    entries = catalog.entries(name, root, layout=layout)
    if out is None:
        typer.echo(manifest.to_text(entries), nl=False)
    else:
        manifest.write(out, entries)
        typer.echo(f"{len(entries)} rows written to {out}", err=True)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for manifest.csv and the clips.")],
    people: Annotated[int, typer.Option(help="How many people.", min=1)] = 20,
    clips: Annotated[int, typer.Option(help="Clips per person, half of them posed.", min=2)] = 4,
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 25.0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    video: Annotated[bool, typer.Option("--video", help="Render a portrait instead of landmarks alone.")] = False,
) -> None:
    """Make smiles whose timing is known, drawn from measured distributions; no evidence about people."""
    from duchenne.datasets import simulated

    manifest = simulated.corpus(out, people=people, clips=clips, rate=rate, seed=seed, video=video)
    typer.echo(f"{people * clips} simulated smiles listed in {manifest}; they prove mechanics, nothing about people")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Tracks (.npz, frames.csv) or a table of OpenFace or py-feat.")],
    out: Annotated[Path, typer.Argument(help="CSV to write, or .npz for dialect duchenne.")],
    to: Annotated[str, typer.Option(help="openface, py-feat or duchenne.")] = "duchenne",
    rate: Annotated[float | None, typer.Option(help="Frames per second, where the table holds no times.")] = None,
) -> None:
    """Carry face tracks between duchenne, OpenFace and py-feat; action units go along where both sides have them."""
    from duchenne import io

    tracks = io.load_tracks(source, rate=rate)
    io.write_as(out, tracks, to, units=io.action_units(source, rate=rate) if source.suffix.lower() == ".csv" else None)
    typer.echo(f"{len(tracks)} faces, {sum(map(len, tracks))} rows written to {out}", err=True)
