"""The rows of the daemon's tables, against the embedded AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from consumer.emulator.server import Emulator
from consumer.errors import RetryableError, SetupError
from consumer.sources.kinesis import ShardInfo
from consumer.sources.leases import OWNER_INDEX, accept, inherit, leave, prepare, read, release, release_leader

SHARDS = [
    ShardInfo("shardId-000000000000", None, None, ("0", "99"), closed=False),
    ShardInfo("shardId-000000000001", None, None, ("100", "199"), closed=False),
]


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with Emulator() as emulator:
        yield emulator.client("dynamodb")


@pytest.fixture
def application(request: pytest.FixtureRequest) -> str:
    name: str = request.node.originalname
    return name


def rows(dynamodb: Any, table: str) -> dict[str, dict[str, Any]]:
    return {item["leaseKey"]["S"]: item for item in dynamodb.scan(TableName=table)["Items"]}


def test_the_table_has_the_daemon_s_index_and_a_row_a_shard(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS, "worker-0", None)
    table = dynamodb.describe_table(TableName=application)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == OWNER_INDEX
    assert rows(dynamodb, application)["shardId-000000000001"] == {
        "leaseKey": {"S": "shardId-000000000001"},
        "leaseOwner": {"S": "worker-0"},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
        "startingHashKey": {"S": "100"},
        "endingHashKey": {"S": "199"},
    }
    owned = dynamodb.query(
        TableName=application,
        IndexName=OWNER_INDEX,
        KeyConditionExpression="leaseOwner = :o",
        ExpressionAttributeValues={":o": {"S": "worker-0"}},
    )
    assert owned["Count"] == 2


def test_a_row_that_exists_is_never_touched(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS[:1], "worker-0", None)
    before = rows(dynamodb, application)
    prepare(dynamodb, application, SHARDS, "worker-1", 1_700_000_000)
    after = rows(dynamodb, application)
    assert after[SHARDS[0].id] == before[SHARDS[0].id]
    assert after[SHARDS[1].id]["leaseOwner"] == {"S": "worker-1"}
    assert after[SHARDS[1].id]["checkpoint"] == {"S": "AT_TIMESTAMP"}


@pytest.fixture
def leader(dynamodb: Any, application: str) -> str:
    """Make the daemon's table with the lock of worker-0 in it, as the daemon writes it."""
    table = f"{application}-CoordinatorState"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
    )
    lock = {"key": {"S": "Leader"}, "ownerName": {"S": "worker-0"}, "leaseDuration": {"S": "120000"}}
    dynamodb.put_item(TableName=table, Item=lock)
    dynamodb.put_item(TableName=table, Item={"key": {"S": "Migration3.0"}, "cv": {"S": "CLIENT_VERSION_3X"}})
    return table


def keys(dynamodb: Any, table: str) -> set[str]:
    return {item["key"]["S"] for item in dynamodb.scan(TableName=table)["Items"]}


def test_the_lock_of_this_worker_is_released(dynamodb: Any, application: str, leader: str) -> None:
    assert release_leader(dynamodb, application, "worker-0")
    assert keys(dynamodb, leader) == {"Migration3.0"}
    assert not release_leader(dynamodb, application, "worker-0")


def test_the_lock_of_another_worker_stays(dynamodb: Any, application: str, leader: str) -> None:
    assert not release_leader(dynamodb, application, "worker-1")
    assert keys(dynamodb, leader) == {"Leader", "Migration3.0"}


def test_an_application_that_never_ran_has_no_lock(dynamodb: Any, application: str) -> None:
    assert not release_leader(dynamodb, application, "worker-0")


class Failing:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        def fail(**_: Any) -> Any:
            raise self._error

        return fail


def test_errors_say_whether_to_try_again() -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "m"}}, "DeleteItem")
    with pytest.raises(SetupError, match=r"table app-CoordinatorState: .*AccessDenied.*Allow the worker's role"):
        release_leader(Failing(denied), "app", "worker-0")
    with pytest.raises(RetryableError, match="table app: "):
        prepare(Failing(EndpointConnectionError(endpoint_url="http://x")), "app", SHARDS, "worker-0", None)


