"""A batch on a Dask cluster of real processes gives the same bytes as one machine, whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import RATE
from duchenne.batch import extract_task, process
from duchenne.batch.cluster import Cluster
from duchenne.batch.run import Meter, Task
from duchenne.errors import DuchenneError
from duchenne.types import Array
from duchenne.workers.protocol import Limits
from makers import make_video

distributed = pytest.importorskip("distributed", reason="Dask is not installed; pip install 'duchenne[cluster]'.")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class LocalCluster:
    """A scheduler and its workers, each a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words, "--no-dashboard"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self.start("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--death-timeout", "120")

    def end(self) -> None:
        for one in self.processes:
            kill(one)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[LocalCluster]:
    place = LocalCluster(folder)
    try:
        place.scheduler()
        for _ in range(workers):
            place.worker()
        yield place
    finally:
        place.end()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pictures: list[Array], empty_room: Path) -> Path:
    """Six clips with a face, one without, one invalid, and their tables made on this machine."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "clips" / "more").mkdir(parents=True)
    for n in range(6):
        make_video(folder / "clips" / ("more" if n % 2 else ".") / f"smile{n}.mp4", pictures[n : n + 3], rate=RATE)
    shutil.copy(empty_room, folder / "clips" / "empty.mp4")
    (folder / "clips" / "bad.mp4").write_text("words")
    process([folder / "clips"], folder / "here", extract_task(), workers=1)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of two workers that no test harms."""
    with cluster(tmp_path_factory.mktemp("shared"), 2) as place:
        yield place


def contents(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and ".duchenne" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def runner(task: Task, place: LocalCluster, away: float = 120.0) -> Cluster:
    return Cluster(task.work, task.fingerprint, Limits(), address=place.address, away=away)


def test_cluster_gives_the_same_bytes(made: Path, shared: LocalCluster, tmp_path: Path) -> None:
    task = extract_task()
    found = process([made / "clips"], tmp_path / "out", task, runner=runner(task, shared))
    assert (found.clips, found.failed) == (8, 2)
    assert contents(tmp_path / "out") == contents(made / "here")


@pytest.mark.slow
def test_killed_worker_and_restarted_scheduler_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    task, seen = extract_task(), list[int]()
    with cluster(tmp_path, 2) as place:
        scheduler, first, _ = place.processes

        def watch(meter: Meter) -> None:
            if meter.done in seen:
                return
            seen.append(meter.done)
            if meter.done == 1:
                kill(first)
            if meter.done == 3:
                kill(scheduler)
                place.scheduler()
                place.worker()

        found = process([made / "clips"], tmp_path / "out", task, runner=runner(task, place), watch=watch)
    assert seen == list(range(9))  # each clip counted once
    assert found.clips == 8
    assert contents(tmp_path / "out") == contents(made / "here")


@pytest.mark.slow
def test_killed_command_resumes_on_one_machine(made: Path, shared: LocalCluster, tmp_path: Path) -> None:
    """The command itself is killed; the next one, on this machine alone, gives the same bytes."""
    words = ["extract", str(made / "clips"), "-o", str(tmp_path / "out"), "--cluster", shared.address]
    command = subprocess.Popen([sys.executable, "-m", "duchenne", *words], start_new_session=True)
    done = tmp_path / "out" / ".duchenne" / "clips"
    while len(list(done.glob("*/*.json"))) < 2:
        assert command.poll() is None
        time.sleep(0.005)
    kill(command)
    found = process([made / "clips"], tmp_path / "out", extract_task(), workers=2)
    assert 0 < found.clips < 8
    assert contents(tmp_path / "out") == contents(made / "here")


def test_unusable_cluster_is_reported_in_one_sentence(made: Path, shared: LocalCluster, tmp_path: Path) -> None:
    task = extract_task()
    nobody = LocalCluster(tmp_path)
    with pytest.raises(DuchenneError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:\d+"):
        process([made / "clips"], tmp_path / "out", task, runner=runner(task, nobody, away=1.0))
    reader = task.fingerprint["reader"]
    for changed, words in (
        ({"versions": {**task.fingerprint["versions"], "numpy": "1.0"}}, r"numpy [\d.]+ where this machine has 1\.0"),
        ({"reader": {**reader, "landmarks": "my.dat 0"}}, r"landmarks .* where this machine has my\.dat 0"),
    ):
        odd = Cluster(task.work, {**task.fingerprint, **changed}, Limits(), address=shared.address)
        with pytest.raises(DuchenneError, match=f"A Dask worker has {words}"):
            process([made / "clips"], tmp_path / "out2", task, runner=odd)
    assert (
        not (tmp_path / "out2" / "clips.csv").exists()
        or len((tmp_path / "out2" / "clips.csv").read_text().splitlines()) == 1
    )


SBATCH = """#!/bin/sh
# Run a job script at once on this machine.
script="$1"
sh "$script" >/dev/null 2>&1 &
echo $! >> "$JOBS"
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_slurm_jobs_become_workers(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask-jobqueue writes real job scripts; a fake `sbatch` runs them here."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed; pip install 'duchenne[cluster]'.")
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\nkill $1\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    settings = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "JOBS": str(tmp_path / "jobs"),
        "DASK_JOBQUEUE__SLURM__CORES": "1",
        "DASK_JOBQUEUE__SLURM__MEMORY": "2GB",
        "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
        "DASK_JOBQUEUE__SLURM__WALLTIME": "00:10:00",
    }
    words = ["extract", str(made / "clips"), "-o", str(tmp_path / "out"), "--slurm", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "duchenne", *words], env={**os.environ, **settings}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # two clips failed, as they should
    assert len((tmp_path / "jobs").read_text().split()) >= 1
    assert contents(tmp_path / "out") == contents(made / "here")
