"""Data sets: `duchenne datasets`, `duchenne simulate`, `duchenne convert`."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import EVALUATE, MEASURE, app, datasets, echo, limit_memory, log, print_csv, print_table, progress
from duchenne.errors import DuchenneError, InputError, UsageError, printable

if TYPE_CHECKING:
    from duchenne.datasets.catalog import DataSet, Report
    from duchenne.types import FaceTrack, Signals

Name = Annotated[str, typer.Argument(help="Name of the data set, as listed by `duchenne datasets`.")]
Root = Annotated[Path, typer.Argument(help="Folder or table of your copy.")]
Layout = Annotated[str | None, typer.Option(help="Layout of the copy, if several match.")]

_WIDTH = 100  # columns of a line, at most
_SHOWN = 20  # lines of one kind that `check` prints


def _print(key: str, text: str) -> None:
    """Print a key and its text, wrapped; names and addresses are not broken."""
    width = max(40, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns))
    wrap = textwrap.TextWrapper(width, f"{key:<10} ", " " * 11, break_long_words=False, break_on_hyphens=False)
    echo(*wrap.wrap(printable(text)))


def _size(clips: int | None, people: int | None) -> str:
    return " of ".join(f"{n:,} {word}" for n, word in ((clips, "clips"), (people, "people")) if n)


@datasets.callback(invoke_without_command=True)
def datasets_list(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the complete list as JSON.")] = False,
) -> None:
    """List known data sets: content, access and size."""
    from duchenne.datasets import catalog

    if context.invoked_subcommand is not None:
        return
    corpora = catalog.data_sets()
    if as_json:
        typer.echo(json.dumps({name: asdict(corpus) for name, corpus in corpora.items()}, indent=2, default=str))
        return
    rows = [("NAME", "TITLE", "TASK", "ACCESS", "CLIPS", "PEOPLE")]
    for each in sorted(corpora.values(), key=lambda c: (c.task != "authenticity", c.task, c.id)):
        clips, people = (f"{n:,}" if n else "-" for n in (each.clips, each.people))
        rows.append((each.id, each.title, each.task, each.access, clips, people))
    print_table(rows, right=(4, 5))
    log("`duchenne datasets show NAME` prints its content, access and known faults.")


@datasets.command("show")
def datasets_show(name: Name) -> None:
    """Show what is known of a data set: citation, terms, access, layouts and faults."""
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
    for key, text in facts:
        if text:
            _print(key, text)


@datasets.command("check")
def datasets_check(
    name: Name,
    root: Root,
    layout: Layout = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare a copy with the catalogue, and report missing and unexpected files."""
    from duchenne.datasets import catalog

    corpus, report = catalog.load(name), catalog.check(name, root, layout=layout)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "ok": report.ok}, indent=2, default=str))
    else:
        _print(corpus.id, f"{root}: {report.layout}")
        for key, text in _findings(corpus, report):
            _print(key, text)
    if not report.ok:
        raise DuchenneError(f"{root} is not a complete, valid copy of {corpus.title}; see the list above.")


def _findings(corpus: DataSet, report: Report) -> list[tuple[str, str]]:
    """Keys and texts that `check` prints below its first line."""
    layout = next(way for way in corpus.layouts if way.name == report.layout)
    who = "groups of people" if layout.rules.get("columns", {}).get("subject") == "group" else "people"
    named = f" of {report.people:,} {who}" if report.people else ", no people named"
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
        found.append(("ok", "complete for this layout, nothing unexpected"))
    elif report.ok and layout.rules.get("complete"):
        found.append(("ok", "every person has all clips, nothing unexpected"))
    elif report.ok:
        found.append(("ok", "nothing unexpected; the size of a full copy of this layout is not known"))
    return found


@datasets.command("manifest")
def datasets_manifest(
    name: Name,
    root: Root,
    layout: Layout = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; by default stdout.")] = None,
) -> None:
    """Write the manifest of a copy: path, subject, emotion, label, start, end, fold and annotations."""
    from duchenne.datasets import catalog, manifest

    entries = catalog.entries(name, root, layout=layout)
    if out is None:
        print_csv(manifest.to_text(entries))
    else:
        manifest.write(out, entries)
        log(f"{len(entries):,} rows written to {out}")
    if nameless := sum(entry.clip.subject is None for entry in entries):
        log(f"note: {nameless:,} rows have no subject and cannot be used in a person-disjoint evaluation")


