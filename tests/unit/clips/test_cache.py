"""What was followed once is not followed again: the same blocks from the cache, whatever happens to its files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from duchenne import io, pipeline, video
from duchenne.clips import cache as module
from duchenne.clips.cache import Cache, Mapped, default_folder, default_limit
from duchenne.errors import InputError, OutputError, UsageError
from duchenne.faces import follow_blocks
from duchenne.faces.crops import crop
from duchenne.faces.reading import read_faces
from makers import make_image, make_video

BRIEFLY = {"end": 0.4}


@pytest.fixture
def kept(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def unread(monkeypatch):
    """From here on whoever follows a clip fails."""
    return lambda: monkeypatch.setattr(module, "read_faces", lambda *_, **__: pytest.fail("followed again"))


@pytest.fixture(scope="module")
def short(clips, pictures):
    """Most of the smile, for what needs no verdict; sharp enough for its rows to be final in several blocks."""
    return make_video(clips / "short.mp4", pictures[:42], rate=25, options={"crf": "12"})


def bits(blocks):
    """Everything that blocks say, to be compared."""
    names = ("time", "frame", "face", "points", "confidence", "box", "looked", "crops")
    return [(block.first, *(getattr(block, name).tobytes() for name in names), repr(block.end)) for block in blocks]


def entries(kept):
    return sorted(kept.folder.glob("*.followed"))


def short_blocks(path, *, on_frame=None, **options):
    """As `read_faces`, in blocks of five frames, so that a brief clip has several."""
    return follow_blocks(video.frames(path, **options), look=crop, every=0.1, on_frame=on_frame, rows=5)


def test_clip_is_tracked_once_wherever_it_lies(short, tmp_path, kept, unread):
    plain, told = bits(read_faces(short)), []
    assert bits(kept.read_faces(short)) == plain
    unread()
    moved = shutil.copy(short, tmp_path / "another name.mp4")
    os.utime(moved, (1, 1))
    assert bits(kept.read_faces(moved, on_frame=told.append)) == plain and told == [42]
    assert bits(Cache(kept.folder, 10**9).read_faces(short, detector="haar", all_faces=False, start=None)) == plain
    assert len(entries(kept)) == 1 and (kept.folder.stat().st_mode & 0o077) == 0


def test_a_verdict_from_the_cache_is_the_verdict(smile, kept, unread):
    answer = json.dumps(io.plain([a.verdict.to_dict() for a in pipeline.examine(smile)]))
    for _ in range(2):
        found = pipeline.examine(smile, read=kept.read_faces)
        assert json.dumps(io.plain([a.verdict.to_dict() for a in found])) == answer
        unread()


def test_other_bytes_options_or_versions_are_another_entry(smile, tmp_path, kept, monkeypatch):
    ways = [{}, {"start": 0.1}, {"detector": "hog"}, {"all_faces": True}, {"allow_truncated": True}]
    for count, way in enumerate(ways, 1):
        assert bits(kept.read_faces(smile, **BRIEFLY, **way)) == bits(read_faces(smile, **BRIEFLY, **way))
        assert len(entries(kept)) == count
    longer = tmp_path / "longer.mp4"
    longer.write_bytes(smile.read_bytes() + b"\0\0\0\x08free")
    list(kept.read_faces(longer, **BRIEFLY))
    assert len(entries(kept)) == len(ways) + 1
    monkeypatch.setattr(module, "chain", lambda _: {"code": "another"})
    list(kept.read_faces(smile, **BRIEFLY))
    assert len(entries(kept)) == len(ways) + 2


def test_a_folder_of_pictures_is_known_by_its_pictures(pictures, tmp_path, kept, unread):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(3):
            make_image(tmp_path / name / f"{n + (name == 'b')}.png", pictures[n])
    plain = bits(kept.read_faces(tmp_path / "a", rate=25.0))
    unread()
    assert bits(kept.read_faces(tmp_path / "b", rate=25.0)) == plain
    make_image(tmp_path / "b" / "4.png", pictures[3])
    (tmp_path / "a" / "2.png").rename(tmp_path / "a" / "3.png")  # the same images, a frame later
    for name in ("a", "b"):
        with pytest.raises(pytest.fail.Exception, match="followed again"):
            list(kept.read_faces(tmp_path / name, rate=25.0))


@pytest.mark.parametrize("damage", ["empty", "half", "flip", "late flip", "garbage", "folder"])
def test_damaged_entry_is_a_miss_and_is_replaced(damage, short, kept, unread, monkeypatch):
    monkeypatch.setattr(module, "read_faces", short_blocks)
    plain = bits(kept.read_faces(short))
    assert len(plain) > 2
    (entry,) = entries(kept)
    data = entry.read_bytes()
    with zipfile.ZipFile(entry) as archive:
        parts = [part for part in archive.infolist() if part.compress_size > 50]
    part = parts[0 if damage == "flip" else -2]
    at = part.header_offset + 30 + len(part.filename) + part.compress_size // 2  # not in a date, which nobody reads
    wrong = {"empty": b"", "half": data[: len(data) // 2], "garbage": b"PK" + bytes(500), "folder": b""}
    entry.write_bytes(wrong.get(damage, data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]))
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    assert bits(kept.read_faces(short)) == plain
    if damage != "folder":
        assert entry.read_bytes() == data
        unread()
        assert bits(kept.read_faces(short)) == plain


def test_only_a_clip_that_was_read_to_its_end_has_an_entry(smile, tmp_path, kept):
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(200))
    for path in (cut, tmp_path / "none.mp4", tmp_path):
        with pytest.raises((InputError, UsageError)) as ours:
            list(kept.read_faces(path))
        with pytest.raises((InputError, UsageError)) as theirs:
            list(read_faces(path))
        assert str(ours.value) == str(theirs.value)

    def stop(n):
        if n == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(kept.read_faces(smile, on_frame=stop))
    assert not kept.folder.exists() or not list(kept.folder.iterdir())


def test_abandoned_reader_leaves_no_entry(smile, kept, monkeypatch):
    monkeypatch.setattr(module, "read_faces", short_blocks)
    blocks = kept.read_faces(smile)
    assert next(blocks).first == 0 and list(kept.folder.iterdir())
    blocks.close()
    assert not list(kept.folder.iterdir())


def test_clip_that_changes_while_it_is_read_is_not_cached(smile, tmp_path, kept):
    path = shutil.copy(smile, tmp_path / "growing.mp4")
    list(kept.read_faces(path, on_frame=lambda n: n == 8 and os.utime(path, (1, 1)), **BRIEFLY))
    assert not entries(kept)


@pytest.mark.slow
def test_least_recently_used_entries_are_removed(smile, tmp_path):
    size = sum(path.stat().st_size for path in _filled(smile, Cache(tmp_path / "one", 10**9), [0.0]))
    kept = Cache(tmp_path / "cache", int(2.5 * size))
    first, second = _filled(smile, kept, [0.0, 0.2])
    os.utime(first, (10, 10))
    os.utime(second, (20, 20))
    list(kept.read_faces(smile, start=0.0, end=0.8))  # uses the older one again
    assert first.stat().st_mtime > 20
    (third,) = _filled(smile, kept, [0.4])
    assert entries(kept) == sorted([first, third])
    list(Cache(tmp_path / "small", 10).read_faces(smile, **BRIEFLY))
    assert not entries(Cache(tmp_path / "small", 10))
    list(Cache(tmp_path / "off", 0).read_faces(smile, **BRIEFLY))
    assert not (tmp_path / "off").exists()


def _filled(smile, kept, starts):
    """The entries of 0.8 s of the clip from each of `starts` on, in order."""
    made = []
    for start in starts:
        before = set(entries(kept))
        list(kept.read_faces(smile, start=start, end=start + 0.8))
        made += set(entries(kept)) - before
    return made


def test_files_of_killed_writers_are_removed_after_a_day(smile, kept):
    kept.folder.mkdir()
    old, new = (kept.folder / f".{digit * 32}.part" for digit in "ab")
    for path in (old, new):
        path.write_bytes(b"some")
    os.utime(old, (1, 1))
    list(kept.read_faces(smile, **BRIEFLY))
    assert not old.exists() and new.exists() and len(entries(kept)) == 1


@pytest.mark.parametrize("place", ["a file", "below a file", "read only"])
def test_unwritable_folder_is_not_an_error(place, smile, tmp_path):
    folder = tmp_path / "place"
    if place == "read only":
        if os.geteuid() == 0:
            pytest.skip("The superuser may write anywhere.")
        folder.mkdir(mode=0o500)
    else:
        folder.write_text("in the way")
    kept = Cache(folder / "x" if place == "below a file" else folder, 10**9)
    assert bits(kept.read_faces(smile, **BRIEFLY)) == bits(read_faces(smile, **BRIEFLY))
    assert kept.info().entries == 0


def test_full_disk_is_not_an_error(smile, kept, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    plain = bits(read_faces(smile, **BRIEFLY))
    monkeypatch.setattr(module.Writer, "add", full)
    assert bits(kept.read_faces(smile, **BRIEFLY)) == plain
    assert not list(kept.folder.iterdir())


def test_two_processes_at_once_make_one_entry(smile, tmp_path, kept):
    said = (
        "import sys; from duchenne.clips.cache import Cache; from duchenne.faces import join\n"
        "for _ in range(3):\n"
        "    found = join(Cache(sys.argv[1], 10**9).read_faces(sys.argv[2], end=0.6))\n"
        "    print(len(found.time), float(found.tracks[0].points.sum()))\n"
    )
    command = [sys.executable, "-c", said, str(kept.folder), str(smile)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for one in running for line in one.communicate()[0].splitlines()]
    assert [one.returncode for one in running] == [0, 0] and len(lines) == 6 and len(set(lines)) == 1
    assert len(list(kept.folder.iterdir())) == 1 and lines[0].startswith("15 ")


# ---- arrays


def test_arrays_are_made_once_and_again_where_they_are_damaged(kept):
    calls = []

    def make():
        calls.append(1)
        return {"a": np.arange(3), "0.b": np.ones((2, 2), np.float32)}

    for _ in range(2):
        found = kept.arrays(["rows", 1.5], make)
        assert found["a"].tolist() == [0, 1, 2] and found["0.b"].dtype == np.float32
    assert len(calls) == 1 and kept.info().entries == 1
    (entry,) = kept.folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    kept.arrays(["rows", 1.5], make)
    kept.arrays(["rows", 2.5], make)
    Cache(kept.folder / "off", 0).arrays(["rows", 1.5], make)
    assert len(calls) == 4 and kept.info().entries == 2


def test_entries_in_use_stay_and_arrays_above_the_limit_stay_in_memory(tmp_path):
    run = Cache(tmp_path, 25_000)
    found = [run.stored([i], (10, 1000), lambda i=i: np.full((10, 1000), i)) for i in range(5)]
    kinds = [isinstance(each, Mapped) for each in found]
    assert kinds == [True, True, True, False, False]
    assert [int(np.asarray(each)[0, 0]) for each in found] == [0, 1, 2, 3, 4]
    other = Cache(tmp_path, 25_000)
    other._began += 1000  # a run that begins when that one is over
    other.arrays(["new"], lambda: {"a": np.zeros(100)})
    assert other.info().size <= 25_000


# ---- where it lies, and the command


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems have other places.")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DUCHENNE_CACHE": "/there", "XDG_CACHE_HOME": "/xdg"}, "/there"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/duchenne"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/ann/.cache/duchenne"),
        ({}, "/home/ann/.cache/duchenne"),
    ],
)
def test_default_folder_is_the_users_cache_folder(settings, expected, monkeypatch):
    for name in ("DUCHENNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/ann", **settings}.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5 GB", 5 * 10**9),
        ("1.5mb", 1_500_000),
        ("800 K", 800_000),
        ("0", 0),
        ("123", 123),
        ("-1", None),
        ("5 gigs", None),
    ],
)
def test_the_limit_is_a_size(text, size, monkeypatch):
    monkeypatch.setenv("DUCHENNE_CACHE_LIMIT", text)
    if size is None:
        with pytest.raises(UsageError, match=r"expected a size such as 5 GB or 800 MB, found '.*'; correct it\.$"):
            default_limit()
    else:
        assert default_limit() == size
        monkeypatch.delenv("DUCHENNE_CACHE_LIMIT")
        assert default_limit() == 5 * 10**9


def test_command_shows_and_clears_own_entries(duchenne, smile, tmp_path, monkeypatch):
    folder = tmp_path / "place"
    monkeypatch.setenv("DUCHENNE_CACHE", str(folder))
    monkeypatch.setenv("DUCHENNE_CACHE_LIMIT", "2 GB")
    assert duchenne("cache", "info").out.splitlines() == [
        f"folder   {folder}", "entries  0", "size     0 bytes", "limit    2 GB",
    ]  # fmt: skip
    list(Cache().read_faces(smile, **BRIEFLY))
    (entry,) = folder.iterdir()
    (folder / "notes.txt").write_text("not ours")
    (folder / f"{'0' * 64}.followed.bak").write_text("nor this")
    lines = duchenne("cache", "info").out.splitlines()
    assert lines[1] == "entries  1" and lines[2] == f"size     {entry.stat().st_size / 1000:.3g} kB"
    said = duchenne("cache", "clear")
    assert said.code == 0 and said.out.startswith("Removed 1 entry, ") and not entry.exists()
    assert sorted(path.name for path in folder.iterdir()) == [f"{'0' * 64}.followed.bak", "notes.txt"]
    assert np.isclose(Cache().info().size, 0)


def test_files_that_cannot_be_removed_are_reported(kept, monkeypatch):
    kept.folder.mkdir()
    (kept.folder / f"{'0' * 64}.followed").write_text("")

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"cannot be removed \(Permission denied\); check permissions\.$"):
        kept.clear()
