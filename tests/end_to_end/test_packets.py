"""Packets of the producer library, broken ones too: the real Kinesis Client Library and the function agree on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consumer.entrypoints.demo.clickstream import Message, Scenario
from consumer.entrypoints.demo.cloud import Cloud
from consumer.entrypoints.demo.lineage import Together, count_stream
from consumer.entrypoints.demo.processes import wait_until
from consumer.entrypoints.demo.recount import are_combined, recount
from consumer.entrypoints.demo.runtime_api import LambdaFunction
from consumer.errors import EXIT_OK
from consumer.pipeline.load import load
from consumer.records import HashRange, Record, hash_key
from consumer.sources.kinesis import ShardInfo, describe
from consumer.sources.mapping import UNCHECKED
from consumer.state import dynamodb
from consumer.testing.mapping import EventSourceMapping, Habits
from tests.end_to_end.rig import SECONDS_MAX, START_MS, Rig, tick_until_combined
from tests.packets import Keyed, Packet, packets_of

pytestmark = [pytest.mark.daemon, pytest.mark.deep, pytest.mark.xdist_group("daemon"), pytest.mark.timeout(900)]
SHARDS = 2
HANDLER = "consumer.entrypoints.lambda_handler.handler"
TIMEOUT_SECONDS = 20.0
"""The tick waits so long for an invocation that may still be at work."""
HABITS = Habits(duplicate=0.05, old_batch=0.05, throttled=0.1)


def test_the_worker_and_the_function_take_packets_apart_alike(rig: Rig) -> None:
    """The worker is killed on the way, so that it begins again inside of packets."""
    random = Random(3)
    put = _put(rig, random, seed=1, offset_ms=0)
    worker = rig.start()
    rig.wait_until_read(worker)
    put |= _put(rig, random, seed=2, offset_ms=3_600_000)
    worker.kill()
    worker = rig.start()
    rig.wait_until_read(worker)
    expected = _counted(rig, rig.cloud, put)
    wait_until(
        lambda: are_combined(rig.pipeline, expected, rig.cloud.delivered()),
        "global windows to be combined",
        seconds_max=SECONDS_MAX,
        alive=[worker],
    )
    assert rig.stop(worker) == EXIT_OK, worker.output()
    assert "Unexpected exception during deaggregation" in worker.output()
    assert "user-" not in worker.output(), "no key of the data in any log"
    counted = recount(rig.pipeline, expected, rig.cloud.delivered())
    assert counted.is_right, counted
    assert counted.results.expected > 500
    assert counted.dead_letters.expected > 20

    cloud, told = _run_function(rig, random, put)
    counted = recount(cloud.pipeline, _counted(rig, cloud, put), cloud.delivered())
    assert counted.is_right, counted
    assert "packets_left_out" in told
    assert _rows(cloud) == _rows(rig.cloud)


def _put(rig: Rig, random: Random, *, seed: int, offset_ms: int) -> dict[bytes, Keyed | None]:
    """Put events into the stream, most of them in packets of every kind; return what comes of each record's data."""
    shards = rig.cloud.shards()
    left: dict[str, list[tuple[str, bytes]]] = {shard.id: [] for shard in shards}
    for message in Scenario(2_000, START_MS + offset_ms, 3_600_000, 9_000, seed).messages():
        shard_id = _shard_of(shards, message)
        assert shard_id is not None
        left[shard_id].append((message.partition_key, message.data))
    put: dict[bytes, Keyed | None] = {}
    kinds = cycle(range(20))
    for number, shard in enumerate(shards):
        records, range_ = left[shard.id], HashRange(*map(int, shard.hash_range))
        foreign_key = left[shards[number - 1].id][0][0]
        while records:
            size = random.randint(1, 6)
            some, records = records[:size], records[size:]
            packets = packets_of(some, range_, foreign_key)
            kind = next(kinds)
            # The last one is ordinary: of a packet nothing may come, and then nobody gets as far as it.
            packet = packets[kind] if kind < len(packets) and records else Packet(some[-1][1], None)
            put[packet.data] = packet.inside
            rig.emulator.kinesis.put_record(rig.pipeline.source.stream, some[-1][0], packet.data)
    return put


def _shard_of(shards: Sequence[ShardInfo], message: Message) -> str | None:
    hashed = hash_key(message.partition_key)
    return next((shard.id for shard in shards if HashRange(*map(int, shard.hash_range)).holds(hashed)), None)


def _counted(rig: Rig, cloud: Cloud, put: Mapping[bytes, Keyed | None]) -> Together:
    """Recount with what is inside of packets, by whoever made them."""

    def records(shard: str) -> list[Record]:
        return [record for stored in cloud.records(shard) for record in _inside(stored, put[stored.data])]

    return count_stream(rig.pipeline, cloud.shards(), 0, records)


def _inside(stored: Record, inside: Keyed | None) -> list[Record]:
    if inside is None:
        return [stored]
    return [
        Record(data, key, stored.sequence_number, number, stored.arrival_ms)
        for number, (key, data) in enumerate(inside)
    ]


def _run_function(rig: Rig, random: Random, put: Mapping[bytes, Keyed | None]) -> tuple[Cloud, str]:
    """Run the same pipeline on the same stream in the function; return where its rows are, and what it told.

    It has state and sinks of its own, and the pipeline's name, which is part of all ids.
    """
    file = rig.file.with_name("function.yaml")
    text = rig.file.read_text().replace("streamgauge-state", "function-state")
    for stream in ("aggregates", "late", "dead-letters"):
        text = text.replace(f"{{stream: {stream}}}", f"{{stream: function-{stream}}}")
    file.write_text(text)
    cloud = Cloud(load(file, rig.environ), rig.environ)
    cloud.create_delivery_streams()
    rig.emulator.client("s3").create_bucket(Bucket="function-state")
    dynamodb.create_table(rig.emulator.client("dynamodb"), "function-state")
    return cloud, _deliver(rig, file, random, cloud, _counted(rig, cloud, put))


def _deliver(rig: Rig, file: Path, random: Random, cloud: Cloud, counted: Together) -> str:
    """Deliver the stream to the function; return what it told."""
    client: Any = rig.emulator.client("kinesis")
    stream = rig.pipeline.source.stream
    environ = {**rig.environ, "STREAMGAUGE_PIPELINE": str(file), UNCHECKED: "yes"}
    with LambdaFunction(rig.children, environ, handler=HANDLER, timeout_seconds=TIMEOUT_SECONDS) as function:
        mapping = EventSourceMapping(
            client, stream, describe(client, stream).arn, function.invoke, batch_size=40, random=random, habits=HABITS
        )
        while not mapping.drained():
            pass
        told = function.output()
        tick_until_combined(cloud, function, counted)
        return told


def _rows(cloud: Cloud) -> dict[str, bytes]:
    """Return all rows by their ids."""
    rows = [row for delivered in cloud.delivered().values() for row in delivered]
    return {msgspec.json.decode(row)["id"]: row for row in rows}
