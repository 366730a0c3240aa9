"""Writes docs/metrics.md: `python -m consumer.telemetry.metrics_page > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from consumer.telemetry.metrics import GROUPS, PREFIX, Definition

_HEAD = """\
# Metrics

Generated from consumer/telemetry/metrics.py by `python -m consumer.telemetry.metrics_page > docs/metrics.md`.

The worker serves them at `/metrics` on `worker.metrics_port`, as Prometheus text or, where the client asks
for it, OpenMetrics. Next to them stand the usual `process_*` metrics of the Python process, and the same of the
Java process as `streamgauge_daemon_process_*`. [Observability](observability.md) shows the dashboards and alerts
that are made of them.

Everything is updated once a batch or once a commit, never once a record. Units are seconds and bytes. No
label holds anything from the data. The gauges of a shard vanish when the shard leaves the worker; its
counters stay.

Labels: `stream`, the Kinesis stream; `shard`, the shard id; `window`, a name under `windows` of the pipeline
file; `reason`, `result`, `step` and `level`, words of a closed list; `sink`, kind and target such as
`firehose:aggregates`.
"""


def metrics_page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for group in GROUPS:
        yield f"## {group.title}"
        yield ""
        yield "| name | type | labels | meaning |"
        yield "|---|---|---|---|"
        yield from (_row(definition) for definition in group.metrics)
        yield ""


def _row(definition: Definition) -> str:
    labels = ", ".join(f"`{label}`" for label in definition.labels)
    meaning = definition.help
    if definition.buckets:
        meaning += " Buckets: " + ", ".join(f"{bound:g}" for bound in definition.buckets) + "."
    return f"| `{PREFIX}{definition.name}` | {definition.kind} | {labels} | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
