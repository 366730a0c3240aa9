"""The metrics that exist, and their page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from consumer.telemetry.metrics import DEFINITIONS, GROUPS, Kind, Metrics, new_registry
from consumer.telemetry.metrics_page import metrics_page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

API = {
    "records_received_total": "stream shard",
    "bytes_received_total": "stream shard",
    "batches_total": "stream",
    "batch_records": "stream",
    "iterator_age_seconds": "stream shard",
    "watermark_timestamp_seconds": "stream shard",
    "event_time_lag_seconds": "stream shard",
    "last_batch_timestamp_seconds": "stream shard",
    "stream_retention_seconds": "stream",
    "reads_throttled_total": "stream",
    "process_duration_seconds": "stream",
    "records_filtered_total": "stream",
    "records_late_total": "stream window",
    "records_dead_lettered_total": "stream reason",
    "records_replayed_total": "stream",
    "records_left_out_total": "stream",
    "records_misrouted_total": "stream",
    "windows_open": "stream shard window",
    "keys_active": "stream shard window",
    "groups_limit": "stream shard",
    "results_emitted_total": "stream window",
    "results_early_total": "stream window",
    "groups_dropped_total": "stream window reason",
    "idle_advances_total": "stream",
    "emit_delay_seconds": "stream",
    "state_bytes": "stream shard",
    "commits_total": "stream result",
    "commit_duration_seconds": "stream",
    "commit_bytes": "stream",
    "state_retries_total": "stream step reason",
    "state_restores_total": "stream result",
    "state_orphans_deleted_total": "stream",
    "ledger_failures_total": "stream",
    "restore_duration_seconds": "stream",
    "fenced_total": "stream",
    "epoch_churn_total": "stream",
    "gaps_total": "stream",
    "epoch": "stream shard",
    "checkpoint_age_seconds": "stream shard",
    "checkpoint_retries_total": "stream",
    "global_watermark_timestamp_seconds": "stream",
    "global_held_back_seconds": "stream shard",
    "global_cover": "stream",
    "global_windows_waiting": "stream window",
    "contributions_written_total": "stream",
    "contribution_bytes_total": "stream",
    "contributions_read_total": "stream",
    "global_windows_incomplete_total": "stream",
    "global_combine_duration_seconds": "stream",
    "sink_rows_total": "stream sink result",
    "sink_bytes_total": "stream sink",
    "sink_batches_total": "stream sink",
    "sink_retries_total": "stream sink reason",
    "sink_put_duration_seconds": "stream sink",
    "outbox_rows": "stream shard",
    "outbox_resent_rows_total": "stream",
    "shards_owned": "stream",
    "shards_parked": "stream",
    "leases_unheld": "stream",
    "leases_acquired_total": "stream",
    "leases_lost_total": "stream",
    "shards_ended_total": "stream",
    "handovers_finished_total": "stream",
    "batches_returned_total": "stream",
    "daemon_up": "stream",
    "daemon_restarts_total": "stream",
    "daemon_log_lines_total": "stream level",
    "worker_started_timestamp_seconds": "stream",
    "build_info": "version",
    "pipeline_info": "stream hash",
}
"""Dashboards and alerts are written against these: to rename or remove one is a breaking change."""


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, stream="clicks")


def test_names_and_labels_are_the_api() -> None:
    assert {name: " ".join(definition.labels) for name, definition in DEFINITIONS.items()} == API


def test_every_definition_stands_once() -> None:
    assert sum(len(group.metrics) for group in GROUPS) == len(DEFINITIONS)


def test_names_say_type_and_unit() -> None:
    for name, definition in DEFINITIONS.items():
        assert name.endswith("_total") == (definition.kind is Kind.COUNTER), name
        assert bool(definition.buckets) == (definition.kind is Kind.HISTOGRAM), name
        assert list(definition.buckets) == sorted(set(definition.buckets)), name
        assert definition.help.endswith("."), name


def test_page_is_current() -> None:
    """If this fails: python -m consumer.telemetry.metrics_page > docs/metrics.md."""
    assert PAGE.read_text(encoding="utf-8") == metrics_page()


def test_everything_is_exported_under_its_name(registry: CollectorRegistry, metrics: Metrics) -> None:
    text = generate_latest(registry).decode()
    for name, definition in DEFINITIONS.items():
        assert f"# TYPE streamgauge_{name} {definition.kind}\n" in text, name
    assert "_created" not in text


def test_the_stream_label_is_filled_in(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.counter("records_late_total", window="views").inc(3)
    assert registry.get_sample_value("streamgauge_records_late_total", {"stream": "clicks", "window": "views"}) == 3


def test_a_wrong_label_or_name_is_refused(metrics: Metrics) -> None:
    with pytest.raises(KeyError):
        metrics.counter("records_late_total", shard="s")
    with pytest.raises(KeyError):
        metrics.counter("records_late_total")
    with pytest.raises(KeyError):
        metrics.gauge("nothing")
    with pytest.raises(AssertionError):
        metrics.gauge("batches_total")


def test_counters_of_the_stream_alone_begin_at_0(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert registry.get_sample_value("streamgauge_gaps_total", {"stream": "clicks"}) == 0
    assert registry.get_sample_value("streamgauge_shards_owned", {"stream": "clicks"}) is None, "a gauge would lie"


def test_the_daemon_is_followed(registry: CollectorRegistry, metrics: Metrics) -> None:
    name = "streamgauge_daemon_process_resident_memory_bytes"
    assert registry.get_sample_value(name) is None
    metrics.follow_daemon(os.getpid())
    value = registry.get_sample_value(name)
    assert value is not None
    assert value > 1_000_000


def test_forgetting_a_shard_removes_its_gauges_alone(registry: CollectorRegistry, metrics: Metrics) -> None:
    for shard in ("gone", "kept"):
        metrics.gauge("windows_open", shard=shard, window="views").set(2)
        metrics.gauge("epoch", shard=shard).set(1)
        metrics.counter("records_received_total", shard=shard).inc(7)
    metrics.forget_shard("gone")
    metrics.forget_shard("never seen")
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    shards = {(sample.name, sample.labels["shard"]) for sample in samples if "shard" in sample.labels}
    assert shards == {
        ("streamgauge_windows_open", "kept"),
        ("streamgauge_epoch", "kept"),
        ("streamgauge_records_received_total", "kept"),
        ("streamgauge_records_received_total", "gone"),
    }


def test_the_registry_tells_about_the_process() -> None:
    assert new_registry().get_sample_value("process_cpu_seconds_total") is not None