THIRD, ENDED = (
    ShardInfo("shardId-000000000002", None, None, ("200", "299"), closed=False),
    ShardInfo("shardId-000000000003", None, None, ("300", "399"), closed=True),
)


def prepare_three_and_an_ended_one(dynamodb: Any, application: str) -> None:
    """Worker-0 has two open shards and an ended one, b has the third."""
    prepare(dynamodb, application, [*SHARDS, ENDED], "worker-0", None)
    prepare(dynamodb, application, [THIRD], "b", None)
    dynamodb.update_item(
        TableName=application,
        Key={"leaseKey": {"S": ENDED.id}},
        UpdateExpression="SET checkpoint = :end",
        ExpressionAttributeValues={":end": {"S": "SHARD_END"}},
    )


def report(dynamodb: Any, application: str, **seconds: int) -> str:
    """Write reports of workers, as the daemon does, and return the name of their table."""
    table = f"{application}-WorkerMetricStats"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "wid", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "wid", "KeyType": "HASH"}],
    )
    for worker, second in seconds.items():
        item = {"wid": {"S": worker.replace("_", "-")}, "lut": {"N": str(second)}}
        dynamodb.put_item(TableName=table, Item=item)
    return table


def owners(dynamodb: Any, application: str) -> dict[str, str | None]:
    return {shard: row.get("leaseOwner", {}).get("S") for shard, row in rows(dynamodb, application).items()}


def test_a_worker_that_leaves_gives_its_open_leases_to_live_workers_evenly(dynamodb: Any, application: str) -> None:
    prepare_three_and_an_ended_one(dynamodb, application)
    table = report(dynamodb, application, worker_0=1_000, b=996, c=996, dead=995)
    before = rows(dynamodb, application)
    assert release(dynamodb, application, "worker-0", 996) == 2
    found = owners(dynamodb, application)
    assert (found[THIRD.id], found[ENDED.id]) == ("b", "worker-0")
    assert [found[shard.id] for shard in SHARDS] == ["c", "b"], "who has the fewest leases comes first"
    for shard in SHARDS:
        counters = [int(state[shard.id]["leaseCounter"]["N"]) for state in (before, rows(dynamodb, application))]
        assert counters[1] == counters[0] + 1, "renewed for its new owner"
    assert {item["wid"]["S"] for item in dynamodb.scan(TableName=table)["Items"]} == {"b", "c", "dead"}, "not ours"
    assert release(dynamodb, application, "worker-0", 996) == 0


def test_the_last_worker_that_leaves_gives_its_leases_free(dynamodb: Any, application: str) -> None:
    prepare_three_and_an_ended_one(dynamodb, application)
    report(dynamodb, application, worker_0=1_000, dead=995)
    assert release(dynamodb, application, "worker-0", 996) == 2
    assert owners(dynamodb, application) == {
        SHARDS[0].id: None,
        SHARDS[1].id: None,
        THIRD.id: "b",
        ENDED.id: "worker-0",
    }


def test_leases_that_somebody_takes_or_renews_meanwhile_are_left_to_them(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS, "worker-0", None)
    others = iter(["c", "worker-0"])

    class Overtaken:
        """Has somebody change each lease just before it is given away."""

        def __getattr__(self, name: str) -> Any:
            return self._late if name == "update_item" else getattr(dynamodb, name)

        def _late(self, **request: Any) -> Any:
            dynamodb.update_item(
                TableName=application,
                Key=request["Key"],
                UpdateExpression="SET leaseOwner = :other, leaseCounter = leaseCounter + :one",
                ExpressionAttributeValues={":other": {"S": next(others)}, ":one": {"N": "1"}},
            )
            return dynamodb.update_item(**request)

    assert release(Overtaken(), application, "worker-0", 0) == 0
    assert list(owners(dynamodb, application).values()) == ["c", "worker-0"]


