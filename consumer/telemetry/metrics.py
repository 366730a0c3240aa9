"""All metrics of this version, and the one class that creates them.

Names, labels and meanings are an API: dashboards and alerts are written against them. docs/metrics.md is
generated from the list below (`python -m consumer.telemetry.metrics_page`), and a test holds the list of
names.

No label ever holds anything from the data. Gauges of a shard are removed when the shard leaves the worker, or
they would go on saying what was true then; counters of a shard stay, or their last increments would never be
read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

PREFIX = "streamgauge_"
DAEMON = f"{PREFIX}daemon"
"""What the metrics of the Java process begin with."""


class Kind(StrEnum):
    """The Prometheus types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. `name` lacks the prefix; `buckets` are upper bounds, of histograms alone."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics that belong together on the page."""

    title: str
    metrics: tuple[Definition, ...] = field(default=())


def _counter(name: str, labels: str, text: str) -> Definition:
    return Definition(name, Kind.COUNTER, tuple(labels.split()), text)


def _gauge(name: str, labels: str, text: str) -> Definition:
    return Definition(name, Kind.GAUGE, tuple(labels.split()), text)


def _histogram(name: str, labels: str, buckets: tuple[float, ...], text: str) -> Definition:
    return Definition(name, Kind.HISTOGRAM, tuple(labels.split()), text, buckets)


_SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_RECORDS = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0)
_BYTES = tuple(float(1 << power) for power in range(10, 31, 2))

