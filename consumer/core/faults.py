"""Why a record becomes a dead letter: a closed list."""

from __future__ import annotations

INVALID_JSON = "invalid_json"
INVALID_UTF8 = "invalid_utf8"
WRONG_TYPE = "wrong_type"
MISSING_FIELD = "missing_field"
OUT_OF_RANGE = "out_of_range"
TOO_DEEP = "too_deep"
TOO_LARGE = "too_large"
BAD_COMPRESSION = "bad_compression"
EXPRESSION_ERROR = "expression_error"
FUTURE_TIMESTAMP = "future_timestamp"
MISROUTED = "misrouted"
STATE_LIMIT = "state_limit"

REASONS = (
    INVALID_JSON,
    INVALID_UTF8,
    WRONG_TYPE,
    MISSING_FIELD,
    OUT_OF_RANGE,
    TOO_DEEP,
    TOO_LARGE,
    BAD_COMPRESSION,
    EXPRESSION_ERROR,
    FUTURE_TIMESTAMP,
    MISROUTED,
    STATE_LIMIT,
)


class Fault(Exception):  # noqa: N818 - a fault of the record, not of the program
    """The record cannot be used. `detail` says what and where, and never quotes the record."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
