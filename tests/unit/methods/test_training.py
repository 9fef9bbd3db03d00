"""The shipped default's trainer: killed at any moment, the same command ends with the same model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from duchenne.datasets import simulated


@pytest.mark.slow
def test_a_killed_hybrid_resumes_and_ends_with_the_same_bytes(tmp_path):
    manifest = simulated.data_set(tmp_path / "c", people=6, clips=2, rate=25, seed=0)
    environment = {**os.environ, "DUCHENNE_CACHE": str(tmp_path / "cache"), "DUCHENNE_CACHE_LIMIT": "1 GB"}

    def command(out):
        words = ("train", "hybrid", "--manifest", str(manifest), "-o", str(tmp_path / out / "model"))
        return {"args": [sys.executable, "-m", "duchenne", *words], "env": environment, "text": True}

    whole = subprocess.run(**command("whole"), check=True, stderr=subprocess.PIPE)
    for moment in ("descriptors: fold 2 of", "2: epoch 3 of"):
        started = subprocess.Popen(**command("parted"), stderr=subprocess.PIPE)
        assert started.stderr is not None
        while moment not in (line := started.stderr.readline()):
            assert line, f"ended before '{moment}'"
        started.kill()
        started.stderr.close()
        started.wait()
        assert not (tmp_path / "parted" / "model").exists()
    done = subprocess.run(**command("parted"), check=True, stderr=subprocess.PIPE)
    assert "resuming the training" in done.stderr and "2: epoch 3 of" not in done.stderr
    assert "5: epoch 25 of" in done.stderr and "5: epoch 25 of" in whole.stderr
    one, other = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*") if path.is_file()}
        for out in ("whole", "parted")
    )
    assert one.keys() == other.keys() == {path for path in one if path.parts[0] == "model"}
    for name, data in one.items():
        assert name.suffix in (".png", ".svg") or data == other[name], name
