"""A session: clips, comparisons, and a queue of tasks for one worker."""

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
from duchenne.tables import columns
from duchenne.types import Json
from duchenne.web.uploads import Uploads
from duchenne.workers.pool import Worker
from duchenne.workers.protocol import Job, Limits, Work

MAX_WAITING = 10
MAX_CLIPS = 200
_GRACE = 1.0  # s in which a worker may stop a cancelled task by itself


@dataclass(eq=False)
class Task:
    """A task: judge, overlay or compare. `state` goes from waiting to working to done, failed or cancelled."""

    kind: str
    clips: list[Clip]
    truncated: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "waiting"
    stage: str | None = None
    done: int = 0
    total: int | None = None
    error: str | None = None
    result: Json | None = None

    def to_dict(self, waiting: list[Task]) -> Json:
        """The task for the page, with its `place` in the queue."""
        names = ("id", "kind", "state", "stage", "done", "total", "error", "result")
        place = waiting.index(self) + 1 if self in waiting else None
        return {**{name: getattr(self, name) for name in names}, "place": place}


@dataclass(eq=False)
class Clip:
    """An uploaded clip: `name` is the user's and is only displayed; the file has a random name."""

    id: str
    name: str
    path: Path
    task: Task
    overlay: Task | None = None

    @property
    def out(self) -> Path:
        """Folder of its results."""
        return self.path.parent / "out"


