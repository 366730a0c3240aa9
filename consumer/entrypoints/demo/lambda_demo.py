"""`make lambda-demo`: the demo's stream through the Lambda function, whose containers are killed at random.

The real runtime client runs the handler; a mapping of our own feeds it, delivers batches twice, old ones again, and
children before their parents; a shard is split and two are merged. A recount that shares no code with the function
says what must have come out. Exit status 0 only if nothing is missing or wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo import PIPELINE_FILE
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import Together, count_stream
from consumer.entrypoints.demo.processes import Children
from consumer.entrypoints.demo.producer import Producer
from consumer.entrypoints.demo.recount import Recount, are_combined, recount
from consumer.entrypoints.demo.runtime_api import LambdaFunction, tick_until
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.pipeline.load import load
from consumer.sources.kinesis import describe
from consumer.sources.mapping import UNCHECKED
from consumer.testing.mapping import EventSourceMapping, Habits

HANDLER = "consumer.entrypoints.lambda_handler.handler"
HABITS = Habits(duplicate=0.05, old_batch=0.05, throttled=0.1, early_child=0.1)
_SHARDS = 2
_PARTS = 3
"""The events come in so many parts; between them the stream is resharded."""
_START_MS = 1_767_225_600_000
_SPAN_MS = 3_600_000
_DISORDER_MS = 9_000
_KILL_SECONDS = (0.01, 1.5)
_TIMEOUT_SECONDS = 30.0
_COMBINED_SECONDS_MAX = 300.0


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(description="Runs the demo's stream through the Lambda function.")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--kills", type=float, default=0.1, help="share of invocations killed (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-lambda-") as directory,
        Emulator() as emulator,
        Children(Path(directory)) as children,
    ):
        play = _Play(emulator, children, events=options.events, kills=options.kills, random=Random(options.seed))  # noqa: S311 - repeatable
        found = play.run()
    expected = sum(each.expected for each in (found.results, found.late, found.dead_letters))
    _tell(
        f"{expected:,} rows expected: {found.missing} missing, {found.wrong} wrong, "
        f"{found.duplicates:,} duplicates removed"
    )
    return EXIT_OK if found.is_right else EXIT_FAILURE


class _Play:
    def __init__(self, emulator: Emulator, children: Children, *, events: int, kills: float, random: Random) -> None:
        environ = environment_for(emulator.endpoint, environment())
        self._pipeline = load(PIPELINE_FILE, environ)
        self._cloud = Cloud(self._pipeline, environ)
        self._cloud.prepare(_SHARDS, "nobody")
        self._client: Any = emulator.client("kinesis")
        self._events = events
        self._kills = kills
        self._random = random
        settings = {"STREAMGAUGE_PIPELINE": str(PIPELINE_FILE), UNCHECKED: "yes"}
        self._function = LambdaFunction(children, environ | settings, handler=HANDLER, timeout_seconds=_TIMEOUT_SECONDS)

    def run(self) -> Recount:
        """Deliver everything, and recount."""
        stream = self._pipeline.source.stream
        arn = describe(self._client, stream).arn
        with self._function:
            mapping = EventSourceMapping(
                self._client, stream, arn, self._invoke, batch_size=100, random=self._random, habits=HABITS
            )
            for part in range(_PARTS):
                if part:
                    self._reshard(part)
                start_ms = _START_MS + part * _SPAN_MS
                events = Scenario(self._events // _PARTS, start_ms, _SPAN_MS, _DISORDER_MS, part).messages()
                Producer(self._client, stream).send(events, lambda _: None)
                while not mapping.drained():
                    pass
                _tell(
                    f"part {part + 1} of {_PARTS}: {self._function.containers} containers so far, "
                    f"{mapping.failed} batches handed back or lost with theirs"
                )
            counted = count_stream(self._pipeline, self._cloud.shards(), 0, self._cloud.records)
            self._tick_until_combined(counted)
        return recount(self._pipeline, counted, self._cloud.delivered())

    def _tick_until_combined(self, counted: Together) -> None:
        """Do what the schedule does, until global windows that are complete have their rows, or ought to have them."""
        ticks = tick_until(
            lambda: are_combined(self._pipeline, counted, self._cloud.delivered()),
            self._invoke,
            seconds_max=_COMBINED_SECONDS_MAX,
        )
        _tell(f"{ticks} ticks until {len(counted.combined.rows):,} rows of global windows were there")

    def _reshard(self, part: int) -> None:
        shards = sorted((one for one in self._cloud.shards() if not one.closed), key=lambda one: int(one.hash_range[0]))
        if part % 2:
            _tell(f"splitting {shards[0].id}")
            self._cloud.split(shards[0])
        else:
            _tell(f"merging {shards[-2].id} and {shards[-1].id}")
            self._cloud.merge(shards[-2], shards[-1])

    def _invoke(self, event: Mapping[str, Any]) -> Any:
        killed = self._random.random() < self._kills
        return self._function.invoke(event, kill_after_seconds=self._random.uniform(*_KILL_SECONDS) if killed else None)


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
