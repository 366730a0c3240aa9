"""What the emulator knows of a service: how a request becomes a call, and how that service says no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

import msgspec

from consumer.emulator import wire
from consumer.emulator.errors import AwsError
from consumer.emulator.faults import Strike
from consumer.emulator.http import Answer, Request

R = TypeVar("R", bound=msgspec.Struct)

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A request understood. `batch` is the number of its records, `put` whether it is one of a stream's puts.

    `run` does it, and knows of what strikes it only how to fail single records of a batch.
    """

    service: str
    operation: str
    coordinates: str
    run: Callable[[Strike], Awaitable[Answer]]
    batch: int = 0
    put: bool = False


class Service(Protocol):
    """One of the services, or the front of several."""

    def prepare(self, request: Request) -> Call:
        """Return the call; AwsError if the request cannot be understood. Nothing is done yet."""

    def refuse(self, request: Request, error: AwsError) -> Answer:
        """Return the answer in which this service tells an error."""

    def throttle(self, call: Call) -> AwsError:
        """Return the error this service throttles such a call with."""

    def failure(self, call: Call) -> AwsError:
        """Return the error this service shows when it fails itself."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[R]):
    """One operation of a service: its request's type, what it does, and its coordinates for the journal."""

    request_type: type[R]
    run: Callable[[R, Strike], Result]
    coordinates: Callable[[R], str]
    batch: Callable[[R], int] = lambda _request: 0
    put: bool = False


class AwsJsonService:
    """A service that speaks AWS JSON 1.1 or CBOR 1.1, its operation named by the header X-Amz-Target."""

    def __init__(
        self, name: str, operations: Mapping[str, Operation[Any]], throttle: Callable[[Call], AwsError]
    ) -> None:
        self.name = name
        self._operations = operations
        self._throttle = throttle

    def prepare(self, request: Request) -> Call:
        """Return the call; UnknownOperationException if AWS has no such operation, or the emulator does not."""
        name = request.header("x-amz-target").rpartition(".")[2]
        operation = self._operations.get(name)
        if operation is None:
            raise AwsError("UnknownOperationException", f"The embedded {self.name} does not serve {name}.")
        content_type = _content_type(request)
        parsed = wire.decode(request.body, content_type, operation.request_type)

        async def run(strike: Strike) -> Answer:
            return _answer(200, operation.run(parsed, strike), content_type)

        return Call(
            self.name, name, operation.coordinates(parsed), run, batch=operation.batch(parsed), put=operation.put
        )

    def refuse(self, request: Request, error: AwsError) -> Answer:
        """Return an error in the encoding of the request."""
        body = {"__type": error.code, "message": error.message}
        answer = _answer(error.status, body, _content_type(request))
        answer.headers.append(("x-amzn-errortype", error.code))
        return answer

    def throttle(self, call: Call) -> AwsError:
        """Return the error this service throttles such a call with."""
        return self._throttle(call)

    def failure(self, _call: Call) -> AwsError:
        """Return the error of a service that failed itself."""
        return AwsError("InternalFailure", "The embedded AWS was told to fail here.", 500)


def _content_type(request: Request) -> str:
    return wire.CBOR_TYPE if "cbor" in request.header("content-type") else wire.JSON_TYPE


def _answer(status: int, result: Result, content_type: str) -> Answer:
    headers = [("content-type", content_type), ("x-amzn-requestid", str(uuid4()))]
    return Answer(status, headers, wire.encode(result, content_type))
