"""Tables of OpenFace and py-feat mean what their makers wrote, come back as they went out, or are refused in words."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duchenne import io
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.types import Array, FaceTrack, Signals

POINTS = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
FACE = np.arange(1, 137, dtype=float)  # x_0 = 1, …, y_67 = 136


def openface(path: Path, rows: list[dict[str, Any]], *, face_id: bool = False, drop: tuple[str, ...] = ()) -> Path:
    """An OpenFace table by hand: `rows` change frame, timestamp, …; the points are FACE + `by`."""
    names = ["frame", *(["face_id"] if face_id else []), "timestamp", "confidence", "success", "gaze_0_x"]
    names = [n for n in [*names, *POINTS, "p_scale", "AU01_r", "AU12_r", "AU12_c"] if n not in drop]
    lines = [", ".join(names)]
    for i, change in enumerate(rows):
        row = {"frame": i + 1, "face_id": 0, "timestamp": i / 25, "confidence": 0.98, "success": 1, "gaze_0_x": 0.1}
        row |= {"p_scale": 1, "AU01_r": 0.5, "AU12_r": i, "AU12_c": 1}
        row |= dict(zip(POINTS, FACE + change.get("by", 0), strict=True)) | change
        lines.append(",".join(str(row[name]) for name in names))
    path.write_text("\n".join(lines) + "\n")
    return path


def pyfeat(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A py-feat table by hand, columns as in its own example data."""
    table = []
    for i, change in enumerate(rows):
        by = change.get("by", 0)
        row: dict[str, Any] = {"FaceRectX": 1, "FaceRectY": 2, "FaceRectWidth": 30, "FaceRectHeight": 40}
        row |= {"FaceScore": 0.9} | dict(zip(POINTS, FACE, strict=True))
        row |= {"Pitch": 0.1, "AU01": 0.25, "AU12": 0.75, "happiness": 0.9, "FrameHeight": 480.0, "FrameWidth": 640.0}
        row |= {"input": "a.mp4", "frame": i, "approx_time": "00:00", "Identity": np.nan}
        row["FaceRectX"] += by
        row |= {name: row[name] + by for name in POINTS}
        table.append(row | {k: v for k, v in change.items() if k != "by"})
    pd.DataFrame(table).to_csv(path, index=False)
    return path


NO_FACE = dict.fromkeys(("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", *POINTS), np.nan)


def flat(track: FaceTrack) -> Array:
    return np.hstack([track.points[..., 0], track.points[..., 1]])


def alike(a: FaceTrack, b: FaceTrack, *, box: bool = False) -> None:
    """The same to 0.01 px and a microsecond, and unseen in the same frames."""
    np.testing.assert_allclose(b.points, a.points, atol=0.0051, rtol=0)
    np.testing.assert_allclose(b.time, a.time, atol=1e-6, rtol=0)
    np.testing.assert_allclose(b.confidence, a.confidence, atol=1e-5, rtol=0)
    if box:
        np.testing.assert_allclose(b.box, a.box, atol=0.011, rtol=0)


# --- OpenFace in --------------------------------------------------------------------------------------------


