"""Entries of a folder or manifest that are not clips: a failure each, never the end of the run, or a hang."""

from __future__ import annotations

import csv
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import RATE, Completed
from duchenne import batch, io
from duchenne.batch import Task, plan, process
from duchenne.errors import OutputError, UsageError
from duchenne.types import Array, Json
from duchenne.workers.pool import Pool
from duchenne.workers.protocol import Job, Limits, Result, Work
from makers import make_video

TASK = Task("extract", {}, {"reader": "mesh"}, "frames/{}.csv")
ROW: Json = {"rows": [{"face": 0, "frames": 9, "seconds": 0.3}], "files": {}}


def runner(jobs: Iterator[Job], _: object) -> Iterator[Result]:
    for job in jobs:
        yield Result(job.number, ROW)


def failures(out: Path) -> dict[str, str]:
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["sentence"] for row in csv.DictReader(file)}


def test_each_odd_entry_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "clips"
    deep = top / "deep" / ("d" * 250) / ("d" * 250)
    for folder in (deep, top / "folder.mp4", top / "locked"):
        folder.mkdir(parents=True)
    for clip in ("a.mp4", "folder.mp4/b.mp4", os.fsdecode(b"\xff.mp4"), "n" * 251 + ".mp4"):
        (top / clip).write_text("x")
    (deep / ("c" * 251 + ".mp4")).write_text("x")
    (top / "self").symlink_to("self")
    (top / "loop.mp4").symlink_to("pool.mp4")
    (top / "pool.mp4").symlink_to("loop.mp4")
    (top / "lost.mp4").symlink_to("nowhere.mp4")
    (top / "back").symlink_to(top)
    (top / "zero.mp4").symlink_to("/dev/zero")
    os.mkfifo(top / "pipe.mp4")
    monkeypatch.chdir(top)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket.mp4")
    scan = os.scandir

    def locked(path: object) -> object:  # root opens every folder
        if str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", locked)
    found = process([top], tmp_path / "out", TASK, runner=runner)
    assert [found.summary[name] for name in ("clips", "done", "failed", "left")] == [13, 5, 8, 0]
    assert (found.failed, found.clips) == (8, 5)
    expected = {
        "locked": "cannot be opened (Permission denied)",
        "loop.mp4": "Too many levels of symbolic links",
        "lost.mp4": "where a link leads",
        "pipe.mp4": "is a pipe; expected a video",
        "pool.mp4": "Too many levels",
        "self": "Too many levels",
        "socket.mp4": "is a socket",
        "zero.mp4": "is a device",
    }
    sentences = failures(tmp_path / "out")
    assert [*sentences] == [*expected] and all(words in sentences[name] for name, words in expected.items())
    again = process([top], tmp_path / "out", TASK, runner=runner)
    assert (again.failed, again.clips, again.summary) == (8, 0, found.summary)


def test_result_whose_path_is_too_long_is_a_failure_of_that_clip(tmp_path: Path, pictures: list[Array]) -> None:
    deep = tmp_path.joinpath("c", *["d" * 200] * 18)
    deep.mkdir(parents=True)
    for folder in (deep, tmp_path / "c"):
        make_video(folder / "a.mp4", pictures[:4], rate=RATE)
    out = tmp_path / ("o" * 250) / ("o" * 150)
    found = process([tmp_path / "c"], out, batch.extract_task(cache=False), workers=1)
    assert (found.summary["done"], found.summary["failed"]) == (1, 1)
    assert next(iter(failures(out).values())).endswith("the path of its results is too long; shorten its name or path.")


def test_folder_of_images_is_stamped_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "c" / "images"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "c" / "m.csv").write_text("path,subject,emotion,label,rate\nimages,,,,25\n")

    def stamp() -> object:
        return plan.find([], tmp_path / "o", tmp_path / "c" / "m.csv").items[0].stamp

    before, times = stamp(), folder.stat()
    (folder / "notes.txt").write_text("no image")
    assert stamp() == before
    (folder / "2.png").write_bytes(b"other")
    os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))  # the folder's own time says nothing
    changed = stamp()
    (folder / "2.png").rename(folder / "3.png")
    assert len({before, changed, stamp()}) == 3


