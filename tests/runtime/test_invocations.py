"""The shards of a stream in Lambda: batches that fail, come twice, or too late; containers that die; the tick."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any, Literal, cast

import msgspec
import pytest

from consumer.errors import CorruptStateError, RefusedError, RetryableError
from consumer.pipeline.model import Pipeline
from consumer.records import HashRange, Position, Record
from consumer.runtime import commit, invocations, tidying
from consumer.runtime.invocations import Invocations
from consumer.runtime.surroundings import Retention, ShardOrigin, Surroundings
from consumer.sources.reading import Behind
from consumer.state.base import Claim, StateStore
from consumer.state.memory import MemoryStore
from tests.random_streams import records
from tests.runtime.test_resharding import GENERATIONS, ORIGINS, Family
from tests.runtime.world import Died, random_pipeline
from tests.seeds import deep_only

TIMEOUT_MS = 60_000


class Account(Family):
    """A family whose shards a mapping delivers: nobody says when one has ended."""

    def __init__(
        self,
        seed: int,
        count: int = 60,
        *,
        idle_after_ms: int | None = 12_000,
        on_gap: Literal["refuse", "continue"] = "refuse",
        retention_ms: int | None = None,
    ) -> None:
        self.retention_ms = retention_ms
        self.open: set[str] = set(GENERATIONS[-1])
        pipeline = self.pipeline_of(seed)
        events = dataclasses.replace(pipeline.events, idle_after_ms=idle_after_ms)
        state = dataclasses.replace(pipeline.state, on_gap=on_gap)
        super().__init__(dataclasses.replace(pipeline, events=events, state=state), list(records(Random(seed), count)))
        self.delivered = dict.fromkeys(ORIGINS, 0)
        self.portions_left: int | None = None
        self.gone = ""
        self.container = self.new_container()

    def pipeline_of(self, seed: int) -> Pipeline:
        return random_pipeline(seed)

    def new_container(self) -> Invocations:
        return Invocations(self.surroundings(), self, self)

    def surroundings(self, store: StateStore | None = None) -> Surroundings:
        kept = None if self.retention_ms is None else Retention(self.retention_ms, self.behind)
        return dataclasses.replace(super().surroundings(store), retention=kept)

    def behind(self, shard: str, position: Position | None, hash_range: HashRange) -> Behind:
        self.step("before read")
        assert hash_range == ORIGINS[shard].hash_range
        if shard == self.gone:
            return Behind(None, ended=True, is_whole=False)
        left = [Position.of(each) for each in self.leases[shard].records]
        first = next((each for each in left if position is None or each > position), None)
        ended = first is None and shard not in self.open
        return Behind(first, ended, is_whole=position is not None and position in left)

    def origins(self) -> dict[str, ShardOrigin]:
        return {shard: origin for shard, origin in ORIGINS.items() if shard != self.gone}

    def is_spent(self) -> bool:
        if self.portions_left is None:
            return False
        self.portions_left -= 1
        return self.portions_left < 0

    def timeout_ms(self) -> int:
        return TIMEOUT_MS

    def batch(self, shard: str, size: int) -> list[Record]:
        first = self.delivered[shard]
        return self.leases[shard].records[first : first + size]

    def invoke(self, shard: str, batch: Sequence[Record]) -> None:
        """Invoke the function, and go by its answer as a mapping does; a container that dies is replaced."""
        try:
            again = self.container.batch(shard, batch)
        except (Died, RetryableError) as error:
            if isinstance(error, Died):
                self.container = self.new_container()
            return
        numbers = [record.sequence_number for record in batch]
        self.delivered[shard] += len(batch) if again is None else numbers.index(again)

    def deliver_all(self, size: int = 7) -> None:
        self.die_at = None
        for shard in ORIGINS:
            for _ in range(500):
                if not (batch := self.batch(shard, size)):
                    break
                self.invoke(shard, batch)
            assert not self.batch(shard, 1), f"{shard} makes no progress"

    def stored_rows(self) -> int:
        """Return how many rows wait in the outboxes."""
        return len(self.stored_outbox())


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "PORTION", 3)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)


@pytest.mark.parametrize("seed", range(25))
def test_the_rows_are_those_of_the_recount_however_records_are_delivered(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers warm, cold and dying, batches of any size, twice, and old ones again, time that runs out."""
    random = Random(seed)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 500, 8192]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    account = Account(seed, 90)
    other = account.new_container()
    for shard in ORIGINS:
        while batch := account.batch(shard, random.randint(1, 12)):
            if random.random() < 0.3:
                account.container, other = other, account.container
            if random.random() < 0.2:
                account.container = account.new_container()
            account.portions_left = random.choice([None, None, 1, 2])
            account.die_at = len(account.steps) + random.randrange(25) if random.random() < 0.5 else None
            if random.random() < 0.2:
                first = random.randrange(account.delivered[shard] + 1)
                old = account.leases[shard].records[first : first + 4]
                before = account.delivered[shard]
                account.invoke(shard, old)
                account.delivered[shard] = before
            account.invoke(shard, batch)
    account.die_at = account.portions_left = None
    account.assert_exact()
    assert account.unique_rows()


