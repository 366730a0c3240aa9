"""What can happen on the way to any service at AWS, and what a sink is to call it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from consumer.emulator.faults import Fault, Kind, Service
from consumer.emulator.server import Emulator
from consumer.testing.fakes import Raise, client_error
from consumer.testing.sink_conformance import Trouble

URL = "http://127.0.0.1"

WAY_TROUBLE: Mapping[str, tuple[Raise, str]] = {
    "throttled": (Raise(client_error("ThrottlingException")), "throttled"),
    "internal": (Raise(client_error("InternalFailure", 500), after_effect=True), "internal"),
    "a gateway's error": (Raise(client_error("502", 502)), "unavailable"),
    "cut error": (Raise(client_error("400")), "connection"),
    "cut error without code": (Raise(client_error("")), "connection"),
    "connect time-out": (Raise(ConnectTimeoutError(endpoint_url=URL)), "timeout"),
    "time-out before effect": (Raise(ReadTimeoutError(endpoint_url=URL)), "timeout"),
    "time-out after effect": (Raise(ReadTimeoutError(endpoint_url=URL), after_effect=True), "timeout"),
    "no connection": (Raise(EndpointConnectionError(endpoint_url=URL)), "connection"),
    "closed after effect": (Raise(ConnectionClosedError(endpoint_url=URL), after_effect=True), "connection"),
    "unreadable answer": (Raise(ResponseParserError("cut"), after_effect=True), "connection"),
    "answer cut in a character": (
        Raise(UnicodeDecodeError("utf-8", b"\xc3", 0, 1, "cut"), after_effect=True),
        "connection",
    ),
    "no credentials for a moment": (Raise(CredentialRetrievalError(provider="p", error_msg="m")), "unavailable"),
}
WAY_REFUSALS: Mapping[str, Raise] = {
    code: Raise(client_error(code))
    for code in (
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        "NobodyKnowsThisException",
    )
} | {"NoCredentials": Raise(NoCredentialsError())}


class PatientClient:
    """A client of the emulator that waits long for an answer; once after `lose_patience`, hardly at all.

    So a slow machine makes no time-outs of its own.
    """

    def __init__(self, emulator: Emulator, service: Service) -> None:
        self._patient = emulator.client(service, Config(read_timeout=60))
        self._impatient = emulator.client(service, Config(read_timeout=0.3))
        self._patience_lost = False

    def lose_patience(self) -> None:
        """Wait 0.3 seconds for the next answer."""
        self._patience_lost = True

    def __getattr__(self, operation: str) -> Any:
        lost, self._patience_lost = self._patience_lost, False
        return getattr(self._impatient if lost else self._patient, operation)


def emulator_troubles(
    emulator: Emulator, service: Service, operation: str, client: PatientClient, *, cut_is: str | None
) -> dict[str, Trouble]:
    """Return what the emulator can do to one call of the sink's client.

    `cut_is` says what an answer cut in half is called, None where that harms nothing.
    """

    def trouble(kind: Kind, reason: str) -> Trouble:
        fault = Fault(service=service, operation=operation, kind=kind, times=1)
        return Trouble(partial(_order, emulator, fault), reason)

    def time_out() -> None:
        client.lose_patience()
        _order(emulator, Fault(service=service, operation=operation, kind="delay", times=1, delay_ms=600))

    troubles = {
        "throttled": trouble("throttle", "throttled"),
        "failed before effect": trouble("error_before", "internal"),
        "failed after effect": trouble("error_after", "internal"),
        "dropped before effect": trouble("drop_before", "connection"),
        "dropped after effect": trouble("drop_after", "connection"),
        "time-out": Trouble(time_out, "timeout"),
    }
    return troubles | ({"answer cut": trouble("cut", cut_is)} if cut_is else {})


def _order(emulator: Emulator, fault: Fault) -> None:
    emulator.faults.add(fault)
