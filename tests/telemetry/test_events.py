"""Every event: its line as docs/logs.md says, its metrics, its meaning for health."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client import generate_latest

from consumer.core.completion import LAST_HASH_KEY, Progress, completion
from consumer.core.counts import Counts
from consumer.errors import DaemonError, RefusedError, RetryableError, SetupError
from consumer.records import Position
from consumer.sinks.base import DeliveryObserver
from consumer.telemetry.alarm_events import Misrouting
from consumer.telemetry.events import Started, Telemetry
from consumer.telemetry.health import Activity
from consumer.telemetry.metrics import DEFINITIONS, Metrics
from consumer.telemetry.shards import REPEAT_SECONDS, Batch
from tests.telemetry.told import START_MS, Told

DOCS = Path(__file__).parents[2] / "docs" / "logs.md"
SECRET = "secret-7f3a"
SHARD = "shardId-000000000000"
WHOLE = ("0", str(LAST_HASH_KEY))
REACHED = completion(
    [
        Progress(SHARD, 0, ("parent",), WHOLE, START_MS, 1, 1),
        Progress("parent", 0, (), WHOLE, START_MS + 9_000, 1, 1, ended=True),
    ],
    START_MS,
)
POSITION = Position(49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898, 3)


def batch_of(
    counts: Counts | None = None,
    *,
    millis_behind: int | None = 2_500,
    newest_arrival_ms: int | None = START_MS - 1_000,
    watermark_ms: int | None = START_MS - 4_000,
) -> Batch:
    """Return a batch of 1,000 records: 2 replayed, 3 filtered, 4 late, 5 dead letters, 6 results, 1 of them early."""
    return Batch(
        counts=counts
        or Counts(
            received=1_000,
            replayed=2,
            filtered=3,
            late={"views": 4},
            dead_letters={"invalid_json": 4, "misrouted": 1},
            results={"views": 5, "visits": 1},
            early={"visits": 1},
        ),
        size_bytes=250_000,
        watermark_ms=watermark_ms,
        position=POSITION,
        newest_arrival_ms=newest_arrival_ms,
        millis_behind=millis_behind,
        open_groups={"views": 70, "visits": 80},
        active_keys={"views": 35, "visits": 80},
        process_seconds=0.004,
    )


EMPTY = batch_of(Counts(), millis_behind=0, newest_arrival_ms=None)


def worker_started(telemetry: Telemetry) -> None:
    telemetry.worker_started(
        pipeline="clicks",
        definitions="ab12",
        version="0.1.0",
        stream="clicks",
        application="clicks",
        identifier="worker-0",
    )


def shard_initialised(telemetry: Telemetry, *, started: Started = "resumed") -> None:
    telemetry.shard_initialised(
        shard=SHARD,
        epoch=4,
        commit_no=17,
        groups=150,
        groups_limit=1_000,
        state_bytes=9_000,
        position=POSITION,
        seconds=0.25,
        started=started,
    )


def committed(telemetry: Telemetry, rows: int = 6) -> None:
    telemetry.committed(
        shard=SHARD, commit_no=18, seconds=0.02, size_bytes=1_234, state_bytes=10_234, rows=rows, groups=9
    )


def carried_over(telemetry: Telemetry) -> None:
    telemetry.state_carried_over(
        shard=SHARD,
        position=POSITION,
        watermark_ms=START_MS,
        added=["trend"],
        flushed=["visits"],
        results={"visits": 5, "views": 1},
        dropped={"old": 7},
    )


def shard_released(telemetry: Telemetry) -> None:
    telemetry.delivery(SHARD)
    telemetry.shard_released(shard=SHARD)


def starting(telemetry: Telemetry) -> None:
    telemetry.start_step("initialise_daemon")
    telemetry.daemon_says("Lease table is still empty. Checking again in 3000 ms")
    telemetry.starting()


EVENTS: dict[str, Callable[[Telemetry], None]] = {
    "worker_started": worker_started,
    "start_retry": lambda t: t.start_retry(step="check_table", error=RetryableError("throttled"), wait_seconds=0.5),
    "starting": starting,
    "worker_stopping": lambda t: t.worker_stopping(reason="SIGTERM"),
    "worker_stopped": lambda t: t.worker_stopped(status=0),
    "failed": lambda t: t.failed(error=DaemonError("ended with status 1"), shard=SHARD),
    "gap_passed": lambda t: t.gap_passed(shard=SHARD, counted_to=Position(5, 0), goes_on=Position(9, 0)),
    "contributed": lambda t: t.contributed(shard=SHARD, items=2, size_bytes=700),
    "combined": lambda t: t.combined(shard=SHARD, contributions=8, rows={"views": 3}, seconds=0.1),
    "global_windows_incomplete": lambda t: t.global_windows_incomplete(
        shard=SHARD, window="views", bucket=0, after_ms=None, until_ms=START_MS
    ),
    "epoch_churn": lambda t: t.epoch_churn(shard=SHARD, claims=5, within_seconds=300.0, wait_seconds=1.5),
    "stream_misroutes": lambda t: t.stream_misroutes(
        shard=SHARD, records=7, cause=Misrouting.UNKNOWN, error=RetryableError("throttled")
    ),
    "stream_ignores_keys": lambda t: t.stream_ignores_keys(stream="clicks"),
    "daemon_started": lambda t: t.daemon_started(pid=4_711, java_version="25.0.2"),
    "daemon_initialised": lambda t: t.daemon_initialised(seconds=4.25),
    "class_archive_made": lambda t: t.class_archive_made(size_bytes=73_000_000, seconds=14.25),
    "class_archive_not_made": lambda t: t.class_archive_not_made(error=SetupError("no memory")),
    "daemon_log": lambda t: t.daemon_log(level="WARN", logger="a.B", message="hm", extra={"thread": "main"}),
    "daemon_ended": lambda t: t.daemon_ended(status=0, expected=True),
    "shard_initialised": shard_initialised,
    "shard_refused": lambda t: t.shard_refused(shard=SHARD, error=RefusedError("other definitions")),
    "shutdown_requested": lambda t: t.shutdown_requested(shard=SHARD),
    "lease_lost": lambda t: t.lease_lost(shard=SHARD),
    "shard_ended": lambda t: t.shard_ended(shard=SHARD),
    "shard_released": shard_released,
    "batch": lambda t: t.batch(SHARD, EMPTY),
    "late_seen": lambda t: t.batch(SHARD, batch_of(Counts(received=9, late={"views": 4}))),
    "dead_letters_seen": lambda t: t.batch(SHARD, batch_of(Counts(received=9, dead_letters={"too_deep": 4}))),
    "definitions_adopted": lambda t: t.definitions_adopted(adoption=2, added=["views"], removed={"visits": "drop"}),
    "state_carried_over": carried_over,
    "groups_dropped": carried_over,
    "idle_advanced": lambda t: t.idle_advanced(shard=SHARD, watermark_ms=START_MS, position=POSITION),
    "committed": committed,
    "commit_retry": lambda t: t.commit_retry(
        shard=SHARD, step="fence", error=RetryableError("throttled"), wait_seconds=0.5
    ),
    "commit_failed": lambda t: t.commit_failed(shard=SHARD, step="snapshot", error=RetryableError("throttled")),
    "fenced": lambda t: t.fenced(shard=SHARD, epoch=4, seen_epoch=5),
    "delivered": lambda t: t.delivered(shard=SHARD, commit_no=18, rows=6, seconds=0.1, emit_delay_seconds=1.1),
    "outbox_resent": lambda t: t.outbox_resent(shard=SHARD, rows=6),
    "handover_finished": lambda t: t.handover_finished(shard=SHARD, new_owner="worker-1"),
    "handovers_not_seen": lambda t: t.handovers_not_seen(error=RetryableError("throttled")),
    "leases_released": lambda t: t.leases_released(leases=4),
    "container_started": lambda t: t.container_started(
        pipeline="demo", version="1", definitions="5f", stream="clicks", function="arn:f"
    ),
    "mapping_unchecked": lambda t: t.mapping_unchecked(function="arn:f"),
    "look_postponed": lambda t: t.look_postponed(error=RetryableError("throttled")),
    "batch_returned": lambda t: t.batch_returned(
        shard=SHARD, sequence_number=str(POSITION.sequence), error=RetryableError("throttled")
    ),
    "ticked": lambda t: t.ticked(shards=2, seconds=0.5),
    "tick_postponed": lambda t: t.tick_postponed(shard=SHARD, error=RetryableError("throttled")),
    "packets_left_out": lambda t: t.packets_left_out(shard=SHARD, records=3),
    "leases_not_released": lambda t: t.leases_not_released(error=RetryableError("throttled")),
    "merge_failed": lambda t: t.merge_failed(shard=SHARD, error=RetryableError("throttled")),
    "ledger_failed": lambda t: t.ledger_failed(shard=SHARD, error=RetryableError("throttled")),
    "parent_retired": lambda t: t.parent_retired(shard=SHARD, parent="shardId-000000000009"),
    "orphans_deleted": lambda t: t.orphans_deleted(shard=SHARD, objects=3),
    "sink_retry": lambda t: t.delivery(SHARD).retry("firehose:rows", "throttled", 7, 1.5),
    "sink_rejected": lambda t: t.delivery(SHARD).rejected("firehose:rows", "too_large", 2_000_000),
    "checkpointed": lambda t: t.checkpointed(shard=SHARD, position=POSITION),
    "checkpoint_retry": lambda t: t.checkpoint_retry(shard=SHARD, error="ThrottlingException", wait_seconds=0.5),
}
WRITTEN_ELSEWHERE = {"http_request_failed", "library_log"}


def documented() -> dict[str, tuple[str, set[str]]]:
    """Return level and keys of the events in the table of docs/logs.md."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([\w ]+?) \| ([^|]*)\|",
        DOCS.read_text(encoding="utf-8").partition("## Events")[2],
        re.MULTILINE,
    )
    return {event: (level, set(re.findall(r"`([\w*]+)`", keys))) for event, level, keys in rows}


