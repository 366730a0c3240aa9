"""Counting distinct values: sets up to a limit, and HyperLogLog.

HyperLogLog is Apache DataSketches', which only pipelines that use it import. Sketches have 2**12 registers, which
gives a standard error of 1.04 / sqrt(4096) = 1.63 %; up to some 380 values it keeps their hashes, which is all but
exact. The library estimates from the order of arrival where it can, so the same values could give several estimates.
Here an estimate depends on nothing but the set of values, however they arrived and were merged: before an estimate is
asked for, and in what is stored, a sketch is marked as out of order and forgets its estimate by arrival (the fields
are part of the library's published format).

Values are hashed by type: text as UTF-8, ints and times as 64 bits, floats as their bits with -0.0 as 0.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from consumer.core.faults import STATE_LIMIT, Fault
from consumer.errors import SetupError

REGISTERS_LOG2 = 12

EMPTY_TEXT = -0x61C8_8646_80B5_83EB
"""What stands for the empty text, which the library takes for no value."""

_FLAGS, _MODE, _BY_ARRIVAL = 5, 7, slice(8, 16)
_OUT_OF_ORDER, _MODE_BITS, _REGISTERS = 0x10, 0x03, 0x02

Sketch = Any
Exact = dict[Any, None]
"""A set that keeps the order in which its values came up."""


class HyperLogLog:
    """Makes and reads sketches. SetupError where the library is not installed."""

    def __init__(self) -> None:
        try:
            import datasketches  # type: ignore[import-untyped]  # noqa: PLC0415 - only who needs it pays for it
        except ImportError as error:
            remedy = "install it with: pip install 'streamgauge[sketches]'"
            message = f"count_distinct and approx_distinct need the library datasketches; {remedy}"
            raise SetupError(message) from error
        self._library = datasketches
        self._type = datasketches.tgt_hll_type.HLL_8

    def new(self) -> Sketch:
        """Return a sketch of nothing."""
        return self._library.hll_sketch(REGISTERS_LOG2, self._type)

    def of(self, values: Iterable[Any]) -> Sketch:
        """Return a sketch of values of one type."""
        sketch = self.new()
        for value in values:
            sketch.update(EMPTY_TEXT if value == "" else value)
        return sketch

    def merged(self, *sketches: Sketch | None) -> Sketch:
        """Return a new sketch of all the values in some; None is a sketch of nothing."""
        union = self._library.hll_union(REGISTERS_LOG2)
        for sketch in sketches:
            if sketch is not None:
                union.update(sketch)
        return union.get_result(self._type)

    def packed(self, sketch: Sketch | None) -> bytes | None:
        """Return a sketch's bytes, in the library's updatable format."""
        if sketch is None:
            return None
        data = bytearray(sketch.serialize_updatable())
        if data[_MODE] & _MODE_BITS == _REGISTERS:
            data[_FLAGS] |= _OUT_OF_ORDER
            data[_BY_ARRIVAL] = bytes(8)
        return bytes(data)

    def unpacked(self, data: bytes | None) -> Sketch | None:
        """Return what was packed."""
        return None if data is None else self._library.hll_sketch.deserialize(data)

    def count(self, sketch: Sketch | None) -> int:
        """Return the estimate."""
        if sketch is None:
            return 0
        estimate: float = self._library.hll_sketch.deserialize(self.packed(sketch)).get_estimate()
        return round(estimate)


class Distinct:
    """Sets of values that are exact up to a limit, and sketches of all their values beyond."""

    def __init__(self, limit: int, sketches: HyperLogLog) -> None:
        self._limit = limit
        self._sketches = sketches

    def beyond(self, seen: Exact, value: Any) -> Sketch:
        """Return the sketch of a full set and one more value."""
        return self._sketches.of((*seen, value))

    def merged(self, seen: Exact | Sketch, later: Exact | Sketch) -> Exact | Sketch:
        """Return the union. The first may be changed, the second stays as it is."""
        if seen.__class__ is dict and later.__class__ is dict:
            seen.update(later)
            return seen if len(seen) <= self._limit else self._sketches.of(seen)
        return self._sketches.merged(self._sketch(seen), self._sketch(later))

    def _sketch(self, seen: Exact | Sketch) -> Sketch:
        return self._sketches.of(seen) if seen.__class__ is dict else seen

    def count(self, seen: Exact | Sketch) -> int:
        """Return how many values there are; an estimate is always above the limit."""
        return len(seen) if seen.__class__ is dict else max(self._sketches.count(seen), self._limit + 1)

    def packed(self, seen: Exact | Sketch) -> list[Any] | bytes | None:
        """Return the values, or the bytes of the sketch."""
        return list(seen) if seen.__class__ is dict else self._sketches.packed(seen)

    def unpacked(self, packed: list[Any] | bytes) -> Exact | Sketch:
        """Return what was packed."""
        return dict.fromkeys(packed) if isinstance(packed, list) else self._sketches.unpacked(packed)


def refuse_distinct(sets: list[Exact], value: Any, limit: int, column: str) -> None:
    """Raise a Fault where the union of the sets and a value, unless it is null, has more values than the limit."""
    if not sets:
        return
    seen: Exact | set[Any] = sets[0] if len(sets) == 1 else set().union(*sets)
    if len(seen) + (value is not None and value not in seen) > limit:
        raise Fault(STATE_LIMIT, f"{column} would have more than {limit} distinct values in one group")