def test_without_a_lease_table_there_is_nothing_to_give_free(dynamodb: Any, application: str) -> None:
    assert release(dynamodb, application, "worker-0", 0) == 0
    leave(dynamodb, application, "worker-0")


def test_who_has_stopped_lets_go_of_the_lock_and_of_what_it_was_to_hand_over(
    dynamodb: Any, application: str, leader: str
) -> None:
    prepare(dynamodb, application, SHARDS, "worker-1", None)
    for shard, old_owner in zip(SHARDS, ("worker-0", "worker-2"), strict=True):
        dynamodb.update_item(
            TableName=application,
            Key={"leaseKey": {"S": shard.id}},
            UpdateExpression="SET checkpointOwner = :old",
            ExpressionAttributeValues={":old": {"S": old_owner}},
        )
    leave(dynamodb, application, "worker-0")
    assert keys(dynamodb, leader) == {"Migration3.0"}
    left = read(dynamodb, application)
    assert left is not None
    assert [left[shard.id].from_owner for shard in SHARDS] == [None, "worker-2"]


def test_a_lease_that_was_being_handed_over_is_taken_by_who_comes_back(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, SHARDS, "worker-0", None)
    dynamodb.update_item(
        TableName=application,
        Key={"leaseKey": {"S": SHARDS[1].id}},
        UpdateExpression="SET checkpointOwner = :other",
        ExpressionAttributeValues={":other": {"S": "worker-1"}},
    )
    assert accept(dynamodb, application, "worker-1") == 0, "it is not handed over to the other one"
    before = read(dynamodb, application)
    assert before is not None
    assert before[SHARDS[1].id].from_owner == "worker-1"
    assert accept(dynamodb, application, "worker-0") == 1
    after = read(dynamodb, application)
    assert after is not None
    assert after[SHARDS[0].id] == before[SHARDS[0].id]
    taken = after[SHARDS[1].id]
    assert (taken.owner, taken.from_owner) == ("worker-0", None)
    assert taken.counter == before[SHARDS[1].id].counter + 1, "who hands it over cannot renew it any more"
    assert accept(dynamodb, application, "worker-0") == 0


PARENTS = [
    ShardInfo("shardId-000000000000", None, None, ("0", "99"), closed=True),
    ShardInfo("shardId-000000000001", None, None, ("100", "199"), closed=True),
]
LOW = ShardInfo("shardId-000000000002", "shardId-000000000000", None, ("0", "49"), closed=False)
HIGH = ShardInfo("shardId-000000000003", "shardId-000000000000", None, ("50", "99"), closed=False)
MERGED = ShardInfo("shardId-000000000004", PARENTS[0].id, PARENTS[1].id, ("0", "199"), closed=False)

CHILD_OF_THE_DAEMON: dict[str, Any] = {
    "leaseKey": {"S": LOW.id},
    "leaseCounter": {"N": "0"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "checkpoint": {"S": "TRIM_HORIZON"},
    "checkpointSubSequenceNumber": {"N": "0"},
    "parentShardId": {"SS": ["shardId-000000000000"]},
    "startingHashKey": {"S": "0"},
    "endingHashKey": {"S": "49"},
}
"""As KCL 3.1.3 writes it when it has read the parent to its end; the leader then gives it an owner."""


def end(dynamodb: Any, application: str, *shards: ShardInfo) -> None:
    """Note the ends of shards, as the daemon does."""
    for shard in shards:
        dynamodb.update_item(
            TableName=application,
            Key={"leaseKey": {"S": shard.id}},
            UpdateExpression="SET checkpoint = :end",
            ExpressionAttributeValues={":end": {"S": "SHARD_END"}},
        )


def test_children_of_a_shard_that_is_still_read_are_taken_before_the_daemon_writes_them(
    dynamodb: Any, application: str
) -> None:
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    before = rows(dynamodb, application)
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW, HIGH]) == 2
    after = rows(dynamodb, application)
    assert after.pop(LOW.id) == CHILD_OF_THE_DAEMON | {"leaseOwner": {"S": "worker-0"}}
    assert after.pop(HIGH.id)["startingHashKey"] == {"S": "50"}
    assert after == before
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW, HIGH]) == 0


