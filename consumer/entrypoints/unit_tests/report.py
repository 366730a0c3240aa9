"""What came of tests, in words and colours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consumer.core.times import parse_time
from consumer.core.windows import NEVER_MS
from consumer.entrypoints.unit_tests.columns import Columns, columns_of
from consumer.entrypoints.unit_tests.compare import Pair
from consumer.entrypoints.unit_tests.definitions import Kind, UnitTest, UnitTestFile
from consumer.entrypoints.unit_tests.play import Manner, Played
from consumer.pipeline import tree
from consumer.pipeline.model import Type

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.-]*")
_UNINTERESTING = {
    Kind.RESULTS: {"id", "pipeline"},
    Kind.LATE: {"id", "pipeline", "reason", "sub_sequence_number", "shard", "data"},
    Kind.DEAD_LETTERS: {"id", "pipeline", "sub_sequence_number", "shard", "data"},
}
"""Columns that are not shown of a row that nobody expected."""
_USUAL = {"revision": 0, "final": True}
"""Shown only where they differ from this."""


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours, or none."""

    coloured: bool

    def good(self, text: str) -> str:
        """Green."""
        return self._in(32, text)

    def bad(self, text: str) -> str:
        """Red."""
        return self._in(31, text)

    def quiet(self, text: str) -> str:
        """Grey."""
        return self._in(90, text)

    def _in(self, colour: int, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.coloured else text


class Report:
    """Tells of the tests of one file."""

    def __init__(self, file: UnitTestFile, paint: Paint) -> None:
        self._file = file
        self._paint = paint
        self._windows = {window.name: window for window in file.pipeline.windows}

    def passed(self, test: UnitTest) -> str:
        """Return the line of a test that passed."""
        return f"{self._paint.good('ok  ')}  {test.name}\n"

    def failed(self, test: UnitTest, pairs: Mapping[Kind, list[Pair]], played: Played) -> str:
        """Return what a test expected and what came."""
        lines = [self._head(test)]
        for kind in Kind:
            if not all(pair.fits for pair in pairs[kind]):
                lines.append(f"      {kind.value}:")
                lines += [f"      {line}" for pair in pairs[kind] for line in self._pair(test, kind, pair)]
        lines.append(f"      {self._paint.quiet(_left(test, played))}")
        return "\n".join(lines) + "\n"

    def depends(self, test: UnitTest, manner: Manner, written: Played, other: Played) -> str:
        """Return what to say of results that depend on batches or restores: the one thing they must never do."""
        lines = [
            self._head(test),
            f"      The results are not the same with {manner.value}.",
            "      That is a bug of streamgauge, not of the pipeline: please report it with this file.",
        ]
        ours, theirs = ([row.data.decode() for row in played.rows] for played in (written, other))
        lines += [f"      {self._paint.bad('- ' + line)}" for line in ours if line not in theirs]
        lines += [f"      {self._paint.good('+ ' + line)}" for line in theirs if line not in ours]
        lines += [f"      As written: {_left(test, written)}", f"      Otherwise: {_left(test, other)}"]
        return "\n".join(lines) + "\n"

    def _head(self, test: UnitTest) -> str:
        place = self._paint.quiet(f"({self._file.path}:{test.line})")
        return f"{self._paint.bad('FAIL')}  {test.name}  {place}"

    def _pair(self, test: UnitTest, kind: Kind, pair: Pair) -> Iterator[str]:
        columns = self._columns(kind, pair)
        if pair.expected is None:
            assert pair.actual is not None
            row = _row(_interesting(kind, pair.actual), columns, test)
            yield self._paint.bad(f"+ {row}") + "  came, and is not expected"
            return
        row = _row(pair.expected.columns, columns, test)
        if pair.actual is None:
            yield self._paint.bad(f"- {row}") + f"  is expected in line {pair.expected.line}, and did not come"
        elif not pair.differing:
            yield self._paint.quiet(f"  {row}")
        else:
            yield f"~ {row}" + self._paint.quiet(f"  line {pair.expected.line}")
            for name in pair.differing:
                wanted, came = (
                    _value(name, side.get(name), columns, test) for side in (pair.expected.columns, pair.actual)
                )
                yield f"    {name}: expected {self._paint.good(wanted)}, came {self._paint.bad(came)}"

    def _columns(self, kind: Kind, pair: Pair) -> Columns:
        name = pair.expected.window if pair.actual is None and pair.expected else (pair.actual or {}).get("window")
        return columns_of(kind, self._windows.get(name or ""))


def _interesting(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name not in _UNINTERESTING[kind] and (name not in _USUAL or value != _USUAL[name])
    }


def _row(row: Mapping[str, Any], columns: Columns, test: UnitTest) -> str:
    """Return a row as it could stand in the file."""
    return "{" + ", ".join(f"{name}: {_value(name, value, columns, test)}" for name, value in row.items()) + "}"


def _value(name: str, value: Any, columns: Columns, test: UnitTest) -> str:
    column = columns.get(name)
    if column is not None and column.type is Type.TIMESTAMP and isinstance(value, str):
        return test.times.show(parse_time(value))
    if isinstance(value, str) and _PLAIN.fullmatch(value) and tree.resolve(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _left(test: UnitTest, played: Played) -> str:
    """Return where the shard stands at the end: what to look at when a row did not come."""
    match played.watermark_ms:
        case None:
            watermark = "no event has been accepted"
        case time_ms if time_ms >= NEVER_MS:
            watermark = "the shard is closed"
        case time_ms:
            watermark = f"the watermark is {test.times.show(time_ms)}"
    still_open = {name: count for name, count in played.open_groups.items() if count and name in test.windows}
    groups = ", ".join(f"{count} of {name}" for name, count in still_open.items())
    return f"At the end {watermark}; still open: {groups or 'nothing'}"
