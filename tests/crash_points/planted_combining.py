"""Bugs of global windows that are planted on purpose, and that only a death at the wrong moment shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consumer.core.combining import Bucket, Combining, Packed
from consumer.core.processor import Processor
from consumer.records import HashRange
from consumer.runtime.global_part import Combined, GlobalPart


def removed_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Remove contributions when they have been combined: the rows are in no commit yet."""
    combine = GlobalPart.combine

    def remove(part: GlobalPart, processor: Processor, bucket: Bucket, before_ms: int | None, until_ms: int) -> None:
        store: Any = part._around.store
        window_hash, bounds = processor.program.windows[bucket.number].hash, (before_ms, until_ms)
        found = store.read_contributions(0, window_hash, bucket.bucket, after_end_ms=bounds[0], until_end_ms=bounds[1])
        store._table.delete_many(map(store._global._contribution_key, found))

    def removing(self: GlobalPart, processor: Processor, hash_range: HashRange) -> Combined:
        before = dict(processor.combining.up_to)
        combined = combine(self, processor, hash_range)
        for bucket, until_ms in processor.combining.up_to.items():
            if until_ms != before.get(bucket):
                remove(self, processor, bucket, before.get(bucket), until_ms)
        return combined

    patch.setattr(GlobalPart, "combine", removing)


def noted_a_commit_late(patch: pytest.MonkeyPatch) -> None:
    """Store what was combined up to where with the commit after that of the rows."""
    pack = Combining.pack

    def late(self: Combining) -> Packed | msgspec.UnsetType:
        now = self.up_to
        self.up_to = vars(self).get("before", now)
        try:
            return pack(self)
        finally:
            self.up_to = now
            vars(self)["before"] = now.copy()

    patch.setattr(Combining, "pack", late)
