"""Access control: only a page that the app served itself, under its own host name and with the session's token."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import secrets
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duchenne.errors import UsageError
from duchenne.io import shown
from duchenne.web.connections import BODY_SECONDS, CLOSING

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?", re.ASCII)
_READ = frozenset({"GET", "HEAD"})
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 10_000_000
#: Policy of the page itself: it loads and runs only files of this server.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
#: Policy of a report, a self-contained file: sandboxed from the app, and without network access.
REPORT = (
    "sandbox allow-scripts allow-downloads allow-modals allow-popups; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; "
    "font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Rejects requests that are not from the app's own page, and adds headers to every response.

    `once` redirects to the page a single time: all users of a computer can read the arguments of a browser. `origin` is
    the address of a reverse proxy before it, as `public_origin` returns it.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int, origin: str | None = None) -> None:
        self.app, self.token, self.port, self.origin = app, token, port, origin
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

        headers = Headers(scope=scope)
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def read() -> Message:
            nonlocal unread
            async with asyncio.timeout(BODY_SECONDS if unread else None):
                message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    added[name] = value
                added.setdefault("content-security-policy", PAGE)
                if unread:
                    added["connection"] = "close"
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                scope["state"][CLOSING] = True
                await _discard(receive)
                message = {"type": "http.response.body"}
            await send(message)

        if scope["path"] == "/favicon.ico":  # browsers request it by themselves
            await Response(status_code=204)(scope, read, respond)
            return
        if self.once and self._is_own(f"//{headers.get('host', '')}") and _has_token(scope["path"], self.once):
            self.once = None
            await RedirectResponse(f"/{self.token}/", 303)(scope, read, respond)
            return
        reason = self.rejection(scope["method"], scope["path"], headers)
        app = self.app if reason is None else PlainTextResponse(reason, 403)
        await app(scope, read, respond)

    def rejection(self, method: str, path: str, headers: Headers) -> str | None:
        """Why a request is rejected, in one sentence; None if it is allowed."""
        if not self._is_named(headers.get("host", "")):
            return "This page is only served at the address that `duchenne app` printed; open that one."
        if not _has_token(path, self.token):
            return "This address belongs to another session; open the one that `duchenne app` printed."
        origin = headers.get("origin", "")
        own = origin == self.origin or (origin.startswith("http://") and self._is_own(origin))
        if method not in _READ and not own:
            return "Only the app's own page may make changes; open the address that `duchenne app` printed."
        return None

    def _is_named(self, host: str) -> bool:
        """Whether a `Host` names this server or the proxy before it, which may leave out its port."""
        public = urlsplit(self.origin or "").hostname
        try:
            return self._is_own(f"//{host}") or (public is not None and urlsplit(f"//{host}").hostname == public)
        except ValueError:
            return False

    def _is_own(self, url: str) -> bool:
        """Whether a URL names this server; another host name that resolves to it (DNS rebinding) does not."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        return port == self.port and (host in self.names or (self.any_address and _is_address(host)))


async def _discard(receive: Receive) -> None:
    """Read the body of a request that is answered, for a moment: closed at once, many clients never see the answer."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while read < _LINGER_BYTES and (message := await receive()).get("more_body"):
                read += len(message["body"])


def public_origin(address: str) -> str:
    """An origin as browsers write it: scheme, name, and a port unless it is the scheme's; UsageError for others."""
    found = _ORIGIN.fullmatch(address.lower())
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535:
        raise UsageError(
            f"--origin {shown(address)}: expected the address of the proxy, without a path; write it as "
            "https://lab.example or https://lab.example:8443."
        )
    usual = {"http": 80, "https": 443}[found["scheme"]]
    return f"{found['scheme']}://{found['host']}" + (f":{port}" if port not in (0, usual) else "")


def _has_token(path: str, token: str) -> bool:
    return hmac.compare_digest(path.removeprefix("/").partition("/")[0].encode(), token.encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
