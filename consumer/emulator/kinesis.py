"""The embedded Kinesis as Python objects: what the API serves, and what tests look into.

Every public method can be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import RLock

from consumer.emulator.clock import Clock
from consumer.emulator.errors import ACCOUNT, AwsError, invalid
from consumer.emulator.limits import MIB
from consumer.emulator.record_log import EncodedRecords, StoredRecord
from consumer.emulator.settings import Settings
from consumer.emulator.streams import HASH_KEYS, OPEN_SHARDS_MAX, Placed, PutEntry, Shard, Stream
from consumer.emulator.tokens import LIFE_MS, ShardIterator, seal, unseal

PAGE_DATA_BYTES_MAX = 10 * MIB
PAGE_RECORDS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """One GetRecords. `next_iterator` is None behind the last record of a closed shard; `children` follow it."""

    records: EncodedRecords
    next_iterator: str | None
    behind_ms: int
    children: tuple[Shard, ...]


class Kinesis:
    """All streams of one account and region, in memory; records stay until their stream is deleted."""

    def __init__(self, now_ms: Clock, settings: Settings | None = None) -> None:
        self.now_ms = now_ms
        self.settings = settings or Settings()
        self.lock = RLock()
        self._streams: dict[str, Stream] = {}
        self._made = 0

    # Streams

    def create_stream(
        self,
        name: str,
        shard_count: int = 4,
        *,
        mode: str = "PROVISIONED",
        record_bytes_max: int = MIB,
    ) -> Stream:
        """Make a stream; ResourceInUseException if there is one of that name."""
        if not 0 < shard_count <= OPEN_SHARDS_MAX:
            raise AwsError("LimitExceededException", f"A stream has 1 to {OPEN_SHARDS_MAX} shards here.")
        with self.lock:
            if name in self.names():
                raise AwsError("ResourceInUseException", f"Stream {name} under account {ACCOUNT} already exists.")
            now_ms = self.now_ms()
            self._made += 1
            stream = Stream(name, self._made, now_ms, mode, record_bytes_max)
            self._streams[name] = stream
            self._change(stream, "CREATING", lambda at_ms: stream.open_uniformly(shard_count, at_ms))
            return stream

    def delete_stream(self, name: str) -> None:
        """Delete a stream and its records."""
        with self.lock:
            stream = self.stream(name)

            def remove(_at_ms: int) -> None:
                stream.deleted = True

            self._change(stream, "DELETING", remove)

    def stream(self, name: str) -> Stream:
        """Return a stream in its state of now; ResourceNotFoundException if there is none."""
        with self.lock:
            stream = self._streams.get(name)
            if stream is not None:
                stream.settle(self.now_ms())
                if not stream.deleted:
                    return stream
                del self._streams[name]
        raise AwsError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")

    def names(self) -> list[str]:
        """Return the names of all streams, sorted."""
        with self.lock:
            now_ms = self.now_ms()
            for stream in self._streams.values():
                stream.settle(now_ms)
            self._streams = {name: stream for name, stream in self._streams.items() if not stream.deleted}
            return sorted(self._streams)

    # Shards

    def split_shard(self, stream_name: str, shard_id: str, new_starting_hash_key: int | None = None) -> None:
        """Split a shard, in the middle unless told."""
        with self.lock:
            stream = self.stream(stream_name)
            shard = stream.shard(shard_id)
            middle = (shard.hash_range.start + shard.hash_range.end + 1) // 2
            new_start = middle if new_starting_hash_key is None else new_starting_hash_key
            stream.check_split(shard, new_start)
            self._reshape(stream, lambda at_ms: stream.split(shard, new_start, at_ms))

    def merge_shards(self, stream_name: str, shard_id: str, adjacent_shard_id: str) -> None:
        """Merge two shards that lie side by side."""
        with self.lock:
            stream = self.stream(stream_name)
            lower, upper = stream.check_merge(stream.shard(shard_id), stream.shard(adjacent_shard_id))
            self._reshape(stream, lambda at_ms: stream.merge(lower, upper, at_ms))

    def update_shard_count(self, stream_name: str, target: int) -> int:
        """Split and merge to `target` shards of equal width; return the number there was."""
        with self.lock:
            stream = self.stream(stream_name)
            current = len(stream.open_shards)
            counts = f"Current open shard count: {current} Target shard count: {target}"
            if target > 2 * current:
                raise invalid(f"UpdateShardCount cannot scale up over double your current open shard count. {counts}")
            if 2 * target < current:
                raise invalid(f"UpdateShardCount cannot scale down below half your current open shard count. {counts}")
            self._reshape(stream, lambda at_ms: stream.reshard(target, at_ms))
            return current

    # Records

    def put(self, stream_name: str, entries: Iterable[PutEntry]) -> list[Placed | Shard]:
        """Store records in order; in the place of one that the limits refuse stands its shard."""
        with self.lock:
            stream = self.stream(stream_name)
            if not stream.open_shards:
                text = f"Stream {stream_name} under account {ACCOUNT} is {stream.status}."
                raise AwsError("ResourceNotFoundException", text)
            now_ms, limited = self.now_ms(), self.settings.limits
            return [stream.put(entry, now_ms, limited=limited) for entry in entries]

    def put_record(self, stream_name: str, partition_key: str, data: bytes) -> Placed:
        """Store one record, for tests; limits do not hold here."""
        with self.lock:
            placed = self.stream(stream_name).put(PutEntry(data, partition_key), self.now_ms(), limited=False)
            assert isinstance(placed, Placed)
            return placed

    def records(self, stream_name: str, shard_id: str | None = None) -> list[StoredRecord]:
        """Return all records of a shard in order, or of the whole stream in order of sequence number."""
        with self.lock:
            stream = self.stream(stream_name)
            shards = list(stream.shards.values()) if shard_id is None else [stream.shard(shard_id)]
            found = [record for shard in shards for record in shard.log.page(0, len(shard.log)).decode()]
        return sorted(found, key=lambda record: record.sequence_number)

    # Reading

    def iterator(self, stream_name: str, shard_id: str, find: Callable[[Stream, Shard], int]) -> str:
        """Return an iterator of a shard at the index that `find` gives."""
        with self.lock:
            stream = self.stream(stream_name)
            shard = stream.shard(shard_id)
            return self._iterator(stream, shard, find(stream, shard), self.now_ms())

    def read(self, iterator_text: str, records_max: int = PAGE_RECORDS_MAX) -> Page:
        """Return the records behind an iterator: at most `records_max`, at most 10 MiB of data."""
        iterator = open_iterator(iterator_text)
        with self.lock:
            now_ms = self.now_ms()
            _check_age(iterator, now_ms)
            stream, shard = self._resolve(iterator)
            self._limit_read(stream, shard, now_ms)
            log = shard.log
            end = log.end_of_page(iterator.index, records_max, PAGE_DATA_BYTES_MAX)
            if self.settings.limits:
                shard.limits.give(log.data_bytes(iterator.index, end), now_ms)
            finished = shard.closed is not None and end >= len(log)
            return Page(
                records=log.page(iterator.index, end),
                next_iterator=None if finished else self._iterator(stream, shard, end, now_ms),
                behind_ms=max(0, now_ms - log.arrival_ms(end)) if end < len(log) else 0,
                children=tuple(shard.children) if finished else (),
            )

    def _resolve(self, iterator: ShardIterator) -> tuple[Stream, Shard]:
        stream = self.stream(iterator.stream)
        if stream.ordinal != iterator.ordinal:
            raise AwsError("ResourceNotFoundException", f"The stream of this iterator, {stream.name}, is gone.")
        return stream, stream.shard(iterator.shard_id)

    def _limit_read(self, stream: Stream, shard: Shard, now_ms: int) -> None:
        if self.settings.limits and not shard.limits.take_read(now_ms):
            raise rate_exceeded(stream.name, shard.shard_id)

    def _iterator(self, stream: Stream, shard: Shard, index: int, now_ms: int) -> str:
        return seal(ShardIterator(stream.name, stream.ordinal, shard.shard_id, index, now_ms))

    def _reshape(self, stream: Stream, effect: Callable[[int], None]) -> None:
        stream.require_active()
        self._change(stream, "UPDATING", effect)

    def _change(self, stream: Stream, status: str, effect: Callable[[int], None]) -> None:
        stream.change(status, self.settings.state_delay_ms, self.now_ms(), effect)


def open_iterator(text: str) -> ShardIterator:
    """Return what an iterator says; InvalidArgumentException if it says nothing."""
    try:
        return unseal(text, ShardIterator)
    except ValueError as error:
        raise invalid("Invalid ShardIterator.") from error


def expired_iterator(issued_ms: int, now_ms: int) -> AwsError:
    """Return the error for an iterator that is too old."""
    return AwsError(
        "ExpiredIteratorException",
        f"Iterator expired. The iterator was created at time {issued_ms} while right now it is {now_ms} which is "
        f"further in the future than the tolerated delay of {LIFE_MS} milliseconds.",
    )


def rate_exceeded(stream_name: str, shard_id: str) -> AwsError:
    """Return the error of a shard whose limit is reached."""
    text = f"Rate exceeded for shard {shard_id} in stream {stream_name} under account {ACCOUNT}."
    return AwsError("ProvisionedThroughputExceededException", text)


def parse_hash_key(text: str, member: str) -> int:
    """Return a hash key, 0 to 2^128-1, from its decimal text."""
    hash_key = int(text) if text.isascii() and text.isdigit() else HASH_KEYS
    if hash_key >= HASH_KEYS:
        text = f"Invalid {member}. {member} must be in the range: [0, 2^128-1]. Specified value was {text}"
        raise invalid(text)
    return hash_key


def _check_age(iterator: ShardIterator, now_ms: int) -> None:
    if now_ms - iterator.issued_ms > LIFE_MS:
        raise expired_iterator(iterator.issued_ms, now_ms)


def first_index(_stream: Stream, _shard: Shard) -> int:
    """Find the first record (TRIM_HORIZON)."""
    return 0


def end_index(_stream: Stream, shard: Shard) -> int:
    """Find the place behind the last record (LATEST)."""
    return len(shard.log)


def index_at_sequence(sequence_number: str, offset: int) -> Callable[[Stream, Shard], int]:
    """Find the record with a sequence number (`offset` 0) or the one behind it (1)."""

    def find(stream: Stream, shard: Shard) -> int:
        counter = stream.counter_of(sequence_number)
        if counter is None:
            raise invalid(
                f"StartingSequenceNumber {sequence_number} used in GetShardIterator on shard {shard.shard_id} in "
                f"stream {stream.name} under account {ACCOUNT} is invalid because it did not come from this stream."
            )
        return shard.log.index_at(counter + offset)

    return find


def index_at_time(time_ms: int) -> Callable[[Stream, Shard], int]:
    """Find the first record that arrived at or after a time."""
    return lambda _stream, shard: shard.log.index_at_time(time_ms)


def shards_after(shards: Sequence[Shard], shard_id: str | None) -> list[Shard]:
    """Return the shards behind a shard id; all if it is None."""
    return [shard for shard in shards if shard_id is None or shard.shard_id > shard_id]
