"""`duchenne app` started from the command line, for tests of its server and its page."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Server:
    """A running `duchenne app` and the folder for its temporary files."""

    process: subprocess.Popen[str]
    url: str
    temporary: Path

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    @property
    def token(self) -> str:
        return urlsplit(self.url).path.strip("/")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of a response to a request as the page sends it, changed by `headers`."""
        origin = {"Origin": f"http://127.0.0.1:{self.port}"} if method != "GET" else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):  # also where the server closes it early
            connection.request(
                method, f"/{self.token if token is None else token}/{path}", body, {**origin, **(headers or {})}
            )
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        return response.status, {key.lower(): value for key, value in response.getheaders()}, text

    def folders(self) -> list[Path]:
        return list(self.temporary.glob("duchenne-app-*"))

    def stored(self) -> list[Path]:
        """Uploads on disk; folders may be deleted meanwhile."""
        walk = os.walk(self.temporary)
        return [Path(folder) / name for folder, _, names in walk for name in names if name.startswith("clip")]


def start(temporary: Path, *arguments: object) -> Server:
    """Start `duchenne app` on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "duchenne", "app", "--no-browser", "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    return Server(process, process.stdout.readline().strip(), temporary)


def end(server: Server, sent: signal.Signals = signal.SIGTERM) -> None:
    server.process.send_signal(sent)
    server.process.wait(60)
    assert server.process.stdout is not None
    server.process.stdout.close()
