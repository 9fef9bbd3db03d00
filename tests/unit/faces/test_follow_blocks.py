"""Following in blocks: the same rows as when all are kept to the end, and none of them kept longer than need be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_follow import RATE, scene, stills

from duchenne import video
from duchenne.expression import reading
from duchenne.faces import follow, follow_blocks, join
from duchenne.faces.crops import crop
from duchenne.faces.paper import PaperFollower

FACE = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
DARK = np.zeros((360, 480), np.uint8)
EVERY = 0.1


def lost_and_found():
    return stills([DARK] * 3 + [FACE] * 12 + [DARK] * 60 + [FACE] * 10)


def fades_away():
    """The face turns into a wall so slowly that the tracker goes along: rows since the last look are taken back."""
    wall = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (360, 480), dtype=np.uint8), (0, 0), 6)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    shares = np.clip((np.arange(60) - 8) / 40, 0, 1)
    return stills([cv2.addWeighted(FACE, 1 - share, wall, share, 0) for share in shares])


def one_comes_late():
    both = np.hstack([FACE[:, :320], FACE[:, :320]])
    alone = both.copy()
    alone[:, 320:] = 90
    return stills([alone] * 10 + [both] * 35 + [alone] * 10)


def shared(name):
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    return list(video.frames(Path(root) / "clips" / name))


CASES = {
    "lost and found": (lost_and_found, False),
    "fades away": (fades_away, False),
    "one comes late": (one_comes_late, True),
    "no frames": (list, False),
    "clip, face then none": (lambda: shared("face_noface.mov"), False),
    "clip, none then face": (lambda: shared("noface_face.mov"), True),
}


def kept_whole(frames, many):
    """The plain way: all rows and crops stay with their face until the last frame."""
    follower = PaperFollower("haar", "hog", "mosse", "dlib68", many)
    for n, frame in enumerate(frames):
        follower.step(n, frame.time, frame)
        follower.look(n, frame.time, frame.grey, crop, EVERY)
    return follower.faces


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(("clip", "lost"))) for name in CASES]
)
def test_blocks_equal_a_run_with_all_rows_in_memory(name):
    make, many = CASES[name]
    frames = make()
    faces = kept_whole(frames, many)
    if name == "fades away":
        assert any(n not in face.rows for face in faces for n in face.crops)  # were taken back
    for rows in (1, 1000):
        found = join(follow_blocks(frames, all_faces=many, look=crop, every=EVERY, rows=rows), "here")
        np.testing.assert_array_equal(found.time, [frame.time for frame in frames])
        assert len(found.tracks) == len(found.looks) == len(found.sharpness) == len(faces)
        for track, look, sharp, face in zip(found.tracks, found.looks, found.sharpness, faces, strict=True):
            points, box, psr = (np.full((len(frames), *tail), np.nan, np.float32) for tail in ((68, 2), (4,), ()))
            for n, row in face.rows.items():
                points[n], psr[n], box[n] = row[:3]
            for ours, theirs in ((track.points, points), (track.box, box), (track.confidence, psr)):
                assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
            assert sharp == np.median(face.sharpness) and track.source == "here"
            assert track.history[0].endswith(
                f"{face.detections} detections, {len(face.rows)} of {len(frames)} frames seen"
            )
            looked = [n for n in sorted(face.crops) if n in face.rows]
            np.testing.assert_array_equal(look.points, points[looked])
            np.testing.assert_array_equal(look.crops[..., 0], [face.crops[n] for n in looked])
            assert look.history[-1] == f"faces.follow: looked at {len(looked)} frames"


@pytest.mark.parametrize("make", [lost_and_found, fades_away])
def test_block_is_yielded_as_soon_as_its_rows_are_final(make):
    read = 0

    def counted():
        nonlocal read
        for frame in make():
            read += 1
            yield frame

    done = 0
    for block in follow_blocks(counted(), rows=5):
        assert block.first == done and (len(block.time) >= 5 or block.end is not None)
        done += len(block.time)
        assert ((block.frame >= block.first) & (block.frame < done)).all()
        assert read - done <= 5 + RATE + 1  # rows wait for two checks of a held face, half a second apart
    assert done == read == len(make())


def test_follower_drops_yielded_rows():
    follower, first, most = PaperFollower("haar", "hog", "mosse", "dlib68", False), 0, 0
    for n, frame in enumerate(stills([FACE] * 60)):
        follower.step(n, frame.time, frame)
        follower.look(n, frame.time, frame.grey, crop, 0.0)
        if (done := follower.settled(n) + 1 - first) > 0:
            assert len(follower.take(first, [frame.time] * done).crops) == done
            first += done
        most = max([most, *(max(len(face.rows), len(face.crops)) for face in follower.faces)])
    assert 60 - first <= most <= RATE + 1


def test_blocks_without_end_are_refused():
    blocks = list(follow_blocks(stills([FACE] * 4), rows=2))
    with pytest.raises(ValueError, match="end"):
        join(blocks[:-1])
    with pytest.raises(ValueError, match="end"):
        join([])


def test_network_gives_the_same_for_streamed_crops():
    network, _ = reading.load()
    images = [cv2.cvtColor(scene(i % 7, i % 5), cv2.COLOR_RGB2GRAY) for i in range(9)]
    (look,) = follow(stills(images), look=crop).looks
    crops = np.concatenate([np.clip(look.crops.astype(int) + k, 0, 255).astype(np.uint8) for k in range(40)])
    assert len(crops) > 256  # more than are asked at once
    expected = reading.predict_crops(network, iter(crops[..., 0]))
    predictor = reading.CropPredictor(network)
    (block,) = follow_blocks(stills(images), look=crop)
    for k in range(40):
        some = replace(block, crops=crops[9 * k : 9 * (k + 1), ..., 0])
        (left,) = reading.consume([some], predictor)
        assert left.crops is None and left.points is block.points
    signals = predictor.signals(0, np.arange(len(crops)) / RATE)
    assert signals.values.tobytes() == expected.tobytes() and signals.names == network.classes
    assert predictor.predictions(1).shape == (0, len(network.classes))
    assert join([left]).looks[0].crops is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory")
def test_the_benchmark_of_long_videos_runs() -> None:
    script = Path(__file__).parents[3] / "benchmarks" / "long_video.py"
    done = subprocess.run([sys.executable, str(script), "--quick"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["frames"] == 250
    assert found["rows"][0]["seen"] > 200
    assert found["peak_mb"]["end"] > found["imported_mb"]
