"""HTTP/1.1 on one connection: h11 knows the protocol, asyncio moves the bytes."""

from __future__ import annotations

from http.client import responses

import h11

from consumer.emulator.http import BODY_BYTES_MAX, Answer, Handler, Link, Request, has_body, make_request

HEAD_BYTES_MAX = 64 * 1024


class Http1:
    """A conversation over HTTP/1.1: one call after the other."""

    def __init__(self, link: Link, handler: Handler) -> None:
        self._link = link
        self._handler = handler
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._head: h11.Request | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0

    def received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._connection.receive_data(data)
        self._advance()

    def resumed(self) -> None:
        """Go on after a pause; who writes waits on the link itself."""

    def _advance(self) -> None:
        try:
            while self._take(self._connection.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._say_no(error.error_status_hint)
        else:
            if self._connection.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))

    def _take(self, event: object) -> bool:
        """Handle one event; False if there is nothing more to do for now."""
        match event:
            case h11.Request():
                self._head, self._body, self._body_bytes = event, [], 0
            case h11.Data():
                self._body_bytes += len(event.data)
                if self._body_bytes > BODY_BYTES_MAX:
                    self._say_no(413)
                    return False
                self._body.append(bytes(event.data))
            case h11.EndOfMessage():
                self._link.spawn(self._serve())
                return False
            case h11.ConnectionClosed():
                self._link.transport.close()
                return False
            case _:  # NEED_DATA, or PAUSED until the call before is answered
                return False
        return True

    async def _serve(self) -> None:
        head = self._head
        assert head is not None
        request = make_request(
            method=head.method.decode("ascii"),
            target=head.target.decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers],
            body=b"".join(self._body),
            address=self._link.address,
        )
        self._body = []
        answer = await self._handler(request)
        if answer is None:
            self._link.transport.abort()
        else:
            await self._send(request, answer)

    async def _send(self, request: Request, answer: Answer) -> None:
        with_body = has_body(request, answer)
        headers = answer.headers_to_send(with_length=with_body)
        self._write_head(answer.status, headers)
        if with_body:
            for chunk in answer.chunks_to_send():
                self._write(h11.Data(data=bytes(chunk)))
                await self._link.writable.wait()
        if answer.cut:
            self._link.transport.close()
            return
        self._write(h11.EndOfMessage())
        if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()
            self._advance()
        else:
            self._link.transport.close()

    def _say_no(self, status: int) -> None:
        if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._write_head(status, [("content-length", "0"), ("connection", "close")])
            self._write(h11.EndOfMessage())
        self._link.transport.close()

    def _write_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        # The reason is no decoration: without one, botocore does not see an answer to its `Expect`.
        reason = responses.get(status, "Unknown").encode()
        self._write(h11.Response(status_code=status, reason=reason, headers=headers))

    def _write(self, event: h11.Event) -> None:
        pieces = self._connection.send_with_data_passthrough(event)
        if pieces and not self._link.transport.is_closing():
            self._link.transport.writelines(pieces)
