"""What is told of the Java daemon's process and of its log: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.facts import Facts
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.redact import cut

METHOD_OF_LEVEL: Mapping[str, str] = {
    "TRACE": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "ERROR": "error",
}
"""By the level names of the daemon's logback."""

_THROTTLED = "ProvisionedThroughputExceededException thrown while fetching records"
"""What the daemon says, after the shard's name, of a read that Kinesis has throttled."""


class DaemonEvents:
    """The events of the daemon's process."""

    metrics: Metrics
    logger: FilteringBoundLogger
    health: Health
    facts: Facts

    def _expect_daemon_log(self) -> None:
        """Make the series at zero: the first line of a kind is a change then."""
        for level in METHOD_OF_LEVEL:
            self.metrics.counter("daemon_log_lines_total", level=level)
        self.metrics.counter("reads_throttled_total")
        self.metrics.counter("daemon_restarts_total")
        self.metrics.gauge("daemon_up")

    def daemon_started(self, *, pid: int, java_version: str) -> None:
        """The Java process was started."""
        if self.facts.daemon != "not started":
            self.metrics.counter("daemon_restarts_total").inc()
        self.facts.daemon, self.facts.java_version = "initialising", java_version
        self.metrics.gauge("daemon_up").set(1)
        self.metrics.follow_daemon(pid)
        self.logger.info("daemon_started", pid=pid, java_version=java_version)

    def daemon_initialised(self, *, seconds: float) -> None:
        """The daemon reads leases and stream: the worker is ready, `seconds` after the daemon's start."""
        self.facts.daemon = "running"
        self.facts.step(None)
        self.health.ready()
        self.logger.info("daemon_initialised", seconds=round(seconds, 3))

    def daemon_log(self, *, level: str, logger: str, message: str, extra: Mapping[str, str] | None = None) -> None:
        """Fold in a line of the daemon, at the level that the daemon gave it. Long values are cut."""
        self.metrics.counter("daemon_log_lines_total", level=level).inc()
        if _THROTTLED in message:
            self.metrics.counter("reads_throttled_total").inc()
        more = {f"daemon_{key}": cut(value) for key, value in (extra or {}).items()}
        write = getattr(self.logger, METHOD_OF_LEVEL[level])
        write("daemon_log", **more, daemon_logger=logger, message=cut(message))

    def daemon_ended(self, *, status: int, expected: bool) -> None:
        """The Java process has ended; `expected` if we had told it to."""
        self.facts.daemon = "ended"
        self.metrics.gauge("daemon_up").set(0)
        write = self.logger.info if expected else self.logger.error
        write("daemon_ended", status=status, expected=expected)
