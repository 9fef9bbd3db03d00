"""A batch that loses power at any moment resumes to the same bytes, and nothing that counted as done is done again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duchenne import io
from duchenne.batch import Task, process, work
from duchenne.errors import UsageError
from duchenne.faces import reading
from duchenne.types import Json
from duchenne.workers.protocol import Job, Result

CLIPS = ("a.mp4", "b.mp4")
TASK = Task("extract", {"task": "extract"}, {"format": "csv", "reader": "paper"}, "frames/{}.csv")
Image = dict[str, bytes | None]  # path → bytes of a file, None for a folder


class Disk:
    """What is left of a folder when the power fails, at every operation: of a file the bytes of its last sync, of a
    folder the names of its last sync; or every name, and what was not synced torn in half."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.declared = root, list[str]()
        self.files: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self.images: list[tuple[Image, set[str]]] = []
        self.kept: list[int] = []  # open, so that no inode is given to another file
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> None:
            function(*args, **options)
            if name == "fsync":
                self._sync(args[0])
            for image in (self._worst(), self._torn()):
                if not self.images or image != self.images[-1][0]:
                    self.images.append((image, {*self.declared}))

        return call

    def _sync(self, descriptor: int) -> None:
        self.kept.append(os.dup(descriptor))
        inode = os.fstat(descriptor).st_ino
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            self.folders[inode] = {entry.name: entry.inode() for entry in os.scandir(descriptor)}
        else:
            self.files[inode] = os.pread(descriptor, 1 << 20, 0)

    def _worst(self) -> Image:
        kinds = {path.stat().st_ino: path.is_dir() for path in self.root.rglob("*")}

        def walk(inode: int, before: str) -> Iterator[tuple[str, bytes | None]]:
            for name, each in self.folders.get(inode, {}).items():
                is_folder = kinds.get(each, each in self.folders)
                yield before + name, None if is_folder else self.files.get(each, b"")
                if is_folder:
                    yield from walk(each, f"{before}{name}/")

        return dict(walk(self.root.stat().st_ino, ""))

    def _torn(self) -> Image:
        found: Image = {}
        for path in self.root.rglob("*"):
            data = None if path.is_dir() else path.read_bytes()
            if data is not None and self.files.get(path.stat().st_ino) != data:
                data = data[: len(data) // 2]
            found[str(path.relative_to(self.root))] = data
        return found


def extract(job: work.ClipJob, *_: object) -> list[Json]:
    io.write_text(job.unfinished, f"frames of {job.name}\n" * 9)
    return [{"face": 0, "frames": 9, "seconds": 0.3}]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in CLIPS:
        (folder / name).write_text(name)
    monkeypatch.setitem(work.TASKS, "extract", extract)
    monkeypatch.chdir(folder)
    return folder


def run(clips: Path, out: Path, declared: list[str]) -> Json:
    """A batch in this process; `declared` receives the clips that were processed, when they count as done."""

    def runner(jobs: Iterator[Job], _: object) -> Iterator[Result]:
        for job in jobs:
            yield Result(job.number, work.run(TASK.options, job.arguments, lambda *_: None))
            declared.append(job.name)  # the batch asks for the next one when it has recorded this one

    return process([clips], out, TASK, runner=runner).summary


def tree(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and ".duchenne" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_power_may_fail_at_any_moment(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(tmp_path / "out", patch)
        run(clips, tmp_path / "out", disk.declared)
    for descriptor in disk.kept:
        os.close(descriptor)
    expected = tree(tmp_path / "out")
    assert sorted(expected) == [
        "clips.csv",
        "codebook.csv",
        "failures.csv",
        "frames/a.mp4.csv",
        "frames/b.mp4.csv",
        "summary.json",
    ]
    assert disk.images[-1][1] == {*CLIPS} and len(disk.images) > 40
    again = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for number, (image, declared) in enumerate(disk.images):
            left = tmp_path / str(number)
            left.mkdir()
            for name, data in image.items():
                (left / name).mkdir() if data is None else (left / name).write_bytes(data)
            again.clear()
            run(clips, left, again)
            assert tree(left) == expected and not declared & {*again}, (number, sorted(image))


@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[:20], lambda data: bytes(len(data))])
@pytest.mark.parametrize(
    ("file", "made"),
    [(".duchenne/settings.json", []), (".duchenne/clips/*/*.json", [*CLIPS]), ("frames/a.mp4.csv", ["a.mp4"])],
)
def test_damaged_state_or_result_is_made_again(
    file: str, made: list[str], damage: Callable[[bytes], bytes], clips: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / "out", list[str]()
    run(clips, out, [])
    expected = tree(out)
    for path in out.glob(file):
        path.write_bytes(damage(path.read_bytes()))
    assert run(clips, out, again)["left"] == 0 and tree(out) == expected
    assert again == made
    assert json.loads((out / ".duchenne" / "settings.json").read_text())["task"] == "extract"


def test_another_landmark_model_of_the_same_name_and_size_is_refused(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = []
    for text in ("one", "two"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "points.dat").write_text(text)
        monkeypatch.setenv("DUCHENNE_LANDMARKS", str(tmp_path / text / "points.dat"))
        chains.append(reading.chain("paper"))  # a part of the cache's keys
        if text == "one":
            run(clips, tmp_path / "out", [])
    assert chains[0] != chains[1] and {*chains[0]} == {*chains[1]}
    with pytest.raises(UsageError, match=r"reader landmarks points.dat [0-9a-f]* there and points.dat .* choose"):
        run(clips, tmp_path / "out", [])


def test_counts_of_an_interrupted_run_are_those_of_its_records(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    class Stop(KeyboardInterrupt):
        pass

    def runner(jobs: Iterator[Job], _: object) -> Iterator[Result]:
        job = next(iter(jobs))
        yield Result(job.number, work.run(TASK.options, job.arguments, lambda *_: None))
        raise Stop

    run(clips, out, [])
    for name in CLIPS:
        (clips / name).write_text("changed")
    with pytest.raises(Stop):
        process([clips], out, TASK, runner=runner)
    summary = json.loads((out / "summary.json").read_text())
    assert [summary[name] for name in ("clips", "done", "failed", "left")] == [2, 1, 0, 1]
    (out / "frames" / "a.mp4.csv").unlink()  # its record counts no more
    summary = process([clips], out, TASK, runner=lambda *_: (each for each in ()), shard=(2, 2)).summary
    assert [summary[name] for name in ("clips", "done", "failed", "left")] == [2, 0, 0, 2]