def test_real_openface_table_matches_its_cells(tmp_path: Path) -> None:
    if "DUCHENNE_DATA" not in os.environ:
        pytest.skip("DUCHENNE_DATA does not name the folder with the shared OpenFace table")
    path = Path(os.environ["DUCHENNE_DATA"], "clips", "openface_output.csv")
    with path.open(newline="") as file:  # read a second way, without pandas
        cells = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    (track,) = io.load_tracks(path)
    assert len(track) == len(cells) == 100 and track.seen.all() and track.frame_size == (0, 0)
    np.testing.assert_allclose(flat(track), [[c[n] for n in POINTS] for c in cells], rtol=1e-6)
    np.testing.assert_array_equal(track.time, [c["timestamp"] for c in cells])
    np.testing.assert_allclose(track.confidence, [c["confidence"] for c in cells], rtol=1e-6)
    assert np.isnan(track.box).all() and track.source == str(path)
    assert "OpenFace" in track.history[0] and "AU 0–5 intensity" in track.history[0]
    assert io.load_tracks(path, rate=50)[0].time.tolist() == [(c["frame"] - 1) / 50 for c in cells]

    (units,) = io.action_units(path)
    assert len(units.names) == 17 + 18 and set(units.units) == {"0-5", "0/1"}
    for name in ("AU01", "AU45", "AU28_c"):
        cell = name if "_" in name else f"{name}_r"
        np.testing.assert_allclose(units[name], [c[cell] for c in cells])

    (back,) = io.load_tracks(io.write_as(tmp_path / "o.csv", [track], "openface", [units]))
    alike(track, back)
    np.testing.assert_allclose(io.action_units(tmp_path / "o.csv")[0].values, units.values)
    (other,) = io.load_tracks(io.write_as(tmp_path / "p.csv", [back], "py-feat"))
    (again,) = io.load_tracks(io.write_as(tmp_path / "q.csv", [other], "openface"))
    alike(track, again)


def test_openface_without_success_is_unseen(tmp_path: Path) -> None:
    zeros = dict.fromkeys((*POINTS, "confidence", "AU01_r", "AU12_r", "AU12_c"), 0)
    rows = [{}, {"success": 0, "by": 7}, {"success": 0} | zeros, {"by": 3}]  # a guess; zeros
    path = openface(tmp_path / "a.csv", rows)
    (track,) = io.load_tracks(path)
    assert track.seen.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(flat(track)[[0, 3]], [FACE, FACE + 3])
    assert np.isnan(track.points[1:3]).all() and np.isnan(track.confidence[1:3]).all()
    np.testing.assert_allclose(track.time, [0, 0.04, 0.08, 0.12])
    (units,) = io.action_units(path)
    assert units.names == ("AU01", "AU12", "AU12_c") and units.units == ("0-5", "0-5", "0/1")
    np.testing.assert_array_equal(units["AU12"], [0, np.nan, np.nan, 3])


def test_openface_zeros_are_unseen_even_with_success(tmp_path: Path) -> None:
    (track,) = io.load_tracks(openface(tmp_path / "a.csv", [{}, dict.fromkeys(POINTS, 0)]))
    assert track.seen.tolist() == [True, False] and np.isnan(track.confidence[1])


def test_openface_faces_are_split_by_id(tmp_path: Path) -> None:
    rows = [
        {"frame": f, "face_id": i, "timestamp": f / 10, "by": 100 * i, "AU12_r": i}
        for f, i in [(1, 2), (1, 0), (2, 0), (4, 0), (4, 2)]  # frame 3 has no row at all, face 2 none in 2
    ]
    path = openface(tmp_path / "a.csv", rows, face_id=True)
    first, second = io.load_tracks(path)
    assert first.seen.tolist() == [True, True, False, True]
    assert second.seen.tolist() == [True, False, False, True]
    np.testing.assert_allclose(first.time, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(second.points[3, 0], [201, 269])
    assert "frames without a row: 1" in first.history[0]
    assert np.isnan(io.action_units(path)[1]["AU12"]).tolist() == [False, True, True, False]


def test_openface_action_units_need_no_landmarks(tmp_path: Path) -> None:
    path = openface(tmp_path / "a.csv", [{}, {}], drop=tuple(POINTS))
    assert io.action_units(path)[0]["AU12"].tolist() == [0, 1]
    with pytest.raises(InputError, match=r"lacks the columns x_0, x_1, .* and 130 more"):
        io.load_tracks(path)


@pytest.mark.parametrize("times", [[0, 0, 0], [0, 0.04, 0.04], [0, 0.04, 0.02], [0, 0.04, np.nan], [np.nan, 0, 1]])
def test_openface_times_that_do_not_rise_need_a_rate(tmp_path: Path, times: list[float]) -> None:
    path = openface(tmp_path / "a.csv", [{"timestamp": t} for t in times])
    with pytest.raises(InputError, match=r"a\.csv, line \d: the time does not rise .*--rate"):
        io.load_tracks(path)
    assert io.load_tracks(path, rate=20)[0].time.tolist() == [0, 0.05, 0.1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_3": "left"}, r"a\.csv, line 3: x_3 \(left\) is not a number"),
        ({"x_3": "inf"}, "line 3: x_3 .* is not a number"),
        ({"y_67": ""}, "line 3: y_67 is empty, and the row seems cut off"),
        ({"frame": 2.5}, r"line 3: frame \(2.5\) is not a whole number"),
        ({"frame": 0}, "line 3: frame .* below 1"),
        ({"frame": 1, "timestamp": 0}, "line 3 repeats a face in the same frame"),
        ({"success": 2}, "line 3: success .* neither 0 nor 1"),
    ],
)
def test_invalid_openface_rows_are_refused_by_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        io.load_tracks(openface(tmp_path / "a.csv", [{}, change]))
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AU12_r": 5.5}, r"line 3: AU12_r \(5.5\) is off its scale"),
        ({"AU12_c": -1}, "line 3: AU12_c .* off its scale"),
        ({"AU12_r": ""}, "line 3: AU12_r is empty in a frame with a face"),
        ({"AU01_r": "high"}, "line 3: AU01_r .* not a number"),
    ],
)
def test_invalid_openface_units_are_refused_by_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        io.action_units(openface(tmp_path / "a.csv", [{}, change]))


