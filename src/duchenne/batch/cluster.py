"""Runs a batch on a Dask cluster. A Dask task is one clip, processed in a child process of the Dask worker.

A clip that crashes its process does not affect the Dask worker, and the loss of a worker or of the scheduler costs only
time: results are recorded by the process that runs the batch, which submits again every clip without a result.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from duchenne.batch.plan import STATE
from duchenne.errors import DuchenneError, UsageError
from duchenne.types import Json, JsonMap
from duchenne.workers.pool import Worker
from duchenne.workers.protocol import Job, Limits, Result, Work

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 1000  # clips submitted to the scheduler at a time, which bounds its memory
AWAY = 300.0  # s without a scheduler before the run fails
_LOSSES = 10  # workers that one clip may lose
_IDLE = 60.0  # s before an idle process ends
_IDLE_WORKERS: dict[str, list[tuple[float, Worker]]] = {}  # of this Dask worker: setup → (idle since, worker)
_LOCK = threading.Lock()


class Cluster:
    """A `Runner` on the Dask scheduler at `address` ("tcp://host:8786"), or on `slurm` jobs submitted for it.

    `fingerprint` of the task holds package versions: a worker with other versions is an error, as its results would
    differ. All machines must see clips and results at the same paths. DuchenneError if the cluster cannot be used.
    """

    def __init__(
        self,
        work: Work,
        fingerprint: JsonMap,
        limits: Limits,
        *,
        address: str | None = None,
        slurm: int | None = None,
        away: float = AWAY,
    ) -> None:
        if missing := [n for n in ("distributed", *(["dask_jobqueue"] if slurm else [])) if find_spec(n) is None]:
            raise UsageError(f"--cluster and --slurm need {missing[0]}; pip install 'duchenne[cluster]'.")
        self.setup = {"work": asdict(work), "limits": asdict(limits), "settings": fingerprint}
        self.address, self.slurm, self.away = address, slurm, away

    def __call__(self, jobs: Iterable[Job], progress: Callable[[int, int], None]) -> Iterator[Result]:
        """Results as they come; `progress` is not called, as workers do not report frames."""
        pending, submitted = iter(jobs), dict[int, Job]()
        with ExitStack() as stack:
            address = self.address or self._slurm(stack)
            since: float | None = None
            while True:
                with _client(address, self.away) as client:
                    for result in self._session(client, pending, submitted):
                        since = None
                        yield result
                    if not submitted:
                        with suppress(Exception):  # they also end by themselves
                            client.run(_end_idle, 0.0)
                        return
                since = since or time.monotonic()
                if time.monotonic() - since > self.away:
                    raise DuchenneError(f"The Dask scheduler at {address} keeps failing; check its log.")

    def _session(self, client: Client, pending: Iterator[Job], submitted: dict[int, Job]) -> Iterator[Result]:
        """Results until all jobs are done or the connection is lost; `submitted` keeps the jobs without a result."""
        from distributed import as_completed

        losses: dict[int, int] = {}
        for job in itertools.islice(pending, max(0, AHEAD - len(submitted))):
            submitted[job.number] = job
        futures = as_completed(
            [self._submit(client, job) for job in submitted.values()], loop=client.loop, raise_errors=False
        )
        for future in futures:
            number = int(future.key.split("-")[1])
            if future.status in ("lost", "cancelled"):
                return
            if future.status == "error":
                losses[number] = losses.get(number, 0) + 1
                _check(future.exception(), losses[number], submitted[number])
                futures.add(self._submit(client, submitted[number]))
                continue
            yield Result(**future.result())
            del submitted[number]
            for job in itertools.islice(pending, 1):
                submitted[job.number] = job
                futures.add(self._submit(client, job))

    def _submit(self, client: Client, job: Job) -> Future:
        name = f"clip-{job.number}-{uuid4().hex[:12]}"
        return client.submit(_do, asdict(job), self.setup, key=name, pure=False)

    def _slurm(self, stack: ExitStack) -> str:
        from dask_jobqueue import SLURMCluster

        try:
            cluster = stack.enter_context(SLURMCluster())
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"The SLURM jobs are not configured ({error}); set cores, memory, queue and walltime under "
                "jobqueue.slurm in ~/.config/dask/jobqueue.yaml."
            ) from error
        cluster.scale(jobs=self.slurm)
        return str(cluster.scheduler_address)


@contextmanager
def _client(address: str, wait: float) -> Iterator[Client]:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # errors are reported here, in a sentence
    try:
        client = Client(address, timeout=wait, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DuchenneError(
            f"No Dask scheduler answers at {address} ({error or 'timeout'}); check the address, start it with "
            "`dask scheduler`, and run this again: finished clips are kept."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=5)


def _check(error: BaseException | None, times: int, job: Job) -> None:
    """Raise DuchenneError unless the task can be retried because its worker was lost."""
    from distributed import KilledWorker

    if isinstance(error, DuchenneError):
        raise error
    if isinstance(error, ImportError):
        raise DuchenneError(f"A Dask worker has no duchenne ({error}); install the same version there.") from error
    if not isinstance(error, KilledWorker) or times >= _LOSSES:
        raise DuchenneError(f"{job.name} failed on this cluster ({error}); check the logs of its workers.")


def _do(job: Json, setup: Json) -> Json:
    """On a Dask worker: run one job in a child process, which is kept for the next job."""
    _check_machine(job["arguments"], setup["settings"])
    key = json.dumps(setup, sort_keys=True)
    with _LOCK:
        idle = _IDLE_WORKERS.setdefault(key, [])
        worker = idle.pop()[1] if idle else Worker(Work(**setup["work"]), Limits(**setup["limits"]))
    try:
        result = worker.do(Job(**job), lambda *_: None)
    except BaseException:
        worker.close()
        raise
    with _LOCK:
        idle.append((time.monotonic(), worker))
    timer = threading.Timer(_IDLE + 1, _end_idle)
    timer.daemon = True
    timer.start()
    return asdict(result)


def _check_machine(job: JsonMap, settings: JsonMap) -> None:
    """DuchenneError if this worker would produce other results, or does not see the folders."""
    from duchenne.batch.run import versions
    from duchenne.faces import reading

    here = versions([name for name in settings["versions"] if name != "duchenne"])
    here |= reading.parts("paper") | reading.parts("mesh")
    for name, required in {**settings["versions"], **settings["reader"]}.items():
        if here.get(name) != required:
            raise DuchenneError(
                f"A Dask worker has {name} {here.get(name)} where this machine has {required}; install the same "
                "versions and landmark model on both."
            )
    for place in (Path(job["root"]), Path(job["out"], STATE, "settings.json")):
        if not place.exists():
            raise DuchenneError(f"A Dask worker does not see {place}; put clips and results on a shared disk.")


def _end_idle(idle: float = _IDLE) -> None:
    """End the processes of this Dask worker that have been idle for `idle` seconds."""
    now = time.monotonic()
    with _LOCK:
        for workers in _IDLE_WORKERS.values():
            for entry in [entry for entry in workers if now - entry[0] >= idle]:
                workers.remove(entry)
                entry[1].close()
