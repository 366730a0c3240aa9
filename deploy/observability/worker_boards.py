"""Boards of sinks, and of the workers' processes."""

from __future__ import annotations

from deploy.observability.board import (
    RATE,
    Board,
    Panel,
    Query,
    Row,
    Unit,
    lines,
    per_second,
    quantiles,
    stat,
    total,
    worst,
)

_BUSY = f"""sum by (instance) (rate(streamgauge_process_duration_seconds_sum[{RATE}]))"""

SINKS = Board(
    "sinks",
    "Streamgauge: sinks",
    "Do the rows arrive, and how fast?",
    (
        Row(
            "Delivery",
            (
                lines(
                    "Rows sent",
                    "A second, by sink.",
                    per_second('sink_rows_total{result="sent"}', "sink"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeSinkFailing",),
                ),
                lines(
                    "Bytes sent",
                    "A second, by sink.",
                    per_second("sink_bytes_total", "sink"),
                    unit=Unit.BYTES_PER_SECOND,
                ),
                lines(
                    "Rows not taken",
                    "A second: failed ones are sent again, rejected ones are lost.",
                    Query(
                        f'sum by (sink, result) (rate(streamgauge_sink_rows_total{{result!="sent"}}[{RATE}]))',
                        "{{sink}} {{result}}",
                    ),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeSinkFailing", "StreamgaugeRowsRejected"),
                ),
                lines(
                    "Attempts that left rows",
                    "A second, by sink and reason.",
                    Query(
                        f"sum by (sink, reason) (rate(streamgauge_sink_retries_total[{RATE}]))", "{{sink}}: {{reason}}"
                    ),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeThrottled", "StreamgaugeSinkFailing"),
                ),
                lines(
                    "Time of an attempt",
                    "By sink.",
                    *quantiles("sink_put_duration_seconds", "sink"),
                    unit=Unit.SECONDS,
                ),
                lines(
                    "Rows in an attempt",
                    "On average, by sink: few rows an attempt cost more.",
                    Query(
                        f"sum by (sink) (rate(streamgauge_sink_rows_total[{RATE}]))\n"
                        f"  / sum by (sink) (rate(streamgauge_sink_batches_total[{RATE}]))",
                        "{{sink}}",
                    ),
                ),
            ),
        ),
        Row(
            "Waiting",
            (
                lines(
                    "Rows that wait",
                    "Committed and not yet delivered, by shard.",
                    total("outbox_rows", "shard"),
                    alerts=("StreamgaugeSinkFailing",),
                ),
                Panel(
                    "From ready to delivered",
                    "How many commits took how long, from the oldest result being ready to all sinks having its rows.",
                    (Query(f"sum by (le) (increase(streamgauge_emit_delay_seconds_bucket[{RATE}]))", "{{le}}"),),
                    Unit.SECONDS,
                    "heat",
                ),
                lines(
                    "Rows sent again after take-overs",
                    "A second: the same ids and bytes, so that readers can tell.",
                    Query(f"sum(rate(streamgauge_outbox_resent_rows_total[{RATE}]))", "rows"),
                    unit=Unit.PER_SECOND,
                ),
            ),
        ),
    ),
)

WORKERS = Board(
    "workers",
    "Streamgauge: workers",
    "Do the processes live, and have they what they need?",
    (
        Row(
            "Life",
            (
                stat(
                    "Workers",
                    "That tell of themselves, by version.",
                    "count by (version) (streamgauge_build_info)",
                    legend="{{version}}",
                    alerts=("StreamgaugeMetricsAbsent",),
                ),
                stat(
                    "Without daemon",
                    "Workers whose Java process does not run.",
                    "count(streamgauge_daemon_up == 0) or vector(0)",
                    limits=(0.5, 1),
                    alerts=("StreamgaugeDaemonDown",),
                ),
                stat(
                    "Youngest worker",
                    "How long it has been running.",
                    "min(time() - streamgauge_worker_started_timestamp_seconds)",
                    unit=Unit.SECONDS,
                    alerts=("StreamgaugeWorkerRestarting",),
                ),
                stat(
                    "Starts",
                    "Of workers and daemons in the time shown, the first ones left out.",
                    "sum(changes(streamgauge_worker_started_timestamp_seconds[$__range])"
                    " + increase(streamgauge_daemon_restarts_total[$__range]))",
                    limits=(0.5, 3),
                    alerts=("StreamgaugeWorkerRestarting",),
                ),
            ),
        ),
        Row(
            "Processes",
            (
                lines(
                    "Memory",
                    "Resident, of Python and of Java. Together with the relays it must stay below the "
                    "container's limit.",
                    Query(
                        "sum by (instance) (process_resident_memory_bytes\n  and on (job, instance) "
                        "streamgauge_build_info)",
                        "{{instance}} Python",
                    ),
                    Query("sum by (instance) (streamgauge_daemon_process_resident_memory_bytes)", "{{instance}} Java"),
                    unit=Unit.BYTES,
                    alerts=("StreamgaugeWorkerRestarting",),
                ),
                lines(
                    "Processor time",
                    "Seconds a second. Python uses one processor for the aggregation: at 1 it can do no more.",
                    Query(
                        f"sum by (instance) (rate(process_cpu_seconds_total[{RATE}]) and on (job, instance)"
                        " streamgauge_build_info)",
                        "{{instance}} Python",
                    ),
                    Query(
                        f"sum by (instance) (rate(streamgauge_daemon_process_cpu_seconds_total[{RATE}]))",
                        "{{instance}} Java",
                    ),
                    limits=(0.8, 1),
                    alerts=("StreamgaugeIteratorAgeHigh",),
                ),
                lines(
                    "Aggregating",
                    "Seconds a second that a worker decodes and aggregates.",
                    Query(_BUSY, "{{instance}}"),
                ),
                lines(
                    "Open files",
                    "Of the Python process: two or three a shard, and its connections.",
                    Query(
                        "sum by (instance) (process_open_fds and on (job, instance) streamgauge_build_info)",
                        "{{instance}}",
                    ),
                ),
            ),
        ),
        Row(
            "Daemon",
            (
                lines(
                    "Daemon",
                    "1 while a worker's Java process runs.",
                    worst("daemon_up", "instance"),
                    alerts=("StreamgaugeDaemonDown",),
                ),
                lines(
                    "Lines of the daemon's log",
                    "Warnings and errors, a second. The worker's log has them, as daemon_log.",
                    per_second('daemon_log_lines_total{level=~"WARN|ERROR"}', "level"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Calls of the source",
                    "A second. Without any the daemon is stuck.",
                    per_second("batches_total", "instance"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeShardNotRead",),
                ),
            ),
        ),
    ),
)