class Session:
    """Clips and a queue of tasks on them, run one at a time in order."""

    def __init__(self, uploads: Uploads, model: str, limits: Limits, reader: str | None = None) -> None:
        self.uploads = uploads
        work = Work("duchenne.web.jobs:load", "duchenne.web.jobs:run", {"model": model, "reader": reader})
        self.worker = Worker(work, limits, attempts=1, grace=_GRACE)
        self.clips: dict[str, Clip] = {}
        self.comparisons: dict[str, Task] = {}
        self.waiting: deque[Task] = deque()
        self.uploading = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._cancel = threading.Event()

    def check_room(self) -> None:
        """UsageError if no clip can be added, since the queue or the session is full."""
        self._check_queue()
        if len(self.clips) + self.uploading >= MAX_CLIPS:
            raise UsageError(f"A session holds {MAX_CLIPS} clips; save the table and remove some.")

    def _check_queue(self) -> None:
        if len(self.waiting) + self.uploading >= MAX_WAITING:
            raise UsageError(f"{MAX_WAITING} clips are waiting already; add more when some of them are done.")

    def add(self, name: str, path: Path) -> Clip:
        """Add a clip uploaded to `path`, in a folder of its own, and queue it."""
        task = Task("judge", [])
        clip = Clip(path.parent.name, name, path, task)
        task.clips.append(clip)
        self.clips[clip.id] = clip
        self._append(task)  # room was checked when the upload began
        return clip

    def judge_again(self, clip: Clip, truncated: bool) -> Task:
        """Judge a clip again, with `truncated` also if its file is incomplete."""
        task = self.queue(Task("judge", [clip], truncated))
        self.cancel(clip.task)
        clip.task = task
        return task

    def overlay(self, clip: Clip) -> Task:
        """Queue the overlay video of a judged clip."""
        if clip.task.state != "done":
            raise UsageError(f"{clip.name} has no verdict to draw; judge it first.")
        if clip.overlay is None or clip.overlay.state in ("failed", "cancelled"):
            clip.overlay = self.queue(Task("overlay", [clip], clip.task.truncated))
        return clip.overlay

    def compare(self, first: Clip, second: Clip) -> Task:
        """Queue the comparison of two clips of one person."""
        if first is second:
            raise UsageError("A clip cannot be compared with itself; choose two clips of one person.")
        task = self.queue(Task("compare", [first, second], first.task.truncated or second.task.truncated))
        for earlier in self.comparisons.values():  # whose result nobody would see
            self.cancel(earlier)
        self.comparisons = {task.id: task}
        return task

    def queue(self, task: Task) -> Task:
        """Queue a task; UsageError if the queue is full."""
        self._check_queue()
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
        """Remove a waiting task, or stop a running one."""
        if task is None or task.state not in ("waiting", "working"):
            return
        if task.state == "working":
            self._cancel.set()
        else:
            self.waiting.remove(task)
        task.state = "cancelled"

    def remove(self, clip: Clip) -> None:
        """Remove a clip, its files and its results."""
        pairs = {key: task for key, task in self.comparisons.items() if clip in task.clips}
        for task in (clip.task, clip.overlay, *pairs.values()):
            self.cancel(task)
        for key in pairs:
            del self.comparisons[key]
        self.clips.pop(clip.id, None)
        self.uploads.remove(clip.id)

    async def work(self) -> None:
        """Run the tasks in the queue, until `end`."""
        try:
            while not self._ended:
                await self._run_next()
        finally:
            self.end()
            self.worker.close()

    def end(self) -> None:
        """Make `work` return, cancelling the current task."""
        self._ended = True
        self._cancel.set()
        self._changed.set()

    async def _run_next(self) -> None:
        self._cancel.clear()
        with suppress(DuchenneError, OSError):  # the next task reports it
            await asyncio.to_thread(self.worker.start, self._cancel)  # load models before the first task
        if not self.waiting:
            self._changed.clear()
            if not self._ended:
                await self._changed.wait()
            return
        task = self.waiting.popleft()
        task.state = "working"
        result, error = await asyncio.to_thread(self._run, task)
        if task.state == "working":  # not cancelled in the meantime
            task.state, task.result, task.error = "failed" if error else "done", result, error
        for clip in task.clips:
            if clip.id not in self.clips:
                self.uploads.remove(clip.id)  # files written after it was removed

    def _run(self, task: Task) -> tuple[Any, str | None]:
        """The result of a task and None, or None and an error message, with the user's file names in both."""

        def heartbeat(done: int, stage: str = "", total: int | None = None) -> None:
            if stage:
                task.stage, task.done, task.total = stage, done, total

        clips, name = [{"path": str(clip.path), "name": clip.name} for clip in task.clips], task.clips[0].name
        job = {"kind": task.kind, "clips": clips, "out": str(task.clips[0].out), "allow_truncated": task.truncated}
        try:
            result = self.worker.do(Job(0, name, job), heartbeat, self._cancel)
            return _display_names(result.value, task.clips), _display_names(result.failure, task.clips)
        except DuchenneError as error:
            return None, _display_names(str(error), task.clips)
        except Exception as error:  # the queue goes on
            self.worker.close()
            return None, f"{name}: duchenne failed ({type(error).__name__}: {error}); please report it."

    def to_dict(self) -> Json:
        """The session for the page."""
        waiting = list(self.waiting)
        return {
            "clips": [
                {
                    "id": clip.id,
                    "name": clip.name,
                    "task": clip.task.to_dict(waiting),
                    "overlay": None if clip.overlay is None else clip.overlay.to_dict(waiting),
                }
                for clip in self.clips.values()
            ],
            "comparisons": [
                {**task.to_dict(waiting), "clips": [clip.id for clip in task.clips]}
                for task in self.comparisons.values()
            ],
        }

    def table(self) -> str:
        """The session as CSV, one row per clip, as `tables.columns`; no cell can be read as a formula."""
        rows = (_row(clip) for clip in self.clips.values())
        return rows_csv([[*columns.VERDICTS], *([row.get(name) for name in columns.VERDICTS] for row in rows)])


def clean_name(name: str) -> str:
    """A file name without folders and control characters, at most 120 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[:120] or "clip"


def suffix(name: str) -> str:
    """The extension of a file name if it is a plain one; the file's format is detected from its content."""
    match = re.search(r"\.[a-z0-9]{1,5}$", name.lower())
    return match.group() if match else ""


def _display_names(value: Any, clips: list[Clip]) -> Any:
    if isinstance(value, str):
        for clip in clips:
            value = value.replace(str(clip.path), clip.name)
        return value
    if isinstance(value, dict):
        return {key: _display_names(item, clips) for key, item in value.items()}
    return [_display_names(item, clips) for item in value] if isinstance(value, list) else value


def _row(clip: Clip) -> Json:
    """The clip's row; without a verdict, why there is none, or the state of its task."""
    task = clip.task
    if task.result is not None:
        return {**task.result["row"], "file": clip.name}
    return {"file": clip.name} | (columns.failed(task.error or "") if task.error else {"verdict": task.state})
