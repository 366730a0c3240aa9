"""The demo's producer, a process of its own: `python -m consumer.entrypoints.demo.producer --stream clicks ...`.

It writes one JSON object a call to standard output: how many records are sent, and how many of them needed more than
one try. Records may be stored twice when an answer is lost; the recount reads the stream as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from consumer.entrypoints.demo.clickstream import Message, Scenario
from consumer.entrypoints.demo.clients import client
from consumer.errors import EXIT_FAILURE, EXIT_OK, RetryableError
from consumer.runtime import clock

CALL_RECORDS_MAX = 500
"""Kinesis' limit for one PutRecords."""
ATTEMPTS_MAX = 20
"""Tries without a single record accepted before the producer gives up."""
_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS_MAX = 2.0


class KinesisClient(Protocol):
    """What the producer calls of boto3's Kinesis client."""

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:  # noqa: N803 - AWS' names
        """PutRecords."""


@dataclass(slots=True)
class Producer:
    """Puts messages into a stream, in order but for records that had to be sent again.

    `rate` is records a second, None as fast as it goes.
    """

    kinesis: KinesisClient
    stream: str
    rate: float | None = None
    sleep: Callable[[float], object] = clock.sleep
    monotonic: Callable[[], float] = clock.monotonic
    sent: int = 0
    resent: int = 0
    _started: float = field(init=False, default=0.0)

    def send(self, messages: Iterable[Message], report: Callable[[Producer], None]) -> None:
        """Send all messages and report after each call; RetryableError when nothing is accepted any more."""
        self._started, before = self.monotonic(), self.sent
        for batch in _batches(messages, self._batch_records()):
            self._send_batch([{"Data": message.data, "PartitionKey": message.partition_key} for message in batch])
            report(self)
            self._keep_pace(self.sent - before)

    def _send_batch(self, records: list[dict[str, Any]]) -> None:
        attempt = 0
        while records:
            failed = self._put(records)
            self.sent += len(records) - len(failed)
            self.resent += len(failed)
            attempt = attempt + 1 if len(failed) == len(records) else 0
            if attempt == ATTEMPTS_MAX:
                raise RetryableError(f"{self.stream} accepted none of {len(records)} records in {attempt} tries")
            if failed:
                self.sleep(min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2**attempt))
            records = failed

    def _put(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what was not, or perhaps not, stored. An answer that is cut off has no members."""
        try:
            answer = self.kinesis.put_records(StreamName=self.stream, Records=records)
        except (BotoCoreError, ClientError):
            return records
        results = answer.get("Records", ())
        if len(results) != len(records) or "FailedRecordCount" not in answer:
            return records
        return [record for record, result in zip(records, results, strict=True) if "SequenceNumber" not in result]

    def _batch_records(self) -> int:
        """Return how many records go into a call: at a slow pace fewer, so that they come evenly."""
        return CALL_RECORDS_MAX if self.rate is None else max(1, min(CALL_RECORDS_MAX, int(self.rate / 5)))

    def _keep_pace(self, sent: int) -> None:
        if self.rate is None:
            return
        ahead_seconds = self._started + sent / self.rate - self.monotonic()
        if ahead_seconds > 0:
            self.sleep(ahead_seconds)


def _batches(messages: Iterable[Message], size: int) -> Iterator[list[Message]]:
    iterator = iter(messages)
    while batch := list(islice(iterator, size)):
        yield batch


def scenarios(
    first: Scenario, *, endless: bool, sending_ms: int | None = None, now_ms: Callable[[], int] = clock.now_ms
) -> Iterator[Scenario]:
    """Yield the scenario, and if endless one after the other that goes on where the last one ended.

    If sending one takes `sending_ms`, event time runs no faster than that once it has reached the present: events that
    are too far ahead of it would all be dead letters.
    """
    start_ms = first.start_ms
    for number in count() if endless else range(1):
        live_ms = first.span_ms if sending_ms is None else max(sending_ms, now_ms() - start_ms)
        span_ms = min(first.span_ms, live_ms)
        yield Scenario(first.events, start_ms, span_ms, first.disorder_ms, first.seed + number)
        start_ms += span_ms


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what the arguments say; return the exit status."""
    options = _parser().parse_args(arguments)
    first = Scenario(options.events, options.start_ms, options.span_ms, options.disorder_ms, options.seed)
    producer = Producer(client("kinesis"), options.stream, options.rate)
    sending_ms = round(options.events * 1000 / options.rate) if options.rate and options.endless else None
    try:
        for scenario in scenarios(first, endless=options.endless, sending_ms=sending_ms):
            producer.send(scenario.messages(), _report)
    except RetryableError as error:
        sys.stderr.write(f"producer: {error}\n")
        return EXIT_FAILURE
    return EXIT_OK


def _report(producer: Producer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode({"sent": producer.sent, "resent": producer.resent}) + b"\n")
    sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Sends the demo's events to a stream.")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--start-ms", type=int, required=True, help="event time of the first event")
    parser.add_argument("--span-ms", type=int, required=True, help="event time from the first to the last")
    parser.add_argument("--disorder-ms", type=int, required=True, help="how far events are out of order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, help="records a second; without it as fast as it goes")
    parser.add_argument("--endless", action="store_true", help="go on with more events of the same kind")
    return parser


if __name__ == "__main__":
    sys.exit(main())
