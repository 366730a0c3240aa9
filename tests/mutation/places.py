"""What is mutated, what may kill, and where nothing may survive."""

from __future__ import annotations

import re
from pathlib import Path

MODULES = (
    "consumer/core/*.py",
    "consumer/state/*.py",
    "consumer/runtime/adoption.py",
    "consumer/runtime/commit.py",
    "consumer/runtime/compaction.py",
    "consumer/runtime/global_part.py",
    "consumer/runtime/global_view.py",
    "consumer/runtime/ledger.py",
    "consumer/runtime/shard.py",
    "consumer/runtime/surroundings.py",
    "consumer/runtime/tidying.py",
)
KILLERS = ("tests/core", "tests/state", "tests/runtime", "tests/sources")
LEFT_OUT = re.compile(
    r"_at_any_step_"
    r"|state/test_store_conformance\.py::Test(Dynamo|TableAlone)::"
    r"|runtime/test_(daemon|jars|java|launch|leftover|private|relay|supervisor|handovers)\w*\.py::"
)
"""Tests that die at every step in turn take long, and tell no more here than those that die at random steps; so do the
stores on the embedded AWS, next to those on its fakes; and tests of the daemon run none of this.
"""

HELD = {
    "the order of the commit": re.compile(
        r"runtime/commit\.py::ShardOwner\.(_initialise|_start|_restore|_resend|_carry_over|_commit_at_init|close_ended|_close|commit|finish"
        r"|_write_commit)$"
    ),
    "the skip rule": re.compile(r"core/processor\.py::Processor\.(step|_apply|_note|_replayed|_take)$"),
    "the fence": re.compile(
        r"runtime/commit\.py::ShardOwner\.(_fence|_conclude|_check_epoch)$"
        r"|state/dynamodb\.py::(DynamoStore\.(claim|advance|retire|_clear|reset)|_fence|_generation_is)$"
        r"|state/memory\.py::MemoryStore\.(claim|advance|_follows|retire|reset)$"
        r"|state/table\.py::(condition_of|Table\.(put|update|update_if|_was_refused|_ask_if|_ask))$"
    ),
}
"""Nothing may survive in these functions."""


def modules(root: Path) -> list[str]:
    """Return the modules to be mutated that there are."""
    return sorted({str(path.relative_to(root)) for pattern in MODULES for path in root.glob(pattern)})


def held(path: str, function: str) -> str | None:
    """Return which of the places where nothing may survive a function belongs to, if any."""
    whole = f"{path}::{function}"
    return next((place for place, pattern in HELD.items() if pattern.search(whole)), None)