# --- py-feat in ---------------------------------------------------------------------------------------------


def test_pyfeat_counts_time_from_frames_and_a_given_rate(tmp_path: Path) -> None:
    # every second frame was analysed; frame 4 has an empty row, frame 6 none
    path = pyfeat(tmp_path / "a.csv", [{"frame": 0}, {"frame": 2}, {"frame": 4} | NO_FACE, {"frame": 8, "by": 5}])
    (track,) = io.load_tracks(path, rate=50)
    assert track.time.tolist() == [0, 0.04, 0.08, 0.12, 0.16]
    assert track.seen.tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(flat(track)[4], FACE + 5)
    assert track.box[0].tolist() == [1, 2, 31, 42] and np.isnan(track.box[2]).all()
    np.testing.assert_allclose(track.confidence, [0.9, 0.9, np.nan, np.nan, 0.9], rtol=1e-6)
    assert track.frame_size == (640, 480) and "from 0, AU 0–1 probability" in track.history[0]
    (units,) = io.action_units(path, rate=50)
    assert units.names == ("AU01", "AU12") and units.units == ("0-1", "0-1")
    np.testing.assert_array_equal(units["AU12"], [0.75, 0.75, np.nan, np.nan, 0.75])
    np.testing.assert_array_equal(units.time, track.time)


@pytest.mark.parametrize("times", [("00:00", "00:01"), (0, 1), ("00:00.5", "soon"), (np.nan, np.nan)])
def test_pyfeat_without_exact_times_needs_a_rate(tmp_path: Path, times: tuple[Any, ...]) -> None:
    path = pyfeat(tmp_path / "a.csv", [{"approx_time": t} for t in times])
    for read in (io.load_tracks, io.action_units):
        with pytest.raises(UsageError, match=r"a\.csv holds no exact times.*--rate"):
            read(path)
        for rate in (0, -1, np.nan, np.inf):
            with pytest.raises(UsageError, match="must be above 0"):
                read(path, rate=rate)


@pytest.mark.parametrize("times", [(0.0, 0.04), ("00:00.000", "00:00.040"), ("01:00.5", "01:00.54")])
def test_pyfeat_times_with_fractions_are_used(tmp_path: Path, times: tuple[Any, ...]) -> None:
    (track,) = io.load_tracks(pyfeat(tmp_path / "a.csv", [{"approx_time": t} for t in times]))
    np.testing.assert_allclose(np.diff(track.time), 0.04)
    assert track.time[0] == (60.5 if str(times[0]).startswith("01") else 0)


