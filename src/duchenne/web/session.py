"""What a session holds: clips, comparisons, and the tasks that wait for the one worker."""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duchenne.errors import DuchenneError, UsageError
from duchenne.io import rows_csv
from duchenne.types import EMOTIONS, MOMENTS
from duchenne.web.uploads import Uploads
from duchenne.workers.pool import Worker
from duchenne.workers.protocol import Job, Limits, Work

MOST_WAITING = 10
MOST_CLIPS = 200
_GRACE = 1.0  # s that a worker has to give up a task by itself
COLUMNS = (
    *("file", "verdict", "p_genuine", "reason", "emotion", *(f"p_{name}" for name in EMOTIONS)),
    *MOMENTS,
    *("seconds", "frames", "rate", "coverage", "warnings", "error", "model"),
)


@dataclass(eq=False)
class Task:
    """A piece of work: judge, overlay or compare. `state` goes from waiting to working to done, failed or cancelled."""

    kind: str
    clips: list[Clip]
    truncated: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "waiting"
    stage: str | None = None
    done: int = 0
    total: int | None = None
    error: str | None = None
    result: dict[str, Any] | None = None

    def shown(self, waiting: list[Task]) -> dict[str, Any]:
        """What the page shows of it; `place` in the queue."""
        names = ("id", "kind", "state", "stage", "done", "total", "error", "result")
        place = waiting.index(self) + 1 if self in waiting else None
        return {**{name: getattr(self, name) for name in names}, "place": place}


@dataclass(eq=False)
class Clip:
    """An uploaded clip: `name` is what its owner calls it, and is only ever shown; it lies under a random name."""

    id: str
    name: str
    path: Path
    task: Task
    overlay: Task | None = None

    @property
    def out(self) -> Path:
        """Where its results are."""
        return self.path.parent / "out"


