"""Writes the tables of docs/permissions.md: `python -m deploy.iam.page`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.iam.policy import ROLES, statements_of

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
CONDITIONS: Mapping[str | None, str] = {
    None: "always",
    "create_lease_tables": "the daemon makes its tables",
    "daemon_metrics": "`metricsLevel`",
    "fan_out": "`retrievalMode: FANOUT`",
    "firehose": "a `firehose` sink",
    "keys": "your own keys",
    "s3": "an `s3` sink",
    "sqs": "an `sqs` sink",
    "state_bucket": "`state.bucket`",
    "stream_key": "your own key",
}


def page(text: str) -> str:
    """Return the page with its tables as they must be."""
    for role in ROLES:
        head, begin, rest = re.split(rf"(<!-- {role}: .*? -->\n)", text)
        _, end, tail = rest.partition(f"<!-- end of {role} -->")
        text = head + begin + _table(role) + end + tail
    return text


def _table(role: str) -> str:
    rows = [_row(each) for each in statements_of(role)]
    return "\n| statement | allows | on | when | why |\n|---|---|---|---|---|\n" + "".join(rows) + "\n"


def _row(statement: Mapping[str, Any]) -> str:
    unseen = statement.get("Unseen", {})
    marks = [f" Not seen in the tests: {_short(action)}. {reason}" for action, reason in unseen.items()]
    cells = (
        f"`{statement['Sid']}`",
        _actions(statement["Action"]),
        ", ".join(statement["Resource"]),
        CONDITIONS[statement.get("When")],
        statement["Why"] + "".join(marks),
    )
    return f"| {' | '.join(cells)} |\n"


def _actions(actions: list[str]) -> str:
    service = actions[0].partition(":")[0]
    return f"{service}: {', '.join(map(_short, actions))}"


def _short(action: str) -> str:
    return action.partition(":")[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
