"""Metrics and health over HTTP, for real."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import http.client
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumer.errors import EXIT_ENVIRONMENT, SetupError
from consumer.telemetry.health import Activity
from consumer.telemetry.http import CONNECTIONS_MAX, REQUEST_SECONDS_MAX, MonitoringServer
from consumer.telemetry.status_report import StatusBoard
from tests.telemetry import scenes
from tests.telemetry.told import Told


def serve(told: Told, host: str = "127.0.0.1", port: int = 0) -> MonitoringServer:
    return MonitoringServer(
        host=host,
        port=port,
        registry=told.registry,
        health=told.health,
        status=StatusBoard(told.telemetry.facts, told.health),
        logger=told.telemetry.logger,
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


def test_no_name_is_looked_up_to_serve(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer would hold up the start."""

    def unreachable(*_: object) -> str:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getfqdn", unreachable)
    with serve(told, host="0.0.0.0") as server:  # noqa: S104 - as in a container
        assert get(server, "/healthz")[0] == 200


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


PATHS = ("/", "/status", "/metrics", "/healthz", "/readyz", "/help")


def test_other_paths_name_the_right_ones(server: MonitoringServer) -> None:
    status, headers, body = get(server, "/favicon.ico")
    assert status == 404
    assert headers["Content-Type"].startswith("text/plain")
    assert body.decode() == f"see {', '.join(PATHS)}\n"


@pytest.mark.parametrize("path", ["/", "/?refresh=off", "/help"])
def test_pages_may_load_nothing_and_run_nothing(told: Told, server: MonitoringServer, path: str) -> None:
    status, headers, body = get(server, path)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors", "style-src"}
    (style,) = re.findall(r"<style>(.*?)</style>", body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.pop("style-src") == f"'sha256-{digest}'"
    assert set(policy.values()) == {"'none'"}


def test_the_page_is_loaded_again_unless_it_is_told_to_stand_still(server: MonitoringServer) -> None:
    assert get(server, "/")[1]["Refresh"] == "5"
    assert 'href="/?refresh=off"' in get(server, "/")[2].decode()
    assert get(server, "/?refresh=off")[1]["Refresh"] is None
    assert 'href="/"' in get(server, "/?refresh=off")[2].decode()


def test_the_status_is_one_in_both_renderings(told: Told, server: MonitoringServer) -> None:
    scenes.trouble(told)
    status, body = get_json(server, "/status")
    assert status == 200
    assert body == json.loads(msgspec.json.encode(told.status()))
    page = get(server, "/")[2].decode()
    assert all(html.escape(each["text"]) in page for each in body["attention"])


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_every_answer_is_guarded_and_a_head_has_no_body(server: MonitoringServer, path: str) -> None:
    answers = []
    for method in ("GET", "HEAD"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        answers.append((answer.status, int(answer.headers["Content-Length"]) > 0, bool(answer.read())))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert answer.headers["Server"] == "streamgauge"
        connection.close()
    assert answers == [(answers[0][0], True, True), (answers[0][0], True, False)]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "<script>"])
def test_other_methods_are_refused(server: MonitoringServer, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, "/")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"], answer.read()) == (405, "GET, HEAD", b"GET and HEAD only\n")
    connection.close()


@pytest.mark.parametrize(
    "request_", [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"<" * 70_000 + b" HTTP/1.1\r\n"]
)
def test_what_is_no_request_is_refused_without_repeating_it(server: MonitoringServer, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request_)
        answer = connection.makefile("rb").read()
    assert b"GARBAGE" not in answer
    assert b"<" not in answer


def test_a_slow_client_is_cut_off_and_holds_up_nobody(told: Told, server: MonitoringServer) -> None:
    # Less than the time-out that the server has for a single read: another rule would end the connection then.
    with socket.create_connection(("127.0.0.1", server.port), timeout=REQUEST_SECONDS_MAX / 2) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert get(server, "/healthz")[0] == 200
        told.clock.seconds += REQUEST_SECONDS_MAX + 1
        with contextlib.suppress(ConnectionError):
            assert slow.makefile("rb").read() == b"", "cut off, though it may say more"
    assert told.lines() == [], "a client that is slow or goes away is no news"


def test_of_too_many_connections_the_oldest_goes(server: MonitoringServer) -> None:
    address = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(CONNECTIONS_MAX)]
        assert get(server, "/healthz")[0] == 200
        with contextlib.suppress(ConnectionError):
            assert slow[0].recv(1) == b""


def test_the_status_does_not_wait_for_a_shard_that_stands_still(told: Told, server: MonitoringServer) -> None:
    """The threads of shards hold nothing while they wait for a sink or the daemon."""
    scenes.trouble(told)
    told.clock.seconds += 1_000
    status, body = get_json(server, "/status")
    assert status == 200
    assert body["worker"]["alive"] is False
    assert "stuck" in {each["kind"] for each in body["attention"]}


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
    status, _, body = get(server, "/healthz")
    assert (status, body) == (500, b"this went wrong; the worker's log says how\n")
    assert [line["level"] for line in told.lines("http_request_failed")] == ["warning"]
    assert "secret" not in told.stream.getvalue()
