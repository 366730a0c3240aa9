"""What the commands on the state share."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest

from consumer.core.compile import compile_pipeline
from consumer.entrypoints.state import site as site_module
from consumer.entrypoints.state.site import Site
from consumer.errors import RetryableError
from consumer.runtime import clock
from consumer.state.base import Entry
from consumer.state.memory import Memory, MemoryStore
from tests.runtime.world import SHARD, random_pipeline


class Sluggish(MemoryStore):
    """Every second deletion is refused for now."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.asked: list[int] = []

    def delete_objects(self, entries: Any) -> None:
        self.asked.append(len(entries))
        if len(self.asked) % 2 == 0:
            raise RetryableError("throttled")
        super().delete_objects(entries)


def test_many_deletions_do_not_begin_anew_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "DELETIONS_MAX", 4)
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    store = Sluggish(Memory())
    program = compile_pipeline(random_pipeline(1))
    site = Site(program, store, cast("Any", None), cast("Any", None), io.StringIO(), io.StringIO())
    entries: list[Entry] = [store.put_object(SHARD, 0, 1, number, b"old") for number in range(10)]
    store.claim(SHARD)
    store.claim(SHARD)
    assert site.collect(1) == (len(entries), 3 * len(entries))
    assert store.asked == [4, 4, 4, 2, 2], "what was deleted is not asked for again"
    assert store.list_objects(SHARD, 0) == []
