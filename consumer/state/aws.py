"""What an AWS error means for a state store: try again, or call a person. Anything else passes unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.config import Config

from consumer.aws_errors import CREDENTIALS_REMEDY, Meaning, code_of, meaning_of, message_of
from consumer.errors import RetryableError, SetupError

CLIENT_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
    tcp_keepalive=True,
)
"""Time-outs in seconds; few tries inside one call, for the caller tries again; one connection a shard."""


@contextmanager
def errors_of(what: str, remedies: Mapping[str, str]) -> Iterator[None]:
    """Turn boto3's errors in the block into ours.

    `what` names the table or bucket; `remedies` says, by error code, what a person must do. RetryableError: a
    throttle, a time-out, a 5xx, a cut answer. SetupError: the codes of `remedies`, and bad credentials.
    """
    try:
        yield
    except Exception as error:
        meaning = meaning_of(error)
        if meaning is None:
            raise
        if meaning.may_pass:
            raise RetryableError(f"{what}: {error}") from error
        code = code_of(error)
        remedy = CREDENTIALS_REMEDY if meaning is Meaning.CREDENTIALS else remedies.get(code)
        if remedy is None:
            raise
        told = f"{code}: {message_of(error)}" if code else str(error)
        raise SetupError(f"{what}: {told.rstrip('.')}. {remedy}") from error


def required(answer: Any, member: str, what: str) -> Any:
    """Return a member that every whole answer has; RetryableError if it is missing: the answer was cut."""
    try:
        return answer[member]
    except KeyError as error:
        raise RetryableError(f"{what}: the answer has no {member}: it was cut on the way") from error
