"""What an error of an AWS call means for the process."""

from __future__ import annotations

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from consumer.aws_errors import CREDENTIALS_REMEDY, Meaning, meaning_of
from consumer.errors import RetryableError, SetupError, StreamgaugeError

CLIENT_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=64
)
"""Time-outs in seconds, and a bound on the client's own retries."""

CALL_ERRORS = (BotoCoreError, ClientError, ResponseParserError, UnicodeDecodeError)
"""What a call of a boto3 client raises; an answer that cannot be parsed was cut off."""


def translate(error: Exception, what: str, remedy: str) -> StreamgaugeError:
    """Return the error to raise: RetryableError, or SetupError saying `what` failed and the `remedy`."""
    meaning = meaning_of(error)
    if meaning is not None and meaning.may_pass:
        return RetryableError(f"{what}: {error}")
    remedy = CREDENTIALS_REMEDY if meaning is Meaning.CREDENTIALS else remedy
    return SetupError(f"{what}: {str(error).rstrip('.')}. {remedy}")
