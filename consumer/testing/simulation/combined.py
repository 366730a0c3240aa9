"""Global windows in the simulation: what must have come of them, and what is still to come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from consumer.core.combining import Bucket, buckets
from consumer.core.compile import Program
from consumer.core.contributions import Contribution, combined, decode
from consumer.core.snapshot import Header
from consumer.records import CONTRIBUTION, HashRange, Row
from consumer.state.base import ShardState

if TYPE_CHECKING:
    from consumer.testing.simulation.world import World


def rows_due(program: Program, rows: Iterable[Row], watermark_ms: int | None) -> list[Row]:
    """Return the rows of all global windows due by a watermark, of what all shards contribute."""
    contributions = sorted(map(decode, (row.data for row in rows if row.output == CONTRIBUTION)), key=_place)
    windows = {program.windows[number].window.name: program.windows[number] for number in program.combined}
    due: list[Row] = []
    for (name, end_ms, _, _), group in groupby(contributions, key=_place):
        if watermark_ms is not None and windows[name].due_ms(end_ms) <= watermark_ms:
            due += combined(windows[name], list(group))
    return due


def lowest_ms(states: Mapping[str, ShardState]) -> int | None:
    """Return the watermark that all shards that have not ended have reached; None if one of them has seen nothing."""
    watermarks = [state.watermark_ms for state in states.values() if not state.ended]
    known = [watermark_ms for watermark_ms in watermarks if watermark_ms is not None]
    return min(known) if known and len(known) == len(watermarks) else None


def what_is_left(world: World) -> list[str]:
    """Return which buckets are not combined up to where all shards are, and which shard keeps windows from that."""
    program, states = world.program, world.oracle.states
    watermark_ms = lowest_ms(states)
    if not program.combined or watermark_ms is None:
        return []
    headers = {shard: world.oracle.header(shard) for shard, state in states.items() if not state.ended}
    left = []
    highest_ms = max(state.watermark_ms for state in states.values() if state.watermark_ms is not None)
    if program.passes_combined(watermark_ms, highest_ms):
        left.append(f"global windows wait for a shard at {watermark_ms}, others are at {highest_ms}")
    for number in program.combined:
        window = program.windows[number]
        for bucket in range(window.window.buckets or 0):
            shard = _combiner(program, Bucket(number, bucket), states)
            up_to_ms = None if shard is None else _up_to(headers[shard], Bucket(number, bucket))
            if up_to_ms is None or window.next_due_ms(window.due_ms(up_to_ms)) <= watermark_ms:
                left.append(f"{window.window.name}/{bucket} is combined up to {up_to_ms}, and due up to {watermark_ms}")
    return left


def _combiner(program: Program, bucket: Bucket, states: Mapping[str, ShardState]) -> str | None:
    alive = {shard: HashRange(*map(int, state.hash_range)) for shard, state in states.items() if not state.ended}
    return next((shard for shard, range_ in alive.items() if bucket in buckets(program, range_)), None)


def _up_to(header: Header, bucket: Bucket) -> int | None:
    packed = header.combining
    found = {} if not hasattr(packed, "up_to") else {Bucket(*of): end_ms for *of, end_ms in packed.up_to}
    return found.get(bucket)


def _place(contribution: Contribution) -> tuple[str, int, int, int]:
    return contribution.window, contribution.end_ms, contribution.start_ms, contribution.bucket