def test_manifest_cannot_name_the_state_or_the_tables(tmp_path: Path) -> None:
    folder, out = tmp_path / "c", tmp_path / "out"
    folder.mkdir()
    rows = (".duchenne/lock", ".Duchenne/settings.json", ".duch\u200cenne/x", "summary.json", "Failures.CSV", ".", "..")
    rows += ("../../x", str(tmp_path / "y"), "A.mp4", "a.mp4", "sub/thumb.jpg/x.mp4", "/dev/zero")
    (folder / "m.csv").write_text("path,subject,emotion,label\n" + "".join(f"{row},,,\n" for row in rows))
    places = [item.place for item in plan.find([], out, folder / "m.csv").items]
    assert len({place.casefold() for place in places}) == len(rows)
    for place in places:
        parts = [part.encode("ascii", "ignore").decode().lower() for part in place.split("/")]
        assert not Path(place).is_absolute() and not {*parts} & {"..", ".", ""}
        assert not any(part.startswith(".duchenne") or part.endswith((".json", ".csv", "thumb.jpg")) for part in parts)
    process([], out, TASK, manifest=folder / "m.csv", runner=runner)
    assert (out / ".duchenne" / "settings.json").is_file() and len(failures(out)) >= 10


def test_results_beside_a_manifest_are_refused_and_its_clips_stay(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "m.csv").write_text("path,subject,emotion,label\na.mp4,,,\n")
    with pytest.raises(UsageError, match="is the folder of the clips; choose another"):
        process([], tmp_path, TASK, manifest=tmp_path / "m.csv", runner=runner)
    assert (tmp_path / "a.mp4").read_text() == "x" and len([*tmp_path.iterdir()]) == 2


WORK = """
import os, signal, time
from pathlib import Path

def load(options, shared):
    pass

def run(options, arguments, heartbeat):
    with open(options["log"], "a") as log:
        log.write("x")
    if len(Path(options["log"]).read_text()) <= options["deaths"]:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return "done"
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are forked on Linux only")
def test_death_of_the_fork_server_is_not_charged_to_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_work.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    work = Work("slow_work:load", "slow_work:run", {"log": str(tmp_path / "log"), "deaths": 5})
    (result,) = Pool(work, 2, Limits())([Job(0, "a.mp4", {})], lambda *_: None)
    assert (result.value, result.failure) == ("done", None)


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "pipe.mp4"),
        ("analyze", "/dev/zero"),
        ("rank", "pipe.mp4", "pipe.mp4"),
        ("overlay", "pipe.mp4", "-o", "o.mp4"),
        ("micro-expressions", "pipe.mp4"),
        ("emotions", "pipe.png"),
        ("score", "pipe.csv"),
        ("compare", "pipe.csv", "pipe.csv"),
        ("convert", "pipe.npz", "o.npz"),
        ("convert", "pipe.npz#1", "o.npz"),
        ("convert", "pipe.csv", "o.npz"),
        ("convert", "/dev/zero", "o.npz"),
        ("filters", "--images", "pipe.npz", "-o", "o.html"),
        ("analyze", "--manifest", "pipe.csv", "-o", "out"),
        ("run", "pipe.toml"),
        ("analyze", "pipe.mp4", "--model", "model"),
        ("extract", "pipe.mp4", "-o", "out"),
    ],
    ids=" ".join,
)
def test_pipes_and_devices_are_refused_at_once(
    words: tuple[str, ...], duchenne: Callable[..., Completed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    for name in ("pipe.mp4", "pipe.png", "pipe.csv", "pipe.npz", "pipe.toml", "model/model.json"):
        os.mkfifo(tmp_path / name)
    began = time.monotonic()
    result = duchenne(*words)
    assert result.code in (1, 2) and "Traceback" not in result.err and time.monotonic() - began < 60
    if words[0] != "extract":
        assert result.sentence and not [*tmp_path.glob("o*")]


def test_results_replace_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.csv")
    with pytest.raises(OutputError, match="it is a device or pipe"):
        io.write_text(tmp_path / "out.csv", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
