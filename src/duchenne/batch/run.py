"""One run over many clips: processes the remaining clips, records each result, and writes the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from duchenne import __version__, io, limits
from duchenne.batch import plan, tables
from duchenne.batch.job import ClipJob
from duchenne.batch.plan import Item, Plan
from duchenne.batch.state import State, hold
from duchenne.datasets.manifest import emotion_named
from duchenne.errors import DuchenneError, OutputError, UsageError, meant, printable
from duchenne.registry import READERS, check_reader
from duchenne.types import Json, JsonMap
from duchenne.workers.pool import Pool, Runner
from duchenne.workers.protocol import Job, Limits, Result, Work
from duchenne.workers.resources import cores, share

if TYPE_CHECKING:
    from duchenne.judging import Calibration

_READING = ("av", "dlib-bin", "numpy", "opencv-contrib-python-headless")
_MODELS = ("safetensors", "scikit-learn", "scipy", "torch", "xgboost-cpu", "xgboost")
FORMATS = ("csv", "parquet")


@dataclass(frozen=True)
class Task:
    """What is done with every clip: `options` for the workers, and the `settings` that determine the results."""

    kind: str
    options: JsonMap
    settings: JsonMap
    place: str = "{}"  # of a clip's results, below the output folder
    personal: bool = False  # the results of a clip depend on its subject
    card: JsonMap = field(default_factory=dict)  # of the model, for the report

    @property
    def work(self) -> Work:
        """The work of its workers."""
        return Work("duchenne.batch.work:load", "duchenne.batch.work:run", {"task": self.kind, **self.options})

    @property
    def fingerprint(self) -> Json:
        """What must be equal for all results in one folder."""
        from duchenne.faces import reading

        packages = _READING if self.kind == "extract" else (*_READING, *_MODELS)
        parts = reading.parts(self.settings["reader"])
        return {"task": self.kind, "options": dict(self.settings), "versions": versions(packages), "reader": parts}


@dataclass
class Meter:
    """Progress of a run. Frames and seconds count this run only; bytes are file sizes."""

    total: int
    done: int
    failed: int
    left: int  # bytes
    frames: int = 0
    processed: int = 0  # bytes
    began: float | None = None  # time of the first frame, so that loading libraries does not count
    current: dict[int, int] = field(default_factory=dict)  # job number → frames so far, of clips in progress

    @property
    def speed(self) -> float:
        """Frames per second so far; 0 in the first half second."""
        return (self.frames + sum(self.current.values())) / elapsed if (elapsed := self._elapsed()) > 0.5 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds that the remaining bytes will take at the speed so far; None before the first clip is done."""
        return self._elapsed() * self.left / self.processed if self.processed else None

    def progress(self, number: int, frames: int) -> None:
        """A clip in progress has reached this number of frames."""
        self.began = self.began or time.monotonic()
        self.current[number] = frames

    def count(self, item: Item, result: Result) -> None:
        """A clip has finished, with its rows or its failure."""
        self.began = self.began or time.monotonic()
        size = item.stamp[0] if item.stamp else 0
        seen = self.current.pop(result.number, 0)
        self.frames += result.value["rows"][0]["frames"] if result.value else seen
        self.done, self.failed = self.done + 1, self.failed + (result.failure is not None)
        self.left, self.processed = self.left - size, self.processed + size

    def _elapsed(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began


@dataclass(frozen=True)
class Summary:
    """The summary of all clips, the failures of this shard, what this run processed, and notes."""

    summary: Json
    failed: int
    clips: int
    frames: int
    seconds: float
    notes: list[str]


def extract_task(
    *,
    format: str = "csv",
    all_faces: bool = False,
    reader: str = READERS[0],
    detector: str = "haar",
    allow_truncated: bool = False,
    cache: bool = True,
) -> Task:
    """Track faces and write a table of frames per clip; UsageError for an unknown format, reader or detector.

    With `cache`, face tracks are kept for later runs (see `clips.cache`).
    """
    if format not in FORMATS:
        raise UsageError(
            f"Format '{format}' is not known{meant(format, FORMATS)}; choose one of: {', '.join(FORMATS)}."
        )
    check_reader(reader, detector)
    options: Json = {"format": format, "all_faces": all_faces, "reader": reader, "detector": detector}
    options |= {"allow_truncated": allow_truncated}
    if format == "parquet":
        io.check_parquet()
    return Task("extract", {"cache": cache, **options}, options, f"frames/{{}}.{format}")


def analyze_task(
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    all_faces: bool = False,
    device: str = "auto",
    reader: str | None = None,
    detector: str = "haar",
    mesh: bool = False,
    allow_truncated: bool = False,
    report: bool = True,
    faces: bool = True,
    cache: bool = True,
    calibration: Calibration | None = None,
) -> Task:
    """Judge each clip. ModelError or UsageError for a model that cannot be loaded, before any clip is read."""
    from duchenne import checkpoints, judging

    emotion = None if emotion is None else emotion_named(emotion)
    loaded = judging.load_model(model, reader)
    judging.check_calibration(calibration, loaded)
    common = {
        "emotion": emotion,
        "all_faces": all_faces,
        "device": judging.resolve_device(device, loaded),
        "reader": check_reader(reader or loaded.model.face_reader, detector, mesh),
        "detector": detector,
        "mesh": mesh,
        "allow_truncated": allow_truncated,
        "report": report,
        "faces": faces,
        **({"calibration": asdict(calibration)} if calibration else {}),
    }
    # workers have another working directory
    path = str(model) if str(model) in checkpoints.shipped() else str(Path(model).absolute())
    identity = {"id": loaded.about["id"], "sha256": loaded.about["sha256"]}
    options = {"model": path, "cache": cache, **common}
    band = (0.5 - loaded.model.margin, 0.5 + loaded.model.margin)
    card = {**loaded.card, "abstain_band": band, "says": limits.VERDICT}
    return Task("analyze", options, {"model": identity, **common}, card=card, personal=calibration is not None)


def process(
    sources: Sequence[str | Path],
    out: str | Path,
    task: Task,
    *,
    manifest: Path | None = None,
    rate: float | None = None,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    stall: float = 120.0,
    memory: float | None = None,
    retry: bool = False,
    runner: Runner | None = None,
    watch: Callable[[Meter], None] = lambda _: None,
) -> Summary:
    """Run a task on every clip (see `plan.find`) that is not yet in `out`, and write the tables.

    rate      frames/s of clips that store no times
    shard     (i, n): only every n-th clip from the i-th on, for n runs that share one folder
    workers   processes, by default one per core; each may use `memory` GB (by default an equal share of 80 % of the
              machine's) and is killed after `stall` seconds without progress
    retry     process clips again that failed in an earlier run
    runner    runs the jobs instead of processes on this machine
    watch     called with the progress

    The same clips and task give the same bytes below `out`, except in `.duchenne`, with any number of runs, shards and
    workers. InputError without clips, UsageError if `out` holds other results, OutputError if it cannot be written; as
    after a kill, the next run resumes.
    """
    began, out = time.monotonic(), Path(out).absolute()
    clips = plan.find(sources, out, manifest, rate)
    shard_items, notes = clips.share(shard), list[str]()
    with hold(out, task.fingerprint, shard, task.place, personal=task.personal) as state:
        if gone := state.gone(clips.items):
            notes.append(f"{gone} clips of an earlier run no longer exist; they were removed from the tables.")
        todo = _todo(state, shard_items, retry)
        meter = _meter(state, shard_items, todo)
        if runner is None and todo:
            count = max(1, min(workers or cores(), len(todo)))
            limits = Limits(stall, int(memory * 1e9) if memory else share(count))
            runner = Pool(task.work, count, limits, forked=task.options.get("device", "cpu") == "cpu")
        about = (clips, state, task.kind, task.fingerprint, task.card)
        try:
            if runner is not None and todo:
                if (out / "summary.json").exists():  # of an earlier run: a kill of this one must not leave its counts
                    tables.assemble(*about)
                _work(runner, _jobs(task, clips, state, todo), todo, state, meter, watch)
            summary = tables.assemble(*about)
        except KeyboardInterrupt:
            tables.assemble(*about)
            raise
        except DuchenneError as error:
            with suppress(OutputError):
                tables.assemble(*about)
            raise type(error)(str(error).replace(str(state.scratch), str(out))) from error
    return Summary(summary, meter.failed, len(todo), meter.frames, time.monotonic() - began, notes)


def _work(
    runner: Runner, jobs: Iterator[Job], todo: list[Item], state: State, meter: Meter, watch: Callable[[Meter], None]
) -> None:
    def progress(number: int, frames: int) -> None:
        meter.progress(number, frames)
        watch(meter)

    watch(meter)
    with closing(cast(Any, runner(jobs, progress))) as results:
        for result in results:
            item = todo[result.number]
            if result.failure is not None:
                state.write(item, failure=printable(result.failure))
            else:
                state.write(item, **result.value)
            meter.count(item, result)
            watch(meter)


def _jobs(task: Task, clips: Plan, state: State, items: list[Item]) -> Iterator[Job]:
    for number, item in enumerate(items):
        place = task.place.format(item.place)
        job = ClipJob(
            str(clips.root), item.path, item.name, str(state.out), place, str(state.scratch),
            item.start, item.end, item.rate, item.listed.get("subject"),
        )  # fmt: skip
        yield Job(number, item.path, asdict(job), item.start or 0.0)


def _todo(state: State, items: list[Item], retry: bool) -> list[Item]:
    """The clips without a record that can be trusted; those that cannot be opened are recorded as failures at once."""
    todo = []
    for item in items:
        found = state.read(item, verify=True)
        if item.fault is not None:
            failure = printable(item.fault)
            if found is None or found.get("failure") != failure:
                state.write(item, failure=failure)
        elif found is None:
            state.discard(item)  # so that it counts as left until it is done
            todo.append(item)
        elif retry and "failure" in found:
            todo.append(item)
    return todo


def _meter(state: State, items: list[Item], todo: list[Item]) -> Meter:
    remaining = {item.key for item in todo}
    earlier = [state.read(item) or {} for item in items if item.key not in remaining]
    left = sum(item.stamp[0] for item in todo if item.stamp)
    return Meter(len(items), len(earlier), sum("failure" in found for found in earlier), left)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of duchenne and of those packages that are installed."""
    found = {"duchenne": __version__}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
