"""Workers as their parent sees them: a process each, ended and replaced when it hangs, dies or grows too large."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any, Protocol

from duchenne.errors import DuchenneError
from duchenne.workers.fork_server import COMMAND, Fork, ForkServer
from duchenne.workers.protocol import Heartbeat, Job, Limits, Result, Work
from duchenne.workers.resources import environment, resident

ATTEMPTS = 3  # that a clip may end its process before it is at fault
_LOOK = 0.25  # s between two looks at a process
_START = 300.0  # s that a process may take to load its libraries from a slow disk
_TIMES = {1: "", 2: " twice", 3: " three times"}


class Runner(Protocol):
    """Does jobs somewhere, in any order. `progress` is called with a job's number and its frames so far."""

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]: ...


class _Died(Exception):
    """The process is gone; says how, for a person."""


class _Cancelled(Exception):
    """Nobody wants the result any more."""


class Worker:
    """One process that does one job at a time; it starts when needed and again after its death.

    server    forks the process, for the same work; None: it loads everything by itself
    attempts  times that a job is tried
    grace     seconds in which a process may give up a job that was cancelled, so that it stays; else it is ended
    """

    def __init__(
        self,
        work: Work,
        limits: Limits,
        server: ForkServer | None = None,
        *,
        attempts: int = ATTEMPTS,
        grace: float = 0.0,
    ) -> None:
        self.work, self.limits, self.server, self.attempts, self.grace = work, limits, server, attempts, grace
        self.process: subprocess.Popen[bytes] | Fork | None = None
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.reader = threading.Thread()
        self.log: IO[bytes] | None = None

    def do(self, job: Job, heartbeat: Heartbeat, cancel: threading.Event | None = None) -> Result:
        """Do a job. A clip that ends its process `attempts` times failed; DuchenneError where no clip is at fault."""
        deaths: list[str] = []
        while len(deaths) < self.attempts:
            try:
                return self._once(job, heartbeat, cancel or threading.Event())
            except _Cancelled:
                return Result(job.number, failure="Cancelled.")
            except _Died as death:
                self.close()
                deaths.append(str(death))
        how = " and ".join(dict.fromkeys(deaths))
        cure = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4) or leave it out"
        times = _TIMES[self.attempts]
        return Result(job.number, failure=f"{job.name} ended the process that read it{times} ({how}); {cure}.")

    def start(self, cancel: threading.Event | None = None) -> None:
        """Have a process that is ready, so that the next job finds everything loaded."""
        with suppress(_Cancelled):
            self._ready(cancel or threading.Event())

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, None if self.server else self.log):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self.process = None

    def _ready(self, cancel: threading.Event) -> None:
        if self.process is None or not self.reader.is_alive():  # one that died idle is nobody's fault
            self.close()
            try:
                self._start(cancel)
            except _Cancelled:
                self.close()
                raise

    def _once(self, job: Job, heartbeat: Heartbeat, cancel: threading.Event) -> Result:
        self._ready(cancel)
        self._send({"arguments": dict(job.arguments), "lead": job.lead})
        began = last = time.monotonic()
        while True:
            # what comes before the first frame takes less than it plays, what follows the last less than all before
            patience = max(self.limits.stall, last - began) + job.lead
            try:
                answer = self._receive(min(last + patience, began + self.limits.seconds), cancel)
            except _Cancelled:
                self._give_up()
                raise
            last = time.monotonic()
            if answer is None and last >= began + self.limits.seconds:
                self.close()
                long = f"{job.name} took longer than {self.limits.seconds:g} s"
                return Result(job.number, failure=f"{long}; cut it shorter, or raise --max-seconds.")
            if answer is None:
                raise _Died(f"no sign of life for {self.limits.stall:g} s")
            if "heartbeat" in answer:
                heartbeat(*answer["heartbeat"])
            else:
                return self._result(job, answer)

    def _result(self, job: Job, answer: Mapping[str, Any]) -> Result:
        if "memory" in answer:
            raise _Died(self._too_large())
        if "stop" in answer:
            raise DuchenneError(answer["stop"])
        fault = answer.get("fault")
        sentence = f"{job.name} met a fault of duchenne ({fault}); please report it." if fault else answer.get("failed")
        return Result(job.number, answer.get("result"), sentence)

    def _give_up(self) -> None:
        """Let the process end its job by itself within `grace`, else end it too."""
        try:
            self._send({"cancel": True})
            until, never = time.monotonic() + self.grace, threading.Event()
            while (answer := self._receive(until, never)) is not None and "heartbeat" in answer:
                pass
        except _Died:
            answer = None
        if answer is None:
            self.close()

    def _start(self, cancel: threading.Event) -> None:
        """A process that is ready; one that is killed while it loads is started again, as later."""
        for _ in range(ATTEMPTS):
            if self.server is not None:
                self.process, self.log = self.server.fork(), self.server.log
            else:
                self.log = tempfile.TemporaryFile()  # noqa: SIM115
                self.process = subprocess.Popen(
                    COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment()
                )
            self.lines = queue.SimpleQueue()
            self.reader = threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True)
            self.reader.start()
            try:
                self._send({**setup(self.work), "stall": self.limits.stall, "memory": self.limits.memory})
                ready = self._receive(time.monotonic() + _START, cancel)
            except _Died as death:
                ready = {"died": str(death)}
            if ready is not None and "ready" in ready:
                self.process.pid = ready["ready"]
                return
            self.log.seek(0)
            last = self.log.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
            self.process.kill()
            code = self.process.wait()
            self.close()
            if ready is None or code >= 0:
                break
        reason = (last or [str((ready or {}).get("died", "no answer"))])[0].rstrip(".")
        raise DuchenneError(f"The process that reads clips does not start ({reason}).")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _Died(self._how()) from error

    def _receive(self, until: float, cancel: threading.Event) -> dict[str, Any] | None:
        """The next answer, or None after `until`; raises where the process died, is too large or is not wanted."""
        assert self.process is not None
        while (left := until - time.monotonic()) > 0:
            if cancel.is_set():
                raise _Cancelled
            if resident(self.process.pid) > self.limits.memory:
                raise _Died(self._too_large())
            try:
                line = self.lines.get(timeout=min(_LOOK, left))
            except queue.Empty:
                continue
            if line is None or not line.endswith(b"\n"):
                raise _Died(self._how())
            found: dict[str, Any] = json.loads(line)
            return found
        return None

    def _too_large(self) -> str:
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


