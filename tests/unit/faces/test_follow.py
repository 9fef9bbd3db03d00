"""Faces: where crops come from, what points imply, and how a face is followed, lost and found again."""

from __future__ import annotations

import gc
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from duchenne import video
from duchenne.errors import ModelError, UsageError
from duchenne.faces import follow, protagonist
from duchenne.faces.crops import crop
from duchenne.faces.detect import HaarDetector, Verifier
from duchenne.faces.landmarks import MEAN_SHAPE, Dlib68, Shape, box_of, cut, roll_of
from duchenne.faces.track import peak

RATE = 25.0
PHOTO = astronaut()
GREY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
FACE = np.array([172.0, 66.0, 276.0, 170.0])


@dataclass(eq=False)
class Picture:
    time: float
    grey: np.ndarray


def stills(images):
    """Frames at RATE from grey images."""
    return [Picture(i / RATE, image) for i, image in enumerate(images)]


def scene(dx=0, dy=0, photo=PHOTO, size=(360, 480)):
    """The astronaut at 300 px with her upper left corner at (20 + dx, 10 + dy), on plain grey."""
    matrix = np.array([[300 / 512, 0, 20 + dx], [0, 300 / 512, 10 + dy]])
    return cv2.warpAffine(photo, matrix, size[::-1], flags=cv2.INTER_AREA, borderValue=(90, 90, 90))


def interocular(points):
    return np.linalg.norm(points[..., 36:42, :].mean(-2) - points[..., 42:48, :].mean(-2), axis=-1)


def clip(name):
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    return [Picture(f.time, f.grey) for f in video.frames(Path(root) / "clips" / name)]


# ---- crops, boxes, shapes


@pytest.mark.parametrize("box", [(10.25, 3.5, 42.25, 19.5), (0, 0, 160, 80), (5.5, 7.25, 15.5, 12.25)])
def test_a_cut_takes_each_value_from_where_its_pixel_lies(box):
    x, y = np.meshgrid(np.arange(200), np.arange(100))
    for image, axis in [(x, 0), (2 * y, 1)]:
        out = cut(image.astype(np.uint8), np.array(box, float), (20, 10)).astype(float)
        lo, hi, n = box[axis], box[axis + 2], (20, 10)[axis]
        centres = lo + (np.arange(n) + 0.5) * (hi - lo) / n - 0.5
        expected = centres if axis == 0 else 2 * centres[:, None]
        inner = np.s_[1:-1, 1:-1]
        np.testing.assert_allclose(out[inner], np.broadcast_to(expected, (10, 20))[inner], atol=1.1)


def test_a_cut_outside_the_image_is_black():
    white = np.full((50, 50), 255, np.uint8)
    out = cut(white, np.array([25.0, -25.0, 75.0, 25.0]), (50, 50))
    assert (out[30:, :20] == 255).all() and (out[:20] == 0).all() and (out[:, 30:] == 0).all()
    assert not cut(white, np.array([60.0, 60.0, 90.0, 90.0]), (8, 8)).any()
    assert not cut(white, np.array([-90.0, -90.0, -60.0, -60.0]), (8, 8)).any()


def test_likeness_depends_only_on_shape():
    turned = MEAN_SHAPE @ np.array([[0.94, 0.342], [-0.342, 0.94]]) * 57 + (300, 200)
    assert Shape(MEAN_SHAPE).likeness == pytest.approx(1.0)
    assert Shape(turned).likeness == pytest.approx(1.0, abs=1e-3)
    assert roll_of(turned) == pytest.approx(np.radians(20), abs=0.01)
    assert Shape(MEAN_SHAPE * (1, -1)).likeness < 0.05
    assert Shape(-MEAN_SHAPE).likeness == 0.0
    assert Shape(np.full((68, 2), np.nan)).likeness == 0.0
    assert Shape(np.random.default_rng(0).normal(size=(68, 2))).likeness < 0.05


