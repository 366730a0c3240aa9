"""Metrics and health on one HTTP port.

GET /metrics   Prometheus text, or OpenMetrics where the client asks for it GET /healthz   200 while the
worker is alive, 503 with the stuck shards and why (liveness; the rules are in health.py) GET /readyz    200
while the worker reads its stream, 503 while it starts or stops
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from structlog.typing import FilteringBoundLogger

from consumer.errors import SetupError
from consumer.telemetry.health import Health, HealthReport
from consumer.telemetry.redact import describe

_REQUEST_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.1
"""How long closing may take."""
_JSON = "application/json"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        registry: CollectorRegistry,
        health: Health,
        logger: FilteringBoundLogger,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self.health = health
        self._logger = logger
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - base's signature
        """Log what went wrong in a request: nothing but log lines goes to standard error."""
        error = sys.exception()
        assert error is not None
        self._logger.warning("http_request_failed", error=describe(error))


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_SECONDS_MAX

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
        elif path == "/healthz":
            report = self.server.health.report()
            self._answer_json(report.live, {"status": "ok" if report.live else "stuck", **_as_json(report)})
        elif path == "/readyz":
            report = self.server.health.report()
            self._answer_json(report.ready, {"status": str(report.state)})
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"see /metrics, /healthz, /readyz\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' signature
        """Keep quiet: a probe every few seconds is no news."""

    def _answer_json(self, good: bool, body: dict[str, object]) -> None:  # noqa: FBT001 - reads well here
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, _JSON, json.dumps(body).encode() + b"\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _as_json(report: HealthReport) -> dict[str, object]:
    return {
        "worker": str(report.state),
        "problems": [{"shard": shard, "reason": reason} for shard, reason in report.problems.items()],
        "shards": {
            shard: {"doing": str(health.activity), "seconds_without_progress": round(health.idle_seconds, 3)}
            for shard, health in report.shards.items()
        },
    }


class MonitoringServer:
    """Serves metrics and health from threads of its own until it is closed. Use it as a context manager.

    Listens as soon as it is made; `port` 0 takes any free one. SetupError if it cannot have the address.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        logger: FilteringBoundLogger,
    ) -> None:
        try:
            self._server = _Server((host, port), registry, health, logger)
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
