"""Deterministic ids: the same row always has the same id, and another row never does.

An id is the first 128 bits of BLAKE2b over the msgpack encoding of everything that tells rows apart, as hex.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

Value = str | int | float | bool | None

_encode = msgspec.msgpack.Encoder().encode


def _digest(parts: Sequence[object]) -> str:
    return blake2b(_encode(parts), digest_size=16).hexdigest()


def result_id(
    pipeline: str,
    generation: int,
    window_hash: str,
    key: Sequence[Value],
    window_start_ms: int,
    revision: int = 0,
    part: int | None = None,
    origin: str | None = None,
    late_at_ms: int | None = None,
) -> str:
    """Return a result's id. `origin` is the shard of a partial window, None in an aligned one.

    `late_at_ms`: an event that would be late alone can become the first one of a session that is still kept, and an
    earlier session that began at the same time may have had its row. The watermark at that moment tells them apart.
    """
    parts = [pipeline, generation, window_hash, key, window_start_ms, revision, part, origin]
    return _digest(["result", *parts] if late_at_ms is None else ["result", *parts, late_at_ms])


def late_id(
    pipeline: str,
    generation: int,
    shard: str,
    sequence_number: str | None,
    sub_sequence_number: int,
    window_hash: str,
    window_start_ms: int,
) -> str:
    """Return a late row's id: one for each window that the record was late for."""
    place = [shard, sequence_number, sub_sequence_number]
    return _digest(["late", pipeline, generation, *place, window_hash, window_start_ms])


def dead_letter_id(
    pipeline: str, generation: int, shard: str, sequence_number: str | None, sub_sequence_number: int
) -> str:
    """Return a dead letter's id."""
    return _digest(["dead_letter", pipeline, generation, shard, sequence_number, sub_sequence_number])
