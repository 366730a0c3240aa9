"""Boards of shards, and of their state."""

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
    total,
    worst,
)

_ROOM_SHARE = """sum by (shard) (streamgauge_windows_open) / max by (shard) (streamgauge_groups_limit)"""
_NO_GLOBAL_WINDOWS = "The pipeline has no global windows (combine: true)."
_GLOBAL_WINDOWS = Row(
    "Global windows",
    (
        lines(
            "Behind in event time, all shards",
            "The clock minus the watermark that all shards have reached: global windows that ended later are open.",
            Query("time() - max by (stream) (streamgauge_global_watermark_timestamp_seconds)", "{{stream}}"),
            unit=Unit.SECONDS,
            alerts=("StreamgaugeGlobalWindowsHeldBack",),
            empty=_NO_GLOBAL_WINDOWS,
        ),
        lines(
            "Held back by",
            "The shard that is behind all others, and how far it is behind the one that is ahead. Global windows wait "
            "for it.",
            worst("global_held_back_seconds"),
            unit=Unit.SECONDS,
            limits=(60, 600),
            alerts=("StreamgaugeGlobalWindowsHeldBack",),
            empty=_NO_GLOBAL_WINDOWS,
        ),
        lines(
            "Windows that wait",
            "Due by the watermark of the shard that is ahead, and not yet by that of all; by window.",
            worst("global_windows_waiting", "window"),
            alerts=("StreamgaugeGlobalWindowsHeldBack",),
            empty=_NO_GLOBAL_WINDOWS,
        ),
        lines(
            "All shards told",
            "1 while the shards that have told their progress are all of the stream. At 0 no global window is "
            "complete: for a moment at a split or merge, which is right.",
            worst("global_cover", "stream"),
            alerts=("StreamgaugeGlobalWindowsWithoutCover",),
            empty=_NO_GLOBAL_WINDOWS,
        ),
        lines(
            "Parts stored and combined",
            "Parts of global windows a second: a write each to the state table, and what was read of them. 0 without "
            "global windows.",
            Query(f"sum(rate(streamgauge_contributions_written_total[{RATE}]))", "stored"),
            Query(f"sum(rate(streamgauge_contributions_read_total[{RATE}]))", "read"),
            unit=Unit.PER_SECOND,
        ),
        lines(
            "Bytes of parts",
            "Stored, a second. 0 without global windows.",
            per_second("contribution_bytes_total", "stream"),
            unit=Unit.BYTES_PER_SECOND,
        ),
        lines(
            "Time to combine",
            "To read and put together what is complete. Empty while nothing is.",
            *quantiles("global_combine_duration_seconds"),
            unit=Unit.SECONDS,
            empty="Nothing was combined.",
        ),
        stat(
            "Times windows got no rows",
            "In the time shown: a shard held global windows back for longer than their parts are kept.",
            in_range("global_windows_incomplete_total"),
            limits=(0.5, 1),
            alerts=("StreamgaugeGlobalWindowsIncomplete",),
        ),
    ),
)
SHARDS = Board(
    "shards",
    "Streamgauge: shards",
    "Which shard is behind, hot, idle or at its limit?",
    (
        Row(
            "Reading",
            (
                lines(
                    "Behind the tip",
                    "The age of the newest record of a shard's last batch, or what the source said if that is more.",
                    worst("iterator_age_seconds"),
                    unit=Unit.SECONDS,
                    limits=(30, 300),
                    alerts=("StreamgaugeIteratorAgeHigh", "StreamgaugeIteratorAgeCritical", "StreamgaugeLossAhead"),
                ),
                lines(
                    "Records",
                    "Records a second. A shard takes 1,000: one that has far more than the others is hot.",
                    per_second("records_received_total", "shard"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Bytes",
                    "Bytes a second. A shard takes a megabyte.",
                    per_second("bytes_received_total", "shard"),
                    unit=Unit.BYTES_PER_SECOND,
                ),
                lines(
                    "Last call of the source",
                    "Seconds since it. An idle shard is called about once a second: more is a shard that stands still.",
                    Query("max by (shard) (time() - streamgauge_last_batch_timestamp_seconds)", "{{shard}}"),
                    unit=Unit.SECONDS,
                    limits=(10, 120),
                    alerts=("StreamgaugeShardNotRead",),
                ),
                lines(
                    "Records in a batch",
                    "Half of the batches with records have fewer, 99 of 100 too. 10,000 again and again: it is behind.",
                    *quantiles("batch_records"),
                ),
                lines(
                    "Time to work through a batch",
                    "Without commits.",
                    *quantiles("process_duration_seconds"),
                    unit=Unit.SECONDS,
                ),
            ),
        ),
        Row(
            "Time and windows",
            (
                lines(
                    "Behind in event time",
                    "The clock minus the watermark. One shard above the others has old or no events.",
                    worst("event_time_lag_seconds"),
                    unit=Unit.SECONDS,
                    alerts=("StreamgaugeWatermarkStalled",),
                ),
                lines(
                    "Watermark",
                    "How far back it lies. What ended before it is closed.",
                    Query("max by (shard) (streamgauge_watermark_timestamp_seconds) * 1000", "{{shard}}"),
                    unit=Unit.DATE,
                    alerts=("StreamgaugeWatermarkStalled",),
                ),
                lines(
                    "Watermarks moved by the clock",
                    "Times that a shard was idle for events.idle_after.",
                    per_second("idle_advances_total", "stream"),
                    unit=Unit.PER_SECOND,
                ),
                lines(
                    "Open windows",
                    "One for each window start and group key, or each session; by window.",
                    total("windows_open", "window"),
                ),
                lines(
                    "Active keys",
                    "Group keys that have an open window; by window.",
                    total("keys_active", "window"),
                ),
                lines(
                    "Room used",
                    "Open windows of a shard as a share of limits.groups.",
                    Query(_ROOM_SHARE, "{{shard}}"),
                    unit=Unit.SHARE,
                    limits=(0.8, 1),
                    alerts=("StreamgaugeStateNearLimit",),
                ),
                lines(
                    "Results before their time",
                    "Emitted early to stay within limits.groups; a second, by window.",
                    per_second("results_early_total", "window"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeStateNearLimit",),
                ),
                lines(
                    "Not counted",
                    "Records a second that were left out by `where`, or were counted before a restart; and dead "
                    "letters whose key belongs to another shard.",
                    Query(f"sum(rate(streamgauge_records_filtered_total[{RATE}]))", "filtered"),
                    Query(f"sum(rate(streamgauge_records_replayed_total[{RATE}]))", "replayed"),
                    Query(f"sum(rate(streamgauge_records_misrouted_total[{RATE}]))", "misrouted"),
                    unit=Unit.PER_SECOND,
                ),
            ),
        ),
        _GLOBAL_WINDOWS,
        Row(
            "Who has them",
            (
                lines(
                    "Shards by worker",
                    "Shards that each worker holds.",
                    total("shards_owned", "instance"),
                    stacked=True,
                ),
                lines(
                    "Shards that nobody reads",
                    "Leases that no worker holds or renews; and shards whose state was refused.",
                    Query("max(streamgauge_leases_unheld)", "without owner"),
                    Query("sum(streamgauge_shards_parked)", "parked"),
                    alerts=("StreamgaugeShardWithoutOwner", "StreamgaugeShardParked"),
                ),
                lines(
                    "Coming and going",
                    "Shards that workers were given, lost to others, read to their end; and hand-overs that the daemon "
                    "had forgotten.",
                    Query(f"sum(rate(streamgauge_leases_acquired_total[{RATE}]))", "given"),
                    Query(f"sum(rate(streamgauge_leases_lost_total[{RATE}]))", "lost"),
                    Query(f"sum(rate(streamgauge_shards_ended_total[{RATE}]))", "ended"),
                    Query(f"sum(rate(streamgauge_handovers_finished_total[{RATE}]))", "hand-overs finished"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeLeaseChurn",),
                ),
            ),
        ),
    ),
)

STATE = Board(
    "state",
    "Streamgauge: state and commits",
    "Is the state stored, how large is it, and what does it cost?",
    (
        Row(
            "Commits",
            (
                lines(
                    "Commits",
                    "A second, by result: retry and failed are trouble with the store, fenced is another owner.",
                    per_second("commits_total", "result"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeStateFailing",),
                ),
                lines(
                    "Time to commit",
                    "To write a snapshot and to advance the state; sending is not part of it.",
                    *quantiles("commit_duration_seconds"),
                    unit=Unit.SECONDS,
                ),
                lines(
                    "Bytes of a commit",
                    "What it writes.",
                    *quantiles("commit_bytes"),
                    unit=Unit.BYTES,
                ),
                lines(
                    "Bytes written",
                    "By commits, a second: what S3 and DynamoDB bill.",
                    per_second("commit_bytes_sum", "stream"),
                    unit=Unit.BYTES_PER_SECOND,
                ),
                lines(
                    "Calls made again",
                    "Calls to the state store that failed for now, a second, by what they were for and why.",
                    Query(
                        f"sum by (step, reason) (rate(streamgauge_state_retries_total[{RATE}]))", "{{step}}: {{reason}}"
                    ),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeThrottled", "StreamgaugeStateFailing"),
                ),
                lines(
                    "Age of the checkpoint",
                    "While records arrive it is about state.commit_interval; of an idle shard it grows, which is "
                    "right.",
                    worst("checkpoint_age_seconds"),
                    unit=Unit.SECONDS,
                    limits=(60, 300),
                    alerts=("StreamgaugeCheckpointStale",),
                ),
            ),
        ),
        Row(
            "State",
            (
                lines("Size", "Of each shard's stored snapshot.", worst("state_bytes"), unit=Unit.BYTES),
                lines("Epoch", "How often a shard's state was claimed: a step is a take-over.", worst("epoch")),
                lines(
                    "Take-overs",
                    "Shards taken over, a second, by how: refused ones are parked.",
                    per_second("state_restores_total", "result"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeShardParked",),
                ),
                lines(
                    "Time to take a shard over",
                    "From its claim to its first record.",
                    *quantiles("restore_duration_seconds"),
                    unit=Unit.SECONDS,
                ),
                lines(
                    "Owners in each other's way",
                    "Times, a second, that another owner claimed the state, or a claim waited because there were "
                    "too many.",
                    Query(f"sum(rate(streamgauge_fenced_total[{RATE}]))", "fenced"),
                    Query(f"sum(rate(streamgauge_epoch_churn_total[{RATE}]))", "waited"),
                    unit=Unit.PER_SECOND,
                    alerts=("StreamgaugeLeaseChurn",),
                ),
                lines(
                    "Side work",
                    "Objects deleted that no state refers to; writes of the ledger and checkpoints that failed "
                    "for now.",
                    Query(f"sum(rate(streamgauge_state_orphans_deleted_total[{RATE}]))", "orphans deleted"),
                    Query(f"sum(rate(streamgauge_ledger_failures_total[{RATE}]))", "ledger failures"),
                    Query(f"sum(rate(streamgauge_checkpoint_retries_total[{RATE}]))", "checkpoints tried again"),
                    unit=Unit.PER_SECOND,
                ),
                stat(
                    "Groups dropped",
                    "Open groups of removed windows that were thrown away as the pipeline file says, in the time "
                    "shown.",
                    in_range("groups_dropped_total") + " or vector(0)",
                ),
            ),
        ),
    ),
)
