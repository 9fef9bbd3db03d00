"""What a layer's filters see, as one self-contained HTML page without scripts, good offline and on paper.

Facts are put in order here; `templates/filters.html.j2` turns them into markup with every string escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from duchenne.drawing import clamp, number, percent, plain, words
from duchenne.errors import UsageError
from duchenne.plots.filters import ROWS, Tile, sprite
from duchenne.types import Array

if TYPE_CHECKING:
    from duchenne.explain.filter_aus import FilterUnits
    from duchenne.explain.filters import Excited, Randomised, Views

SURE = 0.05  # corrected p below which a filter is said to go with a unit
_SIDE, _LARGE = 88, 150  # px of one picture in a tile, and in the tile that shows how to read
_PAIRS = 60  # rows of the table of filters and units


def tiles(
    excited: Excited, views: Iterable[tuple[int, Views]], units: FilterUnits | None = None, *, most: int = 6
) -> list[Tile]:
    """One tile per filter that `explain.filters.views_of` gives, with its `most` strongest patches."""
    extent = (excited.box[..., 2:] - excited.box[..., :2]).reshape(-1, 2).max(axis=0)
    made = []
    for j, seen in views:
        rows = np.flatnonzero(excited.image[j] >= 0)[:most]
        boxes = excited.box[j, rows].tolist()
        pictures = [_pixels(excited.images[i]) for i in excited.image[j, rows].tolist()]
        made.append(
            Tile(
                name=str(j),
                note=_note(excited, units, j),
                patches=np.stack([_cut(p, b, extent) for p, b in zip(pictures, boxes, strict=True)]).astype(np.uint8),
                deconvnet=_signed(seen.deconvnet, boxes, extent),
                guided=_signed(seen.guided, boxes, extent),
            )
        )
    return made


def render(
    excited: Excited,
    tiles: Sequence[Tile],
    *,
    units: FilterUnits | None = None,
    sanity: Sequence[Randomised] = (),
    facts: Mapping[str, Any] | None = None,
) -> str:
    """The page as a string. `facts` (model, images, licence, ...) are listed at its end; UsageError without tiles."""
    if not tiles:
        raise UsageError("The page needs at least one filter that is not dead, found none; choose another layer.")
    shown = {tile.name for tile in tiles}
    return (
        _environment()
        .get_template("filters.html.j2")
        .render(
            layer=excited.layer,
            seen=excited.seen,
            count=len(excited.active),
            dead=int(excited.dead.sum()),
            whole=_whole(excited),
            filters=_map(excited, shown),
            rows=ROWS,
            large=_tile(max(tiles, key=_inside), _LARGE, 4),
            tiles=[_tile(tile, _SIDE, None) for tile in tiles],
            table=None if units is None else _units(units, shown),
            sanity=_sanity(sanity),
            facts=facts or {},
        )
    )


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("duchenne", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, percent=percent, words=words, plain=plain)
    env.globals.update(clamp=clamp)
    return env


# --- tiles --------------------------------------------------------------------------------------------------


def _note(excited: Excited, units: FilterUnits | None, j: int) -> str:
    """The unit that the filter surely goes with, if any, and on how many images it fires."""
    active = excited.active[j]
    fires = "fires on " + ("<1%" if active < 0.005 else percent(active))
    if units is None or not (units.adjusted[j] < SURE).any():
        return fires
    best = int(np.lexsort((-np.nan_to_num(units.lift[j]), units.p[j]))[0])
    return f"{units.units[best]} {percent(units.share[j, best])}, ×{units.lift[j, best]:.1f} · {fires}"


def _pixels(image: Array) -> Array:
    """float (H, W) or (H, W, 3) from 0 to 255 of what the network took, stretched to the whole range."""
    low, high = float(image.min()), float(image.max())
    stretched = (image - low) * (255 / (high - low)) if high > low else np.full(image.shape, 127.5)
    return np.moveaxis(stretched, 0, -1) if len(image) == 3 else np.asarray(stretched.mean(axis=0))


def _signed(views: Array, boxes: Sequence[Sequence[int]], extent: Array) -> Array:
    """float (N, h, w): views (N, c, H, W) cut to the patches, colours summed, NaN outside the image."""
    return np.stack([_cut(v.sum(axis=0), b, extent, np.nan) for v, b in zip(views, boxes, strict=False)])


def _cut(picture: Array, box: Sequence[int], extent: Array, blank: float = 255.0) -> Array:
    """The patch in the `box`, filled up to `extent` (h, w) on the sides where the image ends."""
    top, left, bottom, right = box
    high, wide = extent.tolist()
    out = np.full((high, wide, *picture.shape[2:]), blank)
    down = high - (bottom - top) if top == 0 else 0
    over = wide - (right - left) if left == 0 else 0
    out[down : down + bottom - top, over : over + right - left] = picture[top:bottom, left:right]
    return out


def _inside(tile: Tile) -> float:
    """How much of its first four patches lies inside the image: the fullest shows best how to read."""
    return float(np.isfinite(tile.deconvnet[:4]).sum())


def _tile(tile: Tile, side: int, most: int | None) -> dict[str, Any]:
    picture = sprite(tile, side, most=most)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=86, optimize=True, subsampling=0)
    return {
        "name": tile.name,
        "note": tile.note,
        "images": len(tile.patches[:most]),
        "src": "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii"),
        "width": picture.shape[1],
        "height": picture.shape[0],
    }


# --- facts --------------------------------------------------------------------------------------------------


def _whole(excited: Excited) -> tuple[int, int] | None:
    """(height, width) in pixels of what a unit can see, None where that is the whole image."""
    high, wide = (excited.box[..., 2:] - excited.box[..., :2]).reshape(-1, 2).max(axis=0).tolist()
    image = next(iter(excited.images.values())).shape[1:]
    return None if (high, wide) == image else (high, wide)


def _map(excited: Excited, shown: set[str]) -> list[dict[str, Any]]:
    """One square per filter: how many images it fires on, as ink, and whether the page shows it."""
    return [
        {"name": j, "active": float(a), "ink": clamp(0.12 + 0.88 * float(a) ** 0.5, 0, 1), "shown": str(j) in shown}
        for j, a in enumerate(excited.active)
    ]


def _units(units: FilterUnits, shown: set[str]) -> dict[str, Any]:
    """Unit by unit its best filter, and the most certain pairs of filter and unit."""
    pairs = units.rows()
    for pair in pairs:
        pair["shown"] = str(pair["filter"]) in shown
        pair["sure"] = pair["p_adjusted"] < SURE
    best: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        best.setdefault(pair["unit"], {**pair, "filters": 0})["filters"] += pair["sure"]
    unanimous = [pair for pair in pairs if pair["share"] == 1]
    return {
        "best": list(best.values()),
        "pairs": pairs[:_PAIRS],
        "tested": len(pairs),
        "sure": sum(pair["sure"] for pair in pairs),
        "unanimous": len(unanimous),
        "unanimous_sure": sum(pair["sure"] for pair in unanimous),
        "draws": units.draws,
        "most": int(units.count.max()),
    }


def _sanity(steps: Sequence[Randomised]) -> dict[str, Any] | None:
    """Median correlations step by step, and what they say."""
    if not steps:
        return None
    rows = [(s.layers[-1], _median(s.deconvnet), _median(s.guided)) for s in steps]
    return {"rows": rows, "views": len(steps[0].deconvnet), "says": [_say(rest) for rest in rows[-1][1:]]}


def _median(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _say(rest: float | None) -> str:
    if rest is None:
        return "go blank"
    if rest < 0.2:
        return "change wholly, so they rest on what the network has learnt"
    if rest < 0.5:
        return "keep a part, so they show the image as well as the filter"
    return "stay much the same, so they show the image more than the filter"
