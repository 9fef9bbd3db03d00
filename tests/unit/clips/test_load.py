"""What a row of a manifest stands for, read from files that are really there, and really change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import RATE
from duchenne import io
from duchenne.clipnets.inputs import ClipReader
from duchenne.clips import load
from duchenne.clips.cache import Cache
from duchenne.datasets import simulate
from duchenne.datasets.manifest import read, write
from duchenne.datasets.simulated import data_set
from duchenne.errors import DuchenneError, InputError
from duchenne.registry import READERS
from duchenne.tabular.rows import Reader
from duchenne.training import data
from duchenne.types import Array, Clip, FaceTrack, Features
from makers import cut, make_image, make_video


def tracks(count: int = 3) -> list[FaceTrack]:
    kinds = list(simulate.KINDS)
    return [
        simulate.track(simulate.KINDS[kinds[i % 2]], 25.0, seed=i).evolve("named", source=f"take_{i}")
        for i in range(count)
    ]


def features(sample: object) -> Features:
    assert isinstance(sample, Features)
    return sample


def test_a_video_is_the_face_that_is_seen_in_it(smile: Path):
    track = load.read(Clip(str(smile)))
    assert isinstance(track, FaceTrack) and track.seen.mean() > 0.9 and track.duration == pytest.approx(2.4, abs=0.1)
    part = load.read(Clip(str(smile), start=0.8, end=1.6))
    assert isinstance(part, FaceTrack) and part.duration == pytest.approx(0.8, abs=0.1)


def test_what_stores_no_times_has_the_rate_of_its_row(pictures: list[Array], tmp_path: Path) -> None:
    stream, video = (make_video(tmp_path / name, pictures[:10], rate=RATE) for name in ("a.h264", "a.mp4"))
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures[:10]):
        make_image(tmp_path / "images" / f"{i}.png", picture)
    names = (stream, tmp_path / "images", video)
    lines = [f"{name},p{i},,genuine,{RATE}" for i, name in enumerate(names)]  # the last stores its times
    (tmp_path / "m.csv").write_text("\n".join(["path,subject,emotion,label,rate", *lines, ""]))
    rows = read(tmp_path / "m.csv")
    assert [clip.rate for clip in rows] == [RATE, RATE, None]
    assert read(write(tmp_path / "again.csv", rows)) == rows
    readers = (Reader("clip length"), ClipReader(frames=6, side=32))
    found = data.read(tmp_path / "m.csv", readers, Cache(tmp_path / "cache"), log=lambda _: None)
    assert len(found.clips) == 3  # also by a model of pixels
    for clip in rows[:2]:
        track = load.read(clip)
        assert isinstance(track, FaceTrack) and track.seen.mean() > 0.9
        np.testing.assert_allclose(track.time, np.arange(10) / RATE)
        with pytest.raises(DuchenneError, match=r"pass --rate .* in the column rate of a manifest"):
            load.read(replace(clip, rate=None))
    (tmp_path / "m.csv").write_text(f"path,subject,emotion,label,rate\n{stream},p,,posed,fast\n")
    with pytest.raises(InputError, match=r"a\.h264 has the rate 'fast'"):
        read(tmp_path / "m.csv")


def test_training_data_know_the_reader_of_their_faces_and_do_not_mix_two(pictures: list[Array], tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", pictures[:10], rate=RATE)
    plain, other = tracks(2)
    meshed = replace(other, coefficients=np.full((len(other), 52), 0.5), pose=np.zeros((len(other), 3)))
    files = [io.save_tracks(tmp_path / f"{i}.npz", [track]) for i, track in enumerate((plain, meshed))]

    def found(*names: object, **options: str) -> data.TrainingData:
        lines = [f"{name},p{i},,genuine" for i, name in enumerate(names)]
        (tmp_path / "m.csv").write_text("\n".join(["path,subject,emotion,label", *lines, ""]))
        readers, cache = (Reader("clip length"),), Cache(tmp_path / "cache")
        return data.read(tmp_path / "m.csv", readers, cache, log=lambda _: None, **options)

    assert [found(f"{file}#0").face_reader for file in files] == ["paper", "mesh"]
    assert [found(video, reader=reader).face_reader for reader in READERS] == list(READERS)
    assert found(video, f"{files[1]}#0").face_reader == "mesh"
    with pytest.raises(InputError, match="faces with a mesh and faces without one"):
        found(video, f"{files[0]}#0")


def test_a_video_without_a_face_is_refused_by_name(empty_room: Path):
    with pytest.raises(InputError, match=r"empty_room\.mp4 shows no face: none was found in 10 frames; "):
        load.read(Clip(str(empty_room)))


def test_a_packed_track_by_number_and_by_name(tmp_path: Path):
    kept = tracks()
    file = io.save_tracks(tmp_path / "t.npz", kept)
    for number, track in enumerate(kept):
        for which in (str(number), track.source):
            found = load.read(Clip(f"{file}#{which}"))
            assert isinstance(found, FaceTrack)
            np.testing.assert_array_equal(found.points, track.points)


def test_a_name_goes_before_a_number_and_a_name_twice_is_none(tmp_path: Path):
    swapped = [track.evolve("n", source=str(1 - i)) for i, track in enumerate(tracks(2))]
    file = io.save_tracks(tmp_path / "swapped.npz", swapped)
    assert load.read(Clip(f"{file}#0")).source == "0"
    same = io.save_tracks(tmp_path / "same.npz", [track.evolve("n", source="a") for track in tracks(2)])
    with pytest.raises(InputError, match="has no row 'a'"):
        load.read(Clip(f"{same}#a"))
    assert load.read(Clip(f"{same}#1")).source == "a"


@pytest.mark.parametrize("which", ["3", "-1", "nobody", "²", "9" * 5000])
@pytest.mark.parametrize("kind", ["tracks", "table", "archive"])
def test_missing_row_is_reported(tmp_path: Path, which: str, kind: str):
    if kind == "tracks":
        file = io.save_tracks(tmp_path / "x.npz", tracks())
    elif kind == "table":
        file = tmp_path / "x.csv"
        file.write_text("a,b\n1,2\n3,4\n5,6\n")
    else:
        file = tmp_path / "x.npz"
        np.savez(file, features=np.eye(3))
    with pytest.raises(InputError) as refused:
        load.read(Clip(f"{file}#{which}"))
    assert str(refused.value) == f"{file} has no row '{which}'; it holds 3, numbered from 0."


def test_row_of_a_table_has_its_features_only(tmp_path: Path):
    file = tmp_path / "t.csv"
    file.write_text(",Genuine,speed,subject,length,remark\n0,1,2.5,7,1.25,fine\n1,0,,8,0.5,\n")
    first, second = (features(load.read(Clip(f"{file}#{i}"))) for i in (0, 1))
    assert first.names == ("speed", "length") and first.source == f"{file}#0"
    assert first.values.tolist() == [2.5, 1.25]
    assert np.isnan(second.values[0]) and second.values[1] == 0.5


def test_a_row_of_a_feature_archive(tmp_path: Path):
    file = tmp_path / "f.npz"
    np.savez(file, features=np.arange(6).reshape(2, 3), person=np.array(["a", "b"]))
    found = features(load.read(Clip(f"{file}#1")))
    assert found.values.tolist() == [3, 4, 5] and found.names == ("f0", "f1", "f2")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("words.csv", b"name,label\na,b\n", "has no numeric column"),
        ("empty.csv", b"", "cannot be read as a CSV table"),
        ("bytes.csv", b"\xff\xfe\x00a,b\n1,2\n", "cannot be read as a CSV table"),
        ("text.npz", b"no archive", r"is not an \.npz archive"),
        ("gone.npz", None, "There is no file or folder"),
        ("gone.csv", None, "cannot be read as a CSV table"),
    ],
)
def test_invalid_packed_files_are_refused(tmp_path: Path, name: str, content: bytes | None, says: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as refused:
        load.read(Clip(f"{tmp_path / name}#0"))
    assert name in str(refused.value)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("kind", ["tracks", "features"])
def test_an_archive_cut_short(tmp_path: Path, part: float, kind: str):
    file = tmp_path / "x.npz"
    if kind == "tracks":
        io.save_tracks(file, tracks())
    else:
        np.savez(file, features=np.random.default_rng(0).normal(size=(200, 4)))
    cut(file, part)
    with pytest.raises(InputError, match=r"x\.npz"):
        load.read(Clip(f"{file}#0"))


@pytest.mark.parametrize("content", [{"features": np.zeros(3)}, {"features": np.zeros((3, 0))}, {"features": ["a"]}])
def test_an_archive_of_something_else(tmp_path: Path, content: dict[str, object]):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(InputError, match=r"x\.npz lacks fps, offset, points"):
        load.read(Clip(f"{tmp_path / 'x.npz'}#0"))


def test_changed_file_is_read_again(tmp_path: Path):
    """A web page or notebook lives on while a table is mended."""
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    assert features(load.read(Clip(f"{table}#0"))).values.tolist() == [1, 2]
    table.write_text("a,b\n1,2.5\n3,4\n")
    assert features(load.read(Clip(f"{table}#0"))).values.tolist() == [1, 2.5]
    packed, (one, other) = tmp_path / "t.npz", tracks(2)
    for track in (one, other):
        io.save_tracks(packed, [track])
        found = load.read(Clip(f"{packed}#0"))
        assert isinstance(found, FaceTrack)
        np.testing.assert_array_equal(found.points, track.points)
    packed.unlink()
    with pytest.raises(InputError, match="There is no file"):
        load.read(Clip(f"{packed}#0"))


def test_every_clip_of_a_simulated_data_set_is_read(tmp_path: Path):
    for clip in read(data_set(tmp_path / "c", people=2, clips=2, rate=25, seed=0)):
        found = load.read(clip)
        assert isinstance(found, FaceTrack) and clip.path.endswith(f"#{found.source}")
