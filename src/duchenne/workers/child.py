"""A worker: a process that does jobs, so that a clip that brings it down brings nothing else down.

`python -m duchenne.workers.child` reads one JSON object a line on stdin: first {"load", "run", "options", "stall",
"memory"} (`protocol.Work` and `Limits`), then jobs {"arguments", "lead"}; {"cancel": true} makes it give up the job
under way at its next heartbeat. It answers in lines on stdout: {"ready": pid}, {"heartbeat": [done, stage, total]}, and
for each job {"result": …}, {"failed": sentence}, {"stop": sentence} where no clip is at fault, {"fault": error} where
the program is, or {"memory": true} where memory ended. It ends with its stdin.

With the number of a socket as argument it is a template process: it loads what the first message says, and is then
forked at each message that brings a stdin and a stdout; a message with a fork's number ends that one and is answered
with its exit code (`fork_server`).
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.workers.protocol import Heartbeat, resolve
from duchenne.workers.resources import limit

_BEAT = 0.15  # s between two heartbeats of one stage
_CANCEL = threading.Event()


class _Cancelled(BaseException):
    """Nobody wants the result any more."""


class _Answers:
    """The answers, and a timer outside Python's own lock: an orphan that hangs in foreign code must end too."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.began = self.last = self.stall = 0.0
        self.stage = ""

    def send(self, **what: Any) -> None:
        print(json.dumps(what), file=self.stream, flush=True)

    def begin(self, stall: float) -> None:
        self.stall, self.began, self.stage = stall, time.monotonic(), ""
        self._beat(0)

    def beat(self, done: int, stage: str = "", total: int | None = None) -> None:
        if _CANCEL.is_set():
            raise _Cancelled
        if stage != self.stage or time.monotonic() - self.last >= _BEAT:
            self._beat(done, stage, total)

    def _beat(self, done: int, stage: str = "", total: int | None = None) -> None:
        self.last, self.stage = time.monotonic(), stage
        faulthandler.dump_traceback_later(2 * max(self.stall, self.last - self.began) + 60, exit=True)
        self.send(heartbeat=[done, stage, total])


def main() -> None:
    """Do jobs until stdin ends."""
    answers = _Answers(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # whatever a library prints is no answer
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    setup = messages.get()
    resolve(setup["load"])(setup["options"], False)
    run = resolve(setup["run"])
    limit(setup["memory"])
    answers.send(ready=os.getpid())
    while True:
        job = messages.get()
        answers.begin(setup["stall"] + job["lead"])
        answers.send(**_answer(run, setup["options"], job["arguments"], answers.beat))
        faulthandler.cancel_dump_traceback_later()


def serve(link: socket.socket) -> None:
    """Be forked until the link ends. Returns in the forks only, whose stdin and stdout are what the link brought."""
    setup = json.loads(link.recv(1 << 16))
    resolve(setup["load"])(setup["options"], True)
    gc.freeze()  # or a collection would write to every page that forks share
    template = os.getpid()
    while True:
        asked, ends, _, _ = socket.recv_fds(link, 99, 2)
        if not asked:
            os._exit(0)
        if not ends:
            os.kill(pid := int(asked), signal.SIGKILL)
            link.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            continue
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the template
            if os.getppid() != template:
                os._exit(0)
            link.close()
            for standard, end in enumerate(ends):
                os.dup2(end, standard)
                os.close(end)
            return
        for end in ends:
            os.close(end)


def _read(messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            _CANCEL.set()
        else:
            _CANCEL.clear()
            messages.put(message)
    os._exit(0)  # the parent is gone


def _answer(
    run: Callable[..., Any], options: Mapping[str, Any], arguments: Mapping[str, Any], heartbeat: Heartbeat
) -> dict[str, Any]:
    try:
        return {"result": run(options, arguments, heartbeat)}
    except _Cancelled:
        return {"failed": "Cancelled."}
    except (InputError, UsageError) as error:
        return {"failed": str(error)}
    except DuchenneError as error:
        return {"stop": str(error)}
    except MemoryError:
        return {"memory": True}
    except Exception as error:  # one clip must not stop ten thousand
        return {"fault": f"{type(error).__name__}: {error}".rstrip(".")}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is the parent's to answer
    if len(sys.argv) > 1:
        serve(socket.socket(fileno=int(sys.argv[1])))
    with suppress(BrokenPipeError):
        main()