class Session:
    """Clips and the work on them, one piece at a time, in the order in which it was asked for."""

    def __init__(self, uploads: Uploads, model: str, limits: Limits) -> None:
        self.uploads = uploads
        work = Work("duchenne.web.jobs:load", "duchenne.web.jobs:run", {"model": model})
        self.worker = Worker(work, limits, attempts=1, grace=_GRACE)
        self.clips: dict[str, Clip] = {}
        self.comparisons: dict[str, Task] = {}
        self.waiting: deque[Task] = deque()
        self.arriving = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._cancel = threading.Event()

    def check_room(self) -> None:
        """UsageError where no more work can be taken."""
        if len(self.waiting) + self.arriving >= MOST_WAITING:
            raise UsageError(f"There are {MOST_WAITING} clips waiting already; add more when some of them are done.")
        if len(self.clips) + self.arriving >= MOST_CLIPS:
            raise UsageError(f"A session holds {MOST_CLIPS} clips; save the table and remove some.")

    def add(self, name: str, path: Path) -> Clip:
        """Take a clip that has arrived at `path`, in its own folder, and queue it."""
        task = Task("judge", [])
        clip = Clip(path.parent.name, name, path, task)
        task.clips.append(clip)
        self.clips[clip.id] = clip
        self._append(task)  # there was room when it began to arrive
        return clip

    def again(self, clip: Clip, truncated: bool) -> Task:
        """Judge a clip anew; what is there of a cut one is enough where `truncated`."""
        self.cancel(clip.task)
        clip.task = self.queue(Task("judge", [clip], truncated))
        return clip.task

    def overlay(self, clip: Clip) -> Task:
        """Queue the overlay video of a clip that was judged."""
        if clip.task.state != "done":
            raise UsageError(f"{clip.name} has no verdict that could be drawn; judge it first.")
        if clip.overlay is None or clip.overlay.state in ("failed", "cancelled"):
            clip.overlay = self.queue(Task("overlay", [clip], clip.task.truncated))
        return clip.overlay

    def compare(self, first: Clip, second: Clip) -> Task:
        """Queue the question which of two clips is the more genuine."""
        if first is second:
            raise UsageError("A clip cannot be compared with itself; choose two clips of one person.")
        task = self.queue(Task("compare", [first, second], first.task.truncated or second.task.truncated))
        self.comparisons = {task.id: task}
        return task

    def queue(self, task: Task) -> Task:
        """Queue a task; UsageError where the queue is full."""
        self.check_room()
        return self._append(task)

    def _append(self, task: Task) -> Task:
        self.waiting.append(task)
        self._changed.set()
        return task

    def find(self, task: str) -> Task | None:
        """A task by its id."""
        tasks = [each for clip in self.clips.values() for each in (clip.task, clip.overlay) if each is not None]
        return next((each for each in (*tasks, *self.comparisons.values()) if each.id == task), None)

    def cancel(self, task: Task | None) -> None:
        """Drop a task that waits, and end one under way, at once."""
        if task is None or task.state not in ("waiting", "working"):
            return
        if task.state == "working":
            self._cancel.set()
        else:
            self.waiting.remove(task)
        task.state = "cancelled"

    def remove(self, clip: Clip) -> None:
        """Forget a clip and delete its files and all that was made of them."""
        pairs = {key: task for key, task in self.comparisons.items() if clip in task.clips}
        for task in (clip.task, clip.overlay, *pairs.values()):
            self.cancel(task)
        for key in pairs:
            del self.comparisons[key]
        self.clips.pop(clip.id, None)
        self.uploads.remove(clip.id)

    async def work(self) -> None:
        """Do what is in the queue, until `end`."""
        try:
            while not self._ended:
                await self._do_next()
        finally:
            self.end()
            self.worker.close()

    def end(self) -> None:
        """Let `work` return, whatever is under way."""
        self._ended = True
        self._cancel.set()
        self._changed.set()

    async def _do_next(self) -> None:
        self._cancel.clear()
        with suppress(DuchenneError, OSError):  # the next task will show it
            await asyncio.to_thread(self.worker.start, self._cancel)  # warm before there is anything to do
        if not self.waiting:
            self._changed.clear()
            if not self._ended:
                await self._changed.wait()
            return
        task = self.waiting.popleft()
        task.state = "working"
        result, error = await asyncio.to_thread(self._do, task)
        if task.state == "working":  # it was not cancelled meanwhile
            task.state, task.result, task.error = "failed" if error else "done", result, error
        for clip in task.clips:
            if clip.id not in self.clips:
                self.uploads.remove(clip.id)  # what was still being written when it was removed

    def _do(self, task: Task) -> tuple[Any, str | None]:
        """A task's result, or a sentence why there is none; a stored file goes by its own name in both."""

        def heartbeat(done: int, stage: str = "", total: int | None = None) -> None:
            if stage:
                task.stage, task.done, task.total = stage, done, total

        clips, name = [{"path": str(clip.path), "name": clip.name} for clip in task.clips], task.clips[0].name
        job = {"kind": task.kind, "clips": clips, "out": str(task.clips[0].out), "allow_truncated": task.truncated}
        try:
            found = self.worker.do(Job(0, name, job), heartbeat, self._cancel)
            return _own_names(found.value, task.clips), _own_names(found.failure, task.clips)
        except DuchenneError as error:
            return None, _own_names(str(error), task.clips)
        except Exception as error:  # the queue goes on
            self.worker.close()
            return None, f"{name} could not be worked on ({type(error).__name__}: {error})."

    def shown(self) -> dict[str, Any]:
        """The session as the page shows it."""
        waiting = list(self.waiting)
        return {
            "clips": [
                {
                    "id": clip.id,
                    "name": clip.name,
                    "task": clip.task.shown(waiting),
                    "overlay": None if clip.overlay is None else clip.overlay.shown(waiting),
                }
                for clip in self.clips.values()
            ],
            "comparisons": [
                {**task.shown(waiting), "clips": [clip.id for clip in task.clips]} for task in self.comparisons.values()
            ],
        }

    def table(self) -> str:
        """The session as CSV, one row per clip; no cell can be taken for a formula."""
        rows = (_row(clip) for clip in self.clips.values())
        return rows_csv([COLUMNS, *([row.get(name, "") for name in COLUMNS] for row in rows)])


def tidy(name: str) -> str:
    """A file's own name without folders and control characters, at most 120 letters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[:120] or "clip"


def suffix(name: str) -> str:
    """The ending of a file name if it is a plain one; what is in the file decides, not its name."""
    found = re.search(r"\.[a-z0-9]{1,5}$", name.lower())
    return found.group() if found else ""


def _own_names(value: Any, clips: list[Clip]) -> Any:
    if isinstance(value, str):
        for clip in clips:
            value = value.replace(str(clip.path), clip.name)
        return value
    if isinstance(value, dict):
        return {key: _own_names(item, clips) for key, item in value.items()}
    return [_own_names(item, clips) for item in value] if isinstance(value, list) else value


def _row(clip: Clip) -> dict[str, Any]:
    row: dict[str, Any] = {"file": clip.name, "verdict": clip.task.state, "error": clip.task.error}
    found = clip.task.result
    if found is None:
        return row
    return {
        **row,
        **found["row"],
        "verdict": "no judgement" if found["abstained"] else found["label"],
        "model": found["model"],
    }
