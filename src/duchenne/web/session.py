"""What a session holds: clips, comparisons, and the work that waits for the one hand."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duchenne.errors import UsageError
from duchenne.io import rows_csv
from duchenne.types import EMOTIONS, MOMENTS
from duchenne.web.hand import Hand
from duchenne.web.place import Place

MOST_WAITING = 10
MOST_CLIPS = 200
COLUMNS = (
    *("file", "verdict", "p_genuine", "reason", "emotion", *(f"p_{name}" for name in EMOTIONS)),
    *MOMENTS,
    *("seconds", "frames", "rate", "coverage", "warnings", "error", "model"),
)


@dataclass(eq=False)
class Task:
    """A piece of work: judge, film or compare. `state` goes from waiting to working to done, failed or cancelled."""

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

    def shown(self, line: list[Task]) -> dict[str, Any]:
        """What the page is told of it."""
        names = ("id", "kind", "state", "stage", "done", "total", "error", "result")
        place = line.index(self) + 1 if self in line else None
        return {**{name: getattr(self, name) for name in names}, "place": place}


@dataclass(eq=False)
class Clip:
    """An uploaded clip: `name` is what its owner calls it, and is only ever shown; it lies under a random name."""

    id: str
    name: str
    path: Path
    task: Task
    film: Task | None = None

    @property
    def out(self) -> Path:
        """Where its results are."""
        return self.path.parent / "out"


class Session:
    """Clips and the work on them, one piece at a time, in the order in which it was asked for."""

    def __init__(self, place: Place, hand: Hand) -> None:
        self.place, self.hand = place, hand
        self.clips: dict[str, Clip] = {}
        self.comparisons: dict[str, Task] = {}
        self.line: deque[Task] = deque()
        self.arriving = 0
        self._news = asyncio.Event()

    def check_room(self) -> None:
        """UsageError where no more work can be taken."""
        if len(self.line) + self.arriving >= MOST_WAITING:
            raise UsageError(f"There are {MOST_WAITING} clips waiting already; add more when some of them are done.")
        if len(self.clips) + self.arriving >= MOST_CLIPS:
            raise UsageError(f"A session holds {MOST_CLIPS} clips; save the table and remove some.")

    def add(self, name: str, path: Path) -> Clip:
        """Take a clip that has arrived at `path`, in its own folder, and queue it."""
        task = Task("judge", [])
        clip = Clip(path.parent.name, name, path, task)
        task.clips.append(clip)
        self.clips[clip.id] = clip
        self._line_up(task)  # there was room when it began to arrive
        return clip

    def again(self, clip: Clip, truncated: bool) -> Task:
        """Judge a clip anew; what is there of a cut one is enough where `truncated`."""
        self.cancel(clip.task)
        clip.task = self.queue(Task("judge", [clip], truncated))
        return clip.task

    def film(self, clip: Clip) -> Task:
        """Queue the overlay video of a clip that was judged."""
        if clip.task.state != "done":
            raise UsageError(f"{clip.name} has no verdict that could be drawn; judge it first.")
        if clip.film is None or clip.film.state in ("failed", "cancelled"):
            clip.film = self.queue(Task("film", [clip], clip.task.truncated))
        return clip.film

    def compare(self, first: Clip, second: Clip) -> Task:
        """Queue the question which of two clips is the more genuine."""
        if first is second:
            raise UsageError("A clip cannot be compared with itself; choose two clips of one person.")
        task = self.queue(Task("compare", [first, second], first.task.truncated or second.task.truncated))
        self.comparisons = {task.id: task}
        return task

    def queue(self, task: Task) -> Task:
        """Put work in line; UsageError where the line is full."""
        self.check_room()
        return self._line_up(task)

    def _line_up(self, task: Task) -> Task:
        self.line.append(task)
        self._news.set()
        return task

    def find(self, task: str) -> Task | None:
        """A task by its id."""
        tasks = [each for clip in self.clips.values() for each in (clip.task, clip.film) if each is not None]
        return next((each for each in (*tasks, *self.comparisons.values()) if each.id == task), None)

    def cancel(self, task: Task | None) -> None:
        """Drop work that waits, and end work that is being done, at once."""
        if task is None or task.state not in ("waiting", "working"):
            return
        if task.state == "working":
            self.hand.drop()
        else:
            self.line.remove(task)
        task.state = "cancelled"

    def remove(self, clip: Clip) -> None:
        """Forget a clip and delete its files and all that was made of them."""
        pairs = {key: task for key, task in self.comparisons.items() if clip in task.clips}
        for task in (clip.task, clip.film, *pairs.values()):
            self.cancel(task)
        for key in pairs:
            del self.comparisons[key]
        self.clips.pop(clip.id, None)
        self.place.remove(clip.id)

    async def work(self) -> None:
        """Do what is in line, for ever."""
        while True:
            with suppress(OSError):  # the next job will tell
                await self.hand.start()  # warm before there is anything to do
            if not self.line:
                self._news.clear()
                await self._news.wait()
                continue
            task = self.line.popleft()
            task.state = "working"
            answer = await self._do(task)
            if task.state == "working":  # it was not cancelled meanwhile
                task.state = "done" if "result" in answer else "failed"
                task.result, task.error = answer.get("result"), answer.get("failed")
            for clip in task.clips:
                if clip.id not in self.clips:
                    self.place.remove(clip.id)  # what was still being written when it was removed

    async def _do(self, task: Task) -> dict[str, Any]:
        def tick(said: Mapping[str, Any]) -> None:
            task.stage, task.done, task.total = said["stage"], said["done"], said["total"]

        job = {
            "kind": task.kind,
            "clips": [{"path": str(clip.path), "name": clip.name} for clip in task.clips],
            "out": str(task.clips[0].out),
            "allow_truncated": task.truncated,
        }
        try:
            return await self.hand.do(job, tick)
        except Exception as error:  # the line goes on
            self.hand.kill()
            return {"failed": f"{task.clips[0].name} could not be worked on ({type(error).__name__}: {error})."}

    def shown(self) -> dict[str, Any]:
        """The session as the page is told of it."""
        line = list(self.line)
        return {
            "clips": [
                {
                    "id": clip.id,
                    "name": clip.name,
                    "task": clip.task.shown(line),
                    "film": None if clip.film is None else clip.film.shown(line),
                }
                for clip in self.clips.values()
            ],
            "comparisons": [
                {**task.shown(line), "clips": [clip.id for clip in task.clips]} for task in self.comparisons.values()
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
