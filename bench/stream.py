"""The records of the benchmark: the demo's visitors, with what real click events carry besides, and one end a shard.

The last record of each shard is an event of now: it lies so far behind the others that it ends every window before
it, and every visit. So each event but these last ones is in a finished result, late, or a dead letter, and the sums
can be checked exactly.
"""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain, count, islice
from typing import Any
from urllib.parse import urlsplit

import msgspec

from consumer.core.times import format_time
from consumer.entrypoints.demo.clickstream import Message, Scenario
from consumer.errors import RetryableError
from consumer.runtime import clock
from consumer.sources.kinesis import ShardInfo

SHARDS = 4

_HOUR_MS = 3_600_000
_DISORDER_MS = 8_000
_SEED = 20_26
_PUT_RECORDS = 500
_UNREAD = tuple(
    f',"referrer":"https://{site}.example/{path}","agent":"Mozilla/5.0 ({system}; rv:130.0) Gecko/20100101"}}'.encode()
    for site, path in (("search", "results?q=shoes"), ("news", "2026/11/offers"), ("shop", ""))
    for system in ("X11; Linux x86_64", "Android 14; Mobile", "Macintosh; Intel Mac OS X 14.5")
)
"""Members that the pipeline does not read: most of what a click event is made of."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How records are made: scenarios of so many events each, one after the other, at so many events an hour.

    A scenario is repeated with other visitors as often as needed, so that more records are more of the same kind.
    """

    scenario_events: int
    events_an_hour: int

    def records(self, total: int, shards: Sequence[ShardInfo], now_ms: int) -> Iterator[Message]:
        """Return `total` records in the order of sending, the ends of the shards last."""
        start_ms = now_ms - 2 * _HOUR_MS - self._span_ms(total)
        messages = chain.from_iterable(self._scenarios(start_ms))
        return chain(widened(islice(messages, total - len(shards))), ends(shards, now_ms))

    def _scenarios(self, start_ms: int) -> Iterator[Iterator[Message]]:
        events, span_ms = self.scenario_events, self._span_ms(self.scenario_events)
        for number in count():
            yield Scenario(events, start_ms + number * span_ms, span_ms, _DISORDER_MS, _SEED + number).messages()

    def _span_ms(self, events: int) -> int:
        return events * _HOUR_MS // self.events_an_hour


def widened(messages: Iterable[Message]) -> Iterator[Message]:
    """Return the messages with the members that nobody reads; what does not end as an object stays as it is."""
    for number, (key, data) in enumerate(messages):
        if data.endswith(b"}"):
            yield Message(key, data[:-1] + _UNREAD[number % len(_UNREAD)])
        else:
            yield Message(key, data)


def ends(shards: Iterable[ShardInfo], now_ms: int) -> Iterator[Message]:
    """Return one event of now for each shard, of a user whose key belongs to that shard."""
    for shard in shards:
        first, last = map(int, shard.hash_range)
        user = next(name for name in map("end-{}".format, count()) if first <= _hash(name) <= last)
        yield Message(user, msgspec.json.encode({"user_id": user, "event_time": format_time(now_ms), "page": "/"}))


def put(endpoint: str, stream: str, messages: Iterable[Message]) -> dict[str, str]:
    """Put all messages in order; return the last sequence number of each shard.

    RetryableError if not every record is taken: the emulator does not throttle unless it is told to.
    """
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    last: dict[str, str] = {}
    iterator = iter(messages)
    while batch := list(islice(iterator, _PUT_RECORDS)):
        for taken in _put_batch(connection, stream, batch):
            last[taken["ShardId"]] = taken["SequenceNumber"]
    connection.close()
    return last


def _put_batch(connection: http.client.HTTPConnection, stream: str, batch: Sequence[Message]) -> list[dict[str, Any]]:
    body = {"StreamName": stream, "Records": [{"Data": data, "PartitionKey": key} for key, data in batch]}
    headers = {"X-Amz-Target": "Kinesis_20131202.PutRecords", "Content-Type": "application/x-amz-json-1.1"}
    connection.request("POST", "/", msgspec.json.encode(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != HTTPStatus.OK:
        raise RetryableError(f"PutRecords was answered with {answer.status}: {text[:200]!r}")
    taken = msgspec.json.decode(text)
    if taken["FailedRecordCount"] or len(taken["Records"]) != len(batch):
        raise RetryableError(f"PutRecords did not take {taken['FailedRecordCount']} of {len(batch)} records")
    found: list[dict[str, Any]] = taken["Records"]
    return found


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")


def now_ms() -> int:
    """Return the instant of the last records: now, in whole minutes, so that an end never lies in the future."""
    return clock.now_ms() // 60_000 * 60_000