@pytest.mark.parametrize("shard", ["high", "merged", deep_only("split-2")])
def test_a_death_at_any_step_of_an_invocation_loses_and_doubles_nothing(shard: str) -> None:
    undisturbed = Account(11)
    _deliver_before(undisturbed, shard)
    undisturbed.steps.clear()
    undisturbed.invoke(shard, undisturbed.batch(shard, 9))
    steps = len(undisturbed.steps)
    assert steps
    for die_at in range(steps):
        account = Account(11)
        _deliver_before(account, shard)
        account.steps.clear()
        account.die_at = die_at
        account.invoke(shard, account.batch(shard, 9))
        account.deliver_all()
        account.assert_exact()


def _deliver_before(account: Account, shard: str) -> None:
    for each in list(ORIGINS)[: list(ORIGINS).index(shard)]:
        while batch := account.batch(each, 7):
            account.invoke(each, batch)


def test_no_success_is_told_while_a_row_is_unsent() -> None:
    account = Account(11)
    account.stopping = True
    while (batch := account.batch("low", 5)) and not account.sink.rows:
        account.sink.down = 1
        before, unsent = account.delivered["low"], account.stored_rows()
        account.invoke("low", batch)
        if account.stored_rows() > unsent and not account.sink.rows:
            assert account.delivered["low"] == before, "rows were stored, not sent, and the batch was taken as done"
            break
    else:
        pytest.fail("no row was ever to be sent")
    account.stopping, account.sink.down = False, 0
    account.deliver_all()
    account.assert_exact()


def test_a_batch_for_which_there_is_no_time_is_taken_up_to_a_record() -> None:
    account = Account(5)
    account.portions_left = 1
    batch = account.batch("low", 10)
    assert len(batch) == 10
    assert account.container.batch("low", batch) == batch[6].sequence_number
    state = account.state("low")
    assert state.position == Position.of(batch[5])
    assert not state.outbox_rows


def test_a_gap_is_refused_and_nothing_is_counted() -> None:
    account = Account(5)
    account.invoke("low", account.batch("low", 4))
    account.delivered["low"] += 2
    before = account.state("low")
    with pytest.raises(RefusedError, match="was never delivered"):
        account.new_container().batch("low", account.batch("low", 4))
    assert account.state("low") == before
    account.delivered["low"] -= 2
    account.deliver_all()
    account.assert_exact()


def test_a_container_that_had_the_batch_before_looks_for_a_gap_too() -> None:
    account = Account(5)
    account.invoke("low", account.batch("low", 4))
    account.delivered["low"] += 2
    account.clock.seconds += 60
    with pytest.raises(RefusedError, match="was never delivered"):
        account.container.batch("low", account.batch("low", 4))


