"""The file of followed faces gives back every bit or says that it is damaged; tables written in blocks are the same."""

from __future__ import annotations

import io as memory
import math
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from duchenne import io
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.io import frames as frames_module
from duchenne.io.followed import Block, End, Stored, Writer, pieces
from duchenne.types import EXTRA, FaceTrack, Light

FIELDS = ("time", "frame", "face", "points", "confidence", "box", "change", "looked", "crops")


def made(lengths, births, seed=0, looks=True):
    """Blocks of so many frames, of faces that are first seen in the frames `births` and then in two of three frames."""
    rng, first = np.random.default_rng(seed), 0
    times = np.cumsum(rng.uniform(0.02, 0.05, sum(lengths)))
    for number, length in enumerate(lengths):
        at = [
            (n, face)
            for face, birth in enumerate(births)
            for n in range(first, first + length)
            if n == birth or (n > birth and rng.random() < 0.67)
        ]
        looked = np.flatnonzero(rng.random(len(at)) < 0.3) if looks else np.empty(0, np.int64)
        crops = rng.integers(0, 256, (len(looked), 48, 48), np.uint8) if len(looked) else np.zeros((0, 0, 0), np.uint8)
        frame, face = np.array(at, np.int64).reshape(-1, 2).T
        points = rng.normal(200, 40, (len(at), 68, 2)).astype(np.float32)
        psr = rng.normal(20, 4, len(at)).astype(np.float32)
        box = rng.normal(200, 40, (len(at), 4)).astype(np.float32)
        change = rng.normal(3, 1, len(at)).astype(np.float32)
        sharp = (3.25, *[math.nan] * (len(births) - 1))[: len(births)]
        lit = (Light(90.0, 0.25, 0.0), *[None] * (len(births) - 1))[: len(births)]
        end = End((640, 480), sharp, lit, ("said",) * len(births), looks)
        last = number == len(lengths) - 1
        yield Block(
            first, times[first : first + length], frame, face.astype(np.int32), points, psr, box, change, looked, crops,
            end if last else None,
        )  # fmt: skip
        first += length


def written(blocks, **options):
    out = memory.BytesIO()
    writer = Writer(out, **options)
    for block in blocks:
        writer.add(block)
    return out.getvalue()


