"""In files, in the worker and in Lambda: the same records give the same rows, byte for byte.

Files hold no reshards, each being a shard from its beginning to its end; worker and function are compared there too.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from consumer.entrypoints import process as offline
from consumer.errors import EXIT_OK
from consumer.pipeline.model import Pipeline, StdoutSink
from consumer.records import HashRange, Position, Record, hash_key
from consumer.runtime import invocations
from consumer.runtime.invocations import Invocations
from consumer.runtime.surroundings import ShardOrigin
from consumer.sources.kpl import pack
from consumer.sources.reading import Behind
from tests.packets import packets_of
from tests.random_pipelines import PipelineMaker, step_ms
from tests.random_streams import Stream, records, start_ms
from tests.runtime.test_invocations import Account
from tests.runtime.test_resharding import Family, _serve_all
from tests.runtime.world import FakeDaemon, World, random_pipeline

HALF, QUARTER = 2**127, 2**126
RANGES = {
    "shardId-000000000000": HashRange(0, QUARTER - 1),
    "shardId-000000000001": HashRange(QUARTER, HALF - 1),
    "shardId-000000000002": HashRange(HALF, 2**128 - 1),
}
"""Each has one of the three users of random streams: a window that is global waits for all shards."""

TICKS_MAX = 10
SEEDS_WITH_GLOBAL_ROWS = (0, 2, 3, 6, 7, 9, 11, 12, 13, 15, 17, 18, 19, 20, 22)


class Put(NamedTuple):
    """A record of the stream, as Kinesis stores it, and what the Kinesis Client Library makes of it."""

    stored: Record
    given: Sequence[Record]


# The stream


def stream_of(random: Random, pipeline: Pipeline, count: int) -> dict[str, list[Put]]:
    """Return each shard's records, some of them packets of the producer library: whole, broken, of other shards."""
    maker = Stream(random, pipeline.events, start_ms(random, pipeline), step_ms(pipeline))
    shards: dict[str, list[Record]] = {shard: [] for shard in RANGES}
    for item in maker.items(count):
        if isinstance(item, Record):
            shards[_shard_of(item.partition_key)].append(item)
    return {shard: list(_puts(random, shard, records)) for shard, records in shards.items()}


def _shard_of(key: str | None) -> str:
    hashed = hash_key(key or "")
    return next(shard for shard, range_ in RANGES.items() if range_.holds(hashed))


def _puts(random: Random, shard: str, given: Sequence[Record]) -> Iterator[Put]:
    number = 10**55
    while given:
        size = random.choice([1, 1, 2, 5])
        yield _put(random, shard, given[:size], str(number))
        given, number = given[size:], number + 1 + random.randrange(3)


def _put(random: Random, shard: str, given: Sequence[Record], number: str) -> Put:
    last = given[-1]
    stored = Record(last.data, last.partition_key, number, 0, last.arrival_ms)
    if len(given) == 1 and random.random() < 0.8:
        return Put(stored, [stored])
    keyed = [(each.partition_key or "", each.data) for each in given]
    foreign_key = next(key for key in "abcdefghijklmnop" if _shard_of(key) != shard)
    whole, *others = packets_of(keyed, RANGES[shard], foreign_key)
    data, inside = whole if random.random() < 0.5 else random.choice(others)
    stored = msgspec.structs.replace(stored, data=data)
    if inside is None:
        return Put(stored, [stored])
    return Put(stored, [Record(each, key, number, sub, last.arrival_ms) for sub, (key, each) in enumerate(inside)])


# The places


class Place(World):
    """What all shards have in common, wherever they are worked on; one of them at a time."""

    def __init__(self, pipeline: Pipeline, stream: dict[str, list[Put]]) -> None:
        super().__init__(pipeline, [])
        self.stream = stream
        self.application = msgspec.structs.replace(self.application, roots=tuple(RANGES))
        self.memory.application = self.application

    def origin(self, shard: str) -> ShardOrigin:
        return ShardOrigin(RANGES[shard], ())


def in_worker(pipeline: Pipeline, stream: dict[str, list[Put]], random: Random) -> list[bytes]:
    """Return the rows of a worker, whose daemon has taken the packets apart.

    It has each shard twice: the second time it sees how far the others are. All records come again, and are skipped.
    """
    place = Place(pipeline, stream)
    for shard, puts in [*stream.items()] * 2:
        place.shard, place.checkpoint = shard, "TRIM_HORIZON"
        place.records = [record for put in puts for record in put.given]
        place.batch_size = random.randint(1, 20)
        place.run(FakeDaemon(place))
    return sorted(place.unique_rows().values())


