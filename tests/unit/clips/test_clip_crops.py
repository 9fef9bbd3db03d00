"""Crops of clips: cut from real files at the moments that are read, kept once, read from where they lie."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from duchenne import io, video
from duchenne.clipnets.inputs import ClipReader
from duchenne.clips import cache as clips_cache
from duchenne.clips import crops as clip_crops
from duchenne.clips import load
from duchenne.clips.cache import Cache, Mapped
from duchenne.clips.crops import cached, cut
from duchenne.datasets import portrait, simulate
from duchenne.errors import InputError
from duchenne.faces.crops import along, body, crop, whole
from duchenne.faces.landmarks import box_of
from duchenne.types import Array, Clip, FaceTrack, Features
from makers import cut as cut_short

READER = ClipReader(frames=6, side=32, channels=3)


@pytest.fixture(scope="module")
def track(smile: Path) -> FaceTrack:
    found = load.read(Clip(str(smile)))
    assert isinstance(found, FaceTrack)
    return found


@pytest.fixture
def stored(tmp_path: Path) -> Cache:
    """A cache of its own."""
    return Cache(tmp_path / "cache", 10**9)


def blind(time: Array, seen: Array) -> FaceTrack:
    """A track of no face in particular, seen in some frames."""
    points = np.where(seen[:, None, None], np.arange(136.0).reshape(68, 2), np.nan)
    n = len(time)
    return FaceTrack(time, points, np.ones(n), np.ones((n, 4)), (640, 480))


# ---- which frames


@pytest.mark.parametrize(("rate", "seconds"), [(25, 4.0), (29.97, 3.0), (100, 2.0), (10, 3.0)])
@pytest.mark.parametrize("reader", [READER, replace(READER, frames=20), replace(READER, frames=0, fps=5.0)])
def test_cached_crops_equal_those_cut(rate: float, seconds: float, reader: ClipReader) -> None:
    """Read again from the thinned track, the moments are the same: no crop lies there for nothing."""
    time = np.arange(round(rate * seconds)) / rate
    track = blind(time, np.ones(len(time), bool))
    at = reader.rows(track)
    thinned = blind(time[at], np.ones(len(at), bool))
    np.testing.assert_array_equal(reader.rows(thinned), np.arange(len(at)))


# ---- what is cut


def test_a_crop_is_what_the_frame_shows_there(track: FaceTrack, smile: Path) -> None:
    """Red, green, blue in that order, each as `crop` has it of that colour alone."""
    found = cut(track, video.frames(smile), READER)
    assert found.crops is not None and found.crops.shape == (len(found), 32, 32, 3) and found.crops.dtype == np.uint8
    for frame in video.frames(smile):
        if frame.time in found.time:
            i = int(np.flatnonzero(found.time == frame.time)[0])
            for channel in range(3):
                alone = crop(np.ascontiguousarray(frame.bgr[..., 2 - channel]), found.points[i], 32)
                np.testing.assert_array_equal(found.crops[i, ..., channel], alone)
    assert found.history[-1].startswith(f"clip_crops: {len(found)} of {len(track)} frames")


def test_grey_crops_are_those_of_the_expression_network(track: FaceTrack, smile: Path) -> None:
    found = cut(track, video.frames(smile), replace(READER, side=48, channels=1))
    every = dict(along(track, video.frames(smile)))
    assert found.crops is not None
    for row, face in zip(READER.rows(track), found.crops, strict=True):
        np.testing.assert_array_equal(face[..., 0], every[row])


def test_body_and_whole_frame_are_beside_the_face(track: FaceTrack, smile: Path) -> None:
    plain = cut(track, video.frames(smile), READER)
    both = cut(track, video.frames(smile), replace(READER, scene=True))
    assert both.crops is not None and plain.crops is not None and both.crops.shape[-1] == 9
    np.testing.assert_array_equal(both.crops[..., :3], plain.crops)
    first = next(iter(video.frames(smile)))
    np.testing.assert_array_equal(both.crops[0, ..., 6:], whole(first.bgr, 32)[..., ::-1])
    person = body(first.bgr, track.points[READER.rows(track)[0]])
    np.testing.assert_array_equal(both.crops[0, ..., 3:6], whole(person, 32)[..., ::-1])


def test_a_body_is_measured_from_the_faces_box_and_ends_with_the_image() -> None:
    """Each pixel of the image holds its own place."""
    place = np.stack(np.meshgrid(np.arange(600), np.arange(400)), axis=-1)
    points = np.array(simulate.track(simulate.KINDS["posed"], 25.0, seed=1).points[0])
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0).max() * 40 + [300, 60]
    x0, y0, x1, y1 = box_of(points)
    found = body(place, points)
    assert found[0, 0, 0] == int((x0 + x1) / 2 - 2.5 * (x1 - x0)) and found[0, 0, 1] == max(
        0, int((y0 + y1) / 2 - 1.5 * (y1 - y0))
    )
    assert found[-1, -1].tolist() == [
        np.ceil((x0 + x1) / 2 + 2.5 * (x1 - x0)) - 1,
        np.ceil((y0 + y1) / 2 + 5 * (y1 - y0)) - 1,
    ]
    near = body(place, points - (290, -320))  # a face in the lower left corner
    assert near[-1, 0].tolist() == [0, 399]
    assert body(place, points + 5000).size  # beyond the image


@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (10, 10), (3, 200), (64, 64, 3), (30, 90, 3)])
def test_a_whole_picture_keeps_its_proportions_and_its_middle(shape: tuple[int, ...]) -> None:
    found = whole(np.full(shape, 200, np.uint8), 32)
    assert found.shape == (32, 32, *shape[2:])
    there = (found if found.ndim == 2 else found[..., 0]) > 0
    scale = 32 / max(shape[:2])
    high, wide = there.any(axis=1).sum(), there.any(axis=0).sum()
    assert (high, wide) == tuple(max(1, round(side * scale)) for side in shape[:2])
    assert abs(there.argmax(axis=0).max() - (32 - high) // 2) == 0


def test_colour_comes_out_as_it_went_in() -> None:
    """The photograph in colour, cropped, has the colours that its crops in each channel have."""
    from skimage.data import astronaut

    picture, points = astronaut(), portrait.LANDMARKS
    face = crop(picture, points, 64)
    assert face.shape == (64, 64, 3)
    for channel in range(3):
        np.testing.assert_array_equal(face[..., channel], crop(picture[..., channel].copy(), points, 64))
    assert np.abs(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(int) - crop(_grey(picture), points, 64)).max() <= 2


def _grey(picture: Array) -> Array:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


# ---- kept


def test_crops_are_cut_once_and_read_where_they_lie(
    smile: Path, track: FaceTrack, tmp_path: Path, stored: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(str(smile))
    first = cached(clip, track, READER, stored)
    want = cut(track, video.frames(smile), READER)
    crops: Any = first.crops
    assert isinstance(crops, Mapped) and len(list(stored.folder.iterdir())) == 1
    np.testing.assert_array_equal(np.asarray(crops), want.crops)
    np.testing.assert_array_equal(first.time, want.time)
    monkeypatch.setattr(clip_crops, "cut", None)  # whoever cuts again fails
    again = cached(clip, track, READER, stored)
    assert again.crops == first.crops


def test_mapped_crops_behave_like_an_array(smile: Path, track: FaceTrack, stored: Cache) -> None:
    crops: Any = cached(Clip(str(smile)), track, READER, stored).crops
    whole_of_it = np.asarray(crops)
    assert (len(crops), crops.shape, crops.dtype) == (len(whole_of_it), whole_of_it.shape, whole_of_it.dtype)
    for which in (np.array([3, 0, 3]), slice(2, 5), 1, np.zeros(0, int)):
        np.testing.assert_array_equal(crops[which], whole_of_it[which])
    assert np.asarray(crops, np.float32).dtype == np.float32
    assert pickle.loads(pickle.dumps(crops)) == crops and len(pickle.dumps(crops)) < 1000
    crops[0][:] = 0  # what was read may be written to, the file must not change
    np.testing.assert_array_equal(np.asarray(crops), whole_of_it)


def test_no_file_stays_open_and_threads_may_read_at_once(smile: Path, track: FaceTrack, stored: Cache) -> None:
    """A corpus has more clips than a process may have files open."""
    crops: Any = cached(Clip(str(smile)), track, READER, stored).crops
    before = _open_files()
    held = [crops[i % len(crops)] for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: crops[np.array([i % len(crops)])][0], range(200)))
    for one, other in zip(held, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert _open_files() <= before + 1


def _open_files() -> int:
    place = Path("/proc/self/fd")  # of Linux alone
    return len(list(place.iterdir())) if place.is_dir() else 0


def test_truncated_crops_are_cut_again_and_changed_clips_are_other_entries(
    smile: Path, track: FaceTrack, stored: Cache
) -> None:
    clip = Clip(str(smile))
    crops: Any = cached(clip, track, READER, stored).crops
    want = np.asarray(crops)
    cut_short(Path(crops.path), 0.5)
    with pytest.raises(InputError, match="missing or damaged"):
        crops[0]
    np.testing.assert_array_equal(np.asarray(cached(clip, track, READER, stored).crops), want)
    for other in (replace(READER, side=24), replace(READER, channels=1), replace(READER, scene=True)):
        assert cached(clip, track, other, stored).crops != crops
    moved = track.evolve("moved", points=track.points + 2)
    assert cached(clip, moved, READER, stored).crops != crops
    assert cached(clip, track, replace(READER, least=3), stored).crops == crops  # of the same frames


def test_a_stretch_of_a_file_is_cut_where_it_is(smile: Path, stored: Cache) -> None:
    clip = Clip(str(smile), start=0.8, end=1.6)
    part = clip_crops.read(clip, READER, stored)
    assert part.crops is not None and part.time[0] == 0 and part.time[-1] < 0.8
    frames = {round(f.time, 3): f for f in video.frames(smile, start=0.8, end=1.6)}
    for time, points, face in zip(part.time, part.points, np.asarray(part.crops), strict=True):
        np.testing.assert_array_equal(face, crop(frames[round(float(time), 3)].bgr, points, 32)[..., ::-1])


def test_the_track_is_cached_too(smile: Path, tmp_path: Path, stored: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clip_crops.read(Clip(str(smile)), READER, stored)
    monkeypatch.setattr(clips_cache, "read_faces", None)  # whoever follows again fails
    again = clip_crops.read(Clip(str(smile)), replace(READER, side=24), stored)
    np.testing.assert_array_equal(first.points, again.points)
    (file,) = stored.folder.glob("*.followed")
    cut_short(file, 0.5)
    with pytest.raises(TypeError):  # cut short, so it is followed again
        clip_crops.read(Clip(str(smile)), READER, stored)


def test_clips_without_video_are_refused(tmp_path: Path, stored: Cache, track: FaceTrack) -> None:
    packed = io.save_tracks(tmp_path / "x.npz", [simulate.track(simulate.POSED, 25.0, seed=1)])
    clip = Clip(f"{packed}#0")
    with pytest.raises(InputError, match=r"x\.npz#0 holds no images, and this model reads pixels"):
        clip_crops.read(clip, READER, stored)
    with pytest.raises(InputError, match="holds no images"):
        cached(clip, Features(np.zeros(1), ("a",)), READER, stored)


def test_track_without_a_face_has_no_crops_and_another_videos_track_is_refused(smile: Path, track: FaceTrack) -> None:
    gone = track.evolve("gone", points=np.full_like(track.points, np.nan))
    none = cut(gone, video.frames(smile), READER)
    assert not len(none) and none.crops is None
    late = track.evolve("late", time=track.time + 10)
    with pytest.raises(InputError, match="has no frame at"):
        cut(late, video.frames(smile), READER)
    flat = replace(track, unit="iod")
    with pytest.raises(InputError, match="crops need a track in pixels"):
        cut(flat, video.frames(smile), READER)


def test_reader_reads_cached_crops_like_others(smile: Path, track: FaceTrack, stored: Cache) -> None:
    there, held = cached(Clip(str(smile)), track, READER, stored), cut(track, video.frames(smile), READER)
    one, other = READER.table([there])[0], READER.table([held])[0]
    at = np.array([0, 2, 5])
    np.testing.assert_array_equal(one.at(at), other.at(at))
    assert len(one) == len(other) == READER.frames
