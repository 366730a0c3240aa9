"""What an export saves, and an import puts back, of global windows: contributions that nobody has combined yet.

The shards that made them hold them no more. They bear the generation in their names, and the import begins another
one: without them its rows would lack what was counted before the export. Nor would anybody tell the progress of shards
that have ended, by which is known who came of whom (core/completion.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from consumer.core import contributions
from consumer.core.compile import Program
from consumer.core.completion import Progress, Stretch, completion
from consumer.core.contributions import Contribution
from consumer.core.processor import Processor
from consumer.core.windows import NEVER_MS
from consumer.entrypoints.state.site import Site
from consumer.records import CONTRIBUTION, Row
from consumer.runtime import clock
from consumer.state.base import Application, Claim

_LEEWAY_MS = 3_600_000
"""What expires so soon after an export was begun may be forgotten before it is read."""

Restored = Iterable[tuple[Program, Processor]]
"""The states of an export, each with the program that it is of."""


def not_combined(site: Site, application: Application, restored: Restored) -> Iterator[bytes]:
    """Yield all contributions to windows that one of these states may have to combine.

    Read them after the states: what a state no longer holds is then there, or in its outbox.
    """
    program = site.program_of(application, application.definitions)
    up_to = _combined_up_to(restored) if program.combined else {}
    for window in (program.windows[number] for number in program.combined):
        for bucket in range(window.window.buckets or 0):
            after_ms = up_to.get((window.hash, bucket))

            def read(name: str = window.hash, bucket: int = bucket, after_ms: int | None = after_ms) -> Sequence[bytes]:
                found = site.store.read_contributions(
                    application.generation, name, bucket, after_end_ms=after_ms, until_end_ms=NEVER_MS
                )
                return list(map(contributions.encode, found))

            yield from site.tried(read)


def told_by_ended(site: Site, application: Application) -> tuple[Progress, ...]:
    """Return the progress of shards that have ended, as far as it counts."""
    told = site.tried(lambda: site.store.read_progress(application.generation))
    return tuple(each for each in completion(told, clock.now_ms()).told if each.ended)


def _combined_up_to(restored: Restored) -> dict[tuple[str, int], int]:
    """Return the lowest end that a state notes as combined, by a window's hash and bucket."""
    lowest: dict[tuple[str, int], int] = {}
    for program, processor in restored:
        for (number, bucket), end_ms in processor.combining.up_to.items():
            name = program.windows[number].hash, bucket
            lowest[name] = min(end_ms, lowest.get(name, end_ms))
    return lowest


@dataclass(frozen=True)
class Carried:
    """How contributions of an export become those of the generation that it goes on in.

    `claims` are the export's, `closed_ms` says up to which watermark each of its states has contributed. Contributions
    of the new generation may be forgotten from `expires_ms` on. The export was begun at `exported_at_ms`.
    """

    program: Program
    generation: int
    expires_ms: int
    claims: Mapping[str, Claim]
    closed_ms: Mapping[str, int | None]
    exported_at_ms: int

    def saved(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Yield those that the states have made, and will not make again; whoever goes on makes the others anew."""
        windows = {window.hash: window for window in self.program.windows}
        for row in rows:
            contribution = contributions.decode(row)
            window = windows.get(contribution.window_hash)
            if window is not None and self._is_made(contribution.origin, window.due_ms(contribution.end_ms)):
                yield self._carried(contribution)

    def outbox(self, rows: Iterable[Row]) -> list[Row]:
        """Return an outbox with its contributions carried over: they have not been sent, perhaps."""
        return [
            row._replace(data=self._carried(contributions.decode(row.data))) if row.output == CONTRIBUTION else row
            for row in rows
        ]

    def progress(self, told: Iterable[Progress]) -> Iterator[Progress]:
        """Yield the progress of shards that have ended, told anew: after all contributions were stored."""
        for each in told:
            if self._has_ended(each.shard):
                stretches = self.stretches(each.stretches)
                yield msgspec.structs.replace(
                    each,
                    generation=self.generation,
                    epoch=0,
                    commit_no=0,
                    stretches=stretches,
                    expires_ms=self.expires_ms,
                )

    def stretches(self, told: Iterable[Stretch]) -> tuple[Stretch, ...]:
        """Return what a shard has told of its contributions: they are kept anew, but for those forgotten already."""
        last_ms = self.exported_at_ms + _LEEWAY_MS
        return tuple(
            each if each.expires_ms <= last_ms else Stretch(self.expires_ms, each.watermark_ms) for each in told
        )

    def _has_ended(self, shard: str) -> bool:
        claim = self.claims.get(shard)
        return claim is not None and (claim.retired or (claim.state is not None and claim.state.ended))

    def _is_made(self, origin: str, due_ms: int) -> bool:
        if self._has_ended(origin):
            return True  # by whoever took its windows over: no event of theirs is to come
        closed_ms = self.closed_ms.get(origin)
        return closed_ms is not None and due_ms <= closed_ms

    def _carried(self, contribution: Contribution) -> bytes:
        expires_ms = None if contribution.expires_ms is None else self.expires_ms
        return contributions.encode(
            msgspec.structs.replace(contribution, generation=self.generation, expires_ms=expires_ms)
        )
