"""What became of the events of a run, in a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer.core.counts import Counts
from consumer.core.faults import REASONS


def summary(name: str, windows: Sequence[str], shards: int, counts: Counts, open_groups: Mapping[str, int]) -> str:
    """Return the lines. `windows` gives their order; `open_groups` are groups that a window still holds, if any."""
    filtered, dead = counts.filtered, sum(counts.dead_letters.values())
    fresh = counts.received - counts.replayed
    lines = [
        f"{name}: {_number(counts.received, 'event')} in {_number(shards, 'shard')}",
        _line("accepted", fresh - filtered - dead, {}),
        _line("filtered out", filtered, {}),
        _line("dead letters", dead, _ordered(counts.dead_letters, REASONS)),
    ]
    if counts.replayed:
        lines.append(_line("repeated", counts.replayed, {}, "at or before an earlier position, skipped"))
    lines += [
        _line("late", sum(counts.late.values()), _ordered(counts.late, windows)),
        _line("rows", sum(counts.results.values()), _ordered(counts.results, windows)),
    ]
    if any(open_groups.values()):
        lines.append(_line("still open", sum(open_groups.values()), open_groups))
    return "\n".join(lines) + "\n"


def _ordered(counts: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in order}


def _line(label: str, number: int, parts: Mapping[str, int], note: str = "") -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    return f"  {label:<12} {number:>12,}   {shown or note}".rstrip()


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
