"""The clips of a manifest as training data: each read once, through the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duchenne.clips import load, rows
from duchenne.clips.cache import Cache
from duchenne.datasets import manifest as manifests
from duchenne.errors import DuchenneError, InputError
from duchenne.progress import Log, StepTick
from duchenne.registry import READERS, check_reader
from duchenne.types import Array, Clip, FaceTrack, Reader
from duchenne.workers.resources import in_order

#: Labels (1 = genuine), people and emotions, (N,) each.
Truth = tuple[Array, Array, Array]
#: Clips with a table per reader; or why a clip cannot be read.
_Part = tuple[Sequence[Clip], list[Array]] | str


@dataclass(frozen=True, eq=False)
class TrainingData:
    """N labelled clips that could be read, with a table (N, ...) per reader."""

    clips: tuple[Clip, ...]
    tables: tuple[Array, ...]

    @property
    def x(self) -> Array:
        """(N, ...): the first reader's table."""
        return self.tables[0]

    @property
    def y(self) -> Array:
        """int (N,): 1 = genuine."""
        return np.array([clip.label == "genuine" for clip in self.clips], int)

    @property
    def people(self) -> Array:
        """str (N,)"""
        return np.array([str(clip.subject) for clip in self.clips])

    @property
    def emotions(self) -> Array:
        """str (N,): "" where unknown."""
        return np.array([clip.emotion or "" for clip in self.clips])

    @property
    def named_emotions(self) -> Array | None:
        """`emotions`, or None if all are unknown."""
        return self.emotions if any(self.emotions) else None

    @property
    def truth(self) -> Truth:
        """(`y`, `people`, `emotions`)."""
        return self.y, self.people, self.emotions

    @property
    def face_reader(self) -> str:
        """By which all faces were read."""
        return self.clips[0].reader

    @property
    def about(self) -> list[Any]:
        """Identity of these clips, independent of folders."""
        return [[load.identity(clip), clip.subject, clip.emotion, clip.label] for clip in self.clips]

    def of(self, use: Array) -> TrainingData:
        """The clips for which `use` (N,) is true."""
        clips = tuple(clip for clip, used in zip(self.clips, use, strict=True) if used)
        return replace(self, clips=clips, tables=tuple(table[use] for table in self.tables))


def cache_in(folder: str | Path | None) -> Cache:
    """The shared cache, or one without a limit in a folder of its own."""
    return Cache() if folder is None else Cache(Path(folder).absolute(), math.inf)


def read(
    manifest: str | Path,
    readers: Sequence[Reader],
    cache: Cache,
    *,
    reader: str = READERS[0],
    jobs: int = 1,
    log: Log = print,
    tick: StepTick = lambda *_: None,
) -> TrainingData:
    """Read the labelled clips in `jobs` processes, videos by the `reader` of faces; clips that cannot be read are
    logged and left out.

    InputError where none can be read, or tracks and rows of tables, or tracks with and without a mesh, are mixed.
    """
    check_reader(reader)
    clips = [replace(clip, reader=reader) for clip in manifests.read(manifest) if clip.label]
    used: list[Clip] = []
    parts: list[list[Array]] = []
    done = 0
    chunks = list(rows.chunks(clips))
    each = in_order(_read, [(chunk, tuple(readers), cache) for chunk in chunks], jobs)
    for size, found in zip(map(len, chunks), each, strict=True):
        for part in found:
            if isinstance(part, str):
                log(f"left out: {part}")
            else:
                used += part[0]
                parts.append(part[1])
        if done // 100 < (done + size) // 100 and done + size < len(clips):
            log(f"{done + size} of {len(clips)} clips read")
        done += size
        tick("reading clips", done, len(clips))
    if not used:
        raise InputError(f"{manifest} has no labelled clip that could be read; add clips to train on.")
    if len({part[0].shape[1:] for part in parts}) > 1:
        raise InputError(
            f"{manifest} has clips of different kinds, such as tracks and rows of tables; train on them separately."
        )
    if len({clip.reader for clip in used}) > 1:
        raise InputError(
            f"{manifest} has faces with a mesh and faces without one; read all by one reader, or train on them apart."
        )
    dataset = TrainingData(tuple(used), tuple(map(np.concatenate, zip(*parts, strict=True))))
    log(f"{len(used)} of {len(clips)} clips read, of {len(np.unique(dataset.people))} people")
    if cache.limit and any(map(load.is_video, used)):
        log(f"features and images of faces are cached in {cache.folder}; delete it when done")
    return dataset


def _read(clips: Sequence[Clip], readers: Sequence[Reader], cache: Cache) -> list[_Part]:
    known, samples, out = [], [], list[_Part]()
    for clip in clips:
        try:
            sample = load.read(clip, cache.read_faces)
            samples.append(sample)
            meshed = isinstance(sample, FaceTrack) and sample.coefficients is not None
            known.append(replace(clip, reader="mesh" if meshed else "paper"))
        except DuchenneError as error:
            out.append(str(error))
    try:
        tables = [rows.table(known, samples, reader, cache) for reader in readers] if known else []
    except DuchenneError as error:
        return [str(error)] if len(clips) == 1 else [part for clip in clips for part in _read([clip], readers, cache)]
    return [*out, (known, tables)] if known else out
