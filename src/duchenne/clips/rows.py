"""Tables of what readers read of clips, cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from duchenne.clips import crops, load, trimmed
from duchenne.clips.cache import Cache
from duchenne.datasets import manifest
from duchenne.types import Array, Clip, Reader, Sample, readable

_CHUNK = 64  # packed clips per chunk; a video is a chunk of its own


def chunks(clips: Sequence[Clip]) -> Iterator[Sequence[Clip]]:
    """The clips in consecutive chunks."""
    start = 0
    for i in range(1, len(clips) + 1):
        packed = manifest.split_path(clips[start].path)
        last = i == len(clips) or manifest.split_path(clips[i].path)[0] != packed[0]
        if last or packed[1] is None or i - start == _CHUNK:
            yield clips[start:i]
            start = i


def table(clips: Sequence[Clip], samples: Sequence[Sample], reader: Reader, cache: Cache) -> Array:
    """`reader.table(samples)` of the samples of `clips`, (N, ...), with crops where the reader reads them."""
    if reader.inner:
        return reader.joined([table(clips, samples, each, cache) for each in reader.inner])
    asked = reader
    if reader.crop_readers and (not reader.is_optional or all(map(load.is_video, clips))):
        reader = reader.with_cutter(lambda i, sample, each: crops.cached(clips[i], sample, each, cache))
        if not asked.is_optional:  # its crops are cached, which are all that is costly
            return reader.table(samples)
    if reader.trims[0] and all(map(load.is_video, clips)):
        return _with_copies(clips, samples, reader, cache)
    key = ["table", type(asked).__qualname__, asked.identity, [load.identity(clip) for clip in clips]]
    return _unpacked(cache.arrays(key, lambda: _packed(reader.table(samples))))


def _with_copies(clips: Sequence[Clip], samples: Sequence[Sample], reader: Reader, cache: Cache) -> Array:
    """object (N,): what is read of each sample, and of its copies (`Reader.trims`)."""
    out = reader.table(samples)
    for i in np.flatnonzero(readable(out)).tolist():
        copies = reader.table(trimmed.tracks(clips[i], samples[i], *reader.trims, cache))
        out[i] = (out[i], *(each for each in copies if each is not None))
    return out


def _packed(found: Array) -> dict[str, Array]:
    """A table as arrays by name: itself, or of an object array (N,) what each item holds."""
    if found.dtype != object:
        return {"table": found}
    return {"count": np.array(len(found))} | {k: v for i, item in enumerate(found) for k, v in _flat(f"{i}", item)}


def _flat(at: str, item: Any) -> Iterator[tuple[str, Array]]:
    """An item is an array, a tuple of items, or None, which is left out."""
    if isinstance(item, tuple):
        yield f"{at}.count", np.array(len(item))
        for i, part in enumerate(item):
            yield from _flat(f"{at}.{i}", part)
    elif item is not None:
        yield at, item


def _unpacked(found: dict[str, Array]) -> Array:
    if "table" in found:
        return found["table"]
    out = np.empty(int(found["count"]), object)
    for i in range(len(out)):
        out[i] = _item(f"{i}", found)
    return out


def _item(at: str, found: dict[str, Array]) -> Any:
    if (count := found.get(f"{at}.count")) is not None:
        return tuple(_item(f"{at}.{i}", found) for i in range(int(count)))
    return found.get(at)
