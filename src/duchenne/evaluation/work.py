"""The work of an evaluation in tasks, each cached on disk, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne.clips import crops, load, rows
from duchenne.clips.cache import Cache
from duchenne.datasets.splits import Split
from duchenne.errors import DuchenneError, InputError
from duchenne.evaluation import leaks
from duchenne.evaluation.crossval import Answers, Truth, evaluate_fold
from duchenne.faces import identity
from duchenne.learn import pieces
from duchenne.methods import names as methods
from duchenne.progress import StepTick
from duchenne.types import Array, Classifier, Clip, FaceTrack, Features, Json, Reader, Sample
from duchenne.workers.resources import in_order, torch_on_one_thread


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of N clips: a table per reader, float (N, D) or of sequences object (N,), NaN or None where a clip
    could not be read; reasons; signatures to find duplicates; and of videos the face (128,) to find a person under
    two names."""

    tables: dict[Reader, Array]
    refused: dict[Reader, str]
    failed: dict[int, str]
    signatures: list[leaks.Signature | None]
    faces: list[Array | None]
    seconds: float


def read(clips: Sequence[Clip], readers: Iterable[Reader], jobs: int, tick: StepTick) -> Read:
    """Every clip once, through all readers; clips that cannot be read are listed in `failed`."""
    readers, cache = list(dict.fromkeys(readers)), Cache()
    chunks = list(rows.chunks(clips))
    parts: list[Json] = []
    for done, part in enumerate(in_order(_read_chunk, [(chunk, readers, cache) for chunk in chunks], jobs), 1):
        parts.append(part)
        tick("reading clips", sum(map(len, chunks[:done])), len(clips))
    _check_same_kind(part["kind"] for part in parts if part["kind"] is not None)
    refused = {reader: why for part in parts for reader, why in part["refused"].items()}
    tables = {reader: _stack([part["tables"].get(reader) for part in parts], chunks) for reader in readers}
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


def _check_same_kind(kinds: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """InputError where some clips are tracks and others rows of a table, or of tables with other columns."""
    first: tuple[str, tuple[str, ...]] | None = None
    for path, names in kinds:
        first = first or (path, names)
        if names != first[1]:
            a, b = (f"{len(each)} columns" if each else "face tracks" for each in (first[1], names))
            other = " with other names" if a == b else ""
            raise InputError(f"{first[0]} gives {a} and {path} gives {b}{other}; evaluate them separately.")


def _read_chunk(clips: Sequence[Clip], readers: list[Reader], cache: Cache) -> Json:
    found: list[Sample] = []
    failed: dict[int, str] = {}
    for i, clip in enumerate(clips):
        try:
            sample = load.read(clip, cache.read_faces)
            if load.is_video(clip):
                for each in (each for reader in readers for each in reader.crop_readers):
                    crops.cached(clip, sample, each, cache)
            found.append(sample)
        except DuchenneError as error:
            failed[i] = str(error)
    start, tables, refused = time.perf_counter(), {}, {}
    at = [i for i in range(len(clips)) if i not in failed]
    for reader in readers if found else ():
        try:
            table = rows.table([clips[i] for i in at], found, reader, cache)
            tables[reader] = _missing(len(clips), table)
            tables[reader][at] = table
        except DuchenneError as error:
            refused[reader] = str(error)
    seconds = time.perf_counter() - start
    signatures: list[leaks.Signature | None] = [None] * len(clips)
    faces: list[Array | None] = [None] * len(clips)
    for i, sample in zip(at, found, strict=True):
        signatures[i], faces[i] = leaks.signature(sample), _face(clips[i], sample, cache)
    first = found[0] if found else None
    names = first.names if isinstance(first, Features) else ()
    return {
        "tables": tables,
        "refused": refused,
        "failed": failed,
        "signatures": signatures,
        "faces": faces,
        "seconds": seconds,
        "kind": (clips[at[0]].path, names) if found else None,
    }


def _face(clip: Clip, sample: Sample, cache: Cache) -> Array | None:
    """Embedding of the face in a video, used only to find a person under two names; None without pixels."""
    if not load.is_video(clip) or not isinstance(sample, FaceTrack):
        return None
    track = sample
    with suppress(DuchenneError):
        found = cache.arrays(
            ["identity", load.identity(clip)],
            lambda: {"face": identity.embed_clip(clip.path, track, **clip.stretch)},
        )
        return found["face"]
    return None


def _stack(tables: Sequence[Array | None], chunks: Sequence[Sequence[Clip]]) -> Array:
    like = next((table for table in tables if table is not None), np.empty((0, 0)))
    parts = [_missing(len(c), like) if t is None else t for t, c in zip(tables, chunks, strict=True)]
    return np.concatenate(parts) if parts else like


def _missing(n: int, like: Array) -> Array:
    """The table of `n` clips that cannot be read: NaN, or None for sequences."""
    return np.empty(n, object) if like.dtype == object else np.full((n, like.shape[1]), np.nan)


@dataclass(frozen=True)
class Task:
    """One fold of one method with its full `recipe`; all fields are part of the cache key."""

    method: str
    baseline: bool
    run: str
    repeat: int
    fold: int
    seed: int
    recipe: str = ""
    device: str = "auto"


def make(task: Task) -> Classifier:
    """The unfitted model of a task, on its device."""
    if task.baseline:
        return methods.BASELINES[task.method](task.seed)
    model = methods.make(task.method, task.seed)
    model.on(task.device)
    return model


def run(
    tasks: Sequence[Task], table: Callable[[Task], Array], truth: Truth, split: Callable[[Task], Split],
    *, data: str, work: Path, jobs: int, tick: StepTick,
) -> list[Answers]:  # fmt: skip
    """The answers of every task, in order, from `jobs` processes; `data` identifies their other inputs."""
    calls = [(task, table(task), truth, split(task), data, work) for task in tasks]
    done: list[Answers] = []
    for answers in in_order(_run_task, calls, jobs):
        done.append(answers)
        tick("fitting and predicting", len(done), len(tasks))
    return done


def _run_task(task: Task, x: Array, truth: Truth, split: Split, data: str, work: Path) -> Answers:
    def compute() -> dict[str, Array]:
        model = make(task)
        with torch_on_one_thread():  # not before: making a model may load torch
            answers = vars(evaluate_fold(model, x, truth, split))
        # rounded, so that predictions.csv holds exactly what is scored
        return {
            name: np.round(value, 9) if name in ("p", "rank") else np.asarray(value) for name, value in answers.items()
        }

    key = [vars(task), data, hashlib.sha256(np.concatenate([split[0], [-1], split[1]]).tobytes()).hexdigest()]
    found = pieces.cached(work / "folds", key, compute)
    p, rank, sure, fold = (found[name] for name in ("p", "rank", "sure", "fold"))
    return Answers(p, rank, sure, fold, float(found["fit"]), float(found["predict"]))
