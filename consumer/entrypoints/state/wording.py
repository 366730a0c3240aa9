"""How the commands on state say times, positions, statuses and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from consumer.core.times import MAX_TIME_MS, MIN_TIME_MS, format_time
from consumer.pipeline.durations import format_duration
from consumer.records import Position
from consumer.sources.leases import Lease
from consumer.state.base import Claim, ShardState

_NUMBER = re.compile(r"[0-9]{1,12}")
_DIGITS_SHOWN = 12
_SECOND_MS, _MINUTE_MS, _DAY_MS = 1_000, 60_000, 86_400_000


def shard_name(text: str) -> str:
    """Return a shard's name; a number stands for the name that Kinesis makes of it."""
    return f"shardId-{int(text):012d}" if _NUMBER.fullmatch(text) else text


def status_of(claim: Claim | None) -> str:
    """Return where a shard stands in its life, in a word or two."""
    if claim is None:
        return "no state"
    if claim.retired:
        return "retired"
    if claim.state is None:
        return "claimed only"
    return "ended" if claim.state.ended else "open"


def size_of(state: ShardState) -> int:
    """Return the bytes of a snapshot as stored."""
    return len(state.inline) if state.inline is not None else sum(entry.size for entry in state.manifest)


def position_text(position: Position | None) -> str | None:
    """Return `sequence:sub-sequence`, whole."""
    return None if position is None else f"{position.sequence}:{position.sub_sequence}"


def checkpoint_text(lease: Lease) -> str:
    """Return a lease's checkpoint: a position or a word."""
    return f"{lease.checkpoint}:{lease.sub_sequence}" if lease.checkpoint.isdigit() else lease.checkpoint


def short(position: str | None) -> str:
    """Return the end of a position's sequence number, by which positions of a shard can be told apart."""
    if position is None:
        return "-"
    sequence, _, sub_sequence = position.partition(":")
    cut = f"…{sequence[-_DIGITS_SHOWN:]}" if len(sequence) > _DIGITS_SHOWN else sequence
    return cut if sub_sequence in ("", "0") else f"{cut}:{sub_sequence}"


def time_text(time_ms: int | None) -> str | None:
    """Return a time as in rows; of a shard whose input has ended, or has not begun, nothing."""
    return format_time(time_ms) if time_ms is not None and MIN_TIME_MS <= time_ms <= MAX_TIME_MS else None


def age_ms(time_ms: int | None, now_ms: int) -> int | None:
    """Return how long ago a time is; less than 0 if it lies ahead."""
    return None if time_text(time_ms) is None or time_ms is None else now_ms - time_ms


def age_text(ago_ms: int | None) -> str:
    """Return an age to two units, such as `3m20s`."""
    if ago_ms is None:
        return "-"
    unit_ms = _SECOND_MS if abs(ago_ms) < _DAY_MS else _MINUTE_MS
    text = format_duration(abs(ago_ms) // unit_ms * unit_ms)
    return f"{text} ahead" if ago_ms < 0 else text


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """Return lines with the columns one under the other."""
    cells = [header, *rows]
    widths = [max(len(row[number]) for row in cells) for number in range(len(header))]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def counted(number: int, thing: str) -> str:
    """Return `1 shard` or `2,000 shards`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