class Pool:
    """Several workers on this machine: a `Runner`. Raises DuchenneError where the work as a whole cannot go on.

    `forked` where the system allows it; not for work that holds a GPU, which cannot be forked.
    """

    def __init__(self, work: Work, workers: int, limits: Limits, *, forked: bool = True) -> None:
        self.work, self.workers, self.limits = work, workers, limits
        self.forked = forked and ForkServer.usable and workers > 1  # one process shares with nobody

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]:
        """Results as they come."""
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting, turn, cancel = iter(jobs), threading.Lock(), threading.Event()
        server = ForkServer(setup(self.work)) if self.forked else None
        threads = [
            threading.Thread(target=self._work, args=(waiting, turn, events, cancel, server), daemon=True)
            for _ in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            left = len(threads)
            while left:
                event = events.get()
                if isinstance(event, Result):
                    yield event
                elif isinstance(event, BaseException):
                    raise event
                elif event is None:
                    left -= 1
                else:
                    progress(*event)
        finally:
            cancel.set()
            for thread in threads:
                thread.join()
            if server is not None:
                server.close()

    def _work(
        self,
        waiting: Iterator[Job],
        turn: threading.Lock,
        events: queue.SimpleQueue[Any],
        cancel: threading.Event,
        server: ForkServer | None,
    ) -> None:
        worker = Worker(self.work, self.limits, server)
        try:
            while not cancel.is_set():
                with turn:
                    job = next(waiting, None)
                if job is None:
                    break
                events.put(worker.do(job, _counted(job.number, events), cancel))
        except BaseException as error:
            events.put(error)
        finally:
            worker.close()
            events.put(None)


def setup(work: Work) -> dict[str, Any]:
    """The first message to a worker, but for its limits."""
    return asdict(work)


def _counted(number: int, events: queue.SimpleQueue[Any]) -> Heartbeat:
    def heartbeat(done: int, stage: str = "", total: int | None = None) -> None:
        events.put((number, done))

    return heartbeat


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(None)
