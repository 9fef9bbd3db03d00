"""Tracks come back as they went in; anything else is refused in one sentence."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne import io
from duchenne.errors import InputError, UsageError
from duchenne.types import FaceTrack


def make_track(frames: int, seed: int = 0, **more: Any) -> FaceTrack:
    """Random points at an uneven rate; every third frame is unseen."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 640, (frames, 68, 2))
    box = rng.uniform(0, 640, (frames, 4))
    confidence = rng.uniform(5, 40, frames)
    points[1::3], box[1::3], confidence[1::3] = np.nan, np.nan, np.nan
    time = np.cumsum(rng.uniform(0.01, 0.1, frames)) if frames else np.empty(0)
    values = {"frame_size": (640, 360), "source": f"clip {seed}.mp4", "history": ("followed", "é")} | more
    return FaceTrack(time, points, confidence, box, **values)


def same(a: FaceTrack, b: FaceTrack) -> bool:
    arrays = all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
        for name in ("time", "points", "confidence", "box")
    )
    others = ("frame_size", "source", "history", "layout", "unit")
    return arrays and all(getattr(a, name) == getattr(b, name) for name in others)


def bare(**changes: Any) -> dict[str, Any]:
    """A packed corpus of two clips, 3 and 2 frames, as other tools write it; None leaves a key out."""
    arrays = {
        "points": np.arange(5 * 136, dtype=np.float32).reshape(5, 68, 2),
        "box": np.tile(np.array([10, 20, 30, 40], np.float32), (5, 1)),
        "offset": np.array([0, 3, 5]),
        "fps": np.array([25, 50], np.float32),
        "clip": np.array(["one", "two"]),
        "emotion": np.array(["fear", "anger"]),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


# --- tracks -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.text(st.characters(exclude_characters="\0"), max_size=8))
def test_tracks_are_read_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], name: str) -> None:
    path = tmp_path_factory.mktemp("t") / "t.npz"
    tracks = [make_track(n, seed, source=name + str(seed)) for seed, n in enumerate(lengths)]
    assert io.save_tracks(path, tracks) == path
    back = io.load_tracks(path)
    assert len(back) == len(tracks)
    assert all(map(same, tracks, back))


def test_saving_twice_gives_the_same_bytes_without_pickle(tmp_path: Path) -> None:
    tracks = [make_track(3, unit="iod"), make_track(2, 1, history=())]
    first = io.save_tracks(tmp_path / "a.npz", tracks).read_bytes()
    assert io.save_tracks(tmp_path / "b.npz", tracks).read_bytes() == first
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["offset"].tolist() == [0, 3, 5]
        assert all(file[key].dtype != object for key in file.files)


def test_packed_points_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", **bare())
    one, two = io.load_tracks(tmp_path / "c.npz")
    assert (one.source, two.source) == ("one", "two")
    np.testing.assert_array_equal(one.points, bare()["points"][:3])
    np.testing.assert_allclose(one.time, [0, 0.04, 0.08])
    np.testing.assert_allclose(two.time, [0, 0.02])
    assert one.box.tolist() == [[10, 20, 40, 60]] * 3
    assert np.isnan(one.confidence).all() and one.frame_size == (0, 0)


def test_packed_points_need_only_points_offset_fps(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", **bare(box=None, clip=None, emotion=None))
    one, two = io.load_tracks(tmp_path / "c.npz")
    assert (one.source, two.source) == ("c.npz#0", "c.npz#1")
    assert np.isnan(two.box).all() and two.seen.all()


def test_folder_is_read_in_order_of_name(tmp_path: Path) -> None:
    for name, seed in (("b", 2), ("a", 1), (".hidden", 3)):
        io.save_tracks(tmp_path / f"{name}.npz", [make_track(2, seed), make_track(1, seed + 10)])
    found = [track.source for track in io.load_tracks(tmp_path)]
    assert found == ["clip 1.mp4", "clip 11.mp4", "clip 2.mp4", "clip 12.mp4"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": None}, "lacks points, it holds box, clip"),
        ({"fps": None, "offset": None}, "lacks fps, offset"),
        ({"points": np.zeros((5, 49, 2))}, r"points must have shape \(5, 68, 2\), found \(5, 49, 2\)"),
        ({"points": np.full((5, 68, 2), "x")}, "points must be numbers"),
        ({"offset": np.array([0, 4, 3, 5]), "fps": np.ones(3), "clip": None}, "offset must rise"),
        ({"offset": np.array([0, 3, 6])}, "offset must rise in whole numbers from 0 to the 5 rows"),
        ({"offset": np.array([0.0, 3.0, 5.0])}, "whole numbers"),
        ({"offset": np.array(3)}, "not a valid tracks file"),
        ({"fps": np.array([25.0, 0.0])}, "fps must be above 0"),
        ({"fps": np.array([25.0])}, r"fps must have shape \(2,\)"),
        ({"box": np.zeros((4, 4))}, r"box must have shape \(5, 4\)"),
        ({"points": np.array([None] * 5)}, "cannot be read"),
    ],
)
def test_invalid_packed_points_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "c.npz", **bare(**changes))
    with pytest.raises(InputError, match=message):
        io.load_tracks(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": np.array([0.0, 0.2, 0.1])}, "strictly increasing"),
        ({"meta": np.array("no json")}, "not a valid tracks file"),
        ({"meta": np.array("[]")}, "not a valid tracks file"),
        ({"meta": np.array('{"format": "duchenne-tracks", "version": 2}')}, "tracks 1 expected, found .* 2"),
    ],
)
def test_invalid_tracks_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with np.load(io.save_tracks(tmp_path / "t.npz", [make_track(3)])) as file:
        arrays = dict(file)
    np.savez(tmp_path / "t.npz", **(arrays | changes))
    with pytest.raises(InputError, match=message):
        io.load_tracks(tmp_path / "t.npz")


