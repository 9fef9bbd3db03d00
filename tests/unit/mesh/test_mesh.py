"""The face mesh against MediaPipe's own values, geometry that can be reasoned out, and its file."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from conftest import BRIEF, RATE
from duchenne.datasets import simulate
from duchenne.errors import InputError, ModelError
from duchenne.faces.detect import HogDetector
from duchenne.faces.landmarks import Dlib68
from duchenne.mesh import COEFFICIENTS, POINTS_68, FaceMesh, Region
from duchenne.mesh.detector import anchors, parts
from duchenne.mesh.model import SHA256, VARIABLE, find_model
from duchenne.mesh.pose import angles, pose

PUPILS = [468, 473]
#: What MediaPipe 0.10.21 says of the astronaut in image mode (benchmarks/mesh_mediapipe.py): points in pixels.
POINTS = {
    1: (223.53, 131.05, -22.87), 33: (195.28, 100.58, 4.22), 263: (255.32, 103.79, 3.46), 61: (202.28, 139.17, 7.57),
    291: (244.49, 140.55, 7.13), 152: (221.43, 177.42, 9.63), 10: (226.03, 72.24, -11.91), 13: (223.29, 143.16, -5.67),
    468: (203.47, 101.12, 0.06), 473: (246.03, 103.52, -0.12),
}  # fmt: skip
VALUES = [
    0.0, 0.0281, 0.0337, 0.022, 0.1182, 0.0983, 0.0006, 0.0, 0.0, 0.0402, 0.0267, 0.1462, 0.1376, 0.0609, 0.0645,
    0.0644, 0.0641, 0.0748, 0.0723, 0.3497, 0.2708, 0.0213, 0.0414, 0.0012, 0.0006, 0.0128, 0.0002, 0.0005, 0.027,
    0.0214, 0.0, 0.0, 0.0044, 0.0023, 0.0606, 0.1392, 0.1056, 0.1754, 0.0028, 0.0004, 0.0041, 0.0309, 0.0045, 0.0234,
    0.8992, 0.9043, 0.007, 0.0242, 0.468, 0.4741, 0.0, 0.0,
]  # fmt: skip
ANGLES = (-0.285, 14.918, 3.616)  # of its transformation matrix

#: What each of the 68 points is in a mirror.
MIRRORED_68 = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
]  # fmt: skip


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh()


@pytest.fixture(scope="module")
def portrait():
    """uint8 (512, 512, 3) blue, green, red."""
    return np.ascontiguousarray(astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def reading(mesh, portrait):
    return mesh.read(portrait, mesh.detect(portrait).region(0))


def eye_distance(points):
    return np.linalg.norm(points[PUPILS[0], :2] - points[PUPILS[1], :2])


def test_a_mouth_under_a_mask_is_in_doubt(mesh, portrait, reading):
    lower = cv2.convexHull(reading.points_68[[2, 4, 6, 8, 10, 12, 14, 29]].round().astype(np.int32))
    masked = cv2.fillConvexPoly(portrait.copy(), lower, (190, 150, 110), cv2.LINE_AA)
    clear, covered = mesh.doubt(portrait, reading), mesh.doubt(masked, mesh.read(masked, reading.region))
    assert clear < 0.012 < covered and covered > 2 * clear
    larger = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    twice = mesh.settle(larger, mesh.detect(larger).region(0))
    assert mesh.doubt(larger, twice) == pytest.approx(clear, abs=0.004)  # in distances of the eyes, not in pixels


def test_it_says_what_mediapipe_says(reading):
    expected, unit = np.array(list(POINTS.values())), eye_distance(reading.points)
    alone = (reading.points[:, :2] - reading.mirrored / 2)[list(POINTS)]
    assert np.abs(alone - expected[:, :2]).max() < 0.005 * unit
    # with the mirror image, which MediaPipe does not read
    assert np.abs(reading.points[list(POINTS)] - expected).max() < 0.03 * unit
    assert np.abs(reading.coefficients - VALUES).max() < 0.15
    assert np.abs(reading.pose - ANGLES).max() < 1
    assert reading.presence > 0.99 and len(COEFFICIENTS) == len(set(COEFFICIENTS)) == 52


def test_a_mirrored_frame_is_read_as_the_mirror_image(mesh, portrait, reading):
    wide = portrait.shape[1] - 1
    region = replace(reading.region, x=wide - reading.region.x, angle=-reading.region.angle)
    other = mesh.read(np.ascontiguousarray(portrait[:, ::-1]), region)
    assert np.abs(other.points_68[MIRRORED_68] * (-1, 1) + (wide, 0) - reading.points_68).max() < 0.02  # pixels
    assert other.presence == pytest.approx(reading.presence, abs=1e-6)
    left, right = (COEFFICIENTS.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    swapped = other.coefficients[[right, left]]
    assert np.abs(swapped - reading.coefficients[[left, right]]).max() < 1e-3
    assert np.abs(other.pose * (-1, 1, -1) - reading.pose).max() < 0.05


def test_the_same_frame_gives_the_same_bytes_on_any_thread_count(portrait, reading):
    before = cv2.getNumThreads()
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        again = FaceMesh()
        found = again.read(portrait, again.detect(portrait).region(0))
        for name in ("points", "coefficients", "pose"):
            assert getattr(found, name).tobytes() == getattr(reading, name).tobytes(), (threads, name)
        assert (found.presence, found.region) == (reading.presence, reading.region)
    cv2.setNumThreads(before)


def test_a_face_is_detected_once_with_its_keypoints(mesh, portrait):
    faces = mesh.detect(portrait)
    assert len(faces) == 1 and faces.scores[0] > 0.9
    x0, y0, x1, y1 = faces.boxes[0]
    eyes, nose, mouth = faces.keypoints[0, :2], faces.keypoints[0, 2], faces.keypoints[0, 3]
    assert x0 < eyes[0, 0] < nose[0] < eyes[1, 0] < x1 and y0 < eyes[:, 1].max() < nose[1] < mouth[1] < y1
    assert len(mesh.detect(np.zeros((90, 160, 3), np.uint8))) == 0


def test_a_part_of_a_wide_frame_is_searched_where_the_face_is_too_small_for_all_of_it(mesh, portrait):
    wide = np.zeros((1080, 1920, 3), np.uint8)
    wide[:512, 1400:1912] = portrait
    assert len(mesh.detect(wide)) == 0
    faces = mesh.detect(wide, region=Region(1656, 256, 512, 512))
    assert len(faces) == 1
    assert np.allclose(faces.boxes - (1400, 0, 1400, 0), mesh.detect(portrait).boxes, atol=1)
    found = mesh.search(wide)  # which has no square just like that one
    assert len(found) == 1 and np.abs(found.boxes - faces.boxes).max() < 0.1 * 95
    assert mesh.search(portrait).boxes.tobytes() == mesh.detect(portrait).boxes.tobytes()


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (480, 854), (100, 100), (1000, 90)])
def test_searched_parts_cover_the_frame_and_overlap_by_half(width, height):
    for regions, side in zip(parts(width, height), (min(width, height), min(width, height) / 2), strict=True):
        for whole, middles in ((width, {each.x for each in regions}), (height, {each.y for each in regions})):
            first, *_, last = sorted(middles) if len(middles) > 1 else [*middles] * 2
            assert (first - side / 2, last + side / 2) == pytest.approx((0, whole))
            assert all(step <= side / 2 + 1e-9 for step in np.diff(sorted(middles)))


def test_points_follow_a_face_that_is_turned_and_shifted(mesh, portrait, reading):
    degrees, shift = 20, (15, -10)
    matrix = cv2.getRotationMatrix2D((223, 125), -degrees, 1.0)
    matrix[:, 2] += shift
    turned = cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    region = mesh.detect(turned).region(0)
    found = mesh.read(turned, mesh.read(turned, region).following)
    expected = reading.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    apart = np.linalg.norm(found.points[:, :2] - expected, axis=1) / eye_distance(reading.points)
    assert apart.mean() < 0.03
    assert abs(found.pose[2] - reading.pose[2] - degrees) < 2.5  # clockwise on screen
    assert abs(np.degrees(region.angle) - degrees) < 8
    assert np.abs(found.coefficients - reading.coefficients).mean() < 0.03


def test_a_face_settles_at_the_same_place_whatever_region_it_was_found_in(mesh, portrait, reading):
    """What one reading says depends on its region; what it settles at does not, and the next frame does not drift."""
    first = reading.region
    found = []
    for x, larger in ((0, 1), (0.06, 1), (0, 0.9), (-0.04, 1.12)):
        region = Region(first.x + x * first.width, first.y, first.width * larger, first.height * larger, first.angle)
        found.append((mesh.read(portrait, region), mesh.settle(portrait, region)))
    spread_once, spread_settled = (np.ptp([each[way].coefficients for each in found], axis=0).max() for way in (0, 1))
    assert spread_once > 0.1 > 0.03 > spread_settled
    settled = found[0][1]
    again = mesh.read(portrait, settled.following)
    assert np.abs(again.coefficients - settled.coefficients).max() < 0.015


def test_a_face_cut_out_on_black_reads_like_the_same_face_in_a_room_if_both_stand_alone(mesh, portrait):
    region = mesh.detect(portrait).region(0)
    whole = mesh.settle(portrait, region)
    middle = whole.points_68[30]
    inside = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillPoly(inside, [(middle + 1.06 * (whole.oval - middle)).round().astype(np.int32)], 1)
    cut = portrait * inside[..., None]
    apart = [
        np.abs(mesh.settle(portrait, region, alone).coefficients - mesh.settle(cut, region, alone).coefficients).max()
        for alone in (False, True)
    ]
    assert apart[0] > 0.06 > apart[1], apart
    nowhere = mesh.read(portrait, region, np.array([[500, 500], [505, 500], [505, 505]]))
    assert nowhere.points.tobytes() == mesh.read(portrait, region).points.tobytes()


def test_a_smile_is_not_delayed(mesh, pictures):
    """On a simulated smile, whose curve is known, the mouth widens with it; the coefficient saturates , so earlier."""
    readings = []
    for picture in pictures:
        frame = np.ascontiguousarray(picture[..., ::-1])
        last = readings[-1] if readings else mesh.settle(frame, mesh.search(frame).region(0))
        readings.append(mesh.read(frame, last.following))
    time = np.arange(len(pictures)) / RATE
    smile = np.mean([each.coefficients[44:46] for each in readings], axis=1)
    points = np.array([each.points_68 for each in readings])
    width = np.linalg.norm(points[:, 54] - points[:, 48], axis=1) / np.linalg.norm(
        points[:, 45] - points[:, 36], axis=1
    )
    late = [half_rise(curve, time) - half_rise(simulate.smile_curve(BRIEF, time), time) for curve in (width, smile)]
    assert abs(late[0]) < 0.01 and -0.04 < late[1] < 0.01, late


def half_rise(curve, time):
    """When a curve that starts neutral first reaches half of its height."""
    curve = curve - curve[:5].mean()
    stop = int(np.argmax(curve > 0.9 * curve.max())) + 1
    return np.interp(curve.max() / 2, curve[:stop], time[:stop])


def test_no_face_has_no_presence(mesh):
    grey = np.full((480, 640, 3), 120, np.uint8)
    assert mesh.read(grey, Region(320, 240, 200, 200)).presence < 0.5


def test_a_region_maps_its_crop_to_the_frame():
    region = Region(50.0, 40.0, 20.0, 10.0, np.pi / 2)  # a quarter turn clockwise: its right side points down
    corners = region.to_frame(np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [4.0, 4.0]]), 8)
    assert np.allclose(corners, [[55, 30], [55, 50], [45, 50], [50, 40]])
    assert np.allclose(region.to_crop(corners, 8), [[0, 0], [8, 0], [8, 8], [4, 4]])
    image = np.zeros((80, 100, 3), np.uint8)
    image[:, :, 0] = np.arange(100)
    image[:, :, 1] = np.arange(80)[:, None]
    crop = Region(50.0, 40.0, 16.0, 16.0).crop(image, 16)
    assert (crop[0, :, 0] == np.arange(42, 58)).all() and (crop[:, 0, 1] == np.arange(32, 48)).all()
    beyond = Region(0.0, 0.0, 16.0, 16.0).crop(image, 16)
    assert (beyond[:8, :8] == 0).all() and beyond[-1, -1, 0] == 7  # the border is repeated


def test_a_region_is_half_again_as_large_as_box_and_points():
    eyes = np.array([[10.0, 20.0], [30.0, 20.0]])
    assert Region.of_box(np.array([0.0, 0.0, 40.0, 60.0]), eyes) == Region(20, 30, 60, 90, 0)
    points = np.zeros((478, 3))
    points[33, :2], points[263, :2], points[10, :2] = (0, 10), (10, 20), (4, 30)
    assert Region.of_points(points) == Region(5, 15, 45, 45, np.pi / 4)
    assert Region.of_frame(640, 360) == Region(320, 180, 640, 640)


def test_anchors_lie_in_the_middle_of_their_cells():
    found = anchors()
    assert found.shape == (896, 2)
    assert np.allclose(found[[0, 1, 2, 31, 32]], [[1, 1], [1, 1], [3, 1], [31, 1], [1, 3]] * np.array(1 / 32))
    assert np.allclose(found[[512, 517, 518, 895]], [[1, 1], [1, 1], [3, 1], [15, 15]] * np.array(1 / 16))


@pytest.mark.parametrize("expected", [(0, 0, 0), (25, 0, 0), (0, -15, 0), (0, 0, 20), (-30, 10, 5)])
def test_the_pose_of_a_turned_mean_face_is_found(mesh, expected):
    """The mean face, turned, at ten metres from the virtual camera, whose scale is then almost the same everywhere."""
    yaw, pitch, roll = np.radians(expected)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    turn = about_y @ about_x @ about_z
    assert np.allclose(angles(turn), expected, atol=1e-9)
    nose = turn @ (0, 0, 1)
    assert np.sign(nose[0]) == np.sign(yaw) and np.sign(nose[1]) == -np.sign(pitch)  # right; down
    model = mesh.model
    at = model.canonical @ turn.T - (0, 0, 1000)
    focal = 360 / (2 * np.tan(np.radians(63 / 2)))
    away = -at[:, 2]
    seen = np.column_stack([320 + focal * at[:, 0] / away, 180 - focal * at[:, 1] / away, focal * (away - 1000) / 1000])
    points = np.concatenate([seen, np.zeros((10, 3))])
    assert np.allclose(pose(points, (640, 360), model.canonical, model.rigid), expected, atol=0.2)
    points[7, 0] = np.nan
    assert np.isnan(pose(points, (640, 360), model.canonical, model.rigid)).all()


def test_the_68_points_lie_where_dlib_places_them(portrait, reading):
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    dlib = Dlib68().fit(grey, HogDetector().detect(grey)[0])
    found = reading.points_68
    assert found.shape == (68, 2) and len(set(POINTS_68)) == 68
    apart = np.linalg.norm(found - dlib, axis=1) / eye_distance(reading.points)
    assert apart[27:].mean() < 0.06 and apart[27:].max() < 0.15  # nose, eyes, lips
    assert apart[:27].mean() < 0.15  # jaw and brows: either follows another edge


def test_the_68_points_are_the_same_on_both_sides_of_the_face(mesh):
    """The mirror image of a point on the mean face is the point on the other side."""
    face = mesh.model.canonical[list(POINTS_68)] * (-1, 1, 1)
    assert np.allclose(face[MIRRORED_68], mesh.model.canonical[list(POINTS_68)], atol=1e-3)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9, 4), np.uint8)],
)
def test_other_arrays_are_refused(mesh, frame):
    with pytest.raises(InputError, match="blue, green, red"):
        mesh.detect(frame)


def test_another_file_is_read_where_the_variable_names_it(tmp_path, monkeypatch, portrait, reading):
    other = tmp_path / "other.task"
    with zipfile.ZipFile(find_model()) as source, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    monkeypatch.setenv(VARIABLE, str(other))
    mesh = FaceMesh()
    assert mesh.model.sha256 != SHA256
    assert mesh.read(portrait, reading.region).points.tobytes() == reading.points.tobytes()


def damaged(folder: Path, kind: str) -> Path:
    """A file that is not a whole `face_landmarker.task`."""
    path, whole = folder / f"{kind}.task", find_model().read_bytes()
    if kind == "text":
        path.write_text("no model")
    elif kind == "short":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        path.write_bytes(whole[:2_000_000] + bytes([whole[2_000_000] ^ 255]) + whole[2_000_001:])
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        with zipfile.ZipFile(find_model()) as source, zipfile.ZipFile(path, "w") as target:
            members = {name: source.read(name) for name in source.namelist()}
            if kind == "lacks":
                del members["face_blendshapes.tflite"]
            elif kind == "geometry":
                members["geometry_pipeline_metadata_landmarks.binarypb"] = b"\x0a\x7f\x01"
            elif kind == "network":
                members["face_detector.tflite"] = b"x" * 1000
            elif kind == "swapped":
                members["face_detector.tflite"] = members["face_blendshapes.tflite"]
            for name, data in members.items():
                target.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "not a regular file"),
        ("text", "not a ZIP archive"),
        ("short", "not a ZIP archive"),
        ("flipped", "damaged"),
        ("lacks", "lacks face_blendshapes.tflite"),
        ("geometry", "geometry"),
        ("network", "face_detector.tflite"),
        ("swapped", "face_detector.tflite"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_in_a_sentence(tmp_path, monkeypatch, portrait, kind, reason):
    monkeypatch.setenv(VARIABLE, str(damaged(tmp_path, kind)))
    with pytest.raises(ModelError, match=reason) as caught:
        FaceMesh().detect(portrait)
    assert VARIABLE in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_the_shipped_file_is_unmodified_and_its_licence_lies_beside_it():
    folder = find_model().parent
    assert FaceMesh().model.sha256 == SHA256
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert SHA256 in card and "Google" in card


def test_the_package_alone_loads_no_opencv():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, duchenne; print({'cv2', 'torch', 'duchenne.mesh'} & set(sys.modules))"],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    assert done.stdout == "set()\n"
