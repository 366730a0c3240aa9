"""From a question to readings that are good enough: which shards, from which mark on, and how far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consumer.core.panes import TumblingWindows
from consumer.core.times import format_time
from consumer.core.windows import Room
from consumer.entrypoints.explain.lineage import (
    Shard,
    Start,
    Starts,
    chain_of_key,
    chain_of_origin,
)
from consumer.entrypoints.explain.question import QuestionError, key_text
from consumer.entrypoints.explain.replay import Reading, Replay
from consumer.errors import RefusedError
from consumer.pipeline.model import Session, Sliding, Stagger, Tumbling

_FURTHER_BACK_MS = 60_000
"""How much further back to begin than was just seen to be too late; twice as much each time."""


@dataclass(frozen=True)
class Part:
    """The shards whose records make the group, or its part that holds the events of the first of them."""

    origin: str | None
    chain: Sequence[Shard]
    starts: Starts


@dataclass(frozen=True)
class Span:
    """The windows that are asked for: their starts, and when the last of them has ended."""

    starts_ms: tuple[int, ...]
    end_ms: int


def parts_of(reading: Reading, shards: Mapping[str, Shard]) -> list[Part]:
    """Return the parts of the group: one in an aligned window, else one a shard."""
    question, pipeline = reading.question, reading.site.pipeline
    definitions, bound_ms = reading.program.definitions, pipeline.events.out_of_orderness_ms
    hashed = question.hashed(pipeline)
    if hashed is not None:
        chain = chain_of_key(shards, hashed)
        if not chain:
            raise RefusedError(f"no shard that has a state can hold {key_text(question.key)}: has a worker run?")
        return [Part(None, chain, Starts(chain, definitions, bound_ms, origin_alone=False))]
    if question.shard is not None and question.shard not in shards:
        raise QuestionError(f"there is no state of a shard {question.shard}. There is one of: {', '.join(shards)}")
    origins = list(shards) if question.shard is None else [question.shard]
    chains = [chain_of_origin(shards, origin) for origin in origins]
    return [Part(chain[0].id, chain, Starts(chain, definitions, bound_ms, origin_alone=True)) for chain in chains]


def newest_event_ms(reading: Reading, parts: Sequence[Part]) -> int:
    """Return the time of the group's newest event that was counted; RefusedError if the stream has none."""
    walks = [part.starts.backwards() for part in parts]
    while True:
        starts = [next(walk, None) for walk in walks]
        if not any(starts):
            question = reading.question
            raise RefusedError(
                f"the stream has no event of {key_text(question.key) or 'any group'} that counts in window "
                f"{question.window.name}. Say --at TIME to see what is known of a time"
            )
        times_ms = [
            time_ms
            for part, start in zip(parts, starts, strict=True)
            if start is not None
            for time_ms in _times_ms(reading, part, start)
        ]
        if times_ms:
            return max(times_ms)


def _unheard(_: str) -> None:
    """Hear nothing: what is missing is told when the window is read."""


def _times_ms(reading: Reading, part: Part, start: Start) -> Iterator[int]:
    shards = part.chain[:1] if part.origin is not None else part.chain
    for number, shard in enumerate(shards[start.place :]):
        after = start.mark.position if start.mark is not None and not number else None
        for page in reading.pages(shard, after, _unheard):
            for record in page:
                if reading.time_ms(record) is not None:
                    time_ms = reading.narrow.time_ms(record)
                    if time_ms is not None:
                        yield time_ms


def replay_at(reading: Reading, part: Part, at_ms: int) -> Replay | None:
    """Read what made the group's windows at a time; None if the part can have no event of them."""
    if _ended_before(part, reading, _earliest_ms(reading, at_ms)):
        return None
    before_ms, further_ms = _earliest_ms(reading, at_ms), _FURTHER_BACK_MS
    while True:
        start = part.starts.before(before_ms)
        replay = Replay(reading, part.chain, start, lambda replay, now_ms: _is_enough(reading, replay, at_ms, now_ms))
        replay.run()
        chain_ms = _chain_start_ms(reading, replay, at_ms)
        needed_ms = span(reading, replay, at_ms).starts_ms[0] if chain_ms is None else chain_ms
        if part.starts.has_nothing_from(start, needed_ms) or start == part.starts.first():
            if not part.starts.has_nothing_from(start, needed_ms):
                replay.reasons.append(
                    f"the ledger reaches back to where events of {format_time(needed_ms)} may have been read before: "
                    "what came earlier is missing here"
                )
            return replay
        before_ms, further_ms = needed_ms - further_ms, 2 * further_ms