def test_other_files_are_refused(tmp_path: Path) -> None:
    io.save_tracks(tmp_path / "whole.npz", [make_track(30)])
    whole = (tmp_path / "whole.npz").read_bytes()
    for name, data in {"empty": b"", "text": b"hello", "cut": whole[:-200], "hole": None}.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(whole[:3000] + bytes(2000) + whole[5000:] if data is None else data)
        with pytest.raises(InputError, match=rf"{name}\.npz"):
            io.load_tracks(path)
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("a.txt", "x")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive, zipfile.ZipFile(tmp_path / "whole.npz") as whole_one:
        for member in whole_one.namelist():
            name = "points" if member == "points.npy" else member
            archive.writestr(name, "no array" if name == "points" else whole_one.read(member))
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "void").mkdir()
    for name, message in {
        "other.npz": "lacks fps, offset, points, it holds nothing",
        "text.npz": "lacks points, it holds",
        "one.npy": "is not an .npz archive",
        "void": "holds no .npz",
        "gone": "There is no file",
    }.items():
        with pytest.raises(InputError, match=message):
            io.load_tracks(tmp_path / name)


def test_shared_packed_points_are_read() -> None:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared corpus")
    tracks = io.load_tracks(Path(os.environ["DUCHENNE_DATA"], "data", "pedfe", "points.npz"))
    assert len(tracks) == 1070 and sum(map(len, tracks)) == 91581
    assert len({track.source for track in tracks}) == 1070
    for track in tracks[::100]:
        middle = (track.box[:, :2] + track.box[:, 2:]) / 2
        inside = (abs(track.points.mean(axis=1) - middle) < (track.box[:, 2:] - track.box[:, :2]) / 2).all()
        assert inside and track.seen.all()


# --- frames tables ------------------------------------------------------------------------------------------


def test_frames_table_has_a_row_per_frame_and_face_and_is_read_back(tmp_path: Path) -> None:
    first, second = make_track(4, 0), make_track(4, 1)
    table = io.frames_table([first, second])
    assert tuple(table.columns) == io.FRAME_COLUMNS
    assert table["frame"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table["face"].tolist() == [0, 1] * 4
    assert table["seen"].tolist() == [1, 1, 0, 0, 1, 1, 1, 1]
    assert table["x_3"][1] == round(float(second.points[0, 3, 0]), 2)
    path = io.write_table(tmp_path / "frames.csv", table)
    line = path.read_text().splitlines()[3].split(",")
    assert line[:1] + line[2:4] == ["1", "0", "0"] and set(line[4:]) == {""}
    for track, back in zip((first, second), io.load_tracks(path), strict=True):
        np.testing.assert_allclose(back.points, track.points, atol=0.0051)
        np.testing.assert_allclose(back.box, track.box, atol=0.0051)
        np.testing.assert_allclose(back.time, track.time, atol=1e-6)
        np.testing.assert_allclose(back.confidence, track.confidence, atol=0.00051)
        assert back.source == str(path)


def test_frames_table_without_faces_has_its_columns(tmp_path: Path) -> None:
    path = io.write_table(tmp_path / "frames.csv", io.frames_table([]))
    assert io.load_tracks(path) == []
    with pytest.raises(UsageError, match="in iod"):
        io.frames_table([make_track(2, unit="iod")])


def test_invalid_frames_table_is_refused(tmp_path: Path) -> None:
    table = io.frames_table([make_track(3)])
    cases = {
        "lacks the columns time, x_3;": table.drop(columns=["time", "x_3"]),
        "and 136 more": table.iloc[:, :3],
        "strictly increasing": table.assign(time=0.0),
        "not a valid frames table": table.assign(x_0="left"),
        "must not be empty": table.assign(face=np.nan),
    }
    for message, bad in cases.items():
        with pytest.raises(InputError, match=message):
            io.tracks_from_table(bad)
    for data in (b"", b"\xff\xfe\x00x"):
        (tmp_path / "a.csv").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.csv"):
            io.load_tracks(tmp_path / "a.csv")
