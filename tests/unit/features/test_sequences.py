"""Sequences of 40 points against computation by hand, and against what must not change them."""

from dataclasses import replace

import numpy as np
import pytest

from duchenne.datasets import simulate
from duchenne.errors import InputError, UsageError
from duchenne.features.descriptors import prepare
from duchenne.features.sequences import HALF_FACE, LEAST, SequenceReader, in_batches, jittered, padded, varied
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.preprocess import align
from duchenne.types import FaceTrack, Features

FPS = 12.5
READERS = pytest.mark.parametrize("head", [False, True])
#: The paper's 40 of dlib's 68 points, counted from 0, and the pairs whose midpoints it adds.
KEPT = [*range(17, 27), *range(30, 36), *range(36, 48), 48, 50, 51, 52, 54, 56, 57, 58]
MIDDLES = [(0, 17), (26, 16), (2, 29), (14, 29)]


def track(rate=FPS):
    return simulate.track(simulate.SPONTANEOUS, rate, 0, jitter=0.0)


def without(face, *frames):
    points = face.points.copy()
    points[list(frames)] = np.nan
    return replace(face, points=points)


def first(face, count):
    return FaceTrack(face.time[:count], face.points[:count], face.confidence[:count], face.box[:count], face.frame_size)


def read(face, **how):
    return SequenceReader(FPS, **how).table([face])[0]


def forty(points):
    """The 40 points of one frame, one after the other."""
    return [points[i] for i in KEPT] + [(points[a] + points[b]) / 2 for a, b in MIDDLES]


def test_with_head_movement_points_lie_in_the_first_frames_box_by_hand():
    """At the clip's own rate nothing is resampled. The box of the first frame's 40 points, widened by half, becomes
    [-1, 1] along its longer side; all later frames keep that box."""
    face = track()
    start = np.array(forty(face.points[0].astype(float)))
    x0, y0, x1, y1 = *start.min(axis=0), *start.max(axis=0)
    half = 1.5 * max(x1 - x0, y1 - y0) / 2
    found = read(face, head=True)
    assert found.shape == (len(face), 80) and found.dtype == np.float32
    for t in (0, 7, len(face) - 1):
        expected = [
            value
            for x, y in forty(face.points[t].astype(float))
            for value in ((x - (x0 + x1) / 2) / half, (y - (y0 + y1) / 2) / half)
        ]
        np.testing.assert_allclose(found[t], expected, atol=1e-5)


def test_without_head_movement_points_are_frontal_and_in_eye_distances_by_hand():
    face = track()
    straight, _ = align.frontal(face)
    found = read(face)
    assert found.shape == (len(face), 80) and found.dtype == np.float32
    for t in (0, 7, len(face) - 1):
        expected = [v / HALF_FACE for point in forty(straight.points[t].astype(float)) for v in point]
        np.testing.assert_allclose(found[t], expected, atol=1e-5)


@READERS
def test_a_face_fills_about_one_in_each_direction(head):
    found = read(track(50.0), head=head).reshape(-1, 40, 2)
    assert 0.4 < np.abs(found).max() < 1


@READERS
def test_where_and_how_large_the_face_is_in_the_picture_changes_nothing(head):
    face = track()
    moved = replace(face, points=face.points * 2.5 + [300, -40], box=face.box * 2.5 + [300, -40, 300, -40])
    np.testing.assert_allclose(read(moved, head=head), read(face, head=head), atol=2e-5)


def test_head_movement_is_kept_with_head_and_removed_without():
    face = track()
    walk = np.linspace(0, 80, len(face))[:, None, None] * [1.0, 0.25]
    moved = replace(face, points=face.points + walk, box=face.box + np.concatenate([walk[:, 0]] * 2, axis=1))
    np.testing.assert_allclose(read(moved), read(face), atol=2e-5)
    added = (read(moved, head=True) - read(face, head=True)).reshape(-1, 40, 2)
    # every point of a frame moves alike, and four times as far to the right as down
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1], added.shape), atol=2e-5)
    assert added[-1, 0, 0] > 0.1
    np.testing.assert_allclose(added[:, 0, 0], 4 * added[:, 0, 1], atol=1e-4)


