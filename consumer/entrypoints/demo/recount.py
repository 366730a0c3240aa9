"""Compares what arrived with what an independent recount of the stream says must have arrived.

A row is right if the recount has a row of its id with the same bytes. Rows that arrive again with the same bytes are
duplicates, and allowed: a reader removes them by their id. Everything else is missing or wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from consumer.entrypoints.demo.lineage import Together
from consumer.pipeline.model import FirehoseSink, Pipeline, SinkTarget, Window
from consumer.records import DEAD_LETTER, LATE, Row
from consumer.testing.reference import Combined, Expected

IsRight = Callable[[bytes], bool]

_EXAMPLES_MAX = 5
_RESULTS = "results"


@dataclass(slots=True)
class Comparison:
    """What came of the rows of one place: how many there should be, and what is the matter with the rest.

    `right` are the ids of the rows that are as they must be; `examples` say in words what is not, a few of them.
    """

    expected: int
    delivered: int = 0
    duplicates: int = 0
    missing: int = 0
    wrong: int = 0
    right: set[str] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)

    def check(self, identity: str, row: bytes, is_right: IsRight | None) -> None:
        """Count the first row of an id; `is_right` None means that no such id is expected."""
        if is_right is None:
            self.note_wrong(f"{identity} was not expected")
        elif not is_right(row):
            self.note_wrong(f"{identity} has other values than expected")
        else:
            self.right.add(identity)

    def note_wrong(self, text: str) -> None:
        """Count a wrong row."""
        self.wrong += 1
        self._tell(text)

    def note_missing(self, identity: str) -> None:
        """Count a row that never arrived."""
        self.missing += 1
        self._tell(f"{identity} is missing")

    def add(self, other: Comparison) -> None:
        """Count another comparison in."""
        self.expected += other.expected
        self.delivered += other.delivered
        self.duplicates += other.duplicates
        self.missing += other.missing
        self.wrong += other.wrong
        self.right |= other.right
        self.examples += other.examples

    def _tell(self, text: str) -> None:
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(text)


class _Identified(msgspec.Struct):
    id: str


class _LateRow(_Identified):
    window: str


_identify = msgspec.json.Decoder(_Identified).decode


def compare(expected: Mapping[str, IsRight], delivered: Iterable[bytes]) -> Comparison:
    """Compare delivered rows with what is expected of each id."""
    result = Comparison(len(expected))
    first_of: dict[str, bytes] = {}
    for row in delivered:
        result.delivered += 1
        identity = _identity(row)
        if identity is None:
            result.note_wrong(f"no row: {row[:80]!r}")
        elif identity not in first_of:
            first_of[identity] = row
            result.check(identity, row, expected.get(identity))
        elif first_of[identity] == row:
            result.duplicates += 1
        else:
            result.note_wrong(f"{identity} has arrived with two contents")
    for identity in expected:
        if identity not in first_of:
            result.note_missing(identity)
    return result


def _identity(row: bytes) -> str | None:
    try:
        return _identify(row).id
    except msgspec.MsgspecError:
        return None


@dataclass(frozen=True, slots=True)
class WindowSums:
    """Where the events of the stream are, as one window sees them; only `received` counts the stream itself.

    `closed`: in results that were delivered. `still_open`: in windows that the watermark has not reached; a global
    window, in those that the watermark of some shard has not reached.
    """

    window: str
    received: int
    closed: int
    still_open: int
    late: int
    dead_letters: int
    filtered: int

    @property
    def total(self) -> int:
        """Return the sum of all places."""
        return self.closed + self.still_open + self.late + self.dead_letters + self.filtered

    @property
    def adds_up(self) -> bool:
        """Tell whether every event is in exactly one place."""
        return self.total == self.received


@dataclass(frozen=True, slots=True)
class Recount:
    """The whole answer. `open_windows` counts windows by name."""

    results: Comparison
    late: Comparison
    dead_letters: Comparison
    sums: tuple[WindowSums, ...]
    open_windows: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Return how many rows never arrived."""
        return self.results.missing + self.late.missing + self.dead_letters.missing

    @property
    def wrong(self) -> int:
        """Return how many rows are not what they should be."""
        return self.results.wrong + self.late.wrong + self.dead_letters.wrong

    @property
    def duplicates(self) -> int:
        """Return how many rows arrived again and were removed."""
        return self.results.duplicates + self.late.duplicates + self.dead_letters.duplicates

    @property
    def is_right(self) -> bool:
        """Tell whether nothing is missing or wrong, and all sums add up."""
        return self.missing == 0 and self.wrong == 0 and all(sums.adds_up for sums in self.sums)


