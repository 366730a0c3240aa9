"""Hand-overs of leases that the daemon has forgotten: finished after a time, by who hands over, never early."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import cast

import pytest

from consumer.errors import RetryableError
from consumer.runtime.handovers import LOOK_SECONDS, PENDING_SECONDS_MAX, HandoverWatch
from consumer.sources.leases import Lease
from consumer.telemetry.events import Telemetry

FAILOVER_SECONDS = 10.0


class Told:
    """What of telemetry is called."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, str | None]] = []
        self.errors: list[BaseException] = []
        self.unheld: list[int] = []

    def leases_seen(self, *, unheld: int) -> None:
        self.unheld.append(unheld)

    def handover_finished(self, *, shard: str, new_owner: str | None) -> None:
        self.finished.append((shard, new_owner))

    def handovers_not_seen(self, *, error: BaseException) -> None:
        self.errors.append(error)


class Table:
    def __init__(self, *leases: Lease) -> None:
        self.leases = {lease.shard: lease for lease in leases}
        self.finished: list[Lease] = []
        self.seconds = 0.0
        self.trouble = False
        self.told = Told()
        telemetry = cast("Telemetry", self.told)
        self.watch = HandoverWatch(
            "me", self._read, self._finish, telemetry, lambda: self.seconds, failover_seconds=FAILOVER_SECONDS
        )

    def _read(self) -> dict[str, Lease]:
        if self.trouble:
            raise RetryableError("throttled")
        return self.leases

    def _finish(self, lease: Lease) -> bool:
        self.finished.append(lease)
        return self.leases.get(lease.shard) == lease

    def pass_seconds(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_SECONDS)):
            self.seconds += LOOK_SECONDS
            self.watch.look()


def lease(shard: str, owner: str | None, from_owner: str | None, counter: int = 7) -> Lease:
    return Lease(shard, owner, counter, "TRIM_HORIZON", 0, from_owner)


def test_a_hand_over_that_hangs_is_finished() -> None:
    hanging = lease("shard-1", "other", "me")
    table = Table(lease("shard-0", "me", None), hanging)
    table.pass_seconds(PENDING_SECONDS_MAX)
    assert not table.finished, "the daemon has its time"
    table.pass_seconds(2 * LOOK_SECONDS)
    assert table.finished[0] == hanging
    assert table.told.finished[0] == ("shard-1", "other")


def test_what_others_hand_over_is_theirs() -> None:
    table = Table(lease("shard-0", "me", "other"), lease("shard-1", "other", "third"))
    table.pass_seconds(4 * PENDING_SECONDS_MAX)
    assert not table.finished


def test_the_time_begins_anew_with_another_hand_over() -> None:
    table = Table(lease("shard-0", "a", "me"))
    table.pass_seconds(PENDING_SECONDS_MAX)
    table.leases = {"shard-0": lease("shard-0", "me", None)}
    table.pass_seconds(LOOK_SECONDS)
    table.leases = {"shard-0": lease("shard-0", "a", "me")}
    table.pass_seconds(PENDING_SECONDS_MAX)
    assert not table.finished
    table.leases = {"shard-0": lease("shard-0", "b", "me")}
    table.pass_seconds(PENDING_SECONDS_MAX)
    assert not table.finished


def test_renewals_do_not_count_as_progress() -> None:
    table = Table(lease("shard-0", "a", "me"))
    for counter in range(10):
        table.leases = {"shard-0": lease("shard-0", "a", "me", counter)}
        table.pass_seconds(LOOK_SECONDS)
    assert table.finished


def test_trouble_is_told_and_passes() -> None:
    table = Table(lease("shard-0", "a", "me"))
    table.trouble = True
    table.pass_seconds(LOOK_SECONDS)
    assert table.told.errors
    table.trouble = False
    table.pass_seconds(PENDING_SECONDS_MAX + 2 * LOOK_SECONDS)
    assert table.finished


def test_it_looks_in_a_thread_of_its_own_and_what_nobody_had_foreseen_is_raised() -> None:
    table = Table(lease("shard-0", "a", "me"))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            table.leases = {"shard-0": None}  # type: ignore[dict-item]  # what no reading returns
        return len(waits) > 3

    table.watch.start(wait)
    for thread in threading.enumerate():
        if thread.name == "hand-overs":
            thread.join(10)
    assert waits == [LOOK_SECONDS] * 3
    with pytest.raises(AttributeError):
        table.watch.check()


def renew(table: Table, *shards: str) -> None:
    for shard in shards:
        table.leases[shard] = replace(table.leases[shard], counter=table.leases[shard].counter + 3)


def test_leases_that_nobody_holds_are_told() -> None:
    ended = replace(lease("shard-2", None, None), checkpoint="SHARD_END")
    table = Table(lease("shard-0", "me", None), lease("shard-1", "other", None), ended)
    for _ in range(3):
        renew(table, "shard-0", "shard-1")
        table.pass_seconds(LOOK_SECONDS)
    assert table.told.unheld == [0, 0, 0]
    for _ in range(3):
        renew(table, "shard-0")
        table.pass_seconds(LOOK_SECONDS)
    assert table.told.unheld[3:] == [0, 1, 1], "not before its time-out has passed, and a look more"
    table.leases["shard-1"] = lease("shard-1", "me", None, counter=30)
    renew(table, "shard-0")
    table.pass_seconds(LOOK_SECONDS)
    assert table.told.unheld[-1] == 0
    table.leases["shard-1"] = lease("shard-1", None, None, counter=31)
    renew(table, "shard-0")
    table.pass_seconds(LOOK_SECONDS)
    assert table.told.unheld[-1] == 1, "nobody's at all: at once"
