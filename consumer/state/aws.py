"""What an AWS error means for a state store: try again, or call a person. Anything else passes unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name for it
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from consumer.errors import RetryableError, SetupError

CLIENT_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=64,
    tcp_keepalive=True,
)
"""Time-outs in seconds; few tries inside one call, for the caller tries again; one connection a shard."""

_BROKEN = (
    ChecksumError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    ResponseParserError,
    UnicodeDecodeError,
)
"""Time-outs, broken connections, unreadable answers; credentials that cannot be had at this moment."""

_PASSING = frozenset(
    {
        "LimitExceededException",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
    }
)

_CREDENTIALS_REMEDY = "Give the worker valid credentials (and check the machine's clock)."
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


@contextmanager
def errors_of(what: str, remedies: Mapping[str, str]) -> Iterator[None]:
    """Turn boto3's errors in the block into ours.

    `what` names the table or bucket; `remedies` says, by error code, what a person must do. RetryableError: a
    throttle, a time-out, a 5xx, a cut answer. SetupError: the codes of `remedies`, and bad credentials.
    """
    try:
        yield
    except ClientError as error:
        if is_passing(error):
            raise RetryableError(f"{what}: {error}") from error
        code = code_of(error)
        remedy = _CREDENTIALS_REMEDY if code in _CREDENTIALS else remedies.get(code)
        if remedy is None:
            raise
        raise SetupError(f"{what}: {code}: {error.response['Error']['Message']} {remedy}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise SetupError(f"{what}: {error}. {_CREDENTIALS_REMEDY}") from error
    except _BROKEN as error:
        raise RetryableError(f"{what}: {error}") from error


def code_of(error: ClientError) -> str:
    """Return AWS' name of the error; empty, or the HTTP status in digits, if its body was cut."""
    code: str = error.response["Error"]["Code"]
    return code


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the answer."""
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def is_passing(error: ClientError) -> bool:
    """Tell whether the same call may succeed later; also when the error's body was cut and nobody knows."""
    code = code_of(error)
    return code in _PASSING or status_of(error) >= 500 or not code or code.isdigit()  # noqa: PLR2004 - HTTP


def required(answer: Any, member: str, what: str) -> Any:
    """Return a member that every whole answer has; RetryableError if it is missing: the answer was cut."""
    try:
        return answer[member]
    except KeyError as error:
        raise RetryableError(f"{what}: the answer has no {member}: it was cut on the way") from error