class Function(Place):
    """A place whose shards a mapping delivers, packets as they are."""

    def behind(self, shard: str, position: Position | None, _: HashRange) -> Behind:
        places = [Position.of(record) for put in self.stream[shard] for record in put.given]
        return Behind(next((place for place in places if position is None or place > position), None))

    def origins(self) -> dict[str, ShardOrigin]:
        return {shard: self.origin(shard) for shard in RANGES}

    def is_spent(self) -> bool:
        return False

    def timeout_ms(self) -> int:
        return 60_000

    def stored_outbox(self) -> set[bytes]:
        rows: set[bytes] = set()
        for shard in self.memory.items:
            self.shard = shard
            rows |= super().stored_outbox()
        return rows

    def deliver(self, random: Random) -> None:
        """Deliver everything, a batch of one shard after one of another, to containers that are warm or not."""
        container = Invocations(self.surroundings(), self, self)
        left = {shard: [put.stored for put in puts] for shard, puts in self.stream.items() if puts}
        while left:
            shard = random.choice(list(left))
            size = random.randint(1, 20)
            assert container.batch(shard, left[shard][:size]) is None
            if not (rest := left[shard][size:]):
                del left[shard]
            else:
                left[shard] = rest
            if random.random() < 0.3:
                container = Invocations(self.surroundings(), self, self)

    def tick(self) -> None:
        """Let the schedule come round until nothing is left to be done."""
        container, ticks = Invocations(self.surroundings(), self, self), 0
        acted = -1
        while acted:
            self.clock.seconds += self.timeout_ms() / 1000 + 1
            acted, ticks = container.tick(), ticks + 1
            assert ticks < TICKS_MAX


def in_lambda(pipeline: Pipeline, stream: dict[str, list[Put]], random: Random) -> list[bytes]:
    function = Function(pipeline, stream)
    function.deliver(random)
    function.tick()
    return sorted(function.unique_rows().values())


def in_files(
    pipeline: Pipeline, stream: dict[str, list[Put]], directory: Path, patch: pytest.MonkeyPatch
) -> list[bytes]:
    """Return what `streamgauge process` makes of one file a shard, with records as a consumer has archived them."""
    for shard, puts in stream.items():
        lines = [_envelope(record) for put in puts for record in put.given]
        (directory / shard).write_text("\n".join(lines))
    patch.setattr(offline, "load", lambda *_: pipeline)
    written = [directory / name for name in ("rows", "late", "dead")]
    options = offline.Options(
        inputs=[str(directory / shard) for shard in reversed(stream)],  # rows of all go by their names
        output=str(written[0]),
        late=str(written[1]),
        dead_letter=str(written[2]),
        batch_size=7,
        envelope=True,
        close=False,
    )
    status = offline.process(
        Path("pipeline.yaml"), {}, options, stdin=io.BytesIO(), stdout=io.BytesIO(), err=io.StringIO()
    )
    assert status == EXIT_OK
    return sorted(line for path in written for line in path.read_bytes().splitlines())


def _envelope(record: Record) -> str:
    return json.dumps(
        {
            "data": base64.b64encode(record.data).decode(),
            "partition_key": record.partition_key,
            "sequence_number": record.sequence_number,
            "sub_sequence_number": record.sub_sequence_number,
            "arrival_time": record.arrival_ms,
        }
    )


# The suite


def any_pipeline(seed: int, *, combines: bool = False) -> Pipeline:
    """Return a random pipeline, of any format, that keeps late events and dead letters; with global windows or not."""
    pipeline = PipelineMaker(Random(seed), formats=seed % 2 == 1, combines=combines).pipeline()
    return dataclasses.replace(pipeline, late=StdoutSink(), dead_letter=StdoutSink())


@pytest.mark.parametrize("seed", range(25))
def test_rows_do_not_tell_where_they_were_made(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three shards, and half of their records in packets, of which some are broken or another shard's.

    Files have what the Kinesis Client Library has made of packets: they hold numbers within a packet, not packets.
    """
    monkeypatch.setattr(invocations, "PORTION", 3)
    pipeline, random = any_pipeline(seed), Random(seed)
    stream = stream_of(random, pipeline, 150)
    wanted = in_files(pipeline, stream, tmp_path, monkeypatch)
    assert wanted
    assert in_worker(pipeline, stream, random) == wanted
    assert in_lambda(pipeline, stream, random) == wanted


@pytest.mark.parametrize("seed", SEEDS_WITH_GLOBAL_ROWS)
def test_rows_of_global_windows_do_not_tell_where_their_parts_were_made(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those that all three shards have reached."""
    monkeypatch.setattr(invocations, "PORTION", 3)
    pipeline, random = any_pipeline(seed, combines=True), Random(seed)
    stream = stream_of(random, pipeline, 150)
    wanted = in_files(pipeline, stream, tmp_path, monkeypatch)
    names = {window.name for window in pipeline.windows if window.buckets is not None}
    results = [row for row in map(json.loads, wanted) if "final" in row]
    assert any(row["window"] in names for row in results)
    assert in_worker(pipeline, stream, random) == wanted
    assert in_lambda(pipeline, stream, random) == wanted


@pytest.mark.parametrize("seed", range(10))
def test_rows_do_not_tell_who_took_a_shard_over(seed: int) -> None:
    """A merge and a split: the worker is told of ends, the function finds them."""
    function = Account(seed, 90, idle_after_ms=None)
    function.deliver_all()
    worker = Family(random_pipeline(seed), list(records(Random(seed), 90)))
    _serve_all(worker)
    assert function.unique_rows() == worker.unique_rows()


def test_a_packet_in_a_file_is_an_ordinary_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack([("a", b"{}", None)])
    record = Record(data, "a", "1", 0, 0)
    written = in_files(any_pipeline(0), {"shardId-0": [Put(record, [record])]}, tmp_path, monkeypatch)
    assert [json.loads(row)["data"] for row in written] == [base64.b64encode(data).decode()]
