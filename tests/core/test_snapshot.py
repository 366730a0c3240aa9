"""The stored format: what was written by this version must be read by every later one."""

from __future__ import annotations

import zlib
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest

from consumer.core import snapshot
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.errors import CorruptStateError, RefusedError
from consumer.pipeline.load import load_text
from consumer.records import HashRange, Record, Row, hash_key
from consumer.testing.entries import whole_entry

GOLDEN = Path(__file__).with_name("golden")
SHARD = "shardId-000000000000"
NAMES = ("windows", "aggregates", "early")
START_MS = 1_767_225_600_000
FILE = """
pipeline: golden
source: {stream: stream, partition_key: user}
events:
  fields: {user: string, at: timestamp, page: "string?", big: int, x: "float?"}
  time: at
  out_of_orderness: 4s
state: {table: table, bucket: bucket}
sinks: [{stdout: {}}]
"""
WINDOWS = {
    "windows": """
windows:
  tumbling: {tumbling: {size: 1h, timezone: Asia/Kolkata}, by: [user], select: {n: sum(big)}, allowed_lateness: 1h}
  sliding: {sliding: {size: 10s, every: 4s}, by: [page, user], select: {n: count(), x: sum(x)}, allowed_lateness: 9s}
  plain: {sliding: {size: 6s, every: 2s}, by: [user], select: {n: count()}}
  sessions: {session: 3s, by: [user, page], select: {n: count(), last: last(x)}, allowed_lateness: 1m}
  cut: {session: {gap: 20s, max_length: 30s}, by: [user], select: {n: count()}}
  stagger: {stagger: 15s, by: [user], select: {first: first(page)}, allowed_lateness: 20s, emit: final}
""",
    "aggregates": """
windows:
  all:
    tumbling: 1m
    by: [user]
    select:
      events: count()
      pages: count(page)
      big: sum(big)
      x: sum(x)
      least: min(x)
      most: max(page)
      mean: avg(x)
      variance: variance(big)
      spread: stddev(x)
      first: first(page)
      last: last(x)
      page_of_least: min_by(page, x)
      page_of_most: max_by(page, big)
      distinct: count_distinct(page, 3)
      exact: count_distinct(page, 9, "reject")
      about: approx_distinct(x)
      median: quantile(x, 0.5)
      common: top(page, 2)
      some: collect(page, 4)
      speed: rate("1m")
  merged: {session: 7s, by: [user], select: {least: "min_by(page, x)", some: "collect(x, 3)"}}
""",
    "early": """
limits: {groups: 40, policy: emit_early}
windows:
  tumbling: {tumbling: 30s, by: [user, page], select: {n: count()}, allowed_lateness: 30s}
  sliding: {sliding: {size: 8s, every: 4s}, by: [user], select: {n: count()}}
  sessions: {session: 5s, by: [page], combine: false, select: {n: count()}, allowed_lateness: 5s}
""",
}


def _processor(name: str) -> Processor:
    return Processor(compile_pipeline(load_text(FILE + WINDOWS[name], "golden.yaml", {})), SHARD, 0)


def _record(number: int) -> Record:
    user = f"user-{number * number % 5}"
    event = {
        "user": user,
        "at": START_MS + number * 700 - number * 7919 % 6000,
        "page": None if number % 11 == 0 else f"/{number * 13 % 7}",
        "big": 2**62 + number,
        "x": None if number % 9 == 0 else number * 37 % 101 / 8 - 4,
    }
    return Record(msgspec.json.encode(event), user, str(10**20 + number), number % 3, START_MS + number * 700)


def _stream(name: str) -> Processor:
    processor = _processor(name)
    processor.apply([_record(number) for number in range(120)])
    return processor


def _plain(stored: bytes) -> bytes:
    """Return an entry with its blocks as they were before zlib compressed them, whose output may differ."""
    version, *blocks = msgspec.msgpack.decode(stored)
    return msgspec.msgpack.encode([version, *map(zlib.decompress, blocks)])


def _compressed(plain: bytes) -> bytes:
    version, *blocks = msgspec.msgpack.decode(plain)
    return msgspec.msgpack.encode([version, *map(zlib.compress, blocks)])


def _with_rows_in_order(plain: bytes) -> list[object]:
    """Return what an entry tells, with the rows of each piece in an order of their own: theirs has no meaning."""
    version, *parts = msgspec.msgpack.decode(plain)
    (*head, first), *blocks = map(msgspec.msgpack.decode, parts)
    pieces = [
        (block, number, place, sorted(rows, key=msgspec.msgpack.encode))
        for block, pieces in enumerate([first, *blocks])
        for number, place, rows in pieces
    ]
    return [version, head, pieces]


def _half(number: int) -> HashRange:
    return HashRange(0, 2**127 - 1) if number == 0 else HashRange(2**127, 2**128 - 1)


