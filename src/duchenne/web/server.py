"""The app's server: the page, uploads streamed to disk, and results. Starlette on uvicorn."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from duchenne import __version__, limits
from duchenne.errors import DuchenneError, UsageError
from duchenne.web import guard
from duchenne.web.connections import Connection
from duchenne.web.session import Clip, Session, Task, clean_name, suffix
from duchenne.web.uploads import Uploads
from duchenne.workers.protocol import Limits
from duchenne.workers.resources import share

#: Files of a clip that may be fetched, with their media types.
FILES = {
    "report.html": "text/html",
    "overlay.mp4": "video/mp4",
    "verdict.json": "application/json",
    "frames.csv": "text/csv",
    "curves.csv": "text/csv",
    "emotions.csv": "text/csv",
}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Settings:
    """Address to listen on (port 0: any free one), id or folder of the model, limits per clip: file size in MB, seconds
    of work, GB of memory (None: that of a batch's only worker), the origin of a reverse proxy before it, and the reader
    of faces (None: the model's)."""

    host: str = "127.0.0.1"
    port: int = 8765
    model: str = "default"
    max_mb: float = 500.0
    max_seconds: float = 600.0
    max_memory: float | None = None
    origin: str | None = None
    reader: str | None = None

    @property
    def shown_host(self) -> str | None:
        """The name of the computer that serves the page; None where that is the user's own."""
        if self.origin:
            return urlsplit(self.origin).netloc
        return None if self.host in LOOPBACK else self.host


class Api:
    """The handlers. Every error is one sentence of plain text."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self.settings, self.session = settings, session
        self.max_bytes = round(settings.max_mb * 1e6)

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.page),
            Route("/state", self.state),
            Route("/session.csv", self.table),
            Route("/clips", self.upload, methods=["POST"]),
            Route("/clips/{clip}", self.remove, methods=["DELETE"]),
            Route("/clips/{clip}/again", self.again, methods=["POST"]),
            Route("/clips/{clip}/overlay", self.overlay, methods=["POST"]),
            Route("/clips/{clip}/{file}", self.file),
            Route("/compare", self.compare, methods=["POST"]),
            Route("/tasks/{task}/cancel", self.cancel, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ]

    async def page(self, _: Request) -> Response:
        return HTMLResponse(_page(self.settings))

    async def state(self, _: Request) -> Response:
        return JSONResponse(self.session.to_dict())

    async def table(self, _: Request) -> Response:
        headers = {"content-disposition": 'attachment; filename="duchenne-session.csv"'}
        return Response(self.session.table(), media_type="text/csv", headers=headers)

    async def upload(self, request: Request) -> Response:
        """Stream the body into a file with a random name; no more than the limit is written to disk."""
        self.session.check_room()
        if int(request.headers.get("content-length", "0") or 0) > self.max_bytes:
            raise HTTPException(413, self._too_large())
        name = clean_name(request.query_params.get("name", ""))
        key, folder = self.session.uploads.new()
        self.session.uploading += 1
        complete = False
        try:
            path = folder / f"clip{suffix(name)}"
            await self._store(request, path)
            complete = True
        except TimeoutError as error:
            raise HTTPException(408, f"{name} stopped arriving; add it again.") from error
        except OSError as error:
            raise HTTPException(507, f"{name} could not be stored ({error.strerror}); free some space.") from error
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self.session.uploading -= 1
            if not complete:
                self.session.uploads.remove(key)
        return JSONResponse({"id": self.session.add(name, path).id}, 201)

    async def _store(self, request: Request, path: Path) -> None:
        size = 0
        with path.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > self.max_bytes:
                    raise HTTPException(413, self._too_large())
                await asyncio.to_thread(file.write, chunk)

    def _too_large(self) -> str:
        return f"A clip may have up to {self.settings.max_mb:g} MB; cut it shorter, or start the app with --max-mb."

    async def remove(self, request: Request) -> Response:
        self.session.remove(self._clip(request))
        return Response(status_code=204)

    async def again(self, request: Request) -> Response:
        return _queued(self.session.judge_again(self._clip(request), "truncated" in request.query_params))

    async def overlay(self, request: Request) -> Response:
        return _queued(self.session.overlay(self._clip(request)))

    async def compare(self, request: Request) -> Response:
        pair = [self.session.clips.get(request.query_params.get(which, "")) for which in ("first", "second")]
        if pair[0] is None or pair[1] is None:
            raise HTTPException(404, "One of these clips was removed; choose two others.")
        return _queued(self.session.compare(pair[0], pair[1]))

    async def cancel(self, request: Request) -> Response:
        self.session.cancel(self.session.find(request.path_params["task"]))
        return Response(status_code=204)

    async def file(self, request: Request) -> Response:
        clip, name = self._clip(request), request.path_params["file"]
        path = clip.out / name
        if name not in FILES or not path.is_file():
            raise HTTPException(404, "This clip has no such file; judge it first.")
        save_as = f"{Path(clip.name).stem}-{name}" if "save" in request.query_params else None
        headers = {"content-security-policy": guard.REPORT} if name == "report.html" else None
        return FileResponse(path, media_type=FILES[name], filename=save_as, headers=headers)

    def _clip(self, request: Request) -> Clip:
        clip = self.session.clips.get(request.path_params["clip"])
        if clip is None:
            raise HTTPException(404, "This clip was removed; add it again.")
        return clip


def build(settings: Settings, uploads: Uploads, token: str, on_start: Callable[[], None]) -> guard.Guard:
    """The app below `/token/`, with its worker and guard; `on_start` is called when it accepts requests."""
    memory = int(settings.max_memory * 1e9) if settings.max_memory else share(1)
    session = Session(uploads, settings.model, Limits(memory=memory, seconds=settings.max_seconds), settings.reader)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(session.work())
        on_start()
        try:
            yield
        finally:
            session.end()
            await work
            uploads.close()

    api = Api(settings, session)
    handlers: Mapping[Any, Any] = {HTTPException: _http_error, DuchenneError: _conflict}
    app = Starlette(routes=[Mount(f"/{token}", routes=api.routes())], lifespan=lifespan, exception_handlers=handlers)
    return guard.Guard(app, token, settings.host, settings.port, settings.origin)


def serve(settings: Settings, on_start: Callable[[str, str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, then delete every upload.

    `on_start` is called with the address of the page and with one that works a single time, to start a browser with.
    UsageError if the address cannot be listened on.
    """
    token = secrets.token_urlsafe(24)
    with _listen(settings.host, settings.port) as listener:
        settings = Settings(**{**vars(settings), "port": listener.getsockname()[1]})
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
        base = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
        uploads = Uploads()
        try:
            address = f"{settings.origin or base}/{token}/"
            app = build(settings, uploads, token, lambda: on_start(address, f"{base}/{app.once}/"))
            if hasattr(signal, "SIGHUP"):  # closing the terminal ends the app
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
            uvicorn.Server(config(app)).run(sockets=[listener])
        finally:
            uploads.close()


def config(app: ASGIApp) -> uvicorn.Config:
    """uvicorn's, with its limits: `connections` has the others."""
    return uvicorn.Config(
        app, loop="asyncio", http=Connection, ws="none", log_level="error", access_log=False, server_header=False,
        timeout_graceful_shutdown=2, timeout_keep_alive=5, h11_max_incomplete_event_size=16384,
        proxy_headers=False,  # X-Forwarded-*, which anyone can send
    )  # fmt: skip


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=64)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{host} port {port} cannot be listened on ({reason}); pass another --port, or 0 for any free one."
        ) from error


@cache
def _page(settings: Settings) -> str:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("duchenne", "web/templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return env.get_template("app.html.j2").render(settings=settings, version=__version__, limits=limits)


def _queued(task: Task) -> Response:
    return JSONResponse({"id": task.id}, 202)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code)


async def _conflict(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 409)
