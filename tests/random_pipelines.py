"""Random pipelines and streams from a seed: small alphabets and near times, so that rules meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from consumer.pipeline.model import (
    Aggregate,
    Apply,
    Events,
    Expression,
    Field,
    Let,
    Literal,
    Name,
    Pipeline,
    Session,
    Source,
    State,
    StdoutSink,
    Tumbling,
    Type,
    Window,
    Worker,
)
from consumer.records import Record

STRING, INT, FLOAT, BOOL, TIMESTAMP = Type.STRING, Type.INT, Type.FLOAT, Type.BOOL, Type.TIMESTAMP

FIELDS = (
    Field("user", STRING, nullable=False),
    Field("at", TIMESTAMP, nullable=False),
    Field("s", STRING, nullable=True),
    Field("i", INT, nullable=False),
    Field("j", INT, nullable=True),
    Field("f", FLOAT, nullable=False),
    Field("g", FLOAT, nullable=True),
    Field("b", BOOL, nullable=True),
    Field("t", TIMESTAMP, nullable=True),
)
START_MS = 1_000_000

VALUES: dict[Type, list[Any]] = {
    STRING: ["", "a", "b", "ab", "Ä", "éa", "12", " -3.7 ", "1e3", "x1", "9223372036854775808", "\U0001f600"],
    INT: [0, 1, -1, 2, 3, 7, 1000, -1000, 2**62, -(2**63), 2**63 - 1],
    FLOAT: [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, 1e300, -1e300, 5e-324, 3.0, 1e17],
    BOOL: [True, False],
}
_BROKEN = [b"", b"{", b"[1]", b'{"user":1}', b'{"user":"a","at":"x","i":1,"f":1}', b"\xff", b'{"user":"a"}', b"NaN"]

_NUMERIC = ((FLOAT, FLOAT), (INT, FLOAT), (FLOAT, INT))
_PAIRS = ((INT, INT), *_NUMERIC, (STRING, STRING), (TIMESTAMP, TIMESTAMP))
# Operator, types of its arguments, whether it makes null of what is not null: for each type of result.
_OPERATIONS: dict[Type, list[tuple[str, tuple[Type, ...], bool]]] = {
    STRING: [
        ("lower", (STRING,), False),
        ("upper", (STRING,), False),
        ("substring", (STRING, INT, INT), False),
        *(("to_string", (each,), False) for each in Type),
    ],
    INT: [
        *((operator, (INT, INT), False) for operator in "+-*"),
        *((operator, (INT, INT), True) for operator in ("%", "bucket")),
        *((operator, (INT,), False) for operator in ("neg", "abs", "round", "floor", "ceil", "to_int")),
        *(("to_int", (each,), False) for each in (FLOAT, BOOL, TIMESTAMP)),
        ("to_int", (STRING,), True),
        ("length", (STRING,), False),
    ],
    FLOAT: [
        *((operator, types, False) for operator in "+-*" for types in _NUMERIC),
        *((operator, types, True) for operator in ("%", "bucket") for types in _NUMERIC),
        *(("/", types, True) for types in (*_NUMERIC, (INT, INT))),
        *((operator, (FLOAT,), False) for operator in ("neg", "abs", "round", "floor", "ceil", "to_float")),
        *(("to_float", (each,), False) for each in (INT, BOOL)),
        ("to_float", (STRING,), True),
    ],
    BOOL: [
        *((operator, types, False) for operator in ("==", "!=", "<", "<=", ">", ">=") for types in _PAIRS),
        *((operator, (BOOL, BOOL), False) for operator in ("==", "!=", "and", "or", "and", "or", "and", "or")),
        *(("not", (BOOL,), False) for _ in range(3)),
        *((operator, (STRING, STRING), False) for operator in ("starts_with", "contains")),
    ],
}


class PipelineMaker:
    """Makes one random pipeline."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._scope = [Name(field.name, field.type, field.nullable) for field in FIELDS]

    def expression(self, of: Type, depth: int) -> Expression:
        """Return a well-typed expression, typed as the parser types it."""
        choice = self._random.random()
        if depth == 0 or of is TIMESTAMP or choice < 0.2:
            return self._leaf(of)
        if choice < 0.35:
            return self._choice(of, depth)
        if of is BOOL and choice < 0.5:
            return self._test(depth)
        operator, types, null = self._random.choice(_OPERATIONS[of])
        arguments = tuple(self.expression(each, depth - 1) for each in types)
        return Apply(operator, arguments, of, null or any(argument.nullable for argument in arguments))

    def _leaf(self, of: Type) -> Expression:
        if of is TIMESTAMP or self._random.random() < 0.6:
            return self._random.choice([name for name in self._scope if name.type is of])
        return Literal(self._random.choice(VALUES[of]), of, nullable=False)

    def _choice(self, of: Type, depth: int) -> Expression:
        left, right = self.expression(of, depth - 1), self.expression(of, depth - 1)
        if self._random.random() < 0.5:
            return Apply("coalesce", (left, right), of, left.nullable and right.nullable)
        return Apply("if", (self.expression(BOOL, depth - 1), left, right), of, left.nullable or right.nullable)

    def _test(self, depth: int) -> Expression:
        if self._random.random() < 0.5:
            of = self._random.choice([STRING, INT, FLOAT, BOOL])
            operator = self._random.choice(["is_null", "is_not_null"])
            return Apply(operator, (self.expression(of, depth - 1),), BOOL, nullable=False)
        text = self.expression(STRING, depth - 1)
        return Apply("matches", (text, Literal("a|1", STRING, nullable=False)), BOOL, text.nullable)

    def pipeline(self) -> Pipeline:
        """Return the pipeline."""
        pick = self._random.choice
        return Pipeline(
            name="random",
            source=Source("stream", "user", "trim_horizon"),
            lets=tuple(self._let(number) for number in range(self._random.randrange(3))),
            events=Events(FIELDS, pick(["at", "at", None]), pick([0, 5, 50]), pick([None, 40]), 1 << 20),
            where=pick([None, self.expression(BOOL, 3)]),
            windows=tuple(self._window(number) for number in range(self._random.randint(1, 3))),
            sinks=(),
            late=pick([None, StdoutSink()]),
            dead_letter=pick([None, StdoutSink()]),
            state=State("table", "bucket", 5000, 1000),
            worker=Worker("random", None, 9102, ()),
        )

    def _let(self, number: int) -> Let:
        of = self._random.choice([STRING, INT, FLOAT, BOOL])
        expression = self.expression(of, 3)
        self._scope.append(Name(f"let{number}", of, expression.nullable))
        return Let(f"let{number}", expression)

    def _window(self, number: int) -> Window:
        pick = self._random.choice
        kinds: list[Tumbling | Session] = [
            Tumbling(pick([1, 10, 60]), self._random.randint(-100, 100)),
            Session(pick([1, 5, 20])),
        ]
        kind = pick(kinds)
        groups = [name for name in self._scope if name.type is not TIMESTAMP]
        by = tuple(self._random.sample(groups, self._random.randrange(3)))
        select = tuple(self._aggregate(column) for column in range(self._random.randint(1, 4)))
        return Window(f"w{number}", kind, by, select, aligned=any(name.name == "user" for name in by))

    def _aggregate(self, number: int) -> Aggregate:
        function = self._random.choice(["count", "sum", "min", "max", "avg", "first", "last"])
        name = f"c{number}"
        if function == "count":
            argument = self._random.choice([None, self.expression(STRING, 1), self.expression(FLOAT, 1)])
            return Aggregate(name, function, argument, INT, nullable=False)
        of = self._random.choice([INT, FLOAT] if function in {"sum", "avg"} else [STRING, INT, FLOAT, TIMESTAMP])
        argument = self.expression(of, 1)
        return Aggregate(name, function, argument, FLOAT if function == "avg" else of, argument.nullable)


def records(random: Random, count: int) -> list[Record]:
    """Return one shard's records in order: few users, near times, some broken, some misrouted."""
    made, time_ms = [], START_MS
    for number in range(count):
        time_ms += random.choice([0, 0, 1, 3, 12, -4, 25, 70, -60])
        data, key = _record(random, time_ms)
        made.append(Record(data, key, str(10**55 + number // 2), number % 2, START_MS + 30 * (number // 4)))
    return made


def _record(random: Random, time_ms: int) -> tuple[bytes, str]:
    if random.random() < 0.1:
        return random.choice(_BROKEN), "a"
    event: dict[str, Any] = {"user": random.choice("ab"), "at": time_ms}
    values: dict[Type, Callable[[], Any]] = {TIMESTAMP: lambda: random.choice([time_ms, 0])}
    for field in FIELDS[2:]:
        if field.nullable and random.random() < 0.3:
            continue
        event[field.name] = values.get(field.type, lambda of=field.type: random.choice(VALUES[of]))()
    key = event["user"] if random.random() < 0.95 else "elsewhere"
    return json.dumps(event, ensure_ascii=random.random() < 0.5).encode(), key
