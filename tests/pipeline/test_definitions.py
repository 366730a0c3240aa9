"""Hashes of meaning: fixed for ever for a given meaning, and changed by whatever changes results."""

from __future__ import annotations

import pytest

from consumer.pipeline.definitions import definitions_hash, window_hash
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline

TEXT = """\
pipeline: golden
source: {stream: clicks, partition_key: user, start: trim_horizon}
events:
  compression: gzip
  fields:
    user: string
    at: timestamp
    page: string?
    amount: float?
    quantity: {type: "int?", path: cart.quantity}
    spare: bool?
  time: at
  out_of_orderness: 10s
  idle_after: 2m
  max_future: 5m
let:
  price: amount * coalesce(quantity, 1)
  gross: price * 1.19
  label: if(spare, 'é\\n', "it's")
where: amount >= 0 and not (page is null)
windows:
  views:
    tumbling: {size: 1h, offset: 15m}
    by: [page]
    combine: false
    select:
      views: count()
      revenue: sum(gross)
  visits:
    session: 30m
    by: [user]
    where: quantity > 0
    allowed_lateness: 1m
    select: {first_page: first(page), best: max(quantity / 2)}
  trend:
    sliding: {size: 10s, every: 3s}
    by: [user]
    emit: final
    select: {pages: count_distinct(page), p99: "quantile(amount, 0.99)"}
  calm:
    stagger: 10m
    by: [user]
    select: {rate: rate("1m"), best: "top(page, 3)"}
sinks: [{stdout: {}}]
state: {table: golden-state, bucket: golden-bucket}
"""

GOLDEN = (
    "c5ee868179ed0a017bea599d32fb56f7ac6e5a5f55eb13faf9b842bd6435e9f4",
    "19bc04d8ec86f21c0ad220ff508322e56e51cf6c7a8e4ba131ae0d3827aab13c",
    "086f358b640d2f07979124434641743c0cd03a5249517eeb42887036541ee0ec",
    "d0a1221a11a35046a360b6961f0da29aacc44354002d2fb597441f6d25e9d2ee",
    "0170aed8dbeb1bb9513e0d5dca956e519f3b8bc4438a8ad277e30a91be087a41",
)


def loaded(text: str) -> Pipeline:
    return load_text(text, "p.yaml", {})


def hashes(text: str) -> tuple[str, ...]:
    """Return the hashes of the pipeline, views, visits, trend and calm."""
    pipeline = loaded(text)
    return definitions_hash(pipeline), *(window_hash(pipeline, window) for window in pipeline.windows)


def test_golden() -> None:
    """A change here makes every stored state unusable and gives every result another id: never by accident."""
    assert hashes(TEXT) == GOLDEN


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stream: clicks", "stream: other"),
        ("start: trim_horizon", "start: latest"),
        ("[{stdout: {}}]", "[{firehose: {stream: x}}]\nlate: {stdout: {}}\ndead_letter: {stdout: {}}"),
        ("bucket: golden-bucket", "bucket: other, commit_interval: 1s, emit_delay: 0s"),
        ("state:", "worker: {application: other, metrics_port: 1, identifier: x, kcl: {maxRecords: 5}}\nstate:"),
        ("session: 30m", "session: {gap: 1800s}"),
        ("where: amount >= 0 and not (page is null)", "where: (amount>=0) and (not page is null)  # as before"),
        ("size: 1h", "size: 60m"),
        ("allowed_lateness: 1m", "allowed_lateness: 60s"),
        ("stagger: 10m", "stagger: {size: 600s}"),
        ("count_distinct(page)", "\"count_distinct(page, 10000, 'approximate')\""),
        ('rate("1m")', "rate('60s')"),
        ("    user: string\n", "    user: {type: string, path: user}\n"),
        ("    at: timestamp\n", "    at: {type: timestamp, unit: ms}\n"),
        ("  compression: gzip\n", "  compression: gzip\n  format: json\n"),
        ("state:", "limits: {groups: 1000000, policy: reject}\nstate:"),
    ],
)
def test_what_does_not_change_results_changes_no_hash(old: str, new: str) -> None:
    assert TEXT.count(old) == 1
    assert hashes(TEXT.replace(old, new)) == GOLDEN


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("pipeline: golden", "pipeline: other", ""),
        ("partition_key: user", "partition_key: user2", "visits trend calm"),
        ("user: string", "user: int", "visits trend calm"),
        ("user: string", "user: {type: string, path: who.id}", "visits trend calm"),
        ("page: string?", "page: string", "views visits trend calm"),
        ('type: "int?"', "type: int", "views visits"),
        ("path: cart.quantity", "path: 'cart[0].quantity'", "views visits"),
        ("    at: timestamp\n", "    at: {type: timestamp, unit: s}\n", "views visits trend calm"),
        ("spare: bool?", "spare: bool", ""),
        ("    spare: bool?\n", "    spare: bool?\n    more: int?\n", ""),
        ("  time: at\n", "", "views visits trend calm"),
        ("out_of_orderness: 10s", "out_of_orderness: 11s", "views visits trend calm"),
        ("idle_after: 2m", "idle_after: 3m", "views visits trend calm"),
        ("idle_after: 2m", "idle_after: never", "views visits trend calm"),
        ("max_future: 5m", "max_future: off", "views visits trend calm"),
        ("max_future: 5m", "max_future: 5m\n  max_bytes: 5", ""),
        ("max_future: 5m", "max_future: 5m\n  format: msgpack", ""),
        ("compression: gzip", "compression: auto", ""),
        ("state:", "limits: {groups: 5000}\nstate:", ""),
        ("state:", "limits: {policy: emit_early}\nstate:", ""),
        ("price: amount *", "price: 2 * amount *", "views"),
        ("gross: price * 1.19", "gross: price * 1.07", "views"),
        ("'é", "'e", ""),
        ("where: amount >= 0", "where: amount > 0", "views visits trend calm"),
        ("where: amount >= 0 and not (page is null)\n", "", "views visits trend calm"),
        ("  views:\n", "  looks:\n", "views"),
        ("size: 1h", "size: 2h", "views"),
        ("offset: 15m", "offset: 10m", "views"),
        ("offset: 15m", "offset: 15m, timezone: UTC", "views"),
        ("session: 30m", "session: 31m", "visits"),
        ("session: 30m", "session: {gap: 30m, max_length: 1h}", "visits"),
        ("session: 30m", "tumbling: 30m", "visits"),
        ("session: 30m", "stagger: 30m", "visits"),
        ("where: quantity > 0", "where: quantity > 1", "visits"),
        ("    where: quantity > 0\n", "", "visits"),
        ("allowed_lateness: 1m", "allowed_lateness: 2m", "visits"),
        ("allowed_lateness: 1m", "allowed_lateness: 1m\n    emit: final", "visits"),
        ("size: 10s", "size: 11s", "trend"),
        ("every: 3s", "every: 2s", "trend"),
        ("emit: final", "emit: updates", "trend"),
        ("stagger: 10m", "stagger: 11m", "calm"),
        ("stagger: 10m", "tumbling: 10m", "calm"),
        ("by: [page]", "by: [page, at]", "views"),
        ("by: [page]", "by: []", "views"),
        ("views: count()", "views: count(page)", "views"),
        ("      views: count()", "      count: count()", "views"),
        ("sum(gross)", "avg(gross)", "views"),
        ("max(quantity / 2)", "max(quantity / 3)", "visits"),
        ("max(quantity / 2)", '"max_by(quantity / 2, page)"', "visits"),
        ("count_distinct(page)", '"count_distinct(page, 9999)"', "trend"),
        ("count_distinct(page)", "approx_distinct(page)", "trend"),
        ("quantile(amount, 0.99)", "quantile(amount, 0.999)", "trend"),
        ('rate("1m")', 'rate("2m")', "calm"),
        ("top(page, 3)", "top(page, 4)", "calm"),
        ("top(page, 3)", "collect(page, 3)", "calm"),
    ],
)
def test_what_changes_results_changes_hashes(old: str, new: str, changed: str) -> None:
    """Every change counts for the pipeline; for a window only what its own values come from."""
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    if "user2" in new:
        text = text.replace("    user: string\n", "    user2: string\n").replace("by: [user]", "by: [user2]")
    found = hashes(text)
    assert found[0] != GOLDEN[0]
    names = ("views", "visits", "trend", "calm")
    different = [name for name, now, golden in zip(names, found[1:], GOLDEN[1:], strict=True) if now != golden]
    assert " ".join(different) == changed


