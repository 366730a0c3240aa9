"""The records of the memory benchmark, made batch by batch so that they take no memory: any number of distinct keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from bench.core_jobs import pipeline
from consumer.core.times import format_time
from consumer.pipeline.model import Pipeline
from consumer.records import Record

BATCH = 1_000
START_MS = 1_790_000_000_000

SELECT = "events: count(), total: sum(amount), greatest: max(amount)"
"""Three aggregates."""


def window(kind: str, by: str = "user", select: str = SELECT, rest: str = "") -> Pipeline:
    """Return a pipeline with one window; `rest` has further members of the file."""
    return pipeline(f"windows:\n  bench: {{{kind}, by: [{by}], select: {{{select}}}}}\n{rest}")


def record(user: int, time_ms: int) -> Record:
    """Return one event. All keys have 13 characters."""
    key = f"user-{user:08d}"
    data = (
        f'{{"user":"{key}","time":"{format_time(time_ms)}","page":"/{user % 20}","kind":"view",'
        f'"amount":{user % 1000 / 8},"quantity":{1 + user % 4}}}'
    )
    return Record(data.encode(), partition_key=key, arrival_ms=time_ms)


def batches(users: Iterable[int], every_us: int, start_ms: int = START_MS) -> Iterator[list[Record]]:
    """Yield batches with an event of each user, one every `every_us` microseconds of event time."""
    numbered = enumerate(users)
    while batch := [record(user, start_ms + number * every_us // 1000) for number, user in islice(numbered, BATCH)]:
        yield batch
