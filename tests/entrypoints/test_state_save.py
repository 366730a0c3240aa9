"""`streamgauge state export` and `import`, against the embedded AWS: what was counted is counted once, and goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import main
from consumer.emulator.server import Emulator
from consumer.errors import EXIT_ENVIRONMENT, EXIT_FAILURE, EXIT_OK, EXIT_REFUSED, RefusedError
from consumer.runtime.mode import Mode
from consumer.sources import kinesis
from consumer.state.base import ShardState
from consumer.state.dynamodb import DynamoStore
from tests.entrypoints.state_rig import (
    FIRST,
    HIGH,
    LOW,
    SECOND,
    Said,
    StateRig,
    World,
    embedded_aws,
    give,
    new_rig,
)

Capture = pytest.CaptureFixture[str]
Aws = tuple[Emulator, World]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with embedded_aws() as running:
        yield running


@pytest.fixture
def rig(aws: Aws, tmp_path: Path) -> StateRig:
    return new_rig(aws, tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def uninterrupted(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the rows of `first_part` and `second_part`, without an export between them."""
    rig = new_rig(aws, tmp_path_factory.mktemp("uninterrupted"))
    first_part(rig)
    second_part(rig)
    return rig.told()


def first_part(rig: StateRig, *, crash: bool = False) -> None:
    """Count four minutes of events; the first shard ends in them, and only one of its children has begun."""
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.work(FIRST, ended=True)
    rig.put_minutes(2, 4)
    rig.work(LOW)
    rig.work(SECOND, crash_before_send=crash)


def second_part(rig: StateRig) -> None:
    """Count what is left, and let all windows close."""
    rig.put_minutes(4, 6)
    for user in range(6):
        rig.put(f"user-{user}", at_seconds=3600)
    for shard in (HIGH, LOW, SECOND):
        rig.work(shard)


def test_an_import_goes_on_where_the_export_was_made(
    rig: StateRig, capsys: Capture, out: Path, uninterrupted: list[str]
) -> None:
    first_part(rig, crash=True)
    waiting = json.loads(give(rig, capsys, "show", SECOND, "--json").out)["outbox"]["rows"]
    assert waiting, "rows of the old generation, which are not known to be sent"
    assert give(rig, capsys, "export", out).status == EXIT_OK
    before = {row["id"] for row in rig.rows()}
    said = give(rig, capsys, "import", out, "--yes")
    assert said.status == EXIT_OK, said.err
    assert rig.world.slept == [10.0], "there are owners, who may live"
    assert f"Imported pipeline {rig.name}: generation 1 begins." in said.out
    assert "states   3 shards: 1 ended, 2 open\n" in said.out
    second_part(rig)
    assert rig.told() == uninterrupted
    resent = [row for row in rig.rows() if row["id"] not in before]
    assert len({row["id"] for row in rig.rows()}) == len(rig.rows())
    assert resent


def test_states_become_commit_0_of_the_next_generation_and_leases_go_to_the_start(
    rig: StateRig, capsys: Capture, out: Path
) -> None:
    first_part(rig)
    old = rig.store.list_shards()
    give(rig, capsys, "export", out)
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    application, new = rig.store.read_application(), rig.store.list_shards()
    assert application is not None
    assert (application.generation, application.roots) == (1, ()), "no shard may start empty but those without a state"
    assert old.keys() == new.keys()
    for shard, claim in new.items():
        before, after = old[shard].state, claim.state
        assert claim.epoch > old[shard].epoch
        assert before is not None
        assert after is not None
        assert (after.commit_no, after.generation) == (0, 1)
        for name in ("position", "watermark_ms", "last_arrival_ms", "ended", "parents", "hash_range"):
            assert getattr(after, name) == getattr(before, name)
    leases = rig.leases()
    found = {shard: (lease.owner, lease.checkpoint) for shard, lease in leases.items()}
    assert found == dict.fromkeys((FIRST, SECOND, LOW), (None, "TRIM_HORIZON")), "HIGH is found at its parent's end"


