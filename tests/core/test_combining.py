"""Parts of global windows put together, and what a shard remembers of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import msgspec
import pytest

from consumer.core import contributions
from consumer.core.combining import Bucket, Combining, buckets
from consumer.core.compile import Program, compile_pipeline
from consumer.core.completion import LAST_HASH_KEY, Stretch
from consumer.core.contributions import Contribution, bucket_of, combined, decode, stamped
from consumer.core.processor import Processor
from consumer.core.windows import LONG_AGO_MS
from consumer.errors import CorruptStateError
from consumer.pipeline.load import load_text
from consumer.records import CONTRIBUTION, HashRange, Record, Row

FILE = """
pipeline: combined
source: {stream: clicks}
events:
  fields: {at: timestamp, page: "string?", n: "float?", who: "string?"}
  time: at
  out_of_orderness: 0s
  idle_after: never
windows:
  views:
    tumbling: 10s
    by: [page]
    combine: true
    buckets: BUCKETS
    select:
      events: count()
      total: sum(n)
      first: first(who)
      last: last(who)
      least: min_by(who, n)
      most: max_by(who, n)
      some: collect(who, 3)
  sliding: {sliding: {size: 10s, every: 5s}, combine: true, allowed_lateness: 2s, select: {least: "min_by(who, n)"}}
sinks: [{stdout: {}}]
state: {table: state}
"""
START_MS = 1_700_000_000_000
ALL, HALF = HashRange(0, LAST_HASH_KEY), HashRange(0, 2**127 - 1)


def program(buckets: int = 1, incarnation: int = 0) -> Program:
    pipeline = load_text(FILE.replace("BUCKETS", str(buckets)), "combined.yaml", {})
    incarnations = {"views": incarnation} if incarnation else {}
    return compile_pipeline(pipeline, keys_required=False, incarnations=incarnations)


def event(second: float, **members: object) -> Record:
    time_ms = START_MS + round(1000 * second)
    return Record(json.dumps({"at": time_ms, **members}).encode(), arrival_ms=time_ms)


def contributed(of: Program, shard: str, *events: Record) -> list[Contribution]:
    processor = Processor(of, shard)
    rows = [*processor.apply(events).rows, *processor.close_all().rows]
    assert {row.output for row in rows} == {CONTRIBUTION}
    return [decode(row.data) for row in rows]


def rows_of(of: Program, found: Sequence[Contribution], window: str) -> list[dict[str, object]]:
    mine = [each for each in found if each.window == window]
    windows = sorted({(each.end_ms, each.bucket) for each in mine})
    number = [each.window.name for each in of.windows].index(window)
    return [
        json.loads(row.data)
        for place in windows
        for row in combined(of.windows[number], [each for each in mine if (each.end_ms, each.bucket) == place])
    ]


def test_parts_are_put_together_in_the_order_of_their_origins() -> None:
    """Of events that are equal by time or value the lower origin's is first, whoever comes first here."""
    of = program()
    a = contributed(of, "a", event(1, page="x", n=0.1, who="a1"), event(2, page="x", n=0.7, who="a2"))
    b = contributed(of, "b", event(1, page="x", n=0.1, who="b1"), event(2, page="x", n=0.7, who="b2"))
    (row,) = rows_of(of, [*b, *a], "views")
    assert row == {
        "id": row["id"],
        "pipeline": "combined",
        "window": "views",
        "window_start": "2023-11-14T22:13:20.000Z",
        "window_end": "2023-11-14T22:13:30.000Z",
        "page": "x",
        "events": 4,
        "total": (0.1 + 0.7) + (0.1 + 0.7),
        "first": "a1",
        "last": "b2",
        "least": "a1",
        "most": "a2",
        "some": ["a1", "b1", "a2"],
        "revision": 0,
        "final": True,
    }
    assert rows_of(of, [*a, *b], "views") == [row]


def test_the_position_in_a_shard_means_nothing_in_another() -> None:
    """Panes of a sliding window go by position among equals; of shards the lower one's is first, wherever it stands."""
    of = program()
    a = contributed(of, "a", *[event(1, n=5.0, who="a")] * 3, event(3, n=1.0, who="a4"))
    b = contributed(of, "b", event(2, n=1.0, who="b1"))
    assert [row["least"] for row in rows_of(of, [*a, *b], "sliding")] == ["a4", "a4"]


