"""What the worker tells of making later starts faster: see events.py."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.redact import describe


class StartEvents:
    """The events of what later starts profit from."""

    logger: FilteringBoundLogger

    def class_archive_made(self, *, size_bytes: int, seconds: float) -> None:
        """From the next start on, Java maps its classes from an archive, in the place of loading them."""
        self.logger.info("class_archive_made", bytes=size_bytes, seconds=round(seconds, 3))

    def class_archive_not_made(self, *, error: BaseException) -> None:
        """Java goes on loading its classes one by one at every start, which takes two or three seconds longer."""
        self.logger.info("class_archive_not_made", error=describe(error))
