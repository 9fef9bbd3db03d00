"""Shows what the filters of an expression network respond to: a page and contact sheets from images and AU codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from duchenne import checkpoints
from duchenne.datasets import fer2013
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.expression import filters
from duchenne.expression.filter_units import FilterUnits, filter_units
from duchenne.expression.layers import FeatureExtractor
from duchenne.faces import crops
from duchenne.io import Table, check_folder, number, read_arrays, shown, word, write_text
from duchenne.plots.filters import contact_sheet
from duchenne.progress import StepTick, Tick
from duchenne.report import filters_page
from duchenne.types import Array, Json
from duchenne.video import folders
from duchenne.workers.resources import torch_on_one_thread

MAX_TOP = 16  # images per filter on a page
_SHEET = 60  # filters on a contact sheet
_BATCH = 64
_TRIED = 16  # images without a face after which reading stops
_UNIT = re.compile(r"AU\s*\d+\w*", re.IGNORECASE)


@dataclass(eq=False)
class Faces:
    """Images that are read on demand. `names` maps the names that a table may use to image numbers.

    `batches` fills `used`, the numbers of images with a face, and `skipped`, sentences on the others.
    """

    source: str
    names: dict[str, int]
    count: int
    read: Callable[[int], tuple[Array, int]]  # number → face uint8 (side, side), and how many faces there are
    used: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    several: int = 0

    def batches(self, tick: Tick | None = None) -> Iterator[Array]:
        """uint8 (B, side, side), B at most 64; InputError if no image, or none of the first 16, can be used."""
        batch: list[Array] = []
        for i in range(self.count):
            try:
                face, seen = self.read(i)
            except InputError as error:
                self.skipped.append(str(error))
                if not self.used and len(self.skipped) == min(_TRIED, self.count):
                    raise self._none() from error
                continue
            self.used.append(i)
            self.several += seen > 1
            batch.append(face)
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
            if tick:
                tick(i + 1)
        if batch:
            yield np.stack(batch)

    def _none(self) -> InputError:
        if self.count == 1:
            return InputError(self.skipped[0])
        which = f"the first {len(self.skipped)}" if len(self.skipped) < self.count else f"the {self.count}"
        return InputError(f"None of {which} images of {self.source} can be used; the first: {self.skipped[0]}")


def faces(source: str | Path, *, is_aligned: bool = False) -> Faces:
    """The images of a folder, of a copy of FER2013 in any of its forms, or of an .npz with `images`.

    is_aligned   images of the folder are cropped faces, as those of FER2013 and of an .npz always are

    Raises InputError if there are none, before any is decoded (packed files are read whole).
    """
    root = Path(source)
    if root.suffix.lower() == ".npz":
        packed = _packed(root)
        names = {f"{form}#{i}": i for i in range(len(packed)) for form in (str(root), root.name)}
        return Faces(str(root), names, len(packed), lambda i: (packed[i], 1))
    try:
        paths = folders.listing(root)
    except InputError:
        entries = next(filter(None, (form(root) for form in (fer2013.packed, fer2013.table, fer2013.folders))), None)
        if entries is None:
            raise
        images = fer2013.images(entries)
        files = [Path(entry.clip.path) for entry in entries]
        return Faces(str(root), _names(files, root), len(files), lambda i: (images[i], 1))

    def read(i: int) -> tuple[Array, int]:
        found, _ = crops.faces(paths[i], is_aligned=is_aligned)
        return found[0].crop, len(found)

    return Faces(str(root), _names(paths, root), len(paths), read)


def _names(paths: Sequence[Path], root: Path) -> dict[str, int]:
    """An image may be named by its path, its path below the folder, or its file name if that is unique."""
    known = {form: i for i, path in enumerate(paths) for form in (str(path), path.relative_to(root).as_posix())}
    short: dict[str, list[int]] = {}
    for i, path in enumerate(paths):
        short.setdefault(path.name, []).append(i)
    return {name: places[0] for name, places in short.items() if len(places) == 1} | known


def _packed(path: Path) -> Array:
    try:
        images = read_arrays(path, ("images",)).get("images")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as .npz ({error}); check the path or copy it again.") from error
    if images is None:
        raise InputError(f"{path} has no array 'images'; expected uint8 (N, 48, 48).")
    if images.dtype != np.uint8 or images.shape[1:] != (crops.SIDE, crops.SIDE) or not len(images):
        shape = f"uint8 (N, {crops.SIDE}, {crops.SIDE})"
        raise InputError(f"{path} has images {images.dtype} {images.shape}; expected {shape} with at least one.")
    return images


def read_units(path: str | Path, images: Faces) -> tuple[tuple[str, ...], Array]:
    """(names, float64 (count, A)) of a CSV with the columns file, AU1, AU2, …: 1 present, 0 absent, NaN not coded.

    Other columns are ignored. InputError, with the line, for unknown or repeated files and for other values.
    """
    rows = Table(path, lower=False, short=True)
    columns = [name for name in rows.names if _UNIT.fullmatch(name)]
    if "file" not in rows.names or not columns:
        raise InputError(f"{path}: expected the column file and one for each action unit, such as AU12; add them.")
    table = np.full((images.count, len(columns)), np.nan)
    seen: set[int] = set()
    for row in rows:
        name = row.cells["file"]
        number = images.names.get(name)
        if number is None:
            raise InputError(f"{row.where}, names '{shown(name)}', which is not among the images; remove it.")
        if number in seen:
            raise InputError(f"{row.where}, names '{shown(name)}' a second time; keep one row.")
        seen.add(number)
        table[number] = [_mark(row.cells[name], name, row.where) for name in columns]
    if np.isnan(table).all():
        raise InputError(f"{path} codes none of the images; enter 1 (present) or 0 (absent) for some.")
    return tuple(columns), table


def _mark(cell: str, unit: str, where: str) -> float:
    if word(cell) not in ("", "0", "1"):
        raise InputError(f"{where}, has {unit} = '{shown(cell)}'; expected 1 (present), 0 (absent) or nothing.")
    return number(cell)


@torch_on_one_thread()  # a few images at a time: torch's threads would mostly wait for each other
def report(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    layers: Sequence[str] = (),
    top: int = 9,
    units: str | Path | None = None,
    is_aligned: bool = False,
    device: str = "auto",
    sheet: str | Path | None = None,
    tick: StepTick = lambda *_: None,
) -> Json:
    """Write the page `out` and a contact sheet (PNG) per layer, and return the results.

    layers  see `FeatureExtractor.choose`; top  images per filter, 1 to 16
    sheet   the PNG to write, with the layer's name in it if there are several; by default beside the page
    tick    called with the step, and of how many images or filters how many are done

    Keys: page, sheets, layers (name → `Excited`), units (name → `FilterUnits`), skipped (sentences on images that could
    not be used), images. Invalid models, layers, tables and paths raise before any image is decoded.
    """
    out = Path(out)
    if not 1 <= top <= MAX_TOP:
        raise UsageError(f"A page shows 1 to {MAX_TOP} images per filter, found {top}.")
    from duchenne.expression.model import ExpressionModel

    loaded, facts = checkpoints.load_as(model, ExpressionModel)
    extractor = FeatureExtractor(loaded.on(device).network)
    selected = extractor.choose(layers)
    sheets = _sheets(out, sheet, selected, Path(images))
    source = faces(images, is_aligned=is_aligned)
    names, coded = read_units(units, source) if units is not None else ((), np.empty((0, 0)))
    stream = source.batches(lambda i: tick("images", i, source.count))
    found = filters.search(extractor, selected, (extractor.normalised(batch) for batch in stream), n=top)
    tables = _tables(found, coded[source.used], names) if names else {}
    sections = []
    for layer, excited in found.items():
        order = filters_page.order(excited)
        views = _counted(filters.views_of(extractor, excited, order), f"filters of {layer}", len(order), tick)
        tiles = filters_page.tiles(excited, views, tables.get(layer))
        steps = filters.randomise(extractor, excited)
        sections.append(filters_page.section(excited, tiles, units=tables.get(layer), sanity=steps))
        if tiles:
            contact_sheet(sheets[layer], tiles[:_SHEET], f"{facts['id']}, layer {layer}", _caption(excited))
    page_facts = _facts(facts, source, top, str(loaded.network.mean.device), units)
    write_text(out, filters_page.render(sections, model=facts["id"], facts=page_facts, notes=_notes(source, units)))
    return {
        "page": out,
        "sheets": [path for layer, path in sheets.items() if not found[layer].dead.all()],
        "layers": found,
        "units": tables,
        "skipped": source.skipped,
        "images": len(source.used),
    }


def _counted(
    views: Iterable[tuple[int, filters.Views]], step: str, count: int, tick: StepTick
) -> Iterator[tuple[int, filters.Views]]:
    """The same views, with progress."""
    for i, each in enumerate(views, 1):
        yield each
        tick(step, i, count)


def _sheets(out: Path, sheet: str | Path | None, layers: Sequence[str], images: Path) -> dict[str, Path]:
    """Layer → path of its contact sheet; UsageError or OutputError if page or sheets cannot be written there."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: the page is written as HTML; use a name that ends in .html.")
    base = Path(sheet) if sheet is not None else out.with_suffix(".png")
    if base.suffix.lower() != ".png":
        raise UsageError(f"{base}: the contact sheet is written as PNG; use a name that ends in .png.")
    several = len(layers) > 1
    sheets = {layer: base.with_name(f"{base.stem}-{layer}.png") if several else base for layer in layers}
    for path in (out, *sheets.values()):
        if path.is_dir():
            raise OutputError(f"{path} is a folder; choose another name.")
        check_folder(path.parent)
    if base.resolve().parent == images.resolve():
        raise UsageError(f"{images} holds the images; write the contact sheets to another folder.")
    return sheets


