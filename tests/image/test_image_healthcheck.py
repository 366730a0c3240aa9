"""The image's health check asks the worker of its container, at the right port, and says what it was told."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "deploy" / "image" / "healthcheck.py"


class _Worker(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(b'{"status": "as it is"}\n')

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def worker() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Worker)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _check(port: str) -> tuple[int, str]:
    command = [sys.executable, "-ISs", str(PROGRAM)]
    done = subprocess.run(
        command, env={"STREAMGAUGE_METRICS_PORT": port}, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 1), (404, 1)])
def test_it_says_what_the_worker_says(
    worker: ThreadingHTTPServer, answer: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Worker, "status", answer)
    assert _check(str(worker.server_port)) == (status, '{"status": "as it is"}\n')


def test_without_a_worker_it_fails() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        status, text = _check(str(taken.getsockname()[1]))
    assert status == 1
    assert "no answer" in text


@pytest.mark.parametrize("port", ["", "metrics", "70000"])
def test_a_port_that_is_none_is_told(port: str) -> None:
    status, text = _check(port)
    assert status == 1
    assert "no answer" in text
