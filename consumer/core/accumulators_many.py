"""What a group keeps of many values: buckets, counters, sets, sketches and lists. See `sketches`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import frexp, trunc
from typing import Any

from consumer.core import sketches
from consumer.core.accumulators_slots import Slot
from consumer.core.expressions import Emitter
from consumer.core.sketches import BUCKET_OFFSET, BUCKETS_AN_OCTAVE, BUCKETS_MAX, UNFOLDED
from consumer.core.sketches_distinct import EMPTY_TEXT, Distinct, HyperLogLog, refuse_distinct
from consumer.pipeline.model import Type


@dataclass(frozen=True)
class Quantiles(Slot):
    """Counts of numbers by bucket, for all quantiles of an argument."""

    kind = "buckets"

    @property
    def _floor(self) -> str:
        return f"{self.name}_floor"

    def attributes(self) -> dict[str, str]:
        """Start from no bucket, and room for more."""
        return {self.name: "{}", self._floor: str(UNFOLDED)}

    def packed(self, attribute: str) -> str:
        """Store buckets and counts as two lists."""
        return f"group.{attribute}" if attribute == self._floor else f"packed_counts(group.{attribute})"

    def unpacked(self, attribute: str, source: str) -> str:
        """Read what was packed."""
        return source if attribute == self._floor else f"unpacked_counts({source})"

    def constants(self) -> dict[str, Any]:
        """Return the functions of buckets."""
        names = ("fold", "merge_buckets", "quantile", "packed_counts", "unpacked_counts")
        return {"frexp": frexp, "trunc": trunc} | {name: getattr(sketches, name) for name in names}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Count the value in its bucket."""
        self._emit_bucket(emit, self.value(values))
        emit.line(f"buckets = {self.group}")
        with emit.block("if bucket in buckets:"):
            emit.line("buckets[bucket] += 1")
        with emit.block(f"elif bucket > group.{self._floor}:"):
            emit.line("buckets[bucket] = 1")
            with emit.block(f"if len(buckets) >= {BUCKETS_MAX}:"):
                emit.line(f"group.{self._floor} = fold(buckets)")
        with emit.block("else:"):
            emit.line(f"buckets[group.{self._floor}] += 1")

    def _emit_bucket(self, emit: Emitter, value: str) -> None:
        """Write the bucket's number. frexp, scaling by a power of two and cutting off are exact everywhere."""
        steps = 2 * BUCKETS_AN_OCTAVE
        emit.line(f"fraction, exponent = frexp({value})")
        with emit.block("if fraction > 0.0:"):
            emit.line(f"bucket = trunc(fraction * {steps}.0) + exponent * {BUCKETS_AN_OCTAVE} + {BUCKET_OFFSET}")
        with emit.block("elif fraction < 0.0:"):
            emit.line(f"bucket = trunc(fraction * {steps}.0) - exponent * {BUCKETS_AN_OCTAVE} - {BUCKET_OFFSET}")
        with emit.block("else:"):
            emit.line("bucket = 0")

    def merge(self, emit: Emitter) -> None:
        """Add the counts."""
        emit.line(f"group.{self._floor} = merge_buckets({self.group}, {self.later})")


