"""The worker with the real daemon: killed, starved, stopped, misled. Every test ends with a recount."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import get_args

import psutil
import pytest

from consumer.emulator.faults import Fault, Service
from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.processes import wait_until
from consumer.errors import EXIT_DAEMON, EXIT_ENVIRONMENT, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from consumer.runtime import clock
from consumer.sources import leases
from consumer.telemetry.events import StartStep
from tests.end_to_end.rig import KINDS, SECONDS_MAX, Rig, kill_one, processes_of

pytestmark = [pytest.mark.daemon, pytest.mark.xdist_group("daemon"), pytest.mark.timeout(600)]
SHARDS = 4


def test_a_stream_is_counted_the_worker_drains_and_none_begins_with_another_file(rig: Rig) -> None:
    """Poisoned records included: the demo's scenario has broken, misrouted and late ones."""
    rig.put(10_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    assert json.loads(rig.get("/healthz"))["status"] == "ok"
    assert json.loads(rig.get("/readyz"))["status"] == "ready"
    metrics = rig.get("/metrics")
    assert "streamgauge_records_received_total" in metrics
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted
    assert counted.results.expected > 1000
    assert counted.late.expected > 0
    assert counted.dead_letters.expected > 0
    assert "user-0" not in worker.output(), "no key of the data in any log"
    lines = [json.loads(line) for line in worker.output().splitlines()]
    assert {"worker_started", "daemon_initialised", "shard_initialised", "lease_lost", "worker_stopped"} <= {
        line["event"] for line in lines
    }
    rig.file.write_text(rig.file.read_text().replace("views: count()", "hits: count()"))
    status, output = _failed_start(rig)
    assert status == EXIT_REFUSED
    assert "definitions" in output
    assert "daemon_started" not in output, "it is refused before anything is touched"


STAGES = ("", "worker_started", "daemon_started", "daemon_initialised", "shard_initialised")
"""What a worker has told, one after the other, when it is killed. At the last stage all its processes are there."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.deep)])
def test_kill_9_of_any_process_at_random_moments_loses_and_doubles_nothing(rig: Rig, kills: int) -> None:
    random = Random(20)
    rig.put(8_000)
    killed = []
    for number in range(kills):
        worker = rig.start()
        rig.wait_until_told(worker, STAGES[number % len(STAGES)])
        clock.sleep(2 * random.random())  # the moment itself is what is random
        processes = processes_of(worker)
        # Every kind at every stage in 15 kills; in five every kind once or more.
        killed.append(kill_one(KINDS[(number + 1) % len(KINDS)], processes))
        rig.wait_until_ended(worker)
        assert worker.status != EXIT_OK
        _, alive = psutil.wait_procs(processes, timeout=SECONDS_MAX)
        assert not alive, "no process outlives the worker"
        rig.put(1_000, seed=100 + number, offset_ms=3_600_000 + number * 60_000)
    assert set(KINDS) == set(killed)
    worker = rig.start()
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted


def test_a_relay_that_is_killed_ends_the_worker_at_once_and_the_next_one_goes_on(rig: Rig) -> None:
    """Java ends a conversation with its child, and by itself would end after its whole grace time."""
    rig.put(3_000)
    worker = rig.start()
    rig.wait_until_started(worker)
    kill_one("relay", processes_of(worker))
    assert rig.wait_until_ended(worker) == EXIT_DAEMON, worker.output()
    assert "the relay of a shard ended before the shard did" in worker.output()
    rig.put(3_000, seed=2, offset_ms=3_600_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted


def test_windows_of_a_silent_stream_close_by_the_clock(tmp_path: Path) -> None:
    with Emulator() as emulator:
        rig = Rig(emulator, tmp_path, idle_after="2s")
        try:
            _close_by_the_clock(rig)
        finally:
            rig.close()


def _close_by_the_clock(rig: Rig) -> None:
    rig.put(5_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    wait_until(
        lambda: _open_windows(rig.get("/metrics")) == 0,
        "every window to close without another event",
        seconds_max=SECONDS_MAX,
        alive=[worker],
    )
    rig.wait_until_combined(worker, idle=True)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount(idle=True)
    assert counted.is_right, counted
    assert counted.results.expected > rig.recount().results.expected, "rows that only the clock could give"


def _open_windows(metrics: str) -> float:
    """Return the sum of a gauge, which is there from the first batch of each shard on."""
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("streamgauge_windows_open{"))


def test_trouble_with_sinks_state_store_and_stream_delays_and_loses_nothing(rig: Rig) -> None:
    rig.emulator.faults.add(Fault(service="firehose", kind="throttle", times=25))
    rig.emulator.faults.add(Fault(service="firehose", kind="error_after", match="aggregates", times=3))
    rig.emulator.faults.add(Fault(service="firehose", kind="partial", record_probability=0.5, times=20))
    for service, kind in (
        ("dynamodb", "error_after"),
        ("dynamodb", "cut"),
        ("s3", "error_before"),
        ("s3", "drop_after"),
    ):
        rig.emulator.faults.add(Fault(service=service, kind=kind, probability=0.1, times=15, seed=5, skip=30))  # type: ignore[arg-type] # literals
    rig.put(10_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    rig.emulator.faults.clear()  # they were for the worker, not for those who look at what it did
    counted = rig.recount()
    assert counted.is_right, counted
    assert counted.results.duplicates > 0, "error_after: the rows were taken, and sent again with the same bytes"


@pytest.mark.deep
def test_a_stop_while_the_sink_is_down_ends_in_time_and_the_next_worker_sends_the_rows(rig: Rig) -> None:
    rig.put(10_000)
    fault = rig.emulator.faults.add(Fault(service="firehose", kind="throttle"))
    worker = rig.start()
    rig.wait_until_told(worker, "sink_retry")
    assert rig.stop(worker) == EXIT_OK, worker.output()
    rig.emulator.faults.remove(fault)
    worker = rig.start()
    wait_until(
        lambda: worker.output().count("shard_initialised") == 4,
        "every shard to be taken over, its stored rows sent",
        seconds_max=SECONDS_MAX,
        alive=[worker],
    )
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted


def test_a_shard_is_split_its_children_merged_and_the_worker_leaves_for_good(rig: Rig) -> None:
    release_on_stop(rig)
    rig.put(3_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    rig.cloud.split(rig.cloud.shards()[0])
    rig.put(3_000, 2, offset_ms=600_000)
    rig.wait_until_read(worker)
    left, right = (shard for shard in rig.cloud.shards() if shard.parents)
    rig.cloud.merge(left, right)
    rig.put(3_000, 3, offset_ms=1_200_000)
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    counted = rig.recount()
    assert counted.is_right, counted
    events = [line["event"] for line in map(json.loads, worker.output().splitlines())]
    assert events.count("shard_ended") == 3
    parents = {line["parent"] for line in map(json.loads, worker.output().splitlines()) if "parent" in line}
    assert parents == {shard.id for shard in rig.cloud.shards() if shard.closed}, "all of them are given up"
    assert "leases_released" in events
    open_shards = {shard.id for shard in rig.cloud.shards() if not shard.closed}
    held = leases.read(rig.emulator.client("dynamodb"), "rig") or {}
    assert {held[shard].owner for shard in open_shards} == {None}


def release_on_stop(rig: Rig) -> None:
    text = rig.file.read_text()
    rig.file.write_text(text.replace("  application: rig\n", "  application: rig\n  on_stop: release\n"))


def test_another_worker_takes_over_what_one_releases_that_leaves_for_good(rig: Rig) -> None:
    release_on_stop(rig)
    rig.put(2_000)
    leaver = rig.start()
    heir = rig.start_another("worker-1")
    rig.wait_until_read(leaver)
    rig.wait_until_told(heir, "daemon_initialised")
    assert rig.stop(leaver) == EXIT_OK, leaver.output()
    database = rig.emulator.client("dynamodb")
    assert {lease.owner for lease in (leases.read(database, "rig") or {}).values()} <= {"worker-1", None}
    reports = database.scan(TableName="rig-WorkerMetricStats")["Items"]
    assert [report["wid"]["S"] for report in reports] == ["worker-1"], "nobody may give leases to who has gone"
    rig.put(2_000, 2, offset_ms=600_000)
    rig.wait_until_read(heir)
    assert {lease.owner for lease in (leases.read(database, "rig") or {}).values()} == {"worker-1"}
    rig.wait_until_combined(heir)
    assert rig.stop(heir) == EXIT_OK, heir.output()
    counted = rig.recount()
    assert counted.is_right, counted


STARTING_CALLS: dict[str, tuple[Service, str, str]] = {
    "check_table": ("dynamodb", "DescribeTable", "streamgauge-state"),
    "check_bucket": ("s3", "HeadBucket", ""),
    "describe_stream": ("kinesis", "DescribeStreamSummary", ""),
    "read_application": ("dynamodb", "GetItem", "streamgauge-state"),
    "list_shards": ("kinesis", "ListShards", ""),
    "create_application": ("dynamodb", "PutItem", "streamgauge-state"),
    "release_leader": ("dynamodb", "DeleteItem", "rig-CoordinatorState"),
    "accept_leases": ("dynamodb", "Scan", "rig"),
}
"""The steps of a start, and what each of them calls."""


def test_throttles_at_the_start_delay_it_and_nothing_else(rig: Rig) -> None:
    assert set(STARTING_CALLS) == set(get_args(StartStep)) - {"adopt"}, "nothing is adopted at a first start"
    rig.put(1_000)
    for service, operation, match in STARTING_CALLS.values():
        rig.emulator.faults.add(Fault(service=service, operation=operation, match=match, kind="throttle", times=3))
    worker = rig.start()
    # Nothing else may call before: the faults are for the worker.
    rig.wait_until_told(worker, "daemon_started")
    assert rig.emulator.faults.active() == []
    rig.wait_until_read(worker)
    rig.wait_until_combined(worker)
    assert rig.stop(worker) == EXIT_OK, worker.output()
    retried = [line["step"] for line in map(json.loads, worker.output().splitlines()) if line["event"] == "start_retry"]
    assert retried == list(STARTING_CALLS), "three tries are one call: the client's own repetitions"
    counted = rig.recount()
    assert counted.is_right, counted


def test_a_stop_while_the_start_waits_for_aws_ends_the_worker_with_0(rig: Rig) -> None:
    rig.emulator.faults.add(Fault(service="kinesis", operation="DescribeStreamSummary", kind="throttle"))
    worker = rig.start()
    rig.wait_until_told(worker, "start_retry")
    assert rig.stop(worker) == EXIT_OK, worker.output()
    assert "daemon_started" not in worker.output()


def test_a_stop_at_the_very_start_ends_the_worker_with_0(rig: Rig) -> None:
    worker = rig.start()
    rig.wait_until_told(worker, "worker_started")
    assert rig.stop(worker) == EXIT_OK, worker.output()


def _failed_start(rig: Rig) -> tuple[int, str]:
    worker = rig.start()
    return rig.wait_until_ended(worker), worker.output()


def test_a_stream_that_is_not_there_is_told_before_java_starts(rig: Rig) -> None:
    rig.emulator.client("kinesis").delete_stream(StreamName="clicks")
    status, output = _failed_start(rig)
    assert status == EXIT_ENVIRONMENT
    assert "clicks" in output
    assert "daemon_started" not in output


def test_a_missing_state_table_is_told_with_the_remedy(rig: Rig) -> None:
    rig.emulator.client("dynamodb").delete_table(TableName="streamgauge-state")
    status, output = _failed_start(rig)
    assert status == EXIT_ENVIRONMENT
    assert "streamgauge-state" in output


def test_a_wrong_file_ends_with_2_and_every_error(rig: Rig) -> None:
    rig.file.write_text("pipeline: X\nwindows: {}\n")
    status, output = _failed_start(rig)
    assert status == EXIT_USAGE
    assert output.count("clickstream.yaml:") > 1


def test_java_that_ends_by_itself_ends_the_worker(rig: Rig) -> None:
    worker = rig.start()
    rig.wait_until_told(worker, "daemon_initialised")
    for process in processes_of(worker):
        with suppress(psutil.NoSuchProcess):
            if "java" in process.name():
                process.terminate()
    assert rig.wait_until_ended(worker) == EXIT_DAEMON, worker.output()
