"""The protocol of the Kinesis Client Library's MultiLangDaemon: one JSON object a line.

Rule 1: strictly request and response. Every message from the daemon is answered by one status line; a checkpoint
may be asked for in between, and is answered by the daemon before anything else.
Rule 2: what is not understood ends the process; nothing is skipped.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

import msgspec

from consumer.errors import DaemonError, LeaseLostError, RetryableError
from consumer.records import Position, Record


class Initialize(msgspec.Struct, tag="initialize", tag_field="action", rename="camel"):
    """First message. `sequence_number` is the last position processed, or TRIM_HORIZON, LATEST, AT_TIMESTAMP."""

    shard_id: str
    sequence_number: str | None = None
    sub_sequence_number: int | None = None


class ProcessRecords(msgspec.Struct, tag="processRecords", tag_field="action", rename="camel"):
    """A batch, perhaps empty. `millis_behind_latest` tells how far the shard's end is."""

    records: list[Record]
    millis_behind_latest: int | None = None


class LeaseLost(msgspec.Struct, tag="leaseLost", tag_field="action"):
    """Another worker has the shard. No checkpoint is allowed."""


class ShardEnded(msgspec.Struct, tag="shardEnded", tag_field="action"):
    """The shard was split or merged and every record was delivered. A checkpoint is required."""


class ShutdownRequested(msgspec.Struct, tag="shutdownRequested", tag_field="action"):
    """The worker stops or hands the lease over. Last chance for a checkpoint."""


class CheckpointAnswer(msgspec.Struct, tag="checkpoint", tag_field="action"):
    """The daemon's answer to a checkpoint: None, or the simple name of a Java exception."""

    error: str | None = None


Message = Initialize | ProcessRecords | LeaseLost | ShardEnded | ShutdownRequested

_decode = msgspec.json.Decoder(Message | CheckpointAnswer).decode
_ACTIONS: dict[type, bytes] = {
    kind: str(kind.__struct_config__.tag).encode()
    for kind in (Initialize, ProcessRecords, LeaseLost, ShardEnded, ShutdownRequested)
}

_LEASE_LOST = frozenset({"ShutdownException"})
_RETRYABLE = frozenset({"ThrottlingException", "KinesisClientLibDependencyException"})


class ChannelClosedError(Exception):
    """The daemon is gone in the middle of an exchange."""


class Lines(Protocol):
    """What the daemon says: a binary file, or what reads lines out of a pipe with less ado."""

    def readline(self) -> bytes | memoryview:
        """Return the next line with its end, nothing or a line without an end at the end of all."""


class Channel:
    """One shard's conversation with the daemon. `lines` and `output` are the relay's standard input and output."""

    def __init__(self, lines: Lines, output: BinaryIO) -> None:
        self._lines = lines
        self._output = output

    def receive(self) -> Message | None:
        """Return the next message, None at the end of the conversation."""
        message = self._read()
        if isinstance(message, CheckpointAnswer):
            raise DaemonError("the daemon answered a checkpoint that nobody asked for")
        return message

    def answer(self, message: Message) -> None:
        """Tell the daemon that a message has been dealt with."""
        self._write(b'{"action":"status","responseFor":"' + _ACTIONS[type(message)] + b'"}\n')

    def checkpoint(self, position: Position | None) -> None:
        """Checkpoint at a position; None, in shardEnded, means the end of the shard.

        RetryableError if it may work later, LeaseLostError if it never will.
        """
        if position is None:
            self._write(b'{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null}\n')
        else:
            self._write(
                b'{"action":"checkpoint","sequenceNumber":"%d","subSequenceNumber":%d}\n'
                % (position.sequence, position.sub_sequence)
            )
        answer = self._read()
        if answer is None:
            raise ChannelClosedError
        if not isinstance(answer, CheckpointAnswer):
            raise DaemonError(f"the daemon answered a checkpoint with {type(answer).__name__}")
        if answer.error in _LEASE_LOST:
            raise LeaseLostError(answer.error)
        if answer.error in _RETRYABLE:
            raise RetryableError(f"the checkpoint failed with {answer.error}")
        if answer.error is not None:
            raise DaemonError(f"the checkpoint failed with {answer.error}")

    def _read(self) -> Message | CheckpointAnswer | None:
        try:
            line = self._lines.readline()
        except ConnectionError:
            return None
        if line[-1:] != b"\n":
            return None  # the end, or a line cut short by the daemon's death
        try:
            message: Message | CheckpointAnswer = _decode(line)
        except msgspec.MsgspecError as error:
            raise DaemonError(f"a line of {len(line)} bytes from the daemon is not understood") from error
        return message

    def _write(self, line: bytes) -> None:
        try:
            self._output.write(line)
            self._output.flush()
        except (BrokenPipeError, ConnectionError):
            raise ChannelClosedError from None
