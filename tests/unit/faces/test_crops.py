"""Crops: framed as FER2013, the same whichever way a face comes in."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from duchenne import video
from duchenne.datasets import portrait
from duchenne.errors import InputError
from duchenne.faces import crops, follow, protagonist
from duchenne.faces.crops import EYES, SIDE, SPREAD, along, crop, faces, find, measure, of_track
from duchenne.faces.landmarks import MEAN_SHAPE, Dlib68, box_of
from duchenne.types import Array, FaceTrack

PHOTO = astronaut()
GREY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
POINTS = portrait.LANDMARKS
FOUND = json.loads(Path(__file__).parents[3].joinpath("experiments", "fer_framing.json").read_text(encoding="utf-8"))


def shared(name: str) -> Path:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA names no folder with the shared clips.")
    return Path(os.environ["DUCHENNE_DATA"]) / name


def turned(degrees: float, scale: float, dx: float, dy: float, size: int = 900) -> tuple[Array, Array]:
    """The photograph turned about the face's middle, scaled and moved; and its points."""
    matrix = cv2.getRotationMatrix2D(tuple(POINTS.mean(axis=0)), degrees, scale)
    matrix[:, 2] += dx, dy
    image = cv2.warpAffine(GREY, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return image, POINTS @ matrix[:, :2].T + matrix[:, 2]


@pytest.fixture(scope="module")
def track(smile: Path) -> FaceTrack:
    found = protagonist(follow(video.frames(smile), source=str(smile)).tracks)
    assert found is not None
    return found


# ---- framing


def test_the_constants_are_what_was_measured() -> None:
    assert (0.5, round(FOUND["eyes"][1], 3)) == EYES and round(FOUND["spread"], 3) == SPREAD
    assert abs(FOUND["eyes"][0] - 0.5) < 0.005  # a mirrored face is a face
    best = min(FOUND["scale"], key=FOUND["scale"].get)
    assert (
        best == "points above mouth and chin" and min(FOUND["centre"], key=lambda n: sum(FOUND["centre"][n])) == "eyes"
    )


@pytest.mark.parametrize(
    ("roll", "size", "at"), [(0.0, 20.0, (90, 80)), (0.4, 31.0, (110, 95)), (-0.7, 12.5, (60, 99))]
)
def test_every_pixel_comes_from_where_the_framing_says(roll: float, size: float, at: tuple[int, int]) -> None:
    """On a ramp the crop must hold the ramp's own values at places computed by hand from EYES and SPREAD."""
    c, s = np.cos(roll), np.sin(roll)
    points = MEAN_SHAPE @ np.array([[c, s], [-s, c]]) * size + at
    eyes, spread, found = measure(points)
    assert found == pytest.approx(roll, abs=1e-9)
    places = (np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1) + 0.5) / SIDE - EYES
    expected = eyes + places * (spread / SPREAD) @ np.array([[c, s], [-s, c]])
    x, y = np.meshgrid(np.arange(200), np.arange(180))
    inside = ((expected > 2) & (expected < (197, 177))).all(-1)
    assert inside.mean() > 0.7
    for ramp, axis in ((x, 0), (y, 1)):
        out = crop(ramp.astype(np.uint8), points).astype(float)
        np.testing.assert_allclose(out[inside], expected[inside][:, axis], atol=0.8)


def test_eyes_are_level_and_features_lie_where_fer2013_has_them() -> None:
    """The landmarker, run on the crop itself, finds eyes and mouth where it finds them in FER2013's images."""
    image, points = turned(17, 1.7, 60, 90)
    framed = cv2.copyMakeBorder(crop(image, points, side=384), 128, 128, 128, 128, cv2.BORDER_REPLICATE)
    fitted = (Dlib68().fit(framed, np.array([140.0, 190, 500, 550])) - 127.5) / 384
    eyes, _, roll = measure(fitted)
    np.testing.assert_allclose(eyes, FOUND["eyes"], atol=0.02)
    assert abs(np.degrees(roll)) < 2
    assert np.linalg.norm(fitted[42:48].mean(0) - fitted[36:42].mean(0)) == pytest.approx(FOUND["eyes_apart"], abs=0.05)
    np.testing.assert_allclose(fitted[48:].mean(0), FOUND["mouth"], atol=0.05)


