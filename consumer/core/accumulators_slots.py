"""What a group keeps for one aggregate, or for several that need the same: plain numbers and single values.

A slot is one or more attributes of the group and the lines of code that start, add to, merge and store them. In the
lines, `group` is the group, `later` another one to be added to it, `time_ms` the event's time and `ordinal` its
position. `later` stays as it is, and shares nothing with `group` afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from consumer.core.expressions import Emitter
from consumer.pipeline.model import Type

NEVER_MS = 2**62
"""Later than any time."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One of the window's distinct argument expressions, by its number."""

    number: int
    type: Type | None
    nullable: bool


@dataclass(frozen=True)
class Slot:
    """The base of all slots. Where `guard` is null, the event does not count; None is for all events."""

    guard: Argument | None

    kind: ClassVar[str]

    @property
    def needs_ordinal(self) -> bool:
        """Return whether the lines of `add` use the event's position."""
        return False

    @property
    def name(self) -> str:
        """Return the name of the first attribute."""
        assert self.guard is not None
        return f"{self.kind}_{self.guard.number}"

    @property
    def group(self) -> str:
        """Return the source of the first attribute, of `group`."""
        return f"group.{self.name}"

    @property
    def later(self) -> str:
        """Return the source of the first attribute, of `later`."""
        return f"later.{self.name}"

    def attributes(self) -> dict[str, str]:
        """Return the attributes, in storage order, and the sources of their values before any event."""
        return {self.name: "None"}

    def packed(self, attribute: str) -> str:
        """Return the source of the plain value that stands for an attribute of `group`."""
        return f"group.{attribute}"

    def unpacked(self, attribute: str, source: str) -> str:
        """Return the source of the attribute's value, of the source of what was packed."""
        del attribute
        return source

    def constants(self) -> dict[str, Any]:
        """Return what the lines refer to by name."""
        return {}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Write the lines that add an event; `values` are the sources of the arguments, by number."""
        raise NotImplementedError

    def merge(self, emit: Emitter) -> None:
        """Write the lines that add `later`."""
        raise NotImplementedError

    def combine(self, emit: Emitter) -> None:
        """Write the lines that add `later`, a group of another shard: of equal events that of `group` is the first."""
        self.merge(emit)

    def value(self, values: Sequence[str]) -> str:
        """Return the source of the guard's value."""
        assert self.guard is not None
        return values[self.guard.number]


@dataclass(frozen=True)
class Count(Slot):
    """How many events there are, or how many have an argument that is not null."""

    kind = "count"

    @property
    def name(self) -> str:
        """Return the attribute's name."""
        return "events" if self.guard is None else f"count_{self.guard.number}"

    def attributes(self) -> dict[str, str]:
        """Start from 0."""
        return {self.name: "0"}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Count one more."""
        del values
        emit.line(f"{self.group} += 1")

    def merge(self, emit: Emitter) -> None:
        """Add the counts."""
        emit.line(f"{self.group} += {self.later}")


@dataclass(frozen=True)
class Sum(Slot):
    """The sum: an int of any size, or a float. None where all was null."""

    kind = "sum"

    @property
    def _zero(self) -> str:
        assert self.guard is not None
        return "0" if self.guard.type is Type.INT else "0.0"

    def attributes(self) -> dict[str, str]:
        """Start from 0, so that -0.0 alone sums to 0.0; from null where all may be null."""
        assert self.guard is not None
        return {self.name: "None" if self.guard.nullable else self._zero}

    def packed(self, attribute: str) -> str:
        """Store ints beyond 64 bits too."""
        return f"big(group.{attribute})" if self._zero == "0" else f"group.{attribute}"

    def _term(self, value: str) -> str:
        return value

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Add the value."""
        assert self.guard is not None
        name, term = self.group, self._term(self.value(values))
        if self.guard.nullable:
            emit.line(f"{name} = ({self._zero} if {name} is None else {name}) + {term}")
        else:
            emit.line(f"{name} += {term}")

    def merge(self, emit: Emitter) -> None:
        """Add the later sum to the earlier one."""
        assert self.guard is not None
        name, later = self.group, self.later
        if self.guard.nullable:
            with emit.block(f"if {later} is not None:"):
                emit.line(f"{name} = {later} if {name} is None else {name} + {later}")
        else:
            emit.line(f"{name} += {later}")


@dataclass(frozen=True)
class SumOfSquares(Sum):
    """The exact sum of the squares of ints."""

    kind = "squares"

    def _term(self, value: str) -> str:
        return f"{value} * {value}"


@dataclass(frozen=True)
class Moments(Slot):
    """Mean and sum of squared deviations of floats: Welford's, merged by Chan's. Needs the count, added before."""

    count: Count

    kind = "mean"

    @property
    def deviations(self) -> str:
        """Return the name of the second attribute."""
        assert self.guard is not None
        return f"deviations_{self.guard.number}"

    def attributes(self) -> dict[str, str]:
        """Start from 0.0."""
        return {self.name: "0.0", self.deviations: "0.0"}

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Move the mean towards the value."""
        value = self.value(values)
        emit.line(f"delta = {value} - {self.group}")
        emit.line(f"{self.group} += delta / {self.count.group}")
        emit.line(f"group.{self.deviations} += delta * ({value} - {self.group})")

    def merge(self, emit: Emitter) -> None:
        """Join two populations. The counts are still those of before."""
        mine, theirs = self.count.group, self.count.later
        deviations, later_deviations = f"group.{self.deviations}", f"later.{self.deviations}"
        with emit.block(f"if not {mine}:"):
            emit.line(f"{self.group}, {deviations} = {self.later}, {later_deviations}")
        with emit.block(f"elif {theirs}:"):
            emit.line(f"count = {mine} + {theirs}")
            emit.line(f"delta = {self.later} - {self.group}")
            emit.line(f"{deviations} += {later_deviations} + delta * delta * ({mine} * {theirs} / count)")
            emit.line(f"{self.group} += delta * ({theirs} / count)")


@dataclass(frozen=True)
class Extreme(Slot):
    """The least or the greatest value."""

    kind = "min"
    order: ClassVar[str] = "<"

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Keep the value if it is better than all so far."""
        value = self.value(values)
        with emit.block(f"if {self.group} is None or {value} {self.order} {self.group}:"):
            emit.line(f"{self.group} = {value}")

    def merge(self, emit: Emitter) -> None:
        """Keep the better of two."""
        better = f"{self.group} is None or {self.later} {self.order} {self.group}"
        with emit.block(f"if {self.later} is not None and ({better}):"):
            emit.line(f"{self.group} = {self.later}")


