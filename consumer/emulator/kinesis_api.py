"""The operations of Kinesis: AWS' requests in, AWS' answers out; the streams themselves are in `kinesis`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consumer.emulator import kinesis_requests as requests
from consumer.emulator.errors import AwsError, constraint, invalid
from consumer.emulator.faults import Strike
from consumer.emulator.kinesis import (
    PAGE_RECORDS_MAX,
    Kinesis,
    end_index,
    expired_iterator,
    first_index,
    index_at_sequence,
    index_at_time,
    open_iterator,
    parse_hash_key,
    rate_exceeded,
    shards_after,
)
from consumer.emulator.limits import MIB
from consumer.emulator.service import AwsJsonService, Call, Operation, Result
from consumer.emulator.streams import Placed, PutEntry, Shard, Stream
from consumer.emulator.tokens import LIFE_MS, ShardsPage, seal, unseal
from consumer.emulator.wire import Timestamp

BATCH_BYTES_MAX = 10 * MIB
ON_DEMAND_SHARDS = 4
DATA_OPERATIONS = ("GetRecords", "GetShardIterator", "PutRecord", "PutRecords")


class KinesisApi:
    """The operations, one method each, named as AWS names them."""

    def __init__(self, kinesis: Kinesis) -> None:
        self._kinesis = kinesis

    # Streams

    def CreateStream(self, request: requests.CreateStream, _strike: Strike) -> Result:
        """Make a stream."""
        mode = request.stream_mode_details.stream_mode if request.stream_mode_details else "PROVISIONED"
        count = request.shard_count or (ON_DEMAND_SHARDS if mode == "ON_DEMAND" else None)
        if count is None:
            raise constraint("shardCount", "not be null")
        bytes_max = request.max_record_size_in_kib * 1024
        self._kinesis.create_stream(request.stream_name, count, mode=mode, record_bytes_max=bytes_max)
        return {}

    def DeleteStream(self, request: requests.DeleteStream, _strike: Strike) -> Result:
        """Delete a stream."""
        self._kinesis.delete_stream(_name(request))
        return {}

    def DescribeStream(self, request: requests.DescribeStream, _strike: Strike) -> Result:
        """Describe a stream with a page of its shards."""
        with self._kinesis.lock:
            stream = self._kinesis.stream(_name(request))
            shards = shards_after(list(stream.shards.values()), request.exclusive_start_shard_id)
            page = [_describe(stream, shard) for shard in shards[: request.limit]]
            common = _describe_stream(stream)
        return {"StreamDescription": {**common, "Shards": page, "HasMoreShards": len(page) < len(shards)}}

    def DescribeStreamSummary(self, request: requests.DescribeStreamSummary, _strike: Strike) -> Result:
        """Describe a stream without its shards."""
        with self._kinesis.lock:
            stream = self._kinesis.stream(_name(request))
            summary = {
                **_describe_stream(stream),
                "OpenShardCount": len(stream.open_shards),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": stream.record_bytes_max // 1024,
            }
        return {"StreamDescriptionSummary": summary}

    def ListStreams(self, request: requests.ListStreams, _strike: Strike) -> Result:
        """List streams in order of name; the page token is the last name."""
        after = request.next_token or request.exclusive_start_stream_name or ""
        with self._kinesis.lock:
            names = [name for name in self._kinesis.names() if name > after]
            page = [self._kinesis.stream(name) for name in names[: request.limit]]
            more = len(names) > len(page)
            return {
                "StreamNames": [stream.name for stream in page],
                "StreamSummaries": [_summarise(stream) for stream in page],
                "HasMoreStreams": more,
                **({"NextToken": page[-1].name} if more else {}),
            }

    # Shards

    def ListShards(self, request: requests.ListShards, _strike: Strike) -> Result:
        """List a page of the shards that pass the filter."""
        now_ms = self._kinesis.now_ms()
        start = _shards_page(request, now_ms)
        with self._kinesis.lock:
            stream = self._kinesis.stream(start.stream)
            if start.ordinal not in (0, stream.ordinal):
                raise AwsError("ResourceNotFoundException", f"The stream of this token, {stream.name}, is gone.")
            if stream.status in ("CREATING", "DELETING"):
                raise AwsError("ResourceInUseException", f"Stream {stream.name} is {stream.status}.")
            passing = [shard for shard in stream.shards.values() if _passes(start, stream, shard, now_ms)]
            shards = shards_after(passing, start.after_shard_id)
            page = [_describe(stream, shard) for shard in shards[: request.max_results]]
            if len(page) == len(shards):
                return {"Shards": page}
            token = ShardsPage(
                stream=stream.name,
                ordinal=stream.ordinal,
                after_shard_id=page[-1]["ShardId"],
                filter_type=start.filter_type,
                filter_timestamp_ms=start.filter_timestamp_ms,
                issued_ms=now_ms,
            )
            return {"Shards": page, "NextToken": seal(token)}

    def SplitShard(self, request: requests.SplitShard, _strike: Strike) -> Result:
        """Split a shard in two."""
        new_start = parse_hash_key(request.new_starting_hash_key, "NewStartingHashKey")
        self._kinesis.split_shard(_name(request), request.shard_to_split, new_start)
        return {}

    def MergeShards(self, request: requests.MergeShards, _strike: Strike) -> Result:
        """Merge two shards into one."""
        self._kinesis.merge_shards(_name(request), request.shard_to_merge, request.adjacent_shard_to_merge)
        return {}

    def UpdateShardCount(self, request: requests.UpdateShardCount, _strike: Strike) -> Result:
        """Split and merge to a number of equal shards."""
        with self._kinesis.lock:
            stream = self._kinesis.stream(_name(request))
            current = self._kinesis.update_shard_count(stream.name, request.target_shard_count)
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardCount": current,
            "TargetShardCount": request.target_shard_count,
        }

    # Records

    def PutRecord(self, request: requests.PutRecord, _strike: Strike) -> Result:
        """Put one record."""
        name = _name(request)
        [placed] = self._kinesis.put(name, self._entries(name, [request]))
        if isinstance(placed, Shard):
            raise rate_exceeded(name, placed.shard_id)
        return {"ShardId": placed.shard_id, "SequenceNumber": placed.sequence_number}

    def PutRecords(self, request: requests.PutRecords, strike: Strike) -> Result:
        """Put many records; each is taken or refused on its own."""
        name = _name(request)
        entries = self._entries(name, request.records)
        kept = [entry for index, entry in enumerate(entries) if index not in strike.failed]
        placed = iter(self._kinesis.put(name, kept))
        answers = [
            _refused(code, "Internal service failure.") if code else _placed(name, next(placed))
            for code in map(strike.error_code, range(len(entries)))
        ]
        return {"FailedRecordCount": sum("ErrorCode" in answer for answer in answers), "Records": answers}

    def GetShardIterator(self, request: requests.GetShardIterator, _strike: Strike) -> Result:
        """Return an iterator of one of the five types."""
        find = _finder(request, self._kinesis.now_ms())
        return {"ShardIterator": self._kinesis.iterator(_name(request), request.shard_id, find)}

    def GetRecords(self, request: requests.GetRecords, strike: Strike) -> Result:
        """Return the records behind an iterator, and the next iterator or the child shards."""
        if request.limit > PAGE_RECORDS_MAX:
            raise invalid(f"Limit {request.limit} is greater than {PAGE_RECORDS_MAX}.")
        if strike.kind == "expire_iterator":
            issued_ms = open_iterator(request.shard_iterator).issued_ms
            raise expired_iterator(issued_ms, self._kinesis.now_ms())
        page = self._kinesis.read(request.shard_iterator, request.limit)
        result: Result = {"Records": page.records, "MillisBehindLatest": page.behind_ms}
        if page.next_iterator is None:
            result["ChildShards"] = [_describe_child(child) for child in page.children]
        else:
            result["NextShardIterator"] = page.next_iterator
        return result

    def _entries(self, name: str, records: Sequence[requests.PutRecord | requests.PutRecordsEntry]) -> list[PutEntry]:
        bytes_max = self._kinesis.stream(name).record_bytes_max
        total_bytes = 0
        for number, record in enumerate(records, 1):
            if len(record.data) > bytes_max:
                raise constraint(f"records.{number}.member.data", f"have length less than or equal to {bytes_max}")
            total_bytes += len(record.data) + len(record.partition_key)
        if total_bytes > BATCH_BYTES_MAX and len(records) > 1:
            raise invalid("Records size exceeds 10 MB limit")
        return [PutEntry(record.data, record.partition_key, _hash_key(record)) for record in records]


def kinesis_service(kinesis: Kinesis) -> AwsJsonService:
    """Return the service in front of the streams."""
    api = KinesisApi(kinesis)
    operations: dict[str, Operation[Any]] = {
        "CreateStream": Operation(requests.CreateStream, api.CreateStream, lambda request: request.stream_name),
        "DeleteStream": Operation(requests.DeleteStream, api.DeleteStream, _stream_of),
        "DescribeStream": Operation(requests.DescribeStream, api.DescribeStream, _stream_of),
        "DescribeStreamSummary": Operation(requests.DescribeStreamSummary, api.DescribeStreamSummary, _stream_of),
        "ListStreams": Operation(requests.ListStreams, api.ListStreams, lambda _request: ""),
        "ListShards": Operation(requests.ListShards, api.ListShards, _stream_of),
        "SplitShard": Operation(
            requests.SplitShard, api.SplitShard, lambda request: f"{request.named}/{request.shard_to_split}"
        ),
        "MergeShards": Operation(
            requests.MergeShards,
            api.MergeShards,
            lambda request: f"{request.named}/{request.shard_to_merge}+{request.adjacent_shard_to_merge}",
        ),
        "UpdateShardCount": Operation(requests.UpdateShardCount, api.UpdateShardCount, _stream_of),
        "PutRecord": Operation(requests.PutRecord, api.PutRecord, _stream_of, put=True),
        "PutRecords": Operation(
            requests.PutRecords, api.PutRecords, _stream_of, batch=lambda request: len(request.records), put=True
        ),
        "GetShardIterator": Operation(
            requests.GetShardIterator,
            api.GetShardIterator,
            lambda request: f"{request.named}/{request.shard_id} {request.shard_iterator_type}",
        ),
        "GetRecords": Operation(requests.GetRecords, api.GetRecords, _place_of),
    }
    return AwsJsonService("kinesis", operations, _throttle)


def _throttle(call: Call) -> AwsError:
    if call.operation in DATA_OPERATIONS:
        return AwsError("ProvisionedThroughputExceededException", f"Rate exceeded for {call.coordinates}.")
    return AwsError("LimitExceededException", f"Rate exceeded for {call.operation}.")


def _stream_of(request: requests.StreamRequest) -> str:
    return request.named


def _place_of(request: requests.GetRecords) -> str:
    iterator = open_iterator(request.shard_iterator)
    return f"{iterator.stream}/{iterator.shard_id}"


def _name(request: requests.StreamRequest) -> str:
    if not request.named:
        raise invalid("Either StreamName or StreamARN should be provided.")
    return request.named


def _hash_key(record: requests.PutRecord | requests.PutRecordsEntry) -> int | None:
    text = record.explicit_hash_key
    return None if text is None else parse_hash_key(text, "ExplicitHashKey")


def _placed(stream_name: str, placed: Placed | Shard) -> Result:
    if isinstance(placed, Placed):
        return {"SequenceNumber": placed.sequence_number, "ShardId": placed.shard_id}
    error = rate_exceeded(stream_name, placed.shard_id)
    return _refused(error.code, error.message)


def _refused(code: str, message: str) -> Result:
    return {"ErrorCode": code, "ErrorMessage": message}


def _finder(request: requests.GetShardIterator, now_ms: int) -> Callable[[Stream, Shard], int]:
    kind, number = request.shard_iterator_type, request.starting_sequence_number
    if (number is not None) != kind.endswith("SEQUENCE_NUMBER"):
        raise invalid(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
            f"(2) TRIM_HORIZON, LATEST or AT_TIMESTAMP and no StartingSequenceNumber. Request specified {kind} "
            f"and {'no' if number is None else 'also a'} StartingSequenceNumber."
        )
    if number is not None:
        return index_at_sequence(number, 0 if kind == "AT_SEQUENCE_NUMBER" else 1)
    if kind == "AT_TIMESTAMP":
        return index_at_time(_past_ms(request.timestamp, now_ms))
    return first_index if kind == "TRIM_HORIZON" else end_index


def _past_ms(timestamp: float | None, now_ms: int) -> int:
    if timestamp is None:
        raise invalid("Must specify timestampInMillis for AT_TIMESTAMP.")
    time_ms = round(timestamp * 1000)
    if time_ms > now_ms:
        raise invalid(
            f"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {time_ms}, currentTimestampInMillis: {now_ms}"
        )
    return max(0, time_ms)


def _shards_page(request: requests.ListShards, now_ms: int) -> ShardsPage:
    """Return where to begin: at the token, or at the start the request describes."""
    if request.next_token is None:
        return _first_shards_page(request, now_ms)
    if request.named or request.shard_filter or request.exclusive_start_shard_id:
        raise invalid("NextToken and StreamName cannot be provided together.")
    try:
        page = unseal(request.next_token, ShardsPage)
    except ValueError as error:
        raise invalid("NextToken is invalid.") from error
    if now_ms - page.issued_ms > LIFE_MS:
        raise AwsError("ExpiredNextTokenException", "NextToken has expired.")
    return page


def _first_shards_page(request: requests.ListShards, now_ms: int) -> ShardsPage:
    chosen = request.shard_filter
    kind = chosen.type if chosen else None
    after = request.exclusive_start_shard_id or ""
    if chosen is not None and kind == "AFTER_SHARD_ID":
        if chosen.shard_id is None:
            raise invalid("ShardId must be provided for the ShardFilter type AFTER_SHARD_ID.")
        after = max(after, chosen.shard_id)
    by_time = chosen is not None and kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP")
    time_ms = _past_ms(chosen.timestamp, now_ms) if chosen is not None and by_time else None
    return ShardsPage(_name(request), 0, after, kind, time_ms, now_ms)


def _passes(start: ShardsPage, stream: Stream, shard: Shard, now_ms: int) -> bool:
    """Apply the shard filter. Nothing is trimmed here, so the trim horizon is when the first shards were opened."""
    if start.filter_type == "AT_LATEST":
        return shard.closed is None
    if start.filter_type == "AT_TRIM_HORIZON":
        return not shard.parents
    if start.filter_timestamp_ms is None:
        return True
    time_ms = min(max(start.filter_timestamp_ms, stream.first_opened_ms), now_ms)
    if start.filter_type == "AT_TIMESTAMP":
        return shard.was_open(time_ms)
    return shard.closed_ms is None or shard.closed_ms >= time_ms


def _describe_stream(stream: Stream) -> Result:
    return {
        **_summarise(stream),
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _summarise(stream: Stream) -> Result:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "StreamCreationTimestamp": Timestamp(stream.created_ms),
    }


def _describe(stream: Stream, shard: Shard) -> Result:
    numbers = {"StartingSequenceNumber": stream.sequence_number(shard.opened)}
    if shard.closed is not None:
        numbers["EndingSequenceNumber"] = stream.sequence_number(shard.closed)
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return {
        "ShardId": shard.shard_id,
        **parents,
        "HashKeyRange": _describe_range(shard),
        "SequenceNumberRange": numbers,
    }


def _describe_child(shard: Shard) -> Result:
    return {
        "ShardId": shard.shard_id,
        "ParentShards": list(shard.parents),
        "HashKeyRange": _describe_range(shard),
    }


def _describe_range(shard: Shard) -> Result:
    start, end = shard.hash_range
    return {"StartingHashKey": str(start), "EndingHashKey": str(end)}
