"""One run over many clips: what is left is done, what is done is recorded, and the tables are put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from duchenne import __version__, io, limits
from duchenne.batch import plan, tables
from duchenne.batch.plan import Item, Plan
from duchenne.batch.state import State, hold
from duchenne.batch.work import ClipJob
from duchenne.errors import DuchenneError, UsageError
from duchenne.registry import DETECTORS
from duchenne.workers.pool import Pool, Runner
from duchenne.workers.protocol import Job, Limits, Result, Work
from duchenne.workers.resources import cores, share

_CHAIN = ("av", "dlib-bin", "numpy", "opencv-contrib-python-headless")
_JUDGES = ("safetensors", "scikit-learn", "scipy", "torch", "xgboost-cpu", "xgboost")
FORMATS = ("csv", "parquet")


@dataclass(frozen=True)
class Task:
    """What is done to every clip: `options` for the workers that do it, `settings` that its results depend on."""

    kind: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    place: str = "{}"  # of a clip's results, below the folder of results
    last: str = ""  # what of them, below `place`, is put there last
    card: Mapping[str, Any] = field(default_factory=dict)  # of the model, for the page

    @property
    def work(self) -> Work:
        """What a worker needs to know of it."""
        return Work("duchenne.batch.work:load", "duchenne.batch.work:run", {"task": self.kind, **self.options})

    @property
    def agreed(self) -> dict[str, Any]:
        """What must be the same for one folder of results."""
        packages = _CHAIN if self.kind == "extract" else (*_CHAIN, *_JUDGES)
        return {"task": self.kind, "options": dict(self.settings), "versions": versions(packages)}


@dataclass
class Meter:
    """How far a run is. Frames and seconds are of this run alone; bytes are those of the clips' files."""

    total: int
    done: int
    failed: int
    left: int  # bytes
    frames: int = 0
    passed: int = 0  # bytes
    began: float | None = None  # time of the first frame, as loading libraries says nothing of the speed
    current: dict[int, int] = field(default_factory=dict)  # frames of the clips at work

    @property
    def speed(self) -> float:
        """Frames per second so far; 0 in the first half second, when it means nothing."""
        return (self.frames + sum(self.current.values())) / spent if (spent := self._spent()) > 0.5 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds that the remaining bytes take at the speed so far; None before the first clip is done."""
        return self._spent() * self.left / self.passed if self.passed else None

    def progress(self, number: int, frames: int) -> None:
        """A clip at work has come to that many frames."""
        self.began = self.began or time.monotonic()
        self.current[number] = frames

    def count(self, item: Item, result: Result) -> None:
        """A clip is done, with its rows or its failure."""
        self.began = self.began or time.monotonic()
        size = item.stamp[0] if item.stamp else 0
        seen = self.current.pop(result.number, 0)
        self.frames += result.value[0]["frames"] if result.value else seen
        self.done, self.failed = self.done + 1, self.failed + (result.failure is not None)
        self.left, self.passed = self.left - size, self.passed + size

    def _spent(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began


@dataclass(frozen=True)
class Summary:
    """What a run leaves: the summary of all clips, its share's failures, its own work, and notes for a person."""

    summary: dict[str, Any]
    failed: int
    clips: int
    frames: int
    seconds: float
    notes: list[str]