def test_a_batch_that_another_container_failed_with_a_moment_ago_is_missed() -> None:
    """A mapping that is told not to try again goes on behind it at once."""
    account = Account(5)
    account.invoke("low", account.batch("low", 4))
    before = account.state("low")
    account.delivered["low"] += 2
    with pytest.raises(RefusedError, match="was never delivered"):
        account.container.batch("low", account.batch("low", 4))
    assert account.state("low") == before


def test_a_gap_is_passed_where_the_file_says_so() -> None:
    account = Account(5, on_gap="continue")
    account.invoke("low", account.batch("low", 4))
    before = account.state("low").position
    account.delivered["low"] += 2
    batch = account.batch("low", 4)
    assert account.new_container().batch("low", batch) is None
    assert account.state("low").position == Position.of(batch[-1])
    assert before is not None
    (gap,) = account.told("gap_passed")
    assert (gap["shard"], gap["counted_to"]) == ("low", str(before.sequence))
    assert gap["goes_on"] == batch[0].sequence_number


def test_a_shard_whose_first_records_were_not_delivered_is_refused() -> None:
    account = Account(5)
    account.delivered["low"] = 3
    with pytest.raises(RefusedError, match="before it was never delivered"):
        account.container.batch("low", account.batch("low", 4))


def test_a_child_waits_for_the_records_of_its_parents() -> None:
    account = Account(5)
    _deliver_before(account, "high")
    account.invoke("high", account.batch("high", 3))
    with pytest.raises(RefusedError, match="high has records that are to come"):
        account.container.batch("merged", account.batch("merged", 4))
    assert "merged" not in account.memory.items
    account.deliver_all()
    account.assert_exact()


def test_a_batch_of_an_ended_shard_is_answered_and_not_counted() -> None:
    account = Account(5)
    account.deliver_all()
    before = account.state("merged") if account.memory.items["merged"].state else None
    assert account.new_container().batch("merged", account.leases["merged"].records[-3:]) is None
    after = account.memory.items["merged"].state
    assert after == before
    account.assert_exact()


def test_memory_that_is_out_of_date_is_found_out() -> None:
    account = Account(11)
    first, second = account.container, account.new_container()
    for number in range(6):
        account.container = (first, second)[number % 2]
        account.invoke("low", account.batch("low", 3))
        if number % 3 == 2:  # the whole batch comes again, in the other container: it seems to go on where that was
            account.delivered["low"] -= 3
    assert "fenced" in account.log.getvalue()
    account.deliver_all()
    account.assert_exact()


def test_a_tick_sends_what_a_dead_invocation_has_stored() -> None:
    account = Account(11)
    while not account.memory.items.get("low") or not account.state("low").outbox_rows:
        account.dies_before = "put"
        account.invoke("low", account.batch("low", 5))
        account.dies_before = None
    stored = set(account._outbox("low"))
    assert account.container.tick() == 0, "an invocation may be at work"
    account.clock.seconds += TIMEOUT_MS / 1000 + 1
    assert account.container.tick() >= 1
    assert stored <= set(account.sink.rows)
    assert not account.state("low").outbox_rows
    sent = len(account.sink.rows)
    account.clock.seconds += TIMEOUT_MS / 1000 + 1
    account.container.tick()
    assert not (stored & set(account.sink.rows[sent:])), "once is enough"
    account.deliver_all()
    account.assert_exact()


def _open_accounts() -> Iterator[tuple[Account, str]]:
    """Yield accounts all of whose records were delivered, and a shard in which a window waits for time to pass."""
    for seed in range(40):
        account = Account(seed)
        account.deliver_all()
        for shard in GENERATIONS[-1]:
            if account.memory.items.get(shard) and account.state(shard).due_ms is not None:
                yield account, shard
                break