def test_tombstones_stay_tombstones(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    for child in (HIGH, LOW):
        rig.work(child)
    assert rig.claim(FIRST).retired
    give(rig, capsys, "export", out)
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    assert rig.claim(FIRST).retired
    assert set(rig.leases()) == {SECOND, LOW, HIGH}
    assert rig.owner(FIRST).mode is Mode.FROZEN, "its records are never counted again"


def test_an_ended_shard_whose_children_have_begun_is_not_read_again(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    rig.owner(HIGH)  # commit 0
    give(rig, capsys, "export", out)
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    assert set(rig.leases()) == {SECOND, LOW, HIGH}


def test_a_root_that_never_began_may_still_start_empty(rig: StateRig, capsys: Capture, out: Path) -> None:
    rig.start()
    rig.put_minutes(0, 1)
    rig.work(FIRST)
    rig.store.claim(SECOND)
    give(rig, capsys, "export", out)
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    application = rig.store.read_application()
    assert application is not None
    assert application.roots == (SECOND,)
    assert set(rig.leases()) == {FIRST, SECOND}
    assert rig.work(SECOND).mode is Mode.ACTIVE


def test_a_state_goes_into_an_empty_table(rig: StateRig, capsys: Capture, out: Path, uninterrupted: list[str]) -> None:
    first_part(rig)
    give(rig, capsys, "export", out)
    rig.empty_table()
    said = give(rig, capsys, "import", out)
    assert said.status == EXIT_OK, said.err
    application = rig.store.read_application()
    assert application is not None
    assert application.generation == 1, "the rows of generation 0 are out in the world"
    second_part(rig)
    assert rig.told() == uninterrupted


def test_a_generation_is_never_used_twice(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    give(rig, capsys, "export", out)
    for generation in (1, 2):
        give(rig, capsys, "import", out, "--yes")
        application = rig.store.read_application()
        assert application is not None
        assert application.generation == generation
    later = out.with_name("later")
    give(rig, capsys, "export", later)
    rig.empty_table()
    rig.start()
    assert give(rig, capsys, "import", later, "--yes").status == EXIT_OK
    application = rig.store.read_application()
    assert application is not None
    assert application.generation == 3


def test_large_states_are_objects_and_those_of_old_generations_go(rig: StateRig, capsys: Capture, out: Path) -> None:
    rig.start()
    for number in range(1500):
        rig.put(f"{number:032x}", at_seconds=number % 40, page=f"/{number * 7919}")
    rig.work(FIRST)
    (old, *_) = rig.state(FIRST).manifest
    assert " objects\n" in give(rig, capsys, "export", out).out
    assert (out / FIRST / old.key.split("/")[-1]).stat().st_size == old.size
    said = give(rig, capsys, "import", out, "--yes")
    assert said.status == EXIT_OK
    (new,) = rig.state(FIRST).manifest
    assert rig.objects() == [new.key]
    assert new.key.startswith(f"{rig.name}/1/{FIRST}/")
    assert rig.work(FIRST).mode is Mode.ACTIVE


def test_an_export_says_what_it_is(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    said = give(rig, capsys, "export", out)
    assert said.status == EXIT_OK
    first, *table, last = said.out.splitlines()
    assert first == f"Exported pipeline {rig.name}, generation 0, to {out}:"
    assert [line.split()[:2] for line in table[1:]] == [[FIRST, "ended"], [SECOND, "open"], [LOW, "open"]]
    assert "workers that run have gone on since" in last
    assert out.stat().st_mode & 0o077 == 0, "for nobody else's eyes"
    item = json.loads((out / LOW / "item.json").read_text())
    assert item["commit_no"] == {"N": "2"}
    assert item["parents"] == {"L": [{"S": FIRST}]}
    again = give(rig, capsys, "export", out)
    assert (again.status, "is not empty" in again.err) == (EXIT_REFUSED, True)


def test_an_export_while_shards_end_is_of_one_moment(
    rig: StateRig, capsys: Capture, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent read as open, and its child as begun, would count the parent's last records twice."""
    rig.start()
    rig.put_minutes(0, 2)
    rig.work(FIRST)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    read, ending = DynamoStore.read, iter([None, True])

    def read_and_end(store: DynamoStore, shard: str) -> Any:
        claim = read(store, shard)
        if shard == FIRST and next(ending, None):
            with monkeypatch.context() as patch:
                patch.setattr(DynamoStore, "read", read)
                rig.work(FIRST, ended=True)
                rig.work(LOW)
        return claim

    next(ending)
    monkeypatch.setattr(DynamoStore, "read", read_and_end)
    assert give(rig, capsys, "export", out).status == EXIT_OK
    export = json.loads((out / "application.json").read_text())
    assert export["shards"] == [FIRST, LOW]
    assert json.loads((out / FIRST / "item.json").read_text())["ended"] == {"BOOL": True}


@pytest.fixture(scope="module")
def exported(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> tuple[StateRig, Path]:
    """Return a rig that was exported, and the export: for tests that change neither."""
    directory = tmp_path_factory.mktemp("exported")
    rig = new_rig(aws, directory)
    first_part(rig)
    assert main(["state", "export", str(directory / "out"), str(rig.file)]) == EXIT_OK
    return rig, directory / "out"


def refused(rig: StateRig, capsys: Capture, *arguments: str | Path) -> Said:
    """Give a command that must be refused and change nothing."""
    before = rig.stored()
    said = give(rig, capsys, *arguments)
    assert said.status == EXIT_REFUSED
    assert rig.stored() == before
    return said


def test_nothing_is_imported_while_a_worker_renews_its_leases(exported: tuple[StateRig, Path], capsys: Capture) -> None:
    rig, out = exported
    rig.world.slept.clear()
    rig.world.meanwhile = lambda: rig.checkpoint(LOW, "TRIM_HORIZON", owner="worker-7")
    said = give(rig, capsys, "import", out, "--yes")
    assert said.status == EXIT_REFUSED
    assert "waiting 10 s to see whether a worker renews a lease" in said.err
    assert f"workers of pipeline {rig.name} are running ({LOW} by worker-7): nothing was changed" in said.err
    rig.world.meanwhile = int
    assert rig.state(LOW).generation == 0
    assert rig.world.slept == [10.0]


def test_a_state_is_not_replaced_by_accident(exported: tuple[StateRig, Path], capsys: Capture) -> None:
    rig, out = exported
    rig.world.slept.clear()
    assert "holds the state of generation 0 (3 shards)" in refused(rig, capsys, "import", out).err
    assert rig.world.slept == []


@pytest.mark.parametrize("shards_done", [0, 1, 2])
def test_an_interrupted_import_into_an_empty_table_is_given_again_as_it_was(
    rig: StateRig,
    capsys: Capture,
    out: Path,
    uninterrupted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    shards_done: int,
) -> None:
    """Without --yes: what it replaces is its own. But not what a worker has gone on with."""
    first_part(rig)
    give(rig, capsys, "export", out)
    rig.empty_table()
    advance, left = DynamoStore.advance, iter(range(shards_done))

    def interrupted(store: DynamoStore, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        advance(store, shard, epoch, state, ended=ended)

    with monkeypatch.context() as patch:
        patch.setattr(DynamoStore, "advance", interrupted)
        assert give(rig, capsys, "import", out).status not in (EXIT_OK, EXIT_FAILURE)
    said = give(rig, capsys, "import", out)
    assert said.status == EXIT_OK, said.err
    second_part(rig)
    assert rig.told() == uninterrupted
    assert "which the import would replace" in refused(rig, capsys, "import", out).err


def test_an_export_of_another_pipeline_or_definitions_is_refused(
    exported: tuple[StateRig, Path], rig: StateRig, capsys: Capture
) -> None:
    other, out = exported
    assert f"is an export of pipeline {other.name}" in refused(rig, capsys, "import", out).err
    rig.file.write_text(other.file.read_text().replace("views: count()", "views: count(page)"))
    said = refused(rig, capsys, "import", out, "--yes")
    assert "windows.views.select.views: was count() (int), is now count(page) (int)" in said.err


def test_a_damaged_export_is_refused(exported: tuple[StateRig, Path], capsys: Capture, out: Path) -> None:
    rig, whole = exported
    assert "no export lies there" in refused(rig, capsys, "import", out, "--yes").err
    shutil.copytree(whole, out)
    path = out / LOW / "item.json"
    item = json.loads(path.read_text())
    path.write_text(json.dumps(item | {"sha256": {"S": "0" * 64}}))
    assert f"the snapshot of {LOW} does not match the hash" in refused(rig, capsys, "import", out, "--yes").err
    path.write_text(json.dumps(item | {"position_sequence": {"S": "1"}}))
    assert f"the snapshot of {LOW} is not at the position" in refused(rig, capsys, "import", out, "--yes").err
    path.unlink()
    assert "the export is not whole" in refused(rig, capsys, "import", out, "--yes").err
    path.write_text("{")
    assert "is no item" in refused(rig, capsys, "import", out, "--yes").err
    application = out / "application.json"
    text = application.read_text()
    for old, new in (('"format": 1', '"format": 2'), (f'"{LOW}"', '"../x"'), ('"shards"', '"shard"')):
        application.write_text(text.replace(old, new))
        assert str(out) in refused(rig, capsys, "import", out, "--yes").err


def test_a_stream_of_the_same_name_is_not_the_same_stream(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    give(rig, capsys, "export", out)
    rig.emulator.kinesis.delete_stream(rig.name)
    rig.world.now_ms += 1000
    rig.emulator.kinesis.create_stream(rig.name, 2)
    assert "deleted and created again" in refused(rig, capsys, "import", out, "--yes").err


def test_a_shard_that_the_stream_has_no_more_cannot_go_on(
    exported: tuple[StateRig, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, out = exported
    shards = kinesis.list_shards(rig.streams, rig.name)
    monkeypatch.setattr(kinesis, "list_shards", lambda *_: [each for each in shards if each.id not in {FIRST, LOW}])
    said = refused(rig, capsys, "import", out, "--yes", "--accept-gap")
    assert f"the stream has no shard {LOW} any more" in said.err


def test_a_directory_that_cannot_be_written_is_named(
    exported: tuple[StateRig, Path], capsys: Capture, tmp_path: Path
) -> None:
    rig, _ = exported
    file = tmp_path / "file"
    file.touch()
    said = give(rig, capsys, "export", file / "out")
    assert said.status == EXIT_ENVIRONMENT
    assert "Name a directory that can be written" in said.err


def test_records_that_the_stream_may_have_lost_are_told_of(rig: StateRig, capsys: Capture, out: Path) -> None:
    first_part(rig)
    give(rig, capsys, "export", out)
    oldest_ms = min(rig.state(shard).last_arrival_ms or 0 for shard in (SECOND, LOW))
    rig.world.now_ms = oldest_ms + 24 * 3_600_000
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    rig.world.now_ms = oldest_ms + 24 * 3_600_000 + 60_000
    said = refused(rig, capsys, "import", out, "--yes")
    assert "the stream keeps records for 24 h, and the last ones counted are older" in said.err
    assert LOW in said.err
    assert FIRST not in said.err, "it has ended"
    before = {shard: rig.state(shard).last_arrival_ms for shard in (SECOND, LOW)}
    assert give(rig, capsys, "import", out, "--yes", "--accept-gap").status == EXIT_OK
    noted = {shard for shard in before if rig.state(shard).caught_up_ms == rig.world.now_ms}
    assert noted == {shard for shard in before if shard in said.err}, "what is accepted is not asked for again"


@pytest.mark.parametrize("shards_done", [0, 2])
def test_an_import_that_was_interrupted_starts_nothing_empty_and_is_given_again(
    rig: StateRig,
    capsys: Capture,
    out: Path,
    uninterrupted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    shards_done: int,
) -> None:
    first_part(rig)
    give(rig, capsys, "export", out)
    advance, left = DynamoStore.advance, iter(range(shards_done))

    def interrupted(store: DynamoStore, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        advance(store, shard, epoch, state, ended=ended)

    with monkeypatch.context() as patch:
        patch.setattr(DynamoStore, "advance", interrupted)
        assert give(rig, capsys, "import", out, "--yes").status not in (EXIT_OK, EXIT_FAILURE)
    for shard in (LOW, SECOND, FIRST)[shards_done:]:
        rig.database.delete_item(TableName=f"{rig.name}-leases", Key={"leaseKey": {"S": shard}})
        with pytest.raises(RefusedError, match=r"was not there when the application started|but .* has no state"):
            rig.owner(shard)
    assert give(rig, capsys, "import", out, "--yes").status == EXIT_OK
    second_part(rig)
    assert rig.told() == uninterrupted
