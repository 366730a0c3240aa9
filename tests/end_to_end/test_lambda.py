"""The function in the real runtime client, fed as an event source mapping feeds it, and killed at random."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from consumer.entrypoints.demo.runtime_api import LambdaFunction
from consumer.sources.kinesis import describe
from consumer.sources.mapping import UNCHECKED
from consumer.testing.mapping import EventSourceMapping, Habits
from tests.end_to_end.rig import Rig

pytestmark = [pytest.mark.xdist_group("lambda")]
SHARDS = 2
HANDLER = "consumer.entrypoints.lambda_handler.handler"
TIMEOUT_SECONDS = 20.0
"""The tick waits so long for an invocation that may still be at work."""
HABITS = Habits(duplicate=0.05, old_batch=0.05, throttled=0.1, early_child=0.1)


def test_a_function_that_is_killed_at_random_loses_and_doubles_nothing(rig: Rig) -> None:
    random = Random(5)
    environ = {**rig.environ, "STREAMGAUGE_PIPELINE": str(rig.file), UNCHECKED: "yes"}
    client: Any = rig.emulator.client("kinesis")
    stream = rig.pipeline.source.stream
    with LambdaFunction(rig.children, environ, handler=HANDLER, timeout_seconds=TIMEOUT_SECONDS) as function:

        def invoke(event: dict[str, Any]) -> Any:
            if not mapping.failed:
                return function.invoke(event, kill_after_seconds=0.01)  # a cold start takes longer
            dies = random.random() < 0.3
            return function.invoke(event, kill_after_seconds=random.uniform(0.01, 0.4) if dies else None)

        mapping = EventSourceMapping(
            client, stream, describe(client, stream).arn, invoke, batch_size=100, random=random, habits=HABITS
        )
        rig.put(1_000)
        while not mapping.drained():
            pass
        first, *_ = rig.cloud.shards()
        rig.cloud.split(first)
        rig.put(1_000, seed=2, offset_ms=3_600_000)
        while not mapping.drained():
            pass
        assert function.invoke({"source": "aws.events", "detail-type": "Scheduled Event"})["shards"] >= 0
        rig.tick_until_combined(function)
        assert function.containers > 1
        assert mapping.failed > 0
        counted = rig.recount()
        assert counted.is_right, counted
        assert '"_aws"' in function.output()