SHAPES = {
    "two faces": ([40, 1, 25], (0, 17)),
    "a late one": ([30, 30, 30], (35, 62)),
    "no face": ([12, 5], ()),
    "nothing at all": ([0], ()),
    "an empty end": ([20, 0], (3,)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compress", [True, False])
def test_stored_blocks_are_read_back_repeatedly(shape, compress):
    given = list(made(*SHAPES[shape]))
    data = written(given, compress=compress)
    assert data == written(made(*SHAPES[shape]), compress=compress)
    with Stored(memory.BytesIO(data)) as stored:
        assert stored.blocks == len(given)
        for _ in range(2):
            for ours, theirs in zip(given, stored, strict=True):
                assert ours.first == theirs.first and (ours.end is None) == (theirs.end is None)
                for name in FIELDS:
                    a, b = getattr(ours, name), getattr(theirs, name)
                    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), name
        end = given[-1].end
        assert (stored.end.frame_size, stored.end.history, stored.end.looks) == (end.frame_size, end.history, True)
        np.testing.assert_array_equal(stored.end.sharpness, end.sharpness)
        assert stored.end.light == end.light


def test_file_holds_plain_numbers_and_json():
    with zipfile.ZipFile(memory.BytesIO(written(made(*SHAPES["two faces"])))) as archive:
        raw = {name: len(archive.read(name)) for name in archive.namelist()}
    assert set(raw) <= {"end", *(f"{k}/{name}" for k in range(3) for name in FIELDS)}
    rows = raw["0/points"] // (68 * 2 * 4)
    assert raw["0/time"] == 40 * 8 and raw["0/frame"] == rows * 8 and raw["0/box"] == rows * 16


def test_damage_is_reported():
    data = written(made(*SHAPES["two faces"]))
    wrong = {"empty": b"", "other": b"no archive", "half": data[: len(data) // 2], "last byte gone": data[:-1]}
    for cut in range(0, len(data), len(data) // 25):
        wrong[f"flip at {cut}"] = data[:cut] + bytes([data[cut] ^ 0x55]) + data[cut + 1 :]
    whole = [block.points.tobytes() for block in made(*SHAPES["two faces"])]
    refused = 0
    for name, bad in wrong.items():
        try:
            with Stored(memory.BytesIO(bad)) as stored:
                found = [block.points.tobytes() for block in stored]
        except InputError as error:
            assert "damaged" in str(error) and str(error).endswith("follow the clip again."), name
            refused += 1
        else:
            assert found == whole, name
    assert refused >= 25


@pytest.mark.parametrize("name", ["face", "points", "confidence", "box", "change", *EXTRA])
def test_arrays_of_different_lengths_are_damage(name):
    blocks = [
        replace(each, **{key: np.zeros((len(each.frame), *shape), np.float32) for key, shape in EXTRA.items()})
        for each in made(*SHAPES["two faces"])
    ]
    blocks = [replace(each, **{name: getattr(each, name)[:-1]}) for each in blocks]
    with (
        Stored(memory.BytesIO(written(blocks))) as stored,
        pytest.raises(InputError, match="block 0 has arrays of different lengths"),
    ):
        next(iter(stored))


def test_other_version_is_refused():
    data = written(made(*SHAPES["no face"]), compress=False)
    with pytest.raises(InputError, match=r"damaged \(format duchenne-followed, version 4\)"):
        other = memory.BytesIO()
        with zipfile.ZipFile(memory.BytesIO(data)) as old, zipfile.ZipFile(other, "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(b'"version": 3', b'"version": 4'))
        Stored(other)


def test_file_without_end_is_damaged():
    *most, _ = made(*SHAPES["two faces"])
    out = memory.BytesIO()
    writer = Writer(out)
    for block in most:
        writer.add(block)
    writer.drop()
    with pytest.raises(InputError, match="damaged"):
        Stored(out)


def test_pieces_hold_the_block_once():
    (block,) = made([50], (0, 20))
    parts = list(pieces(block, 7))
    assert [len(part.time) for part in parts] == [7] * 7 + [1]
    assert [part.end is None for part in parts] == [True] * 7 + [False]
    tracks = block.tracks(2)
    for face in (0, 1):
        rows = np.concatenate([part.tracks(2)[face].points for part in parts])
        np.testing.assert_array_equal(rows, tracks[face].points)


# ---- tables


def at_once(shape):
    """The same clip as one table, made from whole tracks."""
    blocks = list(made(*SHAPES[shape]))
    time = np.concatenate([block.time for block in blocks])
    tracks = []
    for face in range(len(SHAPES[shape][1])):
        points, box, psr, change = (np.full((len(time), *tail), np.nan, np.float32) for tail in ((68, 2), (4,), (), ()))
        for block in blocks:
            for k in np.flatnonzero(block.face == face):
                n = block.frame[k]
                points[n], box[n], psr[n] = block.points[k], block.box[k], block.confidence[k]
                change[n] = block.change[k]
        tracks.append(FaceTrack(time, points, psr, box, (640, 480), change=change))
    return io.frames_table(tracks)


@pytest.mark.parametrize("rows", [1000, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_csv_in_blocks_equals_csv_at_once(shape, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(frames_module, "_CHUNK", rows)
    end = io.write_frames(tmp_path / "deep" / "blocks.csv", made(*SHAPES[shape]))
    whole = io.write_table(tmp_path / "whole.csv", at_once(shape))
    assert (tmp_path / "deep" / "blocks.csv").read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["blocks.csv"]
    assert len(end.history) == len(SHAPES[shape][1])


@pytest.mark.parametrize("shape", SHAPES)
def test_parquet_equals_csv(shape, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("a.parquet", "b.parquet"):
        io.write_frames(tmp_path / name, made(*SHAPES[shape]), file="talks/µ 1.mp4")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file, whole = parquet.ParquetFile(tmp_path / "a.parquet"), at_once(shape)
    found = file.read().to_pandas()
    assert list(found.columns) == ["file", *io.FRAME_COLUMNS] and len(found) == len(whole)
    assert set(found["file"]) <= {"talks/µ 1.mp4"}
    kinds = {str(field.type) for field in file.schema_arrow if field.name[0] in "xy" or field.name == "confidence"}
    assert kinds == {"float"} and str(file.schema_arrow.field("seen").type) == "bool"
    for name in io.FRAME_COLUMNS:
        np.testing.assert_array_equal(found[name], whole[name].astype(found[name].dtype), err_msg=name)
    if whole["seen"].eq(0).any():
        assert file.read(["x_0"]).column(0).null_count == whole["x_0"].isna().sum() > 0
    lengths = SHAPES[shape][0]
    assert file.num_row_groups == len(lengths)


def test_parquet_without_pyarrow_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^Parquet needs the package pyarrow, .* or choose CSV\.$"):
        io.write_frames(tmp_path / "a.parquet", made(*SHAPES["two faces"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_failed_clip_leaves_no_file(ending, tmp_path):
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet")

    def fails():
        yield next(made(*SHAPES["two faces"]))
        raise InputError("The clip is cut short.")

    with pytest.raises(InputError, match="cut short"):
        io.write_frames(tmp_path / f"a{ending}", fails())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        io.write_frames(tmp_path / "file" / f"a{ending}", made(*SHAPES["two faces"]))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_table_of_blocks_is_read_back(tmp_path):
    io.write_frames(tmp_path / "a.csv", made(*SHAPES["a late one"]))
    first, second = io.load_tracks(tmp_path / "a.csv")
    assert not first.seen[:35].any() and first.seen[35] and not second.seen[:62].any() and second.seen[62]
    assert len(pd.read_csv(tmp_path / "a.csv")) == 180
