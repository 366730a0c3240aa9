"""What may be deleted of a shard's objects: the one rule, and the names it reads."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.state.base import (
    IN_BUCKET,
    IN_TABLE,
    Claim,
    Found,
    find,
    folder_of,
    is_orphan,
    new_entry,
)
from consumer.testing.store_harness import SHARD, state

FOLDER = folder_of("clickstream", SHARD, 0)


def found(epoch: int, commit_no: int, data: bytes = b"x") -> Found:
    entry = new_entry("clickstream", SHARD, 0, epoch=epoch, commit_no=commit_no, data=data)
    return Found(entry, epoch, commit_no)


def committed(epoch: int, commit_no: int, *manifest: Found) -> Claim:
    entries = tuple(one.entry for one in manifest)
    return Claim(epoch, msgspec.structs.replace(state(commit_no), inline=None, manifest=entries))


@pytest.mark.parametrize(
    ("epoch", "commit_no", "orphan"),
    [
        (4, 0, True),  # an earlier owner's, of whatever number
        (4, 99, True),
        (5, 0, True),  # mine, of a commit that was made with another object, or inline
        (5, 7, True),
        (5, 8, False),  # perhaps of the commit under way
        (6, 0, False),  # a later owner's: the item was read too early
        (6, 99, False),
    ],
)
def test_an_object_that_the_manifest_does_not_name(epoch: int, commit_no: int, *, orphan: bool) -> None:
    assert is_orphan(found(epoch, commit_no), committed(5, 7, found(1, 1), found(5, 6))) is orphan
    assert is_orphan(found(epoch, commit_no), Claim(5, state(7))) is orphan


@pytest.mark.parametrize(("epoch", "commit_no"), [(1, 1), (5, 6), (5, 7), (5, 8), (6, 0)])
def test_what_the_manifest_names_is_no_orphan(epoch: int, commit_no: int) -> None:
    one = found(epoch, commit_no)
    assert not is_orphan(one, committed(5, 7, found(1, 1, b"other"), one))
    assert is_orphan(found(1, 1, b"another"), committed(5, 7, one))


@pytest.mark.parametrize(("epoch", "orphan"), [(4, True), (5, False), (6, False)])
def test_before_commit_0_only_earlier_owners_objects_are(epoch: int, *, orphan: bool) -> None:
    assert is_orphan(found(epoch, 0), Claim(5, None)) is orphan


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_of_a_tombstone_everything_is(epoch: int) -> None:
    assert is_orphan(found(epoch, 0), Claim(5, None, retired=True))


@given(
    epoch=st.integers(1, 10**12),
    commit_no=st.integers(0, 10**15),
    data=st.binary(max_size=20),
    place=st.sampled_from([IN_BUCKET, IN_TABLE]),
)
def test_a_name_tells_what_it_was_made_of(epoch: int, commit_no: int, data: bytes, place: str) -> None:
    entry = new_entry("clickstream", SHARD, 0, epoch=epoch, commit_no=commit_no, data=data, place=place)
    folder = folder_of("clickstream", SHARD, 0, place=place)
    assert find(folder, entry.key.removeprefix(folder), len(data)) == Found(entry, epoch, commit_no)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notes.txt",
        "00000001-000000000001-" + "a" * 63,
        "00000001-000000000001-" + "A" * 64,
        "00000001-000000000001-" + "a" * 64 + ".bak",
        "old/00000001-000000000001-" + "a" * 64,
        "1-1-" + "a" * 64,
        "000000001-000000000001-" + "a" * 64,
        "00000001-000000000001-" + "a" * 64 + "\n",
        "\u0660" * 8 + "-000000000001-" + "a" * 64,
    ],
)
def test_a_name_that_is_not_ours_is_nobodys(name: str) -> None:
    assert find(FOLDER, name, 1) is None
