"""Moments in the life of a worker, told as the runtime tells them."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.core.completion import LAST_HASH_KEY, Progress, completion
from consumer.core.counts import Counts
from consumer.errors import RetryableError
from consumer.records import Position
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Activity
from consumer.telemetry.shards import Batch
from tests.telemetry.told import Told

SHARDS = tuple(f"shardId-{number:012d}" for number in range(3))
SINK = "firehose:aggregates"
POSITION = Position(49_590_338, 3)


def begin(telemetry: Telemetry, stream: str = "clicks") -> None:
    telemetry.worker_started(
        pipeline="clickstream",
        definitions="ab12cd34ef56ab78",
        version="0.1.0",
        stream=stream,
        application="shop",
        identifier="worker-0",
    )
    telemetry.start_step("find_java")
    telemetry.start_step("check_table")


def nothing(_: Told) -> None:
    """Tell nothing."""


def ready(told: Told) -> None:
    begin(told.telemetry)
    told.clock.seconds += 1
    told.telemetry.start_step("initialise_daemon")
    told.telemetry.daemon_started(pid=7, java_version="25.0.2")
    told.clock.seconds += 4
    told.telemetry.daemon_initialised(seconds=4.0)


def take_over(telemetry: Telemetry, shard: str = SHARDS[0], *, epoch: int = 4) -> None:
    telemetry.activity(shard=shard, activity=Activity.RESTORING)
    telemetry.shard_initialised(
        shard=shard,
        epoch=epoch,
        commit_no=17,
        groups=150,
        groups_limit=1_000,
        state_bytes=9_000,
        position=Position(49_590_000, 0),
        seconds=0.25,
        started="resumed",
    )


def batch(
    told: Told,
    shard: str = SHARDS[0],
    *,
    received: int = 600,
    late: Mapping[str, int] | None = None,
    dead_letters: Mapping[str, int] | None = None,
    behind_ms: int = 1_500,
    watermark_ms: int | None = None,
    open_groups: Mapping[str, int] | None = None,
) -> None:
    now_ms = told.clock.now_ms()
    counts = Counts(
        received=received,
        late=dict(late or {}),
        dead_letters=dict(dead_letters or {}),
        results={"views": 5, "visits": 1},
    )
    told.telemetry.batch(
        shard,
        Batch(
            counts=counts,
            size_bytes=50_000,
            watermark_ms=now_ms - 4_000 if watermark_ms is None else watermark_ms,
            position=POSITION,
            newest_arrival_ms=now_ms - behind_ms,
            millis_behind=0,
            open_groups=open_groups or {"views": 70, "visits": 80},
            active_keys={},
            process_seconds=0.004,
        ),
    )


def commit(telemetry: Telemetry, shard: str = SHARDS[0], *, rows: int = 6) -> None:
    telemetry.committed(
        shard=shard, commit_no=18, seconds=0.02, size_bytes=1_234, state_bytes=10_234, rows=rows, groups=9
    )


def global_windows(told: Told) -> None:
    """Have one shard hold back the windows of another; then windows without rows."""
    ready(told)
    now_ms, half = told.clock.now_ms(), 2**127
    ranges = (("0", str(half - 1)), (str(half), str(LAST_HASH_KEY)))
    members = [
        Progress(shard, 0, (), range_, now_ms - behind_ms, 1, 1)
        for shard, range_, behind_ms in zip(SHARDS, ranges, (1_000, 701_000), strict=False)
    ]
    told.telemetry.global_progress(completion=completion(members, now_ms), waiting={"views": 11})
    told.telemetry.contributed(shard=SHARDS[0], items=12, size_bytes=3_000)
    told.telemetry.combined(shard=SHARDS[0], contributions=8, rows={"views": 4}, seconds=0.1)
    told.telemetry.global_windows_incomplete(shard=SHARDS[0], window="views", bucket=0, after_ms=None, until_ms=1)


def trouble(told: Told) -> None:
    """Have a shard refused, one wait for a sink, and one fail to commit; lose a row; dead letters, late events."""
    ready(told)
    telemetry = told.telemetry
    for shard in SHARDS:
        take_over(telemetry, shard)
        batch(told, shard, late={"views": 40}, dead_letters={"invalid_json": 7, "misrouted": 1})
    commit(telemetry, SHARDS[1])
    telemetry.delivery(SHARDS[1]).put(SINK, "sent", 6, 900)
    told.clock.seconds += 1
    telemetry.delivery(SHARDS[1]).retry(SINK, "throttled", 6, 1.5)
    telemetry.delivery(SHARDS[1]).put(SINK, "rejected", 1, 2_000_000)
    telemetry.delivery(SHARDS[1]).rejected(SINK, "too_large", 2_000_000)
    telemetry.commit_retry(shard=SHARDS[2], step="fence", error=RetryableError("table t: throttled"), wait_seconds=0.5)
    telemetry.shard_refused(shard=SHARDS[0], error=RetryableError("other definitions"))
    told.clock.seconds += 9
