"""Requests and answers, and what HTTP/1.1 and HTTP/2 share in bringing them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

BODY_BYTES_MAX = 256 * 1024 * 1024
_BODILESS = (204, 304)

Chunks = Sequence[bytes | memoryview]
"""A body in pieces."""


@dataclass(slots=True)
class Request:
    """A whole request. Header names are in lower case; `path` is percent-decoded, `raw_path` is not."""

    method: str
    path: str
    raw_path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str = "127.0.0.1"
    port: int = 80

    def header(self, name: str) -> str:
        """Return a header, empty if it is not there."""
        return self.headers.get(name, "")


@dataclass(slots=True)
class Answer:
    """A whole answer. With `cut`, only half of the body is sent and the connection (HTTP/2: the stream) closed."""

    status: int
    headers: list[tuple[str, str]]
    chunks: Chunks
    cut: bool = False

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def body_bytes(self) -> int:
        """The size of the body."""
        return sum(map(len, self.chunks))

    def headers_to_send(self, *, with_length: bool) -> list[tuple[str, str]]:
        """Return the headers with a date, and a length where a body comes and none is told."""
        headers = [*self.headers, ("date", formatdate(usegmt=True))]
        if with_length and all(name != "content-length" for name, _ in headers):
            headers.append(("content-length", str(self.body_bytes)))
        return headers

    def chunks_to_send(self) -> Iterator[bytes | memoryview]:
        """Give the body, or its first half if it is to be cut."""
        if not self.cut:
            yield from self.chunks
            return
        body = self.body
        yield body[: len(body) // 2]


Handler = Callable[[Request], Awaitable[Answer | None]]
"""Answers a request; None means to break off without an answer."""


@dataclass(slots=True)
class Link:
    """What a conversation has of its connection.

    `spawn` runs a call beside it; `writable` is set while the client keeps up; `address` is the server's own.
    """

    transport: asyncio.Transport
    address: tuple[str, int]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    writable: asyncio.Event


def has_body(request: Request, answer: Answer) -> bool:
    """Tell whether the answer's body is sent."""
    return request.method != "HEAD" and answer.status not in _BODILESS


def make_request(
    *, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes, address: tuple[str, int]
) -> Request:
    """Return a request from what came in; of several headers of a name, the values are joined."""
    raw_path, _, query = target.partition("?")
    joined: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    host, port = address
    return Request(method, unquote(raw_path), raw_path, query, joined, body, host, port)
