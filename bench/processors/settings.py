"""What the daemon of every worker of the benchmark is told."""

from __future__ import annotations

from consumer.runtime.daemon_files import DaemonConfig

IDENTIFIER = "bench"
REGION = "us-east-1"
KCL = (("idleTimeBetweenReadsInMillis", "200"),)
"""The shortest pause between reads that the daemon allows: the machine is the limit, not the pause."""


def daemon_config(stream: str, application: str) -> DaemonConfig:
    """Return the daemon's configuration for a stream that is read from its oldest record."""
    return DaemonConfig(stream, application, IDENTIFIER, REGION, None, KCL)
