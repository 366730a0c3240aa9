"""What an owner of a shard may do, and how it checkpoints at the source."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from consumer.records import Position


class Mode(Enum):
    """What an owner may do. Only an ACTIVE one processes; the others answer the daemon and nothing else."""

    ACTIVE = "active"
    FROZEN = "frozen"
    """The shard ended and everything was sent: its end may be checkpointed."""
    PARKED = "parked"
    """INIT refused the shard; a person is needed."""
    SILENT = "silent"
    """Another owner has the state, or the worker stops while a sink is down."""


Checkpoint = Callable[[Position], bool]
"""Checkpoints at the source; False means that it did not work now and must be tried again later."""
