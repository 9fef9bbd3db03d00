"""The app's hand: one warm process that reads clips (`child`), ended and replaced when it dies or takes too long."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_LINE = 1 << 26  # bytes of the longest answer
_GRACE = 1.0  # s that a process has to give up a job by itself
_START = 300.0  # s that a process may take to load its libraries from a slow disk


class Hand:
    """Does one job at a time. `start` it early: the first job then finds the models loaded."""

    def __init__(self, model: str, seconds: float) -> None:
        self.model, self.seconds = model, seconds
        self.process: Process | None = None
        self.ready = False
        self._late: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start a process where there is none; it loads its models while nobody waits for them."""
        if self.process is not None and self.process.returncode is None:
            return
        self.ready = False
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "duchenne.web.child", self.model, f"{self.seconds:g}"),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **threads},
            limit=_LINE,
            start_new_session=True,  # a person's Ctrl-C is the server's to answer
        )

    async def do(self, job: Mapping[str, Any], tick: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """{"result": …} or {"failed": sentence} of a job; a process that died of it is replaced."""
        await self.start()
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        name = job["clips"][0]["name"]
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            until = asyncio.get_running_loop().time() + self.seconds + _START
            while True:
                async with asyncio.timeout_at(until):
                    line = await process.stdout.readline()
                if not line.endswith(b"\n"):
                    break
                answer: dict[str, Any] = json.loads(line)
                self.ready = True
                if "result" in answer or "failed" in answer:
                    if self._late is not None:
                        self._late.cancel()
                    return answer
                if until > (limit := asyncio.get_running_loop().time() + self.seconds):
                    until = limit  # from the first sign of life on
                if "stage" in answer:
                    tick(answer)
        except TimeoutError:
            self.kill()
            await _gone(process)
            return {"failed": f"{name} took longer than {self.seconds:g} s; cut it shorter, or raise --max-seconds."}
        except OSError:
            pass  # it went before it read the job
        try:
            code = await asyncio.wait_for(_gone(process), _GRACE)
        except TimeoutError:
            self.kill()  # not before: of a process that has just ended it would take the exit code from under asyncio
            code = await _gone(process)
        self.process, how = None, _how(code)
        if not self.ready:
            return {"failed": f"The process that reads clips does not start ({how}); see the terminal of the app."}
        return {"failed": f"{name} ended the process that read it ({how}); re-encode it."}

    def drop(self) -> None:
        """Give up the job under way: at its next sign of progress, where the process stays warm, or with it."""
        process = self.process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(b'{"cancel": true}\n')
            self._late = asyncio.get_running_loop().call_later(_GRACE, self.kill)

    def kill(self) -> None:
        """End the process and what it does."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        self.process = None

    async def close(self) -> None:
        """End the process, and wait until it is gone."""
        process = self.process
        self.kill()
        if process is not None:
            await _gone(process)


async def _gone(process: Process) -> int:
    """The exit code of a process that was ended, when its pipes are closed as well."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    with suppress(OSError):
        await process.stdin.wait_closed()
    await process.stdout.read()
    return await process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
