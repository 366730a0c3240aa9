"""AWS Lambda, here: the Runtime API, and containers that run a handler in the real runtime client.

One container runs at a time. It is kept from one invocation to the next, as warm ones are, and ended where an
invocation takes too long, or the caller says so.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Self

from consumer.entrypoints.demo.processes import Child, Children
from consumer.runtime import clock
from consumer.testing.mapping import InvocationError

FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:streamgauge"
_PATH = re.compile(r"/2018-06-01/runtime/(?:invocation/([^/]+)/)?(next|response|error|init/error|invocation/next)")
_POLL_SECONDS = 0.02
_TICK = {"source": "aws.events", "detail-type": "Scheduled Event"}
_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Invocation:
    number: str
    event: bytes
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class _Outcome:
    number: str | None
    kind: str
    body: bytes


class RuntimeApi:
    """The HTTP interface that a runtime client asks for invocations, and answers."""

    def __init__(self) -> None:
        self.invocations: queue.Queue[_Invocation] = queue.Queue()
        self.outcomes: queue.Queue[_Outcome] = queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                invocation = api.invocations.get()
                self.send_response(HTTPStatus.OK)
                self.send_header("Lambda-Runtime-Aws-Request-Id", invocation.number)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(invocation.deadline_ms))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN)
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(invocation.event)))
                self.end_headers()
                self.wfile.write(invocation.event)

            def do_POST(self) -> None:
                found = _PATH.fullmatch(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(HTTPStatus.ACCEPTED if found else HTTPStatus.NOT_FOUND)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if found:
                    api.outcomes.put(_Outcome(found[1], found[2], body))

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class LambdaFunction:
    """A function. `environ` is its environment, `handler` what the runtime client is given.

    Ends the container that is left at the end of the `with` block.
    """

    def __init__(
        self, children: Children, environ: Mapping[str, str], *, handler: str, timeout_seconds: float = 60.0
    ) -> None:
        self._children = children
        self._environ = dict(environ)
        self._handler = handler
        self._timeout_seconds = timeout_seconds
        self._numbers = count(1)
        self._api: RuntimeApi | None = None
        self._container: Child | None = None
        self.containers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_container()

    def invoke(self, event: Mapping[str, Any], *, kill_after_seconds: float | None = None) -> Any:
        """Return the handler's answer; InvocationError if it raised, took too long, or was killed meanwhile."""
        container, api = self._running()
        number = str(next(self._numbers))
        started = clock.monotonic()
        deadline_ms = clock.now_ms() + round(self._timeout_seconds * 1000)
        api.invocations.put(_Invocation(number, json.dumps(event).encode(), deadline_ms))
        while True:
            try:
                outcome = api.outcomes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                passed = clock.monotonic() - started
                if container.status is not None or passed > (kill_after_seconds or self._timeout_seconds):
                    self.end_container()
                    raise InvocationError(f"the container ended after {passed:.3f} s") from None
                continue
            if outcome.kind == "response" and outcome.number == number:
                return json.loads(outcome.body)
            if outcome.kind == "init/error":
                self.end_container()
            raise InvocationError(outcome.body.decode()[:1000])

    def output(self) -> str:
        """Return what the present container has written."""
        return "" if self._container is None else self._container.output()

    def end_container(self) -> None:
        """Kill the container, if there is one, and forget what it may still say."""
        if self._container is not None and self._api is not None:
            self._container.kill()
            self._api.close()
        self._container = self._api = None

    def _running(self) -> tuple[Child, RuntimeApi]:
        if self._container is None or self._api is None:
            self._api = RuntimeApi()
            self.containers += 1
            environ = {
                **self._environ,
                "AWS_LAMBDA_RUNTIME_API": self._api.address,
                "AWS_LAMBDA_FUNCTION_NAME": "streamgauge",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_LOG_FORMAT": "JSON",
            }
            arguments = ["awslambdaric", self._handler]
            self._container = self._children.start(f"container-{self.containers}", arguments, environ)
        return self._container, self._api


def tick_until(done: Callable[[], bool], invoke: Callable[[Mapping[str, Any]], Any], *, seconds_max: float) -> int:
    """Do what a schedule does until something is so, or the time is over; return how many ticks that took.

    A tick looks at a shard when no invocation can be at work on it any more: as long after its last commit as any may
    take. One that fails is followed by the next.
    """
    until = clock.monotonic() + seconds_max
    for ticks in count():
        if done() or clock.monotonic() > until:
            return ticks
        with suppress(InvocationError):
            invoke(_TICK)
        clock.sleep(_TICK_SECONDS)
    raise AssertionError("nobody ticks for ever")
