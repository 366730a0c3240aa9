"""Holds the marks of a ledger against what is read between them: they say whether it is all that the worker had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.entrypoints.explain.lineage import Shard
from consumer.entrypoints.state.wording import position_text
from consumer.state.marks import Mark


@dataclass(frozen=True)
class Counted:
    """What was read so far. `late` are events late for the asked window; None where that depends on what was open."""

    records: int
    filtered: int
    dead_letters: Counter[str]
    late: int | None


class Audited(Protocol):
    """A reading of a shard that marks are held against."""

    @property
    def watermark_ms(self) -> int | None:
        """Return the shard's watermark."""

    def counted(self) -> Counted:
        """Return what was read so far."""

    def idle(self, watermark_ms: int, /) -> None:
        """Take an idle decision, to this watermark."""

    def tell(self, reason: str, /) -> None:
        """Hear why the reading is not certain to be as the worker's was."""


class Audit:
    """Holds the marks behind the first one against what is read; `window` is the asked one's name."""

    def __init__(self, reading: Audited, shard: Shard, first: Mark | None, window: str) -> None:
        self._reading = reading
        self._shard = shard
        self._window = window
        self._last = first
        self._at = reading.counted()

    def reached(self, mark: Mark) -> None:
        """Come to a mark: an idle decision is taken now, else the shard stands there as it should."""
        if self._last is not None:
            self._compare(self._last, mark)
        self._stand_at(mark.watermark_ms, _text(mark), is_decided=mark.idle)
        self._last, self._at = mark, self._reading.counted()

    def ended(self) -> None:
        """Come to the last record that was counted: the shard stands where its state does."""
        if self._shard.watermark_ms is not None:
            self._stand_at(self._shard.watermark_ms, "the last record that was counted", is_decided=False)

    def _stand_at(self, expected_ms: int | None, where: str, *, is_decided: bool) -> None:
        watermark_ms = self._reading.watermark_ms
        if expected_ms == watermark_ms:
            return
        if expected_ms is None or (watermark_ms is not None and watermark_ms > expected_ms):
            self._say(f"the watermark at {where} was another one than the records give")
            return
        if not is_decided:
            self._say(f"an idle decision shortly before {where} is not in the ledger")
        self._reading.idle(expected_ms)

    def _compare(self, last: Mark, mark: Mark) -> None:
        """Hold what the worker has counted since the mark before against what was read."""
        was, now, before = last.totals, mark.totals, self._at
        read = self._reading.counted()
        counted = (now.received - now.replayed) - (was.received - was.replayed)
        records = read.records - before.records
        if counted != records:
            self._say(
                f"up to {_text(mark)} the worker has counted {counted:,} records, and the stream has {records:,}: the "
                "others are older than its retention, or were passed over (gap_passed)"
            )
            return
        there, told = read.dead_letters - before.dead_letters, _difference(now.dead_letters, was.dead_letters)
        if (there, read.filtered - before.filtered) != (told, now.filtered - was.filtered):
            self._say(
                f"up to {_text(mark)} the worker had dead letters {_counts_text(told)}, and reading again gives "
                f"{_counts_text(there)}: a limit was reached by what else was open"
            )
        if _difference(now.early, was.early):
            self._say(f"up to {_text(mark)} groups were emitted early, to make room for what else was open")
        missing = mark.decisions - last.decisions - mark.idle
        late = now.late.get(self._window, 0) - was.late.get(self._window, 0)
        if missing:
            self._say(f"{missing} idle decisions before {_text(mark)} are no longer in the ledger")
        elif read.late is not None and before.late is not None and late != read.late - before.late:
            self._say(f"up to {_text(mark)} the worker had {late:,} late events, not {read.late - before.late:,}")

    def _say(self, reason: str) -> None:
        self._reading.tell(f"{self._shard.id}: {reason}")


def _difference(now: Mapping[str, int], was: Mapping[str, int]) -> Counter[str]:
    return Counter(now) - Counter(was)


def _text(mark: Mark) -> str:
    return position_text(mark.position) or "its beginning"


def _counts_text(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items())) or "none"
