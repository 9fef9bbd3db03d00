"""benchmarks/extract.py: a tiny run, and its turns and distances by hand."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[3] / "benchmarks" / "extract.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_extract", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_quick_run_measures_every_chain_and_estimates_a_million_clips(bench, monkeypatch, tmp_path):
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        pytest.skip("DUCHENNE_DATA is not set: it names the folder of the shared clips.")
    monkeypatch.setattr(sys, "argv", [str(BENCH), "--quick", "-o", str(tmp_path / "x.json")])
    monkeypatch.setattr(bench, "SIZES", {"360p": (640, 360)})
    monkeypatch.setattr(bench, "scaling", lambda *_: {})  # only in a full run
    bench.main()
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    row = found["sizes"]["360p"]
    assert set(row["ms_per_frame"]) == set(bench.CHAINS) and min(v[1] for v in row["ms_per_frame"].values()) > 0
    ms = {name: values[0] for name, values in row["ms_per_frame"].items()}
    assert row["ratios"]["times_plain"][0] == pytest.approx(ms["plain"] / ms["duchenne"], rel=0.02)
    # the plain chain uses another box, but finds the face in the same place
    assert row["tracks"]["seen"] == 1 and row["tracks"]["ours_from_plain"]["share"] < 0.06
    paper = found["on paper"]
    hours = paper["clips"] * paper["seconds"] * paper["rate"] * ms["duchenne"] / 3.6e6
    assert paper["core_hours_points_360p"] == pytest.approx(hours, rel=0.02)


def test_chains_take_turns_and_are_timed_separately(bench):
    order = []

    def chain(name, frames):
        def work(tick):
            for n in range(1, frames + 1):
                order.append(name)
                tick(n)
            return name

        return work

    piece = bench.PIECE
    turns = bench.Turns({"a": chain("a", 2 * piece), "b": chain("b", piece + 1)})
    assert turns.results == {"a": "a", "b": "b"} and min(turns.spent.values()) > 0
    assert order == ["a"] * piece + ["b"] * piece + ["a"] * piece + ["b"]


def test_distances_and_jitter_by_hand(bench):
    still = np.zeros((5, 68, 2))
    np.testing.assert_allclose(bench.distance(still, still + np.array([3.0, 4.0])), 5.0)
    steady = still + np.arange(5)[:, None, None]
    np.testing.assert_allclose(bench.jitter(steady), 0.0)
    leap = still.copy()
    leap[2] += np.array([0.0, 1.0])
    np.testing.assert_allclose(bench.jitter(leap), [1.0, 2.0, 1.0])