def test_the_page_lists_every_event() -> None:
    assert set(documented()) == set(EVENTS) | WRITTEN_ELSEWHERE
    methods = {name for kind in Telemetry.__mro__[:-1] for name in vars(kind) if not name.startswith("_")}
    seen = {"global_progress", "leases_seen", "stream_seen"}
    without_line = {"activity", "delivery", "start_step", "daemon_says"} | seen
    assert methods - set(EVENTS) == without_line, "an event without a test"


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_a_line_is_what_the_page_says(told: Told, event: str) -> None:
    level, keys = documented()[event]
    EVENTS[event](told.telemetry)
    (line,) = told.lines(event)
    assert level in (line["level"], "as the daemon says")
    assert line["stream"] == "clicks"
    own = set(line) - {"timestamp", "level", "event", "logger", "stream"}
    expected = keys | ({"shard"} & own)
    if "daemon_*" in keys:
        expected = (expected - {"daemon_*"}) | {"daemon_thread"}
    assert own == expected


def test_the_levels_that_depend(told: Told) -> None:
    telemetry = told.telemetry
    telemetry.daemon_ended(status=1, expected=False)
    assert told.lines("daemon_ended")[0]["level"] == "error"
    for level in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR"):
        telemetry.daemon_log(level=level, logger="a", message="b")
    levels = [line["level"] for line in told.lines("daemon_log")]
    assert levels == ["debug", "debug", "info", "warning", "error"]
    telemetry.worker_stopping(reason="SIGTERM")
    telemetry.lease_lost(shard=SHARD)
    assert told.lines("lease_lost")[0]["level"] == "info"
    assert told.value("leases_lost_total") == 0


