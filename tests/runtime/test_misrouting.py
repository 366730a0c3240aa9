"""Misrouted records: told once, with the cause as the stream tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, BinaryIO, cast

from consumer.core.counts import Counts
from consumer.errors import RetryableError
from consumer.runtime.misrouting import REPEAT_SECONDS, RETRY_SECONDS, MisroutingWatch
from consumer.runtime.shard import ShardRunner
from tests.random_streams import records
from tests.runtime.world import FAILOVER_SECONDS, SHARD, FakeDaemon, World, random_pipeline

MISROUTED = Counts(received=9, dead_letters={"misrouted": 3, "invalid_json": 1})
OTHERS = Counts(received=9, dead_letters={"invalid_json": 1})


class Rig:
    """A watch, a clock, a background, and a stream that answers as told."""

    def __init__(self) -> None:
        self.world = World(random_pipeline(0), records(Random(0), 60))
        self.tasks: list[Callable[[], None]] = []
        self.asked = 0
        self.answer: bool | Exception = False
        self.watch = MisroutingWatch(
            self._ask,
            telemetry=self.world.surroundings().telemetry,
            monotonic=self.world.clock.monotonic,
            in_background=self.tasks.append,
        )

    def _ask(self) -> bool:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def catch_up(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()

    def told(self) -> list[dict[str, Any]]:
        return self.world.told("stream_misroutes")


def test_nothing_is_asked_while_no_record_is_misrouted() -> None:
    rig = Rig()
    rig.watch.look(SHARD, OTHERS)
    rig.watch.look(SHARD, Counts())
    assert rig.tasks == []


def test_the_first_one_asks_the_stream_in_the_background_and_tells_the_cause() -> None:
    for answer, cause, remedy in (
        (True, "service_managed", "distributes its records by itself"),
        (False, "other_keys", "explicit hash key"),
    ):
        rig = Rig()
        rig.answer = answer
        rig.watch.look(SHARD, MISROUTED)
        assert rig.asked == 0, "the shard's thread does not wait for it"
        rig.catch_up()
        (line,) = rig.told()
        assert (line["level"], line["shard"], line["records"], line["cause"]) == ("error", SHARD, 3, cause)
        assert remedy in line["remedy"]


def test_it_is_told_once_an_hour_and_a_shard() -> None:
    rig = Rig()
    for _ in range(100):
        rig.watch.look(SHARD, MISROUTED)
        rig.catch_up()
    assert len(rig.told()) == 1
    rig.watch.look("another", MISROUTED)
    rig.catch_up()
    assert [line["shard"] for line in rig.told()] == [SHARD, "another"]
    rig.world.clock.seconds += REPEAT_SECONDS
    rig.answer = True
    rig.watch.look(SHARD, MISROUTED)
    rig.catch_up()
    assert rig.told()[-1]["cause"] == "service_managed", "it is asked anew"


def test_a_stream_that_cannot_be_asked_is_asked_again_later() -> None:
    rig = Rig()
    rig.answer = RetryableError("throttled")
    rig.watch.look(SHARD, MISROUTED)
    rig.catch_up()
    (line,) = rig.told()
    assert (line["cause"], "throttled" in line["error"]) == ("unknown", True)
    rig.watch.look(SHARD, MISROUTED)
    assert rig.tasks == []
    rig.world.clock.seconds += RETRY_SECONDS
    rig.answer = True
    rig.watch.look(SHARD, MISROUTED)
    rig.catch_up()
    assert rig.told()[-1]["cause"] == "service_managed"


def test_a_shard_that_is_served_is_looked_at() -> None:
    rig = Rig()
    daemon = FakeDaemon(rig.world)
    runner = ShardRunner(rig.world.surroundings(), failover_seconds=FAILOVER_SECONDS, misrouting=rig.watch)
    runner.run(cast("BinaryIO", daemon), cast("BinaryIO", daemon))
    reasons = [json.loads(row).get("reason") for row in rig.world.sink.rows]
    assert "misrouted" in reasons
    assert len(rig.tasks) == 1
