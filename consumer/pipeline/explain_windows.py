"""A window in plain words: what it groups, when it closes, what its rows say."""

from __future__ import annotations

from functools import singledispatch

from consumer.pipeline.canonical import aggregate_to_text, to_text
from consumer.pipeline.durations import duration_in_words, format_duration
from consumer.pipeline.memory import memory_per_group, memory_per_group_at_most
from consumer.pipeline.model import (
    Aggregate,
    Events,
    Kind,
    Pipeline,
    Session,
    Sliding,
    Stagger,
    Tumbling,
    Window,
)
from consumer.pipeline.wording import size_in_words, table, type_in_words


def explain_window(pipeline: Pipeline, window: Window) -> list[str]:
    """Return paragraphs about one window; those that begin with a blank are lines of a table."""
    return [
        f"{_shape(window.kind)}{_filter(window)} {_groups(window)}",
        *table((column.name, aggregate_to_text(column), _result_in_words(column)) for column in window.select),
        *_remarks(window),
        _alignment(pipeline, window),
        *(_completion(pipeline, window) if window.combined else (_closing(pipeline.events, window),)),
        *_revisions(window),
        _memory(window),
    ]


def window_in_brief(window: Window) -> str:
    """Return a window's kind and groups in a few words: `tumbling 1m by country, over all shards`."""
    groups = f" by {', '.join(column.name for column in window.by)}" if window.by else ""
    whole = ", over all shards" if window.combined else "" if window.aligned else ", a part for each shard"
    return f"{_kind_in_brief(window.kind)}{groups}{whole}"


def _kind_in_brief(kind: Kind) -> str:
    match kind:
        case Tumbling():
            zone = f" in {kind.timezone}" if kind.timezone else ""
            return f"tumbling {format_duration(kind.size_ms)}{zone}"
        case Sliding():
            return f"sliding {format_duration(kind.size_ms)} every {format_duration(kind.every_ms)}"
        case Session():
            return f"session, gap {format_duration(kind.gap_ms)}"
        case Stagger():
            return f"stagger {format_duration(kind.size_ms)}"


def _result_in_words(aggregate: Aggregate) -> str:
    if aggregate.function == "top":
        return f"list of {{value: {aggregate.type}, count: int, error: int}}"
    if aggregate.function == "collect":
        return f"list of {aggregate.type}"
    return type_in_words(aggregate.type, nullable=aggregate.nullable)


@singledispatch
def _shape(kind: Kind) -> str:
    raise NotImplementedError(type(kind))


@_shape.register
def _(kind: Tumbling) -> str:
    size = duration_in_words(kind.size_ms)
    shifted = f", shifted by {duration_in_words(kind.offset_ms)}" if kind.offset_ms else ""
    if kind.timezone is None:
        return f"Tumbling windows of {size}, side by side in UTC{shifted}."
    return (
        f"Tumbling windows of {size}, side by side by the clock in {kind.timezone}{shifted}. Where that clock is put "
        "forward or back, a window is shorter or longer."
    )


@_shape.register
def _(kind: Sliding) -> str:
    most, rest = divmod(kind.size_ms, kind.every_ms)
    count = f"{most} or {most + 1}" if rest else str(most)
    noun = "window" if count == "1" else "windows"
    return (
        f"Sliding windows of {duration_in_words(kind.size_ms)}; one begins every {duration_in_words(kind.every_ms)}, "
        f"in UTC, so each event is in {count} {noun}."
    )


@_shape.register
def _(kind: Session) -> str:
    gap = duration_in_words(kind.gap_ms)
    text = (
        f"Sessions: events at most {gap} apart belong together. A session lasts from its first event to {gap} after "
        "its last."
    )
    if kind.max_length_ms is None:
        return text
    return (
        f"{text} From its first to its last event are at most {duration_in_words(kind.max_length_ms)}: an event that "
        "does not fit any more begins the next session."
    )


@_shape.register
def _(kind: Stagger) -> str:
    size = duration_in_words(kind.size_ms)
    return (
        f"Stagger windows of {size}: an event of a group that has no open window for it opens one, from its own time "
        f"on; the events of the following {size} belong to it."
    )


def _filter(window: Window) -> str:
    return "" if window.where is None else f" Only events count here for which this is true: {to_text(window.where)}."


def _what(window: Window) -> str:
    return "session" if isinstance(window.kind, Session) else "window"


def _groups(window: Window) -> str:
    parts = [*(column.name for column in window.by), *(() if window.aligned or window.combined else ("shard",))]
    *others, last = [_what(window), *parts]
    each = f"each {', '.join(others)} and {last}" if others else f"each {last}"
    row = "One row" if _gives_one_row(window) else "Rows"
    return f"{row} for {each}:" if window.by else f"{row} for {each}, over all events:"


def _gives_one_row(window: Window) -> bool:
    return window.emit == "final" or not window.allowed_lateness_ms


_REMARKS = {
    "count_distinct": "count_distinct is exact up to its limit; with 'approximate' what is beyond is an estimate, with "
    "'reject' the record that would go beyond is a dead letter.",
    "approx_distinct": "approx_distinct is an estimate, in two of three cases within 1.7 %.",
    "quantile": "quantile is within 0.8 % of the value at that rank.",
    "top": "The counts of top are too low by at most `error`, which is 0 as long as there are few values.",
}


