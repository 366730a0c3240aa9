from __future__ import annotations

import json
from collections import Counter

import msgspec
import pytest

from bench.core_contestants import CONTESTANTS, Contest, answer, batches_of, disagreement
from bench.core_events import OUT_OF_ORDERNESS_MS, SIZES, Recipe, line_of
from bench.core_jobs import HEADLINE, JOBS, Job, Shape
from bench.core_measure import DisagreementError, Timing, compare
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.core.times import parse_time
from consumer.sources.multilang import ProcessRecords

EVENTS = 4_000
WITH_WINDOWS = [job for job in (*JOBS, HEADLINE) if job.windows]


@pytest.fixture(scope="module")
def contest() -> Contest:
    return Contest(HEADLINE, Recipe(EVENTS, SIZES[0]).records())


@pytest.mark.parametrize("size_bytes", SIZES)
def test_events_have_about_the_size_asked_for(size_bytes: int) -> None:
    records = Recipe(200, size_bytes).records()
    mean = sum(len(record.data) for record in records) / len(records)
    assert size_bytes * 0.85 < mean < size_bytes * 1.1
    assert all(json.loads(record.data)["user"] == record.partition_key for record in records)


def test_events_are_repeatable_out_of_order_and_never_late() -> None:
    records = Recipe(EVENTS, SIZES[0]).records()
    assert records == Recipe(EVENTS, SIZES[0]).records()
    times = [parse_time(json.loads(record.data)["time"]) for record in records]
    newest = [max(times[: number + 1]) for number in range(0, len(times), 97)]
    behind = [most - time for most, time in zip(newest, times[::97], strict=True)]
    assert 0 < max(behind) < OUT_OF_ORDERNESS_MS


def test_a_line_is_what_the_daemon_writes() -> None:
    records = Recipe(5, SIZES[0]).records()
    line = line_of(records)
    assert line.endswith(b"\n")
    assert msgspec.json.decode(line, type=ProcessRecords).records == records


@pytest.mark.parametrize("job", WITH_WINDOWS, ids=lambda job: job.name)
@pytest.mark.parametrize("name", ["dicts", "bytewax", "polars", "streamgauge_lines"])
def test_all_who_are_compared_come_to_the_same_results(name: str, job: Job, contest: Contest) -> None:
    if name in {"bytewax", "polars"}:
        pytest.importorskip(name, reason="requirements/bench.txt is not installed")
    same = Contest(job, contest.records)
    ours = answer(CONTESTANTS["streamgauge"](same)())
    assert disagreement(ours, answer(CONTESTANTS[name](same)())) is None
    assert {f"{shape} rows" for shape in job.windows} <= ours.keys()


def test_the_answers_are_about_all_events(contest: Contest) -> None:
    found = answer(CONTESTANTS["streamgauge"](contest)())
    kinds = Counter(json.loads(record.data)["kind"] for record in contest.records)
    assert found[f"{Shape.TUMBLING} events"] == found[f"{Shape.SESSION} events"] == EVENTS - kinds["bot"]
    assert found[f"{Shape.SESSION} rows"] > 100


def test_visits_end_and_users_come_back_while_events_go_on() -> None:
    job = next(job for job in JOBS if job.name == "session")
    processor = Processor(compile_pipeline(job.pipeline()), "shard")
    rows = [row for batch in batches_of(Recipe(60_000, SIZES[0]).records()) for row in processor.apply(batch).rows]
    users = Counter(json.loads(row.data)["user"] for row in rows)
    assert len(rows) > 2_500
    assert users.most_common(1)[0][1] == 2


@pytest.mark.parametrize("name", ["streamgauge", "dicts", "lines_alone"])
def test_decoding_decodes_every_event(name: str, contest: Contest) -> None:
    job = HEADLINE if name == "lines_alone" else JOBS[0]
    assert CONTESTANTS[name](Contest(job, contest.records))() == EVENTS


def test_what_differs_is_told_and_roundings_are_not() -> None:
    one = answer([b'{"window":"a","events":2,"total":1.0}', b'{"window":"a","events":3,"total":0.5}'])
    assert one == {"a rows": 2, "a events": 5, "a total": 1.5}
    assert disagreement(one, {**one, "a total": 1.5 + 1e-12}) is None
    assert disagreement(one, {**one, "a events": 6}) == "a events: 5 and 6"
    assert disagreement(one, {"a rows": 2, "a events": 5}) == "a total: 1.5 and nan"


def test_nothing_is_compared_when_results_differ(contest: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.core_dicts.GAP_S", 2.0)
    with pytest.raises(DisagreementError, match="headline: streamgauge and dicts differ in visits"):
        compare(contest, ["streamgauge", "dicts"], repeats=1)


def test_all_are_measured_by_turns(contest: Contest) -> None:
    timings = compare(contest, ["streamgauge", "dicts", "lines_alone"], repeats=2)
    assert {name: (timing.events, len(timing.seconds)) for name, timing in timings.items()} == dict.fromkeys(
        ["streamgauge", "dicts", "lines_alone"], (EVENTS, 2)
    )


def test_a_ratio_is_taken_within_a_turn() -> None:
    ours, theirs = Timing(100, [1.0, 2.0]), Timing(100, [4.0, 4.0])
    assert ours.speeds == [100.0, 50.0]
    assert ours.costs == pytest.approx([10_000.0, 20_000.0])
    assert ours.ratios_to(theirs) == [4.0, 2.0]