def test_pyfeat_faces_are_followed_by_their_place(tmp_path: Path) -> None:
    rows = [(0, "A", 0), (0, "B", 300), (1, "B", 0), (1, "A", 300), (2, "B", 0)]
    named = [{"frame": f, "Identity": who, "by": by} for f, who, by in rows]
    nameless, twice = [{**row, "Identity": np.nan} for row in named], [{**row, "Identity": "A"} for row in named]
    boxless = [{**row, "FaceRectX": np.nan} for row in nameless]
    for rows_ in (named, nameless, twice, boxless):
        left, right = io.load_tracks(pyfeat(tmp_path / "b.csv", rows_), rate=1)
        np.testing.assert_array_equal(left.points[:, 0, 0], [1, 1, 1])
        np.testing.assert_array_equal(right.points[:, 0, 0], [301, 301, np.nan])
        assert "faces by place" in left.history[0]


def test_pyfeat_without_any_face_is_one_unseen_track(tmp_path: Path) -> None:
    (track,) = io.load_tracks(pyfeat(tmp_path / "a.csv", [NO_FACE, NO_FACE]), rate=25)
    assert len(track) == 2 and not track.seen.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_3": "left"}, r"a\.csv, line 3: x_3 \(left\) is not a number"),
        ({"y_67": np.nan}, "line 3: y_67 is empty"),
        ({"frame": -1}, "line 3: frame .* not a whole number from 0"),
        ({"input": "b.mp4"}, "holds 2 inputs"),
        ({"x_68": 1}, "mesh of more than 68 points"),
    ],
)
def test_invalid_pyfeat_rows_are_refused_by_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        io.load_tracks(pyfeat(tmp_path / "a.csv", [{}, change]), rate=25)


def test_pyfeat_units_off_the_scale_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3: AU12 \(2.5\) is off its scale"):
        io.action_units(pyfeat(tmp_path / "a.csv", [{}, {"AU12": 2.5}]), rate=25)


# --- either -------------------------------------------------------------------------------------------------


def test_dialect_follows_from_the_header(tmp_path: Path) -> None:
    assert io.dialect(io.FRAME_COLUMNS) == "duchenne"
    assert io.dialect(["frame", " face_id", " timestamp", " confidence", " success"]) == "openface"
    assert io.dialect(["frame", "FaceRectX", "FaceScore", "AU01"]) == "py-feat"
    assert io.dialect(["path", "subject"]) is io.dialect([]) is None
    assert io.dialect(["face", " confidence", " x_0"]) is None  # OpenFace of single pictures


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as CSV"),
        (b"path,subject\na,b\n", "not a table of face tracks, its columns are path, subject;"),
        (b"frame, timestamp, confidence, success\n1,0,1,1\n", "lacks the columns x_0"),
        (b"frame, timestamp, con\0fidence, success\n", "NUL byte"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read as CSV|not a table of face tracks"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.csv.*({message})") as error:
        io.load_tracks(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"a\.csv"):
        io.action_units(path)


