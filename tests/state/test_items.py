"""The persisted format of the table's items. A literal here that cannot be read any more is a broken promise."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from consumer.state.items import (
    STATE_ATTRIBUTES,
    decode_application,
    decode_chunk,
    decode_claim,
    decode_head,
    decode_state,
    encode_application,
    encode_chunk,
    encode_head,
    encode_state,
    encode_tombstone,
)

KEY = {"pk": {"S": "clickstream/shardId-000000000007"}, "sk": {"S": "state"}}

GOLDEN_1: dict[str, Any] = {
    "commit_no": {"N": "41"},
    "ended": {"BOOL": False},
    "position_sequence": {"S": "49590338271490256608559692538361571095921575989136588898"},
    "position_sub_sequence": {"N": "3"},
    "last_arrival_ms": {"N": "1700000000123"},
    "watermark_ms": {"N": "-62135596800000"},
    "hash_range_start": {"S": "0"},
    "hash_range_end": {"S": "340282366920938463463374607431768211455"},
    "stream_created_ms": {"N": "1690000000000"},
    "definitions": {"S": "5f" * 32},
    "generation": {"N": "2"},
    "format_version": {"N": "1"},
    "inline": {"B": b"\x00\xffsnapshot"},
    "manifest": {"L": []},
    "sha256": {"S": "9c" * 32},
}
"""As version 1 wrote it, without parents. It is still read, as what the present version would have written."""
GOLDEN_2: dict[str, Any] = GOLDEN_1 | {
    "format_version": {"N": "2"},
    "parents": {"L": [{"S": "shardId-000000000003"}, {"S": "shardId-000000000004"}]},
}
"""As version 2 wrote it, telling nothing of its snapshot."""
GOLDEN_3: dict[str, Any] = GOLDEN_2 | {
    "format_version": {"N": "3"},
    "committed_at_ms": {"N": "1700000000456"},
    "outbox_rows": {"N": "7"},
    "due_ms": {"N": "-62135596000000"},
}
"""As version 3 wrote it, which did not note when it had caught up."""
GOLDEN_INLINE: dict[str, Any] = GOLDEN_3 | {
    "format_version": {"N": "4"},
    "caught_up_ms": {"N": "1700000000400"},
}
INLINE = ShardState(
    commit_no=41,
    ended=False,
    position=Position(49590338271490256608559692538361571095921575989136588898, 3),
    last_arrival_ms=1_700_000_000_123,
    watermark_ms=-62_135_596_800_000,
    hash_range=("0", "340282366920938463463374607431768211455"),
    stream_created_ms=1_690_000_000_000,
    definitions="5f" * 32,
    generation=2,
    format_version=4,
    inline=b"\x00\xffsnapshot",
    manifest=(),
    sha256="9c" * 32,
    parents=("shardId-000000000003", "shardId-000000000004"),
    committed_at_ms=1_700_000_000_456,
    outbox_rows=7,
    due_ms=-62_135_596_000_000,
    caught_up_ms=1_700_000_000_400,
)
UNNOTED = msgspec.structs.replace(INLINE, format_version=3, caught_up_ms=None)
UNTOLD = msgspec.structs.replace(UNNOTED, format_version=2, committed_at_ms=0, outbox_rows=0, due_ms=None)
GOLDEN_OBJECTS: dict[str, Any] = GOLDEN_INLINE | {
    "ended": {"BOOL": True},
    "position_sequence": {"NULL": True},
    "position_sub_sequence": {"NULL": True},
    "last_arrival_ms": {"NULL": True},
    "watermark_ms": {"NULL": True},
    "inline": {"NULL": True},
    "parents": {"L": []},
    "manifest": {
        "L": [
            {"M": {"key": {"S": "clickstream/2/shard/1-1-aa"}, "sha256": {"S": "aa"}, "size": {"N": "70000"}}},
            {"M": {"key": {"S": "clickstream/2/shard/1-2-bb"}, "sha256": {"S": "bb"}, "size": {"N": "9000"}}},
        ]
    },
}
OBJECTS = msgspec.structs.replace(
    INLINE,
    ended=True,
    position=None,
    last_arrival_ms=None,
    watermark_ms=None,
    inline=None,
    parents=(),
    manifest=(
        Entry("clickstream/2/shard/1-1-aa", "aa", 70_000),
        Entry("clickstream/2/shard/1-2-bb", "bb", 9_000),
    ),
)
GOLDEN_APPLICATION_1: dict[str, Any] = {
    "generation": {"N": "2"},
    "started_at_ms": {"N": "1700000000456"},
    "roots": {"L": [{"S": "shardId-000000000000"}, {"S": "shardId-000000000001"}]},
    "definitions": {"S": "5f" * 32},
    "stream_created_ms": {"N": "1690000000000"},
}
"""As the first version wrote it, without the text of the definitions."""
GOLDEN_APPLICATION_2 = GOLDEN_APPLICATION_1 | {"meaning": {"S": '{"windows":[]}'}}
"""As the second version wrote it, without adoptions."""
GOLDEN_APPLICATION = GOLDEN_APPLICATION_2 | {
    "adoptions": {"N": "2"},
    "incarnations": {"M": {"trend": {"N": "2"}, "views": {"N": "1"}}},
    "earlier": {
        "L": [
            {"M": {"hash": {"S": "a0" * 32}, "text": {"S": "{}"}, "incarnations": {"M": {}}}},
            {"M": {"hash": {"S": "a1" * 32}, "text": {"S": "{1}"}, "incarnations": {"M": {"views": {"N": "1"}}}}},
        ]
    },
    "removed": {
        "L": [
            {"M": {"name": {"S": "visits"}, "incarnation": {"N": "0"}, "removal": {"S": "flush"}}},
            {"M": {"name": {"S": "trend"}, "incarnation": {"N": "1"}, "removal": {"S": "drop"}}},
        ]
    },
    "runs_in": {"S": "lambda"},
}
APPLICATION = Application(
    generation=2,
    started_at_ms=1_700_000_000_456,
    roots=("shardId-000000000000", "shardId-000000000001"),
    definitions="5f" * 32,
    stream_created_ms=1_690_000_000_000,
    meaning='{"windows":[]}',
    adoptions=2,
    incarnations=(("trend", 2), ("views", 1)),
    earlier=(Definitions("a0" * 32, "{}"), Definitions("a1" * 32, "{1}", (("views", 1),))),
    removed=(RemovedWindow("visits", 0, "flush"), RemovedWindow("trend", 1, "drop")),
    runs_in="lambda",
)
NEVER_ADOPTED = Application(
    generation=APPLICATION.generation,
    started_at_ms=APPLICATION.started_at_ms,
    roots=APPLICATION.roots,
    definitions=APPLICATION.definitions,
    stream_created_ms=APPLICATION.stream_created_ms,
    meaning=APPLICATION.meaning,
)


@pytest.mark.parametrize(("golden", "state"), [(GOLDEN_INLINE, INLINE), (GOLDEN_OBJECTS, OBJECTS)])
def test_stored_states_can_be_read_for_ever(golden: dict[str, Any], state: ShardState) -> None:
    assert encode_state(state) == golden
    assert decode_claim(KEY | {"epoch": {"N": "12"}} | golden) == Claim(12, state)


def test_stored_applications_can_be_read_for_ever() -> None:
    assert encode_application(APPLICATION) == GOLDEN_APPLICATION
    assert decode_application(KEY | GOLDEN_APPLICATION) == APPLICATION


def test_an_application_of_the_first_version_is_read_as_one_without_the_text_of_its_definitions() -> None:
    assert decode_application(KEY | GOLDEN_APPLICATION_1) == msgspec.structs.replace(NEVER_ADOPTED, meaning="")


def test_an_application_of_the_second_version_is_read_as_one_that_never_changed() -> None:
    assert decode_application(KEY | GOLDEN_APPLICATION_2) == NEVER_ADOPTED


def test_a_word_of_a_version_to_come_about_removed_windows_is_refused() -> None:
    item = copy.deepcopy(GOLDEN_APPLICATION)
    item["removed"]["L"][0]["M"]["removal"] = {"S": "keep"}
    with pytest.raises(RefusedError, match=r"'keep' of a removed window, .*newer one"):
        decode_application(KEY | item)


def test_a_state_of_version_1_is_read_as_one_without_parents() -> None:
    state = msgspec.structs.replace(UNTOLD, parents=(), format_version=1)
    assert decode_claim(KEY | GOLDEN_1 | {"epoch": {"N": "7"}}) == Claim(7, state)


def test_a_state_of_version_2_is_read_as_one_that_tells_nothing_of_its_snapshot() -> None:
    assert decode_claim(KEY | GOLDEN_2 | {"epoch": {"N": "7"}}) == Claim(7, UNTOLD)


def test_a_state_of_version_3_is_read_as_one_that_never_noted_that_it_had_caught_up() -> None:
    assert decode_claim(KEY | GOLDEN_3 | {"epoch": {"N": "7"}}) == Claim(7, UNNOTED)
    assert UNNOTED.counted_until_ms == UNNOTED.last_arrival_ms
    assert msgspec.structs.replace(UNNOTED, caught_up_ms=1_800_000_000_000).counted_until_ms == 1_800_000_000_000


def test_the_names_of_all_attributes_are_known() -> None:
    """A reset removes these: one that is left out would outlive it."""
    assert tuple(encode_state(INLINE)) == STATE_ATTRIBUTES
    assert set(GOLDEN_1) < set(STATE_ATTRIBUTES)


def test_a_tombstone_has_its_epoch_and_its_mark() -> None:
    assert encode_tombstone(3) == {"epoch": {"N": "3"}, "retired": {"BOOL": True}}
    assert decode_claim(KEY | encode_tombstone(3)) == Claim(3, None, retired=True)


def test_a_parent_of_another_type_is_refused() -> None:
    with pytest.raises(CorruptStateError, match="parents"):
        decode_state(GOLDEN_INLINE | {"parents": {"L": [{"N": "3"}]}})


def test_the_items_of_an_entry_in_the_table() -> None:
    assert encode_head(716_800) == {"size": {"N": "716800"}}
    assert decode_head(KEY | {"size": {"N": "716800"}}) == 716_800
    assert encode_chunk(b"\x00x") == {"data": {"B": b"\x00x"}}
    assert decode_chunk(KEY | {"data": {"B": b"\x00x"}}) == b"\x00x"
    for decode, name in ((decode_head, "size"), (decode_chunk, "data")):
        with pytest.raises(CorruptStateError, match=name):
            decode(KEY)


def test_an_item_may_be_claimed_only_or_retired() -> None:
    assert decode_claim(KEY | {"epoch": {"N": "3"}}) == Claim(3, None)
    assert decode_claim(KEY | {"epoch": {"N": "3"}, "retired": {"BOOL": True}}) == Claim(3, None, retired=True)


@pytest.mark.parametrize("name", sorted(set(GOLDEN_INLINE) - {"commit_no"}))
def test_a_missing_attribute_is_no_default(name: str) -> None:
    item = {key: value for key, value in GOLDEN_INLINE.items() if key != name} | {"epoch": {"N": "1"}}
    with pytest.raises(CorruptStateError, match=name):
        decode_claim(item)


@pytest.mark.parametrize("name", ["epoch", *GOLDEN_INLINE])
def test_an_attribute_of_another_type_is_refused(name: str) -> None:
    item = {"epoch": {"N": "1"}} | GOLDEN_INLINE | {name: {"SS": ["x"]}}
    with pytest.raises(CorruptStateError, match=name):
        decode_claim(item)


@pytest.mark.parametrize("name", sorted(GOLDEN_APPLICATION_1))
def test_an_application_without_an_attribute_is_refused(name: str) -> None:
    item = {key: value for key, value in GOLDEN_APPLICATION.items() if key != name}
    with pytest.raises(CorruptStateError, match=name):
        decode_application(item)


def test_half_a_position_is_refused() -> None:
    with pytest.raises(CorruptStateError, match="position_sub_sequence"):
        decode_state(GOLDEN_INLINE | {"position_sub_sequence": {"NULL": True}})


@pytest.mark.parametrize("value", [{"N": "1.5"}, {"N": "x"}])
def test_a_number_that_is_no_integer_is_refused(value: dict[str, str]) -> None:
    with pytest.raises(CorruptStateError, match="watermark_ms"):
        decode_state(GOLDEN_INLINE | {"watermark_ms": value})


def test_an_epoch_is_required() -> None:
    with pytest.raises(CorruptStateError, match="epoch"):
        decode_claim(GOLDEN_INLINE)


def test_another_format_is_refused_whatever_else_is_in_it() -> None:
    with pytest.raises(RefusedError, match="format version 5"):
        decode_claim({"epoch": {"N": "1"}, "commit_no": {"N": "1"}, "format_version": {"N": "5"}})


INTEGERS = st.integers(-(2**63), 2**63)
STATES = st.builds(
    ShardState,
    commit_no=st.integers(0, 10**12),
    ended=st.booleans(),
    position=st.none() | st.builds(Position, st.integers(0, 10**56), st.integers(0, 2**64)),
    last_arrival_ms=st.none() | INTEGERS,
    watermark_ms=st.none() | INTEGERS,
    hash_range=st.tuples(st.integers(0, 2**128).map(str), st.integers(0, 2**128).map(str)),
    stream_created_ms=INTEGERS,
    definitions=st.text(),
    generation=st.integers(0, 10**6),
    format_version=st.just(FORMAT_VERSION),
    inline=st.none() | st.binary(max_size=50),
    manifest=st.lists(st.builds(Entry, st.text(), st.text(), st.integers(0)), max_size=3).map(tuple),
    sha256=st.text(),
    parents=st.lists(st.text(), max_size=2).map(tuple),
    committed_at_ms=INTEGERS,
    outbox_rows=st.integers(0, 10**6),
    due_ms=st.none() | INTEGERS,
)


@given(state=STATES, epoch=st.integers(1, 10**9))
def test_any_state_comes_back_as_it_was(state: ShardState, epoch: int) -> None:
    assert decode_claim(encode_state(state) | {"epoch": {"N": str(epoch)}}) == Claim(epoch, state)
