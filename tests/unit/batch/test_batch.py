"""A batch of real clips gives the same bytes however it is run and whatever fails on the way."""

import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import RATE
from duchenne import batch
from duchenne.batch.state import hold
from duchenne.errors import DuchenneError, UsageError
from makers import cut, here, make_video

FRAMES = 5  # of each clip
#: What a worker does at the clip of that name, instead of a file that crashes FFmpeg, and how the failure begins.
FAULTS = {
    "crash": ("os.kill(os.getpid(), 11)", "three times while reading it (SIGSEGV)"),
    "hang": ("time.sleep(3600)", "three times while reading it (no progress for 2 s)"),
    "swell": ("kept = bytearray(4_000_000_000)", "more than 1 GB"),
    "leave": ("os._exit(3)", "three times while reading it (exit code 3)"),
}
SHIM = f"""
import os, sys, time
if "duchenne.workers.child" in sys.orig_argv:
    import duchenne.video as video
    frames = video.frames
    def other(path, **options):
        exec({ {name: code for name, (code, _) in FAULTS.items()} }.get(os.path.basename(path)[:-4], ""))
        return frames(path, **options)
    video.frames = other
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures):
    """Six valid clips of which two differ by extension alone, a truncated one, a text, and one without a face."""
    top = tmp_path_factory.mktemp("batch")
    (top / "sub").mkdir()
    for i, name in enumerate(["clip10.mp4", "clip2.mp4", "clip2.mkv", "bad.mp4", "=sum.mp4", "sub/clip1.mp4"]):
        make_video(top / name, pictures[4 * i : 4 * i + FRAMES], rate=RATE)
    cut(make_video(top / "sub" / "cut.mkv", pictures[:30], rate=RATE), 0.6)
    (top / "text.mp4").write_text("This is no video.\n")
    make_video(top / "wall.mp4", [pictures[0] * 0 + 90] * 2, rate=RATE)
    return top


@pytest.fixture(scope="module")
def reference(folder, tmp_path_factory):
    """One undisturbed run without worker processes."""
    out = tmp_path_factory.mktemp("reference") / "out"
    task = batch.extract_task()
    found = batch.process([folder], out, task, runner=here(task))
    assert (found.failed, found.clips, found.summary["frames"]) == (3, 9, 6 * FRAMES)
    return out


def tree(out):
    """Path → hash of all files but the state."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and ".duchenne" not in p.relative_to(out).parts]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def start(folder, out, *words, **options):
    command = [sys.executable, "-m", "duchenne", "extract", str(folder), "-o", str(out), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def descendants(pid):
    """The template process and its forks; none of another library's."""
    found = []
    with suppress(OSError):  # it has just exited
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, file.read_text().split()):
                if b"duchenne.workers.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found += [child, *descendants(child)]
    return found


