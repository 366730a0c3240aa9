"""Aggregates as slots of a group object, and the lines of code that keep them.

One slot an accumulator, shared by the columns that need the same one (avg is a sum and a count). Rules:
1. Null is ignored; a column that saw only null is null, a count is 0.
2. Sums start from 0, so -0.0 alone sums to 0.0; min, max and avg show 0.0 for -0.0 too.
3. first and last go by event time; of equal times the earlier and the later position.
4. A sum of floats that overflows prints as null.
5. Merging adds the later session to the earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.core.expressions import Emitter
from consumer.pipeline.model import Aggregate, Expression, Type, Window

EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Slot:
    """One attribute of a group. `argument` numbers the window's distinct arguments; -1 for the count of events."""

    kind: str
    argument: int

    @property
    def name(self) -> str:
        """Return the attribute's name."""
        return EVENTS if self.argument < 0 else f"{self.kind}_{self.argument}"


class Accumulators:
    """What a window's select needs. `arguments` are its distinct argument expressions, in order."""

    def __init__(self, window: Window) -> None:
        self.arguments: list[Expression] = []
        self.slots: list[Slot] = []
        for aggregate in window.select:
            for kind in _KINDS[aggregate.function]:
                self._slot(kind, aggregate.argument)

    def _slot(self, kind: str, argument: Expression | None) -> Slot:
        if argument is not None and argument not in self.arguments:
            # Also where only events are counted: evaluating the argument may fail.
            self.arguments.append(argument)
        if argument is None or (kind == "count" and not argument.nullable):
            slot = Slot("count", -1)
        else:
            slot = Slot(kind, self.arguments.index(argument))
        if slot not in self.slots:
            self.slots.append(slot)
        return slot

    def attributes(self) -> list[str]:
        """Return the attributes of a group, in the order in which they are stored."""
        names = []
        for slot in self.slots:
            names.append(slot.name)
            if slot.kind in _TIMED:
                names.append(f"{slot.name}_ms")
        return names

    def initial(self, attribute: str) -> str:
        """Return the source of an attribute's value before any event."""
        slot = next((slot for slot in self.slots if slot.name == attribute), None)
        if slot is None:
            return "None"
        if slot.kind == "count":
            return "0"
        argument = self.arguments[slot.argument]
        if slot.kind == "sum" and not argument.nullable:
            return "0" if argument.type is Type.INT else "0.0"
        return "None"

    def int_sums(self) -> list[str]:
        """Return the attributes that may grow beyond 64 bits."""
        return [
            slot.name for slot in self.slots if slot.kind == "sum" and self.arguments[slot.argument].type is Type.INT
        ]

    def emit_add(self, emit: Emitter, values: list[str]) -> None:
        """Write the lines that add an event to `group`; `values` are the arguments' names, `time_ms` its time."""
        for slot in self.slots:
            if slot.argument < 0:
                emit.line(f"group.{slot.name} += 1")
        for number, (argument, value) in enumerate(zip(self.arguments, values, strict=True)):
            mine = [slot for slot in self.slots if slot.argument == number]
            if not mine:
                continue
            if argument.nullable:
                with emit.block(f"if {value} is not None:"):
                    for slot in mine:
                        _emit_add(emit, slot, value, argument)
            else:
                for slot in mine:
                    _emit_add(emit, slot, value, argument)

    def emit_merge(self, emit: Emitter) -> None:
        """Write the lines that add the group `later` to the group `group`."""
        for slot in self.slots:
            name = slot.name
            match slot.kind:
                case "count":
                    emit.line(f"group.{name} += later.{name}")
                case "first":
                    with emit.block(f"if group.{name}_ms is None:"):
                        emit.line(f"group.{name}, group.{name}_ms = later.{name}, later.{name}_ms")
                case "last":
                    with emit.block(f"if later.{name}_ms is not None:"):
                        emit.line(f"group.{name}, group.{name}_ms = later.{name}, later.{name}_ms")
                case kind:
                    with emit.block(f"if group.{name} is None:"):
                        emit.line(f"group.{name} = later.{name}")
                    with emit.block(f"elif later.{name} is not None{_UNLESS[kind].format(name=name)}:"):
                        emit.line(f"group.{name} {'+=' if kind == 'sum' else '='} later.{name}")

    def result(self, aggregate: Aggregate) -> str:
        """Return the source of a column's value, of `group`."""
        function, argument = aggregate.function, aggregate.argument
        if function == "avg":
            total, count = self._slot("sum", argument).name, self._slot("count", argument).name
            return f"group.{total} / group.{count} + 0.0 if group.{count} else None"
        name = f"group.{self._slot(_KINDS[function][0], argument).name}"
        if function in {"min", "max"} and aggregate.type is Type.FLOAT:
            return f"{name} + 0.0 if {name} is not None else None"
        return text_of(name, aggregate.type, nullable=True)


def text_of(name: str, value_type: Type, *, nullable: bool) -> str:
    """Return the source of a value as rows show it: a timestamp as text, everything else as it is."""
    if value_type is not Type.TIMESTAMP:
        return name
    return f"format_time({name}) if {name} is not None else None" if nullable else f"format_time({name})"


_KINDS = {
    "count": ("count",),
    "sum": ("sum",),
    "avg": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "first": ("first",),
    "last": ("last",),
}
_TIMED = {"first": "<", "last": ">="}
_ORDER = {"min": "<", "max": ">"}
_UNLESS = {
    "sum": "",
    "min": " and later.{name} < group.{name}",
    "max": " and later.{name} > group.{name}",
}


def _emit_add(emit: Emitter, slot: Slot, value: str, argument: Expression) -> None:
    name = f"group.{slot.name}"
    match slot.kind:
        case "count":
            emit.line(f"{name} += 1")
        case "sum" if argument.nullable:
            zero = "0" if argument.type is Type.INT else "0.0"
            emit.line(f"{name} = ({zero} if {name} is None else {name}) + {value}")
        case "sum":
            emit.line(f"{name} += {value}")
        case "min" | "max" as kind:
            with emit.block(f"if {name} is None or {value} {_ORDER[kind]} {name}:"):
                emit.line(f"{name} = {value}")
        case kind:
            with emit.block(f"if {name}_ms is None or time_ms {_TIMED[kind]} {name}_ms:"):
                emit.line(f"{name}, {name}_ms = {value}, time_ms")