class Min(Extreme):
    """The least value."""


class Max(Extreme):
    """The greatest value."""

    kind = "max"
    order = ">"


@dataclass(frozen=True)
class First(Slot):
    """The value of the first event by time; of equal times the lowest position.

    An event that is added has a higher position than all before. `ties`: groups to be merged may have events of the
    same time, so they keep the positions.
    """

    ties: bool

    kind = "first"
    start_ms: ClassVar[int] = NEVER_MS
    displaces: ClassVar[str] = "<"
    merge_order: ClassVar[str] = "<"

    @property
    def needs_ordinal(self) -> bool:
        """Return whether positions are kept."""
        return self.ties

    def attributes(self) -> dict[str, str]:
        """Start from an event that any other displaces."""
        ordinal = {f"{self.name}_ordinal": "0"} if self.ties else {}
        return {self.name: "None", f"{self.name}_ms": str(self.start_ms)} | ordinal

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Take the event if it comes first."""
        new = [self.value(values), "time_ms", *(["ordinal"] if self.ties else [])]
        with emit.block(f"if time_ms {self.displaces} {self.group}_ms:"):
            emit.line(f"{self._of('group')} = {', '.join(new)}")

    def merge(self, emit: Emitter) -> None:
        """Take the later group's event if it comes first."""
        mine, theirs = (self._place(of) for of in ("group", "later"))
        with emit.block(f"if {theirs} {self.merge_order} {mine}:"):
            emit.line(f"{self._of('group')} = {self._of('later')}")

    def _of(self, group: str) -> str:
        return ", ".join(f"{group}.{attribute}" for attribute in self.attributes())

    def _place(self, group: str) -> str:
        time_ms = f"{group}.{self.name}_ms"
        return f"({time_ms}, {group}.{self.name}_ordinal)" if self.ties else time_ms


class Last(First):
    """The value of the last event by time; of equal times the highest position."""

    kind = "last"
    start_ms = -NEVER_MS
    displaces = ">="
    merge_order = ">"

    def combine(self, emit: Emitter) -> None:
        """Take the later group's event unless it comes before."""
        with emit.block(f"if {self.later}_ms >= {self.group}_ms:"):
            emit.line(f"{self._of('group')} = {self._of('later')}")


@dataclass(frozen=True)
class MinBy(Slot):
    """The argument of the event whose guard is least; of equals the lowest position.

    `merges`: groups are merged, so they keep the position.
    """

    argument: Argument
    merges: bool

    kind = "min_by"
    order: ClassVar[str] = "<"

    @property
    def name(self) -> str:
        """Return the name of the argument's attribute."""
        assert self.guard is not None
        return f"{self.kind}_{self.argument.number}_{self.guard.number}"

    @property
    def needs_ordinal(self) -> bool:
        """Return whether positions are kept."""
        return self.merges

    def attributes(self) -> dict[str, str]:
        """Start from an event that any other displaces."""
        ordinal = {f"{self.name}_ordinal": "0"} if self.merges else {}
        return {self.name: "None", f"{self.name}_key": "None"} | ordinal

    def add(self, emit: Emitter, values: Sequence[str]) -> None:
        """Take the event if it is better than all so far; its position is higher than theirs."""
        key = self.value(values)
        new = [values[self.argument.number], key, *(["ordinal"] if self.merges else [])]
        with emit.block(f"if {self.group}_key is None or {key} {self.order} {self.group}_key:"):
            emit.line(f"{self._of('group')} = {', '.join(new)}")

    def merge(self, emit: Emitter) -> None:
        """Take the later group's event if it is better, or as good and of a lower position."""
        mine, theirs = f"{self.group}_key", f"{self.later}_key"
        better = f"{mine} is None or {theirs} {self.order} {mine}"
        earlier = f"{theirs} == {mine} and {self.later}_ordinal < {self.group}_ordinal"
        with emit.block(f"if {theirs} is not None and ({better} or {earlier}):"):
            emit.line(f"{self._of('group')} = {self._of('later')}")

    def combine(self, emit: Emitter) -> None:
        """Take the later group's event if it is better."""
        mine, theirs = f"{self.group}_key", f"{self.later}_key"
        with emit.block(f"if {theirs} is not None and ({mine} is None or {theirs} {self.order} {mine}):"):
            emit.line(f"{self._of('group')} = {self._of('later')}")

    def _of(self, group: str) -> str:
        return ", ".join(f"{group}.{attribute}" for attribute in self.attributes())


class MaxBy(MinBy):
    """The argument of the event whose guard is greatest; of equals the lowest position."""

    kind = "max_by"
    order = ">"
