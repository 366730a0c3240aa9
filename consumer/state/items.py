"""The items of the state table: a persisted format, read strictly, held by golden files.

Every value has an attribute of its own, under the name it has in `base.py`, so that a person can read an item
in the console. Sequence numbers and hash keys are text: they have more digits than DynamoDB's numbers hold. A
value that is not there is an attribute NULL, never a missing attribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumer.core.completion import Progress, Stretch
from consumer.core.contributions import Contribution
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Position
from consumer.state.base import (
    FORMAT_VERSION,
    Application,
    Claim,
    Definitions,
    Entry,
    RemovedWindow,
    ShardState,
)
from consumer.state.marks import LEDGER_VERSION, Ledger, pack, unpack

Item = Mapping[str, Any]
"""Attributes as DynamoDB's API has them: name to {type: value}."""

EXPIRES_AT = "expires_at"
"""The attribute that the table's time to live is on."""

_NULL = {"NULL": True}
_WITHOUT_PARENTS = 1
_WITHOUT_SUMMARY = 2
_WITHOUT_CAUGHT_UP = 3
_CONTRIBUTION_VERSION = 1
_PROGRESS_VERSION = 1
_FORMATS_READ = frozenset({_WITHOUT_PARENTS, _WITHOUT_SUMMARY, _WITHOUT_CAUGHT_UP, FORMAT_VERSION})


def encode_application(application: Application) -> dict[str, Any]:
    """Return the attributes of the application item, without its key."""
    return {
        "generation": _number(application.generation),
        "started_at_ms": _number(application.started_at_ms),
        "roots": _texts(application.roots),
        "definitions": _text(application.definitions),
        "stream_created_ms": _number(application.stream_created_ms),
        "meaning": _text(application.meaning),
        "adoptions": _number(application.adoptions),
        "incarnations": _numbers(application.incarnations),
        "earlier": {"L": [_encode_definitions(each) for each in application.earlier]},
        "removed": {"L": [_encode_removed(each) for each in application.removed]},
        "runs_in": _text(application.runs_in),
    }


def decode_application(item: Item) -> Application:
    """Read the application item; CorruptStateError if an attribute is missing or of another type.

    The first version wrote no `meaning`, the second nothing of adoptions, and neither where it runs: in workers.
    """
    adopts = "adoptions" in item
    return Application(
        generation=_integer_in(item, "generation"),
        started_at_ms=_integer_in(item, "started_at_ms"),
        roots=_texts_in(item, "roots"),
        definitions=_value(item, "definitions", "S"),
        stream_created_ms=_integer_in(item, "stream_created_ms"),
        meaning=_value(item, "meaning", "S") if "meaning" in item else "",
        adoptions=_integer_in(item, "adoptions") if adopts else 0,
        incarnations=_numbers_in(item, "incarnations") if adopts else (),
        earlier=tuple(map(_decode_definitions, _value(item, "earlier", "L"))) if adopts else (),
        removed=tuple(map(_decode_removed, _value(item, "removed", "L"))) if adopts else (),
        runs_in=_value(item, "runs_in", "S") if "runs_in" in item else "worker",
    )


def _encode_definitions(definitions: Definitions) -> dict[str, Any]:
    members = {
        "hash": _text(definitions.hash),
        "text": _text(definitions.text),
        "incarnations": _numbers(definitions.incarnations),
    }
    return {"M": members}


def _decode_definitions(value: Item) -> Definitions:
    members = _value({"earlier": value}, "earlier", "M")
    incarnations = _numbers_in(members, "incarnations")
    return Definitions(_value(members, "hash", "S"), _value(members, "text", "S"), incarnations)


def _encode_removed(removed: RemovedWindow) -> dict[str, Any]:
    members = {
        "name": _text(removed.name),
        "incarnation": _number(removed.incarnation),
        "removal": _text(removed.removal),
    }
    return {"M": members}


def _decode_removed(value: Item) -> RemovedWindow:
    members = _value({"removed": value}, "removed", "M")
    removal = _value(members, "removal", "S")
    if removal not in ("flush", "drop"):
        raise RefusedError(
            f"the state says {removal!r} of a removed window, which this streamgauge does not know. "
            "Run the version that wrote it, or a newer one."
        )
    return RemovedWindow(_value(members, "name", "S"), _integer_in(members, "incarnation"), removal)


