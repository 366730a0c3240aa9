"""Records that a mapping never delivers: given up, expired, left out before a child's; and silence, which is no gap."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest

from consumer.errors import RefusedError
from consumer.records import Position
from consumer.runtime import heap, invocations, tidying, warm
from tests.runtime.test_invocations import Account, _deliver_before

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "PORTION", 3)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)


def _account(on_gap: Literal["refuse", "continue"] = "refuse", retention_ms: int | None = DAY_MS) -> Account:
    """Return an account all of whose records arrive now."""
    account = Account(5, on_gap=on_gap, retention_ms=retention_ms)
    account.open.add("low")
    for lease in account.leases.values():
        lease.records[:] = [msgspec.structs.replace(each, arrival_ms=account.clock.now_ms()) for each in lease.records]
    return account


def _expire(account: Account, shard: str, records: int) -> None:
    """Let the stream delete a shard's first records; the mapping goes on behind them."""
    del account.leases[shard].records[:records]
    account.delivered[shard] = max(0, account.delivered[shard] - records)


def _wait(account: Account, hours: float) -> None:
    """Let time pass, with a tick every hour."""
    for _ in range(round(hours)):
        account.clock.seconds += 3600
        account.container.tick()


def test_records_that_expired_unread_are_refused() -> None:
    account = _account()
    account.invoke("low", account.batch("low", 4))
    before = account.state("low")
    account.clock.seconds += 25 * 3600
    _expire(account, "low", 6)
    with pytest.raises(RefusedError, match="records of low may have expired before they were counted"):
        account.new_container().batch("low", account.batch("low", 4))
    with pytest.raises(RefusedError, match="may have expired"):
        account.container.batch("low", account.batch("low", 4))
    assert account.state("low") == before


def test_records_that_expired_unread_are_passed_where_the_file_says_so() -> None:
    account = _account("continue")
    account.invoke("low", account.batch("low", 4))
    before = account.state("low").position
    account.clock.seconds += 25 * 3600
    _expire(account, "low", 6)
    batch = account.batch("low", 4)
    assert account.container.batch("low", batch) is None
    (gap,) = account.told("gap_passed")
    assert before is not None
    assert (gap["counted_to"], gap["goes_on"]) == (str(before.sequence), batch[0].sequence_number)


@pytest.mark.parametrize("expired", [0, 3])
def test_a_record_at_the_position_says_that_nothing_is_lost(expired: int) -> None:
    account = _account()
    account.invoke("low", account.batch("low", 4))
    account.clock.seconds += 25 * 3600
    _expire(account, "low", expired)
    assert account.new_container().batch("low", account.batch("low", 4)) is None


@pytest.mark.parametrize("hours", [30, 100])
def test_a_silent_shard_has_no_gap(hours: int) -> None:
    """The ticks have seen that nothing was unread."""
    account = _account()
    coming = account.leases["low"].records[4:]
    del account.leases["low"].records[4:]
    account.invoke("low", account.batch("low", 4))
    commits = account.state("low").commit_no
    _wait(account, 20)
    _expire(account, "low", 4)
    _wait(account, hours - 20)
    assert account.state("low").commit_no - commits <= hours / 2 + 3, "it is noted every two hours"
    account.leases["low"].records[:] = coming
    account.clock.seconds += 10 * 3600
    assert account.new_container().batch("low", account.batch("low", 4)) is None
    assert not account.told("gap_passed")


def test_nothing_is_noted_of_a_shard_with_unread_records() -> None:
    account = _account()
    account.invoke("low", account.batch("low", 4))
    _wait(account, 20)
    assert account.state("low").caught_up_ms is None


def test_a_tick_finds_what_expired_while_there_was_none() -> None:
    account = _account()
    del account.leases["low"].records[5:]
    account.invoke("low", account.batch("low", 4))
    account.clock.seconds += 30 * 3600
    _expire(account, "low", 5)
    with pytest.raises(RefusedError, match="may have expired"):
        account.container.tick()
    assert account.state("low").caught_up_ms is None


def test_the_expired_end_of_a_parent_is_refused() -> None:
    account = _account()
    account.open.discard("low")
    _deliver_before(account, "high")
    account.invoke("high", account.batch("high", 3))
    account.clock.seconds += 25 * 3600
    account.leases["high"].records.clear()
    with pytest.raises(RefusedError, match="records of high may have expired"):
        account.container.batch("merged", account.batch("merged", 4))
    assert not account.state("high").ended


