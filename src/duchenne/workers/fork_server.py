"""A process that has loaded what clips need and is copied into each that reads them.

Copies share its memory. dlib's 100 MB of trees are looked up at every frame: two processes that hold them apart push
them out of the processor's one cache in turn, and two cores then do less than 1.8 times the work of one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

COMMAND = (sys.executable, "-P", "-m", "duchenne.workers.child")  # -P: a folder of clips may hold modules too
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def surroundings() -> dict[str, str]:
    """The environment of a process that reads clips: one thread, and 2 MB pages of memory, which make dlib's trees a
    tenth faster where the system leaves that to programs."""
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ, **dict.fromkeys(_ONE_THREAD, "1")}


@dataclass
class Copy:
    """A copy, as far as it is used like a `subprocess.Popen`; `pid` is 0 until it has told it."""

    nursery: Nursery
    mother: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    pid: int = 0
    code: int | None = field(default=None, init=False)

    def kill(self) -> None:
        """End it."""
        if self.code is None:
            self.code = self.nursery.end(self)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it, once it was killed."""
        return -signal.SIGKILL if self.code is None else self.code


class Nursery:
    """Makes copies; started with the first, and again with the next where it was killed: its copies went with it.

    hello  what `duchenne.workers.child` reads first
    """

    usable = sys.platform == "linux"  # elsewhere no process may end with its parent, or libraries cannot be copied

    def __init__(self, hello: Mapping[str, Any]) -> None:
        self.hello = json.dumps(hello).encode()
        self.lock = threading.Lock()
        self.mother: subprocess.Popen[bytes] | None = None
        self.link: socket.socket | None = None
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def copy(self) -> Copy:
        """A new copy, which says on its stdout when it is ready."""
        with self.lock:
            if self.mother is None or self.link is None or self.mother.poll() is not None:
                self.mother, self.link = self._start()
            (reads, stdin), (stdout, writes) = os.pipe(), os.pipe()
            with suppress(OSError):  # a mother that has just died leaves a copy whose stdout ends
                socket.send_fds(self.link, [b"copy"], [reads, writes])
            os.close(reads)
            os.close(writes)
            return Copy(self, self.mother, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))

    def end(self, copy: Copy) -> int:
        """Kill a copy and return its exit code, or minus the signal that ended it."""
        with self.lock:
            if copy.pid and copy.mother is self.mother and self.link is not None:
                with suppress(OSError):
                    self.link.send(str(copy.pid).encode())
                    if code := self.link.recv(99):
                        return int(code)
            with suppress(subprocess.TimeoutExpired):  # one that could not start has left, or is about to
                return copy.mother.wait(1)
            return -signal.SIGKILL

    def close(self) -> None:
        """End it and its copies."""
        with self.lock:
            if self.mother is not None and self.link is not None:
                self.mother.kill()
                self.mother.wait()
                self.link.close()
            self.said.close()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self.link is not None:
            self.link.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            mother = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self.said,
                stderr=self.said,
                pass_fds=[theirs.fileno()],
                env=surroundings(),
            )
        with suppress(OSError):  # it left at once; who waits for a copy hears that
            ours.send(self.hello)
        return mother, ours
