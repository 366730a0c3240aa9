"""`streamgauge state handover`: who may take a shard from then on, and who can commit no more."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from consumer.core.times import parse_time
from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, FencedError, RefusedError
from consumer.records import Position
from consumer.runtime.commit import ShardOwner
from consumer.runtime.invocations import Invocations
from consumer.runtime.mode import Mode
from consumer.runtime.surroundings import Surroundings
from consumer.sources.reading import Behind
from tests.entrypoints.state_rig import FIRST, HIGH, LOW, SECOND, StateRig, World, give, new_rig

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    return new_rig(aws, tmp_path)


def around_now(rig: StateRig) -> Surroundings:
    """Return the surroundings of whoever starts now, of the kind that the application item names."""
    stored = rig.store.read_application()
    assert stored is not None
    return dataclasses.replace(rig._around(), application=stored)


class Function:
    """A function with time enough, and a stream that it need not read: nothing is left out."""

    def is_spent(self) -> bool:
        return False

    def timeout_ms(self) -> int:
        return 60_000

    def behind(self, *_: object) -> Behind:
        raise AssertionError("every batch here begins where the state ends")

    def origins(self) -> dict[str, object]:
        return {}


def test_open_sessions_go_from_worker_to_lambda_and_back(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 3)
    for shard in (FIRST, SECOND):
        rig.work(shard)
    before = around_now(rig)
    said = give(rig, capsys, "handover", "--to", "lambda")
    assert said.status == EXIT_OK, said.err
    assert "runs in AWS Lambda" in said.out
    assert "fenced   2 shards" in said.out
    assert "AT_TIMESTAMP 2026-01-01T00:01:" in said.out
    with pytest.raises(RefusedError, match=r"runs in AWS Lambda: .*state handover --to worker"):
        ShardOwner(before, FIRST).initialise(None)

    rig.put_minutes(3, 6)
    function = Function()
    invocations = Invocations(around_now(rig), function, function)  # type: ignore[arg-type]  # origins are not asked for
    for shard in (FIRST, SECOND):
        assert invocations.batch(shard, rig.records(shard)) is None

    assert give(rig, capsys, "handover", "--to", "worker").status == EXIT_OK
    rig.put_minutes(6, 8)
    rig.put_minutes(20, 21)
    for shard in (FIRST, SECOND):
        rig.work(shard)
    moved = rig.told()

    alone = new_rig((rig.emulator, rig.world), rig.file.parent)
    alone.start()
    for first, last in ((0, 3), (3, 6), (6, 8), (20, 21)):
        alone.put_minutes(first, last)
    for shard in (FIRST, SECOND):
        alone.work(shard)
    assert moved == alone.told()
    assert [row for row in moved if '"visits"' in row]


def test_whoever_has_a_shard_cannot_commit_any_more(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    owner = rig.owner(FIRST)
    assert owner.mode is Mode.ACTIVE
    give(rig, capsys, "handover", "--to", "lambda")
    owner.step(rig.records(FIRST))
    with pytest.raises(FencedError):
        owner.commit(lambda _: True)


def test_it_may_be_given_again(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    for _ in range(2):
        assert give(rig, capsys, "handover", "--to", "lambda").status == EXIT_OK
    stored = rig.store.read_application()
    assert stored is not None
    assert stored.runs_in == "lambda"
    owner = ShardOwner(around_now(rig), FIRST)
    owner.initialise(Position(0, 0) if rig.state(FIRST).position else None)
    assert owner.mode is Mode.ACTIVE


def test_a_reset_leaves_it_where_it_is(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    give(rig, capsys, "handover", "--to", "lambda")
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    stored = rig.store.read_application()
    assert stored is not None
    assert (stored.generation, stored.runs_in) == (1, "lambda")


def test_where_to_must_be_said(rig: StateRig, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        give(rig, capsys, "handover")
    assert ended.value.code == EXIT_USAGE


def test_the_mapping_may_not_start_behind_the_records_of_children_that_have_not_begun(
    rig: StateRig, capsys: Capture
) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.put_minutes(2, 9)
    rig.work(FIRST, ended=True)
    rig.work(SECOND)
    told = give(rig, capsys, "handover", "--to", "lambda").out
    first = min(record.arrival_ms or 0 for shard in (LOW, HIGH) for record in rig.records(shard))
    start = re.search(r"AT_TIMESTAMP (\S+Z):", told)
    assert start is not None, told
    assert parse_time(start[1]) <= first


def test_the_mapping_starts_at_the_oldest_record_if_a_shard_was_never_begun(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    rig.work(FIRST)
    assert "TRIM_HORIZON" in give(rig, capsys, "handover", "--to", "lambda").out


def test_with_an_item_that_cannot_be_read_nothing_is_changed(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    for shard in (FIRST, SECOND):
        rig.work(shard)
    before = rig.store.read_application()
    epoch = rig.store.read(FIRST)
    database = rig.emulator.client("dynamodb")
    table = f"{rig.name}-state"
    for item in database.scan(TableName=table)["Items"]:
        if item["sk"]["S"] == "state" and item["pk"]["S"].endswith(SECOND):
            database.put_item(TableName=table, Item=item | {"commit_no": {"S": "x"}})
    assert give(rig, capsys, "handover", "--to", "lambda").status == EXIT_REFUSED
    assert rig.store.read_application() == before
    assert rig.store.read(FIRST) == epoch


def test_to_workers_the_tick_is_to_stop_too(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    assert "MappingEnabled=false" in give(rig, capsys, "handover", "--to", "worker").out