@pytest.mark.parametrize("end", ["unread", "expired", "gone"])
def test_the_lost_end_of_a_parent_is_passed_where_the_file_says_so(end: str) -> None:
    account = _account("continue")
    account.open.discard("low")
    _deliver_before(account, "high")
    account.invoke("high", account.batch("high", 3))
    position = account.state("high").position
    assert position is not None
    if end != "unread":
        account.clock.seconds += 25 * 3600
        account.leases["high"].records.clear()
    if end == "gone":
        account.gone = "high"
    batch = account.batch("merged", 4)
    assert account.container.batch("merged", batch) is None
    assert account.state("merged").position == Position.of(batch[-1])
    assert account.state("merged").parents == ("low", "high")
    assert account.memory.items["high"].retired, "it was ended, and its children have it"
    told = {gap["shard"]: (gap["counted_to"], gap["goes_on"]) for gap in account.told("gap_passed")}
    assert told["high"] == (str(position.sequence), None)
    assert ("merged" in told) is (end != "unread"), "of what nothing was counted in time, the first may be gone too"


def test_a_parent_without_a_state_leaves_nothing_where_the_file_says_so() -> None:
    account = _account("continue")
    account.open.discard("low")
    _deliver_before(account, "high")
    account.gone, account.unknown = "high", {"high"}
    assert account.container.batch("merged", account.batch("merged", 4)) is None
    assert account.state("merged").parents == ("low",)
    assert [gap["shard"] for gap in account.told("gap_passed")] == ["high"]


def test_a_tick_waits_for_the_unread_end_of_a_parent_whatever_the_file_says() -> None:
    account = _account("continue")
    account.open.discard("low")
    _deliver_before(account, "high")
    account.invoke("high", account.batch("high", 3))
    account.leases["merged"].records.clear()
    _wait(account, 3)
    assert account.told("tick_postponed")
    assert not account.told("gap_passed")
    assert not account.state("high").ended


def _latest(account: Account, arrival_ms: int) -> None:
    source = dataclasses.replace(account.program.pipeline.source, start="latest")
    object.__setattr__(account.program.pipeline, "source", source)
    started_ms = account.clock.now_ms()
    account.application = msgspec.structs.replace(account.application, started_at_ms=started_ms)
    account.memory.application = account.application
    records = account.leases["low"].records
    records[:] = [msgspec.structs.replace(each, arrival_ms=started_ms + arrival_ms) for each in records]
    account.container = account.new_container()


def test_a_mapping_made_anew_at_latest_skips_no_first_record() -> None:
    account = _account()
    _latest(account, 5)
    account.delivered["low"] = 3
    with pytest.raises(RefusedError, match="was never delivered"):
        account.container.batch("low", account.batch("low", 4))


def test_the_first_batch_may_be_older_than_the_application_that_begins_with_it() -> None:
    account = _account()
    _latest(account, -5)
    batch = account.batch("low", 4)
    account.leases["low"].records.clear()  # behind the start there is nothing
    assert account.container.batch("low", batch) is None


@pytest.mark.parametrize("hours", [1, 3, 30])
def test_windows_close_by_time_although_it_is_noted_meanwhile_that_nothing_is_unread(hours: int) -> None:
    account = Account(5, idle_after_ms=hours * 3_600_000, retention_ms=DAY_MS)
    account.open.add("low")
    now_ms = account.clock.now_ms()
    account.leases["low"].records[:] = [
        msgspec.structs.replace(each, arrival_ms=now_ms) for each in account.leases["low"].records[:6]
    ]
    account.invoke("low", account.batch("low", 6))
    _wait(account, hours - 1)
    assert not account.told("idle_advanced")
    _wait(account, 1)
    assert account.told("idle_advanced")


@pytest.fixture
def _frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(heap, "LARGE_STATE_GROUPS", 0)
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_frozen")
def test_what_leaves_memory_is_seen_by_the_collector_again() -> None:
    account = _account()
    account.invoke("low", account.batch("low", 2))
    assert gc.get_freeze_count() > 0
    account.delivered["low"] += 2
    with pytest.raises(RefusedError):
        account.container.batch("low", account.batch("low", 2))
    assert gc.get_freeze_count() == 0
    account.delivered["low"] -= 2
    account.invoke("low", account.batch("low", 2))
    assert gc.get_freeze_count() > 0
    account.container.close()
    assert gc.get_freeze_count() == 0
    account.invoke("low", account.batch("low", 2))
    account.clock.seconds += 7 * 3600
    del account.leases["low"].records[account.delivered["low"] :]
    account.container.tick()
    assert account.told("ticked") == []
    assert account.state("low").caught_up_ms is not None
    assert gc.get_freeze_count() == 0, "the tick has had it for a moment"


def test_few_owners_are_kept_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "KEPT_MAX", 2)
    account = _account()
    kept = warm.WarmOwners(account.clock.now_ms)
    for number in range(5):
        owner = account.container._owner("low")
        owner.shard = str(number)
        kept.keep(owner)
    assert kept.shards() == {"3", "4"}
    account.clock.seconds += warm.KEPT_MS / 1000 + 1
    kept.keep(owner)
    assert kept.shards() == {"4"}
    assert kept.take("4") is owner
    assert kept.take("4") is None
