"""Who may speak to the app: only a page that it served itself, under its own name, with the session's token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READ = frozenset({"GET", "HEAD"})
#: Of the page itself. Nothing outside it is asked for, nothing in it runs but its own files.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
#: Of a report, which is one file with everything in it: shown, but cut off from the app and from any network.
REPORT = (
    "sandbox allow-scripts allow-downloads allow-modals allow-popups; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; "
    "font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_ALWAYS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuses in one sentence what is not the app's own page, and gives every answer its headers.

    `once` leads to the page a single time: what a browser is started with, all users of a computer can read.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.once: str | None = secrets.token_urlsafe(24)
        self.names = {"127.0.0.1", "localhost", "::1", host.lower()}
        self.any_address = host in ("0.0.0.0", "::", "")
        if self.any_address:
            self.names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                headers.setdefault("content-security-policy", PAGE)
            await send(message)

        if scope["path"] == "/favicon.ico":  # browsers ask for it unasked
            await Response(status_code=204)(scope, receive, answer)
            return
        headers = Headers(scope=scope)
        if self.once and self._own(f"//{headers.get('host', '')}") and _leads(scope["path"], self.once):
            self.once = None
            await RedirectResponse(f"/{self.token}/", 303)(scope, receive, answer)
            return
        fault = self.fault(scope["method"], scope["path"], headers)
        within = self.app if fault is None else PlainTextResponse(fault, 403)
        await within(scope, receive, answer)

    def fault(self, method: str, path: str, headers: Headers) -> str | None:
        """Why a request is refused, in one sentence."""
        if not self._own(f"//{headers.get('host', '')}"):
            return "This page answers only to the address that `duchenne app` printed; open that one."
        if not _leads(path, self.token):
            return "This address is not of this session; open the one that `duchenne app` printed."
        origin = headers.get("origin")
        if method not in _READ and (origin is None or not origin.startswith("http://") or not self._own(origin)):
            return "Only the app's own page may change anything."
        return None

    def _own(self, url: str) -> bool:
        """Whether a URL names this server: a page of another name that leads here (DNS rebinding) does not."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        return port == self.port and (host in self.names or (self.any_address and _is_address(host)))


def _leads(path: str, token: str) -> bool:
    return hmac.compare_digest(path.removeprefix("/").partition("/")[0].encode(), token.encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