def recount(pipeline: Pipeline, counted: Together, delivered: Mapping[str, Sequence[bytes]]) -> Recount:
    """Compare the rows of every delivery stream with what the shards' records must lead to.

    `delivered` has the rows of each Firehose delivery stream that the pipeline names. A delivery stream that several
    kinds of rows go to is compared once, under the first of the kinds results, late, dead letters.
    """
    kinds: dict[str, Comparison] = {kind: Comparison(0) for kind in (_RESULTS, LATE, DEAD_LETTER)}
    for stream, outputs in destinations(pipeline).items():
        kind = outputs[0] if outputs[0] in kinds else _RESULTS
        kinds[kind].add(compare(_expected_at(outputs, counted), delivered[stream]))
    right = frozenset().union(*(comparison.right for comparison in kinds.values()))
    return Recount(
        kinds[_RESULTS],
        kinds[LATE],
        kinds[DEAD_LETTER],
        tuple(_sums(pipeline, window, counted, right) for window in pipeline.windows),
        {window.name: _open_windows(window, counted) for window in pipeline.windows},
    )


def are_combined(pipeline: Pipeline, counted: Together, delivered: Mapping[str, Sequence[bytes]]) -> bool:
    """Tell whether every global window that is complete has its rows, whatever is in them, wherever they must be."""
    for stream, outputs in destinations(pipeline).items():
        wanted = {_identify(row.data).id for row in counted.combined.rows if row.output in outputs}
        if wanted and not wanted.issubset(map(_identity, delivered[stream])):
            return False
    return True


def destinations(pipeline: Pipeline) -> dict[str, list[str]]:
    """Return the delivery streams the pipeline names, and for each what goes there: windows, LATE, DEAD_LETTER."""
    found: dict[str, list[str]] = {}

    def note(target: SinkTarget | None, output: str) -> None:
        if isinstance(target, FirehoseSink):
            found.setdefault(target.stream, []).append(output)

    for route in pipeline.sinks:
        for window in pipeline.windows:
            if route.windows is None or window.name in route.windows:
                note(route.target, window.name)
    note(pipeline.late, LATE)
    note(pipeline.dead_letter, DEAD_LETTER)
    return found


def _expected_at(outputs: Sequence[str], counted: Together) -> dict[str, IsRight]:
    expected = {_identify(row.data).id: _equals(row) for row in counted.combined.rows if row.output in outputs}
    for shard in counted.shards:
        for row in (*shard.rows, *shard.late):
            if row.output in outputs:
                expected[_identify(row.data).id] = _equals(row)
        if DEAD_LETTER in outputs:
            expected |= {letter.id: letter.matches for letter in shard.dead_letters}
    return expected


def _equals(row: Row) -> IsRight:
    return row.data.__eq__


def _sums(pipeline: Pipeline, window: Window, counted: Together, right: frozenset[str]) -> WindowSums:
    """Return where one window has the events. What is delivered counts only if it is right."""
    shards = counted.shards
    return WindowSums(
        window.name,
        received=sum(shard.received for shard in shards),
        closed=_closed(window, counted.combined, right) + sum(_closed(window, shard, right) for shard in shards),
        still_open=_still_open(window, counted),
        late=_late(pipeline, window, shards, right),
        dead_letters=_dead_letters(pipeline, shards, right),
        filtered=sum(shard.filtered for shard in shards),
    )


def _closed(window: Window, given: Expected | Combined, right: frozenset[str]) -> int:
    return sum(
        events
        for row, events in zip(given.rows, given.row_events, strict=True)
        if row.output == window.name and _identify(row.data).id in right
    )


def _still_open(window: Window, counted: Together) -> int:
    held = sum(open_.events for shard in counted.shards for open_ in shard.open_windows if open_.window == window.name)
    return held + sum(part.events for part in counted.waiting[window.name])


def _open_windows(window: Window, counted: Together) -> int:
    """Count the windows of all groups that are open; of a global window, all parts are one."""
    held = [each for shard in counted.shards for each in shard.open_windows if each.window == window.name]
    if not window.combined:
        return len(held)
    waiting = {(part.start_ms, part.end_ms, part.key) for part in counted.waiting[window.name]}
    return len(waiting.union((each.start_ms, each.end_ms, each.by) for each in held))


def _late(pipeline: Pipeline, window: Window, shards: Sequence[Expected], right: frozenset[str]) -> int:
    if not isinstance(pipeline.late, FirehoseSink):
        return sum(shard.late_events[window.name] for shard in shards)
    rows = (msgspec.json.decode(row.data, type=_LateRow) for shard in shards for row in shard.late)
    return sum(row.window == window.name and row.id in right for row in rows)


def _dead_letters(pipeline: Pipeline, shards: Sequence[Expected], right: frozenset[str]) -> int:
    if not isinstance(pipeline.dead_letter, FirehoseSink):
        return sum(shard.dead_lettered.total() for shard in shards)
    return sum(letter.id in right for shard in shards for letter in shard.dead_letters)
