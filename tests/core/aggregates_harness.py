"""One window's aggregates, compiled by themselves: a group class, add, merge, refuse, pack, unpack and a row."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from consumer.core import faults
from consumer.core.accumulators import Accumulators
from consumer.core.expressions import Emitter
from consumer.pipeline.model import Aggregate, Kind, Name, Session, Sliding, Tumbling, Type, Window
from consumer.testing.reference.aggregates import aggregate
from consumer.testing.reference.windows import Event, Span

TIME = "at"
GAP_MS = 1000
TUMBLING = Tumbling(1000, 0)
SLIDING = Sliding(1000, 100)
SESSION = Session(GAP_MS)
CUT_SESSION = Session(GAP_MS, 100_000)
START_MS, END_MS = 1_000, 61_000

STRING, INT, FLOAT, BOOL, TIMESTAMP = Type.STRING, Type.INT, Type.FLOAT, Type.BOOL, Type.TIMESTAMP


def big(value: int | None) -> int | msgspec.msgpack.Ext | None:
    """Return what stands for an int of any size."""
    return value if value is None or abs(value) < 2**63 else msgspec.msgpack.Ext(1, str(value).encode())


def _restore_big(code: int, data: memoryview) -> int:
    assert code == 1
    return int(bytes(data))


def column(
    function: str, *arguments: Type | Name, nullable: bool = True, parameters: tuple[int | float | str, ...] = ()
) -> Aggregate:
    """Return a column whose arguments are fields x (and y) of these types."""
    names = tuple(
        each if isinstance(each, Name) else Name(f"{each.value}_{'xy'[place]}", each, nullable)
        for place, each in enumerate(arguments)
    )
    result = {"count": INT, "count_distinct": INT, "approx_distinct": INT}.get(function)
    if function in {"avg", "variance", "stddev", "quantile", "rate"}:
        result = FLOAT
    if result is None:
        result = names[0].type
    return Aggregate(function, function, names, parameters, result, nullable)


def window(*columns: Aggregate, kind: Kind = SLIDING) -> Window:
    """Return a window with these columns, named by their numbers."""
    select = tuple(
        Aggregate(f"c{number}", each.function, each.arguments, each.parameters, each.type, each.nullable)
        for number, each in enumerate(columns)
    )
    return Window("w", kind, (), select, aligned=True)


class Compiled:
    """The aggregates of a window as the pipeline's generated code has them."""

    def __init__(self, of: Window) -> None:
        self.window = of
        self.accumulators = Accumulators(of, TIME)
        self._values = [f"v{number}" for number in range(len(self.accumulators.arguments))]
        self.made: dict[str, Any] = {"big": big, "Fault": faults.Fault, "faults": faults}
        self.made |= self.accumulators.constants()
        emit = Emitter(self.made)
        self._emit(emit)
        self.source = "\n".join(emit.lines) + "\n"
        exec(compile(self.source, "<aggregates>", "exec"), self.made)  # noqa: S102 - what is tested is code

    def _emit(self, emit: Emitter) -> None:
        names = self.accumulators.attributes()
        with emit.block("class Group:"):
            emit.line(f"__slots__ = {('first_ms', 'last_ms', *names)!r}")
            with emit.block("def __init__(self):"):
                emit.line("self.first_ms = self.last_ms = None")
                for name in names:
                    emit.line(f"self.{name} = {self.accumulators.initial(name)}")
        with emit.block(f"def add(group, time_ms, ordinal, {', '.join(self._values)}):"):
            emit.line("pass")
            self.accumulators.emit_add(emit, self._values)
        with emit.block("def merge(group, later):"):
            emit.line("pass")
            self.accumulators.emit_merge(emit)
        with emit.block(f"def refuse(groups, {', '.join(self._values)}):"):
            emit.line("pass")
            self.accumulators.emit_refusal(emit, self._values)
        with emit.block("def pack(group):"):
            emit.line(f"return [{', '.join(self.accumulators.packed(name) for name in names)}]")
        with emit.block("def unpack(values):"):
            emit.line("group = Group()")
            for number, name in enumerate(names):
                emit.line(f"group.{name} = {self.accumulators.unpacked(name, f'values[{number}]')}")
            emit.line("return group")
        with emit.block("def row(group, start_ms, end_ms):"), emit.block("return {"):
            for each in self.window.select:
                emit.line(f"{each.name!r}: {self.accumulators.result(each)},")
            emit.line("}")

    def values(self, event: Event) -> list[Any]:
        """Return the values of the distinct arguments, of an event with values for each column."""
        found: dict[Any, Any] = {}
        for each, values in zip(self.window.select, event.arguments, strict=True):
            found |= dict(zip(each.arguments, values, strict=True))
        return [found[argument] for argument in self.accumulators.arguments]

    def group(self, events: Iterable[Event] = ()) -> Any:
        """Return a group of events, in order."""
        group = self.made["Group"]()
        for event in events:
            self.add(group, event)
        return group

    def add(self, group: Any, event: Event) -> None:
        self.made["add"](group, event.time_ms, event.number, *self.values(event))

    def refuse(self, groups: list[Any], *values: Any) -> None:
        self.made["refuse"](groups, *values)

    def merged(self, *groups: Any) -> Any:
        """Return a fresh group that all have been merged into; hold that none of them changed."""
        fresh = self.made["Group"]()
        before = [self.pack(each) for each in groups]
        for each in groups:
            self.made["merge"](fresh, each)
        assert [self.pack(each) for each in groups] == before
        return fresh

    def pack(self, group: Any) -> bytes:
        return msgspec.msgpack.encode(self.made["pack"](group))

    def unpack(self, data: bytes) -> Any:
        return self.made["unpack"](msgspec.msgpack.decode(data, ext_hook=_restore_big))

    def copy(self, group: Any) -> Any:
        return self.unpack(self.pack(group))

    def row(self, group: Any) -> list[Any]:
        """Return the columns as a row prints them."""
        printed = msgspec.json.encode(self.made["row"](group, START_MS, END_MS))
        return list(msgspec.json.decode(printed, type=dict[str, Any]).values())


