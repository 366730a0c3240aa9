"""AWS' two encodings of requests and answers: JSON 1.1 and CBOR 1.1.

They differ in bytes (base64 text or byte strings) and in timestamps (seconds as a number, or tag 1 with
*milliseconds*). A request decodes into a msgspec type; an answer is a dictionary with `Timestamp` for times.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cbor2
import msgspec

from consumer.emulator.errors import AwsError
from consumer.emulator.http import Chunks
from consumer.emulator.record_log import EncodedRecords, cbor_head

JSON_TYPE = "application/x-amz-json-1.1"
CBOR_TYPE = "application/x-amz-cbor-1.1"

_MAP = 0xA0
_PASCAL_EXCEPTIONS = {"arn": "ARN", "kib": "KiB", "mbs": "MBs"}

R = TypeVar("R", bound=msgspec.Struct)


class Timestamp:
    """A time of an answer, in epoch milliseconds. No tuple and no dataclass: the encoders must ask what it is."""

    __slots__ = ("epoch_ms",)

    def __init__(self, epoch_ms: int) -> None:
        self.epoch_ms = epoch_ms


def aws_name(field: str) -> str:
    """Return AWS' name of a field: `stream_arn` is `StreamARN`."""
    return "".join(_PASCAL_EXCEPTIONS.get(word, word.capitalize()) for word in field.split("_"))


def decode(body: bytes, content_type: str, request_type: type[R]) -> R:
    """Return the request; SerializationException if it cannot be read, ValidationException if a member is wrong."""
    try:
        if content_type == CBOR_TYPE:
            document = cbor2.loads(body, semantic_decoders={1: _seconds}) if body else {}
            return msgspec.convert(document, request_type)
        return msgspec.json.decode(body or b"{}", type=request_type)
    except msgspec.ValidationError as error:
        raise AwsError("ValidationException", f"1 validation error detected: {error}") from error
    except (msgspec.DecodeError, cbor2.CBORDecodeError) as error:
        raise AwsError("SerializationException", f"The request cannot be read: {error}") from error


def encode(answer: dict[str, Any], content_type: str) -> Chunks:
    """Return the bytes of an answer, in pieces."""
    if content_type == CBOR_TYPE:
        return _encode_cbor(answer)
    return [msgspec.json.encode(answer, enc_hook=_plain)]


def _seconds(time_ms: Any, _immutable: bool) -> float:  # noqa: FBT001 - the signature is cbor2's
    return float(time_ms) / 1000


def _encode_cbor(answer: dict[str, Any]) -> Chunks:
    chunks: list[bytes | memoryview] = [cbor_head(_MAP, len(answer))]
    for name, value in answer.items():
        if isinstance(value, EncodedRecords):
            chunks += [cbor2.dumps(name), *value.cbor()]
        else:
            chunks.append(cbor2.dumps(name) + cbor2.dumps(value, default=_tag))
    return chunks


def _tag(encoder: cbor2.CBOREncoder, value: Any) -> None:
    assert isinstance(value, Timestamp), f"a {type(value).__name__} in an answer"
    encoder.encode(cbor2.CBORTag(1, value.epoch_ms))


def _plain(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.epoch_ms / 1000
    assert isinstance(value, EncodedRecords), f"a {type(value).__name__} in an answer"
    return [
        {
            "SequenceNumber": record.sequence_number,
            "ApproximateArrivalTimestamp": record.arrival_ms / 1000,
            "Data": record.data,
            "PartitionKey": record.partition_key,
        }
        for record in value.decode()
    ]
