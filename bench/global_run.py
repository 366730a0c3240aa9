"""The real owners of a stream's shards, in simulated time, on a DynamoDB in memory that counts.

Each worker has so many shards, and each shard is asked once a second, as the daemon does. The shards are not in step:
each begins at a moment of its own. Of every group each shard has one event in each minute, which is the worst there is.
What Python needs for all that takes no simulated time.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from random import Random
from typing import Any, cast

import msgspec

from bench.global_meter import Meter, MeteredDynamo, MeteredStore
from consumer.core.compile import Program, compile_pipeline
from consumer.core.completion import Stretch
from consumer.pipeline.load import load_text
from consumer.records import DEAD_LETTER, LATE, HashRange, Position, Record
from consumer.runtime.commit import ShardOwner
from consumer.runtime.surroundings import Retention, ShardOrigin, Surroundings
from consumer.runtime.work import Work
from consumer.sinks.base import Failure, Router
from consumer.state.base import Application
from consumer.telemetry.events import Telemetry
from consumer.testing.fake_state_aws import FakeStateS3, StoredAws
from consumer.testing.simulation.worker import Deaf

SHARDS_A_WORKER = 25
MINUTE_MS = 60_000
COMMIT_INTERVAL_SECONDS = 5
START_MS = 1_767_225_600_000
RETENTION_MS = 24 * 3_600_000
_BOUND_MS = 10_000
_STRETCHES = 10
"""What a shard that has run for long tells of its past: see consumer/core/completion.py."""
_FILE = """\
pipeline: bench
source: {{stream: bench}}
events:
  format: json
  compression: none
  fields: {{at: timestamp, page: string, amount: float}}
  time: at
  out_of_orderness: 10s
  idle_after: never
windows:
  views:
    tumbling: 1m
    by: [page]
    combine: true
    buckets: {buckets}
    select: {{views: count(), revenue: sum(amount)}}
sinks: [{{stdout: {{}}}}]
state: {{table: states, bucket: bench, commit_interval: 5s, emit_delay: 1s}}
"""


@dataclass(frozen=True, slots=True)
class Load:
    """So many shards, groups of which each shard has an event a minute, and buckets.

    `warm_up` and `minutes`: how many minutes are not measured, and how many are.
    """

    shards: int
    groups: int
    buckets: int
    warm_up: int = 1
    minutes: int = 1
    poll_seconds: float = 1.0

    @property
    def workers(self) -> int:
        """Return how many workers the shards have."""
        return -(-self.shards // SHARDS_A_WORKER)


@dataclass(slots=True)
class Measured:
    """What was asked in the minutes that were measured, and how many rows came of them.

    `latencies`: of each minute, the seconds from the last shard's watermark to its last row.
    """

    meter: Meter
    latencies: list[float] = field(default_factory=list)
    rows: int = 0


class Clock:
    """The time of the simulation."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Return the time since the beginning."""
        return self.seconds

    def now_ms(self) -> int:
        """Return it as a date."""
        return START_MS + round(self.seconds * 1000)

    def random(self) -> float:
        """Return no waiting."""
        return 0.0


class _Silent(Deaf):
    def delivery(self, _shard: str) -> Deaf:
        return Deaf()


class _Row(msgspec.Struct):
    window_start: str


class Times:
    """When each window was complete, and when its rows came; a sink."""

    name = "times"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decode = msgspec.json.Decoder(_Row).decode
        self.rows: dict[str, int] = {}
        self.last_row: dict[str, float] = {}

    def put(self, rows: Sequence[bytes]) -> Sequence[Failure]:
        """Note the time."""
        for row in rows:
            start = self._decode(row).window_start
            self.rows[start] = self.rows.get(start, 0) + 1
            self.last_row[start] = self._clock.seconds
        return []

    def close(self) -> None:
        """Do nothing."""


class Stream:
    """The shards, and what is in them."""

    def __init__(self, load: Load) -> None:
        width = 2**128 // load.shards
        firsts = [number * width for number in range(load.shards)]
        lasts = [*(first - 1 for first in firsts[1:]), 2**128 - 1]
        self.ranges = {
            f"shardId-{number:012d}": HashRange(first, last)
            for number, (first, last) in enumerate(zip(firsts, lasts, strict=True))
        }
        self._pages = [f"/page/{number}" for number in range(load.groups)]
        self._data: tuple[int, list[bytes]] = (-1, [])

    def origin(self, shard: str) -> ShardOrigin:
        """Return the shard's hash keys."""
        return ShardOrigin(self.ranges[shard], ())

    def children(self, _parent: str) -> dict[str, HashRange]:
        """Return none: no shard ends."""
        return {}

    def minute(self, minute: int) -> list[bytes]:
        """Return a minute's events, of the end of the minute: one of each group."""
        if self._data[0] != minute:
            at_ms = START_MS + (minute + 1) * MINUTE_MS - 1
            self._data = minute, [event(at_ms, page, number / 8) for number, page in enumerate(self._pages)]
        return self._data[1]


def event(at_ms: int, page: str, amount: float) -> bytes:
    """Return what is in a record."""
    return msgspec.json.encode({"at": at_ms, "page": page, "amount": amount})