@pytest.mark.parametrize(("degrees", "scale"), [(25, 1.0), (-40, 2.5), (8, 6.0), (0, 0.6)])
def test_a_face_gives_the_same_crop_however_it_stands_in_the_picture(degrees: float, scale: float) -> None:
    image, points = turned(degrees, scale, 200, 250, size=1500)
    apart = np.abs(crop(image, points).astype(float) - crop(GREY, POINTS))
    assert apart.mean() < 3 and crop(GREY, POINTS).std() > 40


def test_a_large_face_does_not_alias() -> None:
    """Lines finer than a pixel of the crop become the grey between them."""
    lines = np.tile(np.array([0, 0, 255, 255], np.uint8), (1600, 400))
    out = crop(lines, MEAN_SHAPE * 330 + (800, 800))
    assert out.min() > 110 and out.max() < 145


def test_a_mouth_that_opens_does_not_move_the_frame() -> None:
    open_wide = POINTS.copy()
    open_wide[5:12, 1] += 20
    open_wide[48:, 1] += 12
    for a, b in zip(measure(POINTS), measure(open_wide), strict=True):
        np.testing.assert_array_equal(a, b)


def test_edge_is_repeated_beyond_the_image() -> None:
    picture = np.full((100, 100), 60, np.uint8)
    picture[:, -1] = 200
    out = crop(picture, MEAN_SHAPE * 30 + (100, 50))
    assert set(np.unique(out[:, -10:])) == {200} and set(np.unique(out[:, :10])) == {60}
    for far in ((-5000, 50), (5000, 50), (50, -5000), (50, 5000)):
        assert crop(picture, MEAN_SHAPE * 300 + far).shape == (SIDE, SIDE)
    assert crop(np.full((1, 1), 9, np.uint8), MEAN_SHAPE * 300).tolist() == [[9] * SIDE] * SIDE


def test_degenerate_points_are_refused() -> None:
    with pytest.raises(InputError, match="found some missing"):
        crop(GREY, np.where(np.arange(68)[:, None] == 3, np.nan, POINTS))
    with pytest.raises(InputError, match="all in one place"):
        crop(GREY, np.full((68, 2), 7.0))


def test_crops_look_like_fer2013() -> None:
    """The mean of its images is nearer to our crop as it is than to one framed wider, tighter, higher or lower."""
    with np.load(shared("data/fer2013/public_test.npz")) as data:
        mean = data["images"].mean(axis=0)

    def likeness(points: Array) -> float:
        return float(np.corrcoef(crop(GREY, points).ravel(), mean.ravel())[0, 1])

    right, side = likeness(POINTS), measure(POINTS)[1] / SPREAD
    middle = POINTS.mean(axis=0)
    moves = np.array([[0, -0.15], [0, 0.15], [-0.15, 0], [0.15, 0]]) * side
    others = [POINTS + move for move in moves]
    others += [(POINTS - middle) * factor + middle for factor in (0.7, 1.5)]
    assert all(likeness(points) < right for points in others)


# ---- pictures


def test_a_photograph_gives_its_one_face(tmp_path: Path) -> None:
    """A badge on her suit passes dlib's detector, just so."""
    (face,), notes = faces(save(tmp_path / "a.png", PHOTO))
    assert notes == () and face.crop.shape == (SIDE, SIDE) and face.crop.dtype == np.uint8
    np.testing.assert_allclose(face.box, box_of(POINTS), atol=6)
    np.testing.assert_allclose(face.points.mean(axis=0), POINTS.mean(axis=0), atol=2)
    assert np.abs(face.crop.astype(float) - crop(GREY, POINTS)).mean() < 6


def save(path: Path, picture: Array) -> Path:
    Image.fromarray(picture).save(path)
    return path


