# SPDX-License-Identifier: Apache-2.0
"""How the router listens: uvicorn with bounds on connections, and on the time that the head of a request may take."""

import asyncio

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S = 20.0
SPARE_CONNECTIONS = 1024  # of clients that keep theirs between requests


class ImpatientProtocol(H11Protocol):
    """HTTP of one connection, which is closed when the head of a request doesn't come to its end."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop it when the head is there, start it when one begins."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def server_config(app: FastAPI, *, num_places: int, grace_s: int) -> uvicorn.Config:
    """Return uvicorn's settings for a router.

    Args:
        app: The application.
        num_places: Runs that it lets in, running and waiting; twice as many connections and some more are served.
        grace_s: Seconds that running requests get to end when it stops.
    """
    return uvicorn.Config(
        app,
        http=ImpatientProtocol,
        limit_concurrency=2 * num_places + SPARE_CONNECTIONS,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace_s,
    )
