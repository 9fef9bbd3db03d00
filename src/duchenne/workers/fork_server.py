"""A template process that has loaded code and models, and the workers that are forked from it.

Forks share its memory. dlib's 100 MB of trees are looked up at every frame: two processes that hold them apart push
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

from duchenne.workers.resources import environment

COMMAND = (sys.executable, "-P", "-m", "duchenne.workers.child")  # -P: a folder of clips may hold modules too


@dataclass
class Fork:
    """A forked worker, as far as it is used like a `subprocess.Popen`; `pid` is 0 until it has sent it."""

    server: ForkServer
    template: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    pid: int = 0
    code: int | None = field(default=None, init=False)

    def kill(self) -> None:
        """End it."""
        if self.code is None:
            self.code = self.server.end(self)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it, once it was killed."""
        return -signal.SIGKILL if self.code is None else self.code


class ForkServer:
    """Forks workers from a template process, which starts with the first, and again where it was killed: its forks
    ended with it. `setup` is what `duchenne.workers.child` reads first."""

    usable = sys.platform == "linux"  # elsewhere no process may end with its parent, or libraries cannot be forked

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self.setup = json.dumps(setup).encode()
        self.lock = threading.Lock()
        self.template: subprocess.Popen[bytes] | None = None
        self.link: socket.socket | None = None
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def fork(self) -> Fork:
        """A new worker, which says on its stdout when it is ready."""
        with self.lock:
            if self.template is None or self.link is None or self.template.poll() is not None:
                self.template, self.link = self._start()
            (reads, stdin), (stdout, writes) = os.pipe(), os.pipe()
            with suppress(OSError):  # a template that has just died leaves a fork whose stdout ends
                socket.send_fds(self.link, [b"fork"], [reads, writes])
            os.close(reads)
            os.close(writes)
            return Fork(self, self.template, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))

    def end(self, fork: Fork) -> int:
        """Kill a fork and return its exit code, or minus the signal that ended it."""
        with self.lock:
            if fork.pid and fork.template is self.template and self.link is not None:
                with suppress(OSError):
                    self.link.send(str(fork.pid).encode())
                    if code := self.link.recv(99):
                        return int(code)
            with suppress(subprocess.TimeoutExpired):  # one that could not start has ended, or is about to
                return fork.template.wait(1)
            return -signal.SIGKILL

    def close(self) -> None:
        """End the template and its forks."""
        with self.lock:
            if self.template is not None and self.link is not None:
                self.template.kill()
                self.template.wait()
                self.link.close()
            self.log.close()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self.link is not None:
            self.link.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            template = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=[theirs.fileno()],
                env=environment(),
            )
        with suppress(OSError):  # it ended at once; whoever waits for a fork is told
            ours.send(self.setup)
        return template, ours