def test_damaged_openface_file_is_refused_but_not_trailing_blank_lines(tmp_path: Path) -> None:
    path = openface(tmp_path / "a.csv", [{}, {}, {}])
    whole = path.read_text()
    path.write_text(whole + "\n\n")
    assert len(io.load_tracks(path)[0]) == 3
    path.write_bytes(b"\xef\xbb\xbf" + whole.replace("\n", "\r\n").encode())  # as a spreadsheet saves it
    assert len(io.load_tracks(path)[0]) == 3
    lines = whole.splitlines(keepends=True)
    for text, message in {
        whole[: -len(lines[-1]) // 2]: r"line 4 has \d\d cells where the header has 145",
        whole[:-9]: "line 4 has 14. cells",
        lines[0]: "has a header but no rows",
        lines[0] + lines[1].replace("\n", ",1\n"): "line 2 has 146 cells",
        whole + lines[1].replace("\n", ",1\n"): "line 5 has 146 cells",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message) as error:
            io.load_tracks(path)
        assert "\n" not in str(error.value)


def test_duplicate_columns_are_refused(tmp_path: Path) -> None:
    table = pd.read_csv(openface(tmp_path / "a.csv", [{}]))
    assert io.tracks_from_openface(table)[0].seen.all()
    with pytest.raises(InputError, match="The table has two columns frame"):
        io.tracks_from_openface(table.rename(columns={" gaze_0_x": "frame "}))


def test_jump_in_frame_numbers_is_refused(tmp_path: Path) -> None:
    path = openface(tmp_path / "a.csv", [{}, {}, {"frame": 1e12}])
    with pytest.raises(InputError, match=r"line 4: `frame` jumps from 2 to 1000000000000"):
        io.load_tracks(path)


def test_tables_without_action_units_are_refused(tmp_path: Path) -> None:
    for table in (pd.DataFrame({"a": [1]}), io.frames_table([])):
        with pytest.raises(InputError, match="holds no action units"):
            io.action_units(table)


def test_rate_is_refused_where_times_are_known(tmp_path: Path) -> None:
    tracks = [face(3)]
    for path in (io.save_tracks(tmp_path / "a.npz", tracks), io.write_as(tmp_path / "a.csv", tracks, "duchenne")):
        with pytest.raises(UsageError, match="holds its own times"):
            io.load_tracks(path, rate=25)
        assert len(io.load_tracks(path)) == 1


# --- out ----------------------------------------------------------------------------------------------------


def face(frames: int, seed: int = 0, unseen: tuple[int, ...] = (), **more: Any) -> FaceTrack:
    rng = np.random.default_rng(seed)
    place = 200 * seed + rng.uniform(0, 10, (frames, 1))
    points = (
        np.append(place, place, axis=1)[:, None] + rng.uniform(1, 140, (1, 68, 2)) + rng.uniform(0, 3, (frames, 68, 2))
    )
    box = np.append(place + rng.uniform(0, 3, (frames, 2)), place + 150 + rng.uniform(0, 3, (frames, 2)), axis=1)
    confidence = rng.uniform(0, 1, frames)
    time = np.cumsum(np.random.default_rng(99).uniform(0.01, 0.1, frames))  # the same for all faces of a clip
    for row in unseen:
        points[row], box[row], confidence[row] = np.nan, np.nan, np.nan
    values = {"frame_size": (640, 360), "source": "clip.mp4"} | more
    return FaceTrack(time, points, confidence, box, **values)


def units(track: FaceTrack, scale: str, seed: int = 0) -> Signals:
    top = {"0-5": 5, "0-1": 1}[scale]
    values = np.random.default_rng(seed).uniform(0, top, (len(track), 2))
    values[~track.seen] = np.nan
    return Signals(track.time, values, ("AU06", "AU12"), (scale, scale))


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 6), faces=st.integers(1, 3), unseen=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 5)))
)
def test_tables_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, frames: int, faces: int, unseen: set[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("t")
    lost = [tuple(i for f, i in sorted(unseen) if f == number and i < frames) for number in range(faces)]
    tracks = [face(frames, seed, lost[seed]) for seed in range(faces)]
    for who, scale in (("openface", "0-5"), ("py-feat", "0-1")):
        curves = [units(track, scale, seed) for seed, track in enumerate(tracks)]
        path = io.write_as(folder / f"{who}.csv", tracks, who, curves)
        for track, back in zip(tracks, io.load_tracks(path), strict=True):
            alike(track, back, box=who == "py-feat")
            assert back.frame_size == ((640, 360) if who == "py-feat" else (0, 0))
        for curve, again in zip(curves, io.action_units(path), strict=True):
            np.testing.assert_allclose(again.values, curve.values)
            assert (again.names, again.units) == (curve.names, curve.units)
    middle = io.load_tracks(io.write_as(folder / "m.csv", io.load_tracks(folder / "openface.csv"), "py-feat"))
    for track, back in zip(tracks, io.load_tracks(io.write_as(folder / "n.csv", middle, "openface")), strict=True):
        alike(track, back)


def test_openface_export_matches_openface(tmp_path: Path) -> None:
    track = face(2, unseen=(1,))
    curves = Signals(track.time, np.array([[1, 2.5], [np.nan, np.nan]]), ("AU12_c", "AU12"), ("0/1", "0-5"))
    path = io.write_as(tmp_path / "a.csv", [track], "openface", [curves])
    header, first, second = path.read_text().splitlines()
    names = ["frame", "face_id", "timestamp", "confidence", "success", *POINTS, "AU12_r", "AU12_c"]
    assert header == ", ".join(names)  # no gaze, no pose: not measured
    assert first.split(",")[:2] == ["1", "0"] and first.split(",")[-2:] == ["2.5", "1.0"]
    assert [float(v) for v in second.split(",")[3:]] == [0] * 140
    assert set(io.to_pyfeat([track]).columns) == {*NO_FACE, "FrameHeight", "FrameWidth"} | {
        "input",
        "frame",
        "approx_time",
        "Identity",
    }
    assert io.to_pyfeat([track])["frame"].tolist() == [0, 1]


def test_confidence_of_another_scale_is_left_empty() -> None:
    track = face(2)
    track = replace(track, confidence=np.array([17.0, 0.5]))  # the first is a peak-to-sidelobe ratio
    np.testing.assert_array_equal(io.to_openface([track])["confidence"], [np.nan, 0.5])
    np.testing.assert_array_equal(io.to_pyfeat([track])["FaceScore"], [np.nan, 0.5])
    assert io.tracks_from_openface(io.to_openface([track]))[0].seen.all()


def test_scales_are_not_converted(tmp_path: Path) -> None:
    track = face(3)
    path = io.write_as(tmp_path / "a.csv", [track], "py-feat")
    before = path.read_bytes()
    presence = Signals(track.time, np.ones((3, 1)), ("AU12_c",), ("0/1",))
    for who, curves in (("py-feat", units(track, "0-5")), ("openface", units(track, "0-1")), ("py-feat", presence)):
        with pytest.raises(UsageError, match=rf"^AU\d\d(_c)? in 0.\d does not fit a table of {who} .*\.$"):
            io.write_as(path, [track], who, [curves])
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["a.csv"]


def test_export_of_unsupported_content_is_refused(tmp_path: Path) -> None:
    track, curves = face(3), units(face(3), "0-5")
    holed = replace(curves, values=np.where([[1], [0], [1]], curves.values, np.nan))
    path = tmp_path / "a.csv"
    for tracks, who, given_, message in [
        ([track], "openface", [holed], r"AU06_r is missing at .* s, where the face is seen"),
        ([track], "openface", [], "each of 1 tracks, found 0"),
        ([track, track], "openface", [curves, replace(curves, names=("AU01", "AU12"))], "different action units"),
        ([track], "openface", [replace(curves, time=curves.time + 1)], "and their track have different times"),
        ([track], "openface", [replace(curves, names=("smile", "AU12"))], "smile in 0-5 does not fit"),
        ([track, face(2)], "openface", None, "not from one clip"),
        ([face(3, unit="iod")], "py-feat", None, "is in iod"),
        ([track], "duchenne", [curves], "has no action units"),
        ([track], "affdex", None, "no table dialect 'affdex'"),
    ]:
        with pytest.raises(UsageError, match=message):
            io.write_as(path, tracks, who, given_)
    assert not list(tmp_path.iterdir())
    path.mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        io.write_as(path, [track], "openface")


def test_no_face_gives_only_the_header() -> None:
    assert io.dialect(io.to_openface([]).columns) == "openface" and io.dialect(io.to_pyfeat([]).columns) == "py-feat"