def test_all_faces_come_the_largest_first(tmp_path: Path) -> None:
    head = GREY[20:220, 120:330]
    picture = np.full((500, 900), 110, np.uint8)
    for scale, x, y in ((1.0, 20, 250), (2.0, 460, 40), (1.4, 30, 10)):
        big = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        picture[y : y + big.shape[0], x : x + big.shape[1]] = big[: 500 - y]
    found, _ = faces(save(tmp_path / "three.png", picture))
    sides = np.array([face.box[2] - face.box[0] for face in found])
    np.testing.assert_allclose(sides / sides[2], [2.0, 1.4, 1.0], atol=0.1)
    assert found[0].box[0] > 460 and found[1].box[3] < 300 < found[2].box[3]
    for other in found[1:]:
        assert np.abs(other.crop.astype(float) - found[0].crop).mean() < 8


def test_people_in_one_picture_and_one_with_alpha() -> None:
    group, _ = faces(shared("clips/multi_face.jpg"))
    assert len(group) >= 4 and (np.diff([f.box[2] - f.box[0] for f in group]) <= 0).all()
    assert {len(faces(shared(f"clips/{name}"))[0]) for name in ("single_face.jpg", "Image_with_alpha.png")} == {1}


def test_image_without_a_face_is_reported_in_one_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "wall.png", np.tile(np.linspace(40, 160, 320).astype(np.uint8), (240, 1)))
    with pytest.raises(InputError) as caught:
        faces(path)
    assert str(caught.value) == (
        f"{path} shows no face that was found (320×240 pixels); if it is itself a cropped face, pass --aligned."
    )
    assert find(np.zeros((1, 1), np.uint8)) == []


def test_cropped_face_is_only_resized(tmp_path: Path) -> None:
    own = crop(GREY, POINTS)
    (face,), _ = faces(save(tmp_path / "own.png", own), is_aligned=True)
    np.testing.assert_array_equal(face.crop, own)
    assert face.box.tolist() == [0, 0, 48, 48] and np.isnan(face.points).all()
    wide = np.pad(np.kron(own, np.ones((3, 3), np.uint8)), ((0, 0), (20, 20)))  # three times, with bars
    np.testing.assert_array_equal(crops.aligned(wide), own)
    small = cv2.resize(own, (24, 24), interpolation=cv2.INTER_AREA)
    assert crops.aligned(small).shape == crops.aligned(np.full((1, 7), 3, np.uint8)).shape == (SIDE, SIDE)


# ---- videos


def test_a_frame_and_a_still_of_it_give_the_same_crop(smile: Path, track: FaceTrack, tmp_path: Path) -> None:
    rows, cut = zip(*along(track, video.frames(smile)), strict=True)
    assert rows == tuple(range(len(track))) and track.seen.all()
    frames = {frame.index: frame.grey for frame in video.frames(smile)}
    (still,), _ = faces(save(tmp_path / "frame.png", frames[10]), reader="paper")
    # a tracker's box and a detector's start dlib in different places
    assert np.abs(still.crop.astype(float) - cut[10]).mean() < 4
    np.testing.assert_array_equal(crop(frames[10], track.points[10]), cut[10])


def test_only_seen_frames_have_a_crop_and_the_rest_of_the_file_is_not_read(smile: Path, track: FaceTrack) -> None:
    points = np.full_like(track.points, np.nan)
    points[[3, 7]] = track.points[[3, 7]]
    part, read = replace(track, points=points), []

    def counted():
        for frame in video.frames(smile):
            read.append(frame.index)
            yield frame

    full = of_track(part, counted())
    assert read == list(range(8)) and full.crops is not None and full.crops.shape == (len(track), SIDE, SIDE, 1)
    assert full.crops[[3, 7]].std(axis=(1, 2, 3)).min() > 20 and not np.delete(full.crops, [3, 7], axis=0).any()
    assert full.history[-1].startswith("faces.crops")


def test_a_track_of_another_file_or_unit_is_refused(smile: Path, track: FaceTrack) -> None:
    with pytest.raises(InputError, match="has no frame at"):
        list(along(replace(track, time=track.time + 0.011), video.frames(smile)))
    with pytest.raises(InputError, match="has no frame at"):
        list(along(track, []))
    with pytest.raises(InputError, match="crops need a track in pixels, found iod"):
        list(along(replace(track, unit="iod"), video.frames(smile)))
