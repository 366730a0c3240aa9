"""What an error of an AWS call means, in one place: whether it may pass, or a person must act.

Sources, sinks and state stores all ask here, and turn the answer into errors of their own. The classes of the client
library are known by name, so that this module needs none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

CREDENTIALS_REMEDY = "Give the worker valid credentials (and check the machine's clock)."


class Meaning(StrEnum):
    """What an error means. The values of those that may pass are words fit for a metric label."""

    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    TIMEOUT = "timeout"
    """No answer in time: the call may have had its effect."""
    CONNECTION = "connection"
    """No connection, or an answer cut on the way: the call may have had its effect."""
    CREDENTIALS = "credentials"
    DENIED = "denied"
    REFUSED = "refused"
    """Anything else that the service or the client library objects to."""

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later without anybody's doing."""
        return self not in _LASTING


_LASTING = frozenset({Meaning.CREDENTIALS, Meaning.DENIED, Meaning.REFUSED})

_CODES: Mapping[Meaning, frozenset[str]] = {
    Meaning.THROTTLED: frozenset(
        {
            "KMS.ThrottlingException",
            "KMSThrottlingException",
            "KmsThrottled",
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "ServiceUnavailableException",  # Firehose says it of itself: slow down
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        }
    ),
    Meaning.UNAVAILABLE: frozenset(
        {
            "ConditionalRequestConflict",
            "ExpiredNextTokenException",  # the listing starts again
            "OperationAborted",
            "ReplicatedWriteConflictException",
            "ResourceInUseException",
            "ServiceUnavailable",
            "TransactionConflictException",
            "TransactionInProgressException",  # the client's own repeat of it
        }
    ),
    Meaning.INTERNAL: frozenset({"InternalError", "InternalFailure", "InternalServerError"}),
    Meaning.TIMEOUT: frozenset({"RequestTimeout"}),
    Meaning.CREDENTIALS: frozenset(
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
    ),
    Meaning.DENIED: frozenset(
        {
            "403",  # a cut body, or none as S3 answers HEAD: the status says it
            "AccessDenied",
            "AccessDeniedException",
            "AllAccessDisabled",
        }
    ),
}
_MEANING_OF_CODE = {code: meaning for meaning, codes in _CODES.items() for code in codes}

_MEANING_OF_CLASS: Mapping[str, Meaning] = {
    "botocore.exceptions.ConnectTimeoutError": Meaning.TIMEOUT,
    "botocore.exceptions.ReadTimeoutError": Meaning.TIMEOUT,
    "botocore.exceptions.ConnectionError": Meaning.CONNECTION,
    "botocore.exceptions.HTTPClientError": Meaning.CONNECTION,
    "botocore.exceptions.ChecksumError": Meaning.CONNECTION,
    "botocore.exceptions.FlexibleChecksumError": Meaning.CONNECTION,
    "botocore.exceptions.IncompleteReadError": Meaning.CONNECTION,
    "botocore.parsers.ResponseParserError": Meaning.CONNECTION,
    "builtins.UnicodeDecodeError": Meaning.CONNECTION,
    # Whoever gives out credentials is down for a moment; having none is another matter.
    "botocore.exceptions.CredentialRetrievalError": Meaning.UNAVAILABLE,
    "botocore.exceptions.MetadataRetrievalError": Meaning.UNAVAILABLE,
    "botocore.exceptions.WaiterError": Meaning.UNAVAILABLE,
    "botocore.exceptions.NoCredentialsError": Meaning.CREDENTIALS,
    "botocore.exceptions.PartialCredentialsError": Meaning.CREDENTIALS,
    "botocore.exceptions.BotoCoreError": Meaning.REFUSED,
}
"""By the first class of an error's line that is named here; a service's own answer goes by its code."""


def meaning_of(error: Exception) -> Meaning | None:
    """Return what an error raised by a call means; None if it is none of AWS' or of the client library's."""
    if _answer_of(error) is not None:
        return meaning_of_code(code_of(error), status_of(error))
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__)
    return next((_MEANING_OF_CLASS[name] for name in names if name in _MEANING_OF_CLASS), None)


def reason_of(error: BaseException) -> str:
    """Return a word fit for a metric label: what the call meant that this error was raised for; else `other`."""
    cause = error.__cause__
    meaning = meaning_of(cause) if isinstance(cause, Exception) else None
    return "other" if meaning is None else str(meaning)


def meaning_of_code(code: str, status: int = 0) -> Meaning:
    """Return what a service's error code means, with the HTTP status that it came with (0: none)."""
    known = _MEANING_OF_CODE.get(code)
    if known is not None:
        return known
    if status >= 500:  # noqa: PLR2004 - HTTP: the server's fault
        return Meaning.UNAVAILABLE
    if not code or code.isdigit():
        return Meaning.CONNECTION  # the error's body was cut: nobody knows what it said
    return Meaning.REFUSED


def code_of(error: Exception) -> str:
    """Return the service's name of the error; empty, or the HTTP status in digits, if its body was cut."""
    return str((_answer_of(error) or {}).get("Error", {}).get("Code", ""))


def message_of(error: Exception) -> str:
    """Return what the service says of the error; of another error, its own text."""
    return str((_answer_of(error) or {}).get("Error", {}).get("Message", error))


def status_of(error: Exception) -> int:
    """Return the HTTP status of the service's answer; 0 if the error is no answer."""
    return int((_answer_of(error) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer_of(error: Exception) -> Mapping[str, Any] | None:
    """Return the answer that an error carries, which only the client library's ClientError and its kin do."""
    if not any(f"{cls.__module__}.{cls.__qualname__}" == _CLIENT_ERROR for cls in type(error).__mro__):
        return None
    answer: Mapping[str, Any] = error.response  # type: ignore[attr-defined]  # ClientError's, told by its name
    return answer


_CLIENT_ERROR = "botocore.exceptions.ClientError"