def _remarks(window: Window) -> list[str]:
    used = {column.function for column in window.select}
    return [remark for function, remark in _REMARKS.items() if function in used]


def _alignment(pipeline: Pipeline, window: Window) -> str:
    key = pipeline.source.partition_key
    if window.aligned:
        complete = "exact and final" if _gives_one_row(window) else "exact"
        return (
            f"Aligned: rows are by {key}, the partition key, so one shard sees all events of a group and each row is "
            f"{complete}."
        )
    why = (
        f"rows are not by {key}, the partition key, so events of one group lie in several shards"
        if key
        else "source.partition_key is not given, so events of one group may lie in several shards"
    )
    if window.combined:
        return (
            f"Global: {why}. Each shard reduces its own part, and the parts are put together, so each row is exact and "
            "final, over all shards."
        )
    return (
        f"Partial: {why}. Each shard gives a row of its own, marked `partial: true` with the name of the shard; "
        "put them together where they are read."
    )


def _completion(pipeline: Pipeline, window: Window) -> list[str]:
    """Return when the rows of a global window come, and what they cost."""
    interval_ms = pipeline.state.commit_interval_ms
    silent = (
        " No clock moves a watermark (idle_after is never), so a shard without events holds back all rows."
        if pipeline.events.idle_after_ms is None
        else " One that has fallen silent follows the one that is ahead."
    )
    kept = (
        f" That is with the {duration_in_words(window.allowed_lateness_ms)} of allowed lateness, in which events still "
        "count."
        if window.allowed_lateness_ms
        else ""
    )
    closing = (
        f"A shard closes its part of a window when {_end_of_part(pipeline.events, window)}.{kept} What comes for it "
        "after that is late, in that shard. The rows come when all shards have closed theirs, within three commit "
        f"intervals ({duration_in_words(3 * interval_ms)}) of the last one. A shard that is behind holds them back: "
        f"the status page and `streamgauge state list` name it.{silent}"
    )
    return [closing, _cost(window)]


_DAY_MS = 86_400_000


def _cost(window: Window) -> str:
    assert window.buckets is not None
    assert isinstance(window.kind, Tumbling | Sliding)
    every_ms = window.kind.every_ms if isinstance(window.kind, Sliding) else window.kind.size_ms
    items = max(1, _DAY_MS // every_ms) * window.buckets
    buckets = "one bucket" if window.buckets == 1 else f"{window.buckets} buckets"
    return (
        f"The parts meet in the table, in {buckets}: for each window a shard writes one item for each bucket that it "
        f"has groups in (more above 300 KB), so at most some {items:,} a day, and each is read once."
    )


def _end_of_part(events: Events, window: Window) -> str:
    wait_ms = events.out_of_orderness_ms + (window.allowed_lateness_ms if window.emit == "final" else 0)
    # The rule is `window_end - 1 <= watermark`, in milliseconds.
    past = (
        f"at least {duration_in_words(wait_ms)} past its end (to be exact, 1 millisecond less)"
        if wait_ms
        else "at its end or past it (to be exact, in its last millisecond)"
    )
    silent = "" if events.idle_after_ms is None else ", or when the shard falls silent (see Time)"
    whose = "an event of that shard" if window.combined else "an event of its shard"
    return f"{whose} is {past}{silent}"


def _closing(events: Events, window: Window) -> str:
    what = _what(window)
    closes = f"A {what} closes when {_end_of_part(events, window)}."
    if not window.allowed_lateness_ms:
        return f"{closes} What comes for it after that is late."
    if window.emit == "final":
        return (
            f"{closes} That is with the {duration_in_words(window.allowed_lateness_ms)} of allowed lateness, in which "
            "events still count. It then gives its one row; what comes for it after that is late."
        )
    return f"{closes} It then gives its first row, revision 0."


def _revisions(window: Window) -> list[str]:
    if _gives_one_row(window):
        return []
    lateness = duration_in_words(window.allowed_lateness_ms)
    kept = (
        f"It is kept for another {lateness} of allowed lateness: each event that still comes for it gives a whole new "
        "row with the next revision, so the row with the highest revision counts. After that it is dropped without "
        "another row, and what comes is late."
    )
    if not isinstance(window.kind, Session):
        return [kept]
    grown = (
        "A session that grows when it has given a row already gives the next one when its new end has come. Where "
        "sessions that had rows are joined, or one has an earlier beginning, the new row's `replaces` names the "
        "ids that it stands for."
    )
    return [kept, grown]


def _memory(window: Window) -> str:
    usual, most = memory_per_group(window), memory_per_group_at_most(window)
    each = f"each open {_what(window)}{' and group' if window.by and not isinstance(window.kind, Session) else ''}"
    full = "" if most == usual else f", up to {size_in_words(most)} when all it keeps is full"
    if window.combined:
        each += " of a shard, and as much for each of a bucket while its parts are put together"
    return f"Memory: about {size_in_words(usual)} for {each}{full}; texts longer than 30 characters take more."
