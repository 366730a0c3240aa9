"""Packets of the producer library, whole, broken, and of other shards, as the Kinesis Client Library takes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.records import HashRange, Record, hash_key
from consumer.sources.kpl import MAGIC, Packets, pack

ALL = HashRange(0, 2**128 - 1)


def record(data: bytes) -> Record:
    return Record(data, "outer", "77", 0, 1_000)


def unpack(data: bytes, hash_range: HashRange | None = ALL) -> list[Record]:
    return list(Packets(hash_range).unpack([record(data)]))


def with_digest(body: bytes) -> bytes:
    return MAGIC + body + md5(body, usedforsecurity=False).digest()


@given(
    st.lists(st.tuples(st.text(min_size=1), st.binary(), st.none() | st.integers(0, 2**128 - 1).map(str)), min_size=1)
)
def test_what_was_packed_comes_out_in_order_numbered_from_0(keyed: Sequence[tuple[str, bytes, str | None]]) -> None:
    assert unpack(pack(keyed)) == [
        Record(data, key, "77", number, 1_000) for number, (key, data, _) in enumerate(keyed)
    ]


@given(st.binary())
def test_whatever_else_begins_like_a_packet_is_an_ordinary_record(tail: bytes) -> None:
    assert unpack(MAGIC + tail) == [record(MAGIC + tail)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        MAGIC,
        MAGIC[:3],
        MAGIC + bytes(16),
        pack([("a", b"x", None)])[:-1] + b"\0",
        with_digest(b"\xff\xff\xff"),
        with_digest(b"\x1a\x02\x08\x00"),  # a record without data, which it must have
        with_digest(b"\x0a\x7fa"),  # a length beyond the end
    ],
)
def test_broken_packets_are_ordinary_records(data: bytes) -> None:
    packets = Packets(ALL)
    assert list(packets.unpack([record(data)])) == [record(data)]
    assert packets.left_out == 0


def test_an_empty_packet_holds_no_record() -> None:
    data = with_digest(b"\x0a\x01a")
    assert unpack(data) == []


def test_one_record_of_another_shard_leaves_the_whole_packet_out() -> None:
    low, high = sorted(["a", "b"], key=hash_key)
    range_ = HashRange(0, hash_key(low))
    packets = Packets(range_)
    data = pack([(low, b"1", None), (high, b"2", None), (low, b"3", None)])
    assert list(packets.unpack([record(b"before"), record(data), record(b"after")])) == [
        record(b"before"),
        record(b"after"),
    ]
    assert packets.left_out == 3
    assert [each.data for each in unpack(pack([(low, b"1", None)]), range_)] == [b"1"], "the end itself belongs to it"
    assert [each.data for each in unpack(data, None)] == [b"1", b"2", b"3"], "without a range nothing can be foreign"


def test_an_explicit_hash_key_counts_instead_of_the_partition_key() -> None:
    range_ = HashRange(10, 20)
    assert [each.partition_key for each in unpack(pack([("a", b"1", "10"), ("b", b"2", "20")]), range_)] == ["a", "b"]
    assert unpack(pack([("a", b"1", "21")]), range_) == []


@pytest.mark.parametrize("explicit", ["", "x", "1_0", " 5", "٣"])
def test_a_hash_key_that_is_no_number_ends_the_packet_there(explicit: str) -> None:
    packets = Packets(ALL)
    data = pack([("a", b"1", None), ("b", b"2", explicit), ("c", b"3", None)])
    assert [each.data for each in packets.unpack([record(data)])] == [b"1"]
    assert packets.left_out == 2


def test_a_key_that_is_not_in_the_table_ends_the_packet_there() -> None:
    first, second = b"\x1a\x05\x08\x00\x1a\x01x", b"\x1a\x05\x08\x07\x1a\x01y"
    packets = Packets(ALL)
    assert [each.data for each in packets.unpack([record(with_digest(b"\x0a\x01a" + first + second))])] == [b"x"]
    assert packets.left_out == 1


def test_a_key_that_is_no_utf_8_is_read_all_the_same() -> None:
    data = with_digest(b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x")
    assert [each.partition_key for each in unpack(data)] == ["\N{REPLACEMENT CHARACTER}"]


def test_a_cold_start_does_not_import_what_only_packets_need() -> None:
    code = "import sys, consumer.entrypoints.lambda_handler; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
