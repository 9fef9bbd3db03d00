"""Batches of clips, prefetched by threads."""

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

from duchenne.clipnets.recipe import ClipRecipe
from duchenne.features.sequences import padded, varied
from duchenne.types import Array

Batch = tuple[Array, Tensor, Tensor]  # rows, x, mask


class Loader:
    """Batches of clips as tensors, prefetched by threads.

    waited, worked  seconds in which the network waited for a batch, and in which it had one
    """

    def __init__(self, recipe: ClipRecipe, x: Sequence[Any], workers: int) -> None:
        self.recipe, self.x = recipe, x
        # for points a thread costs more than it saves
        self.workers = workers if recipe.inputs == "crops" else 0
        self.waited = self.worked = 0.0

    def __call__(self, batches: Sequence[Array], seed: int | None) -> Iterator[Batch]:
        """The batches of these rows in order; with a `seed` augmented, each from the seed and its index."""
        rngs = (None if seed is None else np.random.default_rng([seed, i]) for i in range(len(batches)))
        calls = (partial(self._batch, rows, rng) for rows, rng in zip(batches, rngs, strict=True))
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
            finally:  # also where the consumer stopped early
                for future in ahead:
                    future.cancel()

    def _next(self, ahead: deque[Future[Batch]]) -> Batch:
        start = time.perf_counter()
        batch = ahead.popleft().result()
        self.waited += time.perf_counter() - start
        return batch

    def _batch(self, rows: Array, rng: np.random.Generator | None) -> Batch:
        r = self.recipe
        if r.inputs == "crops":
            clips = [self.x[i].at(self._drawn(len(self.x[i]), rng)) for i in rows]
            mask = np.arange(max(map(len, clips))) < np.array([len(each) for each in clips])[:, None]
            x = np.zeros((*mask.shape, *clips[0].shape[1:]), np.uint8)
            x[mask] = np.concatenate(clips)
            return rows, torch.from_numpy(x).permute(0, 1, 4, 2, 3), torch.from_numpy(mask)
        rest = round(r.rest * r.fps)
        clips = [varied(self.x[i], rng, rest) if rng is not None and r.augment_movement else self.x[i] for i in rows]
        clips = [clip[self._drawn(len(clip), rng)] for clip in clips]
        x, mask = padded(clips)
        return rows, torch.from_numpy(x), torch.from_numpy(mask)

    def _drawn(self, n: int, rng: np.random.Generator | None) -> Array:
        """Indices of the frames of a clip of n that a pass sees."""
        if rng is None or not (self.recipe.by_frame and self.recipe.frames_per_step):
            return np.arange(n)
        return np.sort(rng.permutation(n)[: self.recipe.frames_per_step])