def _merged() -> Processor:
    """Return a child of two shards, one of which was far ahead: it has a floor, and parts of both."""
    program = _processor("early")._program
    parents = [Processor(program, f"parent-{number}", 0, hash_range=_half(number)) for number in (0, 1)]
    for number in range(120):
        record = _record(number)
        half = int(not _half(0).holds(hash_key(record.partition_key or "")))
        if half == 0 or number < 90:
            parents[half].apply([record])
    child = Processor.inherit(program, SHARD, 0, hash_range=HashRange(0, 2**128 - 1), parents=parents)
    child.apply([_record(number) for number in range(90, 92)])
    return child


FORMATS = [(1, name) for name in NAMES] + [(2, name) for name in (*NAMES, "merged")]


def _straight(name: str) -> Processor:
    return _merged() if name == "merged" else _stream(name)


@pytest.mark.parametrize(("version", "name"), FORMATS)
def test_a_state_of_every_format_is_still_read(version: int, name: str) -> None:
    """Never regenerate these files: add new ones for a new format. They hold msgpack, not zlib's output."""
    golden = b64decode((GOLDEN / f"format-{version}-{name}.b64").read_bytes())
    stored = zlib.compress(golden) if version == 1 else _compressed(golden)
    straight = _straight(name)
    range_ = HashRange(0, 2**128 - 1) if name == "merged" else None
    processor, outbox = Processor.restore(straight._program, SHARD, 0, [stored], hash_range=range_)
    assert outbox == [Row("w0", b"{}")]
    assert processor.position == straight.position
    assert processor.totals == straight.totals
    assert processor.open_groups() == straight.open_groups()
    more = [_record(number) for number in range(120, 160)]
    assert processor.apply(more).rows == straight.apply(more).rows
    assert processor.close_all().rows == straight.close_all().rows


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_of_an_older_format_needs_one_base_before_any_delta(version: int) -> None:
    golden = b64decode((GOLDEN / f"format-{version}-windows.b64").read_bytes())
    stored = zlib.compress(golden) if version == 1 else _compressed(golden)
    processor, _ = Processor.restore(_processor("windows")._program, SHARD, 0, [stored])
    needs = [processor.needs_base]
    for base in (False, True, False):
        processor.freeze([], base=base)
        needs.append(processor.needs_base)
    assert needs == [version == 1, version == 1, False, False]
    assert not _processor("windows").needs_base


@pytest.mark.parametrize("name", [*NAMES, "merged"])
def test_format_2_is_what_is_written(name: str) -> None:
    written = _plain(_straight(name).freeze([Row("w0", b"{}")], base=True))
    golden = b64decode((GOLDEN / f"format-2-{name}.b64").read_bytes())
    assert len(written) == len(golden)
    assert _with_rows_in_order(written) == _with_rows_in_order(golden)


def test_the_merged_state_has_floors_and_inherited_parts() -> None:
    entry = whole_entry(_merged().freeze([], base=True))
    assert len(entry.header.floors) == 1
    assert {part.origin for part in entry.inherited} == {"parent-0", "parent-1"}


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_states_hold_something_of_every_window(name: str) -> None:
    open_groups = _stream(name).open_groups()
    assert all(open_groups.values()), open_groups


def _entry() -> bytes:
    return _stream("windows").freeze([], base=True)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_a_state_of_many_blocks_is_read_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "BLOCK_ROWS", rows)
    processor = _stream("windows")
    stored = processor.freeze([], base=True)
    assert len(msgspec.msgpack.decode(stored)) > 4
    restored, _ = Processor.restore(processor._program, SHARD, 0, [stored])
    assert restored.open_groups() == processor.open_groups()
    assert restored.close_all().rows == processor.close_all().rows


def test_bytes_that_are_no_snapshot_are_corrupt() -> None:
    encode = msgspec.msgpack.encode
    first = zlib.compress(encode([1, {}]))
    for data in (b"", b"x", _entry()[:-3], zlib.compress(b"\xc1"), first, encode([2]), encode([2, first])):
        with pytest.raises(CorruptStateError):
            Processor.restore(_processor("windows")._program, SHARD, 0, [data])


def test_another_format_is_refused() -> None:
    document = msgspec.msgpack.decode(_entry())
    document[0] = 3
    with pytest.raises(RefusedError, match="format 3"):
        Processor.restore(_processor("windows")._program, SHARD, 0, [msgspec.msgpack.encode(document)])


def test_a_snapshot_of_other_definitions_is_refused() -> None:
    with pytest.raises(RefusedError, match="definitions"):
        Processor.restore(_processor("early")._program, SHARD, 0, [_entry()])


def test_a_snapshot_of_another_shard_or_order_is_refused() -> None:
    program = _processor("windows")._program
    with pytest.raises(CorruptStateError, match="out of place"):
        Processor.restore(program, "shardId-000000000001", 0, [_entry()])
    with pytest.raises(CorruptStateError, match="out of place"):
        Processor.restore(program, SHARD, 0, [_entry(), _entry()])


@pytest.mark.parametrize("name", NAMES)
def test_a_delta_holds_what_changed_alone(name: str) -> None:
    processor = _stream(name)
    base = processor.freeze([], base=True)
    assert processor.dirty_groups() == 0
    delta = processor.freeze([], base=False)
    assert len(delta) < len(base)
    assert not any(any(window) for window in whole_entry(delta).windows)
