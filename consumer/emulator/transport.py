"""One port for HTTP/1.1 and HTTP/2 with prior knowledge, without TLS.

The protocols are h11's and h2's. A server framework on top of them costs twice as much for the large answers of
GetRecords, and closes no connection on purpose, which is what some faults are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from typing import Any

from consumer.emulator.http import Handler, Link
from consumer.emulator.http1 import Http1
from consumer.emulator.http2 import Http2

STOP_GRACE_S = 2.0
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_log = logging.getLogger("streamgauge.emulator")


class HttpServer:
    """A server for one handler, on the running event loop."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[_Connection] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, chosen by the system if `port` is 0. OSError if it is taken."""
        listener = _listener(host, port)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=listener, backlog=512)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, let running calls end for a moment, close every connection."""
        assert self._server is not None
        self._server.close()
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=STOP_GRACE_S)
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        closings = [connection.close() for connection in list(self._connections)]
        await asyncio.gather(*closings)
        await self._server.wait_closed()

    def converse(self, link: Link, first: bytes) -> Http1 | Http2:
        """Return the conversation that fits a connection's first bytes."""
        return (Http2 if first.startswith(HTTP2_PREFACE) else Http1)(link, self._handler)

    def opened(self, connection: _Connection) -> None:
        """Know a connection."""
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def spawn(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a call."""
        task = asyncio.get_running_loop().create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a call failed", exc_info=task.exception())


class _Connection(asyncio.Protocol):
    """One connection; what it speaks is decided by its first bytes."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._first = b""
        self._link: Link | None = None
        self._conversation: Http1 | Http2 | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        host, port = transport.get_extra_info("sockname")[:2]
        writable = asyncio.Event()
        writable.set()
        self._link = Link(transport, (host, port), self._server.spawn, writable)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._conversation is not None:
            self._conversation.received(data)
            return
        assert self._link is not None
        self._first += data
        if len(self._first) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(self._first):
            return
        self._conversation = self._server.converse(self._link, self._first)
        self._conversation.received(self._first)
        self._first = b""

    def pause_writing(self) -> None:
        assert self._link is not None
        self._link.writable.clear()

    def resume_writing(self) -> None:
        assert self._link is not None
        self._link.writable.set()
        if self._conversation is not None:
            self._conversation.resumed()

    def connection_lost(self, _error: Exception | None) -> None:
        assert self._link is not None
        self._link.writable.set()  # who waits to write finds the transport closed, and ends
        self._server.closed(self)
        self._lost.set()

    async def close(self) -> None:
        """Close now, and return when it is done."""
        assert self._link is not None
        self._link.transport.abort()
        await self._lost.wait()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without, answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