def values_told(told: Told) -> set[str]:
    """Return the names of the metrics that have a value other than 0."""
    samples = (sample for metric in told.registry.collect() for sample in metric.samples)
    names = {sample.name.removeprefix("streamgauge_") for sample in samples if sample.value}
    return names | {name.removesuffix("_count") for name in names}


def test_every_metric_is_told_by_some_event(told: Told) -> None:
    """A metric that nothing updates would be a promise that is not kept."""
    telemetry = told.telemetry
    shard_initialised(telemetry)
    telemetry.batch(SHARD, batch_of())
    committed(telemetry)
    telemetry.delivery(SHARD).put("stdout", "sent", 6, 900)
    telemetry.delivery(SHARD).batch("stdout", 0.1)
    EVENTS["daemon_started"](telemetry)
    telemetry.stream_seen(retention_seconds=86_400)
    telemetry.leases_seen(unheld=1)
    telemetry.global_progress(completion=REACHED, waiting={"views": 2})
    throttled = "ProvisionedThroughputExceededException thrown while fetching records"
    telemetry.daemon_log(level="WARN", logger="a.B", message=f"{SHARD} :  {throttled}")
    told.clock.seconds += 5
    names = values_told(told)
    for event in sorted(EVENTS.keys() - {"worker_stopping"}):
        EVENTS[event](telemetry)
        names |= values_told(told)
    assert set(DEFINITIONS) - names == set()


