"""benchmarks/clip_nets.py: a tiny run of it, and its multiply-adds by hand."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from duchenne.learn import clip_recipe

BENCH = Path(__file__).parents[2] / "benchmarks" / "clip_nets.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_clip_nets", BENCH)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # which dataclasses ask for
    spec.loader.exec_module(found)
    return found


def test_a_tiny_run_measures_every_network_it_names(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "in_process", lambda words, threads: own(bench, words, monkeypatch, capsys))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [str(BENCH), "--quick", "-o", str(tmp_path / "x.json")])
    bench.main()
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    (place,) = found["places"].values()
    assert set(place["networks"]) == set(bench.QUICK_NETWORKS) and found["left_out"] == []
    for row in place["networks"].values():
        for part in ("use", "learning", "loader"):
            assert row[part]["clips_per_second"] > 0
        assert 0 <= row["learning"]["busy"] <= 1 and row["learning"]["of_limit"] > 0
    # the trunk of points-multi: 86 numbers to 64 neurons twice over, then heads for one answer and six emotions, of
    # three faces
    r = clip_recipe.read("points-multi")
    neurons = r.config(6).numbers * r.width + r.width**2 + r.width * (1 + 6)
    assert place["networks"]["points-multi"]["multiply_adds_per_clip"] == 3 * neurons


def own(bench, words, monkeypatch, capsys):
    """What the run in a process of its own would have printed."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [str(BENCH), *words])
    capsys.readouterr()
    bench.main()
    torch.set_num_threads(threads)
    return json.loads(capsys.readouterr().out)


def test_clips_are_what_the_networks_read(bench, tmp_path):
    for name in clip_recipe.shipped():
        r = bench.recipe(name, bench.QUICK)
        (clip,) = bench.clips(r, 1, tmp_path)
        config = r.config(6)
        if r.inputs == "points":
            assert clip.shape == (3, config.numbers) and clip.dtype == np.float32
        else:
            streams = 2 if r.kind == "context" else 1
            assert clip.at(np.arange(3)).shape == (3, 32, 32, streams * config.channels)


def test_how_busy_others_are_lies_between_none_and_all_cores(bench):
    found = bench.others(0.05)
    assert found is None or found >= 0
