"""The state store on DynamoDB (items) and S3 (snapshots too large for an item).

One table serves many pipelines. Its key is `pk`, `sk`: the application item is (pipeline, "application"), a
state item (pipeline/shard, "state"), a ledger (pipeline/shard, "ledger"), so that no two shards share a partition's
1,000 write units a second. What shards there are is told by items (pipeline, "shard/<id>"), one a shard, written before
its state item: they are one cheap Query, where a Scan would read the whole table, all pipelines and chunks, and an
index can't be read strongly consistent. `chunks.py` says how snapshots are kept where there is no bucket,
`global_items.py` what global windows have here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError, WaiterError

from consumer.aws_errors import code_of
from consumer.core.completion import Progress
from consumer.core.contributions import Contribution
from consumer.errors import RetryableError, SetupError
from consumer.state.aws import CLIENT_CONFIG, errors_of, required
from consumer.state.base import (
    IN_TABLE,
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    Found,
    ShardState,
    assert_storable,
)
from consumer.state.chunks import ChunkStore
from consumer.state.global_items import GlobalItems
from consumer.state.items import (
    EXPIRES_AT,
    STATE_ATTRIBUTES,
    decode_application,
    decode_claim,
    decode_ledger,
    encode_application,
    encode_ledger,
    encode_state,
    encode_tombstone,
)
from consumer.state.marks import Ledger
from consumer.state.s3 import ObjectStore, S3Client
from consumer.state.table import NO_TABLE, REMEDIES, DynamoClient, Table, condition_of, key_of, name_of

if TYPE_CHECKING:
    import boto3

_KEY_SCHEMA = [
    {"AttributeName": "pk", "KeyType": "HASH"},
    {"AttributeName": "sk", "KeyType": "RANGE"},
]
_KEY_TYPES = [
    {"AttributeName": "pk", "AttributeType": "S"},
    {"AttributeName": "sk", "AttributeType": "S"},
]
_WAIT_FOR_TABLE = {"Delay": 1, "MaxAttempts": 120}
_FORGETTING = frozenset({"ENABLED", "ENABLING"})
_SHARDS = "shard/"


def make_client(session: boto3.Session) -> DynamoClient:
    """Return a client with explicit time-outs and few retries of its own; one serves all threads."""
    return session.client("dynamodb", config=CLIENT_CONFIG)


def create_table(client: DynamoClient, table: str) -> None:
    """Create the table, billed on demand, if there is none; return when it can be used and forgets what expires."""
    what = name_of(table)
    with errors_of(what, REMEDIES):
        try:
            client.create_table(
                TableName=table,
                KeySchema=_KEY_SCHEMA,
                AttributeDefinitions=_KEY_TYPES,
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":  # it exists, or another worker is creating it
                raise
        try:
            client.get_waiter("table_exists").wait(TableName=table, WaiterConfig=_WAIT_FOR_TABLE)
        except WaiterError as error:
            raise RetryableError(f"{what}: still being created") from error
    check_table(client, table)
    if not forgets(client, table):  # AWS refuses to turn on what is on
        with errors_of(what, REMEDIES):
            client.update_time_to_live(
                TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT}
            )


def forgets(client: DynamoClient, table: str) -> bool:
    """Tell whether the table's time to live is on, or being turned on, for the attribute that items expire by."""
    what = name_of(table)
    with errors_of(what, REMEDIES):
        answer = client.describe_time_to_live(TableName=table)
    description = required(answer, "TimeToLiveDescription", what)
    return (
        description.get("AttributeName") == EXPIRES_AT
        and required(description, "TimeToLiveStatus", what) in _FORGETTING
    )