def test_who_holds_global_windows_back_is_told_by_one_series(told: Told) -> None:
    """Another shard takes the place of the one before, which would look as if it were still behind."""
    for shard in ("one", "other"):
        members = [Progress(shard, 0, (), WHOLE, START_MS, 1, 1)]
        told.telemetry.global_progress(completion=completion(members, START_MS), waiting={})
    series = [line for line in _exposed(told).splitlines() if line.startswith("streamgauge_global_held_back_seconds{")]
    assert series == ['streamgauge_global_held_back_seconds{shard="other",stream="clicks"} 0.0']
    assert told.value("global_cover") == 1
    told.telemetry.global_progress(completion=completion([], START_MS), waiting={})
    assert told.value("global_cover") == 0


def test_who_has_no_shard_tells_nothing_of_how_far_all_are(told: Told) -> None:
    shard_initialised(told.telemetry)
    told.telemetry.global_progress(completion=REACHED, waiting={"views": 2})
    names = {"cover", "held_back_seconds", "watermark_timestamp_seconds", "windows_waiting"}
    assert all(f"streamgauge_global_{name}{{" in _exposed(told) for name in names)
    told.telemetry.shard_released(shard=SHARD)
    assert not any(f"streamgauge_global_{name}{{" in _exposed(told) for name in names)


def _exposed(told: Told) -> str:
    return generate_latest(told.registry).decode()


def test_a_batch_is_counted(told: Told) -> None:
    told.telemetry.batch(SHARD, batch_of())
    told.telemetry.batch(SHARD, batch_of())
    values = {
        told.value("records_received_total", shard=SHARD): 2_000,
        told.value("bytes_received_total", shard=SHARD): 500_000,
        told.value("batches_total"): 2,
        told.value("batch_records_count"): 2,
        told.value("process_duration_seconds_sum"): 0.008,
        told.value("records_replayed_total"): 4,
        told.value("records_filtered_total"): 6,
        told.value("records_late_total", window="views"): 8,
        told.value("records_late_total", window="visits"): 0,
        told.value("records_dead_lettered_total", reason="invalid_json"): 8,
        told.value("records_dead_lettered_total", reason="too_deep"): 0,
        told.value("records_misrouted_total"): 2,
        told.value("results_emitted_total", window="views"): 10,
        told.value("results_early_total", window="visits"): 2,
        told.value("windows_open", shard=SHARD, window="visits"): 80,
        told.value("keys_active", shard=SHARD, window="views"): 35,
        told.value("watermark_timestamp_seconds", shard=SHARD): (START_MS - 4_000) / 1000,
        told.value("event_time_lag_seconds", shard=SHARD): 4.0,
        told.value("last_batch_timestamp_seconds", shard=SHARD): START_MS / 1000,
        told.value("iterator_age_seconds", shard=SHARD): 2.5,
    }
    for value, expected in values.items():
        assert value == pytest.approx(expected)


def test_why_a_call_to_the_state_is_made_again_is_told(told: Told) -> None:
    error = RetryableError("table t: throttled")
    error.__cause__ = ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")
    told.telemetry.commit_retry(shard=SHARD, step="fence", error=error, wait_seconds=0.5)
    told.telemetry.commit_retry(shard=SHARD, step="load", error=RetryableError("cut"), wait_seconds=0.5)
    assert told.value("state_retries_total", step="fence", reason="throttled") == 1
    assert told.value("state_retries_total", step="load", reason="other") == 1


def test_a_refused_shard_is_parked_until_it_leaves(told: Told) -> None:
    shard_initialised(told.telemetry)
    assert told.value("shards_parked") == 0
    told.telemetry.shard_refused(shard="shardId-000000000001", error=RefusedError("other definitions"))
    assert (told.value("shards_owned"), told.value("shards_parked")) == (2, 1)
    told.telemetry.lease_lost(shard="shardId-000000000001")
    assert (told.value("shards_owned"), told.value("shards_parked")) == (1, 0)