def expected(of: Window, history: list[Any]) -> list[Any]:
    """Return what the reference says of a history, as a row prints it."""
    span = Span(START_MS, END_MS, history)
    values = [aggregate(each, span, number) for number, each in enumerate(of.select)]
    decoded: list[Any] = msgspec.json.decode(msgspec.json.encode(values))
    return decoded


SMALL: dict[Type, list[Any]] = {
    STRING: ["", "a", "b", "ab", "Ä", "éa", "\U0001f600", "zz"],
    INT: [0, 1, -1, 2, 3, 7, 200, -1000, 2**62, -(2**63), 2**63 - 1],
    FLOAT: [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, 1e150, -1e300, 5e-324, 3.0, 1e17],
    BOOL: [True, False],
    TIMESTAMP: [0, 1, -1, 1_700_000_000_000, 1_700_000_000_001],
}


def events(random: Random, of: Window, count: int, *, nulls: bool = True, wide: bool = False) -> list[Event]:
    """Return events in shard order, near in time, with many ties. `wide`: of many different values."""
    made = []
    for number in range(count):
        values = {
            name: None if nulls and name.nullable and random.random() < 0.2 else _value(random, name.type, wide=wide)
            for each in of.select
            for name in each.arguments
            if isinstance(name, Name)
        }
        arguments = tuple(tuple(values[name] for name in each.arguments) for each in of.select)  # type: ignore[index]  # all are names
        made.append(Event(random.randrange(START_MS, START_MS + 20), number, arguments))
    return made


def _value(random: Random, of: Type, *, wide: bool) -> Any:
    if not wide or of is BOOL:
        return random.choice(SMALL[of])
    match of:
        case Type.STRING:
            return f"value {int(random.paretovariate(0.4)) % 100_000}"
        case Type.FLOAT:
            return random.choice([-1, 1]) * random.lognormvariate(0, 10)
        case _:
            return random.randrange(-(10 ** random.randrange(1, 18)), 10 ** random.randrange(1, 18))


def every_column(*, nullable: bool) -> list[Aggregate]:
    """Return a column of every function and type."""
    ordered = (STRING, INT, FLOAT, TIMESTAMP)
    columns: list[Aggregate] = []
    columns.append(Aggregate("count", "count", (), (), INT, nullable=False))
    columns.append(Aggregate("rate", "rate", (), (60_000,), FLOAT, nullable=False))
    for of in Type:
        columns += [column(name, of, nullable=nullable) for name in ("count", "first", "last", "approx_distinct")]
        columns += [
            column("top", of, nullable=nullable, parameters=(3,)),
            column("collect", of, nullable=nullable, parameters=(4,)),
            column("count_distinct", of, nullable=nullable, parameters=(3, "approximate")),
            column("count_distinct", of, nullable=nullable, parameters=(1000, "reject")),
        ]
    for of in ordered:
        columns += [column(name, of, nullable=nullable) for name in ("min", "max")]
        columns += [column(name, BOOL, of, nullable=nullable) for name in ("min_by", "max_by")]
        columns.append(column("min_by", of, of, nullable=nullable))
    for of in (INT, FLOAT):
        columns += [column(name, of, nullable=nullable) for name in ("sum", "avg", "variance", "stddev")]
        columns += [column("quantile", of, nullable=nullable, parameters=(q,)) for q in (0, 0.07, 0.5, 0.99, 1.0)]
    return columns
