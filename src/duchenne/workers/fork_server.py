"""A template process that has loaded code and models, and the workers forked from it.

Forks share its memory. dlib reads its 100 MB of trees at every frame: two separate copies evict each other from the
processor's shared cache, and two cores then do less than 1.8 times the work of one.
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
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from duchenne.types import JsonMap
from duchenne.workers.resources import environment

COMMAND = (sys.executable, "-P", "-m", "duchenne.workers.child")  # -P: never import modules from the folder of clips


@dataclass
class Fork:
    """A forked worker with the part of `subprocess.Popen` that is used; `pid` is 0 until the worker has sent it."""

    server: ForkServer
    template: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    pid: int = 0
    code: int | None = field(default=None, init=False)

    def kill(self) -> None:
        """Kill it, once."""
        if self.code is None:
            self.code = self.server.end(self)

    @property
    def is_orphan(self) -> bool:
        """Whether the template process has ended, and all its forks with it."""
        with suppress(subprocess.TimeoutExpired):
            self.template.wait(0.1)
        return self.template.returncode is not None

    def wait(self) -> int:
        """The exit code, or minus the signal that ended it, after `kill`."""
        return -signal.SIGKILL if self.code is None else self.code


class ForkServer:
    """Forks workers from a template process, which is started on demand and restarted if it was killed.

    `setup` is the first message to `duchenne.workers.child`.
    """

    usable = sys.platform == "linux"  # elsewhere libraries do not survive a fork, or it outlives its parent

    def __init__(self, setup: JsonMap) -> None:
        self.setup = json.dumps(setup).encode()
        self.lock = threading.Lock()
        self.template: subprocess.Popen[bytes] | None = None
        self.link: socket.socket | None = None
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def fork(self) -> Fork:
        """A new worker, which writes to its stdout when it is ready."""
        with self.lock:
            if self.template is None or self.link is None or self.template.poll() is not None:
                self.template, self.link = self._start()
            (child_stdin, stdin), (stdout, child_stdout) = os.pipe(), os.pipe()
            with suppress(OSError):  # if the template has just died, stdout of the fork closes
                socket.send_fds(self.link, [b"fork"], [child_stdin, child_stdout])
            os.close(child_stdin)
            os.close(child_stdout)
            return Fork(self, self.template, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))

    def end(self, fork: Fork) -> int:
        """Kill a fork and return its exit code, or minus the signal that ended it."""
        with self.lock:
            if fork.pid and fork.template is self.template and self.link is not None:
                with suppress(OSError):
                    self.link.send(str(fork.pid).encode())
                    if code := self.link.recv(99):
                        return int(code)
            with suppress(subprocess.TimeoutExpired):  # if the template could not start, it has exited or is about to
                return fork.template.wait(1)
            return -signal.SIGKILL

    def close(self) -> None:
        """Kill the template and its forks."""
        with self.lock:
            if self.template is not None and self.link is not None:
                self.template.kill()
                self.template.wait()
                self.link.close()
            self.log.close()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self.link is not None:
            self.link.close()
        parent_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child_end:
            template = subprocess.Popen(
                [*COMMAND, str(child_end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=[child_end.fileno()],
                env=environment(),
            )
        with suppress(OSError):  # if it exited at once, reading from the fork reports it
            parent_end.send(self.setup)
        return template, parent_end
