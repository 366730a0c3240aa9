"""All state items of a pipeline, one of which may be unreadable: the others are of use all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from consumer.errors import RefusedError
from consumer.state.base import Claim, StateStore

T = TypeVar("T")


class Tried(Protocol):
    """Makes a call until it works."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Return what the call returns."""


def claims_or_why_not(store: StateStore, tried: Tried) -> Mapping[str, Claim | RefusedError]:
    """Return the state items of all shards; of one that cannot be read, why. They are read one by one only then."""
    try:
        return tried(store.list_shards)
    except RefusedError:
        found = {shard: _claim(store, tried, shard) for shard in tried(store.shard_names)}
    return {shard: claim for shard, claim in found.items() if claim is not None}


def _claim(store: StateStore, tried: Tried, shard: str) -> Claim | RefusedError | None:
    try:
        return tried(partial(store.read, shard))
    except RefusedError as error:
        return error
