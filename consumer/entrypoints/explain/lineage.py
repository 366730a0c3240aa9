"""Which shards have held a group one after the other, and from which mark on their records must be read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consumer.entrypoints.state.site import Site
from consumer.records import HashRange, Position
from consumer.sources import kinesis
from consumer.state.base import Application, Claim
from consumer.state.marks import Ledger, Mark


@dataclass(frozen=True)
class Shard:
    """A shard as its ledger, its state and the stream tell of it.

    `counted` is the position of the last record that its state has counted; None means all, of a shard that has
    `ended`, and none, of one that has not. `watermark_ms` is the state's, None where it has none any more.
    """

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    marks: tuple[Mark, ...]
    counted: Position | None
    ended: bool
    watermark_ms: int | None = None

    @property
    def beginning(self) -> Mark | None:
        """Return the mark of the shard's beginning, before its first record; None if the ledger has none."""
        return self.marks[0] if self.marks and self.marks[0].position is None else None


@dataclass(frozen=True)
class Start:
    """Where to begin in a chain of shards: the shard's place in it, and the mark (None: its first record)."""

    place: int
    mark: Mark | None


def read_shards(site: Site, application: Application) -> dict[str, Shard]:
    """Return all shards of the pipeline's generation, by id, parents before their children."""
    stream = {shard.id: shard for shard in site.tried(lambda: kinesis.list_shards(site.stream, _stream_of(site)))}
    found: dict[str, Shard] = {}
    for shard, claim in site.claims().items():
        ledger = _ledger(site, application, shard)
        known = _known(claim, ledger) or (
            (stream[shard].hash_range, stream[shard].parents) if shard in stream else None
        )
        if known is None:
            continue
        hash_range, parents = known
        found[shard] = _shard(shard, claim, ledger, HashRange(*map(int, hash_range)), parents)
    return found


def _shard(shard: str, claim: Claim, ledger: Ledger | None, hash_range: HashRange, parents: tuple[str, ...]) -> Shard:
    marks, state = () if ledger is None else ledger.marks, claim.state
    if state is None:
        return Shard(shard, hash_range, parents, marks if claim.retired else (), None, claim.retired)
    # The ledger was read later: it may tell of more than the state.
    known = tuple(mark for mark in marks if mark.commit_no <= state.commit_no)
    return Shard(shard, hash_range, parents, known, state.position, state.ended, state.watermark_ms)


def _stream_of(site: Site) -> str:
    return site.pipeline.source.stream


def _ledger(site: Site, application: Application, shard: str) -> Ledger | None:
    """Return a shard's ledger, None if it has none of this generation."""
    ledger = site.tried(lambda: site.store.read_ledger(shard))
    if ledger is None or (ledger.generation, ledger.stream_created_ms) != (
        application.generation,
        application.stream_created_ms,
    ):
        return None
    return ledger


def _known(claim: Claim, ledger: Ledger | None) -> tuple[tuple[str, str], tuple[str, ...]] | None:
    if ledger is not None:
        return ledger.hash_range, ledger.parents
    return None if claim.state is None else (claim.state.hash_range, claim.state.parents)


def chain_of_key(shards: Mapping[str, Shard], hashed: int) -> list[Shard]:
    """Return the shards that have held a hash key, oldest first: a child's number is higher than its parents'."""
    return [shard for _, shard in sorted(shards.items()) if shard.hash_range.holds(hashed)]


def chain_of_origin(shards: Mapping[str, Shard], origin: str) -> list[Shard]:
    """Return a shard, and those that have taken over the parts of windows that hold its events, oldest first."""
    chain, lowest = [shards[origin]], shards[origin].hash_range.first
    while True:
        heirs = [each for each in shards.values() if chain[-1].id in each.parents and each.hash_range.holds(lowest)]
        if not heirs:
            return chain
        chain.append(heirs[0])


class Starts:
    """The places of a chain where reading can begin, oldest first.

    All events that come before a mark are at most `out_of_orderness` ahead of the watermarks there. Where
    `origin_alone`, only the first shard's records matter: what is asked for is its part of a window.
    """

    def __init__(
        self, chain: Sequence[Shard], definitions: str, out_of_orderness_ms: int, *, origin_alone: bool
    ) -> None:
        self._bound_ms = out_of_orderness_ms
        self._origin_alone = origin_alone
        self.all = [
            Start(place, mark)
            for place, shard in enumerate(chain[:1] if origin_alone else chain)
            for mark in shard.marks
            if mark.definitions == definitions
        ]

    def has_nothing_from(self, start: Start, time_ms: int) -> bool:
        """Tell whether all events before a place are known to be earlier than this time."""
        mark = start.mark
        if mark is None:
            return False
        if self._origin_alone and mark.position is None:
            return True
        marks_ms = [] if mark.watermark_ms is None else [mark.watermark_ms]
        if not self._origin_alone:
            marks_ms += [floor_ms for _, _, floor_ms in mark.floors]
        return all(mark_ms + self._bound_ms < time_ms for mark_ms in marks_ms)

    def before(self, time_ms: int) -> Start:
        """Return the latest place with no event of this time or later before it; the first one if there is none."""
        fit = [start for start in self.all if self.has_nothing_from(start, time_ms)]
        return fit[-1] if fit else self.first()

    def first(self) -> Start:
        """Return the first place that is known of."""
        return self.all[0] if self.all else Start(0, None)

    def backwards(self) -> Iterator[Start]:
        """Yield places from the newest to the first, each about twice as far back as the one before."""
        step = 1
        while step < len(self.all):
            yield self.all[-step]
            step *= 2
        yield self.first()