def test_an_empty_batch_counts_as_a_call_alone(told: Told) -> None:
    told.telemetry.batch(SHARD, batch_of())
    told.telemetry.batch(SHARD, EMPTY)
    assert told.value("batches_total") == 2
    assert told.value("batch_records_count") == 1
    assert told.value("process_duration_seconds_count") == 1
    assert told.value("iterator_age_seconds", shard=SHARD) == 0


def test_results_without_a_record_are_counted(told: Told) -> None:
    """Windows also close when a shard is idle, and go on closing after a restart."""
    told.telemetry.batch(SHARD, batch_of(Counts(results={"views": 7}), millis_behind=0, newest_arrival_ms=None))
    assert told.value("results_emitted_total", window="views") == 7
    assert told.value("batch_records_count") == 0


def test_an_idle_shard_is_told_with_its_watermark(told: Told) -> None:
    EVENTS["idle_advanced"](told.telemetry)
    (line,) = told.lines("idle_advanced")
    assert line["watermark"] == "2023-11-14T22:13:20.123Z"
    assert told.value("idle_advances_total") == 1


@pytest.mark.parametrize(
    ("millis_behind", "newest_arrival_ms", "seconds"),
    [
        (2_500, START_MS - 1_000, 2.5),
        (2_500, START_MS - 9_000, 9.0),
        (None, START_MS - 9_000, 9.0),
        (None, None, 0.0),
        (0, START_MS + 5_000, 0.0),
    ],
)
def test_the_iterator_age_is_the_greater_of_two(
    told: Told, millis_behind: int | None, newest_arrival_ms: int | None, seconds: float
) -> None:
    told.telemetry.batch(SHARD, batch_of(millis_behind=millis_behind, newest_arrival_ms=newest_arrival_ms))
    assert told.value("iterator_age_seconds", shard=SHARD) == seconds


def test_no_watermark_before_the_first_event(told: Told) -> None:
    told.telemetry.batch(SHARD, batch_of(watermark_ms=None))
    assert told.value("watermark_timestamp_seconds", shard=SHARD) is None
    assert told.value("event_time_lag_seconds", shard=SHARD) is None


