"""What the visitors of an imaginary shop do, as records for a stream; the same seed gives the same records.

Visitors come, look at some pages, sometimes buy, and leave; some come back later. The imaginary clock runs much
faster than ours, so that minutes and half hours end while somebody watches. As in real streams, events are a little
out of order, a few come far too late, and a few are no events at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from consumer.core.times import format_time

PAGES = ("/", "/search", "/cart", "/checkout", "/help", *(f"/product/{number}" for number in range(1, 16)))
COUNTRIES = ("DE", "FR", "GB", "IT", "JP", "NL", "PL", "US")

LATE_SHARE = 0.005
BROKEN_SHARE = 0.003
MISROUTED_SHARE = 0.0005

_EVENTS_A_VISIT = 15
_VISITORS_AT_ONCE_SHARE = 1 / 600
_USERS_SHARE = 1 / 20
_NULL_PAGE_SHARE = 0.03
_NULL_COUNTRY_SHARE = 0.05
_PURCHASE_SHARE = 0.2
_MINUTE_MS = 60_000
_LATENESS_MS = (2 * _MINUTE_MS, 50 * _MINUTE_MS)


class Message(NamedTuple):
    """What is put into the stream."""

    partition_key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Scenario:
    """`events` records whose event times begin at `start_ms` and cover `span_ms`, disordered by `disorder_ms`."""

    events: int
    start_ms: int
    span_ms: int
    disorder_ms: int
    seed: int

    def messages(self) -> Iterator[Message]:
        """Return the records in the order of sending."""
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, protects nothing
        crowd = _Crowd(self.events, chance)
        for number in range(self.events):
            clock_ms = self.start_ms + number * self.span_ms // self.events
            yield _message(crowd.next_user(), clock_ms, self.disorder_ms, chance)


class _Crowd:
    """The visitors of the moment."""

    def __init__(self, events: int, chance: random.Random) -> None:
        self._chance = chance
        self._users = max(10, int(events * _USERS_SHARE))
        self._present = [self._newcomer() for _ in range(max(3, int(events * _VISITORS_AT_ONCE_SHARE)))]

    def next_user(self) -> str:
        """Return who acts now; perhaps it is their last action of this visit."""
        place = self._chance.randrange(len(self._present))
        user = self._present[place]
        if self._chance.randrange(_EVENTS_A_VISIT) == 0:
            self._present[place] = self._newcomer()
        return user

    def _newcomer(self) -> str:
        return f"user-{self._chance.randrange(self._users):06d}"


def _message(user: str, clock_ms: int, disorder_ms: int, chance: random.Random) -> Message:
    time_ms = clock_ms - chance.randrange(disorder_ms + 1)
    fate = chance.random()
    if fate < LATE_SHARE:
        time_ms = clock_ms - chance.randrange(*_LATENESS_MS)
    event = _event(user, time_ms, chance)
    if fate > 1 - BROKEN_SHARE:
        return Message(user, chance.choice(_WAYS_TO_BREAK)(event))
    if fate > 1 - BROKEN_SHARE - MISROUTED_SHARE:
        return Message(f"not-{user}", _encode(event))
    return Message(user, _encode(event))


def _event(user: str, time_ms: int, chance: random.Random) -> dict[str, Any]:
    event: dict[str, Any] = {"user_id": user, "event_time": format_time(time_ms)}
    if chance.random() > _NULL_PAGE_SHARE:
        event["page"] = PAGES[min(int(chance.expovariate(0.25)), len(PAGES) - 1)]
    event["country"] = chance.choice(COUNTRIES) if chance.random() > _NULL_COUNTRY_SHARE else None
    if chance.random() < _PURCHASE_SHARE:
        event["amount"] = chance.randrange(100, 20_000) / 100
        event["quantity"] = chance.randrange(1, 5)
    return event


_encode = msgspec.json.encode


def _cut_off(event: dict[str, Any]) -> bytes:
    return _encode(event)[:-7]


def _number_as_text(event: dict[str, Any]) -> bytes:
    return _encode(event | {"amount": "12,50 EUR"})


def _without_user(event: dict[str, Any]) -> bytes:
    return _encode({name: value for name, value in event.items() if name != "user_id"})


def _latin1(event: dict[str, Any]) -> bytes:
    return _encode(event | {"page": "/caf"}).replace(b"/caf", b"/caf\xe9")


def _huge_quantity(event: dict[str, Any]) -> bytes:
    return _encode(event | {"quantity": 10**20})


def _clock_of_tomorrow(event: dict[str, Any]) -> bytes:
    return _encode(event | {"event_time": "2099-12-31T23:59:59.000Z"})


_WAYS_TO_BREAK: tuple[Callable[[dict[str, Any]], bytes], ...] = (
    _cut_off,
    _number_as_text,
    _without_user,
    _latin1,
    _huge_quantity,
    _clock_of_tomorrow,
)
