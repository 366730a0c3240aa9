"""What `state list` and `show` tell of global windows: how far all shards are, and what waits to be combined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.core.combining import Bucket, buckets
from consumer.core.completion import Completion, completion
from consumer.core.processor import Processor
from consumer.core.windows import NEVER_MS
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import age_text, columns, time_text
from consumer.records import HashRange
from consumer.runtime import clock
from consumer.state.base import Application

_SECOND_MS = 1_000
_NO_COVER = "not all shards have told of their progress, so nothing is complete"
_NO_WATERMARK = "not all shards have had an event, or an idle decision, so nothing is complete"


def completion_of(site: Site, application: Application) -> Completion | None:
    """Return what all shards have told; None if the pipeline has no global window.

    It is read once, no photograph (core/completion.py): good enough to look at, not to combine by.
    """
    if not site.program.combined:
        return None
    return completion(site.tried(lambda: site.store.read_progress(application.generation)), clock.now_ms())


def completion_facts(reached: Completion | None) -> dict[str, Any] | None:
    """Return what is told of all shards together."""
    if reached is None:
        return None
    return {
        "covered": bool(reached.members),
        "watermark": time_text(reached.watermark_ms),
        "held_back_by": reached.held_back_by,
        "held_back_ms": reached.held_back_ms,
    }


def completion_text(facts: Mapping[str, Any]) -> str:
    """Return it in words."""
    if not facts["covered"]:
        return _NO_COVER
    if facts["watermark"] is None:
        return f"{_NO_WATERMARK}: {facts['held_back_by']}"
    held_back_ms = facts["held_back_ms"]
    if held_back_ms < _SECOND_MS:
        return f"complete up to {facts['watermark']}, all shards are there"
    behind = f"{age_text(held_back_ms)} behind the one that is ahead"
    return f"complete up to {facts['watermark']}, where {facts['held_back_by']} is: {behind}"


def progress_facts(reached: Completion | None, shard: str) -> dict[str, Any]:
    """Return what a shard has told of itself; nothing without global windows."""
    if reached is None:
        return {}
    told = next((each for each in reached.told if each.shard == shard), None)
    if told is None:
        return {"progress": None}
    facts = {"watermark": time_text(told.watermark_ms), "commit_no": told.commit_no, "ended": told.ended}
    return {"progress": facts | {"counts": any(each.shard == shard for each in reached.members)}}


def progress_text(told: Mapping[str, Any] | None) -> str:
    """Return up to where a shard has contributed, in a word or two; of one whose children count instead, nothing."""
    if told is None:
        return "none told"
    if told["ended"] and not told["counts"]:
        return "-"
    return told["watermark"] or "no event yet"


def combines_facts(
    site: Site, application: Application, reached: Completion, processor: Processor, hash_range: HashRange
) -> list[dict[str, Any]]:
    """Return of each bucket that a shard combines up to where it has, and what has been contributed to it since."""
    return [
        _bucket_facts(site, application, reached, processor, bucket)
        for bucket in buckets(processor.program, hash_range)
    ]


def _bucket_facts(
    site: Site, application: Application, reached: Completion, processor: Processor, bucket: Bucket
) -> dict[str, Any]:
    program, up_to_ms = processor.program.windows[bucket.number], processor.combining.up_to.get(bucket)

    def read() -> tuple[set[tuple[int, int]], int]:
        windows, contributions = set[tuple[int, int]](), 0
        for each in site.store.read_contributions(
            application.generation, program.hash, bucket.bucket, after_end_ms=up_to_ms, until_end_ms=NEVER_MS
        ):
            windows.add((each.end_ms, each.start_ms))
            contributions += not each.chunk
        return windows, contributions

    windows, contributions = site.tried(read)
    ends_ms = [end_ms for end_ms, _ in windows]
    watermark_ms = reached.watermark_ms
    return {
        "window": program.window.name,
        "bucket": bucket.bucket,
        "combined_up_to": time_text(up_to_ms),
        "windows": len(windows),
        "complete": sum(watermark_ms is not None and program.due_ms(end_ms) <= watermark_ms for end_ms in ends_ms),
        "contributions": contributions,
        "first_end": time_text(min(ends_ms, default=None)),
        "last_end": time_text(max(ends_ms, default=None)),
    }


def combines_lines(combines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each bucket, if there is one."""
    if not combines:
        return
    header = ("window", "bucket", "combined up to", "waiting", "complete", "contributions", "first ends", "last ends")
    rows = [
        (
            each["window"],
            str(each["bucket"]),
            each["combined_up_to"] or "-",
            f"{each['windows']:,}",
            f"{each['complete']:,}",
            f"{each['contributions']:,}",
            each["first_end"] or "-",
            each["last_end"] or "-",
        )
        for each in combines
    ]
    yield from columns(header, rows, indent="    ")