GROUPS: tuple[Group, ...] = (
    Group(
        "What comes in",
        (
            _counter(
                "records_received_total",
                "stream shard",
                "Records handed over by the source, records that are skipped as already counted included.",
            ),
            _counter("bytes_received_total", "stream shard", "Bytes of the data of those records."),
            _counter(
                "batches_total",
                "stream",
                "Calls of the source with or without records (an idle shard is called about once a second).",
            ),
            _histogram("batch_records", "stream", _RECORDS, "Records in a call that had any."),
        ),
    ),
    Group(
        "Lag",
        (
            _gauge(
                "iterator_age_seconds",
                "stream shard",
                "How far reading was behind the tip of the shard at the last batch: the age of its newest "
                "record, or what the source said if that is more. 0 when there is nothing left to read.",
            ),
            _gauge(
                "watermark_timestamp_seconds",
                "stream shard",
                "The shard's watermark as a Unix time. Absent until an event was accepted.",
            ),
            _gauge(
                "event_time_lag_seconds",
                "stream shard",
                "The clock minus the watermark at the last batch. Absent until an event was accepted.",
            ),
            _gauge("last_batch_timestamp_seconds", "stream shard", "Unix time of the last call of the source."),
            _gauge(
                "stream_retention_seconds",
                "stream",
                "How long the stream keeps a record, as it was when the worker started: what is further behind "
                "is lost.",
            ),
            _counter(
                "reads_throttled_total",
                "stream",
                "Reads of the daemon that Kinesis throttled: too many applications read the shard, or too fast.",
            ),
        ),
    ),
    Group(
        "Work",
        (
            _histogram(
                "process_duration_seconds",
                "stream",
                _SHORT_SECONDS,
                "Time to decode and aggregate a batch that had records, without commits.",
            ),
            _counter("records_filtered_total", "stream", "Events for which `where` was not true."),
            _counter(
                "records_late_total",
                "stream window",
                "Late events: their window was already closed. One for each such window of an event.",
            ),
            _counter(
                "records_dead_lettered_total",
                "stream reason",
                "Records that could not be used, by reason.",
            ),
            _counter(
                "records_replayed_total",
                "stream",
                "Records at or before the stored position: counted before a restart, and skipped now.",
            ),
            _counter(
                "records_left_out_total",
                "stream",
                "In Lambda: records of producer-library packets that the Kinesis Client Library would leave out too.",
            ),
            _counter(
                "records_misrouted_total",
                "stream",
                "Dead letters whose partition key is not the field that the pipeline file names, or does not "
                "belong to the shard: the stream is not distributed by that key.",
            ),
        ),
    ),
    Group(
        "Windows",
        (
            _gauge(
                "windows_open",
                "stream shard window",
                "Open windows held in memory: one for each window start and group key, or each session.",
            ),
            _gauge(
                "keys_active",
                "stream shard window",
                "Group keys that have an open window. Where windows of one key follow one another (tumbling, sliding): "
                "the keys of that start which has the most.",
            ),
            _gauge(
                "groups_limit",
                "stream shard",
                "How many windows the shard may have open in all: `limits.groups`. With the policy reject, records "
                "that would open more are dead letters (state_limit).",
            ),
            _counter("results_emitted_total", "stream window", "Results that became ready (not yet delivered)."),
            _counter(
                "results_early_total",
                "stream window",
                "Those of them that were emitted before their window ended, to stay within `limits.groups` (policy "
                "emit_early).",
            ),
            _counter(
                "groups_dropped_total",
                "stream window reason",
                "Open groups that were thrown away, by reason: window_removed (the pipeline file said `drop` of a "
                "window that is no longer there).",
            ),
            _counter(
                "idle_advances_total",
                "stream",
                "Times that a shard was idle for `events.idle_after`, so that its watermark went on by the clock.",
            ),
            _histogram(
                "emit_delay_seconds",
                "stream",
                _LONG_SECONDS,
                "From the oldest result of a commit being ready to all sinks having taken the commit's rows.",
            ),
        ),
    ),
    Group(
        "State",
        (
            _gauge("state_bytes", "stream shard", "Size of the shard's stored snapshot."),
            _counter(
                "commits_total",
                "stream result",
                "Commits by result: ok, retry (a step failed and is tried again), fenced (another owner has "
                "the shard), failed (given up; the worker ends).",
            ),
            _histogram(
                "commit_duration_seconds",
                "stream",
                _SHORT_SECONDS,
                "Time to write a snapshot and to advance the state; sending is not part of it.",
            ),
            _histogram("commit_bytes", "stream", _BYTES, "Bytes written by a commit."),
            _counter(
                "state_retries_total",
                "stream step reason",
                "Calls to the state store that failed and are made again, by what they were for (claim, load, "
                "snapshot, fence, delete, contribute, tell, combine) and reason (throttled, unavailable, internal, "
                "timeout, connection, other).",
            ),
            _counter(
                "state_restores_total",
                "stream result",
                "Shards taken over by result: empty (new), inherited (from the shards it was split from or merged of), "
                "resumed (from a stored state), refused (the state does not fit; the shard is parked until a person "
                "decides).",
            ),
            _counter(
                "state_orphans_deleted_total",
                "stream",
                "Stored objects deleted because no state refers to them: what crashes and ended parents leave.",
            ),
            _counter(
                "ledger_failures_total",
                "stream",
                "Writes of a shard's ledger that failed. The next one has all of it; no commit waits.",
            ),
            _histogram("restore_duration_seconds", "stream", _LONG_SECONDS, "Time to take a shard over."),
            _counter("fenced_total", "stream", "Times that another owner claimed a shard's state while we held it."),
            _counter(
                "epoch_churn_total",
                "stream",
                "Times that the worker waited before it claimed a shard, which it had claimed too often lately: owners "
                "take it from one another. More than 0 is worth an alarm.",
            ),
            _counter(
                "gaps_total",
                "stream",
                "Times that a shard went on behind records which were never counted, for state.on_gap says continue: "
                "possible loss of data.",
            ),
            _gauge("epoch", "stream shard", "The shard's epoch: how often its state was claimed."),
            _gauge(
                "checkpoint_age_seconds",
                "stream shard",
                "Time since the shard was taken over or last checkpointed at the source, whichever is later.",
            ),
            _counter(
                "checkpoint_retries_total",
                "stream",
                "Checkpoints at the source that failed for now. The next commit makes up for it.",
            ),
        ),
    ),
    Group(
        "Global windows",
        (
            _gauge(
                "global_watermark_timestamp_seconds",
                "stream",
                "The watermark that all shards have reached, and up to which all that they contribute is stored, as "
                "Unix time: global windows due by it are complete.",
            ),
            _gauge(
                "global_held_back_seconds",
                "stream shard",
                "How far the shard that is behind all others, which the label names, is behind the one that is ahead. "
                "Global windows wait for it.",
            ),
            _gauge(
                "global_cover",
                "stream",
                "1 while the shards that have told their progress are all of the stream; 0 while some have not, so "
                "that no global window is complete: for a moment at a split or merge.",
            ),
            _gauge(
                "global_windows_waiting",
                "stream window",
                "Windows that are due by the watermark of the shard that is ahead, and not yet by that of all.",
            ),
            _counter("contributions_written_total", "stream", "Parts of global windows that shards have stored."),
            _counter("contribution_bytes_total", "stream", "Bytes of these parts."),
            _counter("contributions_read_total", "stream", "Parts of global windows read to be combined."),
            _counter(
                "global_windows_incomplete_total",
                "stream",
                "Times that global windows got no rows, because a shard held them back for longer than parts are kept: "
                "results are missing.",
            ),
            _histogram(
                "global_combine_duration_seconds",
                "stream",
                _SHORT_SECONDS,
                "Time to read and combine what is complete.",
            ),
        ),
    ),
    Group(
        "Sinks",
        (
            _counter(
                "sink_rows_total",
                "stream sink result",
                "Rows by outcome of an attempt: sent, failed (tried again), rejected (never taken: lost).",
            ),
            _counter("sink_bytes_total", "stream sink", "Bytes of the rows that were sent."),
            _counter("sink_batches_total", "stream sink", "Attempts to hand over rows."),
            _counter(
                "sink_retries_total",
                "stream sink reason",
                "Attempts that left rows to send again, by reason.",
            ),
            _histogram("sink_put_duration_seconds", "stream sink", _SHORT_SECONDS, "Time of one attempt."),
            _gauge("outbox_rows", "stream shard", "Rows committed and not yet delivered."),
            _counter(
                "outbox_resent_rows_total",
                "stream",
                "Rows sent again when a shard was taken over, for its earlier owner may not have delivered them: the "
                "same ids and bytes.",
            ),
        ),
    ),
    Group(
        "Life",
        (
            _gauge("shards_owned", "stream", "Shards that this worker holds, parked ones included."),
            _gauge(
                "shards_parked",
                "stream",
                "Shards among them of which nothing is processed, for their state was refused: a person must decide.",
            ),
            _gauge(
                "leases_unheld",
                "stream",
                "Leases that no worker holds or renews, of shards that are not read to their end: as this worker last "
                "saw the lease table, which all workers share. Looked at every 15 s.",
            ),
            _counter("leases_acquired_total", "stream", "Shards that this worker was given."),
            _counter(
                "leases_lost_total",
                "stream",
                "Shards that went to another worker. Those let go because this worker stops are not counted.",
            ),
            _counter("shards_ended_total", "stream", "Shards read to their end (split or merged)."),
            _counter(
                "handovers_finished_total",
                "stream",
                "Hand-overs of shards that the daemon had forgotten, so that nobody read the shard, and that were "
                "finished for it.",
            ),
            _counter(
                "batches_returned_total",
                "stream",
                "In Lambda: batches handed back, wholly or in part, for want of time or by an error; they come again.",
            ),
            _gauge("daemon_up", "stream", "1 while the Java daemon runs."),
            _counter(
                "daemon_restarts_total",
                "stream",
                "Starts of the daemon after the first one of the process. A daemon that ends by itself ends the "
                "worker, so look at worker_started_timestamp_seconds too.",
            ),
            _counter("daemon_log_lines_total", "stream level", "Lines of the daemon's log, by the daemon's level."),
            _gauge("worker_started_timestamp_seconds", "stream", "Unix time at which the worker began."),
            _gauge("build_info", "version", "Always 1; the version is in the label."),
            _gauge(
                "pipeline_info",
                "stream hash",
                "Always 1; the hash of the pipeline's definitions is in the label.",
            ),
        ),
    ),
)