@dataclass(frozen=True)
class Top(Slot):
    """Counts of the most frequent values, and how much too low they may be."""

    rows: int

    kind = "top"

    @property
    def name(self) -> str:
        """Return the name of the counters' attribute."""
        return f"{super().name}_{self.rows}"

    @property
    def kept(self) -> int:
        """Return how many counters are kept for sure; there may be twice as many."""
        return max(10 * self.rows, 100)

    @property
    def error(self) -> str:
        """Return the name of the error's attribute."""
        return f"{self.name}_error"

    def attributes(self) -> dict[str, str]:
        """Start from no counter, and no error."""
        return {self.name: "{}", self.error: "0"}

    def packed(self, attribute: str) -> str:
        """Store values and counts as two lists."""
        return f"group.{attribute}" if attribute == self.error else f"packed_counts(group.{attribute})"

    def unpacked(self, attribute: str, source: str) -> str:
        """Read what was packed."""
        return source if attribute == self.error else f"unpacked_counts({source})"

    def constants(self) -> dict[str, Any]:
        """Return the functions of counters."""
        names = ("thin_out", "merge_counters", "most_frequent", "packed_counts", "unpacked_counts")
        return {name: getattr(sketches, name) for name in names}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Count the value."""
        value = self.value(values)
        emit.line(f"counters = {self.group}")
        with emit.block(f"if {value} in counters:"):
            emit.line(f"counters[{value}] += 1")
        with emit.block("else:"):
            emit.line(f"counters[{value}] = 1")
            with emit.block(f"if len(counters) > {2 * self.kept}:"):
                emit.line(f"group.{self.error} += thin_out(counters, {self.kept})")

    def merge(self, emit: Emitter) -> None:
        """Add counts and errors."""
        added = f"merge_counters({self.group}, {self.later}, {self.kept})"
        emit.line(f"group.{self.error} += later.{self.error} + {added}")


@dataclass(frozen=True)
class ApproximateSet(Slot):
    """A HyperLogLog sketch of the values; None of no value."""

    kind = "sketch"

    def packed(self, attribute: str) -> str:
        """Store the sketch's bytes."""
        return f"hyperloglog.packed(group.{attribute})"

    def unpacked(self, attribute: str, source: str) -> str:
        """Read the sketch's bytes."""
        del attribute
        return f"hyperloglog.unpacked({source})"

    def constants(self) -> dict[str, Any]:
        """Return the maker of sketches."""
        return {"hyperloglog": HyperLogLog()}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Put the value into the sketch."""
        emit.line(f"sketch = {self.group}")
        with emit.block("if sketch is None:"):
            emit.line(f"sketch = {self.group} = hyperloglog.new()")
        emit.line(f"sketch.update({self._hashed(values)})")

    def _hashed(self, values: Sequence[str]) -> str:
        assert self.guard is not None
        value = self.value(values)
        return f"{value} or {EMPTY_TEXT}" if self.guard.type is Type.STRING else value

    def merge(self, emit: Emitter) -> None:
        """Make a new sketch of both."""
        with emit.block(f"if {self.later} is not None:"):
            emit.line(f"{self.group} = hyperloglog.merged({self.group}, {self.later})")


@dataclass(frozen=True)
class ExactSet(Slot):
    """The distinct values in the order in which they came, never more than a limit: more are refused beforehand."""

    limit: int
    column: str = field(compare=False)

    kind = "set"

    @property
    def name(self) -> str:
        """Return the attribute's name."""
        return f"{super().name}_{self.limit}"

    def attributes(self) -> dict[str, str]:
        """Start from the empty set."""
        return {self.name: "{}"}

    def packed(self, attribute: str) -> str:
        """Store the values."""
        return f"list(group.{attribute})"

    def unpacked(self, attribute: str, source: str) -> str:
        """Read the values."""
        del attribute
        return f"dict.fromkeys({source})"

    def constants(self) -> dict[str, Any]:
        """Return what refuses an event."""
        return {"refuse_distinct": refuse_distinct}

    def refuse(self, emit: Emitter, values: Sequence[str]) -> None:
        """Write the line that refuses an event with which `groups`, merged, would have too many values."""
        sets = f"[each.{self.name} for each in groups]"
        emit.line(f"refuse_distinct({sets}, {self.value(values)}, {self.limit}, {self.column!r})")

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Put the value into the set."""
        emit.line(f"{self.group}[{self.value(values)}] = None")

    def merge(self, emit: Emitter) -> None:
        """Add the later values."""
        emit.line(f"{self.group}.update({self.later})")


@dataclass(frozen=True)
class LimitedSet(ApproximateSet):
    """The distinct values while they are no more than a limit, then a sketch."""

    limit: int

    kind = "distinct"

    @property
    def name(self) -> str:
        """Return the attribute's name."""
        return f"{super().name}_{self.limit}"

    @property
    def constant(self) -> str:
        """Return the name of the functions with this limit."""
        return f"distinct_{self.limit}"

    def attributes(self) -> dict[str, str]:
        """Start from the empty set."""
        return {self.name: "{}"}

    def packed(self, attribute: str) -> str:
        """Store the values or the sketch's bytes."""
        return f"{self.constant}.packed(group.{attribute})"

    def unpacked(self, attribute: str, source: str) -> str:
        """Read what was packed."""
        del attribute
        return f"{self.constant}.unpacked({source})"

    def constants(self) -> dict[str, Any]:
        """Return the functions with this limit."""
        return {self.constant: Distinct(self.limit, HyperLogLog())}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Put the value into the set, or make a sketch of it when it is full."""
        value = self.value(values)
        emit.line(f"seen = {self.group}")
        with emit.block("if seen.__class__ is not dict:"):
            emit.line(f"seen.update({self._hashed(values)})")
        with emit.block(f"elif {value} not in seen:"):
            with emit.block(f"if len(seen) < {self.limit}:"):
                emit.line(f"seen[{value}] = None")
            with emit.block("else:"):
                emit.line(f"{self.group} = {self.constant}.beyond(seen, {value})")

    def merge(self, emit: Emitter) -> None:
        """Join the sets or sketches."""
        emit.line(f"{self.group} = {self.constant}.merged({self.group}, {self.later})")


@dataclass(frozen=True)
class Collected(Slot):
    """The first values by time; of equal times by position. `ties`: see First."""

    rows: int
    ties: bool

    kind = "collect"

    @property
    def name(self) -> str:
        """Return the name of the values' attribute."""
        return f"{super().name}_{self.rows}"

    @property
    def needs_ordinal(self) -> bool:
        """Return whether positions are kept."""
        return self.ties

    def attributes(self) -> dict[str, str]:
        """Start from empty lists: times, positions where needed, values."""
        ordinals = {f"{self.name}_ordinal": "[]"} if self.ties else {}
        return {f"{self.name}_ms": "[]"} | ordinals | {self.name: "[]"}

    def constants(self) -> dict[str, Any]:
        """Return the functions of lists."""
        return {"bisect_right": bisect_right, "merged_first": sketches.merged_first}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Put the value at its place if that is one of the first."""
        new = ["time_ms", *(["ordinal"] if self.ties else []), self.value(values)]
        lists = self._of("group")
        emit.line(f"times_ms = {lists[0]}")
        with emit.block(f"if len(times_ms) < {self.rows} or time_ms < times_ms[-1]:"):
            emit.line("place = bisect_right(times_ms, time_ms)")
            for each, value in zip(lists, new, strict=True):
                emit.line(f"{each}.insert(place, {value})")
            with emit.block(f"if len(times_ms) > {self.rows}:"):
                emit.line(f"del {', '.join(f'{each}[-1]' for each in lists)}")

    def merge(self, emit: Emitter) -> None:
        """Keep the first of both."""
        mine, theirs = ", ".join(self._of("group")), ", ".join(self._of("later"))
        with emit.block(f"if {self._of('later')[0]}:"):
            emit.line(f"{mine} = merged_first({self.rows}, ({mine}), ({theirs}))")

    def _of(self, group: str) -> list[str]:
        return [f"{group}.{attribute}" for attribute in self.attributes()]
