"""What a shard remembers of global windows: which of them it has combined, and since when it counts those added later.

A bucket of a window is combined by the shard whose range holds the bucket's place among the hash keys. Up to where it
has been combined is part of that shard's state, and goes where the place goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from consumer.core.compile import Program
from consumer.core.completion import Stretch, extended
from consumer.core.windows import LONG_AGO_MS
from consumer.records import HashRange, hash_key


class Bucket(NamedTuple):
    """A bucket of window number `number` of the pipeline."""

    number: int
    bucket: int


def buckets(program: Program, hash_range: HashRange) -> list[Bucket]:
    """Return the buckets that the shard of a range combines."""
    return [
        Bucket(number, bucket)
        for number in program.combined
        for bucket in range(program.windows[number].window.buckets or 0)
        if hash_range.holds(hash_key(f"{program.pipeline.name}/{program.windows[number].window.name}/{bucket}"))
    ]


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot holds of it: `[number, bucket, end_ms]` and `[number, since_ms]`, and what has their names."""

    up_to: Sequence[tuple[int, int, int]]
    began: Sequence[tuple[int, int]]
    stretches: Sequence[Stretch]
    reached_ms: int = LONG_AGO_MS


class Combining:
    """Of one shard.

    `up_to`: the end of the last window that was combined, of a bucket; none if there was none. `began`: of each global
    window, a time from which on no event was left out of it. `stretches`: see completion.py. `reached_ms`: the highest
    watermark that a shard had reached which this one came of, where it began with a lower one and no floor tells that.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.up_to: dict[Bucket, int] = {}
        self.began = dict.fromkeys(program.combined, LONG_AGO_MS)
        self.stretches: tuple[Stretch, ...] = ()
        self.reached_ms = LONG_AGO_MS

    def inherit(self, parents: Sequence[Combining], hash_range: HashRange) -> None:
        """Take over what the parents leave to a shard of this range."""
        mine = set(buckets(self._program, hash_range))
        for parent in parents:
            self.up_to |= {bucket: end_ms for bucket, end_ms in parent.up_to.items() if bucket in mine}
            for number, since_ms in parent.began.items():
                self.began[number] = max(since_ms, self.began.get(number, LONG_AGO_MS))
        self.stretches = tuple(sorted({stretch for parent in parents for stretch in parent.stretches}))

    def adopt(self, before: Combining, seen_ms: int) -> None:
        """Go on under other definitions. Neither this shard has seen an event later than that, nor any it came of."""
        numbers = {self._program.windows[number].hash: number for number in self._program.combined}
        hashes = [window.hash for window in before._program.windows]
        self.began = dict.fromkeys(self.began, seen_ms + 1)
        for old_number, since_ms in before.began.items():
            if (number := numbers.get(hashes[old_number])) is not None:
                self.began[number] = since_ms
        for (old_number, bucket), end_ms in before.up_to.items():
            if (number := numbers.get(hashes[old_number])) is not None:
                self.up_to[Bucket(number, bucket)] = end_ms
        self.stretches = before.stretches

    def contributed(self, now_ms: int, stretch: Stretch) -> None:
        """Note what is contributed now."""
        self.stretches = extended(self.stretches, now_ms, stretch)

    def pack(self) -> Packed | msgspec.UnsetType:
        """Return what a snapshot is to hold; nothing if there is nothing."""
        if not (self.began or self.stretches) and self.reached_ms == LONG_AGO_MS:
            return msgspec.UNSET
        up_to = [(*bucket, end_ms) for bucket, end_ms in self.up_to.items()]
        return Packed(up_to, list(self.began.items()), self.stretches, self.reached_ms)

    def restore(self, packed: Packed | msgspec.UnsetType) -> None:
        """Become what was packed."""
        if packed is not msgspec.UNSET:
            self.up_to = {Bucket(number, bucket): end_ms for number, bucket, end_ms in packed.up_to}
            self.began |= packed.began
            self.stretches, self.reached_ms = tuple(packed.stretches), packed.reached_ms
