"""Random pipelines from a seed: small alphabets, near times and low limits, so that rules meet.

random_streams.py has the records for them.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any
from typing import Literal as Literals

from consumer.pipeline.aggregates import parse_aggregate
from consumer.pipeline.canonical import aggregate_to_text, to_text
from consumer.pipeline.expressions import parse_expression
from consumer.pipeline.model import (
    Aggregate,
    Apply,
    Events,
    Expression,
    Field,
    Kind,
    Let,
    Limits,
    Literal,
    Name,
    Pipeline,
    Session,
    Sliding,
    Source,
    Stagger,
    State,
    StdoutSink,
    TimeUnit,
    Tumbling,
    Type,
    Window,
    Worker,
)

STRING, INT, FLOAT, BOOL, TIMESTAMP = Type.STRING, Type.INT, Type.FLOAT, Type.BOOL, Type.TIMESTAMP

TYPES = (
    ("user", STRING, False),
    ("at", TIMESTAMP, False),
    ("s", STRING, True),
    ("i", INT, False),
    ("j", INT, True),
    ("f", FLOAT, False),
    ("g", FLOAT, True),
    ("b", BOOL, True),
    ("t", TIMESTAMP, True),
)
FIELDS = tuple(Field(name, of, nullable, (name,)) for name, of, nullable in TYPES)
ZONES = ("Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "Pacific/Apia")
ZONED_STEP_MS = 600_000
"""What a step of time is in a pipeline whose windows follow a clock on the wall; in others it is a millisecond."""

VALUES: dict[Type, list[Any]] = {
    STRING: ["", "a", "b", "ab", "Ä", "éa", "12", " -3.7 ", "1e3", "x1", "9223372036854775808", "\U0001f600"],
    INT: [0, 1, -1, 2, 3, 7, 1000, -1000, 2**62, -(2**63), 2**63 - 1],
    FLOAT: [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, 1e300, -1e300, 5e-324, 3.0, 1e17],
    BOOL: [True, False],
}

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

_ANY = (STRING, INT, FLOAT, BOOL, TIMESTAMP)
_NUMBERS = (INT, FLOAT)
_ORDERED = (STRING, INT, FLOAT, TIMESTAMP)
# Aggregate, types of its first argument, type of the result (None: that of the argument).
_AGGREGATES: list[tuple[str, tuple[Type, ...], Type | None]] = [
    ("count", _ANY, INT),
    ("sum", _NUMBERS, None),
    ("min", _ORDERED, None),
    ("max", _ORDERED, None),
    ("avg", _NUMBERS, FLOAT),
    ("variance", _NUMBERS, FLOAT),
    ("stddev", _NUMBERS, FLOAT),
    ("first", _ANY, None),
    ("last", _ANY, None),
    ("min_by", _ANY, None),
    ("max_by", _ANY, None),
    ("count_distinct", _ANY, INT),
    ("approx_distinct", _ANY, INT),
    ("quantile", _NUMBERS, FLOAT),
    ("top", _ANY, None),
    ("collect", _ANY, None),
]
_NEVER_NULL = {"count", "count_distinct", "approx_distinct", "top", "collect"}


Format = Literals["json", "msgpack", "csv"]


def step_ms(pipeline: Pipeline) -> int:
    """Return how many milliseconds one step of time is in the windows of a random pipeline."""
    return ZONED_STEP_MS if zone_of(pipeline) else 1


def zone_of(pipeline: Pipeline) -> str | None:
    """Return the time zone of a random pipeline: all its zoned windows have the same."""
    kinds = (window.kind for window in pipeline.windows)
    return next((kind.timezone for kind in kinds if isinstance(kind, Tumbling) and kind.timezone), None)


class PipelineMaker:
    """Makes one random pipeline.

    `formats`: of any format and compression, not JSON with plain fields alone. `combines`: some windows are global.
    """

    def __init__(self, random: Random, *, formats: bool = False, combines: bool = False) -> None:
        self._random = random
        self._scope = [Name(name, of, nullable) for name, of, nullable in TYPES]
        self._zone = random.choice(ZONES) if random.random() < 0.15 else None
        self._formats = formats
        self._combines = combines

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

    def pipeline(self, windows_min: int = 1, windows_max: int = 3) -> Pipeline:
        """Return the pipeline."""
        pick = self._random.choice
        lets = tuple(self._let(number) for number in range(self._random.randrange(3)))
        windows = tuple(self._window(number) for number in range(self._random.randint(windows_min, windows_max)))
        made = Pipeline(
            name="random",
            source=Source("stream", "user", "trim_horizon"),
            lets=lets,
            events=self._events(),
            where=pick([None, None, self.expression(BOOL, 3)]),
            windows=windows,
            sinks=(),
            late=pick([None, StdoutSink(), StdoutSink()]),
            dead_letter=pick([None, StdoutSink(), StdoutSink()]),
            state=State("table", "bucket", 5000, 1000),
            limits=self._limits(windows),
            worker=Worker("random", None, 9102, "keep", ()),
        )
        return with_global_windows(self._random, made) if self._combines else made

    def _let(self, number: int) -> Let:
        of = self._random.choice([STRING, INT, FLOAT, BOOL])
        expression = self.expression(of, 3)
        self._scope.append(Name(f"let{number}", of, expression.nullable))
        return Let(f"let{number}", expression)

    # -- events

    def _events(self) -> Events:
        pick = self._random.choice
        formats: list[Format] = ["json", "json", "msgpack", "csv"]
        form = pick(formats) if self._formats else "json"
        return Events(
            format=form,
            compression=pick(["none", "none", "auto", "gzip", "zstd"]) if self._formats else "none",
            fields=self._fields(form) if self._formats else FIELDS,
            time=pick(["at", "at", "at", None]),
            out_of_orderness_ms=self._steps([0, 5, 50]),
            idle_after_ms=None,
            max_future_ms=pick([None, None, self._steps([40])]),
            max_bytes=1 << 20,
        )

    def _fields(self, form: str) -> tuple[Field, ...]:
        """Return fields wherever they may lie in a record of this format."""
        columns: list[int] = self._random.sample(range(len(TYPES) + 2), len(TYPES))
        by_name = self._random.random() < 0.5
        fields = []
        for number, (name, of, nullable) in enumerate(TYPES):
            path: tuple[str | int, ...] = self._random.choice(
                [(name,), (name,), ("in", name), ("in", "deep", number), ("list", number), (f"a {name}", 1)]
            )
            if form == "csv":
                path = (f"column {name}",) if by_name else (columns[number],)
            units = [TimeUnit.MILLISECONDS, TimeUnit.MICROSECONDS, *([TimeUnit.SECONDS] if self._zone else [])]
            unit = self._random.choice(units) if of is TIMESTAMP else TimeUnit.MILLISECONDS
            fields.append(Field(name, of, nullable, path, unit))
        return tuple(fields)

    # -- windows

    def _steps(self, steps: list[int]) -> int:
        return self._random.choice(steps) * (ZONED_STEP_MS if self._zone else 1)

    def _window(self, number: int) -> Window:
        kind = self._kind()
        user = self._scope[:1]
        by = tuple(self._random.choice([[], user, user, *(self._random.sample(self._scope, n) for n in (1, 1, 2))]))
        select = tuple(self._aggregate(column, kind) for column in range(self._random.randint(1, 4)))
        return Window(
            name=f"w{number}",
            kind=kind,
            by=by,
            select=select,
            aligned=any(name.name == "user" for name in by),
            where=self._random.choice([None, None, self.expression(BOOL, 2)]),
            allowed_lateness_ms=self._steps([0, 0, 5, 30, 100, 1000]),
            emit=self._random.choice(["updates", "updates", "final"]),
        )

    def _kind(self) -> Kind:
        pick, steps = self._random.choice, self._steps
        if self._zone and self._random.random() < 0.6:
            return Tumbling(steps([6, 7, 24, 144, 432]), steps(list(range(6))), self._zone)
        size_ms = steps([6, 10, 20])
        gap_ms = steps([1, 5, 20])
        every_ms = min(size_ms, steps([2, 3, 4, 7, 20]))
        kinds: list[Kind] = [
            Tumbling(steps([1, 10, 60]), self._random.randint(-100, 100)),
            Sliding(size_ms, every_ms),
            Session(gap_ms),
            Session(gap_ms, gap_ms * pick([1, 2, 3])),
            Stagger(size_ms),
        ]
        return pick(kinds)

    def _limits(self, windows: tuple[Window, ...]) -> Limits:
        policy = self._random.choice(["reject", "emit_early"])
        groups = self._random.choice([1_000_000, 1_000_000, 3, 8, 20])
        if policy == "emit_early":
            return Limits(groups, "emit_early")
        return Limits(max(groups, sum(_groups_of_event(window) for window in windows)), "reject")

    def _aggregate(self, number: int, kind: Kind) -> Aggregate:
        name, choice = f"c{number}", self._random.random()
        if choice < 0.1:
            return Aggregate(name, "count", (), (), INT, nullable=False)
        if choice < 0.15:
            return Aggregate(name, "rate", (), (self._random.choice([1, 1000, 60_000]),), FLOAT, nullable=False)
        function, types, result = self._random.choice(_AGGREGATES)
        first = self.expression(self._random.choice(types), 1)
        arguments: tuple[Expression, ...] = (first,)
        if function in {"min_by", "max_by"}:
            arguments = (first, self.expression(self._random.choice(_ORDERED), 1))
        nullable = function not in _NEVER_NULL and any(argument.nullable for argument in arguments)
        assert first.type is not None
        return Aggregate(name, function, arguments, self._parameters(function, kind), result or first.type, nullable)

    def _parameters(self, function: str, kind: Kind) -> tuple[int | float | str, ...]:
        pick = self._random.choice
        if function == "count_distinct":
            policies = ["approximate"] if isinstance(kind, Sliding) else ["approximate", "reject"]
            return pick([1, 2, 5, 10_000]), pick(policies)
        if function == "quantile":
            return (pick([0.0, 0.25, 0.5, 0.99, 1.0]),)
        return (pick([1, 2, 5]),) if function in {"top", "collect"} else ()


def _groups_of_event(window: Window) -> int:
    return -(-window.kind.size_ms // window.kind.every_ms) if isinstance(window.kind, Sliding) else 1


def with_global_windows(random: Random, pipeline: Pipeline) -> Pipeline:
    """Return the pipeline with most of its windows made global, of few groups, and a limit that rejects."""
    windows = tuple(
        _global(random, window, pipeline) if random.random() < 0.8 else window for window in pipeline.windows
    )
    groups = max(pipeline.limits.groups, sum(_groups_of_event(window) for window in windows))
    return replace(pipeline, windows=windows, limits=Limits(groups, "reject"))


def _global(random: Random, window: Window, pipeline: Pipeline) -> Window:
    """Return the window as a global one; a session or stagger becomes tumbling or sliding."""
    step = step_ms(pipeline)
    kind: Kind = window.kind
    if not isinstance(kind, Tumbling | Sliding):
        kinds: list[Kind] = [Tumbling(60 * step, 7 * step), Sliding(20 * step, 7 * step)]
        kind = random.choice(kinds)
    others = [name for name in window.by if name.name != pipeline.source.partition_key]
    flag = Name("b", BOOL, nullable=True)
    return replace(
        window,
        kind=kind,
        by=tuple(random.choice([[], [], [flag], others])),
        select=tuple(_never_rejecting(column) for column in window.select),
        aligned=False,
        where=random.choice([None, None, window.where]),
        emit="final",
        buckets=random.choice([1, 1, 2, 7]),
    )


def _never_rejecting(column: Aggregate) -> Aggregate:
    if "reject" not in column.parameters:
        return column
    return replace(column, parameters=(column.parameters[0], "approximate"))


def as_written(pipeline: Pipeline) -> Pipeline:
    """Return a random pipeline as it would be read from a file: the parser knows more often what is never null."""
    scope = {field.name: (field.type, field.nullable) for field in pipeline.events.fields}
    lets = []
    for let in pipeline.lets:
        expression = _parsed(let.expression, scope)
        assert expression.type is not None
        scope[let.name] = (expression.type, expression.nullable)
        lets.append(Let(let.name, expression))
    windows = tuple(
        replace(
            window,
            by=tuple(Name(name.name, *scope[name.name]) for name in window.by),
            select=tuple(parse_aggregate(each.name, aggregate_to_text(each), scope) for each in window.select),
            where=None if window.where is None else _parsed(window.where, scope),
        )
        for window in pipeline.windows
    )
    where = None if pipeline.where is None else _parsed(pipeline.where, scope)
    return replace(pipeline, lets=tuple(lets), where=where, windows=windows)


def _parsed(expression: Expression, scope: dict[str, tuple[Type, bool]]) -> Expression:
    return parse_expression(to_text(expression), scope)
