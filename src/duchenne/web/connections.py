"""Connections that wait: who sends a request too slowly, or not at all, keeps nobody else out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 100  # connections, far below the open files that a system allows one process
REQUEST_SECONDS = 10.0  # for a request's line and headers, and between two requests
BODY_SECONDS = 30.0  # without any more of an upload
CLOSING = "closing"  # in the state of a request that is answered before its body was read


class Connection(H11Protocol):
    """uvicorn's, which waits for headers without end: closed when they do not come, or when many others wait."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is being answered, or only the rest of a body is awaited that nobody reads."""
        return self.cycle is None or self.cycle.response_complete or CLOSING in self.scope["state"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST:
            waiting = [each for each in self.connections if isinstance(each, Connection) and each.waits]
            min(waiting or [self], key=lambda each: each._deadline.when() if each._deadline else 0.0).close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close at once, whatever was not sent."""
        self._stop()
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        """Let the time run while it waits, from the first moment on: a byte now and then does not start it again."""
        if not self.waits or self.transport.is_closing():
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.close)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
