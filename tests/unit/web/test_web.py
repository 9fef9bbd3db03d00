"""The app's server without a browser: who may ask, what may be sent, what is kept, and what is left behind."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from app_server import Server, end, start
from duchenne.errors import DuchenneError, UsageError
from duchenne.types import Array
from duchenne.web import session, uploads
from duchenne.workers import pool
from duchenne.workers.pool import Worker
from duchenne.workers.protocol import Job, Limits
from makers import make_video

MOST_MB = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = start(tmp_path_factory.mktemp("app"), "--max-mb", MOST_MB)
    yield found
    end(found)


def test_page_has_strict_headers(server: Server) -> None:
    status, headers, text = server.ask("GET", "")
    assert status == 200 and "<title>duchenne</title>" in text
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store" and "access-control-allow-origin" not in headers
    assert "style=" not in text and "<script>" not in text and "http" not in text.replace("http-equiv", "")
    for name in ("app.js", "view.js", "camera.js", "app.css", "favicon.svg"):
        assert server.ask("GET", f"static/{name}")[0] == 200


@pytest.mark.parametrize(
    ("method", "headers", "token"),
    [
        ("GET", {"Host": "evil.example"}, None),  # DNS rebinding
        ("GET", {"Host": "127.0.0.1:1"}, None),
        ("GET", {"Host": "127.0.0.1.evil.example"}, None),
        ("GET", {}, ""),
        ("GET", {}, "wrong"),
        ("POST", {"Origin": "http://evil.example"}, None),
        ("POST", {"Origin": "null"}, None),  # a sandboxed report
        ("POST", {"Origin": "https://127.0.0.1"}, None),
        ("POST", {}, "wrong"),
        ("DELETE", {"Origin": "http://localhost:1"}, None),
    ],
)
def test_foreign_requests_are_rejected_in_one_sentence(
    server: Server, method: str, headers: dict[str, str], token: str | None
) -> None:
    status, _, text = server.ask(method, "clips?name=a.mp4", b"x" if method == "POST" else None, headers, token)
    assert status == 403 and text.endswith(".") and text.count(".") - text.count("`duchenne app`.") <= 1
    assert not server.stored()


def test_changes_need_the_own_origin(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", f"/{server.token}/clips?name=a.mp4", b"x")
    assert connection.getresponse().status == 403
    connection.close()


def test_large_upload_is_rejected_before_and_during_transfer(server: Server) -> None:
    large = b"\0" * (MOST_MB * 1_000_000 + 1)
    status, _, text = server.ask("POST", "clips?name=a.mp4", b"", {"Content-Length": str(len(large))})
    assert status == 413 and text.startswith(f"A clip may have up to {MOST_MB} MB;")
    try:  # without a length, as a stream of chunks: it is counted, and the connection may be cut
        status, _, text = server.ask("POST", "clips?name=a.mp4", iter([large[:1000], large, large]))
    except OSError:
        status = 413
    assert status == 413
    assert not server.stored() and json.loads(server.ask("GET", "state")[2])["clips"] == []


def finished_task(server: Server, clip: str) -> dict[str, object]:
    for _ in range(600):
        clips = json.loads(server.ask("GET", "state")[2])["clips"]
        task: dict[str, object] = next(each["task"] for each in clips if each["id"] == clip)
        if task["state"] not in ("waiting", "working"):
            return task
        time.sleep(0.1)
    raise AssertionError("the task did not finish")


def test_names_are_only_shown_and_files_are_deleted_with_their_clip(server: Server, empty_room: Path) -> None:
    name = "../../=cmd|' C calc'!A0<img src=x>.mp4"
    status, _, text = server.ask("POST", f"clips?name={quote(name)}", empty_room.read_bytes())
    assert status == 201
    clip = json.loads(text)["id"]
    (stored,) = server.stored()
    assert stored.name == "clip.mp4" and stored.parent.name == clip and stored.stat().st_mode & 0o111 == 0
    if hasattr(os, "getuid"):
        assert server.folders()[0].stat().st_mode & 0o077 == 0
    task = finished_task(server, clip)
    shown = "=cmd|' C calc'!A0<img src=x>.mp4"
    assert task["state"] == "failed" and str(task["error"]).startswith(f"{shown} shows no face")
    status, headers, text = server.ask("GET", "session.csv")
    assert headers["content-type"].startswith("text/csv") and "attachment" in headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["file"] == f"'{shown}" and row["verdict"] == "failed" and row["p_genuine"] == ""
    for path in ("report.html", "clip.mp4", "..%2f..%2fetc%2fpasswd", "verdict.json"):
        assert server.ask("GET", f"clips/{clip}/{path}")[0] == 404
    assert server.ask("POST", f"compare?first={clip}&second={clip}")[0] == 409
    assert server.ask("POST", f"compare?first={clip}&second=x")[0] == 404
    assert server.ask("DELETE", f"clips/{clip}")[0] == 204
    assert not server.stored() and server.ask("DELETE", f"clips/{clip}")[0] == 404


@pytest.mark.parametrize(
    ("name", "kept", "ending"),
    [
        ("a.MP4", "a.MP4", ".mp4"),
        ("C:\\films\\a b.mov", "a b.mov", ".mov"),
        ("/etc/pass\nwd", "passwd", ""),
        ("\u202egpj.exe.m p4", "gpj.exe.m p4", ""),
        ("x.tar.gz/..", "..", ""),
        ("", "clip", ""),
        ("é" * 300 + ".mp4", "é" * 120, ""),
    ],
)
def test_names_are_cleaned(name: str, kept: str, ending: str) -> None:
    assert session.clean_name(name) == kept and session.suffix(session.clean_name(name)) == ending


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP])  # SIGTERM: test_web_page
def test_files_are_deleted_at_exit(tmp_path: Path, empty_room: Path, how: signal.Signals) -> None:
    server = start(tmp_path)
    assert server.ask("POST", "clips?name=a.mp4", empty_room.read_bytes())[0] == 201
    assert len(server.stored()) == 1 and len(server.folders()) == 1
    end(server, how)
    assert server.folders() == []


def test_next_start_deletes_files_of_killed_runs_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, own = server.temporary, set(server.folders())
    end(start(folder), signal.SIGKILL)
    assert len(own) == 1 and len(server.folders()) == 2  # SIGKILL leaves no time to delete
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(folder))
    monkeypatch.setattr(uploads, "_YOUNG", 0.0)
    (link := folder / "duchenne-app-link").symlink_to(folder.parent)
    (notes := folder / "duchenne-app-notes").mkdir()  # not ours: it has no lock
    uploads.sweep()
    assert set(server.folders()) == own | {link, notes}
    assert server.ask("GET", "")[0] == 200
    link.unlink()
    notes.rmdir()


def test_used_port_is_reported_in_one_sentence(server: Server) -> None:
    words = [sys.executable, "-m", "duchenne", "app", "--no-browser", "--port", str(server.port)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert f"127.0.0.1 port {server.port} cannot be listened on" in done.stderr and len(done.stderr.splitlines()) == 1


def job(clip: Path, name: str) -> Job:
    clips = [{"path": str(clip), "name": name}]
    return Job(0, name, {"kind": "judge", "clips": clips, "out": str(clip.parent / "out"), "allow_truncated": False})


@contextmanager
def worker(model: object = "default") -> Iterator[Worker]:
    """The app's worker, closed after the test."""
    store = uploads.Uploads()
    worker = session.Session(store, str(model), Limits()).worker
    try:
        yield worker
    finally:
        worker.close()
        store.close()


