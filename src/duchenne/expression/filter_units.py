"""Which action units the images that excite a filter show, and whether that is more than by chance.

P = share of a filter's most exciting images whose label has the unit, as Breuer and Kimmel (2017, arXiv 1705.01842)
define it. They select P = 1, which a common unit reaches by chance; so lift over the base rate and p-values are added,
and beside the share of filters that are unanimous for some unit (43 of 50 in their section 3.1) that share by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from duchenne.errors import InputError
from duchenne.types import Array, Json


@dataclass(frozen=True, eq=False)
class FilterUnits:
    """C filters against A action units; NaN for a filter without images whose label is known.

    share     float64 (C, A)  P: share of the filter's images with the unit, of `count` int64 (C, A) images
    base      float64 (A,)    share of all images with it
    lift      float64 (C, A)  share / base
    luck      float64 (C, A)  probability that all of the filter's images have the unit, computed as p
    p         float64 (C, A)  probability of at least that many under random permutation of the labels (exact)
    adjusted  float64 (C, A)  p corrected for multiple testing over all filters and units: Westfall and Young's minP,
                              the probability that the smallest p of the table is as small, from `draws` permutations
    unanimous bool (C,)       whether all images of the filter show one unit, any: P = 1
    by_chance float64 (C,)    share of the `draws` permutations in which they do; NaN as above
    """

    units: tuple[str, ...]
    share: Array
    count: Array
    base: Array
    lift: Array
    luck: Array
    p: Array
    adjusted: Array
    unanimous: Array
    by_chance: Array
    draws: int

    def rows(self) -> list[Json]:
        """One row per filter and unit, the most significant first, as for a table or CSV."""
        order = np.lexsort((-self.lift.ravel(), self.p.ravel(), self.adjusted.ravel()))
        places = [divmod(int(i), len(self.units)) for i in order]
        return [
            {
                "filter": j,
                "unit": self.units[u],
                "images": int(self.count[j, u]),
                "share": float(self.share[j, u]),
                "base_rate": float(self.base[u]),
                "lift": float(self.lift[j, u]),
                "p": float(self.p[j, u]),
                "p_adjusted": float(self.adjusted[j, u]),
            }
            for j, u in places
            if self.count[j, u]
        ]


def filter_units(image: Array, labels: Array, units: Sequence[str], *, draws: int = 2000, seed: int = 0) -> FilterUnits:
    """`image` int (C, N) as in `filters.Excited` (-1 for none); `labels` (M, A) of all M images searched, 1 where the
    unit is present, 0 where not, NaN where not coded; InputError for another value or shape.

    Whole rows of labels are permuted, which keeps correlations between units and between filters that share images.
    Images are taken as independent: several frames of one person make p too small.
    """
    known = np.asarray(labels, float)
    if known.ndim != 2 or known.shape[1] != len(units) or not known.size:
        raise InputError(f"Expected labels of shape (images, {len(units)} units), found {known.shape}.")
    if not np.isin(known[~np.isnan(known)], (0, 1)).all():
        raise InputError("Labels of action units must be 1 (present), 0 (absent) or empty; binarise intensities.")
    if image.max(initial=-1) >= len(known):
        raise InputError(f"Image {image.max()} has no labels; expected a row for each image, found {len(known)}.")
    coded, holds = ~np.isnan(known), known == 1
    total, positive = coded.sum(axis=0), holds.sum(axis=0)
    tails = _tails(total, positive, image.shape[1])
    count, hits = _counted(image, coded), _counted(image, holds)
    which = np.arange(len(units))
    p, luck = tails[which, count, hits], tails[which, count, count]
    rng = np.random.default_rng(seed)
    least, agreed = np.empty(draws), np.zeros(len(image))
    for i in range(draws):
        order = rng.permutation(len(known))
        some, of_these = _counted(image, coded[order]), _counted(image, holds[order])
        least[i] = tails[which, some, of_these].min()
        agreed += _unanimous(some, of_these)
    # slightly above p, as equal probabilities may differ in their last digit
    adjusted = (1 + np.searchsorted(np.sort(least), p * (1 + 1e-9), side="right")) / (1 + draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        base, share = positive / total, hits / count
        lift = np.where(base > 0, share / base, np.nan)
    empty = count == 0
    luck, p, adjusted = (np.where(empty, np.nan, each) for each in (luck, p, adjusted))
    by_chance = np.where(empty.all(axis=1), np.nan, agreed / draws)
    return FilterUnits(
        tuple(units), share, count, base, lift, luck, p, adjusted, _unanimous(count, hits), by_chance, draws
    )


def _unanimous(count: Array, hits: Array) -> Array:
    """bool (C,): filters all of whose `count` (C, A) images show some unit."""
    return np.asarray(((count > 0) & (hits == count)).any(axis=1))


def _counted(image: Array, marks: Array) -> Array:
    """int (C, A): how many of each filter's images are marked; -1 reads the unmarked row at the end."""
    return np.asarray(np.concatenate([marks, np.zeros((1, marks.shape[1]), bool)])[image].sum(axis=1))


def _tails(total: Array, positive: Array, n: int) -> Array:
    """float64 (A, n + 1, n + 1): probability of at least k positives among m drawn, at [unit, m, k]."""
    drawn, found = np.arange(n + 1)[None, :, None], np.arange(n + 1)[None, None, :]
    drawn = np.minimum(drawn, total[:, None, None])
    chance = hypergeom.sf(found - 1, total[:, None, None], positive[:, None, None], drawn)
    return np.asarray(np.where(found == 0, 1.0, chance))
