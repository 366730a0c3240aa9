"""Up to which watermark all shards of a stream have delivered what they contribute to global windows.

Each shard tells its progress after its contributions were stored. A set of shards speaks for the whole stream, is its
cover, if their ranges fill the space of hash keys once and none of them came of another. Why that is enough: whatever
is contributed later comes of a shard of the cover, or of one that came of them, and starts at their watermarks.

Rule 1: a shard is replaced by its children when all of them have told something, that is, when their ranges fill its
own; until then it counts, and its children do not.
Rule 2: a shard does not count any more when a grandchild has told something.
Rule 3: whoever asks must know all shards that had told something at one moment: names read twice alike (that is the
caller's to see to). A shard that is not known of would hide that one member of the cover came of another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from consumer.core.windows import LONG_AGO_MS
from consumer.records import HashRange

LAST_HASH_KEY = 2**128 - 1
NAME_DIGITS = 16
"""By so many digits of the hash of its definition a window is named: all progress is read once an interval."""
_STRETCHES_A_KEEPING = 8
"""How many stretches of time are told apart while contributions are kept."""


class Stretch(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Contributions that a store may forget from `expires_ms` on or later, as was told with them.

    They are of windows due by `watermark_ms`, and after the watermark of the stretch before.
    """

    expires_ms: int
    watermark_ms: int


class Progress(msgspec.Struct, frozen=True):
    """What a shard tells of itself after what its commit `commit_no` holds was delivered.

    `parents` are the shards it came of, `hash_range` its hash keys (decimal text, both ends included). `watermark_ms`:
    all windows due by it have been contributed to; None before the first event. `began` names the global windows that
    it counts, by NAME_DIGITS of their hashes, each with a time from which on no event was left out of it. An ended
    shard's may be forgotten from `expires_ms` on, epoch milliseconds: it is as if it were not there.
    """

    shard: str
    generation: int
    parents: tuple[str, ...]
    hash_range: tuple[str, str]
    watermark_ms: int | None
    epoch: int
    commit_no: int
    ended: bool = False
    began: tuple[tuple[str, int], ...] = ()
    stretches: tuple[Stretch, ...] = ()
    expires_ms: int | None = None

    @property
    def passed_ms(self) -> int:
        """Return its watermark; of a shard without an event one that nothing is due by."""
        return LONG_AGO_MS if self.watermark_ms is None else self.watermark_ms

    @property
    def range(self) -> HashRange:
        """Return the shard's hash keys."""
        first, last = self.hash_range
        return HashRange(int(first), int(last))


@dataclass(frozen=True, slots=True)
class Completion:
    """What all shards together have reached.

    `members` is the cover, empty if there is none: then nothing is complete. `highest_ms` is the highest watermark of
    any shard; `told` are all that were read.
    """

    told: tuple[Progress, ...] = ()
    members: tuple[Progress, ...] = ()

    @property
    def watermark_ms(self) -> int | None:
        """Return the watermark up to which everything was contributed; None while there is none."""
        watermarks = [member.watermark_ms for member in self.members]
        known = [watermark_ms for watermark_ms in watermarks if watermark_ms is not None]
        return min(known) if known and len(known) == len(watermarks) else None

    @property
    def highest_ms(self) -> int | None:
        """Return the highest watermark that any shard has told."""
        return max((each.watermark_ms for each in self.told if each.watermark_ms is not None), default=None)

    @property
    def held_back_ms(self) -> int | None:
        """Return how far the shard that is behind all others is behind the one that is ahead; None while unknown."""
        watermark_ms, highest_ms = self.watermark_ms, self.highest_ms
        return None if watermark_ms is None or highest_ms is None else highest_ms - watermark_ms

    @property
    def held_back_by(self) -> str | None:
        """Return the shard that is behind all others; None without a cover."""
        last = min(self.members, key=attrgetter("passed_ms"), default=None)
        return None if last is None else last.shard

    def began_ms(self, window_hash: str) -> int | None:
        """Return from which time on all shards count a window; None while one of them does not yet, or no more."""
        began = [dict(member.began).get(window_hash[:NAME_DIGITS]) for member in self.members]
        known = [since_ms for since_ms in began if since_ms is not None]
        return max(known) if known and len(known) == len(began) else None

    def forgotten_ms(self, now_ms: int) -> int:
        """Return a watermark: contributions of windows due by it may be forgotten at a time, of later ones none."""
        stretches = [stretch for each in self.told for stretch in each.stretches]
        return max((each.watermark_ms for each in stretches if each.expires_ms <= now_ms), default=LONG_AGO_MS)


def completion(told: Iterable[Progress], now_ms: int) -> Completion:
    """Return what all shards that have told something have reached."""
    alive = tuple(each for each in told if each.expires_ms is None or each.expires_ms > now_ms)
    return Completion(alive, tuple(cover(alive)))


def cover(told: Collection[Progress]) -> list[Progress]:
    """Return the cover, in the order of ranges; nothing if there is none."""
    by_name = {each.shard: each for each in told}
    replaced = _replaced(told) | _ancestors_of_parents(by_name)
    members = {name: each for name, each in by_name.items() if name not in replaced}
    chosen = [each for each in members.values() if not any(parent in members for parent in each.parents)]
    chosen.sort(key=lambda each: each.range)
    return chosen if _fill([each.range for each in chosen], HashRange(0, LAST_HASH_KEY)) else []


def _replaced(told: Collection[Progress]) -> set[str]:
    children: dict[str, list[HashRange]] = {}
    for each in told:
        for parent in each.parents:
            children.setdefault(parent, []).append(each.range)
    return {each.shard for each in told if _cover_all(sorted(children.get(each.shard, ())), each.range)}


def _ancestors_of_parents(by_name: Mapping[str, Progress]) -> set[str]:
    """Return every shard that has a grandchild, or later offspring, that has told something."""
    found: set[str] = set()
    for each in by_name.values():
        ancestors = [parent for name in each.parents if name in by_name for parent in by_name[name].parents]
        while ancestors:
            name = ancestors.pop()
            if name not in found and name in by_name:
                found.add(name)
                ancestors += by_name[name].parents
    return found


def _cover_all(ranges: Sequence[HashRange], whole: HashRange) -> bool:
    """Tell whether ranges, in order, have every hash key of the whole one."""
    first = whole.first
    for each in ranges:
        if each.first <= first:
            first = max(first, each.last + 1)
    return first > whole.last


def _fill(ranges: Sequence[HashRange], whole: HashRange) -> bool:
    """Tell whether ranges, in order, have every hash key of the whole one exactly once."""
    first = whole.first
    for each in ranges:
        if each.first != first:
            return False
        first = each.last + 1
    return first == whole.last + 1


def extended(stretches: Iterable[Stretch], now_ms: int, new: Stretch) -> tuple[Stretch, ...]:
    """Return the stretches with what is contributed now, in order.

    Those that lie close together become one, which expires with the first of them; so do those that are forgotten.
    """
    first, *others = sorted([*stretches, new])
    told, apart_ms = [first], (new.expires_ms - now_ms) // _STRETCHES_A_KEEPING
    for each in others:
        last = told[-1]
        if each.expires_ms <= now_ms or each.expires_ms - last.expires_ms < apart_ms:
            told[-1] = Stretch(last.expires_ms, max(last.watermark_ms, each.watermark_ms))
        elif each.watermark_ms > last.watermark_ms:
            told.append(each)
    return tuple(told)