@app.command(rich_help_panel=EVALUATE)
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for manifest.csv and the clips.")],
    people: Annotated[int, typer.Option(help="Number of people.")] = 20,
    clips: Annotated[int, typer.Option(help="Number of clips per person, even: half of them are posed.")] = 4,
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 25.0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    video: Annotated[bool, typer.Option("--video", help="Render videos of a portrait, not only landmarks.")] = False,
) -> None:
    """Simulate smiles with known timing from measured distributions, to test software; no evidence about people."""
    from duchenne.datasets import simulated

    earlier = _earlier_files(out)
    with progress("simulating", f"of {people * clips} clips") as tick:
        manifest = simulated.data_set(out, people=people, clips=clips, rate=rate, seed=seed, video=video, on_clip=tick)
    for name in earlier - _made(manifest):  # of an earlier, larger simulation
        (out / name).unlink()
    echo(
        f"{people * clips} simulated smiles of {people} people listed in {manifest}; "
        "they test software and prove nothing about people"
    )


def _earlier_files(folder: Path) -> set[str]:
    """Names of the files that `simulate` made in `folder` earlier; UsageError if it holds others."""
    if not folder.is_dir():
        return set()
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    others = sorted(present - (_made(folder / "manifest.csv") if "manifest.csv" in present else set()))
    if others:
        more = f" and {len(others) - 3} more" if others[3:] else ""
        raise UsageError(
            f"{folder} holds files that `duchenne simulate` did not make ({', '.join(others[:3])}{more}); "
            "choose a new or empty folder."
        )
    return present


def _made(manifest: Path) -> set[str]:
    """Names of the files of a simulated data set with its manifest; empty for other manifests."""
    from duchenne.datasets.manifest import read_entries, split_path

    try:
        entries = [entry for _, entry in read_entries(manifest)]
    except InputError:
        return set()
    if any(entry.facts.get("note") != "simulated" for entry in entries):
        return set()
    files = (Path(split_path(entry.clip.path)[0]) for entry in entries)
    return {manifest.name, *(file.name for file in files if file.parent == manifest.parent)}


@app.command(rich_help_panel=MEASURE)
def convert(
    source: Annotated[Path, typer.Argument(help="Tracks (.npz, frames.csv, x.npz#3), or an OpenFace or py-feat CSV.")],
    out: Annotated[Path, typer.Argument(help="CSV to write, or .npz for --to duchenne.")],
    to: Annotated[str, typer.Option(help="Format: openface, py-feat or duchenne.")] = "duchenne",
    rate: Annotated[float | None, typer.Option(help="Frames per second, if the table has no times.")] = None,
    memory: options.Memory = None,
) -> None:
    """Convert face tracks between duchenne, OpenFace and py-feat."""
    limit_memory(memory)
    from duchenne import io

    packed = out.suffix.lower() == ".npz"
    if not packed and out.suffix.lower() != ".csv":
        raise UsageError(f"{out}: tracks are written as CSV or NPZ; use a name that ends in .csv or .npz.")
    if packed and to != "duchenne":
        raise UsageError(f"{out}: a table of {to} is written as CSV; use a name that ends in .csv, or leave out --to.")
    tracks = _tracks(source, rate)
    if packed:
        io.save_tracks(out, tracks)
    else:
        if (count := len({track.source for track in tracks})) > 1:
            one = min(source.glob("*.npz")) if source.is_dir() else source
            raise UsageError(f"{source} holds {count} clips, a table holds one; select it, for example {one}#0.")
        io.write_as(out, tracks, to, units=_units(source, to, rate))
    faces = f"{len(tracks)} face{'s' if len(tracks) != 1 else ''}"
    log(f"{faces}, {sum(map(len, tracks)):,} rows written to {out}")


def _tracks(source: Path, rate: float | None) -> list[FaceTrack]:
    """The tracks of a file, or the one selected by "x.npz#3" or "x.npz#clip_7"."""
    from duchenne import io
    from duchenne.datasets.manifest import split_path

    file, which = split_path(str(source))
    if which is None or not file.lower().endswith(".npz") or source.exists():
        return io.load_tracks(source, rate=rate)
    from duchenne.clips import load
    from duchenne.types import Clip, FaceTrack

    if rate is not None:
        raise UsageError(f"{file} contains times; leave out --rate.")
    track = load.read(Clip(str(source)))
    if not isinstance(track, FaceTrack):
        raise InputError(f"{file} holds features, not face tracks; give an .npz of tracks.")
    return [track]


def _units(source: Path, to: str, rate: float | None) -> list[Signals] | None:
    """The table's action units if `to` is its own format; else a note that they are left out."""
    from duchenne import io

    if source.suffix.lower() != ".csv":
        return None
    names = io.Table(source, lower=False, distinct=()).names
    dialect = io.dialect(names)
    if dialect == "duchenne" or not any(re.fullmatch(r"AU\d\d(_[rc])?", name) for name in names):
        return None
    if dialect == to:
        return io.action_units(source, rate=rate)
    reason = "a probability is not an intensity" if to != "duchenne" else "frames.csv has no columns for them"
    log(f"note: action units are left out: {reason}")
    return None
