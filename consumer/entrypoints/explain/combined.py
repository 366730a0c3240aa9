"""What became of a group over all shards: its row in a global window, or what that waits for.

The row is put together of what the shards have stored, as the shard that combines it does. Each part that was stored is
held against what reading the shard's records again gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from consumer.core.compile import Program, WindowProgram
from consumer.core.completion import Completion
from consumer.core.contributions import Contribution, combined
from consumer.core.times import format_time, parse_time
from consumer.entrypoints.explain.question import Question
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import time_text
from consumer.state.base import Application

_OF_A_PART = ("id", "shard", "partial", "revision", "final")
"""What tells a part's row from that of all parts."""


class _Stored(NamedTuple):
    """The group's row of all that is stored, and of each shard's alone, as the row that it would be."""

    row: bytes | None
    by_shard: Mapping[str, bytes]


def combined_facts(
    site: Site,
    application: Application,
    reached: Completion,
    program: Program,
    question: Question,
    parts: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return what is told of each window of a group over all shards, earliest first.

    `parts` are what its shards' records give. `reached` was read before them, so what is complete by it is in them.
    """
    window = program.windows[question.number]
    bounds = {(each["window_start"], each["window_end"]) for part in parts for each in part["windows"]}
    told = []
    for start, end in sorted(bounds):
        stored = _stored(site, application, window, question, parse_time(end))
        told.append(_facts(window, reached, start, end, stored, list(_contributed(parts, start))))
    return told


def _stored(site: Site, application: Application, program: WindowProgram, question: Question, end_ms: int) -> _Stored:
    """Read the window that ends then: no two windows of one definition end at the same time."""
    for bucket in range(program.window.buckets or 0):

        def read(bucket: int = bucket) -> list[Contribution]:
            found = site.store.read_contributions(
                application.generation, program.hash, bucket, after_end_ms=end_ms - 1, until_end_ms=end_ms
            )
            return list(found)

        contributions = site.tried(read)
        row = _row(program, question, contributions)
        if row is not None:
            alone = {
                shard: _row(program, question, [each for each in contributions if each.origin == shard])
                for shard in dict.fromkeys(each.origin for each in contributions)
            }
            return _Stored(row, {shard: part for shard, part in alone.items() if part is not None})
    return _Stored(None, {})


def _row(program: WindowProgram, question: Question, contributions: Sequence[Contribution]) -> bytes | None:
    rows = combined(program, contributions) if contributions else []
    return next((row.data for row in rows if question.is_of(json.loads(row.data))), None)


def _contributed(parts: Iterable[Mapping[str, Any]], start: str) -> Iterator[tuple[str, bytes]]:
    """Yield the row that each shard's records give of a window that the shard has left behind."""
    for part in parts:
        for window in part["windows"]:
            if part["exact"] and window["window_start"] == start and window["status"] == "emitted":
                yield part["shard"], bytes(window["rows"][-1]["row"])


def _facts(
    program: WindowProgram,
    reached: Completion,
    start: str,
    end: str,
    stored: _Stored,
    contributed: Sequence[tuple[str, bytes]],
) -> dict[str, Any]:
    due_ms = program.due_ms(parse_time(end))
    behind = sorted((each for each in reached.members if each.passed_ms < due_ms), key=attrgetter("passed_ms"))
    status = _status(program, reached, parse_time(start), is_waiting=bool(behind))
    reasons = list(_differences(stored, contributed, is_complete=status == "complete"))
    return {
        "window_start": start,
        "window_end": end,
        "status": status,
        "due": format_time(due_ms),
        "waits_for": [{"shard": each.shard, "watermark": time_text(each.watermark_ms)} for each in behind],
        "row": None if stored.row is None else msgspec.Raw(stored.row),
        "shards": list(stored.by_shard),
        "exact": not reasons,
        "reasons": reasons,
    }


def _status(program: WindowProgram, reached: Completion, start_ms: int, *, is_waiting: bool) -> str:
    if not reached.members:
        return "uncovered"
    if is_waiting:
        return "waiting"
    began_ms = reached.began_ms(program.hash)
    if began_ms is None:
        return "not counted by all"
    return "complete" if began_ms <= start_ms else "before it was added"


def _differences(stored: _Stored, contributed: Iterable[tuple[str, bytes]], *, is_complete: bool) -> Iterator[str]:
    for shard, row in contributed:
        kept = stored.by_shard.get(shard)
        if kept is None:
            if is_complete:
                yield f"what {shard} contributed is not stored any more: it is kept for twice the stream's retention"
        elif _values(kept) != _values(row):
            yield f"what {shard} contributed is not what its records give"


def _values(row: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(row).items() if name not in _OF_A_PART}
