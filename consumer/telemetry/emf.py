"""The metrics as CloudWatch reads them out of a log: its embedded metric format.

One line for each set of labels, with what has happened since the last flush. A metric has the name it has for
Prometheus; histograms give their sum and count. Shards are no dimension, for CloudWatch bills each combination:
counters are added up over them, and of gauges only those of the shard that was just worked on are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TextIO

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

NAMESPACE = "Streamgauge"
_METRICS_MAX = 100
"""As many may be in a line."""
_SHARD = "shard"
_WHOLE = ["pipeline"]
"""The dimensions of everything together: alarms cannot add up the others."""
_BUCKETS = "_bucket"
_UNITS = (("_seconds", "Seconds"), ("_seconds_sum", "Seconds"), ("_bytes", "Bytes"), ("_bytes_total", "Bytes"))

Labels = tuple[tuple[str, str], ...]


class EmbeddedMetrics:
    """Writes lines to a stream. `pipeline` is a dimension of all of them; `now_ms` gives epoch milliseconds."""

    def __init__(self, registry: CollectorRegistry, *, pipeline: str, now_ms: Callable[[], int]) -> None:
        self._registry = registry
        self._pipeline = pipeline
        self._now_ms = now_ms
        self._told: dict[tuple[str, Labels], float] = {}

    def flush(self, out: TextIO, *, shard: str | None) -> None:
        """Write what there is to tell after working on a shard; nothing where nothing has happened."""
        lines: dict[Labels, dict[str, float]] = {}
        for kind, sample in self._samples():
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != _SHARD))
            if kind == "gauge":
                if shard is not None and sample.labels.get(_SHARD) == shard:
                    lines.setdefault(labels, {})[sample.name] = sample.value
            elif change := self._since_last(sample):
                line = lines.setdefault(labels, {})
                line[sample.name] = line.get(sample.name, 0.0) + change
        for labels, values in lines.items():
            out.writelines(self._line(labels, some) for some in _parts(values))
        out.flush()

    def _samples(self) -> Iterator[tuple[str, Sample]]:
        for metric in self._registry.collect():
            for sample in metric.samples:
                if not sample.name.endswith(_BUCKETS):
                    yield metric.type, sample

    def _since_last(self, sample: Sample) -> float:
        place = sample.name, tuple(sorted(sample.labels.items()))
        change = sample.value - self._told.get(place, 0.0)
        self._told[place] = sample.value
        return change

    def _line(self, labels: Labels, values: dict[str, float]) -> str:
        dimensions = {"pipeline": self._pipeline, **dict(labels)}
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions), *([_WHOLE] if list(dimensions) != _WHOLE else [])],
            "Metrics": [{"Name": name, "Unit": _unit(name)} for name in values],
        }
        line = {"_aws": {"Timestamp": self._now_ms(), "CloudWatchMetrics": [directive]}, **dimensions, **values}
        return msgspec.json.encode(line).decode() + "\n"


def _parts(values: dict[str, float]) -> Iterator[dict[str, float]]:
    left = iter(values.items())
    while part := dict(islice(left, _METRICS_MAX)):
        yield part


def _unit(name: str) -> str:
    return next((unit for end, unit in _UNITS if name.endswith(end)), "Count" if name.endswith("_total") else "None")