def encode_state(state: ShardState) -> dict[str, Any]:
    """Return the attributes of a state item, which are STATE_ATTRIBUTES, without its key and its epoch."""
    position = state.position
    return {
        "commit_no": _number(state.commit_no),
        "ended": {"BOOL": state.ended},
        "position_sequence": _NULL if position is None else _text(str(position.sequence)),
        "position_sub_sequence": _NULL if position is None else _number(position.sub_sequence),
        "last_arrival_ms": _number(state.last_arrival_ms),
        "watermark_ms": _number(state.watermark_ms),
        "hash_range_start": _text(state.hash_range[0]),
        "hash_range_end": _text(state.hash_range[1]),
        "stream_created_ms": _number(state.stream_created_ms),
        "definitions": _text(state.definitions),
        "generation": _number(state.generation),
        "format_version": _number(FORMAT_VERSION),
        "inline": _NULL if state.inline is None else {"B": state.inline},
        "manifest": {"L": [_encode_entry(entry) for entry in state.manifest]},
        "sha256": _text(state.sha256),
        "parents": _texts(state.parents),
        "committed_at_ms": _number(state.committed_at_ms),
        "outbox_rows": _number(state.outbox_rows),
        "due_ms": _number(state.due_ms),
        "caught_up_ms": _number(state.caught_up_ms),
    }


STATE_ATTRIBUTES = (
    "commit_no",
    "ended",
    "position_sequence",
    "position_sub_sequence",
    "last_arrival_ms",
    "watermark_ms",
    "hash_range_start",
    "hash_range_end",
    "stream_created_ms",
    "definitions",
    "generation",
    "format_version",
    "inline",
    "manifest",
    "sha256",
    "parents",
    "committed_at_ms",
    "outbox_rows",
    "due_ms",
    "caught_up_ms",
)
"""What a state item has beside its key, its epoch and the mark `retired`."""


def encode_epoch(epoch: int) -> dict[str, Any]:
    """Return all attributes of an item that was only claimed, without its key."""
    return {"epoch": _number(epoch)}


def encode_tombstone(epoch: int) -> dict[str, Any]:
    """Return all attributes of a retired item, without its key."""
    return encode_epoch(epoch) | {"retired": {"BOOL": True}}


def decode_claim(item: Item) -> Claim:
    """Read a state item: claimed only, committed, or retired. CorruptStateError, or RefusedError if newer."""
    return Claim(
        epoch=_integer_in(item, "epoch"),
        state=decode_state(item) if "commit_no" in item else None,
        retired="retired" in item and _value(item, "retired", "BOOL"),
    )


def decode_state(item: Item) -> ShardState:
    """Read the state in an item that has one: its version, and all else as of FORMAT_VERSION; errors as above."""
    format_version = _integer_in(item, "format_version")
    if format_version not in _FORMATS_READ:
        raise RefusedError(
            f"the stored state has format version {format_version}, this streamgauge reads {FORMAT_VERSION}. "
            "Run the version that wrote it, or a newer one that can read both."
        )
    return ShardState(
        commit_no=_integer_in(item, "commit_no"),
        ended=_value(item, "ended", "BOOL"),
        position=_decode_position(item),
        last_arrival_ms=_optional_integer_in(item, "last_arrival_ms"),
        watermark_ms=_optional_integer_in(item, "watermark_ms"),
        hash_range=(_value(item, "hash_range_start", "S"), _value(item, "hash_range_end", "S")),
        stream_created_ms=_integer_in(item, "stream_created_ms"),
        definitions=_value(item, "definitions", "S"),
        generation=_integer_in(item, "generation"),
        format_version=format_version,
        inline=None if _is_null(item, "inline") else bytes(_value(item, "inline", "B")),
        manifest=tuple(_decode_entry(entry) for entry in _value(item, "manifest", "L")),
        sha256=_value(item, "sha256", "S"),
        parents=() if format_version == _WITHOUT_PARENTS else _texts_in(item, "parents"),
        committed_at_ms=0 if format_version <= _WITHOUT_SUMMARY else _integer_in(item, "committed_at_ms"),
        outbox_rows=0 if format_version <= _WITHOUT_SUMMARY else _integer_in(item, "outbox_rows"),
        due_ms=None if format_version <= _WITHOUT_SUMMARY else _optional_integer_in(item, "due_ms"),
        caught_up_ms=None if format_version <= _WITHOUT_CAUGHT_UP else _optional_integer_in(item, "caught_up_ms"),
    )


