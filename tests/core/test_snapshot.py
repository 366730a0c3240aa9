"""The stored format: what was written by this version must be read by every later one."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from pathlib import Path
from random import Random

import msgspec
import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.errors import CorruptStateError, RefusedError
from consumer.records import Row
from tests.random_pipelines import PipelineMaker, records

GOLDEN = Path(__file__).with_name("golden")
SHARD = "shardId-000000000000"
SEEDS = (3, 20, 59)
"""Among them sessions, several in a group, and sums beyond 64 bits."""


def _processor(seed: int) -> Processor:
    random = Random(seed)
    program = compile_pipeline(PipelineMaker(random).pipeline())
    return Processor(program, SHARD, 0)


def _stream(seed: int) -> Processor:
    processor = _processor(seed)
    processor.apply(records(Random(seed + 100), 60))
    return processor


@pytest.mark.parametrize("seed", SEEDS)
def test_a_state_of_format_1_is_still_read(seed: int) -> None:
    """Never regenerate these files: add new ones for a new format. They hold msgpack, not zlib's output."""
    path = GOLDEN / f"format-1-seed-{seed}.b64"
    stored = zlib.compress(b64decode(path.read_bytes()))
    processor, outbox = Processor.restore(_processor(seed)._program, SHARD, 0, [stored])
    straight = _stream(seed)
    assert outbox == [Row("w0", b"{}")]
    assert processor.position == straight.position
    assert processor.totals == straight.totals
    assert processor.close_all().rows == straight.close_all().rows


@pytest.mark.parametrize("seed", SEEDS)
def test_format_1_is_what_is_written(seed: int) -> None:
    written = zlib.decompress(_stream(seed).freeze([Row("w0", b"{}")], base=True))
    assert b64encode(written) == (GOLDEN / f"format-1-seed-{seed}.b64").read_bytes().strip()


def _entry() -> bytes:
    return _stream(20).freeze([], base=True)


def test_bytes_that_are_no_snapshot_are_corrupt() -> None:
    for data in (b"", b"x", _entry()[:-3], zlib.compress(b"\xc1"), zlib.compress(msgspec.msgpack.encode([1, {}]))):
        with pytest.raises(CorruptStateError):
            Processor.restore(_processor(20)._program, SHARD, 0, [data])


def test_another_format_is_refused() -> None:
    document = msgspec.msgpack.decode(zlib.decompress(_entry()))
    document[0] = 2
    with pytest.raises(RefusedError, match="format 2"):
        Processor.restore(_processor(20)._program, SHARD, 0, [zlib.compress(msgspec.msgpack.encode(document))])


def test_a_snapshot_of_other_definitions_is_refused() -> None:
    with pytest.raises(RefusedError, match="definitions"):
        Processor.restore(_processor(3)._program, SHARD, 0, [_entry()])


def test_a_snapshot_of_another_shard_or_order_is_refused() -> None:
    program = _processor(20)._program
    with pytest.raises(CorruptStateError, match="out of place"):
        Processor.restore(program, "shardId-000000000001", 0, [_entry()])
    with pytest.raises(CorruptStateError, match="out of place"):
        Processor.restore(program, SHARD, 0, [_entry(), _entry()])


def test_a_delta_holds_what_changed_alone() -> None:
    processor = _stream(20)
    base = processor.freeze([], base=True)
    assert processor.dirty_groups() == 0
    delta = processor.freeze([], base=False)
    assert len(delta) < len(base)
    assert all(changes == [[], []] for changes in msgspec.msgpack.decode(zlib.decompress(delta))[2])
