"""The status as data: what was told, beside the clock, and what to look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import pytest

from consumer.core.completion import LAST_HASH_KEY, Progress, completion
from consumer.core.counts import Counts
from consumer.errors import RefusedError, RetryableError
from consumer.telemetry.facts import COMMITS_MAX, Recent
from consumer.telemetry.health import Activity
from consumer.telemetry.status import Shard, schema, schema_text
from tests.telemetry import scenes
from tests.telemetry.scenes import SHARDS, SINK
from tests.telemetry.told import Told

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "status.schema.json"


def only_shard(told: Told) -> Shard:
    (shard,) = told.status().shards
    return shard


def kinds(told: Told) -> list[tuple[str, str | None]]:
    return [(each.kind, each.shard) for each in told.status().attention]


def test_the_schema_is_the_committed_one() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "python -m consumer.telemetry.status writes it"


@pytest.mark.parametrize("scene", [scenes.nothing, scenes.ready, scenes.trouble, scenes.global_windows])
def test_every_status_keeps_to_the_schema(told: Told, scene: Callable[[Told], None]) -> None:
    scene(told)
    made = json.loads(msgspec.json.encode(told.status()))
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    validator.validate(made)
    assert set(made) == set(schema()["$defs"]["Status"]["properties"])


def test_before_anything_was_told(told: Told) -> None:
    status = told.status()
    assert status.worker.state == "starting"
    assert status.worker.pipeline is None
    assert status.shards == []
    assert [window.window for window in status.windows] == ["views", "visits"]
    assert status.attention == []


def test_the_start_is_told_step_by_step(told: Told) -> None:
    scenes.begin(told.telemetry)
    told.clock.seconds += 2
    told.telemetry.start_retry(step="check_table", error=RetryableError("table t: throttled"), wait_seconds=0.5)
    told.telemetry.daemon_says("Starting")
    find_java, check_table = told.status().start
    assert (find_java.step, find_java.done, find_java.seconds) == ("find_java", True, 0.0)
    assert (check_table.done, check_table.seconds, check_table.retries) == (False, 2.0, 1)
    assert check_table.error == "RetryableError: table t: throttled"
    assert told.status().worker.daemon == "not started"
    assert told.status().worker.daemon_says is None, "what an earlier daemon said is no news"
    scenes.ready(told)
    status = told.status()
    assert all(step.done for step in status.start)
    assert (status.worker.state, status.worker.daemon) == ("ready", "running")
    assert status.worker.uptime_seconds == 7.0


def test_what_the_daemon_says_is_shown_while_it_initialises(told: Told) -> None:
    told.telemetry.daemon_started(pid=7, java_version="25")
    told.telemetry.daemon_says("Lease table is still empty")
    assert told.status().worker.daemon_says == "Lease table is still empty"
    told.telemetry.daemon_initialised(seconds=4.0)
    assert told.status().worker.daemon_says is None


def test_a_shard_that_gets_on(told: Told) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    assert only_shard(told).position == "49590000:0"
    told.clock.seconds += 30
    scenes.batch(told)
    scenes.commit(told.telemetry)
    told.telemetry.checkpointed(shard=SHARDS[0], position=None)
    told.telemetry.activity(shard=SHARDS[0], activity=Activity.WAITING_FOR_DAEMON)
    told.clock.seconds += 2
    shard = only_shard(told)
    assert shard.doing == "waiting for daemon"
    assert shard.seconds_without_progress == 2.0
    assert (shard.epoch, shard.started, shard.problem) == (4, "resumed", None)
    assert (shard.behind_seconds, shard.last_batch_ago_seconds, shard.last_batch_records) == (1.5, 2.0, 600)
    assert (shard.watermark_age_seconds, shard.watermark_unmoved_seconds) == (6.0, 2.0)
    assert (shard.records, shard.records_per_second) == (600, 18.8), "600 in the 32 s since it was taken over"
    assert shard.open_windows == {"views": 70, "visits": 80}
    assert (shard.undelivered_rows, shard.state_bytes, shard.checkpointed_ago_seconds) == (6, 10_234, 2.0)
    assert shard.position == "49590338:3"
    assert shard.last_commit is not None
    assert (shard.last_commit.result, shard.last_commit.rows, shard.last_commit.bytes) == ("ok", 6, 1_234)
    totals = told.status().totals
    assert (totals.shards, totals.open_windows, totals.undelivered_rows, totals.behind_seconds) == (1, 150, 6, 1.5)
    assert kinds(told) == []
    told.telemetry.delivered(shard=SHARDS[0], commit_no=18, rows=6, seconds=0.1, emit_delay_seconds=1.0)
    assert only_shard(told).undelivered_rows == 0


def test_a_shard_that_is_restored_is_there(told: Told) -> None:
    told.telemetry.activity(shard=SHARDS[0], activity=Activity.RESTORING)
    shard = only_shard(told)
    assert (shard.doing, shard.epoch, shard.behind_seconds) == ("restoring state", None, None)


def test_a_shard_that_leaves_is_forgotten_and_what_it_counted_is_not(told: Told) -> None:
    scenes.take_over(told.telemetry)
    scenes.batch(told, late={"views": 3}, dead_letters={"too_deep": 2})
    told.telemetry.lease_lost(shard=SHARDS[0])
    status = told.status()
    assert status.shards == []
    assert (status.windows[0].late, status.windows[0].results) == (3, 5)
    assert [(each.reason, each.records, each.last_shard) for each in status.dead_letters] == [
        ("too_deep", 2, SHARDS[0])
    ]


def test_the_end_of_an_old_lease_leaves_the_new_one_on_the_page(told: Told) -> None:
    with ThreadPoolExecutor(1) as old, ThreadPoolExecutor(1) as new:
        old.submit(scenes.take_over, told.telemetry, epoch=4).result()
        new.submit(scenes.take_over, told.telemetry, epoch=5).result()
        old.submit(told.telemetry.lease_lost, shard=SHARDS[0]).result()
        assert only_shard(told).epoch == 5


def test_the_facts_of_an_old_lease_do_not_take_away_those_of_the_new_one(told: Told) -> None:
    facts = told.telemetry.facts
    old, new = facts.hold(SHARDS[0]), facts.hold(SHARDS[0])
    facts.let_go(SHARDS[0], old)
    assert facts.shards() == {SHARDS[0]: new}
    facts.let_go(SHARDS[0], new)
    assert facts.shards() == {}


def test_a_watermark_that_stands(told: Told) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    standing_ms = told.clock.now_ms()
    for _ in range(61):
        scenes.batch(told, watermark_ms=standing_ms)
        told.clock.seconds += 5
    assert ("watermark_stalled", SHARDS[0]) in kinds(told)
    scenes.batch(told, watermark_ms=standing_ms + 1)
    assert kinds(told) == []


def test_late_and_dead_letters_are_recent_for_ten_minutes(told: Told) -> None:
    scenes.take_over(told.telemetry)
    scenes.batch(told, late={"views": 3}, dead_letters={"too_deep": 2})
    told.clock.seconds += 400
    scenes.batch(told, late={"views": 1})
    status = told.status()
    assert (status.windows[0].late, status.windows[0].late_last_10_minutes) == (4, 4)
    assert status.dead_letters[0].last_10_minutes == 2
    told.clock.seconds += 250
    status = told.status()
    assert (status.windows[0].late, status.windows[0].late_last_10_minutes) == (4, 1)
    assert (status.dead_letters[0].records, status.dead_letters[0].last_10_minutes) == (2, 0)
    assert status.dead_letters[0].last_at == "2023-11-14T22:13:20.123Z"


def test_a_sink_fails_until_it_takes_a_row(told: Told) -> None:
    delivery = told.telemetry.delivery(SHARDS[0])
    delivery.put(SINK, "sent", 6, 900)
    delivery.put(SINK, "failed", 2, 300)
    told.clock.seconds += 1
    delivery.retry(SINK, "throttled", 2, 0.5)
    told.clock.seconds += 4
    delivery.retry(SINK, "timeout", 2, 0.5)
    (sink,) = told.status().sinks
    assert (sink.taking_rows, sink.failing_for_seconds, sink.retries) == (False, 4.0, 2)
    assert (sink.rows_sent, sink.bytes_sent, sink.last_failure_reason) == (6, 900, "timeout")
    assert kinds(told) == [("sink_failing", None)]
    delivery.put(SINK, "sent", 2, 300)
    (sink,) = told.status().sinks
    assert (sink.taking_rows, sink.failing_for_seconds, sink.rows_sent) == (True, None, 8)
    assert sink.last_failure_at == "2023-11-14T22:13:25.123Z"
    assert kinds(told) == []


def test_a_sink_that_nobody_tries_any_more_does_not_fail_for_ever(told: Told) -> None:
    """The shard went to another worker while it failed, and there is no other row for it here."""
    told.telemetry.delivery(SHARDS[0]).retry(SINK, "throttled", 2, 0.5)
    told.clock.seconds += 299
    assert kinds(told) == [("sink_failing", None)]
    told.clock.seconds += 1
    (sink,) = told.status().sinks
    assert (sink.taking_rows, sink.failing_for_seconds, sink.last_failure_reason) == (True, None, "throttled")
    assert kinds(told) == []


def test_the_newest_commits_and_those_that_went_wrong_are_kept(told: Told) -> None:
    error = RetryableError("throttled")
    told.telemetry.commit_retry(shard=SHARDS[0], step="snapshot", error=error, wait_seconds=0.5)
    for _ in range(COMMITS_MAX + 1):
        told.clock.seconds += 1
        scenes.commit(told.telemetry)
    commits = told.status().commits
    assert commits.numbers == {"ok": COMMITS_MAX + 1, "retry": 1, "failed": 0, "fenced": 0}
    assert [commit.ago_seconds for commit in commits.last] == [float(ago) for ago in range(COMMITS_MAX)]
    (wrong,) = commits.last_gone_wrong
    assert (wrong.result, wrong.step, wrong.error) == ("retry", "snapshot", "RetryableError: throttled")
    assert kinds(told) == [], "the shard has committed since"


def test_errors_come_before_warnings(told: Told) -> None:
    scenes.trouble(told)
    found = kinds(told)
    assert set(found) == {
        ("refused", SHARDS[0]),
        ("rows_rejected", None),
        ("sink_failing", None),
        ("commit_retry", SHARDS[2]),
        ("dead_letters", None),
        ("late", None),
    }
    levels = [each.level for each in told.status().attention]
    assert levels == sorted(levels)
    assert levels.count("error") == 2


RULES: dict[str, Callable[[Told], object]] = {
    "stuck": lambda told: setattr(told.clock, "seconds", told.clock.seconds + 301),
    "refused": lambda told: told.telemetry.shard_refused(shard=SHARDS[0], error=RefusedError("x")),
    "fenced": lambda told: told.telemetry.fenced(shard=SHARDS[0], epoch=4, seen_epoch=5),
    "daemon": lambda told: told.telemetry.daemon_ended(status=1, expected=False),
    "commit_failed": lambda told: told.telemetry.commit_failed(
        shard=SHARDS[0], step="fence", error=RetryableError("x")
    ),
    "behind": lambda told: scenes.batch(told, behind_ms=30_000),
    "no_batch": lambda told: setattr(told.clock, "seconds", told.clock.seconds + 30),
    "windows_limit": lambda told: scenes.batch(told, open_groups={"views": 800}),
    "late": lambda told: scenes.batch(told, late={"views": 12}),
    "dead_letters": lambda told: scenes.batch(told, dead_letters={"too_deep": 1}),
}


@pytest.mark.parametrize("kind", sorted(RULES))
def test_what_to_look_at(told: Told, kind: str) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    scenes.batch(told)
    assert kinds(told) == []
    RULES[kind](told)
    assert kind in [found for found, _ in kinds(told)]


def test_a_parked_shard_does_nothing_on_purpose(told: Told) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    scenes.batch(told)
    told.telemetry.shard_refused(shard=SHARDS[0], error=RefusedError("other definitions"))
    told.clock.seconds += 1_000
    assert kinds(told) == [("refused", SHARDS[0])]
    assert only_shard(told).problem == "RefusedError: other definitions"


def test_few_late_events_are_nothing_to_look_at(told: Told) -> None:
    scenes.take_over(told.telemetry)
    scenes.batch(told, received=1_000, late={"views": 9})
    assert kinds(told) == []


def test_the_daemon_that_was_told_to_end_is_nothing_to_look_at(told: Told) -> None:
    scenes.ready(told)
    told.telemetry.worker_stopping(reason="SIGTERM")
    told.telemetry.daemon_ended(status=0, expected=True)
    assert kinds(told) == []
    assert told.status().worker.stopping_because == "SIGTERM"


def test_recent_forgets_by_time_and_keeps_no_more_than_it_must() -> None:
    recent = Recent(bucket_ms=10, buckets=3)
    for now_ms in range(0, 1_000, 5):
        recent.add(1, now_ms)
    assert len(recent._sums) == 3
    assert recent.total(995, 30) == 6
    assert recent.total(995, 10) == 2
    assert recent.total(1_010, 30) == 2
    assert recent.total(9_999, 30) == 0


def test_recent_is_not_what_lies_ahead_of_a_clock_that_was_put_back() -> None:
    recent = Recent(bucket_ms=10, buckets=5)
    for now_ms in (1_000, 1_010, 500, 510):
        recent.add(1, now_ms)
    assert recent.total(510, 100) == 2
    assert recent.total(1_010, 100) == 2, "put on again"


@pytest.mark.parametrize("told", ["info"], indirect=True)
def test_a_batch_without_results_takes_no_lock(told: Told) -> None:
    """The page must not slow down the shards, nor one shard the others."""
    scenes.take_over(told.telemetry)
    facts = told.telemetry.facts
    held = facts.shards()[SHARDS[0]]
    scenes.batch(told)
    assert held.batch is not None
    now_ms, newest = held.batch
    quiet = replace(newest, counts=Counts(received=10))
    with facts._lock:  # it is not reentrant: taking it again would never end
        facts.note_batch(SHARDS[0], held, quiet, now_ms + 1)
    assert held.batch[0] == now_ms + 1


def reach(told: Told, *watermarks_ms: int | None, waiting: int = 0) -> None:
    """Tell how far the shards of a stream are; fewer than it has are no cover."""
    size = 2**128 // len(SHARDS)
    last = {len(SHARDS) - 1: LAST_HASH_KEY}
    members = [
        Progress(SHARDS[place], 0, (), (str(place * size), str(last.get(place, (place + 1) * size - 1))), at_ms, 1, 1)
        for place, at_ms in enumerate(watermarks_ms)
    ]
    told.telemetry.global_progress(completion=completion(members, told.clock.now_ms()), waiting={"views": waiting})


def test_how_far_global_windows_are(told: Told) -> None:
    now_ms = told.clock.now_ms()
    assert told.status().global_windows is None
    reach(told, now_ms - 1_000, now_ms - 21_000, now_ms - 5_000, waiting=2)
    told.telemetry.contributed(shard=SHARDS[0], items=7, size_bytes=700)
    told.telemetry.combined(shard=SHARDS[0], contributions=5, rows={"views": 3}, seconds=0.1)
    told.clock.seconds += 2
    status = told.status()
    found = status.global_windows
    assert found is not None
    assert (found.covered, found.watermark, found.read_ago_seconds) == (True, "2023-11-14T22:12:59.123Z", 2.0)
    assert (found.held_back_by, found.held_back_seconds, found.waiting) == (SHARDS[1], 20.0, {"views": 2})
    assert [(each.shard, each.behind_ahead_seconds) for each in found.slowest] == [
        (SHARDS[1], 20.0),
        (SHARDS[2], 4.0),
        (SHARDS[0], 0.0),
    ]
    assert (found.contributions_written, found.contributions_read, found.unknown_for_seconds) == (7, 5, None)
    assert status.windows[0].results == 3, "rows of a global window are results of who combines it"
    assert kinds(told) == []


def test_a_shard_that_holds_back_global_windows(told: Told) -> None:
    now_ms = told.clock.now_ms()
    reach(told, now_ms, now_ms - 599_000, now_ms)
    assert kinds(told) == []
    reach(told, now_ms, now_ms - 600_000, now_ms)
    assert kinds(told) == [("global_held_back", SHARDS[1])]


@pytest.mark.parametrize(
    ("third", "kind"), [((None,), ("global_held_back", SHARDS[2])), ((), ("global_without_cover", None))]
)
def test_a_shard_that_says_nothing_is_told_of_after_five_minutes(
    told: Told, third: tuple[None, ...], kind: tuple[str, str | None]
) -> None:
    """It has had no event yet, or nobody has begun with it."""
    for _ in range(2):
        reach(told, 1, 2, *third)
        told.clock.seconds += 299
        reach(told, 1, 3, *third)
        assert kinds(told) == []
        told.clock.seconds += 1
        reach(told, 1, 3, *third)
        assert kinds(told) == [kind]
        reach(told, 1, 3, 2)
        assert kinds(told) == []


def test_what_was_read_long_ago_is_nothing_to_look_at(told: Told) -> None:
    """The worker has lost its last shard."""
    reach(told, 1, 700_001, 1)
    told.clock.seconds += 299
    assert [kind for kind, _ in kinds(told)] == ["global_held_back"]
    told.clock.seconds += 1
    assert kinds(told) == []
    reach(told, 1, 2)
    told.clock.seconds += 200
    assert kinds(told) == []
    found = told.status().global_windows
    assert found is not None
    assert found.unknown_for_seconds == 0


def test_before_any_event_global_windows_wait_for_nobody(told: Told) -> None:
    reach(told, None, None, None)
    told.clock.seconds += 1_000
    found = told.status().global_windows
    assert found is not None
    assert (found.covered, found.watermark, found.unknown_for_seconds) == (True, None, None)
    assert kinds(told) == []


def test_global_windows_without_rows_are_an_error(told: Told) -> None:
    reach(told, 1, 2, 3)
    told.telemetry.global_windows_incomplete(shard=SHARDS[0], window="views", bucket=0, after_ms=None, until_ms=1)
    assert kinds(told) == [("global_incomplete", None)]
    found = told.status().global_windows
    assert found is not None
    assert (found.incomplete, found.last_incomplete_window) == (1, "views")
