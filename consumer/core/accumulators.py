"""Aggregates as slots of a group object, and the lines of code that keep them.

Columns that need the same slot share it: avg, variance and stddev of one argument have one count. Rules:
1. Null is ignored; a column that saw only null is null, a count is 0, a list is empty.
2. Sums start from 0, so -0.0 alone sums to 0.0; min, max, avg, quantile and top show 0.0 for -0.0 too.
3. first, last and collect go by event time; of equal times the earlier position comes first.
4. What overflows a float (a sum, a mean, a variance) prints as null.
5. Merging adds the later group to the earlier one. Only what is said here depends on which is which: the order in
   which floats are added, and the counters of `top` once they are thinned out.
6. Variance of ints is exact: it has the exact sums of the values and of their squares.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import sqrt
from typing import Any, ClassVar, TypeVar

from consumer.core.accumulators_many import (
    ApproximateSet,
    Collected,
    ExactSet,
    LimitedSet,
    Quantiles,
    Top,
)
from consumer.core.accumulators_slots import (
    Argument,
    Count,
    First,
    Last,
    Max,
    MaxBy,
    Min,
    MinBy,
    Moments,
    Slot,
    Sum,
    SumOfSquares,
)
from consumer.core.expressions import Emitter
from consumer.core.times import format_time
from consumer.pipeline.model import Aggregate, Expression, Name, Session, Sliding, Type, Window

AnySlot = TypeVar("AnySlot", bound=Slot)

_KEPT_BY_SESSIONS = {
    "min": "group.first_ms",
    "max": "group.last_ms",
    "first": "group.first_ms",
    "last": "group.last_ms",
}
"""Sources of aggregates of the event time itself."""


class Accumulators:
    """What a window's select needs.

    `arguments` are its distinct argument expressions, in order; `needs_ordinal` says whether the lines that add an
    event use its position. `time` is the field of the event's time: a session knows its least and greatest itself.

    The lines use the locals group, later, groups, time_ms, ordinal, and of their own: delta, count, fraction,
    exponent, bucket, buckets, counters, sketch, seen, times_ms, place.
    """

    def __init__(self, window: Window, time: str | None) -> None:
        kind = window.kind
        self._window = window
        self._time = time if isinstance(kind, Session) else None
        self._merges = isinstance(kind, Session | Sliding)
        # Sessions of one group that were cut may overlap, and be merged later on.
        self._ties = isinstance(kind, Session) and kind.max_length_ms is not None
        self.arguments: list[Expression] = []
        self.slots: list[Slot] = []
        self._results = {aggregate: self._column(aggregate) for aggregate in window.select}
        self.needs_ordinal = any(slot.needs_ordinal for slot in self.slots)

    def attributes(self) -> list[str]:
        """Return the attributes of a group, in the order in which they are stored."""
        return [attribute for slot in self.slots for attribute in slot.attributes()]

    def initial(self, attribute: str) -> str:
        """Return the source of an attribute's value before any event."""
        return self._slot_of(attribute).attributes()[attribute]

    def packed(self, attribute: str) -> str:
        """Return the source of the plain value that stands for an attribute of `group` in a snapshot."""
        return self._slot_of(attribute).packed(attribute)

    def unpacked(self, attribute: str, source: str) -> str:
        """Return the source of the attribute's value, of the source of a plain value."""
        return self._slot_of(attribute).unpacked(attribute, source)

    def constants(self) -> dict[str, Any]:
        """Return what the code refers to by name; SetupError where a library that it needs is not installed."""
        constants: dict[str, Any] = {"format_time": format_time, "sqrt": sqrt}
        for slot in self.slots:
            constants |= slot.constants()
        return constants

    def emit_add(self, emit: Emitter, values: list[str]) -> None:
        """Write the lines that add an event to `group`; `values` are the sources of the arguments."""
        # The count of all events comes first: moments need it.
        by_guard: dict[Argument | None, list[Slot]] = {None: []}
        for slot in self.slots:
            by_guard.setdefault(slot.guard, []).append(slot)
        for guard, slots in by_guard.items():
            if guard is not None and guard.nullable:
                with emit.block(f"if {values[guard.number]} is not None:"):
                    _emit_add(emit, slots, values)
            else:
                _emit_add(emit, slots, values)

    def emit_merge(self, emit: Emitter) -> None:
        """Write the lines that add the group `later` to the group `group`."""
        # A count comes before what needs it, so from behind the counts are merged last.
        for slot in reversed(self.slots):
            slot.merge(emit)

    def emit_combine(self, emit: Emitter) -> None:
        """Write the lines that add the group `later`, of another shard, to the group `group`."""
        for slot in reversed(self.slots):
            slot.combine(emit)

    def refusals(self) -> list[ExactSet]:
        """Return the slots that may refuse an event."""
        return [slot for slot in self.slots if isinstance(slot, ExactSet)]

    def emit_refusal(self, emit: Emitter, values: list[str]) -> None:
        """Write the lines that raise a Fault if an event may not be added to all `groups` merged into one."""
        for slot in self.refusals():
            slot.refuse(emit, values)

    def result(self, aggregate: Aggregate) -> str:
        """Return the source of a column's value, of `group`, `start_ms` and `end_ms`."""
        return self._results[aggregate]

    def _slot_of(self, attribute: str) -> Slot:
        return next(slot for slot in self.slots if attribute in slot.attributes())

    def _column(self, aggregate: Aggregate) -> str:
        """Make the slots of a column; return the source of its value."""
        kept = self._kept_by_session(aggregate)
        if kept is not None:
            return text_of(kept, Type.TIMESTAMP, nullable=False)
        return self._COLUMNS[aggregate.function](self, aggregate)

    def _kept_by_session(self, aggregate: Aggregate) -> str | None:
        """Return the source of the event time's extremes, which a session has anyhow."""
        names = [each.name for each in aggregate.arguments if isinstance(each, Name)]
        return _KEPT_BY_SESSIONS.get(aggregate.function) if names == [self._time] else None

    def _slot(self, slot: AnySlot) -> AnySlot:
        if slot not in self.slots:
            self.slots.append(slot)
        return slot

    def _argument(self, aggregate: Aggregate, place: int = 0) -> Argument:
        """Return an argument with its number; also where only events are counted, for evaluating it may fail."""
        argument = aggregate.arguments[place]
        if argument not in self.arguments:
            self.arguments.append(argument)
        return Argument(self.arguments.index(argument), argument.type, argument.nullable)

    def _count_slot(self, argument: Argument | None) -> Count:
        return self._slot(Count(argument if argument is not None and argument.nullable else None))

    def _count(self, aggregate: Aggregate) -> str:
        argument = self._argument(aggregate) if aggregate.arguments else None
        return self._count_slot(argument).group

    def _sum(self, aggregate: Aggregate) -> str:
        return self._slot(Sum(self._argument(aggregate))).group

    def _avg(self, aggregate: Aggregate) -> str:
        argument = self._argument(aggregate)
        count, total = self._count_slot(argument).group, self._slot(Sum(argument)).group
        return f"{total} / {count} + 0.0 if {count} else None"

    def _variance(self, aggregate: Aggregate) -> str:
        variance, count = self._variance_and_count(aggregate)
        return f"{variance} if {count} else None"

    def _stddev(self, aggregate: Aggregate) -> str:
        variance, count = self._variance_and_count(aggregate)
        # Only a variance that overflowed can be negative: minus infinity.
        return f"sqrt(abs({variance})) if {count} else None"

    def _variance_and_count(self, aggregate: Aggregate) -> tuple[str, str]:
        argument = self._argument(aggregate)
        count = self._count_slot(argument)
        n = count.group
        if argument.type is Type.INT:
            total, squares = self._slot(Sum(argument)).group, self._slot(SumOfSquares(argument)).group
            return f"({n} * {squares} - {total} * {total}) / ({n} * {n})", n
        moments = self._slot(Moments(argument, count))
        return f"group.{moments.deviations} / {n}", n

    def _extreme(self, aggregate: Aggregate) -> str:
        slot = (Min if aggregate.function == "min" else Max)(self._argument(aggregate))
        name = self._slot(slot).group
        if aggregate.type is Type.FLOAT:
            return f"{name} + 0.0 if {name} is not None else None"
        return text_of(name, aggregate.type, nullable=True)

    def _edge(self, aggregate: Aggregate) -> str:
        slot = (First if aggregate.function == "first" else Last)(self._argument(aggregate), self._ties)
        return text_of(self._slot(slot).group, aggregate.type, nullable=True)

    def _extreme_by(self, aggregate: Aggregate) -> str:
        argument, key = self._argument(aggregate), self._argument(aggregate, 1)
        slot = (MinBy if aggregate.function == "min_by" else MaxBy)(key, argument, self._merges)
        return text_of(self._slot(slot).group, aggregate.type, nullable=True)

    def _count_distinct(self, aggregate: Aggregate) -> str:
        argument = self._argument(aggregate)
        limit, policy = aggregate.parameters
        assert isinstance(limit, int), limit
        if policy == "reject":
            return f"len({self._slot(ExactSet(argument, limit, f'{self._window.name}.{aggregate.name}')).group})"
        slot = self._slot(LimitedSet(argument, limit))
        return f"{slot.constant}.count({slot.group})"

    def _approx_distinct(self, aggregate: Aggregate) -> str:
        return f"hyperloglog.count({self._slot(ApproximateSet(self._argument(aggregate))).group})"

    def _quantile(self, aggregate: Aggregate) -> str:
        argument = self._argument(aggregate)
        buckets, least, greatest = (self._slot(kind(argument)).group for kind in (Quantiles, Min, Max))
        # The decimal fraction that was written, not the float next to it: 0.07 of 100 is 7.
        part = Decimal(repr(aggregate.parameters[0])).as_integer_ratio()
        return f"quantile({buckets}, {part}, {least}, {greatest}, whole={argument.type is Type.INT})"

    def _top(self, aggregate: Aggregate) -> str:
        (rows,) = aggregate.parameters
        assert isinstance(rows, int), rows
        slot = self._slot(Top(self._argument(aggregate), rows))
        value = "value + 0.0" if aggregate.type is Type.FLOAT else text_of("value", aggregate.type, nullable=False)
        row = f"{{'value': {value}, 'count': count, 'error': group.{slot.error}}}"
        return f"[{row} for value, count in most_frequent({slot.group}, {rows})]"

    def _collect(self, aggregate: Aggregate) -> str:
        (rows,) = aggregate.parameters
        assert isinstance(rows, int), rows
        slot = self._slot(Collected(self._argument(aggregate), rows, self._ties))
        text = text_of("value", aggregate.type, nullable=False)
        return slot.group if text == "value" else f"[{text} for value in {slot.group}]"

    def _rate(self, aggregate: Aggregate) -> str:
        (per_ms,) = aggregate.parameters
        return f"{self._count_slot(None).group} * {per_ms} / (end_ms - start_ms)"

    _COLUMNS: ClassVar[dict[str, Callable[[Accumulators, Aggregate], str]]] = {
        "count": _count,
        "sum": _sum,
        "avg": _avg,
        "variance": _variance,
        "stddev": _stddev,
        "min": _extreme,
        "max": _extreme,
        "first": _edge,
        "last": _edge,
        "min_by": _extreme_by,
        "max_by": _extreme_by,
        "count_distinct": _count_distinct,
        "approx_distinct": _approx_distinct,
        "quantile": _quantile,
        "top": _top,
        "collect": _collect,
        "rate": _rate,
    }


def text_of(name: str, value_type: Type, *, nullable: bool) -> str:
    """Return the source of a value as rows show it: a timestamp as text, everything else as it is."""
    if value_type is not Type.TIMESTAMP:
        return name
    return f"format_time({name}) if {name} is not None else None" if nullable else f"format_time({name})"


def _emit_add(emit: Emitter, slots: list[Slot], values: list[str]) -> None:
    for slot in slots:
        slot.add(emit, values)
