"""Ledgers: how they are stored, and what is left of many marks."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.counts import Counts
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Position
from consumer.state.items import decode_ledger, encode_ledger
from consumer.state.marks import DECISIONS_MAX, MARKS_MAX, Ledger, Mark, pack, thinned, unpack
from consumer.testing.store_harness import LEDGER

GOLDEN_MARKS = bytes.fromhex(
    "789cbbc3203099818769f28123124cacfbfd62d41880203da54b9c81f560e3bb05404ed211c6d4c9079819261f38cfc0c0d8"
    "7dfe59d0edb3ea0293219ca7190c670f0780f8371d4cd328830b6e3a98255206274f9cbcd060a125d46dd51d13264c3e74e8"
    "f0e443870f4d66606498ccc0c53599818901cc6e685c5696599c5952ccdc0465302e2dcb4c2d2f66044aadc9cc2b4bccc94c"
    "89cf2acecf636c98dcd0d00895040018956c70"
)
"""As the first version wrote them."""
_SAMPLE = Ledger(
    epoch=3,
    generation=1,
    stream_created_ms=1_690_000_000_000,
    hash_range=("0", "340282366920938463463374607431768211455"),
    parents=("shardId-000000000003",),
    marks=(
        Mark(0, None, None, 1_700_000_000_000, "5f" * 32, Counts(), floors=(("0", "9", 1_700_000_005_000),)),
        Mark(
            12,
            Position(49590338271490256608559692538361571095921575989136588898, 3),
            1_700_000_060_123,
            1_700_000_050_000,
            "5f" * 32,
            Counts(received=10, replayed=2, filtered=1, late={"visits": 3}, dead_letters={"invalid_json": 1}),
            idle=True,
            decisions=1,
        ),
        Mark(
            14,
            Position(49590338271490256608559692538361571095921575989136588999, 0),
            1_700_000_070_123,
            1_700_000_060_000,
            "6a" * 32,
            Counts(
                received=20,
                replayed=2,
                filtered=1,
                late={"visits": 4, "views": 1},
                dead_letters={"invalid_json": 1},
                early={"views": 1},
            ),
            ended=True,
            decisions=1,
        ),
    ),
)


def _golden() -> dict[str, Any]:
    return {
        "epoch": {"N": "3"},
        "format_version": {"N": "1"},
        "generation": {"N": "1"},
        "stream_created_ms": {"N": "1690000000000"},
        "hash_range_start": {"S": "0"},
        "hash_range_end": {"S": "340282366920938463463374607431768211455"},
        "parents": {"L": [{"S": "shardId-000000000003"}]},
        "marks": {"B": GOLDEN_MARKS},
    }


def test_stored_ledgers_can_be_read_for_ever() -> None:
    assert decode_ledger(_golden()) == _SAMPLE
    assert decode_ledger(encode_ledger(_SAMPLE)) == _SAMPLE
    assert encode_ledger(_SAMPLE).keys() == _golden().keys()


def test_a_ledger_of_a_newer_version_is_refused() -> None:
    with pytest.raises(RefusedError, match="format version 2"):
        decode_ledger(_golden() | {"format_version": {"N": "2"}})


@pytest.mark.parametrize("data", [b"", b"x" * 20, GOLDEN_MARKS[:-1], pack(LEDGER.marks)[:-4]])
def test_marks_that_are_none_are_told(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_ledger(_golden() | {"marks": {"B": data}})


def _marks(random: Random, count: int) -> list[Mark]:
    marks: list[Mark] = []
    sequence, time_ms, totals, decisions = random.randrange(10**56), 1_700_000_000_000, Counts(), 0
    for number in range(count):
        sequence += random.choice([0, 1, 10**17, 10**30])
        time_ms += random.randrange(120_000)
        totals = Counts(
            received=totals.received + random.randrange(1000),
            filtered=totals.filtered + random.randrange(2),
            late={**totals.late, **({"visits": totals.late.get("visits", 0) + 1} if random.random() < 0.5 else {})},
            dead_letters=dict(totals.dead_letters),
        )
        idle = random.random() < 0.3
        decisions += idle
        marks.append(
            Mark(
                number,
                None if not number else Position(sequence, random.randrange(3)),
                time_ms,
                None if not number else time_ms - random.choice([0, 5000, -(2**62)]),
                random.choice("ab") * 64,
                totals,
                idle=idle,
                decisions=decisions,
                floors=(("0", str(2**128 - 1), time_ms),) * random.choice([0, 0, 2]),
            )
        )
    return marks


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_marks_come_back_as_they_were(random: Random, count: int) -> None:
    marks = tuple(_marks(random, count))
    assert unpack(pack(marks)) == marks


def test_a_ledger_is_small() -> None:
    assert len(pack(_marks(Random(1), MARKS_MAX))) < 8 * 1024


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(0, 6 * MARKS_MAX))
def test_marks_are_thinned_to_a_bound(random: Random, count: int) -> None:
    """In their order; the first and the last stay, and of the decisions the newest."""
    idle = random.choice([0.0, 0.2, 0.98])
    marks = [Mark(number, None, None, None, "", Counts(), idle=random.random() < idle) for number in range(count)]
    left = thinned(marks)
    plain, decisions = ([mark for mark in marks if mark.idle is is_idle] for is_idle in (False, True))
    assert [mark.commit_no for mark in left] == sorted({mark.commit_no for mark in left})
    assert [mark for mark in left if mark.idle] == decisions[-DECISIONS_MAX:]
    kept = [mark for mark in left if not mark.idle]
    assert len(kept) == min(len(plain), MARKS_MAX)
    assert (kept[:1], kept[-1:]) == (plain[:1], plain[-1:])


def test_old_marks_become_sparse() -> None:
    """One a minute for four days: nowhere further apart than a tenth of their age, but for the very first."""
    left: tuple[Mark, ...] = ()
    minutes = 4 * 24 * 60
    for minute in range(minutes):
        left = thinned((*left, Mark(minute * 12, None, None, None, "", Counts())))
    ages = [minutes - mark.commit_no // 12 for mark in left]
    assert all(older - newer <= max(1, older / 10) for older, newer in pairwise(ages[1:]))
    assert ages[1] > minutes / 2