def test_the_box_moves_and_grows_with_the_points():
    x0, y0, x1, y1 = box_of(MEAN_SHAPE * 40 + (200, 100))
    assert x1 - x0 == pytest.approx(y1 - y0) == pytest.approx(2.861 * 40, rel=1e-3)
    assert (x0 + x1) / 2 == pytest.approx(200, abs=0.1)
    np.testing.assert_allclose(box_of(MEAN_SHAPE * 80 + (400, 200)), np.array([x0, y0, x1, y1]) * 2)


def test_points_imply_the_box_that_the_training_tracks_were_made_with():
    root = os.environ.get("DUCHENNE_DATA")
    if not root:
        pytest.skip("DUCHENNE_DATA names no folder with the shared data.")
    with np.load(Path(root) / "data" / "pedfe" / "points.npz") as data:
        points, given = data["points"][::200], data["box"][::200].astype(float)
    ours = np.array([box_of(p) for p in points])
    side = given[:, 2]
    assert np.median((ours[:, 2] - ours[:, 0]) / side) == pytest.approx(1.0, abs=0.02)
    off = ((ours[:, :2] + ours[:, 2:]) / 2 - given[:, :2] - given[:, 2:] / 2) / side[:, None]
    assert np.abs(np.median(off, axis=0)).max() < 0.02
    assert np.percentile(np.abs(off), 95) < 0.1


def test_points_do_not_depend_on_where_in_the_picture_or_how_large_the_face_is():
    fit = Dlib68().fit
    points = fit(GREY, FACE)
    assert points.shape == (68, 2) and points.dtype == np.float32
    shifted = cv2.warpAffine(GREY, np.array([[1, 0, 37.0], [0, 1, 11.0]]), (512, 512))
    np.testing.assert_allclose(fit(shifted, FACE + np.array([37, 11, 37, 11])), points + np.array([37, 11]), atol=0.01)
    large = cv2.resize(GREY, None, fx=8, fy=8, interpolation=cv2.INTER_LINEAR)
    apart = np.linalg.norm((fit(large, FACE * 8) + 0.5) / 8 - (points + 0.5), axis=1)
    assert np.median(apart) / interocular(points) < 0.02


def test_a_missing_or_wrong_model_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DUCHENNE_LANDMARKS", str(tmp_path / "none.dat"))
    with pytest.raises(ModelError, match=r"none\.dat"):
        Dlib68()
    (tmp_path / "none.dat").write_bytes(b"no predictor")
    with pytest.raises(ModelError, match="shape predictor"):
        Dlib68()


def test_the_verifier_sees_the_face_and_nothing_beside_it():
    verifier = Verifier()
    score, box = verifier.look(GREY, FACE)
    assert score > 0.3
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, (FACE[:2] + FACE[2:]) / 2, atol=15)
    matrix = cv2.getRotationMatrix2D(((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2), -60, 1)
    tilted = cv2.warpAffine(GREY, matrix, (512, 512))
    assert verifier.look(tilted, FACE, 0.0)[0] < 0 < verifier.look(tilted, FACE, np.radians(60))[0]
    assert verifier.look(GREY, FACE + np.array([180, 250, 180, 250]))[0] < -0.3


def test_the_peak_is_found_between_pixels():
    y, x = np.mgrid[:64, :64]
    dx, dy, psr = peak(np.exp(-((x - 37.3) ** 2 + (y - 29.6) ** 2) / 8))
    assert (dx, dy) == (pytest.approx(5.3, abs=0.05), pytest.approx(-2.4, abs=0.05))
    assert psr > 50 > 7 > peak(np.random.default_rng(0).normal(size=(64, 64)))[2]
    assert peak(np.zeros((64, 64)))[2] == 0.0


# ---- following


def test_a_moving_face_in_a_real_file_is_followed_within_a_pixel(tmp_path):
    shifts = np.array([[3.0 * i, 1.5 * i] for i in range(25)])
    path = video.write(tmp_path / "moving.mp4", (scene(*s) for s in shifts), RATE)
    done = []
    seen = follow(video.frames(path), source=str(path), on_frame=done.append)
    (track,) = seen.tracks
    assert len(track) == len(seen.time) == 25 and done == list(range(1, 26))
    assert track.seen.all() and track.frame_size == seen.frame_size == (480, 360)
    assert track.source == str(path) and (track.confidence > 7).all()
    for word in ("opencv", "mosse", "dlib", "1 detection", "25 of 25"):
        assert word in track.history[-1]
    path_of_face = track.points[:, 27:36].mean(axis=1)
    np.testing.assert_allclose(path_of_face - path_of_face[0], shifts, atol=1.0)
    boxes = (track.box[:, :2] + track.box[:, 2:]) / 2
    np.testing.assert_allclose(boxes - boxes[0], shifts, atol=1.5)


def test_a_face_is_lost_when_it_goes_dark_and_found_again():
    face, dark = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY), np.zeros((360, 480), np.uint8)
    (track,) = follow(stills([dark] * 3 + [face] * 12 + [dark] * 80 + [face] * 10)).tracks
    expected = np.repeat([False, True, False, True], [3, 12, 80, 10])
    np.testing.assert_array_equal(track.seen, expected)
    assert np.isnan(track.box[~expected]).all() and np.isnan(track.confidence[~expected]).all()
    assert "2 detections" in track.history[-1]