def check_table(client: DynamoClient, table: str) -> None:
    """Check that the table is there, usable, and has the right key; SetupError with the remedy if not."""
    what = name_of(table)
    with errors_of(what, REMEDIES):
        description = required(client.describe_table(TableName=table), "Table", what)
    if description["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        raise RetryableError(f"{what} is {description['TableStatus']}")
    types = {
        definition["AttributeName"]: definition["AttributeType"] for definition in description["AttributeDefinitions"]
    }
    key = [(part["AttributeName"], part["KeyType"], types[part["AttributeName"]]) for part in description["KeySchema"]]
    if key != [("pk", "HASH", "S"), ("sk", "RANGE", "S")]:
        raise SetupError(f"{what} has another key than this needs: use a table of its own. {NO_TABLE}")


class DynamoStore:
    """The contract of `base.py`, for one pipeline; without a bucket, all is in the table. Thread-safe."""

    def __init__(self, dynamodb: DynamoClient, s3: S3Client, *, table: str, bucket: str | None, pipeline: str) -> None:
        self._table = Table(dynamodb, table)
        self._objects = None if bucket is None else ObjectStore(s3, bucket, pipeline)
        self._chunks = ChunkStore(self._table, pipeline)
        self._global = GlobalItems(self._table, pipeline)
        self._pipeline = pipeline

    def read_application(self) -> Application | None:
        """Read the item, strongly consistent."""
        item = self._table.get(self._application_key())
        return None if item is None else decode_application(item)

    def create_application(self, application: Application) -> Application:
        """Write the item on condition that there is none, or read the one that is there."""
        item = self._application_key() | encode_application(application)
        if self._table.put(item, condition_of("attribute_not_exists(pk)")):
            return application
        return self._stored_application()

    def reset(self, application: Application) -> Application:
        """Replace the application item on its condition, then clear every item: the steps of the contract."""
        new = msgspec.structs.replace(application, generation=application.generation + 1)
        # 1. Refused: perhaps it is done already, by this call's earlier try.
        condition = _generation_is(application.generation)
        replaced = self._table.put(self._application_key() | encode_application(new), condition)
        if not replaced and self.read_application() != new:
            raise FenceRefusedError(f"generation {application.generation} of {self._pipeline} is not the stored one")
        # 2. By their names, not their contents, so that what cannot be read can be reset.
        for shard in self._shards():
            if self._clear(shard, new.generation):
                self._table.delete(self._ledger_key(shard))
        # 3.
        self._global.delete_progress(application.generation)
        return new

    def adopt(self, before: Application, after: Application) -> Application:
        """Replace the item on its condition, or read what is there. Its first version counts no adoptions."""
        expected: dict[str, Any] = {
            ":generation": {"N": str(before.generation)},
            ":definitions": {"S": before.definitions},
            ":adoptions": {"N": str(before.adoptions)},
            ":runs_in": {"S": before.runs_in},
        }
        adoptions = "adoptions = :adoptions"
        if before.adoptions == 0:
            adoptions = f"({adoptions} OR attribute_not_exists(adoptions))"
        runs_in = "(runs_in = :runs_in OR attribute_not_exists(runs_in))"
        condition = f"generation = :generation AND definitions = :definitions AND {adoptions} AND {runs_in}"
        item = self._application_key() | encode_application(after)
        if self._table.put(item, condition_of(condition, expected)):
            return after
        return self._stored_application()

    def _stored_application(self) -> Application:
        stored = self.read_application()
        if stored is None:
            raise RetryableError(f"{self._table.what}: the application item was there and is gone")
        return stored

    def claim(self, shard: str) -> Claim:
        """Name the shard, then add 1 to the epoch. The answer to that one update is the item: nothing comes between."""
        self._table.put(key_of(self._pipeline, _SHARDS + shard))
        answer = self._table.update(
            Key=self._state_key(shard),
            UpdateExpression="ADD #epoch :one",
            ExpressionAttributeNames={"#epoch": "epoch"},
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="ALL_NEW",
        )
        return decode_claim(required(answer, "Attributes", self._table.what))

    def read(self, shard: str) -> Claim | None:
        """Read the item, strongly consistent."""
        item = self._table.get(self._state_key(shard))
        return None if item is None else decode_claim(item)

    def list_shards(self) -> Mapping[str, Claim]:
        """Query the names, then read the items a hundred at a time. A name may be there before its item."""
        shards = self._shards()
        items = self._table.get_many(self._state_key(shard) for shard in shards)
        claims = {item["pk"]["S"]: decode_claim(item) for item in items}
        keys = {shard: self._state_key(shard)["pk"]["S"] for shard in shards}
        return {shard: claims[key] for shard, key in keys.items() if key in claims}

    def shard_names(self) -> Sequence[str]:
        """Query the names. One may be there before its item."""
        return self._shards()

    def put_object(self, shard: str, generation: int, epoch: int, commit_no: int, data: bytes) -> Entry:
        """Write an object to the bucket if there is one, else to the table."""
        return (self._objects or self._chunks).put(shard, generation, epoch, commit_no, data)

    def get_object(self, entry: Entry) -> bytes:
        """Read an object from where its key says, and verify it."""
        return self._place_of(entry).get(entry)

    def delete_objects(self, entries: Sequence[Entry]) -> None:
        """Delete objects from where their keys say."""
        by_place = [(self._place_of(entry), entry) for entry in entries]
        for place in {place for place, _ in by_place}:
            place.delete([entry for its_place, entry in by_place if its_place is place])

    def list_objects(self, shard: str, generation: int) -> Sequence[Found]:
        """List the table's and the bucket's: a bucket may have been added to the pipeline since."""
        in_bucket = [] if self._objects is None else self._objects.list(shard, generation)
        return [*self._chunks.list(shard, generation), *in_bucket]

    def advance(self, shard: str, epoch: int, state: ShardState, *, ended: bool) -> None:
        """Replace every attribute but the key and the epoch, in one conditional update.

        Commit 0 is a transaction with a check of the application item; there is one in a shard's life.
        """
        assert_storable(state)
        attributes = encode_state(state)
        condition, expected = _fence(epoch, state.commit_no, ended=ended)
        update = {
            "Key": self._state_key(shard),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {f"#{name}": name for name in ("epoch", *attributes)},
            "ExpressionAttributeValues": {f":{name}": value for name, value in attributes.items()} | expected,
        }
        if state.commit_no == 0:
            check = {"Key": self._application_key(), **_generation_is(state.generation)}
            done = self._table.update_if(update, check)
        else:
            done = self._table.update(**update) is not None
        if not done:
            raise FenceRefusedError(f"{shard}: epoch {epoch}, commit {state.commit_no}")

    def retire(self, shard: str, epoch: int) -> None:
        """Replace the whole item, on its condition."""
        expected = {":epoch": {"N": str(epoch)}, ":ended": {"BOOL": True}}
        condition = condition_of("epoch = :epoch AND ended = :ended", expected)
        if self._table.put(self._state_key(shard) | encode_tombstone(epoch), condition):
            return
        claim = self.read(shard)
        if claim is None or not claim.retired:
            raise FenceRefusedError(f"{shard}: epoch {epoch}, to be retired")

    def read_ledger(self, shard: str) -> Ledger | None:
        """Read the item, strongly consistent."""
        item = self._table.get(self._ledger_key(shard))
        return None if item is None else decode_ledger(item)

    def write_ledger(self, shard: str, ledger: Ledger) -> None:
        """Replace the whole item, on condition that its epoch is no later one."""
        attributes = encode_ledger(ledger)
        condition = condition_of("attribute_not_exists(epoch) OR epoch <= :epoch", {":epoch": attributes["epoch"]})
        self._table.put(self._ledger_key(shard) | attributes, condition)

    def put_contributions(self, rows: Sequence[bytes]) -> None:
        """Write them in batches."""
        self._global.put(rows)

    def read_contributions(
        self, generation: int, window_hash: str, bucket: int, *, after_end_ms: int | None, until_end_ms: int
    ) -> Iterator[Contribution]:
        """Query a bucket, strongly consistent, page by page."""
        return self._global.read(generation, window_hash, bucket, after_end_ms=after_end_ms, until_end_ms=until_end_ms)

    def write_progress(self, progress: Progress) -> None:
        """Replace the whole item, on condition that its commit is no later one."""
        self._global.write_progress(progress)

    def read_progress(self, generation: int) -> Sequence[Progress]:
        """Query all of a generation, strongly consistent."""
        return self._global.read_progress(generation)

    def _clear(self, shard: str, generation: int) -> bool:
        """Fence the owner and remove all else, unless a commit of the new generation was made: then return False."""
        names = ("epoch", "retired", *STATE_ATTRIBUTES)
        cleared = self._table.update(
            Key=self._state_key(shard),
            UpdateExpression="ADD #epoch :one REMOVE " + ", ".join(f"#{name}" for name in names[1:]),
            ConditionExpression="attribute_not_exists(#generation) OR #generation <> :generation",
            ExpressionAttributeNames={f"#{name}": name for name in names},
            ExpressionAttributeValues={":one": {"N": "1"}, ":generation": {"N": str(generation)}},
        )
        return cleared is not None

    def _shards(self) -> list[str]:
        items = self._table.query(self._pipeline, _SHARDS)
        return [item["sk"]["S"].removeprefix(_SHARDS) for item in items]

    def _place_of(self, entry: Entry) -> ObjectStore | ChunkStore:
        if entry.key.startswith(IN_TABLE):
            return self._chunks
        if self._objects is None:
            raise SetupError(
                f"the state's object {entry.key} is in a bucket, and the pipeline names none: give "
                "state.bucket the bucket it had, or reset the pipeline"
            )
        return self._objects

    def _application_key(self) -> dict[str, Any]:
        return key_of(self._pipeline, "application")

    def _state_key(self, shard: str) -> dict[str, Any]:
        return key_of(f"{self._pipeline}/{shard}", "state")

    def _ledger_key(self, shard: str) -> dict[str, Any]:
        return key_of(f"{self._pipeline}/{shard}", "ledger")


def _fence(epoch: int, commit_no: int, *, ended: bool) -> tuple[str, dict[str, Any]]:
    """Return the condition of a commit and the values it names."""
    expected: dict[str, Any] = {":expected_epoch": {"N": str(epoch)}}
    if commit_no == 0:
        condition = "#epoch = :expected_epoch AND attribute_not_exists(#commit_no) AND attribute_not_exists(retired)"
        return condition, expected
    expected[":expected_commit_no"] = {"N": str(commit_no - 1)}
    expected[":expected_ended"] = {"BOOL": ended}
    condition = "#epoch = :expected_epoch AND #commit_no = :expected_commit_no AND #ended = :expected_ended"
    return condition, expected


def _generation_is(generation: int) -> dict[str, Any]:
    return condition_of("generation = :generation", {":generation": {"N": str(generation)}})
