"""Contributions to global windows, and the progress of shards, as items of the state table.

A contribution is (pipeline/global/generation/window/bucket, "end/start/origin#chunk"), so that one Query reads a bucket
in order of time; the window is the first half of its definition's hash. `#` sorts before all that names of shards are
made of. Progress is (pipeline/progress/generation, shard): one Query reads it all.

Writes to one bucket share a partition's 1,000 write units a second, a unit a KB; a window of much data has several.
What may be forgotten has `expires_at`, seconds: DynamoDB deletes it within days after that, at no cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from consumer.core import contributions
from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.state.items import decode_contribution, decode_progress, encode_contribution, encode_progress
from consumer.state.table import Table, condition_of, key_of

_HASH_DIGITS = 32
_TIME_OFFSET_MS = 10**15
"""31,688 years: added to a time, so that its text sorts as the time does, before 1970 and before year 1."""
_FIRST_MS, _LAST_MS = -_TIME_OFFSET_MS, 9 * _TIME_OFFSET_MS - 1
"""Beyond the bounds of all windows there are."""


class GlobalItems:
    """Those of one pipeline. Thread-safe."""

    def __init__(self, table: Table, pipeline: str) -> None:
        self._table = table
        self._pipeline = pipeline

    def put(self, rows: Sequence[bytes]) -> None:
        """Write contributions, 25 a call, those that DynamoDB puts back again."""
        distinct = {}  # DynamoDB refuses a call that has a key twice
        for row in rows:
            contribution = contributions.decode(row)
            key = self._contribution_key(contribution)
            distinct[key["pk"]["S"], key["sk"]["S"]] = key | encode_contribution(contribution)
        self._table.put_many(distinct.values())

    def read(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """Yield the contributions of one bucket as `StateStore.read_contributions` says."""
        first_ms = _FIRST_MS if after_end_ms is None else max(_FIRST_MS, after_end_ms + 1)
        last_ms = min(until_end_ms, _LAST_MS)
        if first_ms > last_ms:  # which DynamoDB refuses
            return
        partition = self._partition(generation, window_hash, bucket)
        last = _text_of(last_ms) + "0"  # above all that goes on with a slash
        for item in self._table.between(partition, _text_of(first_ms), last):
            yield decode_contribution(item)

    def write_progress(self, progress: Progress) -> None:
        """Replace the whole item, on condition that its commit is no later one."""
        key = key_of(self._progress_partition(progress.generation), progress.shard)
        attributes = encode_progress(progress)
        expected = {":commit_no": attributes["commit_no"]}
        condition = condition_of("attribute_not_exists(commit_no) OR commit_no <= :commit_no", expected)
        self._table.put(key | attributes, condition)

    def read_progress(self, generation: int) -> list[Progress]:
        """Query the generation's, strongly consistent."""
        return [decode_progress(item) for item in self._progress(generation)]

    def delete_progress(self, generation: int) -> None:
        """Delete the generation's, by their keys alone."""
        partition = self._progress_partition(generation)
        self._table.delete_many(key_of(partition, item["sk"]["S"]) for item in self._progress(generation))

    def _progress(self, generation: int) -> list[Any]:
        return self._table.query_all(self._progress_partition(generation))

    def _progress_partition(self, generation: int) -> str:
        return f"{self._pipeline}/progress/{generation}"

    def _contribution_key(self, contribution: Contribution) -> dict[str, Any]:
        partition = self._partition(contribution.generation, contribution.window_hash, contribution.bucket)
        window = f"{_text_of(contribution.end_ms)}/{_text_of(contribution.start_ms)}"
        return key_of(partition, f"{window}/{contribution.origin}#{contribution.chunk:05d}")

    def _partition(self, generation: int, window_hash: str, bucket: int) -> str:
        return f"{self._pipeline}/global/{generation}/{window_hash[:_HASH_DIGITS]}/{bucket}"


def _text_of(time_ms: int) -> str:
    assert _FIRST_MS <= time_ms <= _LAST_MS
    return f"{time_ms + _TIME_OFFSET_MS:016d}"
