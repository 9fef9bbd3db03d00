"""What an expression network's filters see in somebody's images: from a model, pictures and coded action units to one
page and contact sheets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
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
from duchenne.io import Table, check_folder, read_arrays, shown, write_text
from duchenne.plots.filters import contact_sheet
from duchenne.progress import Tick, TickOf
from duchenne.report import filters_page
from duchenne.types import Array, Json
from duchenne.video import folders

MOST = 16  # images per filter that a page has room for
_SHEET = 60  # filters that a contact sheet has room for
_BATCH = 64
_TRIED = 16  # images of which one must show a face, or the rest is not read
_UNIT = re.compile(r"AU\s*\d+\w*", re.IGNORECASE)


@dataclass(eq=False)
class Faces:
    """Images that are read when they are asked for. `names` maps what a table may call an image to its number.

    After `batches` has run: `came` are the numbers of those that showed a face, `left` sentences on the others.
    """

    source: str
    names: dict[str, int]
    count: int
    read: Callable[[int], tuple[Array, int]]  # number → face uint8 (side, side), and how many faces there are
    came: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    several: int = 0

    def batches(self, tick: Tick | None = None) -> Iterator[Array]:
        """uint8 (B, side, side), B at most 64; InputError where none, or none of the first 16, can be used."""
        held: list[Array] = []
        for i in range(self.count):
            try:
                face, seen = self.read(i)
            except InputError as error:
                self.left.append(str(error))
                if not self.came and len(self.left) == min(_TRIED, self.count):
                    raise self._none() from error
                continue
            self.came.append(i)
            self.several += seen > 1
            held.append(face)
            if len(held) == _BATCH:
                yield np.stack(held)
                held = []
            if tick:
                tick(i + 1)
        if held:
            yield np.stack(held)

    def _none(self) -> InputError:
        if self.count == 1:
            return InputError(self.left[0])
        which = f"the first {len(self.left)}" if len(self.left) < self.count else f"the {self.count}"
        return InputError(f"None of {which} images of {self.source} can be used; the first: {self.left[0]}")


def faces(source: str | Path, *, is_aligned: bool = False) -> Faces:
    """The images of a folder, of a copy of FER2013 in any of its forms, or of an .npz with `images`.

    is_aligned   a folder's images are themselves cropped faces; those of FER2013 and of an .npz are, anyway

    Raises InputError where there is none, before any is decoded (packed files are read whole).
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
    """A file may be called by its path, by that from the folder on, or by its name if no other has it."""
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
        raise InputError(f"{path} must hold the array images, uint8 (N, 48, 48); pack it again.")
    if images.dtype != np.uint8 or images.shape[1:] != (crops.SIDE, crops.SIDE) or not len(images):
        shape = f"uint8 (N, {crops.SIDE}, {crops.SIDE})"
        raise InputError(f"{path} has images {images.dtype} {images.shape}; expected {shape} with at least one.")
    return images


def read_units(path: str | Path, images: Faces) -> tuple[tuple[str, ...], Array]:
    """(names, float64 (count, A)) of a CSV with the columns file, AU1, AU2, …: 1 there, 0 not, NaN empty or no row.

    Other columns are passed over. InputError, with the line, for a file that is not among the images or comes twice,
    or another value.
    """
    rows = Table(path, lower=False, short=True)
    columns = [name for name in rows.names if _UNIT.fullmatch(name)]
    if "file" not in rows.names or not columns:
        raise InputError(f"{path} must have the column file and one for each action unit, such as AU12.")
    table = np.full((images.count, len(columns)), np.nan)
    seen: set[int] = set()
    for row in rows:
        name = row.cells["file"]
        number = images.names.get(name)
        if number is None:
            raise InputError(f"{row.where}, names '{shown(name)}', which is not among the images; mend or drop it.")
        if number in seen:
            raise InputError(f"{row.where}, names '{shown(name)}' a second time; keep one of its rows.")
        seen.add(number)
        table[number] = [_mark(row.cells[name], name, row.where) for name in columns]
    if np.isnan(table).all():
        raise InputError(f"{path} codes no image; expected 1 (there) or 0 (not there) for some of them.")
    return tuple(columns), table


