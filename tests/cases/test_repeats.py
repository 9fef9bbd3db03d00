"""Repeated pictures are not counted: neither in the rate nor in what is measured; frozen stretches are gaps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from duchenne import io
from duchenne.batch.work import ClipJob, extract_clip
from duchenne.clips.load import read
from duchenne.pipeline import examine
from duchenne.preprocess.repeats import distinct, repeated
from duchenne.types import Clip
from makers import make_video

RATE = 25  # of the simulated smile: pictures[15:40] hold its onset


@pytest.fixture(scope="module")
def doubled(pictures, clips):
    """Five pictures a second stored five times each."""
    return make_video(clips / "doubled.mp4", [pictures[i // 5 * 5] for i in range(60)], rate=RATE)


@pytest.mark.parametrize(("crf", "reader"), [("18", "paper"), ("34", "paper"), ("18", "mesh")])
def test_five_pictures_a_second_are_five(pictures, clips, crf, reader):
    clip = make_video(
        clips / f"five{crf}{reader}.mp4", [pictures[i // 5 * 5] for i in range(60)], rate=RATE, options={"crf": crf}
    )
    (analysis,) = examine(clip, reader=reader)
    verdict = analysis.verdict
    assert verdict.abstained and verdict.reason.startswith("Too few frames: 5")
    assert verdict.quality.rate == pytest.approx(5, abs=0.6) and verdict.quality.stored_rate == pytest.approx(25)
    assert any("of 25 frames per second about 5" in w for w in verdict.quality.warnings)
    row = verdict.to_row()
    assert (row["rate"], row["stored_rate"], row["frames"]) == (round(verdict.quality.rate, 3), 25, 60)


def test_tables_keep_what_shows_repeated_pictures(doubled, tmp_path):
    track = read(Clip(str(doubled)))
    io.save_tracks(tmp_path / "t.npz", [track])
    (packed,) = io.load_tracks(tmp_path / "t.npz")
    (tabled,) = io.tracks_from_table(io.frames_table([track]))
    for each in (packed, tabled):
        np.testing.assert_allclose(each.change, track.change, atol=1e-3)
        assert len(distinct(each)) == len(distinct(track)) == 12
    old = io.frames_table([track]).drop(columns="change")
    assert io.tracks_from_table(old)[0].change is None


def test_extract_gives_the_same_rate(doubled, tmp_path):
    job = ClipJob("/", str(doubled), "doubled.mp4", str(tmp_path), "doubled.csv", str(tmp_path))
    options = {"reader": "paper", "detector": "haar", "all_faces": False, "allow_truncated": False, "cache": False}
    (row,) = extract_clip(job, options, lambda _: None)
    assert (row["rate"], row["stored_rate"]) == (examine(doubled)[0].verdict.to_row()["rate"], 25)


def test_ordinary_frames_and_stills_are_not_repeated():
    rng, time = np.random.default_rng(0), np.arange(120) / 30
    moving = 0.6 + 4 * np.exp(-(((time - 2) / 0.3) ** 2)) + rng.uniform(0, 0.2, 120)  # noise, and one movement
    still = np.where(rng.random(120) < 0.5, 0.02, 0.05)  # skipped blocks of a face at rest
    blink = np.where((time > 2) & (time < 2.2), 3.0, still)
    keyframes = np.where(np.arange(120) % 12 == 0, 1.4, still)
    for change in (moving, still, blink, keyframes):
        same, frozen = repeated(time, change, np.full(120, 0.008))
        assert not same.any() and not frozen.any()


def test_pulldown_and_freeze():
    time = np.arange(120) / 30
    pulldown = np.where(np.arange(120) % 5 == 4, 0.03, 2.0)
    moving = np.full(120, 0.006)  # of dlib's points a tremble, of a mesh's a movement
    assert not repeated(time, pulldown, moving)[0].any() and repeated(time, pulldown, moving, of_mesh=True)[0].any()
    same, frozen = repeated(time, pulldown, np.full(120, 0.012))
    assert same.sum() == 24 and (~same)[:5].tolist() == [True] * 4 + [False] and not frozen.any()
    freeze = np.full(120, 2.0)
    freeze[50:65], freeze[65] = 0.02, 9.0
    same, frozen = repeated(time, freeze, np.where(np.arange(120) == 65, 0.05, 0.01))
    assert not same.any() and np.flatnonzero(frozen).tolist() == list(range(50, 65))


def test_frozen_stretch_is_a_gap(pictures, clips):
    shown = list(range(24)) + [24] * 8 + list(range(32, 60))
    (analysis,) = examine(make_video(clips / "frozen.mp4", [pictures[i] for i in shown], rate=RATE))
    quality = analysis.verdict.quality
    (stretch,) = quality.lost
    assert stretch == pytest.approx((25 / RATE, 32 / RATE), abs=0.05)
    assert any("frozen in 1.00" in w for w in quality.warnings)
    assert json.dumps(io.plain(analysis.to_dict()))
