"""The one way out of a process: every call that leaves it is a point, and at any of them harm can come.

A run without harm finds the points: nobody lists them, so that a new call is one from the moment it is made. What can
happen at a point follows from the call: a read has no effect that could be torn, a batch is torn between its parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from consumer.testing.fake_state_aws import Body
from consumer.testing.fakes import client_error


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


class Harm(StrEnum):
    """What happens to a call."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    """The process has no answer, and all was done."""
    DIES_TORN = "dies torn"
    """A part was done."""
    REFUSED = "refused"
    """The process lives; nothing was done."""
    LOST = "lost"
    """All was done, and there is no answer."""
    CUT = "cut"
    """All was done, and the answer breaks off."""
    TORN = "torn"
    """A part was done, and there is no answer."""


READS = (Harm.DIES_BEFORE, Harm.DIES_AFTER, Harm.REFUSED, Harm.CUT)
WRITES = (Harm.DIES_BEFORE, Harm.DIES_AFTER, Harm.REFUSED, Harm.LOST, Harm.CUT)
DEADLY = frozenset({Harm.DIES_BEFORE, Harm.DIES_AFTER, Harm.DIES_TORN})


class Strike(NamedTuple):
    """Harm at a point; `parts` of the call are done if it is torn."""

    harm: Harm
    parts: int = 0


class Point(NamedTuple):
    """A call of a run, and what can happen to it."""

    name: str
    strikes: tuple[Strike, ...]


class Call(ABC):
    """A call to the outside."""

    name: str
    harms: Sequence[Harm]
    parts = 1
    """How many parts it has that take effect one after the other."""

    @abstractmethod
    def do(self) -> Any:
        """Let it have its effect; return the answer."""

    def do_part(self, parts: int) -> None:
        """Let its first parts have their effect."""
        raise NotImplementedError

    @abstractmethod
    def refused(self) -> Any:
        """Return or raise what tells that nothing was done."""

    @abstractmethod
    def lost(self) -> Any:
        """Return or raise what the caller sees without an answer."""

    def cut(self, answer: Any, /) -> Any:
        """Return or raise what the caller sees of an answer that breaks off."""
        raise NotImplementedError

    def torn(self, parts: int) -> Any:
        """Do a part; return or raise what the caller sees."""
        self.do_part(parts)
        return self.lost()

    def point(self) -> Point:
        """Return what can happen to it."""
        torn = [harm for harm in (Harm.DIES_TORN, Harm.TORN) if self.parts > 1]
        cuts = sorted({1, self.parts // 2, self.parts - 1})
        return Point(
            self.name, (*(Strike(harm) for harm in self.harms), *(Strike(harm, at) for harm in torn for at in cuts))
        )


class Wire:
    """Counts the calls of a run, and strikes those that a plan names by their number."""

    def __init__(self, plan: Mapping[int, Strike], begin: int = 0) -> None:
        self._plan = plan
        self.begin = begin
        self.points: list[Point] = []

    @property
    def number(self) -> int:
        """Return the number of the next call."""
        return self.begin + len(self.points)

    def make(self, call: Call) -> Any:
        """Make a call as planned."""
        strike = self._plan.get(self.number)
        self.points.append(call.point())
        if strike is None:
            return call.do()
        if strike.harm in DEADLY:
            _do_so_far(call, strike)
            raise Died
        match strike.harm:
            case Harm.REFUSED:
                return call.refused()
            case Harm.LOST:
                _do_so_far(call, strike)
                return call.lost()
            case Harm.CUT:
                return _cut(call)
            case _:
                return call.torn(strike.parts)


def _do_so_far(call: Call, strike: Strike) -> None:
    """Do what is done of a call whose answer nobody gets, a refusal included."""
    with suppress(ClientError):
        if strike.harm in {Harm.DIES_AFTER, Harm.LOST}:
            call.do()
        elif strike.harm is Harm.DIES_TORN:
            call.do_part(strike.parts)


def _cut(call: Call) -> Any:
    try:
        answer = call.do()
    except ClientError:  # nobody can read which error it was
        return call.lost()
    return call.cut(answer)


_READ = frozenset({"get_item", "batch_get_item", "query", "describe_table", "get_object", "list_objects_v2"})


class ClientCall(Call):
    """A call of a client of boto3's kind."""

    def __init__(self, client: Any, operation: str, request: Mapping[str, Any]) -> None:
        self.name = operation
        self.harms = READS if operation in _READ else WRITES
        self._call: Callable[..., Any] = getattr(client, operation)
        self._request = request
        self.parts = len(self._list()) if operation in {"batch_write_item", "delete_objects"} else 1
        if operation == "put_object":
            self.parts = 2

    def _list(self) -> Sequence[Any]:
        if self.name == "delete_objects":
            return self._request["Delete"]["Objects"]  # type: ignore[no-any-return]  # a request of AWS'
        ((_, requests),) = self._request["RequestItems"].items()
        return requests  # type: ignore[no-any-return]  # as above

    def do(self) -> Any:
        """Let the client do it. What it raises is an answer as well."""
        return self._call(**self._request)

    def do_part(self, parts: int) -> None:
        """Do the first requests of a batch, or write half an object (which S3 itself never does)."""
        request = dict(self._request)
        if self.name == "put_object":
            request["Body"] = request["Body"][: len(request["Body"]) // 2]
        elif self.name == "delete_objects":
            request["Delete"] = {"Objects": self._list()[:parts], "Quiet": False}
        else:
            ((table, requests),) = request["RequestItems"].items()
            request["RequestItems"] = {table: requests[:parts]}
        self._call(**request)

    def refused(self) -> Any:
        """Raise a throttle."""
        raise client_error("ThrottlingException")

    def lost(self) -> Any:
        """Raise what a closed connection raises."""
        raise ConnectionClosedError(endpoint_url=self.name)

    def cut(self, answer: Any) -> Any:
        """Return an answer without members, as boto3 reads one that is cut; a body breaks off while it is read."""
        if self.name == "put_object":  # its answer has no body
            return self.lost()
        if self.name == "get_object":
            return answer | {"Body": Body(b"", ResponseStreamingError(error="cut"))}
        return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    def torn(self, parts: int) -> Any:
        """Do a part. Of an upload that breaks off S3 keeps nothing."""
        if self.name != "put_object":
            self.do_part(parts)
        return self.lost()


class StruckClient:
    """A client whose calls go over a wire."""

    def __init__(self, client: Any, wire: Wire) -> None:
        self._client = client
        self._wire = wire

    def __getattr__(self, operation: str) -> Any:
        return lambda **request: self._wire.make(ClientCall(self._client, operation, request))
