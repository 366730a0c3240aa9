"""The alert rules, and nowhere else: `python -m deploy.observability.generate` writes the files that are made of them.

An alert says what a person should look at, at once (critical: rows are late for everybody, or lost, or will be) or in
the day (warning). Each has a page in docs/runbooks that says what to do, and tests for firing and not firing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RUNBOOKS = "https://github.com/streamgauge/streamgauge/blob/main/docs/runbooks"
"""Where the pages of the alerts are, if nothing else is said."""
PIPELINE = "namespace, job, stream"
"""What rules add up by. A label that a Prometheus does not give is empty, which harms nobody."""
SHARD = f"{PIPELINE}, shard"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that the chart's user may set, as `alerts.thresholds.NAME`."""

    name: str
    value: float
    help: str

    def __str__(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. `name` is that of its runbook page. `expression` has thresholds as `<name>`.

    `summary` and `description` are templates of Prometheus. `fires_after` is a Prometheus duration.
    """

    name: str
    severity: Literal["warning", "critical"]
    fires_after: str
    expression: str
    summary: str
    description: str
    thresholds: tuple[Threshold, ...] = ()


AGE_WARNING = Threshold("iteratorAgeSecondsWarning", 30, "Seconds behind the tip of a shard that are worth a look.")
AGE_CRITICAL = Threshold("iteratorAgeSecondsCritical", 300, "Seconds behind the tip of a shard that are too much.")
RETENTION_SHARE = Threshold("retentionShare", 0.5, "Share of the stream's retention behind which a shard may not fall.")
FAILED_SHARE = Threshold("failedShare", 0.01, "Share of the records that may be dead letters.")
DEAD_LETTERS = Threshold("deadLetters", 0, "Dead letters of one reason in ten minutes that nobody need look at.")
LATE_SHARE = Threshold("lateShare", 0.05, "Late events of a window, as a share of the records.")
CHECKPOINT_AGE = Threshold("checkpointAgeSeconds", 300, "Age of a checkpoint while records arrive, in seconds.")
UNREAD = Threshold("unreadSeconds", 120, "Seconds without a call of the source for a shard that a worker holds.")
STATE_SHARE = Threshold("stateShare", 0.8, "Share of `limits.groups` that a shard's open windows may take.")
LEASES_LOST = Threshold("leasesLost", 10, "Shards that may change their worker in half an hour.")
HELD_BACK = Threshold(
    "globalHeldBackSeconds", 600, "Seconds that one shard may hold back the global windows of all, in event time."
)
RESTARTS = Threshold("restarts", 2, "Starts of one worker in half an hour that are no alarm.")
_THROTTLED = {
    "the stream": "streamgauge_reads_throttled_total",
    "the state": 'streamgauge_state_retries_total{reason="throttled"}',
    "a sink": 'streamgauge_sink_retries_total{reason="throttled"}',
}


def _increased(metric: str, window: str, by: str) -> str:
    """Return how much a counter grew, where it did. One whose series has only just begun counts with what it has."""
    return f"sum by ({by}) (increase({metric}[{window}]) > 0\n  or ({metric} unless {metric} offset {window}) > 0)"


ALERTS: tuple[Alert, ...] = (
    Alert(
        "StreamgaugeIteratorAgeHigh",
        "warning",
        "2m",
        f"max by ({SHARD}) (streamgauge_iterator_age_seconds) > {AGE_WARNING}",
        "{{ $labels.stream }}: reading is behind",
        "{{ $labels.shard }} is read {{ $value | humanizeDuration }} behind its tip: results come that much later.",
        (AGE_WARNING,),
    ),
    Alert(
        "StreamgaugeIteratorAgeCritical",
        "critical",
        "2m",
        f"max by ({SHARD}) (streamgauge_iterator_age_seconds) > {AGE_CRITICAL}",
        "{{ $labels.stream }}: reading is far behind",
        "{{ $labels.shard }} is read {{ $value | humanizeDuration }} behind its tip: results come that much later.",
        (AGE_CRITICAL,),
    ),
    Alert(
        "StreamgaugeLossAhead",
        "critical",
        "5m",
        f"max by ({SHARD}) (streamgauge_iterator_age_seconds)\n"
        f"  / on ({PIPELINE}) group_left ()\n"
        f"max by ({PIPELINE}) (streamgauge_stream_retention_seconds) > {RETENTION_SHARE}",
        "{{ $labels.stream }}: records will be lost",
        "{{ $labels.shard }} is behind by {{ $value | humanizePercentage }} of the stream's retention. What is "
        "older than "
        "the retention is deleted unread.",
        (RETENTION_SHARE,),
    ),
    Alert(
        "StreamgaugeShardNotRead",
        "critical",
        "2m",
        f"max by ({SHARD}) (time() - streamgauge_last_batch_timestamp_seconds) > {UNREAD}",
        "{{ $labels.stream }}: a shard stands still",
        "A worker holds {{ $labels.shard }}, and has not been called for it for {{ $value | humanizeDuration }}. It "
        "waits for a sink, the state store or the daemon.",
        (UNREAD,),
    ),
    Alert(
        "StreamgaugeShardWithoutOwner",
        "critical",
        "3m",
        # Workers that cannot reach AWS lose all their shards, and do not see that nobody holds them.
        f"max by ({PIPELINE}) (streamgauge_leases_unheld) > 0\n"
        f"  or sum by ({PIPELINE}) (streamgauge_shards_owned) == 0",
        "{{ $labels.stream }}: shards are read by nobody",
        "{{ if $value }}The leases of {{ $value }} shards are held by no worker."
        "{{ else }}None of the workers holds a shard.{{ end }}",
    ),
    Alert(
        "StreamgaugeShardParked",
        "critical",
        "1m",
        f"sum by ({PIPELINE}) (streamgauge_shards_parked) > 0",
        "{{ $labels.stream }}: the state of shards was refused",
        "{{ $value }} shards are parked: their stored state does not fit the pipeline or the stream. Nothing of "
        "them is "
        "processed until a person decides.",
    ),
    Alert(
        "StreamgaugeThrottled",
        "warning",
        "5m",
        f"sum by ({PIPELINE}, what) (\n  "
        + "\n    or ".join(
            f'label_replace(increase({metric}[2m]), "what", "{what}", "", "")' for what, metric in _THROTTLED.items()
        )
        + "\n"
        ") > 0",
        "{{ $labels.stream }}: AWS throttles {{ $labels.what }}",
        "Calls to {{ $labels.what }} have been throttled for more than five minutes. They are made again: nothing is "
        "lost, all is later.",
    ),
    Alert(
        "StreamgaugeRecordsFailing",
        "critical",
        "5m",
        f"sum by ({PIPELINE}) (rate(streamgauge_records_dead_lettered_total[5m]))\n"
        f"  / sum by ({PIPELINE}) (rate(streamgauge_records_received_total[5m])) > {FAILED_SHARE}",
        "{{ $labels.stream }}: many records cannot be used",
        "{{ $value | humanizePercentage }} of the records are dead letters: results are too small by what they should "
        "have added.",
        (FAILED_SHARE,),
    ),
    Alert(
        "StreamgaugeDeadLetters",
        "warning",
        "0s",
        f"sum by ({PIPELINE}, reason) (increase(streamgauge_records_dead_lettered_total[10m])) > {DEAD_LETTERS}",
        "{{ $labels.stream }}: dead letters ({{ $labels.reason }})",
        "About {{ $value | humanize }} records of the last ten minutes could not be used: {{ $labels.reason }}.",
        (DEAD_LETTERS,),
    ),
    Alert(
        "StreamgaugeLateEvents",
        "warning",
        "10m",
        f"sum by ({PIPELINE}, window) (rate(streamgauge_records_late_total[10m]))\n"
        f"  / on ({PIPELINE}) group_left ()\n"
        f"sum by ({PIPELINE}) (rate(streamgauge_records_received_total[10m])) > {LATE_SHARE}",
        "{{ $labels.stream }}: many events are late for {{ $labels.window }}",
        "{{ $value | humanizePercentage }} of the records came after their window of {{ $labels.window }} was "
        "closed, and "
        "are not in its results.",
        (LATE_SHARE,),
    ),
    Alert(
        "StreamgaugeWatermarkStalled",
        "warning",
        "5m",
        f"sum by ({SHARD}) (rate(streamgauge_records_received_total[10m])) > 0\n"
        f"  unless on ({SHARD}) max by ({SHARD}) (delta(streamgauge_watermark_timestamp_seconds[10m])) > 0",
        "{{ $labels.stream }}: no window closes",
        "Records of {{ $labels.shard }} arrive, and its watermark has not moved for ten minutes: its windows "
        "stay open.",
    ),
    Alert(
        "StreamgaugeCheckpointStale",
        "warning",
        "2m",
        f"max by ({SHARD}) (streamgauge_checkpoint_age_seconds) > {CHECKPOINT_AGE}\n"
        f"  and on ({SHARD}) sum by ({SHARD}) (rate(streamgauge_records_received_total[5m])) > 0",
        "{{ $labels.stream }}: checkpoints are not made",
        "Records of {{ $labels.shard }} arrive, and its last checkpoint is {{ $value | humanizeDuration }} old: "
        "after a "
        "restart that much is read again.",
        (CHECKPOINT_AGE,),
    ),
    Alert(
        "StreamgaugeStateFailing",
        "critical",
        "2m",
        f'sum by ({PIPELINE}) (rate(streamgauge_commits_total{{result=~"retry|failed"}}[2m])) > 0\n'
        f'  unless on ({PIPELINE}) sum by ({PIPELINE}) (rate(streamgauge_commits_total{{result="ok"}}[2m])) > 0',
        "{{ $labels.stream }}: the state cannot be stored",
        "For minutes commits have failed and none has come about: no result leaves the workers, and they give up.",
    ),
    Alert(
        "StreamgaugeStateNearLimit",
        "warning",
        "5m",
        f"sum by ({SHARD}) (streamgauge_windows_open)\n"
        f"  / on ({SHARD}) max by ({SHARD}) (streamgauge_groups_limit) > {STATE_SHARE}",
        "{{ $labels.stream }}: a shard's state is nearly full",
        "{{ $labels.shard }} has {{ $value | humanizePercentage }} of the open windows that limits.groups allows it.",
        (STATE_SHARE,),
    ),
    Alert(
        "StreamgaugeSinkFailing",
        "critical",
        "3m",
        f'sum by ({PIPELINE}, sink) (rate(streamgauge_sink_rows_total{{result="failed"}}[2m])) > 0\n'
        f"  unless on ({PIPELINE}, sink)\n"
        f'sum by ({PIPELINE}, sink) (rate(streamgauge_sink_rows_total{{result="sent"}}[2m])) > 0',
        "{{ $labels.stream }}: {{ $labels.sink }} takes no rows",
        "For five minutes {{ $labels.sink }} has taken none of the rows it was given. They are kept in the state "
        "and sent "
        "again; the shards wait.",
    ),
    Alert(
        "StreamgaugeRowsRejected",
        "critical",
        "0s",
        _increased('streamgauge_sink_rows_total{result="rejected"}', "10m", f"{PIPELINE}, sink"),
        "{{ $labels.stream }}: rows are lost at {{ $labels.sink }}",
        "About {{ $value | humanize }} rows of the last ten minutes will never be taken by {{ $labels.sink }}.",
    ),
    Alert(
        "StreamgaugeGapPassed",
        "critical",
        "0s",
        _increased("streamgauge_gaps_total", "1h", PIPELINE),
        "{{ $labels.stream }}: records were never counted",
        "In the last hour shards went on behind records that were not counted (state.on_gap: continue).",
    ),
    Alert(
        "StreamgaugeGlobalWindowsIncomplete",
        "critical",
        "0s",
        _increased("streamgauge_global_windows_incomplete_total", "1h", PIPELINE),
        "{{ $labels.stream }}: global windows have no rows",
        "In the last hour global windows were passed without rows: a shard had held them back for so long that parts "
        "of them may be gone.",
    ),
    Alert(
        "StreamgaugeGlobalWindowsHeldBack",
        "warning",
        "10m",
        # Over two minutes: two shards may be behind by turns, and each is named while it is the last.
        f"max by ({SHARD}) (max_over_time(streamgauge_global_held_back_seconds[2m])) > {HELD_BACK}",
        "{{ $labels.stream }}: a shard holds back global windows",
        "The watermark of {{ $labels.shard }} is {{ $value | humanizeDuration }} behind that of the shard that is "
        "ahead: the rows of global windows come that much later.",
        (HELD_BACK,),
    ),
    Alert(
        "StreamgaugeGlobalWindowsWithoutCover",
        "critical",
        "15m",
        f"max by ({PIPELINE}) (streamgauge_global_cover) == 0",
        "{{ $labels.stream }}: no global window is complete",
        "Not all shards have told how far they are: none of the global windows can be combined, and none of their "
        "rows comes.",
    ),
    Alert(
        "StreamgaugeLeaseChurn",
        "warning",
        "0s",
        f"sum by ({PIPELINE}) (increase(streamgauge_leases_lost_total[30m])) > {LEASES_LOST}\n"
        f"  or sum by ({PIPELINE}) (increase(streamgauge_epoch_churn_total[30m])) > 0",
        "{{ $labels.stream }}: shards go to and fro between workers",
        "In half an hour shards changed their worker about {{ $value | humanize }} times, or a worker waited before it "
        "claimed one that it had claimed too often.",
        (LEASES_LOST,),
    ),
    Alert(
        "StreamgaugeWorkerRestarting",
        "critical",
        "0s",
        f"max by ({PIPELINE}, pod, instance) (\n"
        "  changes(streamgauge_worker_started_timestamp_seconds[30m])\n"
        "    + increase(streamgauge_daemon_restarts_total[30m])\n"
        f") > {RESTARTS}",
        "{{ $labels.stream }}: a worker starts again and again",
        "{{ $labels.instance }} has started {{ $value | humanize }} times in half an hour. When the Java daemon "
        "ends, the "
        "worker ends with it.",
        (RESTARTS,),
    ),
    Alert(
        "StreamgaugeDaemonDown",
        "critical",
        "5m",
        f"max by ({PIPELINE}, pod, instance) (streamgauge_daemon_up) == 0",
        "{{ $labels.stream }}: a worker has no daemon",
        "{{ $labels.instance }} has been there for five minutes without its Java daemon: it reads nothing.",
    ),
    Alert(
        "StreamgaugeMetricsAbsent",
        "critical",
        "5m",
        "absent(streamgauge_build_info)",
        "No worker tells anything",
        "Prometheus has no metric of any worker: none runs, or none is scraped. The other alerts are blind.",
    ),
)

THRESHOLDS: dict[str, Threshold] = {each.name: each for alert in ALERTS for each in alert.thresholds}


def with_defaults(expression: str) -> str:
    """Return an expression with its thresholds' defaults."""
    for threshold in THRESHOLDS.values():
        expression = expression.replace(str(threshold), f"{threshold.value:g}")
    return expression
