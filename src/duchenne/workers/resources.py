"""Cores, memory and threads: what one process of several may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment() -> dict[str, str]:
    """The environment of a worker: one thread, and 2 MB pages of memory, which make dlib's trees a tenth faster where
    the system leaves that to programs."""
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ, **dict.fromkeys(_ONE_THREAD, "1")}


def cores() -> int:
    """Cores that this process may use."""
    from joblib import cpu_count  # knows of containers and job schedulers

    return int(cpu_count())


def share(workers: int) -> int:
    """Bytes of memory for each of so many workers: a fair share of 80 % of what there is, at least 1 GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8 << 30
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return max(1 << 30, int(0.8 * total / workers))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit(memory: int) -> None:
    """Let no allocation of this process go beyond `memory` bytes over what it has now, where Linux can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


def in_order(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Any]:
    """Results in the order of the calls, from `jobs` processes, for arguments that are arrays and code that is ours.

    One thread each: sums must not depend on the machine's cores.
    """
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky" if jobs > 1 else "sequential", inner_max_num_threads=1 if jobs > 1 else None):
        yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(_alone)(function, call) for call in calls)


def _alone(function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(*call)


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Its own pool of threads is out of `threadpool_limits`' reach where it starts later. Nothing without torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
