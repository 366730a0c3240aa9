"""The board for the night: what is asked first, and in that order."""

from __future__ import annotations

from deploy.observability.board import (
    RATE,
    Board,
    Query,
    Row,
    Unit,
    in_range,
    lines,
    per_second,
    quantiles,
    stat,
    worst,
)

_DEAD_SHARE = f"""sum(rate(streamgauge_records_dead_lettered_total[{RATE}]))
  / sum(rate(streamgauge_records_received_total[{RATE}]))"""
_LATE_SHARE = f"""sum(rate(streamgauge_records_late_total[{RATE}]))
  / sum(rate(streamgauge_records_received_total[{RATE}]))"""
_RETENTION_SHARE = """max by (stream, shard) (streamgauge_iterator_age_seconds)
  / on (stream) group_left () max by (stream) (streamgauge_stream_retention_seconds)"""
OVERVIEW = Board(
    "overview",
    "Streamgauge: overview",
    "Is it right, is it late, is it losing anything?",
    (
        Row(
            "Is it right?",
            (
                stat(
                    "Records that cannot be used",
                    "Dead letters as a share of the records. Each is one that the results lack.",
                    _DEAD_SHARE,
                    unit=Unit.SHARE,
                    limits=(0.0001, 0.01),
                    alerts=("StreamgaugeRecordsFailing", "StreamgaugeDeadLetters"),
                ),
                stat(
                    "Late events",
                    "Events that came after their window was closed, of all windows, as a share of the records.",
                    _LATE_SHARE,
                    unit=Unit.SHARE,
                    limits=(0.01, 0.05),
                    alerts=("StreamgaugeLateEvents",),
                ),
                stat(
                    "Shards parked",
                    "Shards whose stored state was refused: nothing of them is processed until a person decides.",
                    "sum(streamgauge_shards_parked)",
                    limits=(0.5, 1),
                    alerts=("StreamgaugeShardParked",),
                ),
                stat(
                    "Definitions",
                    "Workers by what their pipeline file means. Two of a stream for longer than an upgrade are wrong.",
                    "count by (stream, hash) (streamgauge_pipeline_info)",
                    legend="{{stream}} {{hash}}",
                ),
            ),
        ),
        Row(
            "Is it late?",
            (
                lines(
                    "Behind the stream",
                    "How far reading is behind the tip of the shard that is furthest behind.",
                    worst("iterator_age_seconds", "stream"),
                    unit=Unit.SECONDS,
                    limits=(30, 300),
                    alerts=("StreamgaugeIteratorAgeHigh", "StreamgaugeIteratorAgeCritical"),
                ),
                lines(
                    "Behind in event time",
                    "The clock minus the watermark of the shard that is furthest behind: later windows are open.",
                    worst("event_time_lag_seconds", "stream"),
                    unit=Unit.SECONDS,
                    alerts=("StreamgaugeWatermarkStalled",),
                ),
                lines(
                    "From ready to delivered",
                    "From the oldest result of a commit being ready to all sinks having taken its rows.",
                    *quantiles("emit_delay_seconds"),
                    unit=Unit.SECONDS,
                    alerts=("StreamgaugeSinkFailing", "StreamgaugeStateFailing"),
                ),
            ),
        ),
        Row(
            "Is it losing anything?",
            (
                stat(
                    "Rows lost",
                    "Rows that a sink will never take, in the time shown.",
                    in_range('sink_rows_total{result="rejected"}') + " or vector(0)",
                    limits=(0.5, 1),
                    alerts=("StreamgaugeRowsRejected",),
                ),
                stat(
                    "Gaps",
                    "Times, in the time shown, that a shard went on behind records that were never counted.",
                    in_range("gaps_total"),
                    limits=(0.5, 1),
                    alerts=("StreamgaugeGapPassed",),
                ),
                stat(
                    "Retention used up",
                    "How far the shard that is furthest behind is behind, as a share of how long the stream keeps "
                    "records. At 100 % they are lost.",
                    f"max({_RETENTION_SHARE})",
                    unit=Unit.SHARE,
                    limits=(0.25, 0.5),
                    alerts=("StreamgaugeLossAhead",),
                ),
                stat(
                    "Shards that nobody reads",
                    "Leases that no worker holds or renews, of shards that are not read to their end.",
                    "max(streamgauge_leases_unheld)",
                    limits=(0.5, 1),
                    alerts=("StreamgaugeShardWithoutOwner",),
                ),
            ),
        ),
        Row(
            "What goes through",
            (
                lines(
                    "Records in",
                    "Records handed over by the source, a second.",
                    per_second("records_received_total", "stream"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Results",
                    "Results that became ready, a second, by window.",
                    per_second("results_emitted_total", "window"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Rows out",
                    "Rows that were sent, a second, by sink.",
                    per_second('sink_rows_total{result="sent"}', "sink"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Dead letters",
                    "Records that could not be used, a second, by reason.",
                    per_second("records_dead_lettered_total", "reason"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeDeadLetters",),
                    stacked=True,
                ),
                lines(
                    "Late events",
                    "A second, by window.",
                    per_second("records_late_total", "window"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeLateEvents",),
                    stacked=True,
                ),
                lines(
                    "Throttled",
                    "Calls that AWS throttled, a second: reads of the stream, calls to the state store, sends.",
                    Query(f"sum(rate(streamgauge_reads_throttled_total[{RATE}]))", "reads"),
                    Query(f'sum(rate(streamgauge_state_retries_total{{reason="throttled"}}[{RATE}]))', "state"),
                    Query(f'sum(rate(streamgauge_sink_retries_total{{reason="throttled"}}[{RATE}]))', "sinks"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeThrottled",),
                ),
            ),
        ),
    ),
)
