"""The app stays reachable for its user, whoever else connects: slowly, silently, in crowds, or with a body that nobody
asked for."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from duchenne.web import connections, guard, server, session, uploads

TOKEN = "token"
#: Requests that never end.
PARTS = {
    "nothing": b"",
    "half a line": b"GET /",
    "half the headers": b"GET /token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "a wrong token, half the headers": b"GET /wrong/ HTTP/1.1\r\nHost: 127.0.0.1\r\n",
}


@dataclass
class App:
    port: int
    folder: Path

    def send(self, data: bytes) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        try:
            found.sendall(data)
        except BaseException:
            found.close()
            raise
        return found

    def request(self, method: str, path: str, length: int | None = None, more: str = "") -> bytes:
        host = f"127.0.0.1:{self.port}"
        body = "" if length is None else f"Content-Length: {length}\r\n"
        return f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{body}{more}\r\n".encode()

    def state(self) -> int:
        """The status that the user's own page gets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", f"/{TOKEN}/state")
        response = connection.getresponse()
        assert json.loads(response.read())["clips"] == []
        connection.close()
        return response.status

    def stored(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path.name.startswith("clip")]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The app in this process, without a worker, with short times."""

    async def idle(self: session.Session) -> None:
        await self._changed.wait()

    monkeypatch.setattr(session.Session, "work", idle)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(guard, "_LINGER_SECONDS", 0.1)
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path))
    started = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = server.Settings(port=listener.getsockname()[1], max_mb=5000)
        built = server.build(settings, uploads.Uploads(), TOKEN, started.set)
        running = uvicorn.Server(server.config(built))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        assert started.wait(20)
        yield App(settings.port, tmp_path)
        running.should_exit = True
        thread.join(20)
    assert not thread.is_alive() and list(tmp_path.iterdir()) == []


def ends(connection: socket.socket) -> bytes:
    """What still arrives until the server closes the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            found += part
    connection.close()
    return found


@pytest.mark.parametrize("what", PARTS)
def test_a_request_that_does_not_come_is_given_up(app: App, what: str) -> None:
    assert ends(app.send(PARTS[what])) == b""
    assert app.state() == 200


def test_a_byte_now_and_then_is_not_enough(app: App) -> None:
    connection = app.send(b"GET /token/ HTTP/1.1\r\n")
    begun = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - begun < 20:
            connection.sendall(b"X-A: b\r\n")
            time.sleep(0.02)
    assert time.monotonic() - begun < 20  # closed, though it never paused
    connection.close()


def test_a_connection_that_was_used_is_given_up_too(app: App) -> None:
    connection = app.send(app.request("GET", "token/state"))
    assert ends(connection).startswith(b"HTTP/1.1 200")
    connection = app.send(app.request("GET", "token/state") + b"GET /token/")  # the next request never ends
    assert ends(connection).count(b"HTTP/1.1 200") == 1


def test_headers_without_end_are_refused(app: App) -> None:
    connection = app.send(b"GET /token/ HTTP/1.1\r\n" + b"X: " + b"y" * 20_000)
    assert ends(connection).startswith(b"HTTP/1.1 400")


def test_half_a_body_is_given_up_and_leaves_nothing(app: App) -> None:
    connection = app.send(app.request("POST", "token/clips?name=a.mp4", 1_000_000) + b"\0" * 1000)
    found = ends(connection)
    assert found.startswith(b"HTTP/1.1 408") and b"connection: close" in found
    assert found.endswith(b"a.mp4 stopped arriving; add it again.")
    assert not app.stored() and app.state() == 200


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("wrong/clips?name=a.mp4", "", 403),
        ("wrong/clips?name=a.mp4", "Expect: 100-continue\r\n", 403),
        ("token/nothing", "", 404),
        ("token/state", "", 405),
    ],
)
def test_a_body_that_nobody_asked_for_is_not_read(app: App, path: str, more: str, status: int) -> None:
    connection = app.send(app.request("POST", path, 4_000_000_000, more))  # of which nothing is sent
    found = ends(connection)
    assert found.startswith(f"HTTP/1.1 {status}".encode()) and b"connection: close" in found
    connection = app.send(app.request("POST", path, None, "Transfer-Encoding: chunked\r\n") + b"5\r\nab")
    assert ends(connection).startswith(f"HTTP/1.1 {status}".encode())


def test_a_body_with_a_wrong_token_is_cut_off(app: App) -> None:
    connection, sent = app.send(app.request("POST", "wrong/clips?name=a.mp4", 4_000_000_000)), 0
    with suppress(OSError):
        while sent < 200_000_000:
            connection.sendall(b"\0" * 1_000_000)
            sent += 1_000_000
    assert sent < 200_000_000 and not app.stored()
    connection.close()


def test_a_thousand_connections_keep_nobody_out(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60.0)  # they stay as long as they may
    monkeypatch.setattr(connections, "MOST", 20)
    with ExitStack() as held:
        for i in range(200):
            held.enter_context(app.send(list(PARTS.values())[i % len(PARTS)]))
            if i % 50 == 49:
                assert app.state() == 200
        assert app.state() == 200


def test_uploads_in_progress_are_not_closed_for_others(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 20.0)
    monkeypatch.setattr(connections, "MOST", 5)
    upload = app.send(app.request("POST", "token/clips?name=a.mp4", 10) + b"12345")
    while not app.stored():
        time.sleep(0.01)
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(app.send(b"GET /"))
        upload.sendall(b"67890")
        assert upload.recv(100).startswith(b"HTTP/1.1 201")
    upload.close()


def test_forwarded_headers_change_nothing(app: App) -> None:
    forged = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 127.0.0.1\r\n"
    assert ends(app.send(app.request("GET", "token/state", more=forged))).startswith(b"HTTP/1.1 200")
    request = app.request("GET", "token/state", more="X-Forwarded-Host: 127.0.0.1\r\n")
    foreign = request.replace(f"Host: 127.0.0.1:{app.port}".encode(), b"Host: evil.example", 1)
    assert ends(app.send(foreign)).startswith(b"HTTP/1.1 403")
