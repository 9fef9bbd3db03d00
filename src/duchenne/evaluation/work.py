"""The work of an evaluation in small pieces, each kept on disk once done, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import __version__, io
from duchenne.clips import crops, load
from duchenne.datasets import manifest
from duchenne.datasets.splits import Split
from duchenne.errors import DuchenneError, InputError
from duchenne.evaluation import leaks
from duchenne.evaluation.crossval import Answers, Truth, judge_fold
from duchenne.faces import identity
from duchenne.methods import names as methods
from duchenne.progress import StepTick
from duchenne.types import Array, Classifier, Clip, FaceTrack, Features, Json, Reader, Sample
from duchenne.workers.resources import in_order, torch_on_one_thread

#: (what is being done, pieces done, pieces in all)
#: What numpy may raise on an archive that something cut short.
_CHUNK = 64  # packed clips that are read at a time; a video is a piece of its own


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of N clips: a table per reader, float (N, D) or of sequences object (N,), NaN or None where a clip
    could not be read and why, signatures for finding the same clip twice, and of videos the face (128,) for finding a
    person under two names."""

    tables: dict[Reader, Array]
    refused: dict[Reader, str]
    failed: dict[int, str]
    signatures: list[leaks.Signature | None]
    faces: list[Array | None]
    seconds: float


