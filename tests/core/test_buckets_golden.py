"""In which bucket of a global window a group is: fixed for ever, because workers of two versions must agree on it.

A bucket that changes here would give one group two rows, each of a part of its events, while a new version is rolled
out. Another rule needs other names: of the contributions, and of the windows' hash.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.core.combining import Bucket, buckets
from consumer.core.compile import Program, compile_pipeline
from consumer.core.completion import LAST_HASH_KEY
from consumer.core.processor import Processor
from consumer.pipeline.load import load_text
from consumer.records import HashRange, Record
from tests.core.combining_rig import contributions_of

FILE = """
pipeline: golden
source: {stream: clicks}
events:
  fields: {at: timestamp, page: "string?", n: "float?", i: "int?", flag: "bool?", sent: "timestamp?"}
  time: at
windows:
  views: {tumbling: 10s, by: [BY], combine: true, buckets: BUCKETS, select: {events: count()}}
sinks: [{stdout: {}}]
state: {table: state}
"""


def _program(by: str, buckets: int) -> Program:
    text = FILE.replace("BY", by).replace("BUCKETS", str(buckets))
    return compile_pipeline(load_text(text, "golden.yaml", {}), keys_required=False)


def _bucket(by: str, buckets: int, members: dict[str, Any]) -> int:
    """Return the bucket that the group of an event is contributed to."""
    processor = Processor(_program(by, buckets), "shardId-000000000000")
    event = Record(json.dumps({"at": 1_700_000_000_000, **members}).encode(), arrival_ms=1_700_000_000_000)
    rows = [*processor.apply([event]).rows, *processor.close_all().rows]
    (contribution,) = contributions_of(rows)
    return contribution.bucket


GOLDEN: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    ("page", {"page": "home"}, (5, 1)),
    ("page", {"page": ""}, (1, 30)),
    ("page", {"page": "Ä😀"}, (6, 56)),
    ("page", {"page": "7"}, (3, 86)),
    ("page", {"page": None}, (4, 66)),
    ("n", {"n": 0.0}, (2, 41)),
    ("n", {"n": -0.0}, (2, 41)),
    ("n", {"n": 1.0}, (2, 48)),
    ("n", {"n": 1.5}, (5, 81)),
    ("n", {"n": 1e300}, (0, 82)),
    ("n", {"n": None}, (4, 66)),
    ("i", {"i": 0}, (5, 21)),
    ("i", {"i": 1}, (4, 20)),
    ("i", {"i": -1}, (0, 6)),
    ("i", {"i": 9223372036854775807}, (6, 36)),
    ("i", {"i": -9223372036854775808}, (3, 55)),
    ("flag", {"flag": False}, (6, 33)),
    ("flag", {"flag": True}, (3, 27)),
    ("flag", {"flag": None}, (4, 66)),
    ("sent", {"sent": 0}, (5, 21)),
    ("sent", {"sent": 1700000000000}, (2, 76)),
    ("sent", {"sent": -1}, (0, 6)),
    ("page, i", {"page": "home", "i": 7}, (2, 11)),
    ("i, page", {"page": "home", "i": 7}, (6, 46)),
    ("page, i", {"page": None, "i": None}, (5, 5)),
    ("page, n, i, flag, sent", {"page": "home", "n": 0.5, "i": 7, "flag": True, "sent": 12}, (1, 14)),
    ("", {}, (2, 80)),
]


@pytest.mark.parametrize(("by", "members", "expected"), GOLDEN)
def test_a_group_stays_in_its_bucket(by: str, members: dict[str, Any], expected: tuple[int, int]) -> None:
    """Of 7 buckets, and of 100."""
    assert (_bucket(by, 7, members), _bucket(by, 100, members)) == expected


def test_a_bucket_stays_with_the_shard_that_combines_it() -> None:
    """Of four shards, each with a quarter of the hash keys; it goes by the names of pipeline and window."""
    program, quarter = _program("page", 12), (LAST_HASH_KEY + 1) // 4
    shards = [HashRange(quarter * number, quarter * (number + 1) - 1) for number in range(4)]
    assert [[each.bucket for each in buckets(program, shard)] for shard in shards] == [
        [2, 8],
        [1, 9],
        [0, 5, 6, 7],
        [3, 4, 10, 11],
    ]
    assert buckets(program, HashRange(0, LAST_HASH_KEY)) == [Bucket(0, number) for number in range(12)]