class Shard:
    """One owner, and what is left to be read of its shard: an event each second, and at its end each minute's load."""

    def __init__(self, around: Surroundings, name: str, stream: Stream, clock: Clock) -> None:
        self.owner = ShardOwner(around, name)
        self._stream = stream
        self._clock = clock
        self._numbers = count(1)
        self._minute = 0
        self.closed = 0
        """How many minutes are due by its watermark."""

    def poll(self, *, loaded: range) -> None:
        """Do what the worker does with a message of the daemon; only some minutes have their load."""
        now_ms = self._clock.now_ms()
        due = (now_ms - START_MS - _BOUND_MS + 1) // MINUTE_MS
        data = [each for minute in range(self._minute, due) if minute in loaded for each in self._stream.minute(minute)]
        self._minute = max(self._minute, due)
        data.append(event(now_ms, "/page/0", 1.0))
        records = [Record(each, "key", str(next(self._numbers)), 0, now_ms) for each in data]
        Work(self._clock).through(self.owner, records, self._commit_if_due)
        self.owner.combine()
        self._commit_if_due()
        self.closed = self._minute

    def _commit_if_due(self) -> None:
        if self.owner.commit_is_due():
            self.owner.commit(_checkpointed)


def _checkpointed(_position: Position) -> bool:
    return True


class Simulation:
    """Of one load. The first minutes are not measured."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._random = Random(seed)
        self._clock = Clock()
        self._times = Times(self._clock)
        self._stream = Stream(load)
        stored = StoredAws()
        self._dynamo = MeteredDynamo(stored)
        self._program: Program = compile_pipeline(load_text(_FILE.format(buckets=load.buckets), "bench", {}))
        store = MeteredStore(self._dynamo, FakeStateS3(stored), pipeline="bench")
        application = Application(0, START_MS, tuple(self._stream.ranges), self._program.definitions, START_MS)
        store.create_application(application)
        self._store, self._application = store, application

    def run(self) -> Measured:
        """Return what was asked in the minutes that are measured; those before have one group only."""
        warm_up, minutes = self._load.warm_up, self._load.minutes
        complete: dict[int, float] = {}
        loaded = range(warm_up, warm_up + minutes)
        shards = dict(enumerate(self._started()))
        # A minute closes, and is combined, some seconds after it has ended: measured from between two closings on.
        from_s, until_s = 60.0 * warm_up + 45, 60.0 * (warm_up + minutes) + 45
        measured = Measured(Meter())
        polls = [(self._random.uniform(0, COMMIT_INTERVAL_SECONDS), number) for number in shards]
        heapq.heapify(polls)
        while polls[0][0] < until_s:
            now, number = heapq.heappop(polls)
            if now >= from_s and self._dynamo.meter is not measured.meter:
                self._dynamo.meter = measured.meter
            self._clock.seconds = now
            shard = shards[number]
            shard.poll(loaded=loaded)
            last = shard.closed - 1
            if last >= 0 and last not in complete and all(each.closed > last for each in shards.values()):
                complete[last] = now
            heapq.heappush(polls, (now + self._load.poll_seconds * self._random.uniform(0.9, 1.1), number))
        for minute in loaded:
            start = next(self._named(minute))
            measured.latencies.append(self._times.last_row[start] - complete[minute])
            measured.rows += self._times.rows[start]
        return measured

    def _named(self, minute: int) -> Iterator[str]:
        start_ms = START_MS + minute * MINUTE_MS
        yield from (each for each in self._times.rows if _ms(each) == start_ms)

    def _started(self) -> Iterator[Shard]:
        """Yield shards whose owners have begun, worker by worker."""
        names = list(self._stream.ranges)
        for first in range(0, len(names), SHARDS_A_WORKER):
            around = self._worker()
            for name in names[first : first + SHARDS_A_WORKER]:
                shard = Shard(around, name, self._stream, self._clock)
                shard.owner.initialise(None)
                _age(shard.owner)
                yield shard

    def _worker(self) -> Surroundings:
        outputs = ("views", LATE, DEAD_LETTER)
        return Surroundings(
            program=self._program,
            application=self._application,
            store=self._store,
            router=Router({output: [self._times] for output in outputs}),
            lineage=self._stream,
            telemetry=cast("Telemetry", _Silent()),
            clock=self._clock,
            pause=lambda _: False,
            retention=Retention(RETENTION_MS, _never_behind),
        )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _age(owner: ShardOwner) -> None:
    """Have an owner tell as much of its past as one that has run for days."""
    apart_ms = 2 * RETENTION_MS // (_STRETCHES - 1)
    owner.processor.combining.stretches = tuple(
        Stretch(START_MS + 2 * RETENTION_MS - number * apart_ms - 1, START_MS - number * apart_ms - MINUTE_MS)
        for number in reversed(range(_STRETCHES))
    )


def _never_behind(*_: Any) -> Any:
    raise AssertionError("nobody looks")


def main() -> None:
    """Run the load that the command line has as JSON; print what was measured as JSON."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    sys.stdout.write(msgspec.json.encode(Simulation(load, seed=1).run()).decode() + "\n")


if __name__ == "__main__":
    main()