@READERS
@pytest.mark.parametrize("rate", [25.0, 50.0])
def test_the_rate_of_the_camera_hardly_matters(head, rate):
    slow, fast = read(track(), head=head), read(track(rate), head=head)
    shared = min(len(slow), len(fast))
    assert abs(len(slow) - len(fast)) <= 1
    movement = np.abs(slow - slow[0]).max()
    # averaging over a step before reading the face less often blunts the fastest moments only
    assert np.abs(slow[1 : shared - 1] - fast[1 : shared - 1]).max() < 0.25 * movement


@READERS
def test_fewer_than_four_consecutive_frames_give_no_sequence(head):
    face = track()
    assert read(first(face, LEAST), head=head).shape == (LEAST, 80)
    assert read(first(face, LEAST - 1), head=head) is None
    assert read(first(face, 1), head=head) is None
    assert read(first(face, 0), head=head) is None
    # a face that is lost for 0.4 s again and again is never seen for four frames on end
    often = [i for i in range(len(face)) if i % 8 >= 3]
    assert read(without(face, *often), head=head) is None


@READERS
def test_unseen_face_gives_no_sequence(head):
    face = track()
    assert read(without(face, *range(len(face))), head=head) is None


@READERS
def test_short_gaps_are_bridged_and_long_ones_leave_the_longest_piece(head):
    face = track()
    whole = read(face, head=head)
    bridged = read(without(face, 10), head=head)  # 0.16 s from the frame before to the one after
    assert bridged.shape == whole.shape
    np.testing.assert_array_equal(np.delete(bridged, 10, axis=0), np.delete(whole, 10, axis=0))
    assert np.abs(bridged[10] - whole[10]).max() < 0.05
    cut = read(without(face, 5, 6, 7, 8, 9), head=head)  # 0.48 s
    assert len(cut) == len(face) - 10 > 5
    if not head:  # with the head's movement the piece's own first frame sets the box
        np.testing.assert_array_equal(cut, whole[10:])
    np.testing.assert_array_equal(cut, read(replace_start(face, 10), head=head))


def replace_start(face, at):
    return FaceTrack(face.time[at:], face.points[at:], face.confidence[at:], face.box[at:], face.frame_size)


def test_a_table_keeps_its_rows_and_refuses_rows_of_numbers():
    face = track()
    table = SequenceReader(FPS).table([face, first(face, 2), face])
    assert table.dtype == object and table.shape == (3,) and table[1] is None
    np.testing.assert_array_equal(table[0], table[2])
    with pytest.raises(InputError, match=r"^smiles\.csv row 3 is a row of a table; this method reads face tracks\.$"):
        SequenceReader(FPS).table([face, Features(np.zeros(1), ("speed",), "smiles.csv row 3")])


def test_padded_holds_the_last_frame_and_marks_what_is_real():
    x, mask = padded([np.full((1, 80), 1.0), np.arange(240.0).reshape(3, 80)])
    assert x.shape == (2, 3, 80) and x.dtype == np.float32
    np.testing.assert_array_equal(mask, [[True, False, False], [True, True, True]])
    np.testing.assert_array_equal(x[0], np.ones((3, 80)))
    np.testing.assert_array_equal(x[1], np.arange(240.0).reshape(3, 80))


def test_jitter_moves_and_scales_the_whole_clip_alike_and_keeps_its_movement():
    sequence, spread = read(track()), (0.06, 0.03)
    a = sequence.reshape(-1, 40, 2).astype(float)
    shifts = []
    for seed in range(40):
        copy = jittered(sequence, np.random.default_rng(seed), spread)
        assert copy.shape == sequence.shape and copy.dtype == np.float32
        b = copy.reshape(-1, 40, 2).astype(float)
        # least squares: one scale for all, one shift for all; nothing is left over
        centred = a - a.mean(axis=(0, 1))
        scale = (centred * (b - b.mean(axis=(0, 1)))).sum() / (centred**2).sum()
        shift = (b - scale * a).mean(axis=(0, 1))
        np.testing.assert_allclose(b, scale * a + shift, atol=1e-5)
        assert abs(scale - 1) <= 0.03 + 1e-6 and (np.abs(shift) <= np.array(spread) + 1e-6).all()
        shifts.append([*shift, scale - 1])
    extent = np.abs(shifts).max(axis=0)
    assert (extent > [0.045, 0.0225, 0.0225]).all(), "40 draws stay in the inner three quarters of what is allowed"


