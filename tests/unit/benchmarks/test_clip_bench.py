"""benchmarks/clip_nets.py: a tiny run, and its multiply-adds by hand."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from duchenne.clipnets.recipe import ClipRecipe

BENCH = Path(__file__).parents[3] / "benchmarks" / "clip_nets.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_clip_nets", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses need it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(bench, monkeypatch, capsys):
    """Runs the script with these arguments, its subprocesses in this process; returns the measured networks."""
    threads, measured = torch.get_num_threads(), []

    def script(*words):
        monkeypatch.setattr(sys, "argv", [str(BENCH), *map(str, words)])
        capsys.readouterr()
        bench.main()

    def own(_, words, many, bound):
        assert bound is (many > 1)
        measured.append(words[words.index("--networks") + 1])
        script(*words)
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(bench.machine, "in_process", own)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield lambda *words: (measured.clear(), script(*words), tuple(measured))[2]
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_tiny_run_measures_every_network_it_names_and_resumes(bench, run, monkeypatch, tmp_path):
    path = tmp_path / "x.json"
    assert run("--quick", "-o", path, "--networks", "cnn3d") == ("cnn3d",)
    first = json.loads(path.read_text(encoding="utf-8"))["places"]["1 thread"]["cnn3d"]
    assert run("--quick", "-o", path) == tuple(name for name in bench.QUICK_NETWORKS if name != "cnn3d")
    found = json.loads(path.read_text(encoding="utf-8"))
    (place,) = found["places"].values()
    assert set(place) == set(bench.QUICK_NETWORKS) and found["left_out"] == [] and place["cnn3d"] == first
    for row in place.values():
        for part in ("use", "learning", "loader"):
            assert row[part]["clips_per_second"] > 0
        assert 0 <= row["learning"]["busy"] <= 1 and row["learning"]["of_limit"] > 0
    # the backbone of points-multi: 86 numbers to 64 neurons twice over, then heads for one answer and six emotions, of
    # four faces
    r = ClipRecipe.read("points-multi")
    neurons = r.config(6).numbers * r.width + r.width**2 + r.width * (1 + 6)
    assert place["points-multi"]["multiply_adds_per_clip"] == 4 * neurons
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(bench, "PAGE", page)
    assert run("--texts", "-o", path) == ()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- speed -->\n| clips per second") and text.endswith("<!-- /speed -->\nafter\n")
    size, speed = first["multiply_adds_per_clip"] / 1e6, first["use"]["clips_per_second"]
    shown = f"| 1 thread: `cnn3d` | {size:.2g} M | {speed:.3g} |"
    assert shown in text and "old" not in text and f"torch {torch.__version__}" in text


def test_the_page_matches_the_json(bench):
    page, known = bench.PAGE.read_text(encoding="utf-8"), BENCH.with_suffix(".json")
    assert (
        bench.table(json.loads(known.read_text(encoding="utf-8"))) if known.is_file() else "Not measured yet"
    ) in page


def test_clips_are_what_the_networks_read(bench, tmp_path):
    for name in ClipRecipe.shipped():
        r = bench.recipe(name, bench.QUICK)
        (clip,) = bench.clips(r, 1, tmp_path)
        config = r.config(6)
        if r.inputs == "points":
            assert clip.shape == (4, config.numbers) and clip.dtype == np.float32
        else:
            streams = 3 if r.kind == "context" else 1
            assert clip.at(np.arange(4)).shape == (4, 32, 32, streams * config.channels)


def test_the_load_of_others_is_not_negative(bench):
    found = bench.machine.others(0.05)
    assert found is None or found >= 0
