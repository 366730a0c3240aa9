"""What can be switched while the emulator runs."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The switches; the defaults are an AWS without limits, delays or trouble.

    `limits` enforces the shards' write and read limits. `state_delay_ms` is how long a stream or delivery stream
    stays CREATING, UPDATING or DELETING. `put_latency_ms` delays every put to Kinesis and Firehose. `journal`
    keeps the list of calls.
    """

    limits: bool = False
    state_delay_ms: int = 0
    put_latency_ms: int = 0
    journal: bool = True

    def __post_init__(self) -> None:
        if self.state_delay_ms < 0 or self.put_latency_ms < 0:
            raise ValueError("a delay is zero or more milliseconds")

    def change(self, **switches: object) -> None:
        """Set the named switches; ValueError or msgspec.ValidationError if one is unknown or out of range."""
        merged = msgspec.convert({**msgspec.structs.asdict(self), **switches}, Settings)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(merged, name))
