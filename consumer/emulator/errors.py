"""Answers that are errors, with the names and statuses AWS gives them."""

from __future__ import annotations

ACCOUNT = "123456789012"
REGION = "us-east-1"


class AwsError(Exception):
    """An error a service answers with: `code` is its exact name, `status` the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> AwsError:
    """Return the error for arguments that are well-formed and make no sense."""
    return AwsError("InvalidArgumentException", message)


def constraint(member: str, rule: str) -> AwsError:
    """Return the error for a member that breaks a rule of the service's model."""
    text = f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must {rule}"
    return AwsError("ValidationException", text)
