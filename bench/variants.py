"""The three workers that are compared, each started as a process of its own on the same stream.

- product: `streamgauge run` with the demo's pipeline but for its global window, commits, and Firehose as its sink.
- nothing: our daemon, relay and protocol; records are counted and forgotten.
- kclpy: the usual processor of amazon-kclpy, a process a shard.
"""

from __future__ import annotations

import socket
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from bench.processors.settings import IDENTIFIER, KCL
from bench.processors.tally import Tally, read_all
from consumer.runtime import clock

PIPELINE = Path(__file__).parents[1] / "config" / "clickstream.yaml"

_HOST = "127.0.0.1"
_SCRAPE_SECONDS_MAX = 5.0

Metrics = Mapping[str, Mapping[str, float]]
"""Counters by name without prefix, then by the value of their last label (or the empty text)."""


class Variant(ABC):
    """One worker. `application` is the name of its lease table."""

    name: str
    application: str

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """Return what `python -m` is started with."""

    @abstractmethod
    def first_record_s(self) -> float | None:
        """Return when the first record was known to be processed, by the monotonic clock; None if not yet."""


class Counting(Variant):
    """A processor of the benchmark, which writes tallies; in each round into a directory of its own."""

    def __init__(self, name: str, module: str, stream: str, directory: Path, number: int) -> None:
        self.name = name
        self.application = f"bench-{name}-{number}"
        self._module = module
        self._stream = stream
        self._tallies = directory / f"{name}-{number}"
        self._tallies.mkdir()

    def arguments(self) -> Sequence[str]:
        """Return what `python -m` is started with."""
        options = {"--stream": self._stream, "--application": self.application, "--tallies": str(self._tallies)}
        return [self._module, *(part for option in options.items() for part in option)]

    def first_record_s(self) -> float | None:
        """Return when the first record was processed; the tally tells it with the first checkpoint."""
        return self.tally().first_record_s

    def tally(self) -> Tally:
        """Return the sum of what its shards have told so far."""
        return read_all(self._tallies)


class Product(Variant):
    """`streamgauge run`, on what `pipeline_copy` has written."""

    name = "product"

    def __init__(self, application: str, file: Path, metrics_port: int) -> None:
        self.application = application
        self._file = file
        self._metrics_port = metrics_port

    def arguments(self) -> Sequence[str]:
        """Return what `python -m` is started with."""
        return ["consumer", "run", str(self._file), "--log-level", "warning", "--metrics-host", _HOST]

    def first_record_s(self) -> float | None:
        """Return the time of this call once the metrics show a record."""
        try:
            received = self.metrics().get("records_received", {})
        except OSError:
            return None
        return clock.monotonic() if any(received.values()) else None

    def metrics(self) -> Metrics:
        """Return its counters; OSError while it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{_HOST}:{self._metrics_port}/metrics", timeout=_SCRAPE_SECONDS_MAX) as answer:
            return parse_counters(answer.read().decode())


def parse_counters(text: str, prefix: str = "streamgauge_") -> Metrics:
    """Read the counters of a metrics page, summed up by the label that is not the stream."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.type != "counter" or not family.name.startswith(prefix):
            continue
        values = found.setdefault(family.name.removeprefix(prefix), {})
        for sample in family.samples:
            label = ",".join(value for name, value in sorted(sample.labels.items()) if name != "stream")
            values[label] = values.get(label, 0.0) + sample.value
    return found


def pipeline_copy(directory: Path, metrics_port: int, number: int) -> Path:
    """Write the demo's pipeline for a round: with the daemon's settings of all workers, names and sinks of its own.

    Global windows are left out: they are what none of the others has, and have a benchmark of their own.
    """
    yaml = YAML()
    document: Any = yaml.load(PIPELINE)
    document["pipeline"] += f"-{number}"
    for name in [name for name, window in document["windows"].items() if window.get("combine")]:
        del document["windows"][name]
    for target in (*document["sinks"], document["late"], document["dead_letter"]):
        target["firehose"]["stream"] += f"-{number}"
    worker = document.setdefault("worker", {})
    worker["identifier"] = IDENTIFIER
    worker["metrics_port"] = metrics_port
    worker["kcl"] = {name: int(value) if value.isdigit() else value for name, value in KCL}
    path = directory / f"round-{number}.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return path


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