def test_groups_of_one_shard_alone_are_kept() -> None:
    of = program()
    a = contributed(of, "a", event(1, page="x"), event(1, page=None))
    b = contributed(of, "b", event(1, page="y"))
    assert [(row["page"], row["events"]) for row in rows_of(of, [*a, *b], "views")] == [(None, 1), ("x", 1), ("y", 1)]


def test_buckets_part_the_groups_and_nothing_else() -> None:
    of = program(buckets=5)
    events = [event(1, page=f"page-{number}") for number in range(40)]
    found = contributed(of, "a", *events)
    views = [each for each in found if each.window == "views"]
    assert len({each.bucket for each in views}) == 5
    assert sorted(str(row["page"]) for row in rows_of(of, found, "views")) == sorted(f"page-{n}" for n in range(40))
    assert bucket_of(of.windows[0], "page-1") == bucket_of(program(buckets=5).windows[0], "page-1")


def test_other_buckets_are_another_window() -> None:
    assert program(buckets=1).windows[0].hash != program(buckets=2).windows[0].hash


def test_what_is_too_large_for_an_item_comes_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributions, "CHUNK_BYTES", 50)
    of = program()
    found = contributed(of, "a", *(event(1, page=f"page-{number}", who="x" * number) for number in range(30)))
    views = [each for each in found if each.window == "views"]
    assert [each.chunk for each in views] == list(range(views[0].chunks))
    assert len(views) > 3
    assert len(rows_of(of, views[::-1], "views")) == 30
    with pytest.raises(CorruptStateError, match="only chunks"):
        rows_of(of, views[:-1], "views")
    with pytest.raises(CorruptStateError, match="cannot be read"):
        rows_of(of, [msgspec.structs.replace(each, data=b"?" * 50) for each in views], "views")


def test_a_window_is_contributed_whole_however_few_rows_are_asked_for() -> None:
    of = program()
    processor = Processor(of, "a", rows_max=2)
    processor.apply([event(1, page=f"page-{number}") for number in range(9)])
    outcome = processor.step([event(60, page="x")])
    (views,) = [each for row in outcome.rows if (each := decode(row.data)).window == "views"]
    assert len(rows_of(of, [views], "views")) == 9
    assert processor.closing, "the other window waits its turn"
    assert processor.closed_ms is not None
    assert processor.watermark_ms is not None
    assert processor.closed_ms < processor.watermark_ms


def test_lateness_delays_the_part_and_revises_nothing() -> None:
    of = program()
    processor = Processor(of, "a")
    processor.apply([event(1, n=1.0), event(11.9, n=1.0)])
    assert not [row for row in processor.apply([event(9, n=0.5)]).rows if decode(row.data).window == "sliding"][1:]
    rows = processor.apply([event(12, n=1.0)]).rows
    assert [decode(row.data).end_ms - START_MS for row in rows] == [10_000]


def test_a_row_knows_when_it_may_be_forgotten() -> None:
    of = program()
    (found, *_) = contributed(of, "a", event(1, page="x"))
    rows = [Row("views", b"{}"), Row(CONTRIBUTION, contributions.encode(found))]
    (row, told), due_ms = stamped(of, rows, 77)
    assert row == rows[0]
    assert decode(told.data) == msgspec.structs.replace(found, expires_ms=77)
    assert due_ms == found.end_ms - 1
    assert stamped(of, rows[:1], 77) == (rows[:1], None)
    with pytest.raises(CorruptStateError, match="cannot be read"):
        decode(b"?")


@pytest.mark.parametrize(
    ("watermark_s", "due_s"),
    [(-20.001, -10.001), (-10.001, -0.001), (-10.002, -10.001), (9.999, 19.999), (15, 19.999)],
)
def test_when_the_next_tumbling_window_goes_by(watermark_s: float, due_s: float) -> None:
    views = program().windows[0]
    assert views.next_due_ms(START_MS + round(1000 * watermark_s)) == START_MS + round(1000 * due_s)


