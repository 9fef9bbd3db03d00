"""Batches of clips, read ahead by threads while a network is at work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duchenne.clipnets.inputs import Pictures
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.features.sequences import padded, varied
from duchenne.types import Array

Batch = tuple[Array, Tensor, Tensor]  # rows, x, mask


class Loader:
    """Batches of clips as tensors, put together by threads while the network is at work.

    waited, worked  seconds in which the network waited for the next batch, and in which it had one
    """

    def __init__(self, recipe: ClipRecipe, x: Any, workers: int) -> None:
        self.recipe, self.x = recipe, x
        # a movement of points is little work, and a thread would only be in the way of it
        self.workers = workers if recipe.inputs == "crops" else 0
        self.waited = self.worked = 0.0

    def __call__(self, batches: Sequence[Array], seed: int | None) -> Iterator[Batch]:
        """The batches of these rows in order; with a `seed` as learning sees them, each drawn from it and its place."""
        draws = [None if seed is None else np.random.default_rng([seed, i]) for i in range(len(batches))]
        calls = (partial(self._batch, rows, draw) for rows, draw in zip(batches, draws, strict=True))
        if not self.workers:
            yield from (call() for call in calls)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[Future[Batch]] = deque()
            try:
                for call in calls:
                    ahead.append(pool.submit(call))
                    if len(ahead) > 2 * self.workers:
                        yield self._next(ahead)
                while ahead:
                    yield self._next(ahead)
            finally:  # also where the one who asked went away
                for each in ahead:
                    each.cancel()

    def _next(self, ahead: deque[Future[Batch]]) -> Batch:
        now = time.perf_counter()
        found = ahead.popleft().result()
        self.waited += time.perf_counter() - now
        return found

    def _batch(self, rows: Array, rng: np.random.Generator | None) -> Batch:
        r = self.recipe
        if r.inputs == "crops":
            clips = [self._pictures(self.x[i], rng) for i in rows]
            mask = np.arange(max(map(len, clips))) < np.array([len(each) for each in clips])[:, None]
            x = np.zeros((*mask.shape, *clips[0].shape[1:]), np.uint8)
            x[mask] = np.concatenate(clips)
            return rows, torch.from_numpy(x).permute(0, 1, 4, 2, 3), torch.from_numpy(mask)
        rest = round(r.rest * r.fps)
        clips = [varied(self.x[i], rng, rest) if rng is not None and r.augment_movement else self.x[i] for i in rows]
        if rng is not None and r.by_frame and r.frames_per_step:
            clips = [each[_drawn(len(each), r.frames_per_step, rng)] for each in clips]
        x, mask = padded(clips)
        return rows, torch.from_numpy(x), torch.from_numpy(mask)

    def _pictures(self, clip: Pictures, rng: np.random.Generator | None) -> Array:
        some = np.arange(len(clip))
        if rng is not None and self.recipe.by_frame and self.recipe.frames_per_step:
            some = _drawn(len(clip), self.recipe.frames_per_step, rng)
        return clip.at(some)


def _drawn(n: int, some: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.permutation(n)[:some])