def ended(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


# --- what comes out -----------------------------------------------------------------------------------------


def test_tables_report_measurements(reference):
    every = rows(reference / "clips.csv")
    table = [row for row in every if row["face"]]
    assert [row["file"] for row in table] == [
        "./=sum.mp4", "bad.mp4", "clip2.mkv", "clip2.mp4", "clip10.mp4", "sub/clip1.mp4"
    ]  # fmt: skip
    for row in table:
        counts = (row["face"], row["frames"], row["seen"], row["rate"], row["width"])
        assert counts == ("0", str(FRAMES), str(FRAMES), "25.0", "320")
        assert float(row["seconds"]) == pytest.approx(FRAMES / RATE) and 40 < float(row["face_size"]) < 55
        frames = rows(reference / "frames" / f"{row['file']}.csv")
        assert [int(f["frame"]) for f in frames] == list(range(FRAMES)) and all(f["x_0"] for f in frames)
    failed = {row["file"]: row["sentence"] for row in rows(reference / "failures.csv")}
    assert {row["file"]: row["reason"] for row in every if not row["face"]} == failed
    assert list(failed) == ["sub/cut.mkv", "text.mp4", "wall.mp4"]
    for (file, sentence), words in zip(failed.items(), ["cut short", "text file", "shows no face"], strict=True):
        assert sentence.startswith(file) and words in sentence and sentence.endswith(".")
    summary = json.loads((reference / "summary.json").read_text())
    assert [summary[k] for k in ("clips", "done", "failed", "left", "frames")] == [9, 6, 3, 0, 6 * FRAMES]
    assert not [name for name in tree(reference) if "cut" in name or "wall" in name or "part" in name]


def test_workers_and_shards_give_the_same_bytes(folder, reference, tmp_path):
    three, shares = tmp_path / "three", tmp_path / "shares"
    task = batch.extract_task()
    batch.process([folder], three, task, workers=3)
    assert tree(three) == tree(reference)
    first = batch.process([folder], shares, task, runner=here(task), shard=(1, 3))
    assert first.clips == 3 and first.summary["left"] == 6 and tree(shares) != tree(reference)
    with start(folder, shares, "--shard", "2/3", "--workers", "1") as second:  # both at once
        batch.process([folder], shares, task, workers=1, shard=(3, 3))
        second.communicate()
    assert tree(shares) == tree(reference)
    assert batch.process([folder], shares, task).clips == 0
    assert tree(shares) == tree(reference)


def test_run_killed_twice_resumes_and_leaves_no_orphan(folder, reference, tmp_path):
    out, orphans = tmp_path / "out", []
    for done in (1, 4):
        with start(folder, out, "--workers", "2") as run:
            while len(list(out.glob(".duchenne/clips/*/*.json"))) < done and run.poll() is None:
                time.sleep(0.01)
            orphans += descendants(run.pid)
            run.kill() if done == 1 else os.killpg(run.pid, signal.SIGKILL)
    while not all(map(ended, orphans)):  # they exit by themselves
        time.sleep(0.05)
    with start(folder, out) as run:
        result, errors = run.communicate()
    assert (run.returncode, errors) == (1, "") and "6 of 9 clips done" in result and "Failed: 3" in result
    assert tree(out) == tree(reference)


def test_interrupt_prints_no_traceback(folder, tmp_path):
    out = tmp_path / "out"
    with start(folder, out, "--workers", "2") as run:
        while not list(out.glob(".duchenne/clips/*/*.json")) and run.poll() is None:
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal sends Ctrl-C: to every process
        result, errors = run.communicate()
    assert run.returncode in (1, 130) and "Traceback" not in result + errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list a process's children")
def test_killed_processes_are_replaced(folder, reference, tmp_path):
    killed = []

    def watch(meter):
        if meter.current and len(killed) < 2:  # the template process, which takes its forks along, then a fork
            for pid in descendants(os.getpid())[-len(killed) :][:1]:  # none while they are restarted
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    batch.process([folder], tmp_path, batch.extract_task(), workers=2, watch=watch)
    assert killed and tree(tmp_path) == tree(reference)


def test_clips_that_crash_hang_swell_or_exit_fail_and_can_be_retried(folder, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SHIM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    top, out, task = tmp_path / "c", tmp_path / "out", batch.extract_task()
    top.mkdir()
    for name in (*FAULTS, "intact"):
        shutil.copy(folder / "bad.mp4", top / f"{name}.mp4")
    found = batch.process([top], out, task, workers=2, stall=2, memory=1)
    assert (found.clips, found.failed) == (5, 4)
    failed = {row["file"].removesuffix(".mp4"): row["sentence"] for row in rows(out / "failures.csv")}
    assert failed.keys() == FAULTS.keys()
    for name, (_, words) in FAULTS.items():
        assert words in failed[name]
    monkeypatch.undo()
    assert batch.process([top], out, task).failed == 4  # a failure is kept
    again = batch.process([top], out, task, retry=True, workers=1)
    assert (again.clips, again.failed) == (4, 0) and not rows(out / "failures.csv")


@pytest.mark.parametrize("workers", [1, 2])
def test_process_that_cannot_start_stops_the_run_with_its_reason(workers, folder, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nif 'duchenne.workers.child' in sys.orig_argv: import cv3\n")
    (tmp_path / "dlib.py").write_text("raise ImportError('dlib is broken')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(DuchenneError, match=r"did not start .*dlib is broken"):
        batch.process([folder], tmp_path / "out", batch.extract_task(), workers=workers)


def small_disk():
    """No file may grow beyond 8 kB from here on: records fit, a table of frames does not."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # byte code that is cut short would stay
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))


def test_full_disk_stops_with_one_sentence(folder, tmp_path):
    with start(folder / "bad.mp4", tmp_path / "out", preexec_fn=small_disk) as run:
        result, error = run.communicate()
    assert (run.returncode, result) == (1, "")
    (line,) = error.splitlines()
    assert f"{tmp_path / 'out'}/frames/" in line and "space" in line and "work" not in line


def test_changed_and_removed_clips_are_updated(folder, pictures, tmp_path):
    top, out, task = tmp_path / "c", tmp_path / "out", batch.extract_task()
    top.mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(top / name, pictures[:FRAMES], rate=RATE)
    assert batch.process([top], out, task, workers=1).summary["frames"] == 2 * FRAMES
    (top / "a.mp4").write_text("This is no video.\n")
    (top / "b.mp4").unlink()
    found = batch.process([top], out, task)
    assert (found.clips, found.failed, found.summary["faces"]) == (1, 1, 0) and "1" in found.notes[0]
    assert sorted(tree(out)) == ["clips.csv", "codebook.csv", "failures.csv", "frames/b.mp4.csv", "summary.json"]
    assert [(row["file"], row["face"]) for row in rows(out / "clips.csv")] == [("a.mp4", "")]


# --- the command --------------------------------------------------------------------------------------------


def test_extract_prints_summary(duchenne, folder, reference, tmp_path):
    result = duchenne(
        "extract", folder / "clip2.mp4", folder / "clip2.mkv", "-o", tmp_path / "o", "--format", "parquet"
    )
    assert (result.code, result.err) == (0, "") and "2 of 2 clips done: 2 faces, 10 frames" in result.out
    import pandas as pd

    table = pd.read_parquet(tmp_path / "o" / "frames" / "clip2.mp4.parquet")
    assert len(table) == FRAMES and set(table["file"]) == {"clip2.mp4"}
    result = duchenne("extract", folder, "-o", reference)
    assert result.code == 1 and "Failed: 3" in result.out and "This run" not in result.out


def test_extract_takes_a_rate_for_what_stores_no_times(duchenne, pictures, tmp_path):
    (clips := tmp_path / "clips").mkdir()
    make_video(clips / "a.h264", pictures[:FRAMES], rate=RATE)
    assert duchenne("extract", clips, "--rate", 2 * RATE, "-o", tmp_path / "out").code == 0
    (row,) = csv.DictReader((tmp_path / "out" / "clips.csv").read_text().splitlines())
    assert float(row["seconds"]) == pytest.approx(FRAMES / RATE / 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--shard", "3/2"], "must look like 3/16"),
        (["--format", "xlsx"], "choose one of: csv, parquet"),
        (["--detector", "magic"], "no detector named 'magic'"),
        (["--all-faces"], "options all_faces False there and True here"),
        (["--manifest", "m.csv"], "not both"),
    ],
)
def test_wrong_usage_is_rejected_in_one_sentence(words, sentence, duchenne, folder, reference):
    before = tree(reference)
    result = duchenne("extract", folder, "-o", reference, *words)
    assert result.code == 2 and sentence in result.sentence and tree(reference) == before


def test_second_run_is_rejected(duchenne, folder, reference):
    with hold(reference, batch.extract_task().fingerprint):
        result = duchenne("extract", folder, "-o", reference)
    assert result.code == 2 and "Another run is using" in result.sentence
    with pytest.raises(UsageError, match="task extract there and analyze here"), hold(reference, {"task": "analyze"}):
        pass


def test_folder_gives_the_same_verdicts_as_its_clips(duchenne, folder, pictures, tmp_path):
    top, out = tmp_path / "c", tmp_path / "out"
    top.mkdir()
    make_video(top / "smile.mp4", pictures[::2], rate=RATE // 2)
    make_video(top / "short.mp4", pictures[:5], rate=RATE)
    result = duchenne("analyze", top, "-o", out, "--no-report", "--workers", "1")
    assert result.code == 0 and "2 of 2 clips done" in result.out
    one = duchenne("analyze", top / "smile.mp4", "--json")
    single = json.loads(one.out) | {"source": "smile.mp4"}
    assert json.loads((out / "smile.mp4" / "verdict.json").read_text()) == single
    brief, full = rows(out / "clips.csv")
    assert (brief["file"], brief["abstained"], brief["p_genuine"]) == ("short.mp4", "1", "")
    assert brief["reason"].startswith("Too short") and brief["code"] == "too_short" and brief["label"] == ""
    assert full["verdict"] == (single["label"] or "abstained") and float(full["p_happiness"]) > 0.3
    assert [float(full[f"judged_{name}"]) for name in ("start", "end")] == pytest.approx(single["judged"], abs=1e-3)
    assert float(full["apex"]) == pytest.approx(single["judged_phase"]["apex"], abs=1e-3)
    assert not list(out.rglob("report*.html")) and (out / "smile.mp4" / "emotions.csv").exists()
    refused = duchenne("analyze", top, "-o", out, "--json")
    assert refused.code == 2 and "single clips" in refused.sentence
    assert "needs --out" in duchenne("analyze", top).sentence