DEFINITIONS: Mapping[str, Definition] = {
    definition.name: definition for group in GROUPS for definition in group.metrics
}

_Collector = Counter | Gauge | Histogram


def new_registry() -> CollectorRegistry:
    """Return a registry that already tells about this process: CPU seconds, memory, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _create(definition: Definition, registry: CollectorRegistry) -> _Collector:
    name = PREFIX + definition.name
    if definition.kind is Kind.COUNTER:
        return Counter(name, definition.help, definition.labels, registry=registry)
    if definition.kind is Kind.GAUGE:
        return Gauge(name, definition.help, definition.labels, registry=registry)
    return Histogram(name, definition.help, definition.labels, registry=registry, buckets=definition.buckets)


class Metrics:
    """Every metric of `DEFINITIONS` on one registry, the `stream` label filled in.

    `counter`, `gauge` and `histogram` return the series of the given labels, creating it at zero; keep what
    they return where they are called often. A name or label that is not in the list is a KeyError. Counters with
    no label but the stream begin at 0, so that their first increase is seen as one.
    """

    def __init__(self, registry: CollectorRegistry, *, stream: str) -> None:
        # A second series for every counter that says when it was created: nobody reads it.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
        self.stream = stream
        self._collectors = {name: _create(definition, registry) for name, definition in DEFINITIONS.items()}
        self._daemon_pid = 0
        ProcessCollector(namespace=DAEMON, pid=lambda: self._daemon_pid, registry=registry)
        self._lock = threading.Lock()
        self._gauges_of_shard: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        for name, definition in DEFINITIONS.items():
            if definition.kind is Kind.COUNTER and definition.labels == ("stream",):
                self.counter(name)

    def counter(self, name: str, **labels: str) -> Counter:
        """Return the series of a counter."""
        metric = self._collectors[name]
        assert isinstance(metric, Counter), name
        return metric.labels(*self._label_values(name, labels))

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Return the series of a histogram."""
        metric = self._collectors[name]
        assert isinstance(metric, Histogram), name
        return metric.labels(*self._label_values(name, labels))

    def gauge(self, name: str, **labels: str) -> Gauge:
        """Return the series of a gauge; if it has a `shard`, `forget_shard` removes it."""
        metric = self._collectors[name]
        assert isinstance(metric, Gauge), name
        values = self._label_values(name, labels)
        with self._lock:
            if "shard" in labels:
                self._gauges_of_shard.setdefault(labels["shard"], set()).add((name, values))
            return metric.labels(*values)

    def only(self, name: str, value: float, **labels: str) -> None:
        """Set the one series that a gauge has: whatever labels it had before, it has these now."""
        metric = self._collectors[name]
        assert isinstance(metric, Gauge), name
        with self._lock:
            metric.clear()
            metric.labels(*self._label_values(name, labels)).set(value)

    def clear(self, name: str) -> None:
        """Remove all series of a metric."""
        with self._lock:
            self._collectors[name].clear()

    def follow_daemon(self, pid: int) -> None:
        """Tell of the memory and the processor time of that process too, as `streamgauge_daemon_process_*`."""
        self._daemon_pid = pid

    def forget_shard(self, shard: str) -> None:
        """Remove every gauge of a shard."""
        with self._lock:
            for name, values in self._gauges_of_shard.pop(shard, ()):
                self._collectors[name].remove(*values)

    def _label_values(self, name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        wanted = DEFINITIONS[name].labels
        given = {"stream": self.stream, **labels} if "stream" in wanted else labels
        if set(given) != set(wanted):
            raise KeyError(f"{name} has the labels {wanted}, not {tuple(given)}")
        return tuple(given[label] for label in wanted)
