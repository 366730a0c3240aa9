"""Metrics and health over HTTP, for real."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.errors import EXIT_ENVIRONMENT, SetupError
from consumer.telemetry.health import Activity
from consumer.telemetry.http import MonitoringServer
from tests.telemetry.told import Told


def serve(told: Told, host: str = "127.0.0.1", port: int = 0) -> MonitoringServer:
    return MonitoringServer(
        host=host, port=port, registry=told.registry, health=told.health, logger=told.telemetry.logger
    )


@pytest.fixture
def server(told: Told) -> Iterator[MonitoringServer]:
    with serve(told) as server:
        yield server


def get(server: MonitoringServer, path: str, accept: str = "*/*") -> tuple[int, Message, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http to ourselves
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def get_json(server: MonitoringServer, path: str) -> tuple[int, Any]:
    status, headers, body = get(server, path)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)


def test_metrics_are_prometheus_text(told: Told, server: MonitoringServer) -> None:
    told.telemetry.daemon_started(pid=7, java_version="25")
    status, headers, body = get(server, "/metrics?name=ignored")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert samples["streamgauge_daemon_up"] == 1


def test_metrics_are_open_metrics_on_request(server: MonitoringServer) -> None:
    status, headers, body = get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_stuck_shard_is_named(told: Told, server: MonitoringServer) -> None:
    told.telemetry.activity(shard="shard-0", activity=Activity.WAITING_FOR_DAEMON)
    told.telemetry.activity(shard="shard-1", activity=Activity.REFUSED)
    told.clock.seconds += 10
    status, body = get_json(server, "/healthz")
    assert status == 200
    assert body == {
        "status": "ok",
        "worker": "starting",
        "problems": [],
        "shards": {
            "shard-0": {"doing": "waiting for daemon", "seconds_without_progress": 10.0},
            "shard-1": {"doing": "refused", "seconds_without_progress": 10.0},
        },
    }
    told.clock.seconds += 300
    status, body = get_json(server, "/healthz")
    assert status == 503
    assert body["status"] == "stuck"
    assert body["problems"] == [
        {"shard": "shard-0", "reason": "waiting for daemon: no progress for 310 s (limit 300 s)"}
    ]


def test_ready_when_the_daemon_has_initialised(told: Told, server: MonitoringServer) -> None:
    assert get_json(server, "/readyz") == (503, {"status": "starting"})
    told.telemetry.daemon_initialised(seconds=4.5)
    assert get_json(server, "/readyz") == (200, {"status": "ready"})
    told.telemetry.worker_stopping(reason="SIGTERM")
    assert get_json(server, "/readyz") == (503, {"status": "stopping"})


def test_other_paths_name_the_right_ones(server: MonitoringServer) -> None:
    status, _, body = get(server, "/")
    assert status == 404
    assert b"/healthz" in body


def test_a_port_in_use_names_the_remedy(told: Told, server: MonitoringServer) -> None:
    with pytest.raises(SetupError, match=r"metrics_port") as caught:
        serve(told, port=server.port)
    assert str(server.port) in str(caught.value)
    assert caught.value.exit_status == EXIT_ENVIRONMENT


def test_a_host_that_is_not_ours_is_refused(told: Told) -> None:
    with pytest.raises(SetupError, match=r"192\.0\.2\.1"):
        serve(told, host="192.0.2.1")


def test_closing_frees_the_port(told: Told) -> None:
    with serve(told) as first:
        port = first.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    with serve(told, port=port) as second:
        assert get(second, "/healthz")[0] == 200


def test_requests_are_not_logged_and_trouble_is(told: Told, server: MonitoringServer) -> None:
    def broken() -> None:
        raise KeyError("secret-7f3a")

    get(server, "/healthz")
    assert told.lines() == []
    told.health.report = broken  # type: ignore[method-assign, assignment]  # a fault
    with pytest.raises((ConnectionError, urllib.error.URLError, OSError)):
        get(server, "/healthz")
    assert [line["level"] for line in told.lines("http_request_failed")] == ["warning"]
    assert "secret" not in told.stream.getvalue()