def test_jitter_follows_its_seed_and_nothing_moves_without_spread():
    sequence = read(track())
    one, same, other = (jittered(sequence, np.random.default_rng(seed), (0.06, 0.03)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(jittered(sequence, np.random.default_rng(0), (0.0, 0.0)), sequence)


# --- the head's curves ----------------------------------------------------------------------------------------------

#: What they are divided by: yaw, pitch, roll in degrees, x, y in eye distances, log of the size.
UNITS = np.array([25, 25, 15, 0.15, 0.15, 0.2])


def nodding():
    """A face whose head nods, turns and tilts: none of its six curves stands still."""
    face = simulate.track(replace(simulate.SPONTANEOUS, head_motion=4.0), FPS, 3, jitter=0.0)
    assert (np.ptp(prepare(face, FPS)[1].values[:, -6:], axis=0) > 1e-3).all()
    return face


def test_with_pose_the_heads_curves_stand_beside_the_frontal_points():
    face = nodding()
    found = read(face, pose=True)
    assert found.shape == (len(face), 86) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :80], read(face))
    _, curves = prepare(face, FPS)
    for column, (name, unit) in enumerate(zip(align.HEAD_NAMES, UNITS, strict=True), start=80):
        np.testing.assert_allclose(found[:, column], curves.values[:, curves.names.index(name)] / unit, atol=1e-6)
    assert np.abs(found[:, 80:]).max() < 2


def test_with_pose_the_longest_piece_is_read_of_points_and_head_alike():
    face = nodding()
    whole, cut = read(face, pose=True), read(without(face, 5, 6, 7, 8, 9), pose=True)
    # turning does not know of other frames; size is told against the clip's median, place also in its unit
    np.testing.assert_array_equal(cut[:, :83], whole[10:, :83])
    shift = cut[:, 85] - whole[10:, 85]
    np.testing.assert_allclose(shift, shift[0], atol=1e-5)
    for column in (83, 84):
        (_, left, *_) = np.polyfit(whole[10:, column].astype(float), cut[:, column].astype(float), 1, full=True)
        assert left[0] < 1e-8 < np.var(cut[:, column])
    np.testing.assert_array_equal(jittered(whole, np.random.default_rng(0), (0.06, 0.03))[:, 80:], whole[:, 80:])


def test_head_and_pose_together_are_refused(tmp_path):
    (tmp_path / "r.toml").write_text("fps = 12.5\nhead = true\npose = true\n")
    with pytest.raises(UsageError, match=r"r\.toml: head and pose both give the head's movement; set one of them"):
        PBRecipe.read(tmp_path / "r.toml")
    assert PBRecipe.read(tmp_path / "r.toml", head=False).inputs == 86
    assert PBRecipe.read(tmp_path / "r.toml", pose=False).inputs == 80


# --- other takes ----------------------------------------------------------------------------------------------------


def in_a_mirror(face):
    """The track of the same video seen in a mirror: x turned round, and dlib's numbers of the right are on the left."""
    pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    order = np.arange(68)
    for a, b in pairs:
        order[[a, b]] = b, a
    width = face.frame_size[0]
    x0, y0, x1, y1 = face.box.T
    points = face.points[:, order] * np.array([-1, 1]) + np.array([width, 0])
    return replace(face, points=points, box=np.column_stack([width - x1, y0, width - x0, y1]))


def lopsided():
    """A nodding face with one half of the mouth, one brow and one eye pulled by hand, so that a mirror is noticed."""
    face = nodding()
    points, pull = face.points.copy(), np.linspace(0, 0.2 * np.ptp(face.points[0, 36:48, 0]), len(face))
    for group, way in (([48, 49, 50, 59, 58], [-1, -0.7]), ([17, 18, 19, 20, 21], [0, -1]), ([43, 44], [0.2, -0.4])):
        points[:, group] += pull[:, None, None] * way
    return replace(face, points=points)


