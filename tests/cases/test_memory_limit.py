"""Commands that read clips in their own process have a memory limit, and end in one sentence whatever happens."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Completed
from duchenne import judging
from duchenne.checkpoints import parts
from duchenne.errors import DuchenneError
from duchenne.evaluation import answers
from duchenne.workers import command

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limit is for Linux")
SINGLE = {
    "analyze": ["a.mp4"],
    "rank": ["a.mp4", "b.mp4"],
    "overlay": ["a.mp4", "-o", "o.mp4"],
    "emotions": ["a.png"],
    "units": ["a.png"],
    "micro-expressions": ["a.mp4"],
    "filters": ["--images", "x", "-o", "o.html"],
    "score": ["a.csv"],
    "compare": ["a.csv", "b.csv"],
    "models": ["apply", "smile", "a.csv"],
    "pb": ["a.mp4", "-o", "o"],
    "generate": ["--label", "posed", "--seconds", "1", "-o", "o.mp4", "--seed-clip", "a.mp4"],
    "convert": ["a.csv", "b.npz"],
}
#: What a command does in a child process with a limit of 100 MB → its exit code and what it reports.
FAULTS = {
    "print('fine')": (0, ""),
    "sys.exit(3)": (3, ""),
    "kept = bytearray(3_000_000_000)": (1, "needs more memory than it may use"),
    "kept = [bytes([n % 256]) * 10**6 for n in range(4000)]": (1, "needs more memory than it may use"),
    "kept = mmap.mmap(-1, 3 * 10**9); [kept.write(bytes([1]) * 10**6) for _ in range(3000)]": (1, "needs more memory"),
    "os.kill(os.getpid(), signal.SIGSEGV)": (1, "ended with SIGSEGV while reading its input; re-encode"),
    "os.kill(os.getpid(), signal.SIGKILL)": (1, "The system killed this command"),
    "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)": (-15, ""),
}
PROGRAM = """
import mmap, os, signal, sys, time
import duchenne.cli
from duchenne.workers import command
def run(**_):
    command.limit_memory(100_000_000, fork=True)
    {fault}
sys.modules["duchenne.cli.app"]._command = lambda: run
duchenne.cli.program()
"""


@LINUX
@pytest.mark.parametrize(("fault", "expected"), FAULTS.items(), ids=range(len(FAULTS)))
def test_process_ends_in_one_sentence(fault: str, expected: tuple[int, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fault=fault)], capture_output=True, text=True, check=False, timeout=60
    )
    code, words = expected
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == bool(words) and words in done.stderr
    assert done.stdout == ("fine\n" if "fine" in fault else "")


@pytest.mark.parametrize("name", SINGLE)
def test_single_commands_are_limited_before_they_read(
    name: str, duchenne: Callable[..., Completed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[int]()

    def limit(memory: int, *, fork: bool) -> None:
        found.append(memory)
        raise DuchenneError("Limited.")

    monkeypatch.setattr(command, "limit_memory", limit)
    monkeypatch.chdir(tmp_path)
    assert duchenne(name, *SINGLE[name], "--memory", "2.5").sentence == "Limited."
    assert duchenne(name, *SINGLE[name]).sentence == "Limited."
    assert found[0] == 2_500_000_000 and found[1] >= 1 << 30


@LINUX
def test_limit_ends_with_the_command_and_any_memory_error_is_one_sentence(
    duchenne: Callable[..., Completed], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    torch = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    for error in (MemoryError(), torch, OSError(12, "Cannot allocate memory")):
        limits = list[int]()

        def fail(_: Path, error: Exception = error, limits: list[int] = limits) -> None:
            limits.append(resource.getrlimit(resource.RLIMIT_DATA)[0])
            raise error

        monkeypatch.setattr(answers, "load", fail)
        result = duchenne("score", "a.csv", "--memory", "40")
        assert result.code == 1 and "more memory than it may use; give" in result.sentence
        assert limits[0] > 40e9 and resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_model_for_which_memory_is_short_is_not_called_damaged(
    duchenne: Callable[..., Completed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    judging._load.cache_clear()  # other tests load it, too
    monkeypatch.setattr(parts, "read_arrays", fail)
    (tmp_path / "a.csv").write_text("x\n1\n")
    result = duchenne("models", "apply", "smile", tmp_path / "a.csv", "-o", tmp_path / "p.csv")
    assert result.code == 1 and "more memory than it may use" in result.sentence
