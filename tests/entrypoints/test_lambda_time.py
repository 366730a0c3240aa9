"""The time of an invocation: what is handed back when it runs out, and how long anybody waits for a try."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.lambda_handler import Container, Time
from consumer.records import Position
from consumer.runtime import clock, invocations
from tests.entrypoints.state_rig import FIRST, StateRig, World, new_rig
from tests.entrypoints.test_lambda_container import FUNCTION, batch, container

WHOLE_MS = 9_000


class RunningOut:
    """A context whose time gets less, a second with each look at it."""

    invoked_function_arn = FUNCTION

    def __init__(self, left_ms: int = WHOLE_MS) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        left_ms, self.left_ms = self.left_ms, self.left_ms - 1000
        return left_ms


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    rig = new_rig(aws, tmp_path)
    queue = rig.emulator.client("sqs").create_queue(QueueName=rig.name)["QueueUrl"]
    rig.file.write_text(rig.file.read_text().replace("{stdout: {}}", f'{{sqs: {{queue_url: "{queue}"}}}}'))
    return rig


def test_what_there_is_no_time_for_comes_again_from_the_first_record_left(
    rig: StateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocations, "PORTION", 5)
    rig.put_minutes(0, 4)
    records, function = rig.records(FIRST), container(rig)
    done, answers = 0, 0
    while done < len(records):
        answer = function.serve({"Records": batch(rig, done)}, RunningOut())
        answers += 1
        numbers = [record.sequence_number for record in records]
        failed = [numbers.index(each["itemIdentifier"]) for each in answer["batchItemFailures"]]
        assert len(failed) <= 1, "from there on, in order"
        before, done = done, failed[0] if failed else len(records)
        assert done > before
        state = rig.state(FIRST)
        assert state.position == Position.of(records[done - 1]), "all before it is counted, and nothing behind"
        assert not state.outbox_rows
    assert answers > 1, "the time ran out on the way"


def test_two_thirds_of_the_time_are_for_work() -> None:
    time, left = Time(), RunningOut()
    time.begin(left.get_remaining_time_in_millis)
    looks = [time.is_spent() for _ in range(7)]
    assert looks == [False] * 6 + [True], "at 3 s of 9 it is not yet less than a third"
    assert time.timeout_ms() == WHOLE_MS
    time.begin(RunningOut(4_000).get_remaining_time_in_millis)
    assert time.timeout_ms() == WHOLE_MS, "an earlier one may still be at work"


@pytest.mark.parametrize(("seconds", "slept", "over"), [(1.0, 1.0, False), (3.0, 2.0, True), (2.0, 2.0, True)])
def test_nobody_waits_beyond_the_end(
    monkeypatch: pytest.MonkeyPatch, seconds: float, slept: float, *, over: bool
) -> None:
    sleeps: list[float] = []
    monkeypatch.setattr(clock, "sleep", sleeps.append)
    time = Time()
    time.begin(lambda: 3_000)
    assert time.pause(seconds) is over
    assert sleeps == [slept]


def test_a_container_is_made_without_a_call(rig: StateRig) -> None:
    """What there is to see is looked at by the first invocation, which may fail and be tried again."""
    before = len(rig.emulator.calls.entries())
    assert isinstance(container(rig), Container)
    assert len(rig.emulator.calls.entries()) == before
