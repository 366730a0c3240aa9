"""Quantiles, counters and sketches: their bounds, on random and on hostile data."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from consumer.core import sketches
from consumer.core.sketches_distinct import Distinct, HyperLogLog
from consumer.errors import SetupError
from consumer.pipeline.model import Type
from consumer.testing.reference.windows import Event
from tests.core.aggregates_harness import FLOAT, INT, STRING, Compiled, column, expected, window

PARTS = (0, 0.001, 0.07, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1)


def _group(compiled: Compiled, values: Iterable[Any]) -> Any:
    width = len(compiled.window.select)
    return compiled.group(Event(0, number, ((value,),) * width) for number, value in enumerate(values))


def _quantiles(of: Type) -> Compiled:
    return Compiled(window(*(column("quantile", of, parameters=(part,)) for part in PARTS)))


def _true_quantiles(values: Iterable[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[max(math.ceil(Fraction(str(part)) * len(ordered)), 1) - 1] for part in PARTS]


def _assert_near(found: list[float], true: list[float]) -> None:
    for each, value in zip(found, true, strict=True):
        assert abs(each - value) <= abs(value) / 128 * (1 + 1e-12)


HOSTILE = {
    "powers of two and their neighbours": [
        sign * each
        for exponent in range(-1021, 1024, 31)
        for sign in (1, -1)
        for power in [2.0**exponent]
        for each in (power, math.nextafter(power, 0), math.nextafter(power, math.inf))
    ],
    "bounds of buckets": [
        each
        for step in range(64, 128)
        for each in (step / 64, math.nextafter(step / 64, 0), math.nextafter(step / 64, 9))
    ],
    "ends of the range": [sys.float_info.max, -sys.float_info.max, sys.float_info.min, -sys.float_info.min, 0.0, -0.0],
    "one value": [3.1],
    "two values": [1.0, 1e300],
    "equal values": [0.1] * 50,
    "zeros among signs": [-1.0, 0.0, -0.0, 0.0, 1.0],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_quantile_is_within_a_128th(name: str) -> None:
    compiled = _quantiles(FLOAT)
    _assert_near(compiled.row(_group(compiled, HOSTILE[name])), _true_quantiles(HOSTILE[name]))


@pytest.mark.parametrize("seed", range(4))
def test_a_quantile_of_random_values_is_within_a_128th(seed: int) -> None:
    random = Random(seed)
    values = [random.choice([random.gauss(0, 10), random.lognormvariate(0, 4), 7.0]) for _ in range(2000)]
    compiled = _quantiles(FLOAT)
    _assert_near(compiled.row(_group(compiled, values)), _true_quantiles(values))


def test_quantiles_of_ints_up_to_128_are_exact() -> None:
    random = Random(1)
    values = [random.randrange(-128, 129) for _ in range(3000)]
    compiled = _quantiles(INT)
    assert compiled.row(_group(compiled, values)) == _true_quantiles(values)


def test_quantiles_of_large_ints_are_near() -> None:
    random = Random(2)
    values = [random.randrange(-(2**63), 2**63) >> random.choice([0, 1, 5, 20, 40, 55]) for _ in range(3000)]
    values += [2**63 - 1, -(2**63)]
    compiled = _quantiles(INT)
    _assert_near(compiled.row(_group(compiled, values)), _true_quantiles(values))


def test_a_part_is_the_decimal_that_was_written() -> None:
    compiled = Compiled(window(column("quantile", INT, parameters=(0.07,))))
    assert 0.07 * 100 > 7
    assert compiled.row(_group(compiled, range(1, 101))) == [7.0]


def test_the_least_and_greatest_are_exact() -> None:
    compiled = Compiled(window(*(column("quantile", FLOAT, parameters=(part,)) for part in (0, 1, 0.5))))
    assert compiled.row(_group(compiled, [3.3])) == [3.3, 3.3, 3.3]
    assert compiled.row(_group(compiled, [3.3, 1234.5]))[:2] == [3.3, 1234.5]


class TestFolding:
    VALUES = tuple(sign * 1.0125**exponent for exponent in range(0, 3000, 2) for sign in (1, -1))

    def test_is_the_same_in_every_order_and_merge(self) -> None:
        compiled = Compiled(window(column("quantile", FLOAT, parameters=(0.5,))))
        states = []
        for seed in range(2):
            random = Random(seed)
            values = list(self.VALUES)
            random.shuffle(values)
            whole = _group(compiled, values)
            parts = [_group(compiled, values[start : start + 1100]) for start in range(0, len(values), 1100)]
            states += [whole, compiled.merged(*parts), compiled.merged(*reversed(parts))]
        assert len({tuple(sorted(state.buckets_0.items())) for state in states}) == 1
        assert {state.buckets_0_floor for state in states} == {min(states[0].buckets_0)}
        assert len(states[0].buckets_0) == sketches.BUCKETS_MAX

    def test_keeps_the_error_of_what_lies_above(self) -> None:
        compiled = _quantiles(FLOAT)
        found = compiled.row(_group(compiled, sorted(self.VALUES)))
        true = _true_quantiles(self.VALUES)
        _assert_near(found[5:], true[5:])
        assert sum(_group(compiled, self.VALUES).buckets_0.values()) == len(self.VALUES)

    def test_is_what_the_reference_says(self) -> None:
        compiled = _quantiles(FLOAT)
        stream = [Event(0, number, ((value,),) * len(PARTS)) for number, value in enumerate(self.VALUES)]
        parts = [stream[:1300], stream[1300:]]
        assert compiled.row(compiled.merged(*map(compiled.group, parts))) == expected(compiled.window, parts)

    def test_starts_when_there_is_no_room(self) -> None:
        full = dict.fromkeys(range(sketches.BUCKETS_MAX - 1), 1)
        assert sketches.fold(full) == sketches.UNFOLDED
        full[5000] = 1
        assert sketches.fold(full) == 0
        full |= {5001: 1, 5002: 1}
        assert sketches.fold(full) == 2
        assert (full[2], full[3], len(full)) == (3, 1, sketches.BUCKETS_MAX)


def _zipf(random: Random, count: int) -> list[int]:
    return [int(random.paretovariate(0.6)) % 100_000 for _ in range(count)]


def _flood(random: Random, count: int) -> list[int]:
    """Return one frequent value, drowned in values that come once, at its weakest moments."""
    return [0] * (count // 10) + list(range(1, count)) + random.choices([1, 2], k=count // 5)


class TestTop:
    def compiled(self, rows: int) -> Compiled:
        return Compiled(window(column("top", INT, parameters=(rows,))))

    @pytest.mark.parametrize("data", [_zipf, _flood])
    @pytest.mark.parametrize("rows", [1, 3, 20])
    def test_counts_are_within_their_error(self, data: Any, rows: int) -> None:
        random = Random(rows)
        compiled = self.compiled(rows)
        values = data(random, 8000)
        quarter = len(values) // 4
        groups = [_group(compiled, values[start : start + quarter]) for start in range(0, len(values), quarter)]
        true = Counter(values)
        kept = max(10 * rows, 100)
        for group in (_group(compiled, values), compiled.merged(*groups), compiled.merged(*reversed(groups))):
            (found,) = compiled.row(group)
            error = getattr(group, f"top_0_{rows}_error")
            assert 0 < error <= len(values) / (kept + 1)
            assert len(found) == min(rows, len(getattr(group, f"top_0_{rows}")))
            for item in found:
                assert item["count"] <= true[item["value"]] <= item["count"] + item["error"]
            counters = getattr(group, f"top_0_{rows}")
            assert all(
                counters.get(value, 0) <= count <= counters.get(value, 0) + error for value, count in true.items()
            )
            assert {value for value, count in true.items() if count > error} <= set(counters)

    def test_is_exact_up_to_twice_what_is_kept(self) -> None:
        compiled = self.compiled(3)
        values = [value for value in range(200) for _ in range(value % 7 + 1)]
        Random(1).shuffle(values)
        group = _group(compiled, values)
        assert (dict(group.top_0_3), group.top_0_3_error) == (dict(Counter(values)), 0)
        compiled.add(group, Event(0, 0, ((1000,),)))
        assert group.top_0_3_error > 0

    def test_of_equal_counts_the_lower_value_comes_first(self) -> None:
        compiled = Compiled(window(column("top", STRING, parameters=(3,))))
        (found,) = compiled.row(_group(compiled, ["b", "c", "Z", "b", "a", "c"]))
        assert [(item["value"], item["count"], item["error"]) for item in found] == [
            ("b", 2, 0),
            ("c", 2, 0),
            ("Z", 1, 0),
        ]

    def test_thinning_out_takes_the_count_at_the_rank_from_all(self) -> None:
        counters = {"a": 2, "b": 9, "c": 4, "d": 4, "e": 6}
        assert sketches.thin_out(counters, 2) == 4
        assert counters == {"b": 5, "e": 2}


HYPERLOGLOG = HyperLogLog()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 100, 383])
def test_few_distinct_values_are_counted_exactly(count: int) -> None:
    assert HYPERLOGLOG.count(HYPERLOGLOG.of(f"v{number}" for number in range(count))) == count


@pytest.mark.parametrize("count", [400, 1_000, 3_000, 10_000, 30_000])
@pytest.mark.parametrize("of", ["text", "ints", "floats"])
def test_many_distinct_values_are_counted_within_four_standard_errors(count: int, of: str) -> None:
    makers: dict[str, Callable[[int], Any]] = {"text": str, "ints": int, "floats": lambda number: number / 7}
    make = makers[of]
    errors = [
        HYPERLOGLOG.count(HYPERLOGLOG.of(make(number) for number in range(start, start + count))) / count - 1
        for start in range(0, 5 * count, count)
    ]
    assert max(map(abs, errors)) < 4 * 1.04 / 64
    assert sum(error**2 for error in errors) / 5 < (2 * 1.04 / 64) ** 2


def test_an_estimate_depends_on_the_values_alone() -> None:
    random = Random(4)
    for count in (5, 8, 300, 380, 384, 385, 390, 700, 20_000):
        values = [f"v{number}" for number in range(count)]
        whole = HYPERLOGLOG.of(values)
        for _ in range(3):
            random.shuffle(values)
            parts = [HYPERLOGLOG.of(random.sample(values, random.randrange(count + 1))) for _ in range(3)]
            merged = HYPERLOGLOG.merged(
                HYPERLOGLOG.of(values[: count // 2]), *parts, HYPERLOGLOG.of(values[count // 3 :])
            )
            assert HYPERLOGLOG.count(merged) == HYPERLOGLOG.count(whole)
            if count > 400:
                assert (
                    HYPERLOGLOG.packed(merged)
                    == HYPERLOGLOG.packed(whole)
                    == HYPERLOGLOG.packed(HYPERLOGLOG.of(values))
                )


def test_a_stored_sketch_goes_on_alike() -> None:
    sketch = restored = HYPERLOGLOG.new()
    for number in range(1500):
        sketch.update(f"v{number}")
        if restored is not sketch:
            restored.update(f"v{number}")
        if number % 37 == 0 or number in {6, 7, 8, 383, 384, 385}:
            restored = HYPERLOGLOG.unpacked(HYPERLOGLOG.packed(restored))
            assert HYPERLOGLOG.packed(restored) == HYPERLOGLOG.packed(sketch)
    assert HYPERLOGLOG.count(restored) == HYPERLOGLOG.count(sketch)


def test_values_are_hashed_alike_for_ever() -> None:
    """Stored sketches outlive versions of the library."""
    data = HYPERLOGLOG.packed(HYPERLOGLOG.of(["", "a", "Ä"]))
    assert data is not None
    assert data[:8].hex() == "0201070c03000308"
    golden = GOLDEN
    assert data[8:20].hex() == golden["text"]
    numbers = HYPERLOGLOG.packed(HYPERLOGLOG.of([0, -1, 2**63 - 1]))
    assert numbers is not None
    assert numbers[8:20].hex() == golden["ints"]
    floats = HYPERLOGLOG.packed(HYPERLOGLOG.of([0.0, -0.0, 1.5, -1e300]))
    assert floats is not None
    assert floats[8:20].hex() == golden["floats"]


GOLDEN = {"text": "566bb10b2f823b047735b206", "ints": "cbd7c204d964e70bffbab40d", "floats": "cbd7c20422822a140aadda09"}


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(SetupError, match=r"pip install 'streamgauge\[sketches\]'"):
        Compiled(window(column("approx_distinct", INT)))
    Compiled(window(column("count_distinct", INT, parameters=(5, "reject"))))


class TestDistinct:
    LIMIT = 20

    def state(self, *ranges: range) -> list[Any]:
        compiled = Compiled(window(column("count_distinct", STRING, parameters=(self.LIMIT, "approximate"))))
        groups = [_group(compiled, (f"v{number}" for number in each)) for each in ranges]
        return [compiled.merged(*groups), compiled]

    def count(self, *ranges: range) -> Any:
        group, compiled = self.state(*ranges)
        return compiled.row(group)[0]

    def test_is_exact_at_the_limit_and_a_sketch_of_all_beyond(self) -> None:
        group, compiled = self.state(range(self.LIMIT))
        assert list(group.distinct_0_20) == [f"v{number}" for number in range(20)]
        compiled.add(group, Event(0, 0, (("v7",),)))
        assert group.distinct_0_20.__class__ is dict
        compiled.add(group, Event(0, 0, (("more",),)))
        assert group.distinct_0_20.__class__ is not dict
        assert compiled.row(group) == [self.LIMIT + 1]
        compiled.add(group, Event(0, 0, (("v7",),)))
        assert compiled.row(group) == [self.LIMIT + 1]

    def test_merging_crosses_the_limit(self) -> None:
        assert self.count(range(15), range(5, 20)) == 20
        assert self.count(range(15), range(10, 25)) == 25
        assert self.count(range(30), range(10)) == 30
        assert self.count(range(10), range(5, 40), range(35, 50)) == 50

    def test_an_estimate_is_never_below_what_is_known(self) -> None:
        class Low(HyperLogLog):
            def count(self, sketch: Any) -> int:
                return min(super().count(sketch), 3)

        distinct = Distinct(5, Low())
        assert distinct.count(distinct.beyond(dict.fromkeys("abcde"), "f")) == 6