@pytest.mark.parametrize("told", ["info"], indirect=True)
def test_a_batch_looks_nothing_up_and_writes_nothing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called often: after the first one of a shard every series is at hand."""
    told.telemetry.batch(SHARD, batch_of())
    before = told.stream.getvalue()
    for name in ("counter", "gauge", "histogram"):
        monkeypatch.delattr(Metrics, name)
    told.telemetry.batch(SHARD, batch_of())
    assert told.stream.getvalue() == before


def test_late_and_dead_letters_are_said_once_a_minute(told: Told) -> None:
    telemetry = told.telemetry
    for _ in range(3):
        telemetry.batch(SHARD, batch_of())
        told.clock.seconds += 1
    assert [(line["window"], line["events"]) for line in told.lines("late_seen")] == [("views", 4)]
    reasons = [(line["reason"], line["records"]) for line in told.lines("dead_letters_seen")]
    assert reasons == [("invalid_json", 4), ("misrouted", 1)]
    told.clock.seconds += REPEAT_SECONDS
    telemetry.batch(SHARD, EMPTY)
    assert [line["events"] for line in told.lines("late_seen")] == [4, 8]
    assert told.lines("late_seen")[1]["position"] == f"{POSITION.sequence}:3"
    assert told.lines("late_seen")[1]["shard"] == SHARD


@pytest.mark.parametrize("event", ["lease_lost", "shard_ended"])
def test_what_was_not_said_is_said_when_the_shard_leaves(told: Told, event: str) -> None:
    for _ in range(2):
        EVENTS["late_seen"](told.telemetry)
    EVENTS[event](told.telemetry)
    assert [line["event"] for line in told.lines()][-2:] == ["late_seen", event]
    assert told.lines("late_seen")[1]["events"] == 4


@pytest.mark.parametrize("event", ["lease_lost", "shard_ended", "shard_released"])
def test_a_shard_that_leaves_takes_its_gauges_along(told: Told, event: str) -> None:
    shard_initialised(told.telemetry)
    told.telemetry.batch(SHARD, batch_of())
    assert told.value("shards_owned") == 1
    EVENTS[event](told.telemetry)
    text = generate_latest(told.registry).decode()
    left = {line.partition("{")[0] for line in text.splitlines() if SHARD in line}
    assert left == {"streamgauge_records_received_total", "streamgauge_bytes_received_total"}
    assert told.value("shards_owned") == 0
    assert told.health.report().shards == {}


def test_a_shard_may_come_back(told: Told) -> None:
    shard_initialised(told.telemetry, started="empty")
    told.telemetry.lease_lost(shard=SHARD)
    shard_initialised(told.telemetry)
    told.telemetry.batch(SHARD, batch_of())
    assert told.value("leases_acquired_total") == 2
    assert told.value("leases_lost_total") == 1
    assert told.value("shards_owned") == 1
    assert told.value("epoch", shard=SHARD) == 4
    assert told.value("state_restores_total", result="empty") == 1
    assert told.value("state_restores_total", result="resumed") == 1


def test_a_refused_shard_is_held_and_parked(told: Told) -> None:
    EVENTS["shard_refused"](told.telemetry)
    told.clock.seconds += 10_000
    assert told.value("shards_owned") == 1
    assert told.value("state_restores_total", result="refused") == 1
    assert told.health.report().live


def test_a_shard_without_a_batch_claims_no_lag(told: Told) -> None:
    """A lag of 0 would say that a parked shard is fine."""
    EVENTS["shard_refused"](told.telemetry)
    told.clock.seconds += 10
    text = generate_latest(told.registry).decode()
    gauges = {line.partition("{")[0] for line in text.splitlines() if SHARD in line and "_total" not in line}
    assert gauges == {"streamgauge_checkpoint_age_seconds"}
    assert told.value("checkpoint_age_seconds", shard=SHARD) == 10


def test_releasing_a_shard_that_has_left_says_nothing(told: Told) -> None:
    shard_initialised(told.telemetry)
    EVENTS["lease_lost"](told.telemetry)
    told.telemetry.activity(shard=SHARD, activity=Activity.WAITING_FOR_DAEMON)
    told.telemetry.shard_released(shard=SHARD)
    assert told.lines("shard_released") == []
    assert told.health.report().shards == {}


@pytest.mark.parametrize("end", ["lease_lost", "shard_released"])
def test_the_end_of_an_old_lease_takes_nothing_from_the_new_one(told: Told, end: str) -> None:
    """Each lease has a thread; the new one may begin before the old one's has ended."""
    telemetry = told.telemetry
    with ThreadPoolExecutor(1) as old, ThreadPoolExecutor(1) as new:
        for thread in (old, new):
            thread.submit(telemetry.activity, shard=SHARD, activity=Activity.RESTORING).result()
            thread.submit(shard_initialised, telemetry).result()
        new.submit(telemetry.activity, shard=SHARD, activity=Activity.WAITING_FOR_DAEMON).result()
        old.submit(telemetry.activity, shard=SHARD, activity=Activity.FENCED).result()
        old.submit(getattr(telemetry, end), shard=SHARD).result()
        assert told.health.report().shards[SHARD].activity is Activity.WAITING_FOR_DAEMON
        assert told.value("shards_owned") == 1
        assert told.value("leases_acquired_total") == 2
        assert told.value("epoch", shard=SHARD) == 4
        assert "1 shards" in told.progress.line()
        new.submit(telemetry.lease_lost, shard=SHARD).result()
    assert told.health.report().shards == {}
    assert told.value("shards_owned") == 0
    assert told.value("epoch", shard=SHARD) is None


def test_an_old_lease_that_ends_while_the_new_one_is_restored_leaves_it_alone(told: Told) -> None:
    telemetry = told.telemetry
    with ThreadPoolExecutor(1) as old, ThreadPoolExecutor(1) as new:
        old.submit(shard_initialised, telemetry).result()
        new.submit(telemetry.activity, shard=SHARD, activity=Activity.RESTORING).result()
        old.submit(telemetry.lease_lost, shard=SHARD).result()
        assert told.health.report().shards[SHARD].activity is Activity.RESTORING
        assert told.value("shards_owned") == 0


