"""The limits of one shard, as token buckets over the emulator's clock."""

from __future__ import annotations

MIB = 1024 * 1024

WRITE_BYTES_PER_S = MIB
WRITE_RECORDS_PER_S = 1_000
READ_BYTES_PER_S = 2 * MIB
READ_CALLS_PER_S = 5


class Bucket:
    """Tokens that refill at `per_s` a second up to one second's worth; it starts full."""

    __slots__ = ("_filled_ms", "per_s", "tokens")

    def __init__(self, per_s: float, now_ms: int) -> None:
        self.per_s = per_s
        self.tokens = float(per_s)
        self._filled_ms = now_ms

    def refill(self, now_ms: int) -> None:
        """Add what has flowed in since the last time."""
        elapsed_ms = now_ms - self._filled_ms
        if elapsed_ms > 0:
            self.tokens = min(self.per_s, self.tokens + elapsed_ms * self.per_s / 1000)
            self._filled_ms = now_ms

    def has(self, amount: float) -> bool:
        """Tell whether `amount` can be taken; more than a second's worth can, from a full bucket."""
        return self.tokens >= min(amount, self.per_s)

    def empty_until(self, time_ms: int) -> None:
        """Hold nothing, and let nothing flow in before `time_ms`."""
        self.tokens = 0.0
        self._filled_ms = time_ms


class ShardLimits:
    """What one shard takes and gives: 1 MiB and 1,000 records a second in; 5 reads and 2 MiB a second out."""

    __slots__ = ("_read_bytes", "_read_calls", "_write_bytes", "_write_records")

    def __init__(self, now_ms: int) -> None:
        self._write_bytes = Bucket(WRITE_BYTES_PER_S, now_ms)
        self._write_records = Bucket(WRITE_RECORDS_PER_S, now_ms)
        self._read_bytes = Bucket(READ_BYTES_PER_S, now_ms)
        self._read_calls = Bucket(READ_CALLS_PER_S, now_ms)

    def take_write(self, payload_bytes: int, now_ms: int) -> bool:
        """Take one record's share, or nothing and return False."""
        self._write_bytes.refill(now_ms)
        self._write_records.refill(now_ms)
        if not (self._write_bytes.has(payload_bytes) and self._write_records.has(1)):
            return False
        self._write_bytes.tokens -= payload_bytes
        self._write_records.tokens -= 1
        return True

    def take_read(self, now_ms: int) -> bool:
        """Take one call's share, or nothing and return False."""
        self._read_bytes.refill(now_ms)
        self._read_calls.refill(now_ms)
        if self._read_bytes.tokens <= 0 or not self._read_calls.has(1):
            return False
        self._read_calls.tokens -= 1
        return True

    def give(self, answer_bytes: int, now_ms: int) -> None:
        """Count an answer. One larger than what was left blocks reads for as long as it should have taken."""
        if answer_bytes > self._read_bytes.tokens:
            self._read_bytes.empty_until(now_ms + answer_bytes * 1000 // READ_BYTES_PER_S)
        else:
            self._read_bytes.tokens -= answer_bytes