def _tables(found: dict[str, filters.Excited], coded: Array, names: tuple[str, ...]) -> dict[str, FilterUnits]:
    """Layer → table of its filters, with p corrected over all layers."""
    joint = filter_units(np.concatenate([each.image for each in found.values()]), coded, names)
    tables, start = {}, 0
    for layer, excited in found.items():
        part = slice(start, start := start + len(excited.active))
        of_filters = ("share", "count", "lift", "luck", "p", "adjusted", "unanimous", "by_chance")
        tables[layer] = replace(joint, **{key: getattr(joint, key)[part] for key in of_filters})
    return tables


def _caption(excited: filters.Excited) -> str:
    count, dead = len(excited.active), int(excited.dead.sum())
    shown = f"The strongest {_SHEET}" if count - dead > _SHEET else f"{count - dead}"
    return (
        f"{shown} of {count} filters, {dead} dead; of {excited.seen:,} images those with the highest response. "
        "Top/mean: mean response to them over that to all images."
    )


def _notes(source: Faces, units: str | Path | None) -> list[str]:
    notes = []
    if source.skipped:
        notes.append(f"{len(source.skipped)} of {source.count} images were skipped; the first: {source.skipped[0]}")
    if source.several:
        notes.append(f"{source.several} images show several faces; the largest was used.")
    if len(source.used) < 100:
        notes.append(f"{len(source.used)} images are few: the strongest responses among them may be weak.")
    return notes


def _facts(facts: Json, source: Faces, top: int, device: str, units: str | Path | None) -> Json:
    return {
        "model": facts["id"],
        "sha256": facts["sha256"],
        "trained_on": f"{facts['images']:,} images" if "images" in facts else "not recorded",
        "images": f"{Path(source.source).name}, {len(source.used):,} searched",
        "images_per_filter": top,
        "action_units": "none given" if units is None else Path(units).name,
        "device": device,
    }
