"""Errors by consequence, and the exit statuses of the command.

A record that cannot be used is data (a dead letter), not an error: see `core`. Everything here is about the
service: what may be tried again, what means that a shard has another owner, what must stop the process.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
"""An error nobody foresaw: the process stops rather than skip anything; start it again."""
EXIT_USAGE = 2
"""The command line or the pipeline file is wrong; nothing was touched and no network call was made."""
EXIT_REFUSED = 3
"""The stored state or the stream contradicts this pipeline; starting again does not help, a person must decide."""
EXIT_ENVIRONMENT = 4
"""Something the worker needs is missing: Java, a jar, a table, a bucket, a permission; or AWS did not answer at the
start for as long as it is tried."""
EXIT_DAEMON = 5
"""The Java daemon ended by itself, or could not initialise."""
EXIT_FENCED = 6
"""Another process with the same worker identifier owns the shards; start again after a random pause."""
EXIT_SINK = 7
"""A sink refused rows for good (permission, name, request); the rows are kept in the state."""


class StreamgaugeError(Exception):
    """Base of every error this package raises on purpose; `exit_status` is what the command ends with."""

    exit_status = EXIT_FAILURE


class RetryableError(StreamgaugeError):
    """A throttle, a time-out, a cut answer: the same call may succeed later. The effect of a write is unknown."""


class UnknownShardError(RetryableError):
    """The stream does not know the shard: not yet, or not any more."""


class RefusedError(StreamgaugeError):
    """The stored state does not fit the pipeline or the stream: nothing is processed until a person decides."""

    exit_status = EXIT_REFUSED


class ApplicationRefusedError(RefusedError):
    """Not one shard's state but that of the whole pipeline does not fit."""


class CorruptStateError(RefusedError):
    """A stored snapshot is not what its manifest says."""


class SetupError(StreamgaugeError):
    """Something outside the process is missing or not allowed; the message names the remedy."""

    exit_status = EXIT_ENVIRONMENT


class DaemonError(StreamgaugeError):
    """The Java daemon ended, could not start, or broke its protocol."""

    exit_status = EXIT_DAEMON


class FencedError(StreamgaugeError):
    """Another owner has claimed the shard's state; this owner must write, send and checkpoint nothing more."""

    exit_status = EXIT_FENCED

    def __init__(self, message: str, *, epoch: int, seen_epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.seen_epoch = seen_epoch


class LeaseLostError(StreamgaugeError):
    """The daemon said that the lease is gone: stop, write nothing."""


class SinkError(StreamgaugeError):
    """A sink will never take these rows as things are (permission, name); a person is needed."""

    exit_status = EXIT_SINK
