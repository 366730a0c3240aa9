"""Drives one shard: the daemon's messages in, answers out, commits in between.

Whatever is not foreseen here leaves `run` as an exception and ends the process: the daemon is never told that a
batch was processed when it was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from consumer.errors import CorruptStateError, DaemonError, FencedError, LeaseLostError, RefusedError, RetryableError
from consumer.records import Position, Record
from consumer.runtime.churn import ClaimPace
from consumer.runtime.commit import ShardOwner
from consumer.runtime.gaps import SURE_SECONDS, check_after_stop
from consumer.runtime.heap import STATE_HEAP
from consumer.runtime.idle import IdleWatch
from consumer.runtime.misrouting import MisroutingWatch
from consumer.runtime.mode import Checkpoint, Mode
from consumer.runtime.retry import StoppedError
from consumer.runtime.surroundings import Surroundings
from consumer.runtime.work import Work
from consumer.sinks.base import DeliveryStopped
from consumer.sources.multilang import (
    Channel,
    ChannelClosedError,
    Initialize,
    LeaseLost,
    Lines,
    Message,
    ProcessRecords,
    ShardEnded,
    ShutdownRequested,
)
from consumer.telemetry.health import Activity

CHECKPOINT_RETRY_SECONDS_MAX = 120.0
_CHECKPOINT_WAIT_SECONDS = 0.5
_WAITING = {
    Mode.ACTIVE: Activity.WAITING_FOR_DAEMON,
    Mode.FROZEN: Activity.WAITING_FOR_DAEMON,
    Mode.PARKED: Activity.REFUSED,
    Mode.SILENT: Activity.FENCED,
}


class ShardRunner:
    """One lease of one shard, from `initialize` to the end of the conversation.

    `failover_seconds` is the daemon's fail-over time: a fenced owner that still has its lease after three of them has
    a twin. `pace` and `misrouting` are those of the worker; without them this lease is looked at alone.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        failover_seconds: float,
        pace: ClaimPace | None = None,
        misrouting: MisroutingWatch | None = None,
    ) -> None:
        self._around = around
        self._pace = pace or ClaimPace()
        self._misrouting = misrouting
        self._silence_seconds_max = 3 * failover_seconds
        self._fence: tuple[float, FencedError] | None = None
        self._idle = IdleWatch.of(around.program.pipeline)
        self._left = False
        """Whether it was told that the shard has left the worker: who has it next speaks for it."""

    def run(self, lines: Lines, output: BinaryIO) -> None:
        """Serve the daemon, which speaks through a relay's pipes, until it ends the conversation."""
        self.serve(Channel(lines, output))

    def serve(self, channel: Channel) -> None:
        """Serve the daemon until it ends the conversation."""
        try:
            first = channel.receive()
            if first is None:
                return
            if not isinstance(first, Initialize):
                raise DaemonError(f"the daemon began with {type(first).__name__}")
            owner = self._initialise(first)
            channel.answer(first)
            self._converse(channel, owner)
        except ChannelClosedError:
            return
        finally:
            STATE_HEAP.release()

    def _converse(self, channel: Channel, owner: ShardOwner) -> None:
        telemetry = self._around.telemetry
        try:
            while True:
                if not self._left:
                    telemetry.activity(shard=owner.shard, activity=_WAITING[owner.mode])
                message = channel.receive()
                if message is None:
                    return
                self._handle(channel, owner, message)
                channel.answer(message)
        finally:
            if not self._left:
                telemetry.shard_released(shard=owner.shard)

    def _initialise(self, message: Initialize) -> ShardOwner:
        shard = message.shard_id
        self._around.telemetry.activity(shard=shard, activity=Activity.RESTORING)
        owner = ShardOwner(self._around, shard)
        try:
            self._pace.enter(self._around, shard)
            owner.initialise(_position(message))
            if owner.mode is Mode.ACTIVE:
                check_after_stop(self._around, owner)
        except RefusedError as error:
            self._park(owner, error)
        except FencedError as error:
            self._go_silent(owner, error)
        except (DeliveryStopped, StoppedError):
            owner.mode = Mode.SILENT
        return owner

    def _handle(self, channel: Channel, owner: ShardOwner, message: Message) -> None:
        self._check_silence(owner, message)
        try:
            match message:
                case ProcessRecords():
                    self._process(channel, owner, message)
                case ShutdownRequested():
                    self._around.telemetry.shutdown_requested(shard=owner.shard)
                    if owner.mode is Mode.ACTIVE:
                        owner.finish(self._checkpoint(channel, owner))
                case ShardEnded():
                    self._end(channel, owner)
                case LeaseLost():
                    self._around.telemetry.lease_lost(shard=owner.shard)
                    self._left = True
                    owner.mode = Mode.SILENT
                    self._fence = None
                case Initialize():
                    raise DaemonError(f"the daemon initialised {owner.shard} twice")
        except FencedError as error:
            if isinstance(message, ShardEnded):
                # No more messages would come, and an end that is answered without a checkpoint is wedged.
                raise self._twin(owner, error) from error
            self._go_silent(owner, error)
        except CorruptStateError as error:
            # Whoever had the shard next would find the same, and end.
            self._park(owner, error, at_end=isinstance(message, ShardEnded))
        except LeaseLostError:
            # The daemon says so itself with its next message; until then nothing may be written.
            owner.mode = Mode.SILENT
        except (DeliveryStopped, StoppedError):
            owner.mode = Mode.SILENT

    def _process(self, channel: Channel, owner: ShardOwner, message: ProcessRecords) -> None:
        if owner.mode is not Mode.ACTIVE:
            return
        around = self._around
        around.telemetry.activity(shard=owner.shard, activity=Activity.PROCESSING)
        now = around.clock.monotonic()
        owner.behind_ms = message.millis_behind_latest or 0
        self._idle.read(message, now)
        if self._idle.nothing_left_seconds(now) >= SURE_SECONDS:
            owner.caught_up(around.clock.now_ms() - round(SURE_SECONDS * 1000))
        work = Work(around.clock)
        try:
            self._work_through(channel, owner, message.records, work)
            self._decide(channel, owner, work)
            owner.combine()
        finally:
            newest_ms = message.records[-1].arrival_ms if message.records else None
            work.tell(around.telemetry, owner, newest_arrival_ms=newest_ms, millis_behind=message.millis_behind_latest)
        if self._misrouting is not None:
            self._misrouting.look(owner.shard, work.counts)
        self._commit_if_due(channel, owner)

    def _work_through(self, channel: Channel, owner: ShardOwner, records: Sequence[Record], work: Work) -> None:
        work.through(owner, records, lambda: self._commit_if_due(channel, owner))

    def _decide(self, channel: Channel, owner: ShardOwner, work: Work) -> None:
        """Take an idle decision, if it is time for one, and close what is due by it."""
        clock = self._around.clock
        if not self._idle.wants_decision(clock.monotonic(), closes=owner.idle_closes()):
            return
        started = clock.monotonic()
        outcome = owner.idle()
        if outcome is not None:
            work.add(outcome, clock.monotonic() - started)
            self._work_through(channel, owner, (), work)

    def _commit_if_due(self, channel: Channel, owner: ShardOwner) -> None:
        if owner.commit_is_due():
            owner.commit(self._checkpoint(channel, owner))

    def _end(self, channel: Channel, owner: ShardOwner) -> None:
        """Every record was delivered. The end is checkpointed only when nothing is left to send.

        Open windows stay in the state, for the shards that follow; but what is due by this shard's watermark is its
        own to close. Only a state that was restored in the midst of closing can have any.
        """
        if owner.mode is Mode.ACTIVE:
            if owner.processor.closing:
                self._process(channel, owner, ProcessRecords([]))
            owner.commit(self._checkpoint(channel, owner), ended=True)
            owner.mode = Mode.FROZEN
        if owner.mode is Mode.FROZEN:
            self._retry_checkpoint(channel, owner, None)
            self._around.telemetry.shard_ended(shard=owner.shard)
            self._left = True

    def _checkpoint(self, channel: Channel, owner: ShardOwner) -> Checkpoint:
        return lambda position: self._retry_checkpoint(channel, owner, position)

    def _retry_checkpoint(self, channel: Channel, owner: ShardOwner, position: Position | None) -> bool:
        """Checkpoint; return False for what can wait for the next commit. A shard's end is never given up."""
        around = self._around
        deadline = around.clock.monotonic() + CHECKPOINT_RETRY_SECONDS_MAX
        wait = _CHECKPOINT_WAIT_SECONDS
        while True:
            try:
                channel.checkpoint(position)
            except RetryableError as error:
                if position is not None:
                    around.telemetry.checkpoint_retry(shard=owner.shard, error=str(error), wait_seconds=0)
                    return False
                if around.pause(wait) or around.clock.monotonic() > deadline:
                    raise
                around.telemetry.checkpoint_retry(shard=owner.shard, error=str(error), wait_seconds=wait)
                wait = min(2 * wait, 10)
            else:
                around.telemetry.checkpointed(shard=owner.shard, position=position)
                return True

    def _park(self, owner: ShardOwner, error: RefusedError, *, at_end: bool = False) -> None:
        """Answer from here on, and do nothing else; not at the end of a shard, which would be wedged for ever."""
        if at_end:
            raise error
        owner.mode = Mode.PARKED
        self._around.telemetry.shard_refused(shard=owner.shard, error=error)

    def _go_silent(self, owner: ShardOwner, error: FencedError) -> None:
        owner.mode = Mode.SILENT
        self._fence = (self._around.clock.monotonic(), error)
        self._around.telemetry.fenced(shard=owner.shard, epoch=error.epoch, seen_epoch=error.seen_epoch)

    def _check_silence(self, owner: ShardOwner, message: Message) -> None:
        """Raise FencedError if the lease stays although another owner has the state: a twin of the same name.

        At the end of the shard at once: no more messages would come, and an end without a checkpoint is wedged.
        """
        if self._fence is None or not isinstance(message, ProcessRecords | ShardEnded):
            return
        since, error = self._fence
        waited_seconds = self._around.clock.monotonic() - since
        if isinstance(message, ShardEnded) or waited_seconds > self._silence_seconds_max:
            raise self._twin(owner, error)

    def _twin(self, owner: ShardOwner, error: FencedError) -> FencedError:
        return FencedError(
            f"{owner.shard} has another owner, and yet this worker keeps its lease: if another worker runs with the "
            "same worker.identifier, give each its own",
            epoch=error.epoch,
            seen_epoch=error.seen_epoch,
        )


def _position(message: Initialize) -> Position | None:
    """Return the source's position, None where it only names a start such as TRIM_HORIZON."""
    text = message.sequence_number
    if text is None or not text.isdigit():
        return None
    return Position(int(text), message.sub_sequence_number or 0)
