"""What the worker tells of its start, and of making later starts faster: see events.py."""

# ruff: noqa: D401 - the docstring of an event says what has happened

from __future__ import annotations

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.facts import Facts
from consumer.telemetry.redact import cut, describe

STEPS: Mapping[str, str] = {
    "find_java": "looks for Java and the jars of the daemon",
    "check_table": "looks at the table of the state",
    "check_bucket": "looks at the bucket of the state",
    "describe_stream": "asks the stream how it is",
    "read_application": "reads what the application has begun with",
    "list_shards": "lists the shards that a new application begins with",
    "create_application": "stores what the new application begins with",
    "adopt": "compares the windows with those of the state",
    "wait_for_old_daemon": "waits for a daemon of the same name that is still ending",
    "release_leader": "takes back its lock as the leader of the workers",
    "accept_leases": "takes its own leases back",
    "start_daemon": "starts the Java daemon",
    "initialise_daemon": "waits until the daemon has initialised",
}
"""The steps of a worker's start in their order, in words. Those that are calls to AWS are made again if they fail."""


class StartEvents:
    """The events of the start, and of what later starts profit from."""

    logger: FilteringBoundLogger
    facts: Facts

    def start_step(self, step: str) -> None:
        """The start goes on to one of STEPS. Shown on the status page; the log tells of it if it takes long."""
        assert step in STEPS, step
        self.facts.step(step)

    def daemon_says(self, text: str | None) -> None:
        """The newest of what the daemon tells of its own initialisation; shown, and told if it takes long."""
        self.facts.daemon_says = None if text is None else cut(text)

    def starting(self) -> None:
        """The start is not over yet: what it is at. Told every now and then, lest somebody wonders."""
        steps = self.facts.steps()
        if steps:
            now_ms = self.facts.now_ms()
            self.logger.info(
                "starting",
                step=steps[-1].name,
                step_seconds=(now_ms - steps[-1].began_ms) / 1000,
                seconds=(now_ms - self.facts.began_ms) / 1000,
                daemon_says=self.facts.daemon_says,
            )

    def class_archive_made(self, *, size_bytes: int, seconds: float) -> None:
        """From the next start on, Java maps its classes from an archive, in the place of loading them."""
        self.logger.info("class_archive_made", bytes=size_bytes, seconds=round(seconds, 3))

    def class_archive_not_made(self, *, error: BaseException) -> None:
        """Java goes on loading its classes one by one at every start, which takes two or three seconds longer."""
        self.logger.info("class_archive_not_made", error=describe(error))
