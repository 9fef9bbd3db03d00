"""The app behind a reverse proxy with TLS: its page works there, and only there and at its own address."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app_server import Server, end, start
from duchenne.errors import UsageError
from duchenne.web.guard import public_origin

NAME = "lab.example"
OPENSSL, NGINX = (
    shutil.which("openssl"),
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"),
)
NGINX_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{ proxy_pass http://127.0.0.1:{app}; proxy_http_version 1.1; {host} }}
  }}
}}
"""
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no certificate can be made: openssl is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for the proxy's name."""
    found = tmp_path_factory.mktemp("proxy")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", found / "key.pem", "-out", found / "cert.pem"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([str(OPENSSL), *words, *files, *names], check=True, capture_output=True)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Site:
    """The app, the port that it listens on, and the port at which proxies show it, one after the other."""

    server: Server
    port: int
    public: int

    def ask(
        self, folder: Path, method: str, path: str, body: object = None, origin: str | None = "", **headers: str
    ) -> tuple[int, str]:
        """Status and text of a response, asked for as a browser does that was sent to the proxy."""
        site = f"https://{NAME}:{self.public}"
        trusted = ssl.create_default_context(cafile=folder / "cert.pem")
        connection = http.client.HTTPConnection("127.0.0.1", self.public, timeout=60)
        with closing(connection):
            plain = socket.create_connection(("127.0.0.1", self.public), timeout=60)
            connection.sock = trusted.wrap_socket(plain, server_hostname=NAME)
            sent = {"Host": f"{NAME}:{self.public}", **({} if origin is None else {"Origin": origin or site})}
            connection.request(method, f"/{self.server.token}/{path}", body, {**sent, **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port, public = free_port(), free_port()
    origin = f"HTTPS://Lab.example:{public}"
    server = start(tmp_path_factory.mktemp("app"), "--port", port, "--origin", origin, "--max-mb", 2)
    assert server.url.startswith(f"https://{NAME}:{public}/")
    yield Site(server, port, public)
    end(server)


@contextmanager
def python_proxy(folder: Path, site: Site) -> Iterator[None]:
    """Takes TLS off, and passes on what it gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def passed(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        app = socket.create_connection(("127.0.0.1", site.port), timeout=60)
        with app, context.wrap_socket(plain, server_side=True) as client:
            other = threading.Thread(target=passed, args=(app, client))
            other.start()
            passed(client, app)
            other.join()

    def run() -> None:
        with suppress(OSError), ThreadPoolExecutor() as threads:  # accept fails when the listener is closed
            while True:
                threads.submit(serve, listener.accept()[0])

    with socket.create_server(("127.0.0.1", site.public)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


@contextmanager
def nginx(folder: Path, site: Site, host: str) -> Iterator[None]:
    """nginx with this directive about the host."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONF.format(folder=folder, port=site.public, app=site.port, host=host))
    process = subprocess.Popen([NGINX, "-p", folder, "-c", config, "-e", folder / "log"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", site.public), timeout=5):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


PROXIES = {
    "python": python_proxy,
    "nginx": lambda folder, site: nginx(folder, site, ""),  # names the app itself as host
    "nginx, host": lambda folder, site: nginx(folder, site, "proxy_set_header Host $host;"),  # without a port
    "nginx, all": lambda folder, site: nginx(
        folder, site, "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;"
    ),
}


@needs_openssl
@pytest.mark.parametrize("proxy", PROXIES)
def test_the_page_works_behind_a_proxy(proxy: str, folder: Path, site: Site, empty_room: Path) -> None:
    with PROXIES[proxy](folder, site):
        status, text = site.ask(folder, "GET", "")
        assert status == 200 and f"the computer that serves this page, {NAME}:{site.public}" in text
        status, text = site.ask(folder, "POST", "clips?name=a.mp4", empty_room.read_bytes())
        assert status == 201
        clip = json.loads(text)["id"]
        assert site.ask(folder, "DELETE", f"clips/{clip}", origin="https://evil.example")[0] == 403
        assert site.ask(folder, "DELETE", f"clips/{clip}", origin=f"http://{NAME}:{site.public}")[0] == 403
        assert site.ask(folder, "DELETE", f"clips/{clip}", origin=f"https://{NAME}")[0] == 403
        assert site.ask(folder, "DELETE", f"clips/{clip}", origin=None)[0] == 403
        assert site.ask(folder, "DELETE", f"clips/{clip}")[0] == 204
        assert site.ask(folder, "POST", "clips?name=b.mp4", b"x" * 2_100_000)[0] == 413


def test_only_the_proxys_name_is_trusted(site: Site) -> None:
    for host, status in ((NAME, 200), (f"{NAME}:{site.public}", 200), (f"evil.{NAME}", 403), ("evil.example", 403)):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        with closing(connection):
            headers = {"Host": host, "X-Forwarded-Host": NAME, "X-Forwarded-Proto": "https"}
            connection.request("GET", f"/{site.server.token}/state", headers=headers)
            with connection.getresponse() as response:  # holds the socket where the server closes
                assert response.status == status, host


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://lab.example", "https://lab.example"),
        ("HTTPS://LAB.example:443/", "https://lab.example"),
        ("https://lab.example:8443", "https://lab.example:8443"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_written_as_browsers_do(given: str, kept: str) -> None:
    assert public_origin(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        *("", "lab.example", "//lab.example", "ftp://lab.example", "https://", "https://lab.example/duchenne", "null"),
        *("https://a@lab.example", "https://lab.example:99999", "https://*.example", "https://lab.exämple", "*"),
        *("https://lab.example?x", "https://lab.example#x", "https://lab.example, https://other.example"),
    ],
)
def test_another_origin_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"^--origin .*: expected the address of the proxy.*; write it as .*\.$"):
        public_origin(given)