def test_another_take_is_the_clip_or_the_clip_in_a_mirror():
    """With its own length and all frames, a take is one of both but for proportions of ± 4 %, a place of each point
    (0.02) and trembling (0.003), and of the head ± 10 %."""
    face = lopsided()
    plain, turned = (read(each, pose=True)[:11] for each in (face, in_a_mirror(face)))  # 11 frames are not cut
    assert np.abs(plain - turned).max() > 0.3 and np.abs(plain[:, 80:] - turned[:, 80:]).max() > 0.1
    sides = []
    for seed in range(24):
        take = varied(plain, np.random.default_rng(seed))
        assert take.dtype == np.float32 and take.shape[1] == 86 and 9 <= len(take) <= 13
        at = np.linspace(0, 10, len(take))
        near = [np.column_stack([np.interp(at, np.arange(11), c) for c in each.T]) for each in (plain, turned)]
        off = [np.abs(take - each).max(axis=0) for each in near]
        side = int(np.abs(take - near[1]).mean() < np.abs(take - near[0]).mean())
        limit = np.abs(near[side]).max(axis=0) * np.r_[np.full(80, 0.04), np.full(6, 0.1)]
        assert (off[side] <= limit + np.r_[np.full(80, 0.1), np.full(6, 1e-6)]).all()
        ratio = take[:, 80:] / np.where(np.abs(near[side][:, 80:]) > 1e-3, near[side][:, 80:], np.nan)
        assert np.nanmin(ratio) >= 0.9 - 1e-4 and np.nanmax(ratio) <= 1.1 + 1e-4
        sides.append(side)
    assert 5 < sum(sides) < 19


def test_other_takes_are_cut_and_played_faster_or_slower():
    ramp = np.repeat(np.linspace(-1, 1, 60)[:, None], 80, axis=1).astype(np.float32)
    takes = [varied(ramp, np.random.default_rng(seed)) for seed in range(60)]
    # up to ten frames of sixty at each end, then 0.85 to 1.18 times as many
    assert all(round(40 * 0.85) <= len(take) <= round(60 * 1.18) for take in takes)
    assert min(map(len, takes)) < 42 and max(map(len, takes)) > 60
    starts, ends = np.array([take[[0, -1], 1::2].mean(axis=1) for take in takes]).T  # y, which no mirror turns
    for cut in (starts + 1, 1 - ends):
        assert cut.min() < 0.06 and 0.25 < cut.max() < 2 * 10 / 59 + 0.06
    np.testing.assert_array_equal(takes[3], varied(ramp, np.random.default_rng(3)))
    assert all(len(varied(ramp[:LEAST], np.random.default_rng(seed))) >= LEAST for seed in range(9))


def test_now_and_then_a_take_begins_with_a_face_at_rest():
    ramp = np.repeat(np.linspace(-1, 1, 60)[:, None], 80, axis=1).astype(np.float32)
    rested = []
    for seed in range(120):
        take = varied(ramp, np.random.default_rng(seed), rest=19)[:, 1::2].mean(axis=1)
        moves = np.diff(take) > 0.014  # half of a step of the ramp, played as slowly as it can be
        rested.append(int(np.argmax(moves)))
        assert moves[rested[-1] :].all(), "once begun it goes on"
        assert abs(take[0] - take[rested[-1]]) < 0.06  # it rests where it begins
    assert 15 < np.count_nonzero(rested) < 45 and max(rested) > 12  # a quarter of 120 is 30
    assert all(1 <= each <= 19 for each in rested if each)
    plain = [varied(ramp, np.random.default_rng(seed))[:, 1::2].mean(axis=1) for seed in range(40)]
    assert all((np.diff(take) > 0.014).all() for take in plain)


def test_batches_hold_every_row_once_and_clips_of_like_length():
    sequences = [np.zeros((n, 80), np.float32) for n in range(10, 110)]
    rows = np.arange(3, 99)
    batches = list(in_batches(sequences, rows, 16, np.random.default_rng(0)))
    assert [len(each) for each in batches] == [16] * 6
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), rows)
    assert max(np.ptp(each) for each in batches) < 45
    other = list(in_batches(sequences, rows, 16, np.random.default_rng(1)))
    assert not all((a == b).all() for a, b in zip(batches, other, strict=True))
