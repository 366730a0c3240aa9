"""When the groups of keys are due: a calendar of times that are never too late and may be too early.

Few bytes a key: all times of a bucket are one list of keys, and only the bucket that comes next is put in order. A
key that comes up too early (its group has grown since) is entered again under its present time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from consumer.core.windows import NEVER_MS, Key

_BUCKETS_A_SPAN = 1024
NO_KEY = object()
"""What `pop` returns where there is no key: None is one."""


class Expiry:
    """`span_ms` is how far ahead keys usually are; `time_of` gives a key's present time, None if it has none."""

    def __init__(self, span_ms: int, time_of: Callable[[Key], int | None]) -> None:
        self._width_ms = max(1, span_ms // _BUCKETS_A_SPAN)
        self._time_of = time_of
        self._buckets: dict[int, list[Key]] = {}
        self._order: list[int] = []
        self._front: list[tuple[int, int, Key]] = []
        self._front_number: int | None = None
        self._entered = 0

    def enter(self, key: Key, time_ms: int) -> None:
        """Have the key come up at a time or before."""
        number = time_ms // self._width_ms
        if self._front_number is not None and number <= self._front_number:
            self._enter_front(key, time_ms)
            return
        keys = self._buckets.get(number)
        if keys is None:
            keys = self._buckets[number] = []
            heapq.heappush(self._order, number)
        keys.append(key)

    def enter_all(self, times: Iterable[tuple[Key, int]]) -> None:
        """Enter many keys before any has come up."""
        assert self._front_number is None
        buckets, width_ms = self._buckets, self._width_ms
        for key, time_ms in times:
            keys = buckets.get(time_ms // width_ms)
            if keys is None:
                self.enter(key, time_ms)
            else:
                keys.append(key)

    def _enter_front(self, key: Key, time_ms: int) -> None:
        self._entered += 1
        heapq.heappush(self._front, (time_ms, self._entered, key))

    def next_ms(self) -> int:
        """Return a time before which no key comes up."""
        if self._front:
            return self._front[0][0]
        return self._order[0] * self._width_ms if self._order else NEVER_MS

    def pop(self, until_ms: int) -> Key:
        """Take out and return the key that comes up next, by `until_ms` at the latest; NO_KEY if there is none."""
        while self.next_ms() <= until_ms:
            if not self._front:
                self._open_bucket()
                continue
            entered_ms, _, key = heapq.heappop(self._front)
            time_ms = self._time_of(key)
            if time_ms == entered_ms:
                return key
            if time_ms is not None:
                self.enter(key, time_ms)
        return NO_KEY

    def _open_bucket(self) -> None:
        number = heapq.heappop(self._order)
        self._front_number = number
        for key in dict.fromkeys(self._buckets.pop(number)):
            time_ms = self._time_of(key)
            if time_ms is not None:
                self.enter(key, time_ms)
