"""The ledger of a shard: where it was when, so that a number can be explained by reading its records again.

A mark is a fact about a state that was committed: the position, the watermark and the totals at that moment. A ledger
is no part of the state. Nothing is decided by it, nobody waits for it, and one that is lost or old only makes less
explainable (`runtime/ledger.py` keeps it, `streamgauge explain` reads it).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from consumer.core.counts import Counts
from consumer.errors import CorruptStateError
from consumer.records import Position

MARKS_MAX = 128
"""How many marks a ledger has beside idle decisions. At one a minute, the last half hour is dense."""
DECISIONS_MAX = 512
"""How many idle decisions a ledger has: the newest, all of them, for one that is missing makes rows uncertain."""
LEDGER_VERSION = 1
_LEVEL = 6
"""Once a minute there is time for it, and marks are much alike."""


class Mark(msgspec.Struct, frozen=True):
    """Where a shard stood, behind the record at `position` (None: before its first).

    `watermark_ms` is the shard's; `floors` are first and last hash key (decimal text) and the watermark of ranges that
    were ahead of it. `commit_no` is the first commit that holds what the mark tells. `idle`: the watermark went there
    by an idle decision, made at this very position; `decisions` of these the ledger has known up to here. `totals` are
    the shard's since its beginning, but for the results. `definitions` is the hash of what the pipeline meant.
    """

    commit_no: int
    position: Position | None
    last_arrival_ms: int | None
    watermark_ms: int | None
    definitions: str
    totals: Counts
    floors: tuple[tuple[str, str, int], ...] = ()
    ended: bool = False
    idle: bool = False
    decisions: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """The marks of a shard in a generation, oldest first, and what the shard is: its hash range and its parents.

    `epoch` is that of the owner who wrote it; `hash_range` is decimal text, both ends included.
    """

    epoch: int
    generation: int
    stream_created_ms: int
    hash_range: tuple[str, str]
    parents: tuple[str, ...]
    marks: tuple[Mark, ...]


def thinned(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Return the newest DECISIONS_MAX idle decisions, and MARKS_MAX of the others, the first and the last among them.

    What goes is the mark that leaves the smallest gap for its age, both counted in commits: so old marks are further
    apart than new ones.
    """
    decisions = [mark for mark in marks if mark.idle]
    plain = [mark for mark in marks if not mark.idle]
    gone = set(map(id, decisions[:-DECISIONS_MAX]))
    while len(plain) > MARKS_MAX:
        place = min(range(1, len(plain) - 1), key=lambda place: _worth(plain, place))
        gone.add(id(plain.pop(place)))
    return tuple(mark for mark in marks if id(mark) not in gone)


def _worth(marks: Sequence[Mark], place: int) -> float:
    age = marks[-1].commit_no - marks[place].commit_no + 1
    return (marks[place + 1].commit_no - marks[place - 1].commit_no) / age


def pack(marks: Sequence[Mark]) -> bytes:
    """Encode marks, column by column and each as what it adds to the one before: neighbours are much alike."""
    rows = [_row(mark, before) for mark, before in zip(marks, (None, *marks), strict=False)]
    return zlib.compress(_encode([list(column) for column in zip(*rows, strict=True)]), _LEVEL)


def unpack(data: bytes) -> tuple[Mark, ...]:
    """Decode marks; CorruptStateError if these are none."""
    marks: list[Mark] = []
    try:
        for row in zip(*msgspec.msgpack.decode(zlib.decompress(data)), strict=True):
            marks.append(_mark(marks[-1] if marks else None, *row))
    except (zlib.error, msgspec.MsgspecError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStateError(f"the marks of a ledger cannot be read: {error}") from error
    return tuple(marks)


_encode = msgspec.msgpack.Encoder().encode
_NONE = Mark(0, None, None, None, "", Counts())


def _row(mark: Mark, before: Mark | None) -> tuple[Any, ...]:
    last = before or _NONE
    position, totals = mark.position, mark.totals
    return (
        mark.commit_no - last.commit_no,
        None if position is None else _bytes_of(position.sequence - _sequence(last)),
        None if position is None else position.sub_sequence,
        _difference(mark.last_arrival_ms, last.last_arrival_ms),
        _difference(mark.watermark_ms, last.watermark_ms),
        "" if mark.definitions == last.definitions else mark.definitions,
        mark.floors,
        mark.ended,
        mark.idle,
        mark.decisions - last.decisions,
        totals.received - last.totals.received,
        totals.replayed - last.totals.replayed,
        totals.filtered - last.totals.filtered,
        *(_added(now, then) for now, then in zip(_by_name(totals), _by_name(last.totals), strict=True)),
    )


def _mark(
    before: Mark | None,
    commit_no: int,
    sequence: bytes | None,
    sub_sequence: int | None,
    last_arrival_ms: int | None,
    watermark_ms: int | None,
    definitions: str,
    floors: Sequence[tuple[str, str, int]],
    ended: bool,  # noqa: FBT001 - a column
    idle: bool,  # noqa: FBT001 - a column
    decisions: int,
    received: int,
    replayed: int,
    filtered: int,
    *by_name: dict[str, int],
) -> Mark:
    last = before or _NONE
    late, dead_letters, early = map(_summed, _by_name(last.totals), by_name)
    totals = Counts(
        received=last.totals.received + received,
        replayed=last.totals.replayed + replayed,
        filtered=last.totals.filtered + filtered,
        late=late,
        dead_letters=dead_letters,
        early=early,
    )
    return Mark(
        commit_no=last.commit_no + commit_no,
        position=None if sequence is None else Position(_sequence(last) + _int_of(sequence), sub_sequence or 0),
        last_arrival_ms=_summed_up(last_arrival_ms, last.last_arrival_ms),
        watermark_ms=_summed_up(watermark_ms, last.watermark_ms),
        definitions=definitions or last.definitions,
        totals=totals,
        floors=tuple((first, last_key, floor_ms) for first, last_key, floor_ms in floors),
        ended=ended,
        idle=idle,
        decisions=last.decisions + decisions,
    )


def _sequence(mark: Mark) -> int:
    return 0 if mark.position is None else mark.position.sequence


def _bytes_of(number: int) -> bytes:
    """Return any int as bytes: sequence numbers have more bits than msgpack's."""
    return number.to_bytes(number.bit_length() // 8 + 1, signed=True)


def _int_of(data: bytes) -> int:
    return int.from_bytes(data, signed=True)


def _difference(now: int | None, before: int | None) -> int | None:
    return None if now is None else now - (before or 0)


def _summed_up(difference: int | None, before: int | None) -> int | None:
    return None if difference is None else difference + (before or 0)


def _by_name(totals: Counts) -> tuple[dict[str, int], ...]:
    return totals.late, totals.dead_letters, totals.early


def _added(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    changed = {name: number - before.get(name, 0) for name, number in now.items()}
    return {name: number for name, number in changed.items() if number}


def _summed(before: Mapping[str, int], added: Mapping[str, int]) -> dict[str, int]:
    return dict(before) | {name: before.get(name, 0) + number for name, number in added.items()}
