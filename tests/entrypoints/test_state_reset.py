"""`streamgauge state reset`, against the embedded AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, RefusedError
from consumer.runtime.mode import Mode
from consumer.sources import leases
from consumer.state.base import Application
from tests.entrypoints.state_rig import FIRST, HIGH, LOW, SECOND, START_MS, StateRig, World, give, new_rig

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    return new_rig(aws, tmp_path)


def application(rig: StateRig) -> Application:
    stored = rig.store.read_application()
    assert stored is not None
    return stored


def test_everything_is_counted_anew_under_new_ids(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 5)
    for shard in (FIRST, SECOND):
        rig.work(shard)
    rows, epochs = rig.rows(), {shard: rig.claim(shard).epoch for shard in (FIRST, SECOND)}
    rig.sink.rows.clear()
    said = give(rig, capsys, "reset", "--yes")
    assert said.status == EXIT_OK, said.err
    assert application(rig).generation == 1
    for shard, epoch in epochs.items():
        assert rig.claim(shard).epoch > epoch, "the old owners are fenced"
        assert rig.claim(shard).state is None
        assert (rig.leases()[shard].owner, rig.leases()[shard].checkpoint) == (None, "TRIM_HORIZON")
    for shard in (FIRST, SECOND):
        rig.work(shard)
    anew = rig.rows()
    assert not {row["id"] for row in rows} & {row["id"] for row in anew}
    assert [{**row, "id": ""} for row in anew] == [{**row, "id": ""} for row in rows]


def test_the_roots_are_listed_anew_and_what_is_left_behind_goes(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    for number in range(1500):
        rig.put(f"{number:032x}", at_seconds=number % 40, page=f"/{number * 7919}")
    rig.work(FIRST, ended=True)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.start()
    assert rig.objects()
    said = give(rig, capsys, "reset", "--yes")
    assert said.status == EXIT_OK, said.err
    assert rig.objects() == []
    assert application(rig).roots == (FIRST, SECOND), "the stream still has all that they hold"
    assert set(rig.leases()) == {FIRST, SECOND}
    assert "2 rows of other shards deleted" in said.out
    assert f"roots    {FIRST}, {SECOND}\n" in said.out
    assert rig.work(FIRST).mode is Mode.ACTIVE
    with pytest.raises(RefusedError, match="has not ended"):
        rig.owner(LOW)


def test_latest_is_the_instant_of_the_reset(rig: StateRig, capsys: Capture) -> None:
    rig.file.write_text(rig.file.read_text().replace("partition_key: user", "partition_key: user, start: latest"))
    rig.start()
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.world.now_ms = START_MS + 60_000
    said = give(rig, capsys, "reset", "--yes")
    assert said.status == EXIT_OK, said.err
    stored = application(rig)
    assert (stored.roots, stored.started_at_ms) == ((SECOND, LOW, HIGH), rig.world.now_ms)
    assert {lease.checkpoint for lease in rig.leases().values()} == {"AT_TIMESTAMP"}


def test_without_yes_nothing_is_done_and_nobody_is_asked(
    rig: StateRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    said = give(rig, capsys, "reset")
    assert (said.status, said.out) == (EXIT_USAGE, "")
    assert "Nothing was changed: say --yes" in said.err


def test_a_worker_that_runs_is_in_the_way(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    rig.file.write_text(rig.file.read_text().replace("-leases}", "-leases, kcl: {failoverTimeMillis: 3000}}"))
    rig.world.meanwhile = lambda: rig.checkpoint(FIRST, "TRIM_HORIZON", owner="worker-0")
    said = give(rig, capsys, "reset", "--yes")
    assert said.status == EXIT_REFUSED
    assert f"({FIRST} by worker-0): nothing was changed. Stop all of them" in said.err
    assert rig.world.slept == [3.0], "the daemon's fail-over time"
    assert application(rig).generation == 0
    rig.world.meanwhile = int
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK


def test_without_owners_nobody_waits(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    for _ in range(2):
        leases.rewind(rig.database, f"{rig.name}-leases", [], None)
        assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    assert rig.world.slept == []
    assert application(rig).generation == 2


def test_changed_definitions_are_taken_over(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    before = application(rig)
    rig.file.write_text(rig.file.read_text().replace("gap: 5m", "gap: 6m"))
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    after = application(rig)
    assert after.definitions != before.definitions
    assert after.meaning != before.meaning
    assert "The file differs" not in give(rig, capsys, "list").out


def test_a_reset_that_was_interrupted_is_given_again(
    rig: StateRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    rig.work(FIRST)

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(leases, "rewind", interrupted)
        give(rig, capsys, "reset", "--yes")
    assert application(rig).generation == 1
    with pytest.raises(RefusedError, match="there is no state for it"):
        rig.owner(FIRST)
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    assert rig.work(FIRST).mode is Mode.ACTIVE


def test_a_pipeline_that_runs_in_lambda_needs_a_mapping_from_the_start(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    assert give(rig, capsys, "handover", "--to", "lambda").status == EXIT_OK
    said = give(rig, capsys, "reset", "--yes")
    assert "Delete the event source mapping, and make it anew with the position TRIM_HORIZON" in said.out
    assert application(rig).runs_in == "lambda"
