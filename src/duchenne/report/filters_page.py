"""The report of a network's filters, layer by layer: one HTML file without scripts.

This module prepares the values; `templates/filters_page.html.j2` is the markup.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duchenne.errors import UsageError
from duchenne.plots.filters import ROWS, Tile, sprite
from duchenne.plots.text import clamp, percent
from duchenne.report import pages
from duchenne.types import Array, Json, JsonMap

if TYPE_CHECKING:
    from duchenne.expression.filter_units import FilterUnits
    from duchenne.expression.filters import Excited, Randomised, Views

ALPHA = 0.05  # corrected p below which a filter is associated with an action unit
_SIDE, _LARGE, _GAP = 54, 150, 4  # px of an image in a tile, in the explained tile, and between them
_PATCHES = 4  # in the explained tile
_LEAST, _PAIRS = 10, 60  # rows of the table of filters and units: at least, and at most where significant
_FIRST = 24  # strongest filters, of which one is explained


def order(excited: Excited) -> list[int]:
    """The filters that are not dead, by their mean response to their top images, strongest first."""
    alive = np.flatnonzero(~excited.dead)
    strength = np.nanmean(excited.value[alive], axis=1) if len(alive) else alive
    ranked: list[int] = alive[np.argsort(-strength, kind="stable")].tolist()
    return ranked


def tiles(
    excited: Excited, views: Iterable[tuple[int, Views]], units: FilterUnits | None = None, *, most: int | None = None
) -> list[Tile]:
    """One tile per filter that `expression.filters.views_of` gives, with its `most` strongest patches (all if None)."""
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


def section(
    excited: Excited, tiles: Sequence[Tile], *, units: FilterUnits | None = None, sanity: Sequence[Randomised] = ()
) -> Json:
    """The section of one layer, with its images encoded, so that the tiles can be freed."""
    shown = {tile.name for tile in tiles}
    return {
        "layer": excited.layer,
        "seen": excited.seen,
        "most": excited.image.shape[1],
        "count": len(excited.active),
        "dead": int(excited.dead.sum()),
        "fires": float(np.median(excited.active[~excited.dead])) if tiles else None,
        "out": float(np.nanmedian(excited.stands_out)) if tiles else None,
        "whole": _whole(excited),
        "filters": _map(excited, shown),
        "large": _tile(max(tiles[:_FIRST], key=_inside), _LARGE, _PATCHES) if tiles else None,
        "tiles": [_tile(tile, _SIDE, None) for tile in tiles],
        "table": None if units is None else _units(units, shown),
        "sanity": _sanity(excited.layer, sanity),
    }


def render(
    sections: Sequence[JsonMap],
    *,
    model: str = "",
    facts: JsonMap | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page as a string, from the `section` of each layer, `facts` for its end and `notes` for its start.

    UsageError if all filters are dead.
    """
    if not any(each["tiles"] for each in sections):
        raise UsageError("All filters are dead; choose another layer.")
    count, dead = (sum(each[key] for each in sections) for key in ("count", "dead"))
    return pages.render(
        "filters_page.html.j2",
        sections=sections,
        model=model,
        count=count,
        dead=dead,
        read=next(each for each in reversed(sections) if each["tiles"]),
        rows=ROWS,
        tested=next((each["layer"] for each in sections if each["table"]), None),
        checked=[each for each in sections if each["sanity"]],
        notes=notes,
        facts=facts or {},
    )


# --- tiles --------------------------------------------------------------------------------------------------


def _note(excited: Excited, units: FilterUnits | None, j: int) -> str:
    """The associated action unit, if any, the ratio of its top responses to the mean, and how often it is active."""
    active = excited.active[j]
    fires = f"top/mean ×{excited.stands_out[j]:.1f} · active on " + ("<1%" if active < 0.005 else percent(active))
    if units is None or not (units.adjusted[j] < ALPHA).any():
        return fires
    best = int(np.lexsort((-np.nan_to_num(units.lift[j]), units.p[j]))[0])
    return f"{units.units[best]} {percent(units.share[j, best])} · {fires}"


def _pixels(image: Array) -> Array:
    """float (H, W) or (H, W, 3), the network's input scaled to 0 to 255."""
    low, high = float(image.min()), float(image.max())
    stretched = (image - low) * (255 / (high - low)) if high > low else np.full(image.shape, 127.5)
    return np.moveaxis(stretched, 0, -1) if len(image) == 3 else np.asarray(stretched.mean(axis=0))


def _signed(views: Array, boxes: Sequence[Sequence[int]], extent: Array) -> Array:
    """float (N, h, w): views (N, c, H, W) cropped to the patches, channels summed, NaN outside the image."""
    cut = [_cut(v.sum(axis=0), b, extent, np.nan) for v, b in zip(views, boxes, strict=False)]
    return np.stack(cut).astype(np.float32)


