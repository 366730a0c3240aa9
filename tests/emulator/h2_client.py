"""A client for HTTP/2 with prior knowledge: one connection, one call at a time; enough to test and measure with."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes

WINDOW_BYTES = 512 * 1024  # what the Kinesis Client Library's HTTP client asks for


@dataclass(frozen=True)
class H2Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class H2Client:
    """A connection. ConnectionError if the server closes it before an answer is complete."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        assert address.hostname is not None
        self._authority = address.netloc
        self._socket = socket.create_connection((address.hostname, address.port), timeout=10)
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._connection.initiate_connection()
        self._connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        self._connection.increment_flow_control_window(1 << 24)
        self._flush()

    def call(self, target: str, body: bytes, content_type: str) -> H2Answer:
        """Do one AWS JSON or CBOR call."""
        headers = {"x-amz-target": target, "content-type": content_type}
        return self.request("POST", "/", headers, body)

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> H2Answer:
        """Do one call; the body must fit the first window of 64 KiB."""
        stream = self._connection.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": self._authority}
        self._connection.send_headers(stream, [*pseudo.items(), *headers.items()], end_stream=not body)
        frame_bytes = self._connection.max_outbound_frame_size
        for start in range(0, len(body), frame_bytes):
            last = start + frame_bytes >= len(body)
            self._connection.send_data(stream, body[start : start + frame_bytes], end_stream=last)
        self._flush()
        return self._receive()

    def _receive(self) -> H2Answer:
        found: dict[str, str] = {}
        chunks: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError("closed before the answer was complete")
            for event in self._connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=headers):
                        found.update((str(name), str(value)) for name, value in headers)
                    case h2.events.DataReceived(data=chunk, flow_controlled_length=length, stream_id=stream):
                        chunks.append(chunk)
                        self._connection.acknowledge_received_data(length, stream)
                    case h2.events.StreamEnded():
                        self._flush()
                        return H2Answer(int(found.pop(":status")), found, b"".join(chunks))
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        raise ConnectionError("reset before the answer was complete")
            self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
