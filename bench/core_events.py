"""The events of the core's benchmark: visitors of a shop, disordered within the bound, none of them late.

Nobody is late because what is late differs between those who are compared: Bytewax has a watermark a key. Visits of
one user are minutes apart, for the hand-written code does not merge visits. So all come to the same results.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import msgspec

from consumer.core.times import format_time
from consumer.records import Record

SIZES = (100, 500, 5_000)
"""About how many bytes an event has."""
HEADLINE_BYTES = 100

OUT_OF_ORDERNESS_MS = 10_000

_START_MS = 1_790_000_000_000
_DISORDER_MS = 8_000
_VISITORS_AT_ONCE = 300
_USERS = 3_000
_PAGES = tuple(f"/{number}" for number in range(20))
_KINDS = ("view", "view", "view", "cart", "buy", "bot")
_PADDINGS = 16
_SEQUENCE = 49590338271490256608559692538361571095921575989136588898


@dataclass(frozen=True, slots=True)
class Recipe:
    """`events` of about `size_bytes`, one every `every_us` microseconds of event time; the same seed, the same ones.

    A visit has at least and at most so many events, and gives one row: so the shorter, the dearer an event is.
    """

    events: int
    size_bytes: int
    every_us: int = 3_600
    visit_events: tuple[int, int] = (5, 25)
    seed: int = 20_26

    def records(self) -> list[Record]:
        """Return the records, in shard order."""
        chance = random.Random(self.seed)
        visitors = _visitors(chance, *self.visit_events)
        paddings = [_padding(self.size_bytes, random.Random(number)) for number in range(_PADDINGS)]
        return [
            _record(number, next(visitors), _START_MS + number * self.every_us // 1000, chance, chance.choice(paddings))
            for number in range(self.events)
        ]


def _visitors(chance: random.Random, least: int, most: int) -> Iterator[str]:
    """Yield who acts next: some hundred visitors at once, each for some events; users come back in turn."""
    names = (f"u{number % _USERS:05d}" for number in count())
    present = [next(names) for _ in range(_VISITORS_AT_ONCE)]
    left = [chance.randint(least, most) for _ in present]
    while True:
        place = chance.randrange(len(present))
        yield present[place]
        left[place] -= 1
        if not left[place]:
            present[place], left[place] = next(names), chance.randint(least, most)


def _record(number: int, user: str, clock_ms: int, chance: random.Random, padding: bytes) -> Record:
    event = {
        "user": user,
        "time": format_time(clock_ms - chance.randrange(_DISORDER_MS + 1)),
        "page": chance.choice(_PAGES),
        "kind": chance.choice(_KINDS),
        "amount": chance.randrange(100, 20_000) / 100,
        "quantity": chance.randrange(1, 5),
    }
    data = msgspec.json.encode(event)[:-1] + padding
    return Record(data, partition_key=user, sequence_number=str(_SEQUENCE + number), arrival_ms=clock_ms)


def _padding(size_bytes: int, chance: random.Random) -> bytes:
    """Return further members, which nobody reads, and the closing brace: texts, numbers, lists and objects."""
    text = b""
    for number in count():
        member = b',"extra_%d":%b' % (number, msgspec.json.encode(_value(number, chance)))
        if len(_BARE) + len(text) + len(member) > size_bytes:
            return text + b"}"
        text += member
    raise AssertionError


def _value(number: int, chance: random.Random) -> object:
    values: Sequence[object] = (
        f"Mozilla/5.0 (X11; Linux x86_64; rv:{chance.randrange(90, 140)}.0) Gecko/20100101",
        chance.randrange(1_000_000),
        {"source": "search", "campaign": f"offer {chance.randrange(99)}", "position": chance.randrange(20)},
        [chance.randrange(1000) for _ in range(6)],
        chance.random() < 0.5,
        f"https://shop.example/catalogue/{chance.randrange(10_000)}?sort=price&page={chance.randrange(20)}",
    )
    return values[number % len(values)]


_BARE = b'{"user":"u00000","time":"2026-09-21T14:13:20.000Z","page":"/19","kind":"view","amount":123.45,"quantity":3}'


def line_of(records: Sequence[Record]) -> bytes:
    """Return the line that the Kinesis Client Library's daemon would write for a batch."""
    wire = msgspec.to_builtins(records)
    line = {
        "action": "processRecords",
        "records": [one | {"action": "record"} for one in wire],
        "millisBehindLatest": 0,
    }
    return msgspec.json.encode(line) + b"\n"
