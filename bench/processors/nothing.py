"""A worker that does nothing with the records: our daemon, relay and protocol, and then only counting.

Run as `python -m bench.processors.nothing --stream S --application A --tallies DIRECTORY`. What it costs is the floor
under everything that reads a stream with the Kinesis Client Library in one Python process: lines are decoded,
answered, and from time to time checkpointed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from bench.processors.settings import daemon_config
from bench.processors.tally import CHECKPOINT_SECONDS, Tally
from consumer.environment import environment
from consumer.records import Position
from consumer.runtime import clock
from consumer.runtime.jars import find_jars
from consumer.runtime.java import find_java
from consumer.runtime.supervisor import Daemon
from consumer.sources.multilang import Channel, Initialize, Lines, ProcessRecords, ShutdownRequested


class Counter:
    """One shard."""

    def __init__(self, channel: Channel, tallies: Path) -> None:
        self._channel = channel
        self._tallies = tallies
        self._tally = Tally()
        self._path = tallies
        self._position: Position | None = None
        self._checkpointed: Position | None = None
        self._checkpointed_s = clock.monotonic()

    def run(self) -> None:
        """Serve the daemon to the end of the conversation."""
        while (message := self._channel.receive()) is not None:
            match message:
                case Initialize():
                    self._path = self._tallies / f"{message.shard_id}.json"
                case ProcessRecords():
                    self._count(message)
                case ShutdownRequested():
                    self._checkpoint()
            self._channel.answer(message)

    def _count(self, message: ProcessRecords) -> None:
        if message.records:
            self._tally.records += len(message.records)
            self._position = Position.of(message.records[-1])
            if self._tally.first_record_s is None:
                self._tally.first_record_s = clock.monotonic()
        if clock.monotonic() - self._checkpointed_s >= CHECKPOINT_SECONDS:
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self._position is not None and self._position != self._checkpointed:
            self._channel.checkpoint(self._position)
            self._checkpointed = self._position
            self._tally.checkpoints += 1
            self._tally.write(self._path)
        self._checkpointed_s = clock.monotonic()


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stream", required=True)
    parser.add_argument("--application", required=True)
    parser.add_argument("--tallies", type=Path, required=True)
    options = parser.parse_args()

    def serve(lines: Lines, output: BinaryIO) -> None:
        Counter(Channel(lines, output), options.tallies).run()

    environ = environment()
    daemon = Daemon(
        daemon_config(options.stream, options.application),
        find_java(environ),
        find_jars().require(),
        environ=environ,
        on_shard=serve,
        on_log=_log,
    )
    with daemon:
        signal.signal(signal.SIGTERM, partial(_stop, daemon.stop))
        daemon.start()
        daemon.wait()
    return 0


def _stop(stop: Callable[[], None], _number: int, _frame: object) -> None:
    stop()


def _log(level: str, logger: str, message: str, _extra: Mapping[str, str]) -> None:
    sys.stderr.write(f"{level} {logger}: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