def encode_ledger(ledger: Ledger) -> dict[str, Any]:
    """Return the attributes of a ledger, without its key. The marks are one value, of a few kilobytes."""
    return {
        "epoch": _number(ledger.epoch),
        "format_version": _number(LEDGER_VERSION),
        "generation": _number(ledger.generation),
        "stream_created_ms": _number(ledger.stream_created_ms),
        "hash_range_start": _text(ledger.hash_range[0]),
        "hash_range_end": _text(ledger.hash_range[1]),
        "parents": _texts(ledger.parents),
        "marks": {"B": pack(ledger.marks)},
    }


def decode_ledger(item: Item) -> Ledger:
    """Read a ledger; CorruptStateError, or RefusedError if it is newer."""
    _check_version(item, LEDGER_VERSION, "ledger")
    return Ledger(
        epoch=_integer_in(item, "epoch"),
        generation=_integer_in(item, "generation"),
        stream_created_ms=_integer_in(item, "stream_created_ms"),
        hash_range=(_value(item, "hash_range_start", "S"), _value(item, "hash_range_end", "S")),
        parents=_texts_in(item, "parents"),
        marks=unpack(bytes(_value(item, "marks", "B"))),
    )


def encode_contribution(contribution: Contribution) -> dict[str, Any]:
    """Return the attributes of a contribution to a global window, without its key."""
    return {
        "format_version": _number(_CONTRIBUTION_VERSION),
        "window": _text(contribution.window),
        "window_hash": _text(contribution.window_hash),
        "generation": _number(contribution.generation),
        "bucket": _number(contribution.bucket),
        "end_ms": _number(contribution.end_ms),
        "start_ms": _number(contribution.start_ms),
        "origin": _text(contribution.origin),
        "chunk": _number(contribution.chunk),
        "chunks": _number(contribution.chunks),
        "data": {"B": contribution.data},
        **_expiry(contribution.expires_ms),
    }


def decode_contribution(item: Item) -> Contribution:
    """Read a contribution; CorruptStateError, or RefusedError if it is newer."""
    _check_version(item, _CONTRIBUTION_VERSION, "contribution to a global window")
    return Contribution(
        window=_value(item, "window", "S"),
        window_hash=_value(item, "window_hash", "S"),
        generation=_integer_in(item, "generation"),
        bucket=_integer_in(item, "bucket"),
        end_ms=_integer_in(item, "end_ms"),
        start_ms=_integer_in(item, "start_ms"),
        origin=_value(item, "origin", "S"),
        chunk=_integer_in(item, "chunk"),
        chunks=_integer_in(item, "chunks"),
        data=bytes(_value(item, "data", "B")),
        expires_ms=_optional_integer_in(item, "expires_ms"),
    )


def encode_progress(progress: Progress) -> dict[str, Any]:
    """Return the attributes of a shard's progress, without its key."""
    return {
        "format_version": _number(_PROGRESS_VERSION),
        "shard": _text(progress.shard),
        "generation": _number(progress.generation),
        "parents": _texts(progress.parents),
        "hash_range_start": _text(progress.hash_range[0]),
        "hash_range_end": _text(progress.hash_range[1]),
        "watermark_ms": _number(progress.watermark_ms),
        "epoch": _number(progress.epoch),
        "commit_no": _number(progress.commit_no),
        "ended": {"BOOL": progress.ended},
        "began": {"L": [part for name, from_ms in progress.began for part in (_text(name), _number(from_ms))]},
        "stretches": {
            "L": [_number(number) for each in progress.stretches for number in (each.expires_ms, each.watermark_ms)]
        },
        **_expiry(progress.expires_ms),
    }


def decode_progress(item: Item) -> Progress:
    """Read a shard's progress; CorruptStateError, or RefusedError if it is newer."""
    _check_version(item, _PROGRESS_VERSION, "progress of a shard")
    return Progress(
        shard=_value(item, "shard", "S"),
        generation=_integer_in(item, "generation"),
        parents=_texts_in(item, "parents"),
        hash_range=(_value(item, "hash_range_start", "S"), _value(item, "hash_range_end", "S")),
        watermark_ms=_optional_integer_in(item, "watermark_ms"),
        epoch=_integer_in(item, "epoch"),
        commit_no=_integer_in(item, "commit_no"),
        ended=_value(item, "ended", "BOOL"),
        began=_decode_began(_value(item, "began", "L")),
        stretches=_decode_stretches(_value(item, "stretches", "L")),
        expires_ms=_optional_integer_in(item, "expires_ms"),
    )


