"""A worker process, so that a clip that crashes the decoder crashes nothing else.

`python -m duchenne.workers.child` reads JSON lines from stdin: first {"load", "run", "options", "stall", "memory"}
(`protocol.Work` and `Limits`), then jobs {"arguments", "lead"}; {"cancel": true} cancels the current job at its next
heartbeat. It writes JSON lines to stdout: {"ready": pid}, {"heartbeat": [done, stage, total]}, and for each job
{"result": …}, {"failed": sentence}, {"stop": sentence} for errors that are not the clip's, {"fault": error} for bugs,
or {"memory": true} when memory ran out. It exits when stdin closes.

With a socket number as argument it is a template process: it loads what the first message names and is then forked at
each message that carries a stdin and a stdout. A message with a fork's pid kills that fork and returns its exit code
(`fork_server`).
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
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.types import Json, JsonMap
from duchenne.workers.protocol import Heartbeat, resolve
from duchenne.workers.resources import limit

_INTERVAL = 0.15  # s between two heartbeats of one stage
_CANCEL = threading.Event()


class _Cancelled(BaseException):
    """The result is no longer needed."""


class _Replies:
    """Replies to the parent, and a timer that needs no GIL: an orphan that hangs in C code must end too."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.began = self.last = self.stall = 0.0
        self.stage = ""

    def send(self, **message: object) -> None:
        print(json.dumps(message), file=self.stream, flush=True)

    def begin(self, stall: float) -> None:
        self.stall, self.began, self.stage = stall, time.monotonic(), ""
        self._beat(0)

    def beat(self, done: int, stage: str = "", total: int | None = None) -> None:
        if _CANCEL.is_set():
            raise _Cancelled
        if stage != self.stage or time.monotonic() - self.last >= _INTERVAL:
            self._beat(done, stage, total)

    def _beat(self, done: int, stage: str = "", total: int | None = None) -> None:
        self.last, self.stage = time.monotonic(), stage
        faulthandler.dump_traceback_later(2 * max(self.stall, self.last - self.began) + 60, exit=True)
        self.send(heartbeat=[done, stage, total])


def main() -> None:
    """Run jobs until stdin closes."""
    replies = _Replies(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # keep what libraries print out of the replies
    messages: queue.SimpleQueue[Json] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    setup = messages.get()
    resolve(setup["load"])(setup["options"], False)
    run = resolve(setup["run"])
    limit(setup["memory"])
    replies.send(ready=os.getpid())
    while True:
        job = messages.get()
        replies.begin(setup["stall"] + job["lead"])
        replies.send(**_run(run, setup["options"], job["arguments"], replies.beat))
        faulthandler.cancel_dump_traceback_later()


def serve(link: socket.socket) -> None:
    """Fork on request until the link closes. Returns in the forks only, with stdin and stdout from the link."""
    setup = json.loads(link.recv(1 << 16))
    resolve(setup["load"])(setup["options"], True)
    gc.freeze()  # a collection would write to, and so copy, every shared page
    template = os.getpid()
    while True:
        request, ends, _, _ = socket.recv_fds(link, 99, 2)
        if not request:
            os._exit(0)
        if not ends:
            os.kill(pid := int(request), signal.SIGKILL)
            link.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            continue
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the template
            if os.getppid() != template:
                os._exit(0)
            link.close()
            for descriptor, end in enumerate(ends):
                os.dup2(end, descriptor)
                os.close(end)
            return
        for end in ends:
            os.close(end)


def _read(messages: queue.SimpleQueue[Json]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            _CANCEL.set()
        else:
            _CANCEL.clear()
            messages.put(message)
    os._exit(0)  # the parent has exited


def _run(run: Callable[..., Any], options: JsonMap, arguments: JsonMap, heartbeat: Heartbeat) -> Json:
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
    except Exception as error:  # one clip must not stop the batch
        return {"fault": f"{type(error).__name__}: {error}".rstrip(".")}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    if len(sys.argv) > 1:
        serve(socket.socket(fileno=int(sys.argv[1])))
    with suppress(BrokenPipeError):
        main()
