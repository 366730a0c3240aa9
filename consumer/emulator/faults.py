"""Trouble on request: which calls fail, how, and how often.

A fault stays until it has struck `times` calls or is removed. Every call meets the faults in the order they were
added: delays add up, and of the others the first that strikes wins. Chance comes from the fault's own `seed`: the
same calls in the same order meet the same trouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from threading import Lock
from typing import Literal

import msgspec

Service = Literal["kinesis", "firehose", "dynamodb", "s3", "sqs"]
Kind = Literal[
    "throttle",
    "error_before",
    "error_after",
    "delay",
    "drop_before",
    "drop_after",
    "cut",
    "expire_iterator",
    "partial",
]

ONLY_OPERATIONS: dict[str, tuple[str, ...]] = {
    "expire_iterator": ("GetRecords",),
    "partial": ("PutRecords", "PutRecordBatch", "SendMessageBatch"),
}
"""Kinds that mean something for these operations only, and leave others alone."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to happen to calls of `service`, and of one `operation` unless that is `*`.

    - `throttle`: the service's own throttling error, nothing done.
    - `error_before`, `error_after`: a 500, before or after the call had its effect.
    - `delay`: `delay_ms` before the call is looked at.
    - `drop_before`, `drop_after`: the connection closes without an answer, before or after the effect.
    - `cut`: the call is done; half of the answer's body comes, then the connection closes.
    - `expire_iterator`: GetRecords answers ExpiredIteratorException.
    - `partial`: PutRecordBatch, PutRecords and SendMessageBatch leave out the records of `indexes`, and each other
      record with `record_probability`, and say `error_code` for them.

    `times` None means until removed. `skip` lets the first matching calls pass. `probability` is the chance of
    each call to be struck. `match` strikes only calls whose coordinates (see the journal) contain that text.
    """

    service: Service
    kind: Kind
    operation: str = "*"
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    seed: int = 0
    match: str = ""
    delay_ms: int = 0
    indexes: tuple[int, ...] = ()
    record_probability: float = 0.0
    error_code: Literal["ServiceUnavailableException", "InternalFailure"] = "ServiceUnavailableException"

    def __post_init__(self) -> None:
        if not (0 <= self.probability <= 1 and 0 <= self.record_probability <= 1):
            raise ValueError("a probability lies between 0 and 1")
        if self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("`times` is at least 1, `skip` at least 0")
        if (self.kind == "delay") != (self.delay_ms > 0):
            raise ValueError("`delay_ms`, more than 0, belongs to the kind `delay`")
        partial = bool(self.indexes) or self.record_probability > 0
        if (self.kind == "partial") != partial:
            raise ValueError("`indexes` or `record_probability` belongs to the kind `partial`")

    def concerns(self, service: str, operation: str, coordinates: str) -> bool:
        """Tell whether a call is one of those meant."""
        return (
            service == self.service
            and self.operation in ("*", operation)
            and operation in ONLY_OPERATIONS.get(self.kind, (operation,))
            and self.match in coordinates
        )


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens to one call: a delay, and perhaps a fault."""

    delay_ms: int = 0
    fault: Fault | None = None
    failed: frozenset[int] = frozenset()

    @property
    def kind(self) -> str | None:
        """The kind of the fault, None if there is none."""
        return self.fault.kind if self.fault else None

    def error_code(self, index: int) -> str | None:
        """Return why record number `index` of a batch is refused, None if it is not."""
        return self.fault.error_code if self.fault and index in self.failed else None


_UNHARMED = Strike()


class ActiveFault(msgspec.Struct, kw_only=True):
    """A fault at work: how many calls it concerned, and how many it struck."""

    id: int
    fault: Fault
    met: int = 0
    struck: int = 0


class Faults:
    """The faults at work. Can be used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._added = 0
        self._active: list[tuple[ActiveFault, Random]] = []

    def add(self, fault: Fault) -> int:
        """Put a fault to work and return its number."""
        with self._lock:
            self._added += 1
            self._active.append((ActiveFault(id=self._added, fault=fault), Random(fault.seed)))  # noqa: S311 - not for secrets
            return self._added

    def remove(self, fault_id: int) -> bool:
        """Take a fault away; False if it is not at work (any more)."""
        with self._lock:
            left = [pair for pair in self._active if pair[0].id != fault_id]
            found = len(left) < len(self._active)
            self._active = left
            return found

    def clear(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._active.clear()

    def active(self) -> Sequence[ActiveFault]:
        """Return the faults at work, oldest first."""
        with self._lock:
            return [msgspec.structs.replace(active) for active, _ in self._active]

    def strike(self, service: str, operation: str, coordinates: str, batch: int) -> Strike:
        """Return what happens to a call; `batch` is the number of its records."""
        if not self._active:
            return _UNHARMED
        with self._lock:
            return self._strike(service, operation, coordinates, batch)

    def _strike(self, service: str, operation: str, coordinates: str, batch: int) -> Strike:
        delay_ms = 0
        for active, random in self._active:
            fault = active.fault
            if not (fault.concerns(service, operation, coordinates) and _strikes(active, random)):
                continue
            if fault.kind != "delay":
                self._forget_spent()
                return Strike(delay_ms, fault, _failed(fault, batch, random))
            delay_ms += fault.delay_ms
        self._forget_spent()
        return Strike(delay_ms)

    def _forget_spent(self) -> None:
        self._active = [pair for pair in self._active if pair[0].struck != pair[0].fault.times]


def _strikes(active: ActiveFault, random: Random) -> bool:
    active.met += 1
    fault = active.fault
    if active.met <= fault.skip or (fault.probability < 1 and random.random() >= fault.probability):
        return False
    active.struck += 1
    return True


def _failed(fault: Fault, batch: int, random: Random) -> frozenset[int]:
    if fault.kind != "partial":
        return frozenset()
    by_chance = {index for index in range(batch) if random.random() < fault.record_probability}
    return frozenset(by_chance.union(fault.indexes).intersection(range(batch)))