def test_a_face_that_slides_out_leaves_no_points_on_the_background():
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (360, 480, 3), dtype=np.uint8), (0, 0), 6)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    inside = [scene(6 * i, 0, np.full_like(PHOTO, 1))[..., :1] == 1 for i in range(90)]
    frames = [np.where(m, scene(6 * i), wall) for i, m in enumerate(inside)]
    (track,) = follow(stills([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])).tracks
    true = np.array([20 + 6 * i + 224 * 300 / 512 for i in range(90)])
    on_it = np.abs(track.points[:, :, 0].mean(axis=1) - true) < 10
    assert track.seen[:40].all() and on_it[track.seen].all()
    assert not track.seen[true > 470].any()


def test_two_faces_get_a_track_each_and_the_default_keeps_the_larger():
    grey = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    both = np.hstack([grey[:, :320], cv2.resize(grey[:, :320], None, fx=1.4, fy=1.4)[:360]])
    alone = both.copy()
    alone[:, 320:] = 90
    frames = stills([alone] * 10 + [both] * 40)
    every = follow(frames, all_faces=True).tracks
    assert [len(t) for t in every] == [50, 50]
    left, right = sorted(every, key=lambda t: np.nanmean(t.points[..., 0]))
    assert left.seen.all() and not right.seen[:10].any() and right.seen[36:].all()
    assert (interocular(right.points[-1]) / interocular(left.points[-1])) == pytest.approx(1.4, abs=0.1)
    assert protagonist(every) is right
    (one,) = follow(stills([both] * 3)).tracks
    assert np.nanmean(one.points[..., 0]) > 320


def test_a_face_that_comes_back_joins_its_own_track():
    grey = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    both = np.hstack([grey[:, :320], grey[:, :320]])
    only_left = both.copy()
    only_left[:, 320:] = 90
    tracks = follow(stills([both] * 10 + [only_left] * 30 + [both] * 35), all_faces=True).tracks
    left, right = sorted(tracks, key=lambda t: np.nanmean(t.points[..., 0]))
    assert left.seen.all() and right.seen[:10].all() and not right.seen[10:40].any() and right.seen[70:].all()


def test_a_tilted_head_is_found_by_the_second_detector():
    turn = cv2.getRotationMatrix2D((224, 118), 30, 1)
    tilted = cv2.warpAffine(GREY, turn, (512, 512))
    assert len(HaarDetector().detect(tilted)) == 0
    assert follow(stills([tilted]), fallback=None).tracks == []
    (track,) = follow(stills([tilted])).tracks
    assert roll_of(track.points[0]) == pytest.approx(np.radians(-30), abs=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 400), (30, 30)])
def test_tiny_frames_hold_no_face(shape):
    seen = follow(stills([np.full(shape, 100, np.uint8)] * 3))
    assert seen.tracks == [] and len(seen.time) == 3 and seen.frame_size == shape[::-1]
    assert protagonist(seen.tracks) is None


def test_no_frames_give_an_empty_result():
    seen = follow([])
    assert seen.tracks == [] and seen.time.shape == (0,)