def ignore(done: int, stage: str = "", total: int | None = None) -> None:
    pass


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[Worker]:
    """One for several tests, as a process takes seconds to start."""
    with worker() as found:
        yield found


def test_clip_that_crashes_its_process_crashes_nothing_else(
    smile: Path, empty_room: Path, shared_worker: Worker
) -> None:
    found, killed = shared_worker, list[int]()

    def crash(done: int, stage: str = "", total: int | None = None) -> None:
        assert found.process is not None
        if not killed:
            os.kill(found.process.pid, signal.SIGSEGV)
            killed.append(found.process.pid)

    first = found.do(job(smile, "mine.mp4"), crash)
    second = found.do(job(empty_room, "room.mp4"), ignore)
    assert str(first.failure).startswith("mine.mp4: the worker process ended while reading it (SIGSEGV); re-encode it")
    assert "shows no face" in str(second.failure)


def test_cancelled_work_ends_and_its_process_is_reused(
    tmp_path: Path, pictures: list[Array], empty_room: Path, shared_worker: Worker
) -> None:
    long = make_video(tmp_path / "long.mp4", pictures * 8, rate=25)
    found, cancel, seen = shared_worker, threading.Event(), list[int]()

    def drop(done: int, stage: str = "", total: int | None = None) -> None:
        cancel.set()
        seen.append(done)

    first = found.do(job(long, "mine.mp4"), drop, cancel)
    before = found.process
    second = found.do(job(empty_room, "room.mp4"), ignore)
    assert first.failure == "Cancelled." and max(seen) < 480
    assert "shows no face" in str(second.failure) and found.process is before


