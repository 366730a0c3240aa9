"""Whether a run counts: every record processed once by every worker, and the product's sums add up.

What is wrong is said in sentences; no sentence means that the run counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bench.variants import Metrics

_COUNT_COLUMNS = {"page_views": "views", "visits": "events"}
"""The windows of the demo's pipeline with a column that counts every event, and its name."""

_decode = msgspec.json.Decoder(dict[str, object]).decode


@dataclass(frozen=True, slots=True)
class Delivered:
    """What Firehose wrote: ids with two contents, rows that came again, and events in results by window."""

    results: int
    duplicates: int
    conflicts: int
    events: Mapping[str, int]


def read_results(rows: Sequence[bytes]) -> Delivered:
    """Read the results."""
    first_of: dict[object, bytes] = {}
    duplicates = conflicts = 0
    events: Counter[str] = Counter()
    for row in rows:
        values = _decode(row)
        before = first_of.setdefault(values["id"], row)
        if before is not row:
            duplicates += before == row
            conflicts += before != row
            continue
        window = str(values["window"])
        if window in _COUNT_COLUMNS:
            count = values[_COUNT_COLUMNS[window]]
            assert isinstance(count, int)
            events[window] += count
    return Delivered(len(first_of), duplicates, conflicts, events)


def check_processed(name: str, processed: int, records: int) -> Iterator[str]:
    """Yield what is wrong with a number of processed records."""
    if processed != records:
        yield f"{name}: processed {processed} of {records} records"


def check_product(
    records: int, shards: int, metrics: Metrics, rows: Mapping[str, Sequence[bytes]], streams: Mapping[str, str]
) -> Iterator[str]:
    """Yield what is wrong with the product's run.

    `rows` has what each delivery stream wrote; `streams` names those of results, late events and dead letters.
    Only the last record of each shard is still in an open window.
    """
    delivered = read_results(rows[streams["results"]])
    dead_letters = _sum(metrics, "records_dead_lettered")
    late = metrics.get("records_late", {})
    yield from check_processed("product", _sum(metrics, "records_received"), records)
    if _sum(metrics, "records_replayed"):
        yield "product: records were delivered twice"
    if delivered.conflicts or delivered.duplicates:
        yield f"product: {delivered.conflicts} ids with two contents, {delivered.duplicates} rows sent again"
    for window in _COUNT_COLUMNS:
        parts = (delivered.events[window], round(late.get(window, 0)), dead_letters, _sum(metrics, "records_filtered"))
        if sum(parts) + shards != records:
            in_results, is_late, dead, filtered = parts
            yield (
                f"product: {window} has {in_results} events in results, {is_late} late, {dead} dead letters, "
                f"{filtered} filtered and {shards} open, but there are {records} records"
            )
    for kind, expected in (("late", _sum(metrics, "records_late")), ("dead letters", dead_letters)):
        if len(rows[streams[kind]]) != expected:
            yield f"product: {len(rows[streams[kind]])} rows of {kind} were delivered, {expected} were counted"


def _sum(metrics: Metrics, name: str) -> int:
    return round(sum(metrics.get(name, {}).values()))
