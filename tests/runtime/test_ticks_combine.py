"""Global windows in Lambda: what no batch comes for any more is combined by the tick of the schedule."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import pytest

from consumer.core.contributions import Contribution
from consumer.core.times import format_time
from consumer.errors import RetryableError
from consumer.pipeline.model import Pipeline
from consumer.records import Record
from consumer.runtime import global_part, invocations, tidying
from consumer.state.memory import Memory, MemoryStore
from tests.runtime.test_global_windows import LAST, GlobalFamily, global_pipeline
from tests.runtime.test_invocations import TIMEOUT_MS, Account
from tests.runtime.test_invocations_meet import Crossing, tick
from tests.runtime.world import Died

SEED = 11
"""Of its global windows rows are left when all batches were delivered."""
TICKS_MAX = 40


class GlobalAccount(Account, GlobalFamily):
    """An account whose pipeline has global windows."""

    def pipeline_of(self, seed: int) -> Pipeline:
        return global_pipeline(seed)

    def global_names(self) -> set[str]:
        return {window.name for window in self.program.pipeline.windows if window.buckets is not None}

    def combined(self) -> list[bytes]:
        """Return the rows of global windows that were sent, each as often as it was."""
        names = self.global_names()
        return [row for row in self.sink.rows if (told := json.loads(row)).get("window") in names and "final" in told]

    def put(self, shard: str, user: str, time_ms: int) -> None:
        """Let the stream have one more event."""
        records = self.leases[shard].records
        number = str(1 + int(records[-1].sequence_number or 0))
        data = json.dumps({"user": user, "at": time_ms, "i": 1, "j": 1, "f": 0.5, "s": "a", "b": True}).encode()
        records.append(Record(data, user, number, 0, time_ms))

    def tick(self) -> int:
        """Let the schedule come round when no invocation can be at work any more."""
        self.clock.seconds += TIMEOUT_MS / 1000 + 1
        return self.container.tick()

    def tick_until_done(self) -> None:
        """Tick until nothing is left to be done."""
        for _ in range(TICKS_MAX):
            if not self.tick():
                return
        raise AssertionError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "PORTION", 3)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)


def _delivered(seed: int = SEED, count: int = 60) -> GlobalAccount:
    account = GlobalAccount(seed, count, idle_after_ms=None)
    account.deliver_all()
    return account


@pytest.mark.parametrize("seed", [0, 5, 6, 7, 11, 12, 15, 17, 18, 20, 25, 29])
def test_a_tick_combines_what_no_batch_comes_for(seed: int) -> None:
    account = _delivered(seed, 90)
    before = len(account.combined())
    account.clock.seconds += TIMEOUT_MS / 2000
    assert account.container.tick() == 0, "an invocation may be at work"
    assert len(account.combined()) == before
    assert account.tick() > 0
    account.assert_exact()
    rows = account.combined()
    assert len(rows) > before
    assert len(set(rows)) == len(rows)
    states = {shard: account.state(shard) for shard in LAST}
    assert account.tick() == 0, "nothing is left"
    assert {shard: account.state(shard) for shard in LAST} == states
    assert account.combined() == rows


def test_a_cold_container_finds_what_is_combined() -> None:
    account = _delivered()
    account.tick_until_done()
    rows = account.combined()
    account.container = account.new_container()
    account.tick_until_done()
    assert account.combined() == rows
    account.assert_exact()


@pytest.mark.parametrize("limit", ["COMBINED_ROWS_MAX", "CONTRIBUTIONS_READ_MAX"])
def test_a_tick_leaves_what_is_too_much_for_one_to_the_next_ones(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    account = _delivered()
    monkeypatch.setattr(global_part, limit, 1)
    sizes = [len(account.combined())]
    while account.tick():
        sizes.append(len(account.combined()))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 4
    account.assert_exact()


def test_a_tick_without_time_leaves_all_to_the_next() -> None:
    account = _delivered()
    rows = account.combined()
    account.portions_left = 0
    assert account.tick() == 0
    assert account.combined() == rows
    account.portions_left = None
    account.tick_until_done()
    account.assert_exact()
    assert len(account.combined()) > len(rows)


def test_a_tick_goes_on_where_one_could_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    account = _delivered()
    read = MemoryStore.read_contributions

    def broken(self: MemoryStore, *arguments: Any, **options: Any) -> Iterator[Contribution]:
        yield from list(read(self, *arguments, **options))[:1]
        raise RetryableError("throttled")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "read_contributions", broken)
        account.tick()
    assert '"commit_retry"' in account.log.getvalue()
    account.tick_until_done()
    account.assert_exact()


def test_windows_wait_for_the_shard_that_is_behind_however_often_it_ticks() -> None:
    account = GlobalAccount(SEED, 60, idle_after_ms=None)
    behind = LAST[1]
    records, account.leases[behind].records = account.leases[behind].records, []
    account.deliver_all()
    account.tick_until_done()
    rows = account.combined()
    account.assert_exact()
    account.leases[behind].records = records
    account.deliver_all()
    account.tick_until_done()
    account.assert_exact()
    assert len(account.combined()) > len(rows), "they came with its records"
    assert account.combined()[: len(rows)] == rows


@pytest.mark.parametrize("seed", [0, 6, 11, 15])
def test_ticks_let_silent_shards_go_on_until_every_window_has_been_combined(seed: int) -> None:
    account = GlobalAccount(seed)
    account.deliver_all()
    before = len(account.combined())
    account.tick_until_done()
    rows = [json.loads(row) for row in account.combined()]
    contributed = {
        (each.window, format_time(each.start_ms), format_time(each.end_ms))
        for bucket in account.memory.contributions.values()
        for each in bucket.values()
    }
    assert {(row["window"], row["window_start"], row["window_end"]) for row in rows} == contributed
    assert len(rows) > before
    assert len(account.unique_rows()) == len(account.sink.rows)
    assert [account.state(shard).due_ms for shard in LAST] == [None, None]
    assert len({account.state(shard).watermark_ms for shard in LAST}) == 1


def test_a_tick_lets_a_shard_go_on_of_which_nothing_but_others_waits_for_it() -> None:
    account = GlobalAccount(SEED)
    account.deliver_all()
    account.tick_until_done()
    ahead, behind = LAST
    rows, before_ms = len(account.combined()), account.state(behind).watermark_ms
    account.put(ahead, "a", account.clock.now_ms())
    account.deliver_all()
    account.tick_until_done()
    assert len(account.combined()) > rows
    after_ms = account.state(behind).watermark_ms
    assert before_ms is not None
    assert after_ms is not None
    assert before_ms < after_ms == account.state(ahead).watermark_ms, "and no further"


# What dies, or is met


@cache
def _left() -> GlobalAccount:
    """Return what is left when all batches were delivered: never to be gone on with, but to be begun at."""
    return _delivered()


@cache
def _wanted() -> Mapping[str, bytes]:
    account = _begun()
    account.steps.clear()
    account.tick()
    calls = set(account.steps)
    assert {"before read_progress", "before read_contributions", "before advance", "before put"} <= calls
    account.assert_exact()
    assert len(account.combined()) > len(_left().combined())
    return account.unique_rows()


def _steps() -> int:
    """Return how many steps the tick has that combines what is left."""
    account = _begun()
    account.steps.clear()
    account.tick()
    return len(account.steps)


def _begun(kind: type[GlobalAccount] = GlobalAccount) -> GlobalAccount:
    """Return another account that goes on where all batches were delivered."""
    left, account = _left(), kind(SEED, 60, idle_after_ms=None)
    account.memory = copied(left.memory)
    account.sink.rows, account.delivered = left.sink.rows.copy(), left.delivered.copy()
    account.clock.seconds = left.clock.seconds
    account.container = account.new_container()
    return account


def copied(memory: Memory) -> Memory:
    """Return another one that holds the same."""
    return Memory(
        memory.pipeline,
        memory.application,
        memory.items.copy(),
        memory.objects.copy(),
        memory.ledgers.copy(),
        {bucket: held.copy() for bucket, held in memory.contributions.items()},
        memory.progress.copy(),
    )


def _tick_until_death(account: GlobalAccount, die_at: int) -> bool:
    """Tick; return whether the container died at a step of it."""
    account.steps.clear()
    account.die_at = die_at
    try:
        account.tick()
    except Died:
        account.container = account.new_container()
        return True
    finally:
        account.die_at = None
    return False


@pytest.mark.parametrize("batches_follow", [False, True])
def test_a_tick_that_dies_at_any_step_is_followed_by_another(*, batches_follow: bool) -> None:
    """Or by batches, which a mapping may deliver twice: they combine as well."""
    for die_at in range(_steps()):
        account = _begun()
        assert _tick_until_death(account, die_at)
        if batches_follow:
            for shard in LAST:
                assert account.container.batch(shard, account.leases[shard].records[-2:]) is None
        account.tick_until_done()
        assert account.unique_rows() == _wanted()
        assert not account.stored_rows()


def test_ticks_that_die_again_and_again_lose_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _wanted()
    monkeypatch.setattr(global_part, "COMBINED_ROWS_MAX", 10)
    for die_at in range(0, _steps(), 5):
        account = _begun()
        deaths = [_tick_until_death(account, at) for at in (die_at, die_at // 2, die_at + 3, die_at)]
        assert any(deaths)
        account.tick_until_done()
        assert account.unique_rows() == wanted


class GlobalCrossing(Crossing, GlobalAccount):
    """One in which another container may tick between two steps of a tick."""


def test_ticks_that_meet_at_any_step_combine_the_same() -> None:
    fenced = 0
    for visit_at in range(_steps()):
        account = _begun(GlobalCrossing)
        assert isinstance(account, GlobalCrossing)
        account.steps.clear()
        account.visit_at, account.visit = visit_at, partial(tick, account, account.new_container(), "")
        account.tick()
        assert account.visit is None, "somebody came"
        fenced += len(account.told("fenced"))
        account.tick_until_done()
        assert account.unique_rows() == _wanted()
    assert fenced
