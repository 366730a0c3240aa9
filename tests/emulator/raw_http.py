"""HTTP/1.1 as bytes on a socket, for what no client library would send."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def connect(endpoint: str) -> socket.socket:
    address = urlsplit(endpoint)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=10)


def exchange(endpoint: str, data: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes the connection."""
    with connect(endpoint) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
        return received


def kinesis_request(operation: str, body: bytes, *headers: str) -> bytes:
    lines = [
        "POST / HTTP/1.1",
        "Host: localhost",
        f"X-Amz-Target: Kinesis_20131202.{operation}",
        "Content-Type: application/x-amz-json-1.1",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
