"""Reading a stream with boto3, as tests need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


def iterator(kinesis: Any, stream: str, shard: str, kind: str = "TRIM_HORIZON", **where: Any) -> str:
    answer = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **where)
    return str(answer["ShardIterator"])


def read_all(kinesis: Any, stream: str, shard: str, **options: Any) -> tuple[list[Any], Any]:
    """Return the records of a shard up to its end or to now, and the last answer."""
    records: list[Any] = []
    following = iterator(kinesis, stream, shard)
    while True:
        answer = kinesis.get_records(ShardIterator=following, **options)
        records += answer["Records"]
        if "NextShardIterator" not in answer or not (answer["Records"] or answer["MillisBehindLatest"]):
            return records, answer
        following = answer["NextShardIterator"]


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Return the name, status and message of the error a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]
