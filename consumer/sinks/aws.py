"""What the sinks at AWS share: their clients' bounds, and what an error means for the rows."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from consumer.aws_errors import CREDENTIALS_REMEDY, Meaning, code_of, meaning_of, message_of
from consumer.errors import SinkError

CLIENT_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=64,
    tcp_keepalive=True,
)
"""Time-outs in seconds.

Few tries inside one call: the delivery loop tries again, counts it, and hears a stop. One connection a shard is kept
open; shards beyond 64 open their own for a call.
"""

CALL_ERRORS = (BotoCoreError, ClientError, ResponseParserError, UnicodeDecodeError)
"""What a call of a boto3 client raises; an answer that cannot be parsed was cut off."""

_OTHER_REMEDY = "The request was refused; trying again would not help."


def reason_of(error: Exception, what: str, remedies: Mapping[str, str]) -> str:
    """Return the reason (as in Failure) of an error that may pass; raise SinkError for one that will not.

    `what` names the sink's target; `remedies` says, by error code, what a person must do.
    """
    meaning = meaning_of(error)
    if meaning is not None and meaning.may_pass:
        return meaning.value
    code = code_of(error)
    known = CREDENTIALS_REMEDY if meaning is Meaning.CREDENTIALS else remedies.get(code, _OTHER_REMEDY)
    told = f"{code}: {message_of(error)}" if code else f"{str(error).rstrip('.')}."
    raise SinkError(f"{what}: {told} {known}") from error
