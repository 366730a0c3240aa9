"""The HTTP port of a worker: metrics, health and the status page. What it says is in routes.py.

A request may take REQUEST_SECONDS_MAX in all, however slowly it comes or its answer is taken, and of CONNECTIONS_MAX
connections the oldest is closed for a new one: who is slow holds up neither a probe nor the worker.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from consumer.errors import SetupError
from consumer.telemetry.health import Health
from consumer.telemetry.redact import describe
from consumer.telemetry.routes import Answer, Routes, plain
from consumer.telemetry.status_report import StatusBoard

REQUEST_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 64
_POLL_SECONDS = 0.1
"""How long closing may take."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(
        self, address: tuple[str, int], routes: Routes, monotonic: Callable[[], float], logger: FilteringBoundLogger
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.routes = routes
        self._monotonic = monotonic
        self._logger = logger
        self._lock = threading.Lock()
        self._begun: dict[socket.socket, float] = {}
        """Open connections, the oldest first."""
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Take the address, without asking DNS for its name as the base class does: that may take long at a start."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        with self._lock:
            oldest = next(iter(self._begun)) if len(self._begun) >= CONNECTIONS_MAX else None
            self._begun[request] = self._monotonic()
        if oldest is not None:
            self._cut_off(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that is done with."""
        self._forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long. Called several times a second."""
        before = self._monotonic() - REQUEST_SECONDS_MAX
        with self._lock:
            slow = [request for request, begun in self._begun.items() if begun < before]
        for request in slow:
            self._cut_off(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - base's signature
        """Log what went wrong in a request: nothing but log lines goes to standard error."""
        error = sys.exception()
        assert error is not None
        if not isinstance(error, ConnectionError | TimeoutError):  # a client that went away is no news
            self.tell(error)

    def tell(self, error: BaseException) -> None:
        """Log an error."""
        self._logger.warning("http_request_failed", error=describe(error))

    def _cut_off(self, request: socket.socket) -> None:
        """End a connection under its thread, which then closes it."""
        self._forget(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._begun.pop(request, None)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS_MAX

    def do_GET(self) -> None:
        """Answer one request."""
        try:
            answer = self.server.routes.answer(self.path, self.headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - told, and the client hears of it; the next request may work
            self.server.tell(error)
            answer = plain(HTTPStatus.INTERNAL_SERVER_ERROR, "this went wrong; the worker's log says how")
        self._send(answer)

    def do_HEAD(self) -> None:
        """Answer like GET, without a body."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the base class' signature
        """Answer what is no request, or not one for us, without repeating anything of it."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:  # so the base class calls a method that there is no do_... for
            self._send(plain(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only", {"Allow": "GET, HEAD"}))
        else:
            self._send(plain(status, status.phrase))

    def version_string(self) -> str:
        """Return the value of the header `Server`: no versions."""
        return "streamgauge"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' signature
        """Keep quiet: a probe every few seconds is no news."""

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.all_headers().items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


class MonitoringServer:
    """Serves metrics, health and status from threads of its own until it is closed. Use it as a context manager.

    Listens as soon as it is made; `port` 0 takes any free one. SetupError if it cannot have the address.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        status: StatusBoard,
        logger: FilteringBoundLogger,
    ) -> None:
        routes = Routes(registry, health, status)
        try:
            self._server = _Server((host, port), routes, health.monotonic, logger)
        except OSError as error:
            where = f"{host or 'all addresses'}, port {port}"
            raise SetupError(
                f"cannot serve metrics and health on {where}: {error.strerror}; stop what listens there, "
                "or set worker.metrics_port of the pipeline file to a free port"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="monitoring", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening and wait until it has stopped."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