def test_clip_over_time_or_memory_limit_fails(
    smile: Path, shared_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shared_worker
    found.start()
    process = found.process
    monkeypatch.setattr(found, "limits", Limits(seconds=0.05))  # too short for 60 frames
    answer = found.do(job(smile, "mine.mp4"), ignore)
    assert process is not None and process.wait() == -signal.SIGKILL
    assert str(answer.failure).startswith("mine.mp4 took longer than 0.05 s;")
    monkeypatch.setattr(found, "limits", Limits(memory=4_000_000_000))
    found.start()
    monkeypatch.setattr(pool, "resident", lambda pid: 4_000_000_001)
    answer = found.do(job(smile, "mine.mp4"), ignore)
    assert "mine.mp4: the worker process ended while reading it (more than 4 GB of memory" in str(answer.failure)


def test_model_that_does_not_load_is_not_the_clips_error(smile: Path, tmp_path: Path) -> None:
    with worker(tmp_path) as found, pytest.raises(DuchenneError, match="The worker process did not start"):
        found.do(job(smile, "mine.mp4"), ignore)


def test_queue_is_limited_and_removing_a_clip_removes_its_tasks(tmp_path: Path) -> None:
    store = uploads.Uploads()
    try:
        found = session.Session(store, "default", Limits())
        clips = [found.add("a.mp4", store.new()[1] / "clip.mp4") for _ in range(session.MAX_WAITING)]
        with pytest.raises(UsageError, match="waiting already"):
            found.check_room()
        with pytest.raises(UsageError, match="with itself"):
            found.compare(clips[0], clips[0])
        with pytest.raises(UsageError, match="judge it first"):
            found.overlay(clips[0])
        with pytest.raises(UsageError, match="waiting already"):
            found.judge_again(clips[0], truncated=True)
        assert clips[0].task.state == "waiting"
        assert [each["task"]["place"] for each in found.to_dict()["clips"]] == list(range(1, 11))
        found.remove(clips[3])
        pair = found.compare(clips[0], clips[1])
        assert len(found.waiting) == session.MAX_WAITING and found.comparisons == {pair.id: pair}
        found.remove(clips[4])
        found.remove(clips[5])
        again = found.compare(clips[0], clips[1])
        assert found.comparisons == {again.id: again} and pair.state == "cancelled" and pair not in found.waiting
        pair = again
        found.remove(clips[1])
        assert found.comparisons == {} and pair not in found.waiting and pair.state == "cancelled"
        assert not (store.folder / clips[1].id).exists() and (store.folder / clips[0].id).exists()
    finally:
        store.close()
    assert not store.folder.exists()


def test_interrupted_upload_leaves_no_file(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", f"/{server.token}/clips?name=a.mp4")
    connection.putheader("Origin", f"http://127.0.0.1:{server.port}")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(b"\0" * 1000)
    for _ in range(100):
        if server.stored():
            break
        time.sleep(0.05)
    assert server.stored()
    connection.close()
    for _ in range(100):
        if not server.stored():
            break
        time.sleep(0.05)
    assert not server.stored() and json.loads(server.ask("GET", "state")[2])["clips"] == []


def test_other_host_prints_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "duchenne", "app", "--no-browser", "--port", "0", "--host", "0.0.0.0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = Server(process, process.stdout.readline().strip(), tmp_path)
    status, _, text = found.ask("GET", "")
    assert status == 200 and "Clips go only to the computer that serves this page, 0.0.0.0" in text
    assert found.ask("GET", "", headers={"Host": f"192.0.2.7:{found.port}"})[0] == 200  # an address, as typed there
    assert found.ask("GET", "", headers={"Host": f"evil.example:{found.port}"})[0] == 403
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert said.startswith("note: on 0.0.0.0 other computers can reach this page")


def test_browser_gets_an_address_that_works_once(tmp_path: Path) -> None:
    opened, script = tmp_path / "opened", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n', encoding="utf-8")
    script.chmod(0o700)
    process = subprocess.Popen(
        [sys.executable, "-m", "duchenne", "app", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": str(script), "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    found = Server(process, process.stdout.readline().strip(), tmp_path)
    for _ in range(600):
        if opened.exists():
            break
        time.sleep(0.05)
    once = opened.read_text(encoding="utf-8").split("/")[3]
    assert once != found.token
    assert found.ask("GET", "", headers={"Host": "evil.example"}, token=once)[0] == 403
    status, headers, _ = found.ask("GET", "", token=once)
    assert status == 303 and headers["location"] == f"/{found.token}/"
    assert found.ask("GET", "", token=once)[0] == 403
    end(found)