def test_a_child_row_that_is_nobody_s_is_taken_as_the_leader_gives_it(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    end(dynamodb, application, *PARENTS)
    dynamodb.put_item(TableName=application, Item=CHILD_OF_THE_DAEMON)
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW]) == 1
    assert rows(dynamodb, application)[LOW.id] == CHILD_OF_THE_DAEMON | {
        "leaseOwner": {"S": "worker-0"},
        "leaseCounter": {"N": "1"},
    }


def test_a_child_that_somebody_has_is_left_to_them(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    taken = CHILD_OF_THE_DAEMON | {"leaseOwner": {"S": "worker-1"}, "leaseCounter": {"N": "7"}}
    dynamodb.put_item(TableName=application, Item=taken)
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW]) == 0
    assert rows(dynamodb, application)[LOW.id] == taken


def test_the_row_of_a_child_is_never_written_again(dynamodb: Any, application: str) -> None:
    """The daemon has written it before it told the parent's end; if it is missing, the shard is done with."""
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    end(dynamodb, application, *PARENTS)
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW, MERGED]) == 0
    assert set(rows(dynamodb, application)) == {shard.id for shard in PARENTS}


def test_children_are_taken_by_who_has_all_their_parents(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, PARENTS[:1], "worker-0", None)
    everything = [*PARENTS, LOW, MERGED]
    assert inherit(dynamodb, application, "worker-1", everything) == 0
    prepare(dynamodb, application, PARENTS[1:], "worker-1", None)
    end(dynamodb, application, PARENTS[0])
    assert inherit(dynamodb, application, "worker-0", everything) == 0
    assert inherit(dynamodb, application, "worker-1", everything) == 0


def test_one_parent_that_has_ended_does_not_keep_a_merged_shard_from_being_taken(
    dynamodb: Any, application: str
) -> None:
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    end(dynamodb, application, PARENTS[0])
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, MERGED]) == 1
    assert sorted(rows(dynamodb, application)[MERGED.id]["parentShardId"]["SS"]) == [parent.id for parent in PARENTS]


class Meanwhile:
    """A client before whose writes somebody else does something."""

    def __init__(self, client: Any, before: Callable[[], object]) -> None:
        self._client = client
        self._before = before

    def __getattr__(self, name: str) -> Any:
        if name in ("put_item", "update_item"):
            self._before()
        return getattr(self._client, name)


def test_who_takes_or_writes_a_child_meanwhile_keeps_it(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, PARENTS, "worker-0", None)
    theirs = CHILD_OF_THE_DAEMON | {"leaseOwner": {"S": "worker-1"}}
    meanwhile = Meanwhile(dynamodb, lambda: dynamodb.put_item(TableName=application, Item=theirs))
    assert inherit(meanwhile, application, "worker-0", [*PARENTS, LOW]) == 0
    assert rows(dynamodb, application)[LOW.id] == theirs
    dynamodb.put_item(TableName=application, Item=CHILD_OF_THE_DAEMON)
    assert inherit(meanwhile, application, "worker-0", [*PARENTS, LOW]) == 0
    assert rows(dynamodb, application)[LOW.id] == theirs
    dynamodb.put_item(TableName=application, Item=CHILD_OF_THE_DAEMON)
    key = {"leaseKey": {"S": LOW.id}}
    gone = Meanwhile(dynamodb, lambda: dynamodb.delete_item(TableName=application, Key=key))
    assert inherit(gone, application, "worker-0", [*PARENTS, LOW]) == 0
    assert LOW.id not in rows(dynamodb, application)


def test_without_a_lease_table_there_is_nothing_to_inherit(dynamodb: Any, application: str) -> None:
    assert inherit(dynamodb, application, "worker-0", [*PARENTS, LOW]) == 0
