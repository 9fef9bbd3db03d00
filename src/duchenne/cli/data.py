"""Corpora: `duchenne datasets`, `duchenne simulate`, `duchenne convert`."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne.cli.app import app, datasets, progress
from duchenne.errors import DuchenneError, InputError, UsageError

if TYPE_CHECKING:
    from duchenne.datasets.catalog import Corpus, Report
    from duchenne.types import FaceTrack, Signals

Name = Annotated[str, typer.Argument(help="Name of the corpus, as `duchenne datasets` lists it.")]
Root = Annotated[Path, typer.Argument(help="Folder (or table) with your copy.")]
Layout = Annotated[str | None, typer.Option(help="Which of the corpus' layouts, if several would fit.")]

_WIDEST = 100  # columns: lines longer than this are hard to read
_SHOWN = 20  # lines of one kind that `check` prints before it only counts


def _say(word: str, text: str) -> None:
    """A word at the left and what it stands for beside it, wrapped for reading; names and addresses stay whole."""
    width = max(40, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))
    wrap = textwrap.TextWrapper(width, f"{word:<10} ", " " * 11, break_long_words=False, break_on_hyphens=False)
    typer.echo(wrap.fill(text))


def _size(clips: int | None, people: int | None) -> str:
    return " of ".join(f"{n:,} {word}" for n, word in ((clips, "clips"), (people, "people")) if n)


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
    rows = [("NAME", "TITLE", "TASK", "ACCESS", "CLIPS", "PEOPLE")]
    for each in sorted(corpora.values(), key=lambda c: (c.task != "authenticity", c.task, c.id)):
        clips, people = (f"{n:,}" if n else "-" for n in (each.clips, each.people))
        rows.append((each.id, each.title, each.task, each.access, clips, people))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{n}}" if i < 4 else f"{cell:>{n}}" for i, (cell, n) in enumerate(zip(row, wide, strict=True))]
        typer.echo("  ".join(cells))
    typer.echo("`duchenne datasets show NAME` tells what it is, how to get it and what is wrong with it.", err=True)


@datasets.command("show")
def datasets_show(name: Name) -> None:
    """Everything the catalogue knows about one corpus: citation, terms, how to get it, layouts, known faults."""
    from duchenne.datasets import catalog

    corpus = catalog.load(name)
    facts: list[tuple[str, str | None]] = [
        (corpus.id, corpus.title),
        ("about", corpus.about),
        ("task", corpus.task),
        ("size", _size(corpus.clips, corpus.people)),
        ("rate", f"{corpus.rate:g} frames/s" if corpus.rate else None),
        ("labels", ", ".join(corpus.labels)),
        ("emotions", ", ".join(corpus.emotions)),
        *(("fault", fault) for fault in corpus.faults),
        ("access", corpus.access),
        ("to get it", corpus.how_to_get),
        ("terms", corpus.terms),
        *(("layout", f'"{layout.name}": {layout.expects}') for layout in corpus.layouts),
        ("cite", corpus.citation),
        ("doi", corpus.doi),
        ("url", corpus.url),
        *(("source", source) for source in corpus.sources),
    ]
    for word, text in facts:
        if text:
            _say(word, text)


@datasets.command("check")
def datasets_check(
    name: Name,
    root: Root,
    layout: Layout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, alone, on stdout.")] = False,
) -> None:
    """Compare a folder with the catalogue: what is there, what is missing, what is odd."""
    from duchenne.datasets import catalog

    corpus, report = catalog.load(name), catalog.check(name, root, layout=layout)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, default=str))
    else:
        _say(corpus.id, f"{root}: {report.layout}")
        for word, text in _holds(corpus, report):
            _say(word, text)
    if not report.ok:
        raise DuchenneError(f"{root} is no complete, clean copy of {corpus.title}: see what is missing or odd above.")


def _holds(corpus: Corpus, report: Report) -> list[tuple[str, str]]:
    """What `check` tells a person below its first line."""
    layout = next(way for way in corpus.layouts if way.name == report.layout)
    who = "groups of people" if layout.rules.get("columns", {}).get("subject") == "group" else "people"
    named = f" of {report.people:,} {who}" if report.people else ", nobody is named"
    found = [("holds", f"{report.clips:,} clips{named}")]
    if corpus.clips and corpus.clips not in (report.clips, layout.count):
        found.append(("in all", f"{corpus.title} has {_size(corpus.clips, corpus.people)}"))
    for word, counts in (("labels", report.labels), ("emotions", report.emotions)):
        found.append((word, ", ".join(f"{name} {n:,}" for name, n in counts.items())))
    for word, lines in (("missing", report.missing), ("odd", report.odd)):
        found += [(word, line) for line in lines[:_SHOWN]]
        if len(lines) > _SHOWN:
            found.append((word, f"… and {len(lines) - _SHOWN} more (all with --json)"))
    if report.ok and layout.count:
        found.append(("ok", "complete for this layout, nothing odd"))
    elif report.ok and layout.rules.get("complete"):
        found.append(("ok", "no person lacks a clip, nothing odd"))
    elif report.ok:
        found.append(("ok", "nothing odd; how much a full copy of this layout holds is not known"))
    return found


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
        typer.echo(f"{len(entries):,} rows written to {out}", err=True)
    if nameless := sum(entry.clip.subject is None for entry in entries):
        typer.echo(f"{nameless:,} rows name no person, so nothing can be evaluated on them by person", err=True)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for manifest.csv and the clips.")],
    people: Annotated[int, typer.Option(help="How many people.")] = 20,
    clips: Annotated[int, typer.Option(help="Clips per person, an even number: half of them are posed.")] = 4,
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 25.0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    video: Annotated[bool, typer.Option("--video", help="Render a portrait instead of landmarks alone.")] = False,
) -> None:
    """Make smiles whose timing is known, drawn from measured distributions; no evidence about people."""
    from duchenne.datasets import simulated

    earlier = _own(out)
    with progress("simulating", f"of {people * clips} clips") as tick:
        manifest = simulated.corpus(out, people=people, clips=clips, rate=rate, seed=seed, video=video, on_clip=tick)
    for name in earlier - _made(manifest):  # a smaller corpus leaves none of a larger one behind
        (out / name).unlink()
    typer.echo(
        f"{people * clips} simulated smiles of {people} people listed in {manifest}; "
        "they prove mechanics, nothing about people"
    )


def _own(folder: Path) -> set[str]:
    """Names of what lies in `folder`, all of it made by `simulate` earlier; UsageError where anything else is."""
    if not folder.is_dir():
        return set()
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    others = sorted(there - (_made(folder / "manifest.csv") if "manifest.csv" in there else set()))
    if others:
        more = f" and {len(others) - 3} more" if others[3:] else ""
        raise UsageError(
            f"{folder} holds files that `duchenne simulate` did not make ({', '.join(others[:3])}{more}); "
            "choose a new or empty folder."
        )
    return there


def _made(manifest: Path) -> set[str]:
    """Names of the files of a simulated corpus, its manifest among them; none of a manifest of another kind."""
    from duchenne.datasets.manifest import read_entries, split_path

    try:
        entries = [entry for _, entry in read_entries(manifest)]
    except InputError:
        return set()
    if any(entry.facts.get("note") != "simulated" for entry in entries):
        return set()
    files = (Path(split_path(entry.clip.path)[0]) for entry in entries)
    return {manifest.name, *(file.name for file in files if file.parent == manifest.parent)}


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="Tracks (.npz, frames.csv), one of them (x.npz#3), or an OpenFace or py-feat CSV.")
    ],
    out: Annotated[Path, typer.Argument(help="CSV to write, or .npz for dialect duchenne.")],
    to: Annotated[str, typer.Option(help="openface, py-feat or duchenne.")] = "duchenne",
    rate: Annotated[float | None, typer.Option(help="Frames per second, where the table holds no times.")] = None,
) -> None:
    """Carry face tracks between duchenne, OpenFace and py-feat; action units stay where both sides are one dialect."""
    from duchenne import io

    packed = out.suffix.lower() == ".npz"
    if not packed and out.suffix.lower() != ".csv":
        raise UsageError(f"{out} names no kind of file that can be written; end it in .csv, or .npz for tracks.")
    if packed and to != "duchenne":
        raise UsageError(f"A table of {to} is CSV, but {out} is to be an .npz; end it in .csv, or leave out --to.")
    tracks = _tracks(source, rate)
    if packed:
        io.save_tracks(out, tracks)
    else:
        if (count := len({track.source for track in tracks})) > 1:
            one = min(source.glob("*.npz")) if source.is_dir() else source
            raise UsageError(f"{source} holds {count} clips and a table only one; name it, for example {one}#0.")
        io.write_as(out, tracks, to, units=_units(source, to, rate))
    faces = f"{len(tracks)} face{'s' if len(tracks) != 1 else ''}"
    typer.echo(f"{faces}, {sum(map(len, tracks)):,} rows written to {out}", err=True)


def _tracks(source: Path, rate: float | None) -> list[FaceTrack]:
    """The tracks of a file, or the one that "x.npz#3" or "x.npz#clip_7" names."""
    from duchenne import io
    from duchenne.datasets.manifest import split_path

    file, which = split_path(str(source))
    if which is None or not file.lower().endswith(".npz") or source.exists():
        return io.load_tracks(source, rate=rate)
    from duchenne.clips import load
    from duchenne.types import Clip, FaceTrack

    if rate is not None:
        raise UsageError(f"{file} holds its own times; leave out the rate.")
    found = load.read(Clip(str(source)))
    if not isinstance(found, FaceTrack):
        raise InputError(f"{file} holds features, no face tracks; expected an .npz of tracks.")
    return [found]


def _units(source: Path, to: str, rate: float | None) -> list[Signals] | None:
    """The table's action units where `to` is its own dialect; says so where they have to stay behind."""
    from duchenne import io

    if source.suffix.lower() != ".csv":
        return None
    names = io.Table(source, lower=False, distinct=()).names
    who = io.dialect(names)
    if who == "duchenne" or not any(re.fullmatch(r"AU\d\d(_[rc])?", name) for name in names):
        return None
    if who == to:
        return io.action_units(source, rate=rate)
    scale = "a probability is no intensity" if to != "duchenne" else "a frames.csv has no columns for them"
    typer.echo(f"action units are left out: {scale}", err=True)
    return None