def _mark(cell: str, unit: str, where: str) -> float:
    if cell not in ("", "0", "1", "0.0", "1.0"):
        raise InputError(f"{where}, has {unit} = '{shown(cell)}'; expected 1 (there), 0 (not there) or nothing.")
    return float(cell) if cell else float("nan")


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
    tick: TickOf | None = None,
) -> Json:
    """Write the page `out` and a contact sheet (PNG) per layer; what was found comes back.

    layers  see `FeatureExtractor.choose`; top  images per filter, 1 to 16
    sheet   the PNG to write, with each layer's name in it where there are several; by default beside the page
    tick    called with how many images have been read, and of how many

    Keys: page, sheets, layers (name → `Excited`), units (name → `FilterUnits`), left (sentences on images that could
    not be used), images. Raises before any image is decoded for a model, layer, table or place that will not do.
    """
    out = Path(out)
    if not 1 <= top <= MOST:
        raise UsageError(f"A page shows 1 to {MOST} images per filter, found {top}.")
    from duchenne.expression.model import ExpressionModel

    loaded, facts = checkpoints.load_as(model, ExpressionModel)
    extractor = FeatureExtractor(loaded.on(device).network)
    chosen = extractor.choose(layers)
    sheets = _places(out, sheet, chosen, Path(images))
    source = faces(images, is_aligned=is_aligned)
    names, coded = read_units(units, source) if units is not None else ((), np.empty((0, 0)))
    stream = source.batches((lambda i: tick(i, source.count)) if tick else None)
    found = filters.search(extractor, chosen, (extractor.normalised(batch) for batch in stream), n=top)
    tables = _tables(found, coded[source.came], names) if names else {}
    sections = []
    for layer, excited in found.items():
        views = filters.views_of(extractor, excited, filters_page.order(excited))
        tiles = filters_page.tiles(excited, views, tables.get(layer))
        steps = filters.randomise(extractor, excited)
        sections.append(filters_page.section(excited, tiles, units=tables.get(layer), sanity=steps))
        if tiles:
            contact_sheet(sheets[layer], tiles[:_SHEET], f"{facts['id']}, layer {layer}", _told(excited))
    told = _facts(facts, source, top, str(loaded.network.mean.device), units)
    write_text(out, filters_page.render(sections, model=facts["id"], facts=told, notes=_notes(source, units)))
    return {
        "page": out,
        "sheets": [path for layer, path in sheets.items() if not found[layer].dead.all()],
        "layers": found,
        "units": tables,
        "left": source.left,
        "images": len(source.came),
    }


def _places(out: Path, sheet: str | Path | None, layers: Sequence[str], images: Path) -> dict[str, Path]:
    """Layer → its contact sheet; UsageError or OutputError where page or sheets cannot be written, or not safely."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The page is HTML, and '{out}' does not end in .html; choose another name.")
    base = Path(sheet) if sheet is not None else out.with_suffix(".png")
    if base.suffix.lower() != ".png":
        raise UsageError(f"A contact sheet is a PNG, and '{base}' does not end in .png; choose another name.")
    several = len(layers) > 1
    sheets = {layer: base.with_name(f"{base.stem}-{layer}.png") if several else base for layer in layers}
    for path in (out, *sheets.values()):
        if path.is_dir():
            raise OutputError(f"{path} is a folder; choose another name.")
        check_folder(path.parent)
    if base.resolve().parent == images.resolve():
        raise UsageError(f"The contact sheets would lie among the images in {images}; choose another folder.")
    return sheets


def _tables(found: dict[str, filters.Excited], coded: Array, names: tuple[str, ...]) -> dict[str, FilterUnits]:
    """Layer → its filters' table, p corrected over the filters of all layers."""
    whole = filter_units(np.concatenate([each.image for each in found.values()]), coded, names)
    tables, start = {}, 0
    for layer, excited in found.items():
        part = slice(start, start := start + len(excited.active))
        cut = {key: getattr(whole, key)[part] for key in ("share", "count", "lift", "luck", "p", "adjusted")}
        tables[layer] = replace(whole, **cut)
    return tables


def _told(excited: filters.Excited) -> str:
    count, dead = len(excited.active), int(excited.dead.sum())
    shown = f"The strongest {_SHEET}" if count - dead > _SHEET else f"{count - dead}"
    return (
        f"{shown} of {count} filters, {dead} dead; of {excited.seen:,} images those that excite each most. "
        "Stands out: mean response to them over that to all."
    )


def _notes(source: Faces, units: str | Path | None) -> list[str]:
    notes = []
    if source.left:
        notes.append(f"{len(source.left)} of {source.count} images were left out; the first: {source.left[0]}")
    if source.several:
        notes.append(f"{source.several} images show several faces; the largest was taken.")
    if len(source.came) < 100:
        notes.append(f"{len(source.came)} images are few: what excites a filter most among them may excite it little.")
    return notes


def _facts(facts: Json, source: Faces, top: int, device: str, units: str | Path | None) -> Json:
    return {
        "model": facts["id"],
        "sha256": facts["sha256"],
        "learnt_from": f"{facts['images']:,} images" if "images" in facts else "not recorded",
        "images": f"{Path(source.source).name}, {len(source.came):,} searched",
        "images_per_filter": top,
        "action_units": "none given" if units is None else Path(units).name,
        "device": device,
    }