def test_the_age_of_the_checkpoint_grows_until_the_next(told: Told) -> None:
    shard_initialised(told.telemetry)
    told.clock.seconds += 42
    assert told.value("checkpoint_age_seconds", shard=SHARD) == 42
    told.telemetry.checkpointed(shard=SHARD, position=None)
    assert told.value("checkpoint_age_seconds", shard=SHARD) == 0


def test_the_outbox_is_full_between_commit_and_delivery(told: Told) -> None:
    committed(told.telemetry)
    assert told.value("outbox_rows", shard=SHARD) == 6
    EVENTS["delivered"](told.telemetry)
    assert told.value("outbox_rows", shard=SHARD) == 0
    assert told.value("emit_delay_seconds_sum") == 1.1


def test_results_of_commits(told: Told) -> None:
    for event in ("committed", "commit_retry", "commit_retry", "commit_failed", "fenced"):
        EVENTS[event](told.telemetry)
    results = {result: told.value("commits_total", result=result) for result in ("ok", "retry", "failed", "fenced")}
    assert results == {"ok": 1, "retry": 2, "failed": 1, "fenced": 1}
    assert told.value("fenced_total") == 1
    assert told.value("state_bytes", shard=SHARD) == 10_234


def test_restarts_of_the_daemon_are_counted_after_the_first(told: Told) -> None:
    EVENTS["daemon_started"](told.telemetry)
    assert (told.value("daemon_up"), told.value("daemon_restarts_total")) == (1, 0)
    EVENTS["daemon_ended"](told.telemetry)
    EVENTS["daemon_started"](told.telemetry)
    assert (told.value("daemon_up"), told.value("daemon_restarts_total")) == (1, 1)


def test_a_delivery_is_counted_and_is_progress(told: Told) -> None:
    delivery: DeliveryObserver = told.telemetry.delivery(SHARD)
    delivery.batch("firehose:rows", 0.25)
    assert told.health.report().shards[SHARD].activity is Activity.DELIVERING
    delivery.put("firehose:rows", "sent", 5, 1_000)
    delivery.put("firehose:rows", "failed", 2, 400)
    delivery.retry("firehose:rows", "throttled", 2, 0.2)
    assert told.health.report().shards[SHARD].activity is Activity.WAITING_FOR_SINK
    assert told.value("sink_rows_total", sink="firehose:rows", result="sent") == 5
    assert told.value("sink_rows_total", sink="firehose:rows", result="failed") == 2
    assert told.value("sink_bytes_total", sink="firehose:rows") == 1_000
    assert told.value("sink_batches_total", sink="firehose:rows") == 1
    assert told.value("sink_retries_total", sink="firehose:rows", reason="throttled") == 1
    assert told.value("sink_put_duration_seconds_sum", sink="firehose:rows") == 0.25


def test_a_sink_that_is_down_does_not_flood_the_log(told: Told) -> None:
    for _ in range(10):
        EVENTS["sink_retry"](told.telemetry)
        told.clock.seconds += 9
    assert [line["rows"] for line in told.lines("sink_retry")] == [7, 49]


def test_long_lines_of_the_daemon_are_cut(told: Told) -> None:
    told.telemetry.daemon_log(level="ERROR", logger="a", message="m" * 50_000, extra={"stack_trace": "s" * 50_000})
    (line,) = told.lines()
    assert len(line["message"]) < 5_000
    assert len(line["daemon_stack_trace"]) < 5_000


def secret_errors() -> list[Any]:
    return [
        KeyError(SECRET),
        ValueError(f"cannot use {SECRET}"),
        AssertionError(SECRET),
        UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET),
    ]


@pytest.mark.parametrize("error", secret_errors(), ids=lambda error: type(error).__name__)
def test_no_error_brings_data_into_the_log(told: Told, error: BaseException) -> None:
    wrapped = RetryableError("the table does not answer")
    wrapped.__cause__ = error
    wrapped.add_note(SECRET)
    told.telemetry.failed(error=wrapped, shard=SHARD)
    told.telemetry.failed(error=error)
    told.telemetry.commit_retry(shard=SHARD, step="fence", error=error, wait_seconds=1)
    told.telemetry.commit_failed(shard=SHARD, step="fence", error=error)
    told.telemetry.shard_refused(shard=SHARD, error=error)
    assert len(told.lines()) == 5
    assert SECRET not in told.stream.getvalue()
    assert "the table does not answer" in told.stream.getvalue()
