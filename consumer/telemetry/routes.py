"""What is answered to which path: everything that the HTTP port says, without the HTTP.

GET /          the status page, for people; `?refresh=off` for one that stands still
GET /status    the same as JSON (docs/status.schema.json)
GET /metrics   Prometheus text, or OpenMetrics where the client asks for it
GET /healthz   200 while the worker is alive, 503 with the stuck shards and why (liveness; the rules are in health.py)
GET /readyz    200 while the worker reads its stream, 503 while it starts or stops
GET /help      what the numbers of the status page mean

Nothing here waits for a shard, a sink or a store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from consumer.telemetry.health import Health, HealthReport
from consumer.telemetry.page_style import STYLE_HASH
from consumer.telemetry.status_help import help_page
from consumer.telemetry.status_page import REFRESH_SECONDS, status_page
from consumer.telemetry.status_report import StatusBoard

_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"

_CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _CLOSED,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer. A page may have its own style besides, and nothing else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `headers` besides HEADERS, or in the place of one of them."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Return every header but those of the connection."""
        return {"Content-Type": self.content_type, **HEADERS, **self.headers, "Content-Length": str(len(self.body))}


class Routes:
    """The pages of one worker."""

    def __init__(self, registry: CollectorRegistry, health: Health, status: StatusBoard) -> None:
        self._registry = registry
        self._health = health
        self._status = status
        self._pages: Mapping[str, Callable[[str, str], Answer]] = {
            "/": self._page,
            "/status": self._json,
            "/metrics": self._metrics,
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/help": self._help,
        }

    def answer(self, target: str, accept: str) -> Answer:
        """Return the answer to a GET; `target` is path and query, `accept` the header of that name."""
        path, _, query = target.partition("?")
        page = self._pages.get(path)
        return page(query, accept) if page else plain(HTTPStatus.NOT_FOUND, f"see {', '.join(self._pages)}")

    def _page(self, query: str, _: str) -> Answer:
        refreshing = parse_qs(query).get("refresh") != ["off"]
        headers = {"Refresh": str(REFRESH_SECONDS)} if refreshing else {}
        return _html(status_page(self._status.status(), refreshing=refreshing), headers)

    def _json(self, _query: str, _accept: str) -> Answer:
        return Answer(HTTPStatus.OK, _JSON, msgspec.json.encode(self._status.status()) + b"\n")

    def _metrics(self, _query: str, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(HTTPStatus.OK, content_type, encode(self._registry))

    def _alive(self, _query: str, _accept: str) -> Answer:
        report = self._health.report()
        return _probe(report.live, {"status": "ok" if report.live else "stuck", **_as_json(report)})

    def _ready(self, _query: str, _accept: str) -> Answer:
        report = self._health.report()
        return _probe(report.ready, {"status": str(report.state)})

    def _help(self, _query: str, _accept: str) -> Answer:
        return _html(help_page(), {})


def plain(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of one line of text."""
    return Answer(status, _TEXT, f"{text}\n".encode(), headers or {})


def _html(text: str, headers: Mapping[str, str]) -> Answer:
    policy = {"Content-Security-Policy": f"{_CLOSED}; style-src {STYLE_HASH}"}
    return Answer(HTTPStatus.OK, _HTML, text.encode(errors="replace"), {**policy, **headers})


def _probe(good: bool, body: dict[str, object]) -> Answer:  # noqa: FBT001 - reads well here
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, _JSON, json.dumps(body).encode() + b"\n")


def _as_json(report: HealthReport) -> dict[str, object]:
    return {
        "worker": str(report.state),
        "problems": [{"shard": shard, "reason": reason} for shard, reason in report.problems.items()],
        "shards": {
            shard: {"doing": str(health.activity), "seconds_without_progress": round(health.idle_seconds, 3)}
            for shard, health in report.shards.items()
        },
    }
