"""Invocations that meet: at any step of one, the tick or another invocation does all of its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consumer.errors import RetryableError
from consumer.runtime import invocations, tidying
from consumer.runtime.invocations import Invocations
from tests.runtime.test_invocations import TIMEOUT_MS, Account, _deliver_before
from tests.seeds import deep_only

BATCH = 5
Visit = Callable[["Crossing", Invocations, str], object]


class Crossing(Account):
    """An account in which somebody else's work may fall between two steps of an invocation."""

    visit_at: int | None = None
    visit: Callable[[], object] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.committed: set[bytes] = set()
        super().__init__(*arguments, **options)

    def stored_outbox(self) -> set[bytes]:
        """Return the rows that a commit held: who was overtaken may send what another has sent already."""
        return self.committed

    def step(self, name: str) -> None:
        if name == "after advance":
            self.committed |= super().stored_outbox()
        super().step(name)
        if self.visit is not None and len(self.steps) - 1 == self.visit_at:
            visit, self.visit = self.visit, None
            visit()


def tick(account: Crossing, other: Invocations, _: str) -> None:
    """Tick as if the invocation had been stopped for longer than any may take, and went on all the same."""
    account.clock.seconds += TIMEOUT_MS / 1000 + 1
    other.tick()


def the_same_batch(account: Crossing, other: Invocations, shard: str) -> None:
    _invoke(account, other, shard, account.delivered[shard])


def the_batch_before(account: Crossing, other: Invocations, shard: str) -> None:
    _invoke(account, other, shard, max(0, account.delivered[shard] - BATCH))


def _invoke(account: Crossing, other: Invocations, shard: str, first: int) -> None:
    """Invoke the function in another container; nobody waits for its answer."""
    try:
        other.batch(shard, account.leases[shard].records[first : first + BATCH])
    except RetryableError:
        assert shard != "low", "it has no parents to wait for"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "PORTION", 3)
    monkeypatch.setattr(tidying, "_FIRST_WAIT_SECONDS", 0.0)


def _account(shard: str, batches_before: int) -> Crossing:
    account = Crossing(11, 40)
    _deliver_before(account, shard)
    for _ in range(batches_before):
        account.invoke(shard, account.batch(shard, BATCH))
    account.steps.clear()
    return account


@pytest.mark.parametrize(
    ("shard", "batches_before", "visit"),
    [("low", 1, tick), ("low", 1, the_batch_before), deep_only("merged", 0, tick), ("merged", 0, the_same_batch)],
)
def test_work_of_another_at_any_step_loses_and_doubles_nothing(shard: str, batches_before: int, visit: Visit) -> None:
    undisturbed = _account(shard, batches_before)
    undisturbed.invoke(shard, undisturbed.batch(shard, BATCH))
    steps = len(undisturbed.steps)
    fenced = 0
    for at in range(steps):
        account = _account(shard, batches_before)
        other = account.new_container()
        account.visit_at = at
        account.visit = lambda account=account, other=other: visit(account, other, shard)
        before = account.delivered[shard]
        account.invoke(shard, account.batch(shard, BATCH))
        assert account.visit is None, "somebody came"
        fenced += '"fenced"' in account.log.getvalue()
        if account.delivered[shard] > before:
            assert not account.state(shard).outbox_rows, "no success is told while a row is unsent"
        account.deliver_all()
        account.assert_exact()
    assert steps > 3
    assert fenced or visit is tick
