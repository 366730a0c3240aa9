"""A shard's state of earlier definitions, carried over to those of today by its next owner (adoption.py).

It is read by the program that it was made with. What is due by that is closed; windows that were removed are flushed
or dropped, as the adoption was told; the others go on with what they hold; windows that were added begin empty, at the
stored position and watermark. Then a base of today's definitions is committed, before any record is processed.

Why no crash loses or doubles a row: all this is in ordinary commits, on the usual fence, each with the rows that come
of it. Before such a commit the old state counts, and whoever takes it over does the same again: the same rows with the
same ids. After it, the stored rows are sent again as always.

Of an ended shard nothing is rewritten: each of its children does this in memory, and flushes its own share alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consumer.core.compile import Program
from consumer.core.counts import Counts
from consumer.core.processor import Processor
from consumer.errors import CorruptStateError
from consumer.records import HashRange, Row
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.surroundings import Surroundings
from consumer.state.base import Application


class _Change(NamedTuple):
    """What becomes of the windows of a state: names of those flushed, dropped and added."""

    flushed: frozenset[str]
    dropped: frozenset[str]
    added: tuple[str, ...]


def carried_over(around: Surroundings, shard: str, processor: Processor) -> Iterator[tuple[Processor, list[Row]]]:
    """Yield what is to be committed, one commit after the other: a processor and the rows to be sent.

    Nothing if the state is of today's definitions. The last processor is of them; before it come portions of rows that
    the old definitions give, if there are any, for it may be a million windows. What is yielded must be committed
    before the next is asked for: no row may have left the state without being in an outbox.
    """
    if processor.program.definitions == around.program.definitions:
        return
    change = _change(around.application, processor.program, around.program)
    counts = Counts()
    for rows, counted in _portions(processor, change.flushed):
        yield processor, rows
        counts.add(counted)
    dropped = _open_groups(processor, change.dropped)
    with STATE_HEAP.paused():
        carried = Processor.adopt(around.program, processor)
    yield carried, []
    _tell(around, shard, carried, change, counts, dropped)


def left_to(around: Surroundings, heir: str, range_: HashRange, parent: Processor) -> tuple[Processor, list[Row]]:
    """Return what an ended parent leaves, by today's definitions, and the rows of what it does not: a child's share.

    A child's share are the groups that it would have taken over, so each row is one child's.
    """
    if parent.program.definitions == around.program.definitions:
        return parent, []
    change = _change(around.application, parent.program, around.program)
    generation = around.application.generation
    with STATE_HEAP.paused():
        share = Processor.inherit(parent.program, heir, generation, hash_range=range_, parents=[parent])
    counts, rows = Counts(), list[Row]()
    for portion, counted in _portions(share, change.flushed):
        rows += portion
        counts.add(counted)
    with STATE_HEAP.paused():
        carried = Processor.adopt(around.program, parent)
    _tell(around, heir, carried, change, counts, _open_groups(share, change.dropped))
    return carried, rows


def _change(application: Application, before: Program, after: Program) -> _Change:
    """Look up what was told of the windows that are gone, by the incarnations that they had."""
    kept = {window.hash for window in after.windows}
    names = {window.window.name for window in before.windows if window.hash not in kept}
    known = {each.hash: dict(each.incarnations) for each in application.earlier}
    incarnations = known[before.definitions]
    told = {(each.name, each.incarnation): each.removal for each in application.removed}
    removals = {name: told.get((name, incarnations.get(name, 0))) for name in names}
    if None in removals.values():
        raise CorruptStateError(f"the application item does not say what becomes of removed windows: {sorted(names)}")
    had = {window.hash for window in before.windows}
    return _Change(
        flushed=frozenset(name for name, removal in removals.items() if removal == "flush"),
        dropped=frozenset(name for name, removal in removals.items() if removal == "drop"),
        added=tuple(window.window.name for window in after.windows if window.hash not in had),
    )


def _portions(processor: Processor, flushed: frozenset[str]) -> Iterator[tuple[list[Row], Counts]]:
    """Yield rows, not too many at once: what is due by the old definitions, then what is flushed."""
    while processor.closing:
        outcome = processor.step(())
        if outcome.rows:
            yield outcome.rows, outcome.counts
    while _open_groups(processor, flushed):
        outcome = processor.flush(flushed)
        yield outcome.rows, outcome.counts


def _open_groups(processor: Processor, windows: frozenset[str]) -> dict[str, int]:
    """Return how many groups are open of these windows, of those that have any."""
    return {name: groups for name, groups in processor.open_groups().items() if name in windows and groups}


def _tell(
    around: Surroundings, shard: str, carried: Processor, change: _Change, counts: Counts, dropped: dict[str, int]
) -> None:
    around.telemetry.state_carried_over(
        shard=shard,
        position=carried.position,
        watermark_ms=carried.watermark_ms,
        added=change.added,
        flushed=sorted(change.flushed),
        results=counts.results,
        dropped=dropped,
    )
