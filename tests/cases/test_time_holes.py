"""Holes in time stay holes and take no memory; archives made to fill memory are refused."""

import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duchenne import gates, io
from duchenne.errors import DuchenneError, InputError
from duchenne.features.descriptors import longest_seen, prepare
from duchenne.features.spotting import spot
from duchenne.preprocess import align, clean
from duchenne.types import FaceTrack
from makers import make_video, noise_pictures


def moving(frames: int = 60, rate: float = 30.0) -> FaceTrack:
    """A frontal face whose mouth opens and closes."""
    shape = 100 * align.template()[:, :2] + [320, 180]
    points = np.repeat(shape[None], frames, axis=0)
    points[:, 57, 1] += 20 * np.sin(np.linspace(0, np.pi, frames))
    box = np.tile([200.0, 50, 440, 290], (frames, 1))
    return FaceTrack(np.arange(frames) / rate, points, np.ones(frames), box, (640, 360), source="a.mp4")


def with_hole(seconds: float, at: int = 40) -> FaceTrack:
    track = moving()
    return replace(track, time=track.time + seconds * (np.arange(len(track)) >= at))


@pytest.mark.parametrize("seconds", [0.3, 5.0, 13.0, 20.0, 1e4, 1e5, 1e7])
def test_nothing_is_read_in_a_hole_and_it_takes_no_memory(seconds: float) -> None:
    track = with_hole(seconds)
    tracemalloc.start()
    face, curves = prepare(track, gates.FPS)
    window = gates.stretches(track, curves)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 and len(face) < 350
    inside = (face.time > track.time[39] + 1e-6) & (face.time < track.time[40] - 1e-6)
    assert inside.any() and not face.seen[inside].any()
    assert abs(len(longest_seen(curves)) - 65) <= 2  # 39 steps of 1/30 s, at 50 per second
    assert len(window) >= 40


def test_an_ordinary_clip_is_resampled_as_before() -> None:
    track = moving()
    grid = np.arange(0, track.time[-1] + 1e-9, 0.02)
    again = clean.resample(track, fps=50)
    np.testing.assert_array_equal(again.time, grid)
    np.testing.assert_allclose(again.points[:, 57, 1], np.interp(grid, track.time, track.points[:, 57, 1]), rtol=1e-6)
    late = replace(track, time=track.time + 0.1 * (np.arange(60) >= 30))  # two frames lost: no hole
    assert clean.resample(late, fps=50).seen.all() and not clean.resample(with_hole(0.25), fps=50).seen.all()


def test_moving_means_do_not_cross_a_hole() -> None:
    track = moving(240, 120.0)
    cut = replace(track, time=track.time + 5.0 * (np.arange(240) >= 120))
    apart = clean.resample(track.take("first half", np.arange(120)), fps=25)
    both = clean.resample(cut, fps=25)
    np.testing.assert_array_equal(both.points[: len(apart)], apart.points)


def test_a_micro_expression_is_not_found_across_a_hole() -> None:
    track = moving(60, 30.0)
    with pytest.raises(InputError, match=r"shows the face for 0\.\d\d s without a gap"):
        spot(replace(track, time=track.time + 9.0 * (np.arange(60) // 12)))


@pytest.mark.parametrize("kind", ["npz", "csv", "openface"])
@pytest.mark.parametrize("seconds", [20.0, 1e5])
def test_holes_survive_files(tmp_path: Path, kind: str, seconds: float) -> None:
    track, path = with_hole(seconds), tmp_path / f"a.{'npz' if kind == 'npz' else 'csv'}"
    if kind == "npz":
        io.save_tracks(path, [track])
    elif kind == "csv":
        io.write_table(path, io.frames_table([track]))
    else:
        text = io.write_as(path, [track], "openface").read_text().splitlines()
        jump = round(seconds * 30)
        rows = [line.split(",", 1) for line in text[1:]]
        path.write_text("\n".join([text[0], *(f"{int(n) + jump * (int(n) > 40)},{more}" for n, more in rows)]) + "\n")
    tracemalloc.start()
    (found,) = io.load_tracks(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 and found.seen.sum() == 60
    np.testing.assert_allclose(found.time[found.seen], track.time, atol=1e-5)


def test_a_video_with_a_hole_has_it_in_its_times(tmp_path: Path) -> None:
    from duchenne import video

    times = [40 * k + 20_000 * (k >= 5) for k in range(10)]
    path = make_video(tmp_path / "a.mkv", noise_pictures(10), times=times)
    assert [round(frame.time, 3) for frame in video.frames(path)] == [t / 1000 for t in times]


def test_archives_made_to_fill_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "zeros.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**29,)})
        for _ in range(2**9):
            file.write(bytes(2**20))
    assert path.stat().st_size < 4e6
    with pytest.raises(ValueError, match="times its size"):
        io.read_arrays(path)
    with pytest.raises(DuchenneError, match="times its size"):
        io.load_tracks(path)


def test_hundreds_of_thousands_of_tracks_are_refused(tmp_path: Path) -> None:
    count = 300_000
    np.savez(
        tmp_path / "many.npz",
        points=np.zeros((0, 68, 2), np.float32),
        offset=np.zeros(count + 1, np.int64),
        fps=np.ones(count),
    )
    with pytest.raises(InputError, match="300,000 tracks, expected at most 50,000"):
        io.load_tracks(tmp_path / "many.npz")
