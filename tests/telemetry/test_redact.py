"""What is said about errors, and what is not."""

from __future__ import annotations

import json

import botocore.exceptions
import msgspec
import pydantic
import pytest

from consumer.errors import DaemonError, RetryableError
from consumer.telemetry.redact import MESSAGE_CHARACTERS_MAX, WITHHELD, cut, describe, safe_traceback

SECRET = "secret-7f3a"


class _Model(pydantic.BaseModel):
    amount: int


def _raise_key_error() -> None:
    raise KeyError(SECRET)


def _raise_msgspec() -> None:
    msgspec.json.decode(json.dumps({SECRET: 1}), type=msgspec.defstruct("S", ["a"], forbid_unknown_fields=True))


def _raise_pydantic() -> None:
    _Model.model_validate({"amount": SECRET})


def _raise_unicode() -> None:
    (SECRET.encode() + b"\xff").decode()


def _raise_parameters() -> None:
    raise botocore.exceptions.ParamValidationError(report=f"Invalid type for Data: {SECRET}")


def _raise_value_error_from_our_own() -> None:
    try:
        _raise_key_error()
    except KeyError as error:
        raise RetryableError("the table did not answer") from error


def caught(raiser: object) -> Exception:
    assert callable(raiser)
    try:
        raiser()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


RAISERS = [
    _raise_key_error,
    _raise_msgspec,
    _raise_pydantic,
    _raise_unicode,
    _raise_parameters,
    _raise_value_error_from_our_own,
]


@pytest.mark.parametrize("raiser", RAISERS)
def test_no_error_quotes_data(raiser: object) -> None:
    error = caught(raiser)
    assert SECRET in f"{error.args} {error} {error.__cause__}"
    for text in (describe(error), safe_traceback(error)):
        assert SECRET not in text
        assert type(error).__name__ in text


def test_errors_about_the_service_keep_their_message() -> None:
    refused = botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, "PutItem")
    assert "AccessDenied" in describe(refused)
    assert describe(DaemonError("ended with\nstatus 1")) == "DaemonError: ended with status 1"
    assert describe(ConnectionRefusedError(111, "Connection refused")).startswith("ConnectionRefusedError: ")
    assert describe(DaemonError()) == "DaemonError"


def test_a_traceback_shows_the_way_and_the_cause() -> None:
    text = safe_traceback(caught(_raise_value_error_from_our_own))
    assert text.index(f"KeyError {WITHHELD}") < text.index("which led to") < text.index("the table did not answer")
    assert "in _raise_key_error" in text


def test_a_chain_that_bites_its_tail_ends() -> None:
    error = ValueError("a")
    error.__context__ = other = ValueError("b")
    other.__context__ = error
    assert safe_traceback(error).count("Traceback") == 2


def test_a_suppressed_context_is_not_shown() -> None:
    def raiser() -> None:
        try:
            _raise_key_error()
        except KeyError:
            raise DaemonError("b") from None

    assert "KeyError" not in safe_traceback(caught(raiser))


def test_long_text_is_cut() -> None:
    assert cut("x" * MESSAGE_CHARACTERS_MAX) == "x" * MESSAGE_CHARACTERS_MAX
    text = cut("x" * 100_000)
    assert len(text) < MESSAGE_CHARACTERS_MAX + 50
    assert text.endswith("(100000 characters)")
    assert len(describe(DaemonError("y" * 100_000))) < MESSAGE_CHARACTERS_MAX + 50
