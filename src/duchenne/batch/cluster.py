"""The jobs of a batch on a Dask cluster: a task is one clip, done by a process of its own beside the Dask worker.

What a clip does to the process that reads it never reaches the worker, and what becomes of workers or scheduler costs
nothing but time: who runs the batch keeps its journal, and gives out again whatever has no result yet.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from duchenne.batch.plan import STATE
from duchenne.errors import DuchenneError, UsageError
from duchenne.workers.pool import Worker
from duchenne.workers.protocol import Job, Limits, Result, Work

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 1000  # clips that wait at the scheduler, which stays small; the rest waits here
AWAY = 300.0  # s that a scheduler may be gone
_LOSSES = 10  # times that a clip's worker may vanish
_IDLE = 60.0  # s that a process waits for its next clip
_IDLE_WORKERS: dict[str, list[tuple[float, Worker]]] = {}  # of one Dask worker, by what they were started for
_LOCK = threading.Lock()


class Cluster:
    """A `Runner` on the Dask scheduler at `address` ("tcp://host:8786"), or on `slurm` jobs that are asked for.

    `agreed` are the task's settings: a worker whose versions differ refuses, as the results would differ too. Every
    machine must see the clips and the results at the same paths. DuchenneError where the cluster cannot be used.
    """

    def __init__(
        self,
        work: Work,
        agreed: Mapping[str, Any],
        limits: Limits,
        *,
        address: str | None = None,
        slurm: int | None = None,
        away: float = AWAY,
    ) -> None:
        if missing := [n for n in ("distributed", *(["dask_jobqueue"] if slurm else [])) if find_spec(n) is None]:
            raise UsageError(f"--cluster and --slurm need {missing[0]}; pip install 'duchenne[cluster]'.")
        self.setup = {"work": asdict(work), "limits": asdict(limits), "versions": agreed["versions"]}
        self.address, self.slurm, self.away = address, slurm, away

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]:
        """Results as they come; `progress` is not called, as frames are not counted across the net."""
        waiting, given = iter(jobs), dict[int, Job]()
        with ExitStack() as stack:
            address = self.address or self._slurm(stack)
            since: float | None = None
            while True:
                with _client(address, self.away) as client:
                    for result in self._session(client, waiting, given):
                        since = None
                        yield result
                    if not given:
                        with suppress(Exception):  # they leave by themselves too
                            client.run(_leave, 0.0)
                        return
                since = since or time.monotonic()
                if time.monotonic() - since > self.away:
                    raise DuchenneError(f"The Dask scheduler at {address} does not stay up; see to it and start again.")

    def _session(self, client: Client, waiting: Iterator[Job], given: dict[int, Job]) -> Iterator[Result]:
        """Results until all is done or the connection is lost: then `given` holds what has no result yet."""
        from distributed import as_completed

        losses: dict[int, int] = {}
        for job in itertools.islice(waiting, max(0, AHEAD - len(given))):
            given[job.number] = job
        futures = as_completed(
            [self._give(client, job) for job in given.values()], loop=client.loop, raise_errors=False
        )
        for future in futures:
            number = int(future.key.split("-")[1])
            if future.status in ("lost", "cancelled"):
                return
            if future.status == "error":
                losses[number] = losses.get(number, 0) + 1
                _check(future.exception(), losses[number], given[number])
                futures.add(self._give(client, given[number]))
                continue
            yield Result(**future.result())
            del given[number]
            for job in itertools.islice(waiting, 1):
                given[job.number] = job
                futures.add(self._give(client, job))

    def _give(self, client: Client, job: Job) -> Future:
        name = f"clip-{job.number}-{uuid4().hex[:12]}"
        return client.submit(_do, asdict(job), self.setup, key=name, pure=False)

    def _slurm(self, stack: ExitStack) -> str:
        from dask_jobqueue import SLURMCluster

        try:
            cluster = stack.enter_context(SLURMCluster())
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"SLURM jobs cannot be described ({error}); say cores, memory, queue and walltime under "
                "jobqueue.slurm in ~/.config/dask/jobqueue.yaml."
            ) from error
        cluster.scale(jobs=self.slurm)
        return str(cluster.scheduler_address)


@contextmanager
def _client(address: str, wait: float) -> Iterator[Client]:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said here, in a sentence
    try:
        client = Client(address, timeout=wait, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DuchenneError(
            f"No Dask scheduler answers at {address} ({error or 'time is up'}); check the address, start it with "
            "`dask scheduler`, and run this again: it goes on where it was."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=5)


def _check(error: BaseException | None, times: int, job: Job) -> None:
    """Raise DuchenneError unless the task may be tried again, as its worker vanished."""
    from distributed import KilledWorker

    if isinstance(error, DuchenneError):
        raise error
    if isinstance(error, ImportError):
        raise DuchenneError(f"A Dask worker has no duchenne ({error}); install the same version there.") from error
    if not isinstance(error, KilledWorker) or times >= _LOSSES:
        raise DuchenneError(f"{job.name} cannot be done on this cluster ({error}); look at its workers' logs.")


def _do(job: dict[str, Any], setup: dict[str, Any]) -> dict[str, Any]:
    """On a Dask worker: do one job in a process of its own, which stays for the next one."""
    _check_machine(job["arguments"], setup["versions"])
    purpose = json.dumps(setup, sort_keys=True)
    with _LOCK:
        idle = _IDLE_WORKERS.setdefault(purpose, [])
        worker = idle.pop()[1] if idle else Worker(Work(**setup["work"]), Limits(**setup["limits"]))
    try:
        result = worker.do(Job(**job), lambda *_: None)
    except BaseException:
        worker.close()
        raise
    with _LOCK:
        idle.append((time.monotonic(), worker))
    timer = threading.Timer(_IDLE + 1, _leave)
    timer.daemon = True
    timer.start()
    return asdict(result)


def _check_machine(job: Mapping[str, Any], agreed: Mapping[str, str]) -> None:
    """DuchenneError where this worker would make other results, or put them where nobody finds them."""
    from duchenne.batch.run import versions

    here = versions([name for name in agreed if name != "duchenne"])
    if differ := [name for name in agreed if here.get(name) != agreed[name]]:
        name = differ[0]
        raise DuchenneError(
            f"A Dask worker has {name} {here.get(name)} where this machine has {agreed[name]}; install the same "
            "versions on both, as results would differ."
        )
    for place in (Path(job["root"]), Path(job["out"], STATE, "settings.json")):
        if not place.exists():
            raise DuchenneError(f"A Dask worker does not see {place}; clips and results must be on a disk they share.")


def _leave(idle: float = _IDLE) -> None:
    """End the processes of this Dask worker that have waited for `idle` seconds."""
    now = time.monotonic()
    with _LOCK:
        for waiting in _IDLE_WORKERS.values():
            stay = [(since, worker) for since, worker in waiting if now - since < idle]
            gone = [worker for since, worker in waiting if now - since >= idle]
            waiting[:] = stay
            for worker in gone:
                worker.close()
