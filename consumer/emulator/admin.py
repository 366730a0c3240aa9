"""The emulator's own interface: faults, settings, the journal, the Firehose buffers. JSON over HTTP.

GET    /_streamgauge/health
GET    /_streamgauge/faults              the faults at work
POST   /_streamgauge/faults              add one; answers its id
DELETE /_streamgauge/faults[/ID]         remove all, or one
GET    /_streamgauge/settings
POST   /_streamgauge/settings            change the named ones
GET    /_streamgauge/calls[?after=N&service=S]
DELETE /_streamgauge/calls
POST   /_streamgauge/firehose/flush      write all buffers to S3 now
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from consumer.emulator.calls import Calls
from consumer.emulator.faults import Fault, Faults
from consumer.emulator.firehose import Firehose
from consumer.emulator.http import Answer, Request
from consumer.emulator.kinesis import Kinesis
from consumer.emulator.settings import Settings

PREFIX = "/_streamgauge/"


class Admin:
    """Answers the requests below PREFIX. May wait for S3, so not for the event loop."""

    def __init__(
        self, *, kinesis: Kinesis, firehose: Firehose, faults: Faults, calls: Calls, settings: Settings
    ) -> None:
        self._kinesis = kinesis
        self._firehose = firehose
        self._faults = faults
        self._calls = calls
        self._settings = settings
        self._routes: dict[tuple[str, str], Callable[[Request, str], Any]] = {
            ("GET", "health"): self._health,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._remove_faults,
            ("GET", "settings"): self._get_settings,
            ("POST", "settings"): self._change_settings,
            ("GET", "calls"): self._list_calls,
            ("DELETE", "calls"): self._clear_calls,
            ("POST", "firehose"): self._flush,
        }

    def perform(self, request: Request) -> Answer:
        """Do a request; what is wrong with it comes back as 400 or 404 with a message."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        route = self._routes.get((request.method, name))
        if route is None:
            return _answer(404, {"error": f"no {request.method} {request.path} here"})
        try:
            return _answer(200, route(request, rest))
        except LookupError as error:
            return _answer(404, {"error": str(error.args[0])})
        except (ValueError, msgspec.MsgspecError, TypeError) as error:
            return _answer(400, {"error": str(error)})
        except OSError as error:
            return _answer(502, {"error": str(error)})

    def _health(self, _request: Request, _rest: str) -> Any:
        return {
            "status": "ok",
            "streams": self._kinesis.names(),
            "delivery_streams": self._firehose.names(),
            "undelivered_bytes": self._firehose.undelivered_bytes(),
        }

    def _list_faults(self, _request: Request, _rest: str) -> Any:
        return {"faults": self._faults.active()}

    def _add_fault(self, request: Request, _rest: str) -> Any:
        return {"id": self._faults.add(msgspec.json.decode(request.body, type=Fault))}

    def _remove_faults(self, _request: Request, rest: str) -> Any:
        if not rest:
            self._faults.clear()
        elif not self._faults.remove(int(rest)):
            raise LookupError(f"no fault {rest} is at work")
        return {}

    def _get_settings(self, _request: Request, _rest: str) -> Any:
        return self._settings

    def _change_settings(self, request: Request, _rest: str) -> Any:
        self._settings.change(**msgspec.json.decode(request.body, type=dict[str, Any]))
        return self._settings

    def _list_calls(self, request: Request, _rest: str) -> Any:
        asked = parse_qs(request.query)
        after, service = asked.get("after", ["0"])[0], asked.get("service", [None])[0]
        return {"calls": self._calls.entries(after=int(after), service=service)}

    def _clear_calls(self, _request: Request, _rest: str) -> Any:
        self._calls.clear()
        return {}

    def _flush(self, _request: Request, rest: str) -> Any:
        if rest != "flush":
            raise LookupError(f"Firehose can be told to flush, not to {rest or 'do nothing'}")
        self._firehose.flush()
        return {}


def _answer(status: int, body: Any) -> Answer:
    return Answer(status, [("content-type", "application/json")], [msgspec.json.encode(body)])