def _ended_before(part: Part, reading: Reading, time_ms: int) -> bool:
    """Tell whether a shard has ended with all its events before a time."""
    last = part.chain[0].marks[-1] if part.origin is not None and part.chain[0].marks else None
    if last is None or not last.ended:
        return False
    bound_ms = reading.site.pipeline.events.out_of_orderness_ms
    return last.watermark_ms is None or last.watermark_ms + bound_ms < time_ms


def _earliest_ms(reading: Reading, at_ms: int) -> int:
    """Return the earliest time that an event of a window at this time can be expected to have."""
    kind = reading.question.window.kind
    if isinstance(kind, Tumbling | Sliding):
        return _span_of_kind(reading, kind, at_ms).starts_ms[0]
    return at_ms - _reach_ms(kind)


def _span_of_kind(reading: Reading, kind: Tumbling | Sliding, at_ms: int) -> Span:
    if isinstance(kind, Tumbling):
        windows = reading.program.windows[reading.question.number].open(Room(1))
        assert isinstance(windows, TumblingWindows)
        start_ms, end_ms = windows.bounds(at_ms)
        return Span((start_ms,), end_ms)
    last_ms = at_ms // kind.every_ms * kind.every_ms
    first_ms = -(-(at_ms - kind.size_ms + 1) // kind.every_ms) * kind.every_ms
    return Span(tuple(range(first_ms, last_ms + 1, kind.every_ms)), last_ms + kind.size_ms)


def _reach_ms(kind: Session | Stagger) -> int:
    """Return how far apart two events are at least which have nothing to do with each other."""
    return kind.gap_ms + 1 if isinstance(kind, Session) else kind.size_ms


def _length_ms(kind: Session | Stagger) -> int:
    """Return how long a window of one event is."""
    return kind.gap_ms if isinstance(kind, Session) else kind.size_ms


def _cluster(replay: Replay, kind: Session | Stagger, at_ms: int) -> tuple[int, int] | None:
    """Return the first and last time of the events around a time that touch one another; None if there are none."""
    reach_ms = _reach_ms(kind)
    times_ms = sorted(seen.time_ms for seen in replay.seen if seen.fate == "counted")
    clusters: list[tuple[int, int]] = []
    for time_ms in times_ms:
        if clusters and time_ms - clusters[-1][1] < reach_ms:
            clusters[-1] = clusters[-1][0], time_ms
        else:
            clusters.append((time_ms, time_ms))
    return next(((first, last) for first, last in clusters if first <= at_ms < last + _length_ms(kind)), None)


def span(reading: Reading, replay: Replay, at_ms: int) -> Span:
    """Return which windows lie at a time."""
    kind = reading.question.window.kind
    if isinstance(kind, Tumbling | Sliding):
        return _span_of_kind(reading, kind, at_ms)
    found = _cluster(replay, kind, at_ms)
    first_ms, last_ms = (at_ms, at_ms) if found is None else found
    return Span((first_ms,), last_ms + _length_ms(kind))


def _chain_start_ms(reading: Reading, replay: Replay, at_ms: int) -> int | None:
    """Return the time from which on all events must have been read; None where that is the window's start.

    A session or stagger window depends on those that its events touch, and these on others, back to a time without any.
    """
    kind = reading.question.window.kind
    if isinstance(kind, Tumbling | Sliding):
        return None
    found = _cluster(replay, kind, at_ms)
    return (at_ms if found is None else found[0]) - _reach_ms(kind) + 1


def _is_enough(reading: Reading, replay: Replay, at_ms: int, watermark_ms: int) -> bool:
    question = reading.question
    end_ms = span(reading, replay, at_ms).end_ms
    return watermark_ms >= end_ms - 1 + question.window.allowed_lateness_ms + question.late_for_ms
