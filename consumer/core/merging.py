"""Merging entries of a state: what a base and the deltas after it tell, or deltas alone, told by one entry.

Restoring the merged entry is restoring the ones it was made of. Read from the newest back, the first to tell of a name
is right; what is gone is told by a delta, and left out of a base. One block at a time is decoded; what is kept in
memory is the names of all entries but the oldest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import msgspec

from consumer.core.layouts import LAYOUTS, NameOf, Table
from consumer.core.snapshot import VERSION, Held, Piece, Reader, Writer
from consumer.core.windows import LONG_AGO_MS
from consumer.errors import RefusedError


def merge(entries: Sequence[bytes]) -> bytes:
    """Return one entry of the same effect as these: a base and the deltas after it, or deltas; the oldest is first.

    CorruptStateError if the bytes are no entries; RefusedError of an older format: its rows tell no names.
    """
    readers = [Reader(data, raw=True) for data in reversed(entries)]
    if any(reader.version != VERSION for reader in readers):
        raise RefusedError("entries of an older format are not merged")
    newest, oldest = readers[0], readers[-1]
    merged = _Merged(newest, is_base=oldest.header.base)
    for reader in readers:
        merged.take(reader, is_last=reader is oldest)
    return merged.finish(newest)


class _Merged:
    """The merged entry while entries are taken, from the newest back."""

    def __init__(self, newest: Reader, *, is_base: bool) -> None:
        watermark_ms = newest.header.watermark_ms
        self._is_base = is_base
        self._writer = Writer()
        self._held = [_MergedHeld(each, LONG_AGO_MS if watermark_ms is None else watermark_ms) for each in newest.held]
        self._places = {(each.number, each.origin): at for at, each in enumerate(newest.held)}

    def take(self, entry: Reader, *, is_last: bool) -> None:
        """Take the next older entry. A part that the newest one does not hold has ended, and does not come again."""
        numbers = [self._places.get((each.number, each.origin)) for each in entry.held]
        for at, each in zip(numbers, entry.held, strict=True):
            if at is not None:
                self._held[at].take_head(each)
        for number, place, rows in entry.pieces():
            at = numbers[number]
            if at is not None:
                kept = self._held[at].take_rows(place, rows, is_base=self._is_base, is_last=is_last)
                self._writer.add(Piece(at, place, kept))
        for held in self._held:
            held.end_entry()

    def finish(self, newest: Reader) -> bytes:
        """Return it, without rows to be sent: those of the newest entry of a state count, and that is no merged one.

        The commit that takes a merged entry up adds its own after it.
        """
        held = [each.head(is_base=self._is_base) for each in self._held]
        return self._writer.finish(msgspec.structs.replace(newest.header, base=self._is_base), (), held)


class _MergedHeld:
    """What is held of one window for one shard, told by the newest entry first."""

    def __init__(self, newest: Held, watermark_ms: int) -> None:
        self._newest = newest
        self._tables = [_MergedTable(table, newest.columns, watermark_ms) for table in LAYOUTS[newest.layout].tables]
        self._by_place = {
            place: table for table in self._tables for place in (table.of.rows, table.of.gone) if place is not None
        }

    def take_head(self, held: Held) -> None:
        """Take the panes that are gone."""
        for table in self._tables:
            if table.of.gone_panes is not None:
                table.lose_panes(held.changes[table.of.gone_panes])

    def take_rows(self, place: int, rows: list[Any], *, is_base: bool, is_last: bool) -> list[Any]:
        """Return which of the rows, or of the names that are gone, are still right."""
        return self._by_place[place].take(place, rows, is_base=is_base, is_last=is_last)

    def end_entry(self) -> None:
        """Let what was taken count for what is older."""
        for table in self._tables:
            table.end_entry()

    def head(self, *, is_base: bool) -> Held:
        """Return what is told of it without its rows."""
        changes = self._newest.changes.copy()
        for table in self._tables:
            if table.of.gone_panes is not None:
                changes[table.of.gone_panes] = [] if is_base else list(table.gone_panes)
        return self._newest._replace(changes=changes)


class _MergedTable:
    """Names that newer entries have told of, and panes that are gone in them."""

    def __init__(self, table: Table, columns: int, watermark_ms: int) -> None:
        self.of = table
        self.gone_panes: dict[Hashable, None] = {}
        self._name = table.name(columns)
        self._gone_name = self._name if table.gone_name is None else table.gone_name(columns)
        self._watermark_ms = watermark_ms
        self._told: set[Hashable] = set()
        self._told_in_entry: set[Hashable] = set()
        self._gone_in_entry: list[Hashable] = []

    def lose_panes(self, panes: list[Hashable]) -> None:
        """Take note of panes of which nothing older counts."""
        self._gone_in_entry += panes

    def take(self, place: int, rows: list[Any], *, is_base: bool, is_last: bool) -> list[Any]:
        """Return those that nothing newer replaces."""
        name = self._gone_name if place == self.of.gone else self._name
        kept = self._unreplaced(rows, name) if self._told or self.gone_panes else rows
        if not is_last:
            self._told_in_entry.update(map(name, kept))
        if place == self.of.gone:
            return [] if is_base else kept
        if self.of.expires:
            return [row for row in kept if row[0] > self._watermark_ms]
        return kept

    def _unreplaced(self, rows: Iterable[Any], name: NameOf) -> list[Any]:
        told = self._told
        kept = [row for row in rows if name(row) not in told]
        if self.gone_panes:
            pane, gone = self.of.pane, self.gone_panes
            kept = [row for row in kept if pane(row) not in gone]
        return kept

    def end_entry(self) -> None:
        """Let what was taken count for what is older."""
        self._told |= self._told_in_entry
        self._told_in_entry = set()
        self.gone_panes.update(dict.fromkeys(self._gone_in_entry))
        self._gone_in_entry = []
