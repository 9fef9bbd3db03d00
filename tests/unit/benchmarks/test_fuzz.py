"""Damaged videos, by the fuzzer of benchmarks: no traceback, no crash, no hang; and that the fuzzer detects each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "fuzz.py"


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import fuzz

    return fuzz


@pytest.mark.slow
def test_sixty_damaged_videos_are_read_or_refused(tmp_path):
    words = [sys.executable, str(SCRIPT), "--quick", "-o", str(tmp_path / "f.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["cases"] == 60 and found["faults"] == [] and len(found["by container"]) == 6
    assert found["verdicts"]["read"] > 5 and found["verdicts"]["refused"] > 5


def test_a_seed_determines_the_file(fuzz, tmp_path):
    fuzz.make_clips(tmp_path)
    assert len(list(tmp_path.iterdir())) == sum(map(len, fuzz.CONTAINERS.values()))
    once, again = (fuzz.mutated(tmp_path, "mkv:7") for _ in range(2))
    assert once == again and once[0] != fuzz.mutated(tmp_path, "mkv:8")[0]
    undamaged = {path.read_bytes() for path in tmp_path.iterdir()}
    changed = [fuzz.mutated(tmp_path, f"mp4:{seed}")[0] not in undamaged for seed in range(40)]
    assert np.mean(changed) > 0.9


#: Verdict → code of a faulty reader.
WRONG = {
    "traceback": "raise KeyError('x')",
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": "import time; time.sleep(600)",
    "memory": "x = bytearray(b'1') * (400 << 20)",
}


@pytest.mark.parametrize(
    "verdict", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("hang", "memory"))) for name in WRONG]
)
def test_every_kind_of_fault_is_detected(verdict, fuzz, tmp_path, monkeypatch):
    """The child fails at its first case; the next case is read, by a new child if the first has ended."""
    child = tmp_path / "child.py"
    child.write_text(
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "import fuzz\nfrom pathlib import Path\nfrom duchenne import video\nfuzz.MEMORY, info = 100, video.info\n"
        "def damaged(path):\n"
        f"    if path.name.startswith('case'):\n        video.info = info\n        {WRONG[verdict]}\n"
        "    return info(path)\n"
        "if not Path(sys.argv[2], 'damaged').exists():\n    video.info = damaged\n"
        "Path(sys.argv[2], 'damaged').touch()\n"
        "fuzz.child(Path(sys.argv[2]))\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(child))
    monkeypatch.setattr(fuzz, "STALL", 12.0 if verdict == "hang" else 300.0)
    monkeypatch.setattr(fuzz, "MEMORY", 100)
    clips = tmp_path / "clips"
    clips.mkdir()
    fuzz.make_clips(clips)
    first, second = fuzz.run(["avi:0", "avi:1"], clips, tell=False)
    assert first["verdict"] == verdict and first["case"] == "avi:0" and first["why"]
    assert second["verdict"] in ("read", "refused")
    result = fuzz.summary([first, second])
    assert [each["case"] for each in result["faults"]] == ["avi:0"]


def test_the_published_results_are_of_a_full_run_whose_faults_are_fixed():
    found = json.loads(SCRIPT.with_suffix(".json").read_text())
    assert found["cases"] >= 2000 and len(found["by container"]) == 6
    again = {each["case"]: each["verdict"] for each in found.get("again", ())}
    assert all(again.get(each["case"]) in ("read", "refused") for each in found["faults"])
    assert not {"crash", "hang"} & set(found["verdicts"])
    assert sum(sum(each.values()) for each in found["by container"].values()) == found["cases"]


@pytest.mark.slow
def test_an_interrupt_leaves_no_child(tmp_path):
    words = [sys.executable, str(SCRIPT), "--cases", "600", "-o", str(tmp_path / "f.json")]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not (found := children.read_text().split()):
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    process.wait(120)
    deadline = time.monotonic() + 60.0  # the process that adopts an orphan takes a moment to reap it
    while (left := [pid for pid in found if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found and not left
