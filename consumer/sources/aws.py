"""What an error of an AWS call means for the process."""

from __future__ import annotations

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from consumer.errors import RetryableError, SetupError, StreamgaugeError

CLIENT_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=64
)
"""Time-outs in seconds, and a bound on the client's own retries."""

_RETRYABLE_CODES = frozenset(
    {
        "ExpiredNextTokenException",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ResourceInUseException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
    }
)
_SERVER_ERROR_STATUS = 500
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "403"})
_SETUP_ERRORS = (NoCredentialsError, NoRegionError, ParamValidationError, PartialCredentialsError)

CALL_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
"""What a call of a boto3 client raises; an answer that cannot be parsed was cut off."""


def error_code(error: Exception) -> str:
    """Return the service's name for the error; empty if it is not the service's."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_denied(error: Exception) -> bool:
    """Say whether a permission is missing."""
    return error_code(error) in _DENIED_CODES


def translate(error: Exception, what: str, remedy: str) -> StreamgaugeError:
    """Return the error to raise: RetryableError, or SetupError saying `what` failed and the `remedy`."""
    if _is_retryable(error):
        return RetryableError(f"{what}: {error}")
    return SetupError(f"{what}: {str(error).rstrip('.')}. {remedy}")


def _is_retryable(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return not isinstance(error, _SETUP_ERRORS)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in _RETRYABLE_CODES or status >= _SERVER_ERROR_STATUS or _is_cut(error)


def _is_cut(error: ClientError) -> bool:
    """Say whether the body that names the error was cut off on the way; its place is then taken by the status."""
    code = error_code(error)
    return not is_denied(error) and (not code or code.isdigit())
