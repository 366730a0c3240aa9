"""The event source mapping of the tests does what the service does: what it delivers, again, and in which order."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from random import Random
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from consumer.sources.kinesis import describe
from consumer.testing.mapping import EventSourceMapping, Habits, InvocationError

EVENT_BYTES_MAX = 6 * 1024 * 1024
"""The largest event that Lambda takes."""
DONE: Mapping[str, Any] = {"batchItemFailures": []}
FIRST, SECOND, CHILD = (f"shardId-{number:012d}" for number in range(3))
_numbers = count()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


class Account:
    """A stream, its mapping, and a function that notes the batches that it is given."""

    def __init__(self, emulator: Emulator, habits: Habits | None = None, *, shards: int = 1, size: int = 4) -> None:
        self.name = f"stream-{next(_numbers)}"
        self.kinesis = emulator.kinesis
        self.kinesis.create_stream(self.name, shards)
        client: Any = emulator.client("kinesis")
        arn = describe(client, self.name).arn
        self.mapping = EventSourceMapping(
            client, self.name, arn, self._invoke, batch_size=size, random=Random(1), habits=habits
        )
        self.events: list[dict[str, Any]] = []
        self.answers: list[Callable[[list[str]], Mapping[str, Any]]] = []
        """What the coming invocations answer to the sequence numbers of their batch; then all succeed."""

    def _invoke(self, event: dict[str, Any]) -> Mapping[str, Any]:
        self.events.append(event)
        numbers = [each["kinesis"]["sequenceNumber"] for each in event["Records"]]
        return self.answers.pop(0)(numbers) if self.answers else DONE

    def put(self, *texts: str, key: str = "a") -> None:
        for text in texts:
            self.kinesis.put_record(self.name, key, text.encode())

    def batches(self) -> list[str]:
        """Return the data of each batch so far, its records put together."""
        return [
            "".join(b64decode(each["kinesis"]["data"]).decode() for each in event["Records"]) for event in self.events
        ]

    def drain(self) -> list[str]:
        while not self.mapping.drained():
            pass
        return self.batches()


def _fails(_: list[str]) -> Mapping[str, Any]:
    raise InvocationError


def test_batches_are_in_order_and_of_the_size_asked_for(emulator: Emulator) -> None:
    account = Account(emulator)
    account.put(*"abcdefghij")
    assert account.drain() == ["abcd", "efgh", "ij"]
    assert account.mapping.failed == 0
    account.put("k")
    assert account.drain()[3:] == ["k"]


def test_no_event_is_larger_than_lambda_takes(emulator: Emulator) -> None:
    account = Account(emulator, size=10_000)
    account.put(*(letter * 1_000_000 for letter in "abcdefghij"))
    assert "".join(account.drain()) == "".join(letter * 1_000_000 for letter in "abcdefghij")
    assert len(account.events) == 3, "as many as fit: four of one million bytes, in base64"
    assert all(len(json.dumps(event)) <= EVENT_BYTES_MAX for event in account.events)


def test_a_batch_that_fails_comes_again_whole(emulator: Emulator) -> None:
    account = Account(emulator)
    account.put(*"abcdef")
    account.answers = [_fails, _fails]
    assert account.drain() == ["abcd", "abcd", "abcd", "ef"]
    assert account.mapping.failed == 2


def test_a_batch_comes_again_from_the_lowest_failure(emulator: Emulator) -> None:
    account = Account(emulator)
    account.put(*"abcdef")
    account.answers = [
        lambda numbers: {"batchItemFailures": [{"itemIdentifier": numbers[3]}, {"itemIdentifier": numbers[1]}]}
    ]
    assert account.drain() == ["abcd", "bcde", "f"]


def test_an_answer_that_makes_no_sense_is_a_failure_of_all(emulator: Emulator) -> None:
    account = Account(emulator)
    account.put(*"ab")
    account.answers = [lambda _: {"batchItemFailures": [{"itemIdentifier": "7"}]}]
    assert account.drain() == ["ab", "ab"]


def test_habits_deliver_twice_and_old_batches_again(emulator: Emulator) -> None:
    account = Account(emulator, Habits(duplicate=1, old_batch=1), size=2)
    account.put(*"abcd")
    assert account.drain() == ["ab", "ab", "ab", "cd", "cd"]


def test_a_throttled_mapping_keeps_what_it_has(emulator: Emulator) -> None:
    account = Account(emulator, Habits(throttled=1))
    account.put(*"ab")
    assert account.mapping.step(), "there is something to deliver"
    assert not account.events
    account.mapping._habits = Habits()
    assert account.drain() == ["ab"]


@pytest.mark.parametrize("early", [0, 1])
def test_a_child_comes_after_its_parent_unless_told(emulator: Emulator, early: int) -> None:
    account = Account(emulator, Habits(early_child=early))
    account.put(*"abcdefgh")
    account.kinesis.split_shard(account.name, FIRST)
    account.put(*"ij")
    account.answers = [_fails] * 6
    account.drain()
    shards = [event["Records"][0]["eventID"].partition(":")[0] for event in account.events]
    last_of_parent = len(shards) - shards[::-1].index(FIRST)
    assert (shards[:last_of_parent] == [FIRST] * last_of_parent) == (not early)
    assert {"abcd", "efgh", "ij"} <= set(account.batches())