def test_the_same_frames_give_the_same_track_twice():
    rng = np.random.default_rng(0)
    noisy = [cv2.cvtColor(scene(2 * i, i), cv2.COLOR_RGB2GRAY) for i in range(8)]
    noisy = [np.clip(g + rng.normal(0, 4, g.shape), 0, 255).astype(np.uint8) for g in noisy]
    first, second = (follow(stills(noisy)).tracks[0] for _ in range(2))
    for name in ("points", "box", "confidence"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("tracker", ["mosse", "mosse-opencv"])
def test_any_tracker_serves_and_faces_are_looked_at_on_request(tracker):
    images = [cv2.cvtColor(scene(2 * i, 0), cv2.COLOR_RGB2GRAY) for i in range(8)] + [np.zeros((360, 480), np.uint8)]
    options = {"tracker": tracker, "detector": "hog", "fallback": None, "look": crop}
    every, some = (follow(stills(images), **options, every=every) for every in (0.0, 2 / RATE))
    (look,), (track,) = every.looks, every.tracks
    assert look.crops.shape == (8, 48, 48, 1) and look.crops.dtype == np.uint8
    np.testing.assert_array_equal(look.time, track.time[track.seen])
    for row in range(8):
        np.testing.assert_array_equal(look.crops[row, ..., 0], crop(images[row], track.points[row]))
    np.testing.assert_array_equal(some.looks[0].crops, look.crops[::2])
    np.testing.assert_array_equal(some.looks[0].points, look.points[::2])
    assert follow(stills(images), detector="hog", fallback=None).looks == []


def test_frames_are_not_kept():
    grey, alive = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY), []

    def lazily():
        for i in range(12):
            picture = Picture(i / RATE, grey.copy())
            alive.append(weakref.ref(picture))
            yield picture

    gc.freeze()  # what is there before is not looked through at every frame
    follow(lazily(), on_frame=lambda _: gc.collect() and None)
    gc.collect()
    gc.unfreeze()
    assert not any(ref() for ref in alive)


def test_an_unknown_part_is_a_usage_error():
    with pytest.raises(UsageError, match="mosse"):
        follow([], tracker="guess")


# ---- the shared clips


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("face_noface.mov", 0, 71),
        pytest.param("noface_face.mov", 96, 167, marks=pytest.mark.slow),
        ("no_face.mp4", 0, -1),
    ],
)
def test_rows_begin_and_end_with_the_face(name, first, last):
    frames = clip(name)
    tracks = follow(frames).tracks
    seen = tracks[0].seen if tracks else np.zeros(len(frames), bool)
    expected = (np.arange(len(frames)) >= first) & (np.arange(len(frames)) <= last)
    assert (seen & ~expected).sum() == 0
    assert (expected & ~seen).sum() <= 3


@pytest.mark.slow
def test_hands_before_the_face_do_not_lose_it():
    (track,) = follow(clip("WolfgangLanger_Pexels.mp4")).tracks
    assert track.seen.mean() > 0.98
    assert min(Shape(p).likeness for p in track.points[track.seen]) > 0.3


def test_an_oval_on_black_gives_the_same_points():
    frames = clip("single_face.mp4")
    (whole,) = follow(frames).tracks
    assert whole.seen.all()
    cut_out = []
    for frame, points, box in zip(frames, whole.points, whole.box, strict=True):
        mask = np.zeros_like(frame.grey)
        middle, side = points.mean(axis=0), box[2] - box[0]
        axes = (round(0.5 * side), round(0.62 * side))
        cv2.ellipse(mask, (round(middle[0]), round(middle[1])), axes, 0, 0, 360, 1, -1)
        cut_out.append(Picture(frame.time, frame.grey * mask))
    (oval,) = follow(cut_out).tracks
    assert oval.seen.all()
    apart = np.linalg.norm(whole.points - oval.points, axis=2) / np.median(interocular(whole.points))
    assert np.median(apart) < 0.015
    assert np.median(apart[:, :17]) < 0.05


def test_every_face_of_a_group_is_found():
    (picture,) = clip("multi_face.jpg")
    assert len(follow([picture], all_faces=True).tracks) == 4  # the fifth wears sunglasses
