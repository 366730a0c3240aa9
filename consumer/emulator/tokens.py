"""Opaque tokens for clients to bring back: shard iterators and page tokens."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

LIFE_MS = 5 * 60 * 1000
"""How long an iterator or a page token can be used."""

T = TypeVar("T", bound=msgspec.Struct)


class ShardIterator(msgspec.Struct, array_like=True, frozen=True):
    """A place in a shard: the index of the next record. `ordinal` tells a stream from its namesakes."""

    stream: str
    ordinal: int
    shard_id: str
    index: int
    issued_ms: int


class ShardsPage(msgspec.Struct, array_like=True, frozen=True):
    """Where a ListShards goes on, and with which filter."""

    stream: str
    ordinal: int
    after_shard_id: str
    filter_type: str | None
    filter_timestamp_ms: int | None
    issued_ms: int


def seal(token: msgspec.Struct) -> str:
    """Return the text of a token."""
    return urlsafe_b64encode(msgspec.json.encode(token)).decode()


def unseal(text: str, token_type: type[T]) -> T:
    """Return the token; ValueError if the text is none of this type."""
    try:
        return msgspec.json.decode(urlsafe_b64decode(text.encode()), type=token_type)
    except (binascii.Error, msgspec.DecodeError) as error:
        raise ValueError(f"not a token: {text[:40]}") from error