def _cut(picture: Array, box: Sequence[int], extent: Array, blank: float = 255.0) -> Array:
    """The patch in the `box`, padded to `extent` (h, w) beyond the image."""
    top, left, bottom, right = box
    high, wide = extent.tolist()
    out = np.full((high, wide, *picture.shape[2:]), blank)
    down = high - (bottom - top) if top == 0 else 0
    over = wide - (right - left) if left == 0 else 0
    out[down : down + bottom - top, over : over + right - left] = picture[top:bottom, left:right]
    return out


def _inside(tile: Tile) -> float:
    """Pixels of its first four patches that lie inside the image."""
    return float(np.isfinite(tile.deconvnet[:4]).sum())


def _tile(tile: Tile, side: int, most: int | None) -> Json:
    """The tile's images as one WebP, transparent between them."""
    picture = sprite(tile, side, most=most, gap=_GAP)
    opaque = np.indices(picture.shape[:2]) % (side + _GAP) < side
    alpha = (opaque.all(axis=0) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.dstack([picture, alpha])).save(stream, "WEBP", quality=70, method=4, exact=True)
    return {
        "name": tile.name,
        "note": tile.note,
        "images": len(tile.patches[:most]),
        "src": "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii"),
        "width": picture.shape[1],
        "height": picture.shape[0],
    }


# --- facts --------------------------------------------------------------------------------------------------


def _whole(excited: Excited) -> tuple[int, int] | None:
    """(height, width) of the receptive field in pixels, None if it is the whole image."""
    high, wide = (excited.box[..., 2:] - excited.box[..., :2]).reshape(-1, 2).max(axis=0).tolist()
    image = next(iter(excited.images.values())).shape[1:]
    return None if (high, wide) == image else (high, wide)


def _map(excited: Excited, shown: set[str]) -> list[Json]:
    """One square per filter: its top/mean ratio, as opacity, and whether the page shows it."""
    out = excited.stands_out
    ink = np.log(out) / max(np.log(np.nanquantile(out, 0.95)), 1e-9) if len(shown) else out
    return [
        {"name": j, "out": out[j], "ink": clamp(0.1 + 0.9 * ink[j], 0.1, 1), "shown": str(j) in shown}
        if not dead
        else {"name": j, "out": None}
        for j, dead in enumerate(excited.dead)
    ]


def _units(units: FilterUnits, shown: set[str]) -> Json | None:
    """The best filter of each action unit, and the pairs with the lowest p."""
    pairs = units.rows()
    if not pairs:
        return None
    for pair in pairs:
        pair["shown"] = str(pair["filter"]) in shown
        pair["sure"] = pair["p_adjusted"] < ALPHA
    best: dict[str, Json] = {}
    for pair in pairs:
        best.setdefault(pair["unit"], {**pair, "filters": 0})["filters"] += pair["sure"]
    unanimous = [pair for pair in pairs if pair["share"] == 1]
    return {
        "best": list(best.values()),
        "pairs": [pair for k, pair in enumerate(pairs) if k < _LEAST or (pair["sure"] and k < _PAIRS)],
        "tested": len(pairs),
        "sure": sum(pair["sure"] for pair in pairs),
        "unanimous": len(unanimous),
        "luck": float(np.nansum(units.luck)),
        "coded_filters": int((units.count > 0).any(axis=1).sum()),
        "unanimous_filters": int(units.unanimous.sum()),
        "filters_by_chance": float(np.nansum(units.by_chance)),
        "unanimous_sure": sum(pair["sure"] for pair in unanimous),
        "draws": units.draws,
        "most": int(units.count.max()),
    }


def _sanity(layer: str, steps: Sequence[Randomised]) -> Json | None:
    """Median correlations for each randomised layer, and their meaning."""
    if not steps:
        return None
    values = [(_median(step.deconvnet), _median(step.guided)) for step in steps]
    rows: list[tuple[str, float | None, float | None]] = [("nothing", 1.0, 1.0)]
    rows += [(("+ " if k else "") + step.layers[-1], *values[k]) for k, step in enumerate(steps)]
    return {
        "rows": rows,
        "first": (f"{layer}, only its own", *values[0]),
        "last": (f"{layer}, all down to the pixels", *values[-1]),
        "views": len(steps[0].deconvnet),
        "says": [[_change(r) for r in pair] for pair in (values[0], values[-1])],
    }


def _median(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _change(correlation: float | None) -> str:
    if correlation is None:
        return "become blank"
    limits = ((0.2, "change completely"), (0.6, "change largely"), (0.9, "change a little"))
    return next((text for limit, text in limits if correlation < limit), "hardly change")