def kept(folder: Path, key: Any, make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """The arrays that `make` returned for this `key` before, else what it returns now, kept in `folder`."""
    digest = hashlib.sha256(json.dumps([__version__, key], default=str, sort_keys=True).encode()).hexdigest()[:32]
    path = folder / f"{digest}.npz"
    if path.is_file():
        try:
            return io.read_arrays(path)
        except (OSError, ValueError):  # damaged: make it again
            pass
    found = make()
    with io.atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    return found


def read(clips: Sequence[Clip], readers: Iterable[Reader], work: Path, jobs: int, tick: StepTick) -> Read:
    """Every clip once, through all readers; clips that cannot be read are named, not fatal."""
    wanted = list(dict.fromkeys(readers))
    chunks = list(_chunks(clips))
    parts: list[Json] = []
    for done, part in enumerate(in_order(_read_chunk, [(chunk, wanted, work) for chunk in chunks], jobs), 1):
        parts.append(part)
        tick("reading clips", sum(map(len, chunks[:done])), len(clips))
    _check_alike(part["like"] for part in parts if part["like"] is not None)
    refused = {reader: why for part in parts for reader, why in part["refused"].items()}
    tables = {reader: _stack([part["tables"].get(reader) for part in parts], chunks) for reader in wanted}
    starts = np.cumsum([0, *map(len, chunks)])
    failed = {int(starts[i]) + j: why for i, part in enumerate(parts) for j, why in part["failed"].items()}
    return Read(
        {reader: table for reader, table in tables.items() if reader not in refused},
        refused,
        failed,
        [each for part in parts for each in part["signatures"]],
        [each for part in parts for each in part["faces"]],
        sum(part["seconds"] for part in parts),
    )


def _check_alike(found: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """InputError where some clips are tracks and others rows of a table, or of tables with other columns."""
    first: tuple[str, tuple[str, ...]] | None = None
    for path, names in found:
        first = first or (path, names)
        if names != first[1]:
            kinds = [f"{len(each)} columns" if each else "face tracks" for each in (first[1], names)]
            kinds[1] += " with other names" if kinds[0] == kinds[1] else ""
            raise InputError(f"{first[0]} gives {kinds[0]} and {path} gives {kinds[1]}; evaluate them apart.")


def _chunks(clips: Sequence[Clip]) -> Iterator[Sequence[Clip]]:
    start = 0
    for i in range(1, len(clips) + 1):
        packed = manifest.split_path(clips[start].path)
        last = i == len(clips) or manifest.split_path(clips[i].path)[0] != packed[0]
        if last or packed[1] is None or i - start == _CHUNK:
            yield clips[start:i]
            start = i


def _read_chunk(clips: Sequence[Clip], readers: list[Reader], work: Path) -> Json:
    found: list[Sample] = []
    failed: dict[int, str] = {}
    for i, clip in enumerate(clips):
        try:
            sample = load.kept(clip, work / "tracks")
            if load.file_key(clip) is not None:
                for each in (each for reader in readers for each in reader.crop_readers):
                    crops.kept(clip, sample, each, work / "crops")
            found.append(sample)
        except DuchenneError as error:
            failed[i] = str(error)
    start, tables, refused = time.perf_counter(), {}, {}
    at = [i for i in range(len(clips)) if i not in failed]
    for reader in readers if found else ():
        try:
            rows = reader.fed(lambda i, sample, each: crops.kept(clips[at[i]], sample, each, work / "crops")).table(
                found
            )
            tables[reader] = _nothing(len(clips), rows)
            tables[reader][at] = rows
        except DuchenneError as error:
            refused[reader] = str(error)
    seconds = time.perf_counter() - start
    signatures: list[leaks.Signature | None] = [None] * len(clips)
    faces: list[Array | None] = [None] * len(clips)
    for i, sample in zip(at, found, strict=True):
        signatures[i], faces[i] = leaks.signature(sample), _face(clips[i], sample, work)
    first = found[0] if found else None
    names = first.names if isinstance(first, Features) else ()
    return {
        "tables": tables,
        "refused": refused,
        "failed": failed,
        "signatures": signatures,
        "faces": faces,
        "seconds": seconds,
        "like": (clips[at[0]].path, names) if found else None,
    }


def _face(clip: Clip, sample: Sample, work: Path) -> Array | None:
    """Whose face a video shows, as numbers that serve this check alone; None where there are no pixels."""
    key = load.file_key(clip)
    if key is None or not isinstance(sample, FaceTrack):
        return None
    track = sample
    with suppress(DuchenneError):
        return kept(work / "faces", key, lambda: {"face": identity.embed_clip(clip.path, track, start=clip.start)})[
            "face"
        ]
    return None


def _stack(tables: Sequence[Array | None], chunks: Sequence[Sequence[Clip]]) -> Array:
    like = next((table for table in tables if table is not None), np.empty((0, 0)))
    rows = [_nothing(len(c), like) if t is None else t for t, c in zip(tables, chunks, strict=True)]
    return np.concatenate(rows) if rows else like


def _nothing(n: int, like: Array) -> Array:
    """What a reader with such a table says of `n` clips that cannot be read: NaN, or None for sequences."""
    return np.empty(n, object) if like.dtype == object else np.full((n, like.shape[1]), np.nan)


@dataclass(frozen=True)
class Task:
    """One fold of one method, which `recipe` tells all there is to tell: what is kept on disk goes by all of it."""

    method: str
    baseline: bool
    run: str
    repeat: int
    fold: int
    seed: int
    recipe: str = ""


def make(task: Task) -> Classifier:
    """The unfitted model of a task."""
    return methods.BASELINES[task.method](task.seed) if task.baseline else methods.make(task.method, task.seed)


def judge(
    tasks: Sequence[Task], table: Callable[[Task], Array], truth: Truth, split: Callable[[Task], Split],
    *, data: str, work: Path, jobs: int, tick: StepTick,
) -> list[Answers]:  # fmt: skip
    """The answers of every task, in order, from `jobs` processes; `data` names all that they depend on besides."""
    calls = [(task, table(task), truth, split(task), data, work) for task in tasks]
    done: list[Answers] = []
    for answers in in_order(_judge_task, calls, jobs):
        done.append(answers)
        tick("fitting and judging", len(done), len(tasks))
    return done


def _judge_task(task: Task, x: Array, truth: Truth, split: Split, data: str, work: Path) -> Answers:
    def fresh() -> dict[str, Array]:
        model = make(task)
        with torch_on_one_thread():  # not before: making a model may load torch
            found = vars(judge_fold(model, x, truth, split))
        # rounded, so that predictions.csv holds in full what is scored
        return {
            name: np.round(value, 9) if name in ("p", "rank") else np.asarray(value) for name, value in found.items()
        }

    key = [vars(task), data, hashlib.sha256(np.concatenate([split[0], [-1], split[1]]).tobytes()).hexdigest()]
    found = kept(work / "folds", key, fresh)
    p, rank, sure, fold = (found[name] for name in ("p", "rank", "sure", "fold"))
    return Answers(p, rank, sure, fold, float(found["fit"]), float(found["predict"]))