def _decode_began(members: Sequence[Item]) -> tuple[tuple[str, int], ...]:
    """Return pairs of a window's name and `from_ms`: one list, because all progress is read at every commit."""
    _require_pairs("began", members)
    names = [_value({"began": name}, "began", "S") for name in members[::2]]
    return tuple(zip(names, _integers_in("began", members[1::2]), strict=True))


def _decode_stretches(members: Sequence[Item]) -> tuple[Stretch, ...]:
    """Return pairs of `expires_ms` and `watermark_ms`, as those above."""
    _require_pairs("stretches", members)
    return tuple(map(Stretch, _integers_in("stretches", members[::2]), _integers_in("stretches", members[1::2])))


def _require_pairs(name: str, members: Sequence[Item]) -> None:
    if len(members) % 2:
        raise CorruptStateError(f"the stored item's attribute {name!r} is not pairs")


def _integers_in(name: str, members: Sequence[Item]) -> list[int]:
    return [_integer_in({name: member}, name) for member in members]


def _expiry(expires_ms: int | None) -> dict[str, Any]:
    """Return when an item may be forgotten, and what DynamoDB goes by: seconds, never too early, or no attribute."""
    told = {"expires_ms": _number(expires_ms)}
    return told if expires_ms is None else told | {EXPIRES_AT: _number(-(-expires_ms // 1000))}


def encode_head(size: int) -> dict[str, Any]:
    """Return the attributes of the head of an entry kept in chunks, without its key. `size` is in bytes."""
    return {"size": _number(size)}


def decode_head(item: Item) -> int:
    """Return the size in bytes of the entry that a head is of."""
    return _integer_in(item, "size")


def encode_chunk(data: bytes) -> dict[str, Any]:
    """Return the attributes of a chunk, without its key."""
    return {"data": {"B": data}}


def decode_chunk(item: Item) -> bytes:
    """Return a chunk's bytes."""
    return bytes(_value(item, "data", "B"))


def _check_version(item: Item, known: int, what: str) -> None:
    format_version = _integer_in(item, "format_version")
    if format_version != known:
        raise RefusedError(
            f"the stored {what} has format version {format_version}, this streamgauge reads {known}. "
            "Run the version that wrote it, or a newer one."
        )


def _decode_position(item: Item) -> Position | None:
    if _is_null(item, "position_sequence"):
        return None
    return Position(
        _integer("position_sequence", _value(item, "position_sequence", "S")),
        _integer_in(item, "position_sub_sequence"),
    )


def _encode_entry(entry: Entry) -> dict[str, Any]:
    return {"M": {"key": _text(entry.key), "sha256": _text(entry.sha256), "size": _number(entry.size)}}


def _decode_entry(value: Item) -> Entry:
    entry = _value({"manifest": value}, "manifest", "M")
    return Entry(_value(entry, "key", "S"), _value(entry, "sha256", "S"), _integer_in(entry, "size"))


def _text(value: str) -> dict[str, Any]:
    return {"S": value}


def _texts(values: Sequence[str]) -> dict[str, Any]:
    return {"L": [_text(value) for value in values]}


def _texts_in(item: Item, name: str) -> tuple[str, ...]:
    return tuple(_value({name: value}, name, "S") for value in _value(item, name, "L"))


def _numbers(values: Sequence[tuple[str, int]]) -> dict[str, Any]:
    return {"M": {name: _number(value) for name, value in values}}


def _numbers_in(item: Item, name: str) -> tuple[tuple[str, int], ...]:
    """Return the numbers of a map, by name: a map has no order."""
    values = _value(item, name, "M")
    return tuple((each, _integer_in(values, each)) for each in sorted(values))


def _number(value: int | None) -> dict[str, Any]:
    return _NULL if value is None else {"N": str(value)}


def _value(item: Item, name: str, kind: str) -> Any:
    """Return an attribute's value; `kind` is DynamoDB's letter for its type."""
    try:
        return item[name][kind]
    except KeyError as error:
        raise CorruptStateError(
            f"the stored item's attribute {name!r} is missing or not of type {kind}: "
            "something else than streamgauge has written it. Restore it from a backup."
        ) from error


def _is_null(item: Item, name: str) -> bool:
    return name in item and item[name] == _NULL


def _integer_in(item: Item, name: str) -> int:
    return _integer(name, _value(item, name, "N"))


def _optional_integer_in(item: Item, name: str) -> int | None:
    return None if _is_null(item, name) else _integer_in(item, name)


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise CorruptStateError(f"the stored item's attribute {name!r} is no integer: {text!r}.") from error
