"""Bugs of global windows that are planted on purpose: see planted.py. Only runs that have such windows find them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest

from consumer.core import completion, contributions, loop_state
from consumer.core.combining import Combining
from consumer.core.completion import Completion, Progress
from consumer.core.processor import Processor
from consumer.records import CONTRIBUTION, Row
from consumer.runtime import commit, sending
from consumer.runtime.commit import ShardOwner
from consumer.runtime.global_part import GlobalPart
from consumer.runtime.surroundings import Surroundings
from tests.simulation.planted import Bug


def progress_told_before_it_is_sent(patch: pytest.MonkeyPatch) -> None:
    write = ShardOwner._write_commit

    def tell_first(self: ShardOwner, outbox: Sequence[Row], **options: Any) -> None:
        write(self, outbox, **options)
        self._tell(ended=options["ended"])

    patch.setattr(ShardOwner, "_write_commit", tell_first)


def progress_of_windows_that_wait_to_be_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Processor, "closed_ms", property(lambda self: self.watermark_ms))


def whoever_is_there_is_the_cover(patch: pytest.MonkeyPatch) -> None:
    def leaves(told: Collection[Progress]) -> list[Progress]:
        parents = {parent for each in told for parent in each.parents}
        return [each for each in told if each.shard not in parents]

    patch.setattr(completion, "cover", leaves)


def highest_watermark_is_that_of_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Completion, "watermark_ms", property(lambda self: self.highest_ms if self.members else None))


def contributions_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    resend = ShardOwner._resend

    def without(self: ShardOwner, outbox: Sequence[Row], *, ended: bool) -> None:
        resend(self, [row for row in outbox if row.output != CONTRIBUTION], ended=ended)

    patch.setattr(ShardOwner, "_resend", without)


def contributions_sent_once(patch: pytest.MonkeyPatch) -> None:
    send = sending.send

    def once(around: Surroundings, shard: str, outbox: Sequence[Row]) -> None:
        patched = around.store.put_contributions

        def put(rows: Sequence[bytes]) -> None:
            patched(rows[:1])

        around.store.put_contributions = put  # type: ignore[method-assign]  # what is planted
        try:
            send(around, shard, outbox)
        finally:
            around.store.put_contributions = patched  # type: ignore[method-assign]  # as it was

    patch.setattr(commit, "send", once)


def combined_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    """Note a bucket as combined although the rows are lost with a read that fails."""
    combine = GlobalPart._combine

    def ahead(self: GlobalPart, processor: Processor, bucket: Any, view: Completion, rows: list[Row]) -> bool:
        done = combine(self, processor, bucket, view, rows)
        if view.watermark_ms is not None:
            program = processor.program.windows[bucket.number]
            end_ms = view.watermark_ms + 1 - program.window.allowed_lateness_ms
            processor.combining.up_to[bucket] = end_ms + program.step_ms
        return done

    patch.setattr(GlobalPart, "_combine", ahead)


def parts_of_ended_shards_under_the_heirs_name(patch: pytest.MonkeyPatch) -> None:
    contribute = loop_state.Core._contribute

    def own(self: loop_state.Core, number: int, _: str, *rest: Any) -> int:
        return contribute(self, number, self.shard, *rest)

    patch.setattr(loop_state.Core, "_contribute", own)


def later_origins_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contributions, "_place", lambda each: ([-ord(letter) for letter in each.origin], each.chunk))


def idle_shards_wait_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(commit, "awaited_ms", lambda *_: None)


def outbox_forgets_contributions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GlobalPart, "outbox", lambda _, __, rows: [row for row in rows if row.output != CONTRIBUTION])


def combined_up_to_begins_anew(patch: pytest.MonkeyPatch) -> None:
    """Children combine nothing that their parents had begun: they take it for combined up to where all are."""

    def inherit(self: Combining, parents: Sequence[Combining], *_: Any) -> None:
        latest = {bucket: end_ms + 20_000 for parent in parents for bucket, end_ms in parent.up_to.items()}
        self.up_to |= latest

    patch.setattr(Combining, "inherit", inherit)


def forgets_up_to(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Combining, "pack", lambda _: msgspec.UNSET)


GLOBAL_BUGS = [
    Bug(progress_told_before_it_is_sent, "I2", first=21),
    Bug(progress_of_windows_that_wait_to_be_closed, "I2", first=13),
    Bug(whoever_is_there_is_the_cover, "I2", first=27),
    Bug(highest_watermark_is_that_of_all, "I2"),
    Bug(contributions_not_sent_again, "I2"),
    Bug(contributions_sent_once, "I2"),
    Bug(outbox_forgets_contributions, "I2", interprets=True),
    Bug(combined_before_it_is_stored, "I2"),
    Bug(combined_up_to_begins_anew, "I2"),
    Bug(forgets_up_to, "I8"),
    Bug(parts_of_ended_shards_under_the_heirs_name, "only chunks|I2|I3", interprets=True),
    Bug(later_origins_first, "the interpreter", interprets=True, first=16),
    Bug(idle_shards_wait_for_nobody, "I8"),
]
