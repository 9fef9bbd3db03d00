"""The parent's side: one process per worker, replaced when it hangs, crashes or grows too large."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any, Protocol

from duchenne.errors import DuchenneError
from duchenne.types import Json, JsonMap
from duchenne.workers.fork_server import COMMAND, Fork, ForkServer
from duchenne.workers.protocol import Heartbeat, Job, Limits, Result, Work
from duchenne.workers.resources import environment, resident

ATTEMPTS = 3  # processes that a clip may crash before it counts as failed
_LOSSES = 30  # fork servers that may be killed during one clip
_POLL = 0.25  # s between two checks of a process
_START = 300.0  # s to load libraries from a slow disk
_TIMES = {1: "", 2: " twice", 3: " three times"}


class Runner(Protocol):
    """Runs jobs in any order. `progress` is called with a job's number and its frames so far."""

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]: ...


class _Exited(Exception):
    """The process has exited; the message says how."""


class _Cancelled(Exception):
    """The result is no longer needed."""


class Worker:
    """One process that runs one job at a time, started on demand and restarted after a crash.

    server    forks the process, for the same work; None: the process loads everything itself
    attempts  how often a job is tried
    grace     seconds in which a process may stop a cancelled job by itself; after that it is killed
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
        """Run a job. It fails if its process exits `attempts` times; DuchenneError if the clip is not the cause."""
        exits: list[str] = []
        losses = 0
        while len(exits) < self.attempts:
            try:
                return self._once(job, heartbeat, cancel or threading.Event())
            except _Cancelled:
                return Result(job.number, failure="Cancelled.")
            except _Exited as reason:
                if isinstance(self.process, Fork) and self.process.is_orphan and losses < _LOSSES:
                    losses += 1  # the clip is not the cause
                else:
                    exits.append(str(reason))
                self.close()
        reasons = " and ".join(dict.fromkeys(exits))
        advice = "re-encode it (for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4) or leave it out"
        what = f"{job.name}: the worker process ended{_TIMES[self.attempts]} while reading it"
        return Result(job.number, failure=f"{what} ({reasons}); {advice}.")

    def start(self, cancel: threading.Event | None = None) -> None:
        """Start the process, so that the next job finds everything loaded."""
        with suppress(_Cancelled):
            self._ready(cancel or threading.Event())

    def close(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, None if self.server else self.log):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self.process = None

    def _ready(self, cancel: threading.Event) -> None:
        if self.process is None or not self.reader.is_alive():  # one that died idle counts against no job
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
            # seeking takes less than the skipped video plays, and what follows the last frame less than all before
            timeout = max(self.limits.stall, last - began) + job.lead
            try:
                reply = self._receive(min(last + timeout, began + self.limits.seconds), cancel)
            except _Cancelled:
                self._cancel()
                raise
            last = time.monotonic()
            if reply is None and last >= began + self.limits.seconds:
                self.close()
                what = f"{job.name} took longer than {self.limits.seconds:g} s"
                return Result(job.number, failure=f"{what}; cut it shorter, or raise --max-seconds.")
            if reply is None:
                raise _Exited(f"no progress for {self.limits.stall:g} s")
            if "heartbeat" in reply:
                heartbeat(*reply["heartbeat"])
            else:
                return self._result(job, reply)

    def _result(self, job: Job, reply: JsonMap) -> Result:
        if "memory" in reply:
            raise _Exited(self._too_large())
        if "stop" in reply:
            raise DuchenneError(reply["stop"])
        fault = reply.get("fault")
        failure = f"{job.name}: duchenne failed ({fault}); please report it." if fault else reply.get("failed")
        return Result(job.number, reply.get("result"), failure)

    def _cancel(self) -> None:
        """Let the process stop its job within `grace`, else kill it."""
        try:
            self._send({"cancel": True})
            deadline, never = time.monotonic() + self.grace, threading.Event()
            while (reply := self._receive(deadline, never)) is not None and "heartbeat" in reply:
                pass
        except _Exited:
            reply = None
        if reply is None:
            self.close()

    def _start(self, cancel: threading.Event) -> None:
        """Start a process and wait until it is ready; one that is killed while it loads is started again."""
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
                self._send({**asdict(self.work), "stall": self.limits.stall, "memory": self.limits.memory})
                ready = self._receive(time.monotonic() + _START, cancel)
            except _Exited as exited:
                ready = {"exited": str(exited)}
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
        reason = (last or [str((ready or {}).get("exited", "no reply"))])[0].rstrip(".")
        raise DuchenneError(
            f"The worker process did not start ({reason}); check the installation with `duchenne doctor`."
        )

    def _send(self, message: JsonMap) -> None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _Exited(self._exit_code()) from error

    def _receive(self, deadline: float, cancel: threading.Event) -> Json | None:
        """The next reply, or None at the `deadline`; raises _Exited or _Cancelled."""
        assert self.process is not None
        while (left := deadline - time.monotonic()) > 0:
            if cancel.is_set():
                raise _Cancelled
            if resident(self.process.pid) > self.limits.memory:
                raise _Exited(self._too_large())
            try:
                line = self.lines.get(timeout=min(_POLL, left))
            except queue.Empty:
                continue
            if line is None or not line.endswith(b"\n"):
                raise _Exited(self._exit_code())
            reply: Json = json.loads(line)
            return reply
        return None

    def _too_large(self) -> str:
        return f"more than {self.limits.memory / 1e9:.3g} GB of memory, see --memory"

    def _exit_code(self) -> str:
        assert self.process is not None
        self.process.kill()
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


class Pool:
    """A `Runner` with several workers on this machine. Raises DuchenneError where the batch as a whole cannot go on.

    `forked`: fork workers where the system allows it; not for work on a GPU, which does not survive a fork.
    """

    def __init__(self, work: Work, workers: int, limits: Limits, *, forked: bool = True) -> None:
        self.work, self.workers, self.limits = work, workers, limits
        self.forked = forked and ForkServer.usable and workers > 1

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]:
        """Results as they come."""
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pending, lock, cancel = iter(jobs), threading.Lock(), threading.Event()
        server = ForkServer(asdict(self.work)) if self.forked else None
        threads = [
            threading.Thread(target=self._work, args=(pending, lock, events, cancel, server), daemon=True)
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
        pending: Iterator[Job],
        lock: threading.Lock,
        events: queue.SimpleQueue[Any],
        cancel: threading.Event,
        server: ForkServer | None,
    ) -> None:
        worker = Worker(self.work, self.limits, server)
        try:
            while not cancel.is_set():
                with lock:
                    job = next(pending, None)
                if job is None:
                    break
                events.put(worker.do(job, _counted(job.number, events), cancel))
        except BaseException as error:
            events.put(error)
        finally:
            worker.close()
            events.put(None)


def _counted(number: int, events: queue.SimpleQueue[Any]) -> Heartbeat:
    def heartbeat(done: int, stage: str = "", total: int | None = None) -> None:
        events.put((number, done))

    return heartbeat


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(None)