def test_the_next_window_due_is_the_first_one_that_is_due_later() -> None:
    sliding = program().windows[1]
    dues = [START_MS + 5_000 * number - 1 + 2_000 for number in range(-3, 4)]
    for watermark_ms in range(dues[0], dues[-1], 997):
        assert sliding.next_due_ms(watermark_ms) == min(due_ms for due_ms in dues if due_ms > watermark_ms)


def test_a_shard_combines_the_buckets_whose_places_it_holds() -> None:
    of = program(buckets=50)
    low = buckets(of, HALF)
    high = buckets(of, HashRange(HALF.last + 1, LAST_HASH_KEY))
    assert sorted(low + high) == buckets(of, ALL) == [*(Bucket(0, number) for number in range(50)), Bucket(1, 0)]
    assert 10 < len(low) < 40


def test_what_was_combined_goes_with_the_bucket() -> None:
    of = program(buckets=50)
    parent = Processor(of, "parent", hash_range=ALL)
    parent.combining.up_to = dict.fromkeys(buckets(of, ALL), 7)
    parent.combining.stretches = (Stretch(1, 2),)
    child = Processor.inherit(of, "child", 0, hash_range=HALF, parents=[parent])
    assert child.combining.up_to == dict.fromkeys(buckets(of, HALF), 7)
    assert child.combining.stretches == (Stretch(1, 2),)
    restored, _ = Processor.restore(of, "child", 0, [child.freeze([], base=True)], hash_range=HALF)
    assert vars(restored.combining) == vars(child.combining)


def test_a_window_that_is_added_counts_from_behind_all_that_was_seen() -> None:
    before, after = program(), program(incarnation=3)
    old = Processor(before, "a")
    old.apply([event(5, page="x")])
    old.combining.up_to = {Bucket(0, 0): 1, Bucket(1, 0): 2}
    adopted = Processor.adopt(after, old)
    assert adopted.combining.began == {0: START_MS + 5_001, 1: LONG_AGO_MS}
    assert adopted.combining.up_to == {Bucket(1, 0): 2}
    again = Processor.adopt(program(incarnation=3), adopted)
    assert again.combining.began == adopted.combining.began
    assert Processor.adopt(after, Processor(before, "b")).combining.began[0] < 0


def test_a_window_that_is_added_after_a_merge_counts_from_behind_what_the_faster_parent_had_seen() -> None:
    """The watermark is the slower one's; of events that the faster one counted the new window has none."""
    before, after = program(), program(incarnation=3)
    fast, slow = (Processor(before, name, hash_range=ALL) for name in ("fast", "slow"))
    fast.apply([event(100, page="x")])
    slow.apply([event(5, page="x")])
    merged = Processor.inherit(before, "merged", 0, hash_range=ALL, parents=[fast, slow])
    split = Processor.inherit(before, "split", 0, hash_range=HALF, parents=[merged])
    split, _ = Processor.restore(before, "split", 0, [split.freeze([], base=True)], hash_range=HALF)
    assert split.watermark_ms == START_MS + 5_000
    adopted = Processor.adopt(after, split)
    assert adopted.combining.began == {0: START_MS + 100_001, 1: LONG_AGO_MS}


def test_a_child_counts_an_added_window_from_when_all_its_parents_do() -> None:
    of = program(incarnation=3)
    parents = [Processor(of, name, hash_range=ALL) for name in ("one", "other")]
    assert parents[0].combining.began == {0: LONG_AGO_MS, 1: LONG_AGO_MS}
    parents[1].combining.began[0] = 9
    child = Processor.inherit(of, "child", 0, hash_range=ALL, parents=parents)
    assert child.combining.began == {0: 9, 1: LONG_AGO_MS}


def test_a_pipeline_without_global_windows_stores_nothing_of_them() -> None:
    pipeline = load_text(FILE.replace("BUCKETS", "1"), "combined.yaml", {})
    windows = tuple(dataclasses.replace(window, buckets=None) for window in pipeline.windows)
    combining = Combining(compile_pipeline(dataclasses.replace(pipeline, windows=windows), keys_required=False))
    assert combining.pack() is msgspec.UNSET
