"""Snapshot entries as items of the state table, for a pipeline without a bucket.

An entry is a head item, (pipeline/generation/shard, "object/<name>"), and chunk items of at most CHUNK_BYTES,
(pipeline/generation/shard/<name>/<nnnnn>, "chunk").

1. The head is written first: so every chunk there is can be found from the heads alone, also after a torn write.
   Listing reads only heads, a kilobyte each; DynamoDB charges a Query for all it passes, and would for the chunks.
2. Each chunk is written by a PutItem on condition that there is none. BatchWriteItem knows no conditions, and a
   transaction costs twice and takes at most 4 MB; what makes the entry visible is not here, but the commit that
   names it in its manifest, and that comes after the last chunk.
3. The head is written once more at the end: should a collector have taken the head of an owner that was slow and
   is fenced, the chunks it wrote since can still be found.
4. Deleting takes the chunks first and the heads last, 25 items a call: what a commit has superseded is deleted before
   the next batch of records, and a call an item would hold them up for seconds.

Chunks have partition keys of their own, for one key takes only 1,000 write units a second: about three chunks,
and the state item would have to wait for them. What a commit writes costs a write unit a KB, and again when it is
deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumer.errors import CorruptStateError
from consumer.state.base import IN_TABLE, Entry, Found, find, folder_of, new_entry, verify
from consumer.state.items import decode_chunk, decode_head, encode_chunk, encode_head
from consumer.state.table import Table, condition_of, key_of

CHUNK_BYTES = 350 * 1024
"""DynamoDB's limit for an item is 400 KB, keys and names included."""

_HEADS = "object/"


class ChunkStore:
    """The entries of one pipeline. Thread-safe; an entry is written by one thread."""

    def __init__(self, table: Table, pipeline: str) -> None:
        self._table = table
        self._pipeline = pipeline
        self._written: dict[str, int] = {}
        """How many chunks of an entry are there, of which the rest could not be written yet: a throttled write goes on
        where it stopped, for a refused condition costs as many write units as the chunk."""

    def put(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write the bytes under a name that holds their hash; what is already there is an earlier try's."""
        entry = new_entry(
            self._pipeline, shard, generation, epoch=epoch, commit_no=commit_no, data=data, place=IN_TABLE
        )
        head = _head_key(entry) | encode_head(entry.size)
        if entry.key not in self._written:
            self._table.put(head)
        for number, key in enumerate(_chunk_keys(entry)):
            if number < self._written.get(entry.key, 0):
                continue
            chunk = encode_chunk(data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES])
            self._table.put(key | chunk, condition_of("attribute_not_exists(pk)"))
            self._written[entry.key] = number + 1
        self._table.put(head)
        self._written.pop(entry.key, None)
        return entry

    def get(self, entry: Entry) -> bytes:
        """Return the verified bytes of an entry; CorruptStateError if they are missing or other ones."""
        chunks = []
        for key in _chunk_keys(entry):
            item = self._table.get(key)
            if item is None:
                raise CorruptStateError(
                    f"{self._table.what}: the state's object {entry.key} is missing, or a part of it. "
                    "Restore the table from a backup, or reset the pipeline."
                )
            chunks.append(decode_chunk(item))
        data = b"".join(chunks)
        verify(entry, data)
        return data

    def delete(self, entries: Sequence[Entry]) -> None:
        """Delete entries; what is already gone is success."""
        distinct = tuple(dict.fromkeys(entries))  # of two deletions of one item in a call, both are refused
        for entry in distinct:
            self._written.pop(entry.key, None)
        self._table.delete_many(key for entry in distinct for key in _chunk_keys(entry))
        self._table.delete_many(map(_head_key, distinct))

    def list(self, shard: str, generation: int) -> list[Found]:
        """Return the entries of a shard and generation by their heads, whole or torn, sorted by name."""
        folder = folder_of(self._pipeline, shard, generation, place=IN_TABLE)
        heads = self._table.query(_partition(folder), _HEADS)
        found = (find(folder, head["sk"]["S"].removeprefix(_HEADS), decode_head(head)) for head in heads)
        return [one for one in found if one is not None]


def _partition(path: str) -> str:
    return path.removeprefix(IN_TABLE).rstrip("/")


def _head_key(entry: Entry) -> dict[str, Any]:
    folder, name = entry.key.rsplit("/", 1)
    return key_of(_partition(folder), _HEADS + name)


def _chunk_keys(entry: Entry) -> Sequence[dict[str, Any]]:
    """Return the keys of all chunks of an entry; an empty one has one as well, for it must be found missing."""
    count = max(1, -(-entry.size // CHUNK_BYTES))
    return [key_of(f"{_partition(entry.key)}/{number:05d}", "chunk") for number in range(count)]
