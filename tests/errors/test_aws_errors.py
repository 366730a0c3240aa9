"""What AWS errors mean, and that the classes known by name are the client library's."""

from __future__ import annotations

import importlib

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from botocore.parsers import ResponseParserError

from consumer import aws_errors
from consumer.aws_errors import Meaning, code_of, meaning_of, meaning_of_code, message_of, status_of
from consumer.testing.fakes import client_error

URL = "http://127.0.0.1"


@pytest.mark.parametrize("name", [*aws_errors._MEANING_OF_CLASS, aws_errors._CLIENT_ERROR])
def test_classes_known_by_name_exist(name: str) -> None:
    module, _, cls = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), cls), Exception)


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("ThrottlingException", 400, Meaning.THROTTLED),
        ("ProvisionedThroughputExceededException", 400, Meaning.THROTTLED),
        ("RequestThrottled", 403, Meaning.THROTTLED),
        ("SlowDown", 503, Meaning.THROTTLED),
        ("ServiceUnavailableException", 503, Meaning.THROTTLED),
        ("ServiceUnavailable", 503, Meaning.UNAVAILABLE),
        ("ConditionalRequestConflict", 409, Meaning.UNAVAILABLE),
        ("InternalError", 500, Meaning.INTERNAL),
        ("InternalFailure", 0, Meaning.INTERNAL),
        ("Odd", 500, Meaning.UNAVAILABLE),
        ("Odd", 499, Meaning.REFUSED),
        ("502", 502, Meaning.UNAVAILABLE),
        ("400", 400, Meaning.CONNECTION),
        ("", 400, Meaning.CONNECTION),
        ("RequestTimeout", 400, Meaning.TIMEOUT),
        ("ExpiredToken", 403, Meaning.CREDENTIALS),
        ("AccessDenied", 403, Meaning.DENIED),
        ("ConditionalCheckFailedException", 400, Meaning.REFUSED),
        ("PreconditionFailed", 412, Meaning.REFUSED),
    ],
)
def test_an_answer_goes_by_its_code_then_by_its_status(code: str, status: int, meaning: Meaning) -> None:
    assert meaning_of(client_error(code, status)) is meaning
    assert meaning_of_code(code, status) is meaning


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (exceptions.ConnectTimeoutError(endpoint_url=URL), Meaning.TIMEOUT),
        (exceptions.ReadTimeoutError(endpoint_url=URL), Meaning.TIMEOUT),
        (exceptions.EndpointConnectionError(endpoint_url=URL), Meaning.CONNECTION),
        (exceptions.ConnectionClosedError(endpoint_url=URL), Meaning.CONNECTION),
        (exceptions.SSLError(endpoint_url=URL, error=OSError("e")), Meaning.CONNECTION),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), Meaning.CONNECTION),
        (ResponseParserError("cut"), Meaning.CONNECTION),
        (UnicodeDecodeError("utf-8", b"\xc3", 0, 1, "cut"), Meaning.CONNECTION),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="m"), Meaning.UNAVAILABLE),
        (WaiterError("table_exists", "Max attempts exceeded", {}), Meaning.UNAVAILABLE),
        (exceptions.NoCredentialsError(), Meaning.CREDENTIALS),
        (exceptions.NoRegionError(), Meaning.REFUSED),
        (exceptions.ParamValidationError(report="r"), Meaning.REFUSED),
        (BotoCoreError(), Meaning.REFUSED),
    ],
)
def test_other_errors_of_a_call_go_by_their_class(error: Exception, meaning: Meaning) -> None:
    assert meaning_of(error) is meaning


@pytest.mark.parametrize("error", [KeyError("a"), ConnectionResetError(), TimeoutError(), ValueError("a")])
def test_what_no_client_raises_means_nothing(error: Exception) -> None:
    assert meaning_of(error) is None


def test_what_may_pass() -> None:
    assert {meaning for meaning in Meaning if not meaning.may_pass} == {
        Meaning.CREDENTIALS,
        Meaning.DENIED,
        Meaning.REFUSED,
    }


def test_what_an_answer_says() -> None:
    error = client_error("NoSuchBucket", 404, "no such bucket")
    assert (code_of(error), message_of(error), status_of(error)) == ("NoSuchBucket", "no such bucket", 404)


def test_an_answer_that_says_little_is_read_all_the_same() -> None:
    bare = ClientError({}, "PutObject")
    assert (code_of(bare), status_of(bare), meaning_of(bare)) == ("", 0, Meaning.CONNECTION)
    assert (code_of(ValueError("v")), message_of(ValueError("v")), status_of(ValueError("v"))) == ("", "v", 0)
