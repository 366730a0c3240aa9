"""HTTP/2 with prior knowledge on one connection: h2 knows the protocol, asyncio moves the bytes."""

from __future__ import annotations

from collections.abc import Iterator

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.settings import SettingCodes

from consumer.emulator.http import BODY_BYTES_MAX, Answer, Handler, Link, has_body, make_request

STREAMS_MAX = 1_000
STREAM_WINDOW_BYTES = 1024 * 1024
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
WRITE_BYTES = 256 * 1024
"""Frames are collected up to this size: a send costs more than a frame."""


class _Incoming:
    """A request on its way."""

    __slots__ = ("body", "body_bytes", "headers")

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.headers = headers
        self.body: list[bytes] = []
        self.body_bytes = 0


class _Outgoing:
    """The body of an answer on its way: `rest` is what is left of the chunk being sent."""

    __slots__ = ("chunks", "cut", "rest")

    def __init__(self, chunks: Iterator[bytes | memoryview], *, cut: bool) -> None:
        self.chunks = chunks
        self.cut = cut
        self.rest = memoryview(b"")

    def fill(self) -> bool:
        """Have something in `rest`, or return False: all is sent."""
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return False
            self.rest = memoryview(chunk)
        return True


class Http2:
    """A conversation over HTTP/2: many calls at a time."""

    def __init__(self, link: Link, handler: Handler) -> None:
        self._link = link
        self._handler = handler
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._connection = h2.connection.H2Connection(config)
        self._connection.initiate_connection()
        self._connection.update_settings(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            }
        )
        self._connection.increment_flow_control_window(CONNECTION_WINDOW_BYTES)
        self._incoming: dict[int, _Incoming] = {}
        self._outgoing: dict[int, _Outgoing] = {}
        self._flush()

    def received(self, data: bytes) -> None:
        """Take what the client sent."""
        try:
            events = self._connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()  # the GOAWAY that says why
            self._link.transport.close()
            return
        for event in events:
            self._take(event)
        self._pump()

    def resumed(self) -> None:
        """Go on after a pause."""
        self._pump()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
                decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers or []]
                self._incoming[stream] = _Incoming(decoded)
            case h2.events.DataReceived(stream_id=int(stream), data=bytes(data)):
                self._connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                self._take_data(stream, data)
            case h2.events.StreamEnded(stream_id=int(stream)):
                incoming = self._incoming.pop(stream, None)
                if incoming is not None:
                    self._link.spawn(self._serve(stream, incoming))
            case h2.events.StreamReset(stream_id=int(stream)):
                self._incoming.pop(stream, None)
                self._outgoing.pop(stream, None)
            case h2.events.ConnectionTerminated():
                self._link.transport.close()

    def _take_data(self, stream: int, data: bytes) -> None:
        incoming = self._incoming.get(stream)
        if incoming is None:
            return
        incoming.body_bytes += len(data)
        incoming.body.append(data)
        if incoming.body_bytes > BODY_BYTES_MAX:
            del self._incoming[stream]
            self._connection.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    async def _serve(self, stream: int, incoming: _Incoming) -> None:
        pseudo = {name: value for name, value in incoming.headers if name.startswith(":")}
        plain = [(name, value) for name, value in incoming.headers if not name.startswith(":")]
        request = make_request(
            method=pseudo.get(":method", "GET"),
            target=pseudo.get(":path", "/"),
            headers=[("host", pseudo.get(":authority", "")), *(one for one in plain if one[0] != "host")],
            body=b"".join(incoming.body),
            address=self._link.address,
        )
        answer = await self._handler(request)
        try:
            if answer is None:
                self._connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            else:
                self._begin(stream, answer, with_body=has_body(request, answer))
        except h2.exceptions.ProtocolError:
            return  # the client has reset the stream, or gone, while the call was done
        self._pump()

    def _begin(self, stream: int, answer: Answer, *, with_body: bool) -> None:
        headers = [(":status", str(answer.status)), *answer.headers_to_send(with_length=with_body)]
        sends_body = with_body and answer.body_bytes > 0
        self._connection.send_headers(stream, headers, end_stream=not sends_body)
        if sends_body:
            self._outgoing[stream] = _Outgoing(iter(answer.chunks_to_send()), cut=answer.cut)

    def _pump(self) -> None:
        """Send what the client's windows and the socket take, stream after stream."""
        try:
            for stream, outgoing in list(self._outgoing.items()):
                if not self._link.writable.is_set():
                    break
                self._send_frames(stream, outgoing)
        except h2.exceptions.ProtocolError:  # the client has said goodbye
            self._outgoing.clear()
            self._link.transport.close()
        self._flush()

    def _send_frames(self, stream: int, outgoing: _Outgoing) -> None:
        connection = self._connection
        frame_bytes = connection.max_outbound_frame_size
        frames = [connection.data_to_send()]
        collected_bytes = 0
        while outgoing.fill():
            window_bytes = connection.local_flow_control_window(stream)
            size = min(frame_bytes, window_bytes, len(outgoing.rest))
            if size <= 0 or not self._link.writable.is_set():
                break
            connection.send_data(stream, outgoing.rest[:size].tobytes())
            outgoing.rest = outgoing.rest[size:]
            frames.append(connection.data_to_send())
            collected_bytes += size
            if collected_bytes >= WRITE_BYTES:
                self._write(frames)
                frames, collected_bytes = [], 0
        else:
            del self._outgoing[stream]
            if outgoing.cut:
                connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            else:
                connection.end_stream(stream)
            frames.append(connection.data_to_send())
        self._write(frames)

    def _flush(self) -> None:
        self._write([self._connection.data_to_send()])

    def _write(self, frames: list[bytes]) -> None:
        if any(frames) and not self._link.transport.is_closing():
            self._link.transport.writelines(frames)
