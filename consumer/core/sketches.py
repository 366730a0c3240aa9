"""Summaries of many values in bounded space: buckets for quantiles, counters of frequent values, first values.

All of them are plain lists and dicts that the generated code keeps in a group; nothing here holds state. All of them
are deterministic: no chance, no hash whose value differs between processes, no function of libm.

Buckets: `{bucket: count}`. A bucket holds the numbers that agree in sign, in binary exponent and in the first 6 bits
after the leading one, so its bounds differ by at most 1/64 and its middle is within 1/128 of all it holds. Buckets
are numbered in the order of their numbers; 0 is the bucket of zero. A group keeps its BUCKETS_MAX highest buckets;
what lies below them is counted in the lowest kept. That is the same whatever the order of events and merges.

Counters: `{value: count}` (Misra and Gries, merged as Agarwal et al. describe). When there are more than twice `kept`,
the count at rank kept + 1 is taken from all, and what has none left is dropped. Each time takes at least kept + 1
times that count away, so what all times took from one value is at most events / (kept + 1): the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ldexp
from typing import Any

BUCKETS_MAX = 2048
BUCKETS_AN_OCTAVE = 64
BUCKET_OFFSET = 1074 * BUCKETS_AN_OCTAVE
"""Makes the numbers of the buckets of all positive floats positive; 2**-1074 is the least of them."""
UNFOLDED = -(1 << 20)
"""Below all buckets: the lowest bucket kept while there is room for more."""

Buckets = dict[int, int]


def fold(buckets: Buckets) -> int:
    """Count what lies below the BUCKETS_MAX highest buckets in the lowest of these; return the lowest, if full."""
    excess = len(buckets) - BUCKETS_MAX
    if excess < 0:
        return UNFOLDED
    *below, floor = sorted(buckets)[: excess + 1]
    for bucket in below:
        buckets[floor] += buckets.pop(bucket)
    return floor


def merge_buckets(buckets: Buckets, later: Buckets) -> int:
    """Add the second to the first; return the lowest bucket kept, if full."""
    _add_counts(buckets, later)
    return fold(buckets)


def quantile(
    buckets: Buckets, part: tuple[int, int], least: float | None, greatest: float | None, *, whole: bool
) -> float | None:
    """Return the number at rank ceil(part * count), counted from 1, at least 1; null if there is none.

    `part` is a numerator and a denominator. `least` and `greatest` are exact, the result is never outside of them.
    `whole`: all are whole numbers, so the middle is that of the whole numbers in the bucket.
    """
    if least is None or greatest is None:
        return None
    numerator, denominator = part
    rank = max(-(-numerator * sum(buckets.values()) // denominator), 1)
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            break
    if numerator in {0, denominator}:
        return float(greatest if numerator else least) + 0.0
    return float(min(max(_middle(bucket, whole=whole), least), greatest)) + 0.0


def _middle(bucket: int, *, whole: bool) -> float:
    """Return the number in the middle of a bucket."""
    if bucket <= 0:
        return -_middle(-bucket, whole=whole) if bucket else 0.0
    octave, step = divmod(bucket - BUCKETS_AN_OCTAVE - BUCKET_OFFSET, BUCKETS_AN_OCTAVE)
    low = BUCKETS_AN_OCTAVE + step
    # The bucket is [low, low + 1) times 2 ** (octave - 7).
    if not whole:
        return ldexp(2 * low + 1, octave - 8)
    shift = octave - 7
    return ldexp(low, shift) if shift <= 0 else ((2 * low + 1 << shift) - 1) / 2


Counters = dict[Any, int]


def thin_out(counters: Counters, kept: int) -> int:
    """Take the count at rank `kept` + 1 from all, drop what has none left; return that count."""
    taken = sorted(counters.values(), reverse=True)[kept]
    left = [(value, count - taken) for value, count in counters.items() if count > taken]
    counters.clear()
    counters.update(left)
    return taken


def merge_counters(counters: Counters, later: Counters, kept: int) -> int:
    """Add the second to the first; return what that adds to the error."""
    _add_counts(counters, later)
    return thin_out(counters, kept) if len(counters) > 2 * kept else 0


def most_frequent(counters: Counters, count: int) -> list[tuple[Any, int]]:
    """Return the values with the highest counts, highest first, of equal counts the lower value first."""
    return sorted(counters.items(), key=lambda item: (-item[1], item[0]))[:count]


def _add_counts(counts: dict[Any, int], later: dict[Any, int]) -> None:
    for key, count in later.items():
        counts[key] = counts.get(key, 0) + count


def packed_counts(counts: dict[Any, int]) -> list[list[Any]]:
    """Return keys and counts, in the order in which the keys came up."""
    return [list(counts), list(counts.values())]


def unpacked_counts(packed: Sequence[Sequence[Any]]) -> dict[Any, int]:
    """Return what was packed."""
    return dict(zip(*packed, strict=True))


def merged_first(size: int, columns: Sequence[list[Any]], later: Sequence[list[Any]]) -> list[list[Any]]:
    """Return the first `size` rows of two tables, ordered by all columns but the last; of equal rows the earlier's.

    A table is a list for each column. `later` has at least one row.
    """
    rows = sorted([*zip(*columns, strict=True), *zip(*later, strict=True)], key=lambda row: row[:-1])
    return [list(column) for column in zip(*rows[:size], strict=True)]
