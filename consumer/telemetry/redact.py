"""What may be said about an error without quoting anybody's data.

The message of an exception can hold what it was raised over: a KeyError its key, a ValidationError the value,
a ParamValidationError the whole request. So a message is shown only where it is known to be about the
service: errors that this package raises on purpose (their messages quote no data, see errors.py), trouble of
the operating system, and AWS' answers. Of every other error only the type and the lines of code are shown.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from consumer.errors import StreamgaugeError

MESSAGE_CHARACTERS_MAX = 4_000
WITHHELD = "(message withheld: it may quote data)"

_AWS_ERRORS_ABOUT_SERVICE = frozenset(
    {
        "ClientError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "CredentialRetrievalError",
        "EndpointConnectionError",
        "NoCredentialsError",
        "NoRegionError",
        "PartialCredentialsError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "SSLError",
    }
)


def cut(text: str) -> str:
    """Return the text, cut where it is too long for a log line."""
    if len(text) <= MESSAGE_CHARACTERS_MAX:
        return text
    return f"{text[:MESSAGE_CHARACTERS_MAX]}… ({len(text)} characters)"


def describe(error: BaseException) -> str:
    """Return type and, where it cannot quote data, message of an error in one line."""
    name = type(error).__qualname__
    if not _is_about_service(error):
        return f"{name} {WITHHELD}"
    message = " ".join(str(error).split())
    return cut(f"{name}: {message}") if message else name


def safe_traceback(error: BaseException) -> str:
    """Return the usual traceback of an error and its causes, without the messages that may quote data."""
    return "\n".join(_traceback_parts(error)).rstrip()


def _is_about_service(error: BaseException) -> bool:
    if isinstance(error, StreamgaugeError | OSError) and not isinstance(error, UnicodeError):
        return True
    return any(
        cls.__module__ == "botocore.exceptions" and cls.__name__ in _AWS_ERRORS_ABOUT_SERVICE
        for cls in type(error).__mro__
    )


def _traceback_parts(error: BaseException) -> Iterator[str]:
    chain = list(_chain(error))
    for link in reversed(chain):
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_list(traceback.extract_tb(link.__traceback__))) + describe(link)
        if link is not error:
            yield "\nwhich led to:\n"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
