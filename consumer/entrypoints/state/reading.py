"""Reads a shard's state whole while its owner may go on: never claims, never writes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.core.compile import Program
from consumer.core.processor import Processor
from consumer.entrypoints.state.site import Site
from consumer.errors import CorruptStateError, RefusedError, RetryableError
from consumer.records import HashRange, Row
from consumer.state.base import Claim, Entry, ShardState

TRIES_MAX = 20
"""How often a state is read anew because its owner has replaced it meanwhile."""


@dataclass(frozen=True)
class Stored:
    """A state item and the bytes of its snapshot, base first, or what is wrong with each entry."""

    claim: Claim
    parts: Sequence[bytes | CorruptStateError]

    def entries(self) -> list[bytes]:
        """Return the bytes; CorruptStateError for the first that is damaged."""
        return [_whole(part) for part in self.parts]


def read_stored(site: Site, shard: str) -> Stored | None:
    """Return a shard's state as one commit left it; None if it has no item.

    An entry that is missing, because a later commit has superseded it, means to read again: what is told of is one
    commit's, whole, or damaged for good.
    """
    store = site.store
    claim = site.tried(lambda: store.read(shard))
    for _ in range(TRIES_MAX):
        if claim is None:
            return None
        stored = Stored(claim, [] if claim.state is None else _parts(site, claim.state))
        if not any(isinstance(part, CorruptStateError) for part in stored.parts):
            return stored
        again = site.tried(lambda: store.read(shard))
        if again == claim:
            return stored
        claim = again
    raise RetryableError(f"{shard} commits faster than its state can be read: try again")


def _parts(site: Site, state: ShardState) -> list[bytes | CorruptStateError]:
    if state.inline is not None:
        return [_checked(state.inline, state)]
    parts = [_part(site, entry) for entry in state.manifest]
    return [*parts[:-1], parts[-1] if isinstance(parts[-1], CorruptStateError) else _checked(parts[-1], state)]


def _part(site: Site, entry: Entry) -> bytes | CorruptStateError:
    try:
        return site.tried(lambda: site.store.get_object(entry))
    except CorruptStateError as error:
        return error


def _checked(data: bytes, state: ShardState) -> bytes | CorruptStateError:
    """Hold the bytes that the last commit wrote against the hash in the item."""
    if hashlib.sha256(data).hexdigest() != state.sha256:
        return CorruptStateError("the newest bytes do not match the hash in the state item")
    return data


def _whole(part: bytes | CorruptStateError) -> bytes:
    if isinstance(part, CorruptStateError):
        raise part
    return part


def restore(program: Program, shard: str, state: ShardState, entries: Sequence[bytes]) -> tuple[Processor, list[Row]]:
    """Return the processor of a state, and its outbox, as INIT would; RefusedError as there."""
    processor, outbox = Processor.restore(
        program, shard, state.generation, entries, hash_range=HashRange(*map(int, state.hash_range))
    )
    if processor.position != state.position:
        raise RefusedError(f"the snapshot of {shard} is not at the position its state item names")
    return processor, list(outbox)