def extract_task(
    *,
    format: str = "csv",
    all_faces: bool = False,
    detector: str = "haar",
    allow_truncated: bool = False,
    cache: bool = True,
) -> Task:
    """Faces followed into tables of frames; UsageError for an unknown format or detector.

    With `cache`, what following a clip's faces gave is kept for the next time (see `clips.cache`).
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format '{format}'; choose one of: {', '.join(FORMATS)}.")
    options = {
        "format": format,
        "all_faces": all_faces,
        "detector": _detector(detector),
        "allow_truncated": allow_truncated,
    }
    if format == "parquet":
        io.check_parquet()
    return Task("extract", {"cache": cache, **options}, options, f"frames/{{}}.{format}")


def analyze_task(
    *,
    model: str | Path = "default",
    emotion: str | None = None,
    all_faces: bool = False,
    device: str = "auto",
    detector: str = "haar",
    allow_truncated: bool = False,
    report: bool = True,
    faces: bool = True,
    cache: bool = True,
) -> Task:
    """Verdicts; the model is read once here, so that a damaged one is said before any work (ModelError, UsageError)."""
    from duchenne import checkpoints, judging
    from duchenne.types import ALL_EMOTIONS

    if emotion is not None and emotion not in ALL_EMOTIONS:
        raise UsageError(f"Emotion '{emotion}' is not known; choose one of: {', '.join(ALL_EMOTIONS)}.")
    loaded = judging.load_model(model)
    common = {
        "emotion": emotion,
        "all_faces": all_faces,
        "device": judging.resolve_device(device, loaded),
        "detector": _detector(detector),
        "allow_truncated": allow_truncated,
        "report": report,
        "faces": faces,
    }
    # the processes work in another folder
    place = str(model) if str(model) in checkpoints.shipped() else str(Path(model).absolute())
    about = {"id": loaded.about["id"], "sha256": loaded.about["sha256"]}
    options = {"model": place, "cache": cache, **common}
    card = {
        **loaded.card,
        "abstain_band": (0.5 - loaded.model.margin, 0.5 + loaded.model.margin),
        "says": limits.VERDICT,
    }
    return Task("analyze", options, {"model": about, **common}, last="verdict.json", card=card)


def process(
    sources: Sequence[str | Path],
    out: str | Path,
    task: Task,
    *,
    manifest: Path | None = None,
    shard: tuple[int, int] | None = None,
    workers: int | None = None,
    stall: float = 120.0,
    memory: float | None = None,
    retry: bool = False,
    runner: Runner | None = None,
    watch: Callable[[Meter], None] = lambda _: None,
) -> Summary:
    """Do a task for every clip (see `plan.find`) that `out` does not hold yet, and write the tables.

    shard     (i, n): every n-th clip from the i-th on only, for n runs that share one folder
    workers   processes, by default as many as there are cores; each may use `memory` GB (by default a fair share of
              80 % of the machine's) and is ended after `stall` seconds without a sign of life
    retry     clips that failed in an earlier run are done again
    runner    does the jobs instead of processes on this machine
    watch     called as the work goes on

    The same clips and task give the same bytes below `out`, `.duchenne` left out, in however many runs, shares and
    processes. InputError without clips, UsageError where `out` belongs to something else, OutputError where it cannot
    be written; then, as after a kill, the next run goes on.
    """
    began, out = time.monotonic(), Path(out).absolute()
    clips = plan.find(sources, out, manifest)
    own, notes = clips.share(shard), list(clips.notes)
    with hold(out, task.agreed, shard) as state:
        if gone := state.gone(clips.items):
            notes.append(f"Clips of an earlier run that are not there any more: {gone}; they have left the tables.")
        todo = [item for item in own if not _done(state, task, item, retry)]
        meter = _meter(state, own, todo)
        if runner is None and todo:
            count = max(1, min(workers or cores(), len(todo)))
            limits = Limits(stall, int(memory * 1e9) if memory else share(count))
            runner = Pool(task.work, count, limits, forked=task.options.get("device", "cpu") == "cpu")
        try:
            if runner is not None and todo:
                _work(runner, _jobs(task, clips, state, todo), todo, state, meter, watch)
            summary = tables.assemble(clips, state, task.kind, task.agreed, task.card)
        except KeyboardInterrupt:
            tables.assemble(clips, state, task.kind, task.agreed, task.card)
            raise
        except DuchenneError as error:
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
                state.write(item, failure=plan.readable(result.failure))
            else:
                state.write(item, rows=result.value)
            meter.count(item, result)
            watch(meter)


def _jobs(task: Task, clips: Plan, state: State, items: list[Item]) -> Iterator[Job]:
    for number, item in enumerate(items):
        place = task.place.format(item.place)
        job = ClipJob(
            str(clips.root), item.path, item.name, str(state.out), place, str(state.scratch),
            item.start, item.end, item.rate,
        )  # fmt: skip
        yield Job(number, item.path, asdict(job), item.start or 0.0)


def _done(state: State, task: Task, item: Item, retry: bool) -> bool:
    found = state.read(item)
    if found is None:
        return False
    if "failure" in found:
        return not retry
    return (state.out / task.place.format(item.place) / task.last).exists()


def _meter(state: State, own: list[Item], todo: list[Item]) -> Meter:
    waiting = {item.key for item in todo}
    earlier = [state.read(item) or {} for item in own if item.key not in waiting]
    left = sum(item.stamp[0] for item in todo if item.stamp)
    return Meter(len(own), len(earlier), sum("failure" in found for found in earlier), left)


def _detector(name: str) -> str:
    DETECTORS.load(name)
    return name


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of duchenne and of those packages that are installed."""
    found = {"duchenne": __version__}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