def test_a_tick_closes_the_windows_of_a_shard_with_nothing_left_to_read() -> None:
    rows_of: list[int] = []
    for account, shard in islice(_open_accounts(), 5):
        before, rows = account.state(shard), len(account.sink.rows)
        assert before.due_ms is not None
        assert account.container.tick() == 0, "an invocation may be at work"
        account.clock.seconds += 10**9
        assert account.container.tick() >= 1
        rows_of.append(len(account.sink.rows) - rows)
        after = account.state(shard)
        assert after.due_ms is None
        assert after.position == before.position
        account.clock.seconds += 10**9
        assert account.container.tick() == 0, "nothing is open"
        assert account.state(shard) == after
    assert any(rows_of), "some windows had no row yet"


def test_a_shard_that_is_refused_keeps_no_other_from_the_tick() -> None:
    for refused, other in (GENERATIONS[-1], GENERATIONS[-1][::-1]):
        account = next(each for each, _ in _open_accounts() if None not in _due(each))
        item = account.memory.items[refused]
        assert item.state is not None
        account.memory.items[refused] = Claim(item.epoch, msgspec.structs.replace(item.state, generation=7))
        account.clock.seconds += 10**9
        with pytest.raises(RefusedError, match=f"{refused} belongs to another generation"):
            account.container.tick()
        assert account.state(refused).due_ms is not None
        assert account.state(other).due_ms is None


def test_an_item_that_cannot_be_read_keeps_no_other_shard_from_the_tick() -> None:
    for unreadable, other in (GENERATIONS[-1], GENERATIONS[-1][::-1]):
        account = next(each for each, _ in _open_accounts() if None not in _due(each))
        account.clock.seconds += 10**9
        store = Unreadable(account, unreadable)
        container = Invocations(account.surroundings(cast("StateStore", store)), account, account)
        epoch = account.memory.items[unreadable].epoch
        with pytest.raises(CorruptStateError, match=unreadable):
            container.tick()
        assert account.state(other).due_ms is None
        assert account.memory.items[unreadable].epoch == epoch, "who has it is not fenced"


class Unreadable:
    """A store in which one shard's item is damaged."""

    def __init__(self, account: Account, shard: str) -> None:
        self._store = MemoryStore(account.memory)
        self._shard = shard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, shard: str) -> Claim | None:
        if shard == self._shard:
            raise CorruptStateError(f"the item of {shard} has no epoch")
        return self._store.read(shard)

    def list_shards(self) -> dict[str, Claim]:
        return {shard: claim for shard in self._store.shard_names() if (claim := self.read(shard))}


def _due(account: Account) -> set[int | None]:
    claims = [account.memory.items.get(shard) for shard in GENERATIONS[-1]]
    return {None if claim is None or claim.state is None else claim.state.due_ms for claim in claims}


def test_nothing_is_kept_in_memory_of_shards_that_have_ended() -> None:
    account = Account(11)
    account.deliver_all()
    assert account.container._warm.shards() == set(GENERATIONS[-1])


def test_a_backlog_is_not_made_late_by_a_tick() -> None:
    account, shard = next(_open_accounts())
    unread = account.leases[shard].records[-1]
    account.leases[shard].records.append(
        msgspec.structs.replace(unread, sequence_number=str(int(unread.sequence_number or 0) + 1))
    )
    account.clock.seconds += 10**9
    before = account.state(shard)
    account.container.tick()
    assert account.state(shard) == before


def test_a_tick_begins_children_that_have_no_records() -> None:
    account = Account(11, idle_after_ms=None)
    for lease in ("merged", "split-1", "split-2"):
        account.leases[lease].records.clear()
    account.deliver_all()
    assert "merged" not in account.memory.items
    account.clock.seconds += TIMEOUT_MS / 1000 + 1
    for _ in range(3):
        account.container.tick()
        account.clock.seconds += TIMEOUT_MS / 1000 + 1
    assert account.state("split-1").commit_no >= 0
    assert account.state("split-2").commit_no >= 0
    assert account.memory.items["low"].retired or account.state("low").ended
    account.assert_exact()
