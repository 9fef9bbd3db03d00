"""Cores, memory and threads that one of several processes may use."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment() -> dict[str, str]:
    """Environment of a worker: one thread, and 2 MB memory pages where the system allows them (dlib is 10 % faster)."""
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ, **dict.fromkeys(_ONE_THREAD, "1")}


def cores() -> int:
    """Cores that this process may use."""
    from joblib import cpu_count  # respects containers and job schedulers

    return int(cpu_count())


def share(workers: int) -> int:
    """Bytes of memory for each worker: an equal share of 80 % of the memory, at least 1 GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8 << 30
    with suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return max(1 << 30, int(0.8 * total / workers))


def resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if unknown."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit(memory: int) -> None:
    """Limit the memory of this process to `memory` bytes above its current size (Linux only)."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


def in_order(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Any]:
    """Results in the order of the calls, from `jobs` processes with one thread each, as sums must not depend on cores.

    For trusted functions and arguments only: they are pickled.
    """
    from joblib import Parallel, delayed, parallel_config

    backend = parallel_config("loky" if jobs > 1 else "sequential", inner_max_num_threads=1 if jobs > 1 else None)
    with backend, warnings.catch_warnings():
        # a worker that has grown by 300 MB is replaced by a new one: loky warns, and nothing is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(_one_thread)(function, call) for call in calls)


def _one_thread(function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(*call)


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Limit the products of numpy and scipy to one thread: sums must not depend on the number of cores, and for small
    products threads that wait for each other in a busy loop cost more than the work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Limit torch, if imported, to one thread: `threadpool_limits` does not reach a pool that starts later."""
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


def on_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """Results of a torch function in the order of the items, from so many threads, each working alone.

    torch's own threads share every product of a small batch and wait for each other in a busy loop: where another
    process needs a core, that costs several times the work. Sums do not depend on the number of cores this way.
    """
    count = min(threads, len(items))
    with torch_on_one_thread():
        if count < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(function, items))
