"""The mesh reader follows faces as the paper's reader does, and says more of them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from test_follow import RATE, interocular, scene

from duchenne import io
from duchenne.errors import UsageError
from duchenne.expression import visibility
from duchenne.faces import follow, follow_blocks, join
from duchenne.faces.crops import crop
from duchenne.faces.reading import read_faces
from duchenne.io.followed import Stored, Writer
from duchenne.mesh import COEFFICIENTS, FaceMesh
from duchenne.preprocess import clean
from duchenne.types import Signals
from makers import make_video

DARK = np.zeros((360, 480, 3), np.uint8)


@dataclass(eq=False)
class Picture:
    time: float
    bgr: np.ndarray

    @property
    def grey(self):
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2GRAY)


def stills(images):
    return [Picture(i / RATE, np.ascontiguousarray(image[..., ::-1])) for i, image in enumerate(images)]


def read(images, **options):
    return follow(stills(images), reader="mesh", **options)


@pytest.fixture(scope="module")
def shared():
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    return Path(root)


def test_a_moving_face_is_followed_with_all_that_the_networks_say():
    images = [scene(2 * i, i) for i in range(8)]
    (track,) = read(images, mesh=True).tracks
    assert track.seen.all() and (track.confidence > 0.9).all()
    assert track.coefficients.shape == (8, 52) and track.pose.shape == (8, 3) and track.mesh.shape == (8, 478, 3)
    smile = track.coefficients[:, [COEFFICIENTS.index("mouthSmileLeft"), COEFFICIENTS.index("mouthSmileRight")]]
    assert (smile > 0.3).all() and (np.ptp(smile, axis=0) < 0.1).all()  # she smiles, and as much in each frame
    moved = track.points[1:].mean(axis=1) - track.points[:-1].mean(axis=1)
    np.testing.assert_allclose(moved, np.tile((2, 1), (7, 1)), atol=0.3)
    (plain,) = read(images).tracks
    assert plain.mesh is None and plain.coefficients.tobytes() == track.coefficients.tobytes()
    assert "face_landmarker" in track.history[0] and "8 of 8 frames seen" in track.history[0]


def faster(images, rate, **options):
    """(the track of the largest face, readings that it took)."""
    frames = [Picture(i / rate, each.bgr) for i, each in enumerate(stills(images))]
    readings, read_one = [], FaceMesh.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceMesh, "read", lambda self, *args: readings.append(1) or read_one(self, *args))
        found = follow(frames, reader="mesh", **options)
    return found.tracks[0], len(readings)


@pytest.mark.parametrize("rate", [60, 100, 240])
def test_above_fifty_frames_a_second_a_face_is_read_fifty_times_and_moves_evenly_between(rate):
    still = scene()
    moves = [np.float32([[1, 0, 20 * i / rate], [0, 1, 10 * i / rate]]) for i in range(rate // 4)]
    images = [cv2.warpAffine(still, move, still.shape[1::-1], flags=cv2.INTER_CUBIC) for move in moves]
    found, count = faster(images, rate, mesh=True)
    full, every = faster(images, rate, mesh=True, most=np.inf)
    settled = every - len(images) + 1  # readings of the first frame
    assert count - settled == pytest.approx(12, abs=1)
    last = np.flatnonzero(found.time <= found.time[-1] - 0.02)  # after the last reading nothing is known
    assert found.seen.all() and np.isfinite(found.mesh).all() and np.isfinite(found.pose).all()
    away = np.linalg.norm(found.points - full.points, axis=-1).mean(axis=1)[last] / interocular(full.points[0])
    assert away.max() < 0.005
    assert np.abs(found.coefficients - full.coefficients)[last].max() < 0.08
    np.testing.assert_allclose(found.change, full.change, atol=0.05)


def test_a_cut_between_two_readings_is_seen(rate=200):
    other = scene()[:, ::-1].copy() // 3
    found, _ = faster([scene()] * 30 + [255 - other] * 3, rate)
    assert found.seen[:28].all() and not found.seen[31:].any()


def test_it_sees_what_the_other_reader_sees():
    image = scene()
    (ours,), (theirs,) = read([image]).tracks, follow(stills([image])).tracks
    away = np.linalg.norm(ours.points - theirs.points, axis=-1).mean() / interocular(theirs.points[0])
    assert away < 0.08
    assert np.abs(ours.box - theirs.box).max() < 0.15 * (theirs.box[0, 2] - theirs.box[0, 0])


def test_a_lost_face_is_the_same_track_when_it_comes_back():
    (track,) = read([DARK] * 2 + [scene()] * 5 + [DARK] * 6 + [scene(6, 2)] * 5).tracks
    assert track.seen.tolist() == [False] * 2 + [True] * 5 + [False] * 6 + [True] * 5
    gone = ~track.seen
    assert np.isnan(track.coefficients[gone]).all() and np.isnan(track.pose[gone]).all()


def test_every_face_has_its_own_track():
    both = np.hstack([scene()[:, :320], scene()[:, :320]])
    tracks = read([both] * 3, all_faces=True).tracks
    assert [track.seen.all() for track in tracks] == [True, True]
    apart = np.abs(tracks[0].points.mean(axis=(0, 1)) - tracks[1].points.mean(axis=(0, 1)))
    np.testing.assert_allclose(apart, (320, 0), atol=2)
    (one,) = read([both] * 3).tracks
    assert one.seen.all()


@pytest.mark.parametrize(("small", "count"), [(1.0, 4), (0.85, 4), (0.3, 1)], ids=["62 px", "53 px", "19 px"])
def test_small_faces_beside_a_large_one_are_found_where_all_are_requested(small, count):
    image = np.full((720, 1280, 3), 90, np.uint8)
    for (x, y), size in (((280, 0), 2.0), ((0, 0), small), ((0, 440), small), ((980, 440), small)):
        face = cv2.resize(scene(), None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
        image[y : y + face.shape[0], x : x + face.shape[1]] = face[: 720 - y, : 1280 - x]
    found = read([image] * 3, all_faces=True).tracks
    assert len(found) == count and all(track.seen.all() for track in found)
    assert len(read([image]).tracks) == 1


def test_a_mouth_in_doubt_is_covered_and_its_coefficients_are_not_invented():
    (track,) = read([scene(i) for i in range(25)], mesh=True, look=crop, every=1 / RATE).tracks
    measured = np.isfinite(track.doubt)
    assert measured.tolist() == [n % 6 == 0 for n in range(25)] and np.nanmax(track.doubt) < 0.012
    # 0.98 is a log-odds of 3.9, from which 500 (0.03 - 0.012) = 9 are subtracted
    signals = Signals(track.time, np.full((25, 2), 0.98), ("mouth", "eyes"), ("0-1",) * 2)
    assert visibility.covered(signals, track) == ()
    doubt = track.doubt.copy()
    doubt[:12] = np.where(measured[:12], 0.03, np.nan)
    ((part, start, end),) = visibility.covered(signals, replace(track, doubt=doubt))
    assert part == "mouth" and start == 0 and end == pytest.approx(12 / RATE, abs=6.1 / RATE)
    hidden = visibility.hidden(track, ((part, start, end),))
    rows = track.time <= end
    named = [name.startswith(("mouth", "jaw", "cheekPuff")) for name in COEFFICIENTS]
    assert np.isnan(hidden.coefficients[rows]).all(axis=0).tolist() == named
    assert np.isnan(hidden.points[rows]).all(axis=(0, 2)).tolist() == [n >= 48 for n in range(68)]
    assert np.isnan(hidden.mesh[rows][:, [13, 61, 291]]).all() and np.isfinite(hidden.mesh[rows][:, [1, 33, 468]]).all()
    assert hidden.coefficients[~rows].tobytes() == track.coefficients[~rows].tobytes()


def test_stored_blocks_are_the_same():
    images = [scene(i) for i in range(5)] + [DARK] * 3
    options = {"reader": "mesh", "mesh": True, "look": crop, "every": 0.1}
    blocks = list(follow_blocks(stills(images), rows=2, **options))
    with BytesIO() as file:
        writer = Writer(file)
        for block in blocks:
            writer.add(block)
        with Stored(file) as stored:
            (ours,), (theirs,) = join(stored).tracks, join(blocks).tracks
    for name in ("points", "coefficients", "pose", "mesh", "doubt", "confidence"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


def test_resampled_coefficients_lie_between_their_neighbours():
    (track,) = read([scene(i) for i in range(4)]).tracks
    between = clean.resample(track, fps=2 * RATE)
    np.testing.assert_allclose(between.coefficients[::2], track.coefficients, atol=1e-6)
    np.testing.assert_allclose(between.pose[1], track.pose[:2].mean(axis=0), atol=1e-4)


def test_another_reader_is_refused():
    with pytest.raises(UsageError, match="choose mesh or paper"):
        follow([], reader="eyes")


def test_a_real_smile_rises_in_the_coefficients(shared):
    (track,) = join(read_faces(shared / "clips" / "single_face.mp4", reader="mesh")).tracks
    assert track.seen.all()
    smile = track.coefficients[:, track.coefficient_names.index("mouthSmileLeft")]
    assert smile[track.time < 0.3].max() < 0.3 < 0.7 < smile.max()


@pytest.mark.slow
def test_low_contrast_moves_no_point(shared):
    (plain,) = join(read_faces(shared / "clips" / "single_face.mp4", reader="mesh")).tracks
    for path in sorted((shared / "cases" / "01-low-contrast").glob("*.mp4")):
        (track,) = join(read_faces(path, reader="mesh")).tracks
        assert track.seen.mean() > 0.95
        away = np.linalg.norm(track.points - plain.points, axis=-1) / interocular(plain.points)[:, None]
        assert np.nanmedian(away) < 0.03
        assert np.nanmedian(np.abs(track.coefficients - plain.coefficients)) < 0.05


def test_a_cut_to_another_person_is_another_track(shared):
    found = join(read_faces(shared / "cases" / "02-hard-cut" / "cut.mp4", reader="mesh"))
    first, second = found.tracks
    assert first.seen[:39].all() and not first.seen[40:].any()
    assert not second.seen[:40].any() and second.seen[40:].all()
    assert found.cuts == pytest.approx((first.time[40],), abs=0.01)


@pytest.mark.slow
def test_a_face_that_leaves_is_lost(shared):
    (track,) = join(read_faces(shared / "clips" / "face_noface.mov", reader="mesh")).tracks
    (other,) = join(read_faces(shared / "clips" / "face_noface.mov")).tracks
    assert (track.seen == other.seen).mean() > 0.98


def test_tables_keep_coefficients_and_pose(tmp_path):
    (track,) = read([scene(i) for i in range(3)] + [DARK], mesh=True).tracks
    (back,) = io.load_tracks(io.save_tracks(tmp_path / "a.npz", [track]))
    for name in ("coefficients", "pose", "mesh"):
        np.testing.assert_array_equal(getattr(back, name), getattr(track, name))
    table = io.frames_table([track])
    assert list(table.columns) == [*io.FRAME_COLUMNS, *io.MESH_COLUMNS] and table["yaw"].isna().tolist()[-1]
    (back,) = io.load_tracks(io.write_table(tmp_path / "a.csv", table))
    np.testing.assert_allclose(back.coefficients, track.coefficients, atol=1e-5)
    np.testing.assert_allclose(back.pose, track.pose, atol=0.006)
    (old,) = io.tracks_from_table(table.drop(columns="yaw"))
    assert old.coefficients is None and old.pose is None


def test_extract_writes_what_the_mesh_reads(tmp_path, duchenne):
    clip = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(6)], rate=int(RATE))
    pytest.importorskip("pyarrow")
    for kind in ("csv", "parquet"):
        done = duchenne("extract", clip, "-o", tmp_path / kind, "--reader", "mesh", "--format", kind)
        assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "csv" / "frames" / "clip.mp4.csv")
    assert list(table.columns) == [*io.FRAME_COLUMNS, *io.MESH_COLUMNS]
    assert (table["mouthSmileLeft"] > 0.3).all() and (table["confidence"] > 0.9).all()
    packed = pd.read_parquet(tmp_path / "parquet" / "frames" / "clip.mp4.parquet")
    np.testing.assert_array_equal(packed["mouthSmileLeft"], table["mouthSmileLeft"].astype("float32"))
    summary = json.loads((tmp_path / "csv" / "summary.json").read_text())
    assert summary["options"]["reader"] == "mesh"
    other = duchenne("extract", clip, "-o", tmp_path / "no", "--reader", "mesh", "--detector", "hog")
    assert other.code == 2 and "has its own detector" in other.err
