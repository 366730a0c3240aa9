"""`streamgauge state list` and `show`, against the embedded AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.state.wording import shard_name
from consumer.errors import EXIT_ENVIRONMENT, EXIT_OK, EXIT_REFUSED, SetupError
from consumer.sources import leases
from consumer.state.base import FORMAT_VERSION, Entry
from consumer.state.dynamodb import DynamoStore
from tests.entrypoints.state_rig import FIRST, HIGH, LOW, SECOND, StateRig, World, give, new_rig


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    return new_rig(aws, tmp_path)


Capture = pytest.CaptureFixture[str]


def test_every_shard_is_listed_with_its_status(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 3)
    rig.work(FIRST)
    rig.store.claim(SECOND)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.start()
    said = give(rig, capsys, "list")
    assert (said.status, said.err) == (EXIT_OK, "")
    title, _, header, first, second, low, high = said.out.splitlines()
    assert title == f"Pipeline {rig.name}, generation 0, begun 2026-01-01T00:00:00.000Z, runs in workers"
    assert header.split()[:8] == ["shard", "status", "epoch", "commit", "position", "watermark", "age", "last"]
    state = rig.state(FIRST)
    assert state.position is not None
    assert first.split()[:7] == [
        FIRST, "open", "1", "2", f"…{str(state.position.sequence)[-12:]}", "2026-01-01T00:02:49.000Z", "11s",
    ]  # fmt: skip
    assert first.split()[-1] == "worker-0"
    assert second.split()[1:4] == ["claimed", "only", "1"]
    assert [line.split()[:3] for line in (low, high)] == [[LOW, "no", "state"], [HIGH, "no", "state"]]


def test_list_as_json(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 3)
    rig.work(FIRST, ended=True)
    facts = give(rig, capsys, "list", "--json").json
    assert (facts["pipeline"], facts["generation"], facts["roots"]) == (rig.name, 0, [FIRST, SECOND])
    first, second = facts["shards"]
    state = rig.state(FIRST)
    assert state.position is not None
    assert state.last_arrival_ms is not None
    assert first == {
        "shard": FIRST,
        "status": "ended",
        "epoch": 1,
        "lease": {"owner": "worker-0", "counter": 1, "checkpoint": "SHARD_END"},
        "commit_no": 2,
        "position": f"{state.position.sequence}:0",
        "watermark": "2026-01-01T00:02:49.000Z",
        "watermark_age_ms": 11_000,
        "last_arrival": "2026-01-01T00:02:59.000Z",
        "last_arrival_age_ms": rig.world.now_ms - state.last_arrival_ms,
        "size_bytes": len(state.inline or b""),
        "objects": 0,
        "parents": [],
        "generation": 0,
        "definitions": state.definitions,
        "format_version": 4,
    }
    assert (second["status"], second["epoch"]) == ("no state", None)


def test_children_and_tombstones_are_listed(resharded: StateRig, capsys: Capture) -> None:
    facts = {shard["shard"]: shard for shard in give(resharded, capsys, "list", "--json").json["shards"]}
    assert {shard: fact["status"] for shard, fact in facts.items()} == {
        FIRST: "retired",
        LOW: "open",
        HIGH: "open",
        SECOND: "claimed only",
    }
    assert facts[LOW]["parents"] == [FIRST]


@pytest.fixture(scope="module")
def resharded(aws: tuple[Emulator, World], tmp_path_factory: pytest.TempPathFactory) -> StateRig:
    """Return a rig whose first shard was split, and whose children have left it behind. Only to be looked at."""
    rig = new_rig(aws, tmp_path_factory.mktemp("resharded"))
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.work(FIRST, ended=True)
    rig.put_minutes(2, 3)
    for child in (LOW, HIGH, LOW):
        rig.work(child)
    rig.store.claim(SECOND)
    return rig


def test_a_list_without_leases_is_one_all_the_same(
    rig: StateRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start()
    rig.work(FIRST)
    rig.database.delete_table(TableName=f"{rig.name}-leases")
    said = give(rig, capsys, "list")
    assert said.status == EXIT_OK
    assert "No leases: there is no lease table yet" in said.out

    def denied(*_: Any) -> None:
        raise SetupError("table x: AccessDenied")

    monkeypatch.setattr(leases, "read", denied)
    said = give(rig, capsys, "list")
    assert said.status == EXIT_OK
    assert "No leases: table x: AccessDenied" in said.out
    said = give(rig, capsys, "show", FIRST)
    assert said.status == EXIT_OK
    assert "the leases cannot be told: table x: AccessDenied" in said.err


def test_an_item_that_cannot_be_read_is_told_of_and_the_others_are_listed(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    for shard in (FIRST, SECOND):
        rig.work(shard)
    rig.database.update_item(
        TableName=f"{rig.name}-state",
        Key={"pk": {"S": f"{rig.name}/{FIRST}"}, "sk": {"S": "state"}},
        UpdateExpression="SET watermark_ms = :text",
        ExpressionAttributeValues={":text": {"S": "yesterday"}},
    )
    said = give(rig, capsys, "list")
    assert said.status == EXIT_REFUSED
    (unreadable,) = (line for line in said.out.splitlines() if line.startswith(FIRST))
    assert unreadable.split()[1:3] == ["unreadable", "-"]
    assert f"UNREADABLE {FIRST}: the stored item's attribute 'watermark_ms' is missing or not of type N" in said.out
    (readable,) = (line for line in said.out.splitlines() if line.startswith(SECOND))
    assert readable.split()[1] == "open"
    listed = {shard["shard"]: shard for shard in give(rig, capsys, "list", "--json").json["shards"]}
    assert "watermark_ms" in listed[FIRST]["unreadable"]
    assert "unreadable" not in listed[SECOND]


def test_the_format_is_that_of_the_item(rig: StateRig, capsys: Capture) -> None:
    """Not the one that this version writes."""
    rig.start()
    rig.work(FIRST)
    rig.database.update_item(
        TableName=f"{rig.name}-state",
        Key={"pk": {"S": f"{rig.name}/{FIRST}"}, "sk": {"S": "state"}},
        UpdateExpression="SET format_version = :one REMOVE parents",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert _formats(rig, capsys)[FIRST] == 1
    rig.put_minutes(0, 1)
    rig.work(FIRST)
    assert _formats(rig, capsys)[FIRST] == FORMAT_VERSION


def _formats(rig: StateRig, capsys: Capture) -> dict[str, int]:
    return {each["shard"]: each.get("format_version") for each in give(rig, capsys, "list", "--json").json["shards"]}


def test_a_pipeline_that_never_ran_is_told_of_as_such(rig: StateRig, capsys: Capture) -> None:
    for arguments in (["list"], ["show", FIRST], ["export", str(rig.file.parent / "x")], ["reset", "--yes"]):
        said = give(rig, capsys, *arguments)
        assert said.status == EXIT_REFUSED
        assert f"pipeline {rig.name} has no state in table {rig.name}-state: it has never run" in said.err


def test_a_table_that_is_not_there_is_named(rig: StateRig, capsys: Capture) -> None:
    rig.database.delete_table(TableName=f"{rig.name}-state")
    said = give(rig, capsys, "list")
    assert said.status == EXIT_ENVIRONMENT
    assert "Create the table" in said.err


def test_a_reset_that_was_interrupted_is_listed(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    rig.database.update_item(
        TableName=f"{rig.name}-state",
        Key={"pk": {"S": rig.name}, "sk": {"S": "application"}},
        UpdateExpression="ADD generation :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    assert f"a reset was interrupted (give it again): {FIRST}" in give(rig, capsys, "list").out
    said = give(rig, capsys, "show", FIRST)
    assert "GENERATION    0: a reset was interrupted" in said.out
    said = give(rig, capsys, "export", rig.file.parent / "out")
    assert (said.status, "a reset was interrupted" in said.err) == (EXIT_REFUSED, True)


def test_a_shard_is_shown_in_words(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 3)
    rig.work(FIRST, crash_before_send=True)
    said = give(rig, capsys, "show", "0")
    assert (said.status, said.err) == (EXIT_OK, "")
    said_again = give(rig, capsys, "show", FIRST)
    assert said == said_again, "a number is a name too"
    lines = {line[:16].strip(): line[16:] for line in said.out.splitlines()}
    assert lines["status"] == "open: records are processed"
    assert lines["epoch"] == "1, commit 1"
    assert lines["watermark"] == "2026-01-01T00:02:49.000Z (11s ago)"
    assert lines["came from"] == "a root: it began empty"
    assert lines["outbox"] == "views 6 (sent, perhaps, but not yet known to be)"
    assert lines["floors"] == lines["orphans"] == "none"
    records = len(rig.records(FIRST))
    assert lines["counted"] == f"{records} records: 0 filtered out, 0 dead letters, 0 late, 6 results"
    assert f"    views   {FIRST}  3       2026-01-01T00:03:00.000Z  2026-01-01T00:03:00.000Z" in said.out
    assert "verified  in the state item" in said.out


def test_show_as_json_tells_what_was_taken_over(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    rig.put("user-1", at_seconds=900)  # only one of the shards is that far ahead
    rig.emulator.kinesis.merge_shards(rig.name, FIRST, SECOND)
    rig.work(FIRST, ended=True)
    rig.work(SECOND, ended=True)
    ranges = {shard: list(rig.state(shard).hash_range) for shard in (FIRST, SECOND)}
    rig.work(LOW)
    facts = give(rig, capsys, "show", LOW, "--json").json
    assert facts["parents"] == [FIRST, SECOND]
    (floor,) = facts["floors"]
    ahead = FIRST if rig.records(FIRST)[-1].data.find(b"user-1") > 0 else SECOND
    assert floor == {"hash_range": ranges[ahead], "watermark": "2026-01-01T00:14:50.000Z"}
    windows = {(each["window"], each["origin"]): each for each in facts["windows"] if each["groups"]}
    assert {origin for window, origin in windows if window == "views"} == {FIRST, SECOND}
    assert windows["views", ahead] == {
        "window": "views",
        "origin": ahead,
        "groups": 1,
        "first_end": "2026-01-01T00:16:00.000Z",
        "last_end": "2026-01-01T00:16:00.000Z",
    }
    assert give(rig, capsys, "show", LOW).out.count("2026-01-01T00:14:50.000Z for hash keys") == 1


def crowd(rig: StateRig) -> None:
    """Give the first shard a state too large for its item."""
    rig.start()
    for number in range(1500):
        rig.put(f"{number:032x}", at_seconds=number % 40, page=f"/{number * 7919}")
    rig.work(FIRST)


def test_objects_are_verified_and_damage_is_shown(rig: StateRig, capsys: Capture) -> None:
    crowd(rig)
    (entry, *_) = rig.state(FIRST).manifest
    said = give(rig, capsys, "show", FIRST)
    assert said.status == EXIT_OK
    assert f"verified  {entry.key}" in said.out
    rig.buckets.put_object(Bucket=f"{rig.name}-bucket", Key=entry.key, Body=b"x" * entry.size)
    said = give(rig, capsys, "show", FIRST)
    assert said.status == EXIT_REFUSED
    assert "DAMAGED: the state's object" in said.out
    assert "UNREADABLE    the state's object" in said.out
    (shown, *_) = give(rig, capsys, "show", FIRST, "--json").json["entries"]
    assert (shown["kind"], shown["size_bytes"]) == ("base", entry.size)
    assert "is not what was written" in shown["damage"]


def test_orphans_are_counted(rig: StateRig, capsys: Capture) -> None:
    crowd(rig)
    rig.store.put_object(FIRST, 0, 1, 1, b"left by a crash")
    assert give(rig, capsys, "show", FIRST, "--json").json["orphans"] == {"objects": 1, "size_bytes": 15}
    assert "orphans       1 object, 15 bytes: the next owner deletes them" in give(rig, capsys, "show", FIRST).out


def test_a_state_that_is_replaced_while_it_is_read_is_read_again(
    rig: StateRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(rig)
    before, get = rig.state(FIRST), DynamoStore.get_object
    replacing = iter([True])

    def replaced_meanwhile(store: DynamoStore, entry: Entry) -> bytes:
        if next(replacing, False):
            rig.store.delete_objects(before.manifest)
            rig.database.put_item(TableName=f"{rig.name}-state", Item=item | {"commit_no": {"N": "9"}})
            for old, data in zip(before.manifest, kept, strict=True):
                rig.store.put_object(FIRST, 0, 1, int(old.key.split("-")[-2]), data)
            if entry == before.manifest[0]:
                raise_missing(entry)
        return get(store, entry)

    item = rig.database.get_item(
        TableName=f"{rig.name}-state", Key={"pk": {"S": f"{rig.name}/{FIRST}"}, "sk": {"S": "state"}}
    )["Item"]
    kept = [rig.store.get_object(entry) for entry in before.manifest]
    monkeypatch.setattr(DynamoStore, "get_object", replaced_meanwhile)
    said = give(rig, capsys, "show", FIRST, "--json")
    assert said.status == EXIT_OK
    assert said.json["commit_no"] == 9


def raise_missing(entry: Entry) -> None:
    from consumer.errors import CorruptStateError  # noqa: PLC0415 - here alone

    raise CorruptStateError(f"{entry.key} is missing")


def test_another_file_is_told_of_and_that_it_is_refused(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    rig.file.write_text(rig.file.read_text().replace("gap: 5m", "gap: 6m"))
    difference = "windows.visits: was session gap 5m, is now session gap 6m"
    assert f"The file differs from what the state was made with: {difference}" in give(rig, capsys, "list").out
    said = give(rig, capsys, "show", FIRST)
    assert said.status == EXIT_REFUSED
    assert f"FILE DIFFERS  {difference}" in said.out
    assert "REFUSED       the definitions of pipeline" in said.out
    assert "UNREADABLE" not in said.out
    assert "\n    visits" in said.out, "it is read as what it was made with"


def test_a_file_with_other_windows_is_told_of_and_not_refused(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    before = rig.file.read_text()
    added = "windows:\n  more: {tumbling: 1h, by: [user], select: {n: count()}}\n"
    rig.file.write_text(before.replace("windows:\n", added))
    said = give(rig, capsys, "show", FIRST)
    assert said.status == EXIT_OK
    assert "FILE DIFFERS  windows.more: is new" in said.out
    assert "REFUSED" not in said.out


def test_a_shard_that_is_not_there_is_told_with_those_that_are(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    said = give(rig, capsys, "show", "7")
    assert said.status == EXIT_REFUSED
    assert f"has no state of a shard shardId-000000000007. There is one of: {FIRST}\n" in said.err


def test_tombstones_and_claims_are_shown(resharded: StateRig, capsys: Capture) -> None:
    assert "retired: its children have taken everything over" in give(resharded, capsys, "show", FIRST).out
    said = give(resharded, capsys, "show", SECOND)
    assert (said.status, "claimed only: no owner has made a commit" in said.out) == (EXIT_OK, True)


def test_looking_changes_nothing(resharded: StateRig, capsys: Capture, tmp_path: Path) -> None:
    before = resharded.stored()
    resharded.world.slept.clear()
    for arguments in (["list"], ["show", LOW], ["show", FIRST], ["export", str(tmp_path / "out")]):
        assert give(resharded, capsys, *arguments).status == EXIT_OK
    assert resharded.stored() == before
    assert resharded.world.slept == []


@pytest.mark.parametrize(("said", "name"), [("3", HIGH), (HIGH, HIGH), ("²", "²"), ("1" * 13, "1" * 13)])
def test_a_number_stands_for_the_name_that_kinesis_makes_of_it(said: str, name: str) -> None:
    assert shard_name(said) == name
