"""A process that does jobs of a corpus, so that a clip that brings it down brings nothing else down.

`python -m duchenne.workers.child` reads one JSON object a line on stdin: first {"prepare": kind, "options": …,
"stall": s, "memory": bytes}, then jobs (`work.Job`). It answers in lines on stdout: {"ready": pid},
{"tick": frames}, and for each job {"rows": […]}, {"failed": sentence}, {"stop": sentence} where no clip is at fault,
or {"over": true} where memory ended. It leaves when stdin ends.

With the number of a socket after its name it loads what `prepare` says, and is then copied at each message that brings
a stdin and a stdout; a message with a copy's number ends that one and is answered with its exit code (`nursery`).
"""

from __future__ import annotations

import ctypes
import errno
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
from contextlib import suppress
from dataclasses import fields
from typing import IO, Any

from duchenne import io
from duchenne.batch import work
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.registry import DETECTORS, LANDMARKERS

_TICK = 0.2  # s between two signs of life
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NAMES = {field.name for field in fields(work.Job)}


class _Voice:
    """The answers, and a watch outside Python's own lock: an orphan that hangs in foreign code must end too."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.began = self.told = self.stall = 0.0

    def say(self, **what: Any) -> None:
        print(json.dumps(io.plain(what)), file=self.stream, flush=True)

    def begin(self, patience: float) -> None:
        self.stall, self.began = patience, time.monotonic()
        self.told = self.began
        self._wind(self.began)
        self.say(tick=0)

    def tick(self, frames: int) -> None:
        now = time.monotonic()
        if now - self.told >= _TICK:
            self.told = now
            self._wind(now)
            self.say(tick=frames)

    def _wind(self, now: float) -> None:
        faulthandler.dump_traceback_later(2 * max(self.stall, now - self.began) + 60, exit=True)


def main() -> None:
    """Do jobs until stdin ends."""
    voice = _Voice(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # whatever a library prints is no answer
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    hello = jobs.get()
    work.prepare(hello["prepare"], hello["options"])
    _limit(hello["memory"])
    voice.say(ready=os.getpid())
    while True:
        job = jobs.get()
        voice.begin(hello["stall"] + (job["start"] or 0.0))
        voice.say(**_answer(work.Job(**{name: job[name] for name in _NAMES}), voice))
        faulthandler.cancel_dump_traceback_later()


def serve(link: socket.socket) -> None:
    """Be copied until the link ends. Returns in the copies only, whose stdin and stdout are what the link brought."""
    hello = json.loads(link.recv(1 << 16))
    work.prepare(hello["prepare"], hello["options"])
    for make in (LANDMARKERS.load("dlib68"), DETECTORS.load("hog")):  # kept from here on; one that works alone waits
        make()  # for a clip that is not in the cache
    gc.freeze()  # or a collection would write to every page that copies share
    mother = os.getpid()
    while True:
        asked, ends, _, _ = socket.recv_fds(link, 99, 2)
        if not asked:
            os._exit(0)
        if not ends:
            os.kill(pid := int(asked), signal.SIGKILL)
            link.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            continue
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the mother
            if os.getppid() != mother:
                os._exit(0)
            link.close()
            for standard, end in enumerate(ends):
                os.dup2(end, standard)
                os.close(end)
            return
        for end in ends:
            os.close(end)


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)  # whoever sent jobs is gone


def _answer(job: work.Job, voice: _Voice) -> dict[str, Any]:
    try:
        return {"rows": work.do(job, voice.tick)}
    except (InputError, UsageError) as error:
        return {"failed": str(error)}
    except MemoryError:
        return {"over": True}
    except DuchenneError as error:
        return {"stop": str(error).replace(job.scratch, job.out)}
    except Exception as error:  # one clip must not stop ten thousand
        if isinstance(error, OSError) and error.errno in _FULL:
            return {"stop": f"{job.out} takes no more ({error.strerror}); make space and start again."}
        text = f"{type(error).__name__}: {error}".rstrip(".")
        return {"failed": f"{job.path} met a fault of duchenne ({text}); please report it."}


def _limit(memory: int) -> None:
    """Let no allocation go beyond `memory` bytes over what the process has now, where Linux can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, hard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is the parent's to answer
    if len(sys.argv) > 1:
        serve(socket.socket(fileno=int(sys.argv[1])))
    with suppress(BrokenPipeError):
        main()
