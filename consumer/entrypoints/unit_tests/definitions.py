"""What a file of tests says: frozen, checked. What the loader makes and everything else reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from consumer.entrypoints.unit_tests.times import Times
from consumer.pipeline.model import Pipeline
from consumer.records import Record


class Kind(StrEnum):
    """What a row is; the keys of `expect`."""

    RESULTS = "results"
    LATE = "late"
    DEAD_LETTERS = "dead_letters"


class Mark(Enum):
    """A step without a value; the text of its step."""

    CRASH = "crash"
    COMMIT = "commit"
    CLOSE = "shard closes"


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing arrives for that long."""

    duration_ms: int


Step = Record | Idle | Mark


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """Columns that a row must have, as they stand in a row's JSON; the other columns are not compared.

    A column that is not in the row counts as null. `window` is the one whose result it is, None if that is open.
    """

    line: int
    window: str | None
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnitTest:
    """Steps, and all rows that they must lead to, in order. Only rows of these `windows` are looked at."""

    name: str
    line: int
    shard: str
    windows: tuple[str, ...]
    times: Times
    steps: tuple[Step, ...]
    expected: Mapping[Kind, tuple[ExpectedRow, ...]]


@dataclass(frozen=True, slots=True)
class UnitTestFile:
    """A file of tests for one pipeline."""

    path: str
    pipeline: Pipeline
    tests: tuple[UnitTest, ...]
