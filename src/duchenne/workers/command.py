"""A command that reads clips in its own process, with the memory limit of a batch's worker."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from duchenne.errors import DuchenneError
from duchenne.workers.resources import resident

_POLL = 0.05  # s between two looks at the process
_SLACK = 1 << 29  # bytes of libraries and models
_THREAD = 1 << 26  # bytes that each idle thread reserves, but does not use
_PATIENCE = 0.5  # s in which Ctrl-C, which a terminal sends to both processes, ends the command
_GRACE = 5.0  # s in which a process that has grown too large, but grows no more, ends by itself
_STOPPED = 75  # exit code of such a process
_QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
_MEMORY = re.compile(
    r"bad_alloc|alloc\w* (?:\w+ )?memory|out of memory|insufficient memory|start new thread", re.IGNORECASE
)


_WARNED = "beyond the limit"
_TOO_LARGE = DuchenneError(
    "This command needs more memory than it may use; give a shorter or smaller input, or raise --memory."
)


@contextmanager
def limited() -> Iterator[None]:
    """Memory errors of any library as DuchenneError; the limit set by `limit_memory` ends with the context."""
    before = _data_limit()
    try:
        yield
    except Exception as error:
        if not (isinstance(error, MemoryError) or _MEMORY.search(str(error))) or isinstance(error, DuchenneError):
            raise
        if str(error) == _WARNED:  # what was half written is removed, and the parent says why
            os._exit(_STOPPED)
        raise _TOO_LARGE from error
    finally:
        if before is not None:
            _set_data_limit(before)


def limit_memory(memory: int, *, fork: bool) -> None:
    """Limit this process to `memory` bytes besides its libraries (Linux only; elsewhere there is no limit).

    `fork`: go on in a child process, and wait for it here. Should it be killed, by this limit, by the system or by a
    crash in a decoder, that is a DuchenneError; otherwise exit with its exit code.
    """
    if sys.platform != "linux":
        return
    if fork:
        _fork(memory)
    _set_data_limit(memory + _SLACK + _THREAD * (os.cpu_count() or 1))


def _fork(memory: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    parent, (end, held) = os.getpid(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end)  # `held` closes when this process exits
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the parent
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGUSR1, _raise_memory_error)
        return
    os.close(held)
    interrupted: list[float] = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(time.monotonic()))
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: os.kill(child, number))
    code = _wait(child, end, memory, interrupted)
    if code >= 0:
        raise SystemExit(code)
    if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(-code, signal.SIG_DFL)
        os.kill(parent, -code)
    if -code == signal.SIGKILL:
        raise DuchenneError("The system killed this command, probably as memory ran out; give a shorter clip.")
    raise DuchenneError(
        f"This command ended with {signal.Signals(-code).name} while reading its input; re-encode the clip (for "
        "example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4), or leave it out."
    )


def _raise_memory_error(*_: object) -> None:
    raise MemoryError(_WARNED)


def _wait(child: int, end: int, memory: int, interrupted: list[float]) -> int:
    """The exit code of a process, or minus the signal that ended it; it is killed where it grows too large."""
    most, warned = memory + _SLACK, float("inf")
    while True:
        ended = select.select([end], [], [], _POLL)[0]
        done, status = os.waitpid(child, 0 if ended else os.WNOHANG)
        if done:
            if (code := os.waitstatus_to_exitcode(status)) == _STOPPED:
                raise _TOO_LARGE
            return code
        now, size = time.monotonic(), resident(child)
        if interrupted and now > interrupted[0] + _PATIENCE:
            os.kill(child, signal.SIGINT)
            interrupted.clear()
        if size > most and (now > warned + _GRACE or size > 1.1 * most):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise _TOO_LARGE
        if size > most and math.isinf(warned):
            os.kill(child, signal.SIGUSR1)  # so that it removes what it has half written
            warned = now


def _data_limit() -> int | None:
    """Bytes of private memory that this process may have; None where that is not known, -1 for no limit."""
    with suppress(ImportError, AttributeError):
        import resource

        return resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None


def _set_data_limit(most: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 or most < 0 else min(most, hard), hard))