def test_count_distinct_that_rejects_is_another_aggregate() -> None:
    exact = TEXT.replace("first(page)", "\"count_distinct(page, 9, 'approximate')\"")
    assert hashes(exact)[2] != hashes(exact.replace("approximate", "reject"))[2]


def test_what_only_the_filter_of_a_window_reads_counts_for_it() -> None:
    text = TEXT.replace("where: quantity > 0", "where: spare")
    changed = text.replace("spare: bool?", "spare: {type: bool?, path: kept}".replace("bool?", "'bool?'"))
    before, after = hashes(text), hashes(changed)
    assert [now != then for then, now in zip(before, after, strict=True)] == [True, False, True, False, False]


def test_a_csv_column_is_part_of_what_a_window_reads() -> None:
    csv = TEXT.replace("compression: gzip", "format: csv").replace('{type: "int?", path: cart.quantity}', "int?")
    moved = csv.replace("    spare: bool?\n", "").replace("    user: string\n", "    spare: bool?\n    user: string\n")
    assert hashes(csv)[1:] != hashes(moved)[1:]


def test_a_window_is_not_changed_by_its_neighbours() -> None:
    other = TEXT.replace(
        "  visits:\n", "  more:\n    tumbling: 1s\n    combine: false\n    select: {n: count()}\n  visits:\n"
    )
    _, views, _, *rest = hashes(other)
    assert (views, *rest) == GOLDEN[1:]


def test_alignment_is_part_of_a_window() -> None:
    partial = TEXT.replace(", partition_key: user", "").replace("by: [user]", "by: [user]\n    combine: false")
    definitions, views, *others = hashes(partial)
    assert definitions != GOLDEN[0]
    assert views == GOLDEN[1]
    assert not set(others) & set(GOLDEN)


GLOBAL = TEXT.replace("    combine: false\n", "    combine: true\n")
GLOBAL_VIEWS = "e01200f198b1e46531b85e7f63e2d5b98929b7aa0d02d3035e6c188846151bc0"


def test_a_global_window_is_another_one() -> None:
    """Its rows have other ids than those of a partial window; the other windows stay what they are."""
    definitions, views, *others = hashes(GLOBAL)
    assert views == GLOBAL_VIEWS
    assert definitions != GOLDEN[0]
    assert others == list(GOLDEN[2:])
    assert hashes(GLOBAL.replace("combine: true", "combine: true\n    buckets: 1\n    emit: final")) == hashes(GLOBAL)


def test_the_number_of_buckets_is_part_of_a_global_window() -> None:
    numbers = [hashes(GLOBAL.replace("combine: true", f"combine: true\n    buckets: {n}"))[:2] for n in (1, 2, 256)]
    assert len({definitions for definitions, _ in numbers}) == 3
    assert len({views for _, views in numbers}) == 3
