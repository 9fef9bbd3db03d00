"""Hands that do the jobs of a corpus: one process each, watched, ended and replaced when it stalls, dies or swells."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from duchenne.batch.work import Job, Row
from duchenne.errors import DuchenneError
from duchenne.workers.fork_server import COMMAND, Copy, Nursery, surroundings

DEATHS = 3  # of its process after which a clip is at fault
_LOOK = 0.25  # s between two looks at a process
_START = 300.0  # s that a process may take to load its libraries from a slow disk
_WORDS = {1: "once", 2: "twice", 3: "three times"}


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its rows, or why there are none."""

    number: int
    rows: list[Row] | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Limits:
    """stall: seconds without a sign of life; memory: bytes per process."""

    stall: float = 120.0
    memory: int = 4 << 30


class Runner(Protocol):
    """Does jobs somewhere, in any order. `tick` is called with a job's number and its frames so far."""

    def __call__(self, jobs: Iterable[Job], tick: Callable[[int, int], None]) -> Iterator[Outcome]: ...


class _Died(Exception):
    """The process is gone; says how, for a person."""


class _Stopped(Exception):
    """Nobody wants the answer any more."""


class Hand:
    """One process that does one job at a time; it is started when needed and again after its death.

    nursery  makes the process, for the same kind of job; None: it loads everything by itself
    """

    def __init__(self, kind: str, options: Mapping[str, Any], limits: Limits, nursery: Nursery | None = None) -> None:
        self.hello = {"prepare": kind, "options": dict(options), "stall": limits.stall, "memory": limits.memory}
        self.limits, self.nursery = limits, nursery
        self.process: subprocess.Popen[bytes] | Copy | None = None
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.pump = threading.Thread()
        self.said: IO[bytes] | None = None

    def do(self, job: Job, tick: Callable[[int], None], stop: threading.Event | None = None) -> Outcome:
        """Do a job. A clip that ends its process `DEATHS` times failed; DuchenneError where no clip is at fault."""
        deaths: list[str] = []
        while len(deaths) < DEATHS:
            try:
                return self._once(job, tick, stop or threading.Event())
            except _Died as death:
                self.close()
                deaths.append(str(death))
        how = " and ".join(dict.fromkeys(deaths))
        cure = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4) or leave it out"
        return Outcome(
            job.number, failure=f"{job.path} ended the process that read it {_WORDS[DEATHS]} ({how}); {cure}."
        )

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, None if self.nursery else self.said):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self.process = None

    def _once(self, job: Job, tick: Callable[[int], None], stop: threading.Event) -> Outcome:
        if self.process is None or not self.pump.is_alive():  # one that died idle is nobody's fault
            self.close()
            self._start(stop)
        self._send(asdict(job))
        began = heard = time.monotonic()
        while True:
            # what comes before the first frame takes less than it plays, what follows the last less than all before
            patience = max(self.limits.stall, heard - began) + (job.start or 0.0)
            answer = self._hear(heard + patience, stop)
            if answer is None:
                raise _Died(f"no sign of life for {self.limits.stall:g} s")
            heard = time.monotonic()
            if "tick" in answer:
                tick(answer["tick"])
            elif "over" in answer:
                raise _Died(self._fat())
            elif "stop" in answer:
                raise DuchenneError(answer["stop"])
            else:
                return Outcome(job.number, answer.get("rows"), answer.get("failed"))

    def _start(self, stop: threading.Event) -> None:
        """A process that is ready; one that is killed while it loads is started anew, as later."""
        for _ in range(DEATHS):
            if self.nursery is not None:
                self.process, self.said = self.nursery.copy(), self.nursery.said
            else:
                self.said = tempfile.TemporaryFile()  # noqa: SIM115
                self.process = subprocess.Popen(
                    COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, env=surroundings()
                )
            self.lines = queue.SimpleQueue()
            self.pump = threading.Thread(target=_pump, args=(self.process.stdout, self.lines), daemon=True)
            self.pump.start()
            try:
                self._send(self.hello)
                ready = self._hear(time.monotonic() + _START, stop)
            except _Died as death:
                ready = {"died": str(death)}
            if ready is not None and "ready" in ready:
                self.process.pid = ready["ready"]
                return
            self.said.seek(0)
            last = self.said.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
            self.process.kill()
            code = self.process.wait()
            self.close()
            if ready is None or code >= 0:
                break
        reason = (last or [str((ready or {}).get("died", "no answer"))])[0].rstrip(".")
        raise DuchenneError(f"The process that reads clips does not start ({reason}).")

    def _send(self, what: Mapping[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _Died(self._how()) from error

    def _hear(self, until: float, stop: threading.Event) -> dict[str, Any] | None:
        """The next answer, or None after `until`; raises where the process died, swelled or is not wanted."""
        assert self.process is not None
        while time.monotonic() < until:
            if stop.is_set():
                raise _Stopped
            if _resident(self.process.pid) > self.limits.memory:
                raise _Died(self._fat())
            try:
                line = self.lines.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if line is None or not line.endswith(b"\n"):
                raise _Died(self._how())
            found: dict[str, Any] = json.loads(line)
            return found
        return None

    def _fat(self) -> str:
        return f"more than {self.limits.memory / 1e9:.3g} GB of memory, see --memory"

    def _how(self) -> str:
        assert self.process is not None
        self.process.kill()
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


class Hands:
    """Several hands on this machine: a `Runner`. Raises DuchenneError where the work as a whole cannot go on."""

    def __init__(self, kind: str, options: Mapping[str, Any], workers: int, limits: Limits) -> None:
        self.kind, self.options, self.workers, self.limits = kind, options, workers, limits

    def __call__(self, jobs: Iterable[Job], tick: Callable[[int, int], None]) -> Iterator[Outcome]:
        """Outcomes as they come."""
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting, turn, stop = iter(jobs), threading.Lock(), threading.Event()
        # what holds a GPU cannot be copied, and one process shares with nobody
        shared = Nursery.usable and self.workers > 1 and self.options.get("device", "cpu") == "cpu"
        nursery = Nursery({"prepare": self.kind, "options": dict(self.options)}) if shared else None
        threads = [
            threading.Thread(target=self._work, args=(waiting, turn, events, stop, nursery), daemon=True)
            for _ in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            left = len(threads)
            while left:
                event = events.get()
                if isinstance(event, Outcome):
                    yield event
                elif isinstance(event, BaseException):
                    raise event
                elif event is None:
                    left -= 1
                else:
                    tick(*event)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            if nursery is not None:
                nursery.close()

    def _work(
        self,
        waiting: Iterator[Job],
        turn: threading.Lock,
        events: queue.SimpleQueue[Any],
        stop: threading.Event,
        nursery: Nursery | None,
    ) -> None:
        hand = Hand(self.kind, self.options, self.limits, nursery)
        try:
            while not stop.is_set():
                with turn:
                    job = next(waiting, None)
                if job is None:
                    break
                number = job.number
                events.put(hand.do(job, lambda frames, number=number: events.put((number, frames)), stop))  # type: ignore[misc]
        except _Stopped:
            pass
        except BaseException as error:
            events.put(error)
        finally:
            hand.close()
            events.put(None)


def _pump(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(None)


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def memory() -> int:
    """Bytes of memory of this machine, or of the part of it that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8 << 30
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total
