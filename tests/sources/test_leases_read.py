"""Reading the leases, telling live ones from left ones, and setting them to the start: against the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from consumer.emulator.server import Emulator
from consumer.errors import RetryableError, SetupError
from consumer.sources.kinesis import ShardInfo
from consumer.sources.leases import Lease, prepare, read, renewed, rewind

ONE, TWO, THREE = (
    ShardInfo(f"shardId-{number:012d}", None, None, (str(number * 100), str(number * 100 + 99)), closed=False)
    for number in range(3)
)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with Emulator() as emulator:
        yield emulator.client("dynamodb")


@pytest.fixture
def application(request: pytest.FixtureRequest) -> str:
    name: str = request.node.originalname
    return name


def renew(dynamodb: Any, application: str, shard: ShardInfo, owner: str, checkpoint: str = "77") -> None:
    """Write a checkpoint as the daemon does, which renews the lease."""
    dynamodb.update_item(
        TableName=application,
        Key={"leaseKey": {"S": shard.id}},
        UpdateExpression="SET leaseOwner = :o, checkpoint = :c, checkpointSubSequenceNumber = :s ADD leaseCounter :n",
        ExpressionAttributeValues={":o": {"S": owner}, ":c": {"S": checkpoint}, ":s": {"N": "3"}, ":n": {"N": "1"}},
    )


def test_leases_are_read_as_the_daemon_writes_them(dynamodb: Any, application: str) -> None:
    assert read(dynamodb, application) is None, "there is no table yet"
    prepare(dynamodb, application, [TWO, ONE], "worker-0", None)
    renew(dynamodb, application, TWO, "worker-1")
    assert read(dynamodb, application) == {
        ONE.id: Lease(ONE.id, "worker-0", 0, "TRIM_HORIZON", 0),
        TWO.id: Lease(TWO.id, "worker-1", 1, "77", 3),
    }


def test_a_lease_lives_if_its_owner_has_taken_or_renewed_it(dynamodb: Any, application: str) -> None:
    prepare(dynamodb, application, [ONE, TWO], "worker-0", None)
    before = read(dynamodb, application)
    assert before is not None
    assert renewed(before, before) == []
    renew(dynamodb, application, TWO, "worker-0")
    assert [lease.shard for lease in renewed(before, read(dynamodb, application) or {})] == [TWO.id]
    taken = Lease(ONE.id, "worker-1", 0, "TRIM_HORIZON", 0)
    given_up = Lease(TWO.id, None, 5, "TRIM_HORIZON", 0)
    assert renewed(before, {ONE.id: taken, TWO.id: given_up}) == [taken]
    new = Lease(THREE.id, "worker-1", 0, "TRIM_HORIZON", 0)
    assert renewed(before, {THREE.id: new}) == [new]


def test_leases_are_set_to_the_start_and_others_deleted(dynamodb: Any, application: str) -> None:
    assert rewind(dynamodb, application, [ONE], None) == 0
    assert read(dynamodb, application) is None, "the daemon is to make the table"
    prepare(dynamodb, application, [ONE, TWO], "worker-0", None)
    renew(dynamodb, application, ONE, "worker-0", "SHARD_END")
    assert rewind(dynamodb, application, [ONE, THREE], None) == 1
    assert read(dynamodb, application) == {
        ONE.id: Lease(ONE.id, None, 0, "TRIM_HORIZON", 0),
        THREE.id: Lease(THREE.id, None, 0, "TRIM_HORIZON", 0),
    }
    item = dynamodb.get_item(TableName=application, Key={"leaseKey": {"S": THREE.id}})["Item"]
    assert item == {
        "leaseKey": {"S": THREE.id},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
        "startingHashKey": {"S": "200"},
        "endingHashKey": {"S": "299"},
    }
    rewind(dynamodb, application, [ONE], 1_700_000_000)
    assert (read(dynamodb, application) or {})[ONE.id].checkpoint == "AT_TIMESTAMP"


class Pages:
    """A table that is read in pages."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = iter(pages)
        self.starts: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def scan(self, **request: Any) -> dict[str, Any]:
        assert request["ConsistentRead"]
        self.starts.append(request.get("ExclusiveStartKey"))
        return next(self._pages)


def row(shard: str) -> dict[str, Any]:
    return {
        "leaseKey": {"S": shard},
        "leaseCounter": {"N": "1"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
    }


def test_all_pages_are_read() -> None:
    pages = Pages({"Items": [row("b")], "LastEvaluatedKey": {"leaseKey": {"S": "b"}}}, {"Items": [row("a")]})
    assert list(read(pages, "app") or {}) == ["a", "b"]
    assert pages.starts == [None, {"leaseKey": {"S": "b"}}]


def test_an_answer_that_was_cut_is_not_an_empty_table() -> None:
    with pytest.raises(RetryableError, match="without Items"):
        read(Pages({}), "app")


def test_a_missing_permission_is_named() -> None:
    class Denied(Pages):
        def scan(self, **_: Any) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "m"}}, "Scan")

    with pytest.raises(SetupError, match=r"table app: .*Allow the worker's role"):
        read(Denied(), "app")
