"""A pipeline with windows of all kinds, worked on through restarts, splits and merges, and then asked about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from consumer.cli import main
from consumer.core.compile import compile_pipeline
from consumer.emulator.server import Emulator
from consumer.pipeline.load import load
from consumer.records import Position, Record
from consumer.runtime.commit import ShardOwner
from consumer.runtime.mode import Mode
from consumer.sources import kinesis
from tests.entrypoints.state_rig import START_MS, Said, StateRig, World

WINDOWS = """\
  minutes: {tumbling: 10s, by: [user], select: {events: count(), total: sum(amount), pages: "collect(page, 5)"}}
  patient:
    tumbling: 20s
    by: [user, page]
    allowed_lateness: 30s
    where: amount > 10
    select: {events: count(), total: sum(amount)}
  trend:
    sliding: {size: 15s, every: 5s}
    by: [user]
    allowed_lateness: 10s
    select: {events: count(), total: sum(amount)}
  visits:
    session: {gap: 4s}
    by: [user]
    allowed_lateness: 5s
    select: {events: count(), first: first(page), last: last(page)}
  bounded: {session: {gap: 6s, max_length: 20s}, by: [user], select: {events: count(), last: last(amount)}}
  stagger: {stagger: 7s, by: [user], select: {events: count(), total: sum(amount)}}
  pages: {tumbling: 10s, by: [page], combine: false, select: {events: count(), total: sum(amount)}}
  page_visits: {session: {gap: 3s}, by: [page], combine: false, select: {events: count(), users: count_distinct(user)}}
  all: {tumbling: 30s, combine: false, emit: final, allowed_lateness: 10s, select: {events: count()}}
"""
PIPELINE = """\
pipeline: {name}
source: {{stream: {name}, partition_key: user}}
events:
  fields: {{user: string, at: timestamp, page: "string?", amount: int}}
  time: at
  out_of_orderness: 3s
  idle_after: 5s
where: amount != 13
windows:
{windows}
late: {{stdout: {{}}}}
sinks: [{{stdout: {{}}}}]
state: {{table: {name}-state, bucket: {name}-bucket}}
worker: {{application: {name}-leases}}
"""
USERS = [f"user-{number}" for number in range(6)]
PAGES = ["/", "/a", None]


class ExplainRig(StateRig):
    """`windows` and `limits` are lines of the pipeline file."""

    def __init__(
        self,
        emulator: Emulator,
        world: World,
        directory: Path,
        name: str,
        *,
        shards: int = 2,
        windows: str = WINDOWS,
        limits: str = "",
    ) -> None:
        super().__init__(emulator, world, directory, name, shards=shards)
        self.file.write_text(PIPELINE.format(name=name, windows=windows) + limits)
        self.pipeline = load(self.file, {})
        self.program = compile_pipeline(self.pipeline)
        self.owners: dict[str, ShardOwner] = {}

    def put_event(self, user: str, at_ms: int, *, page: str | None = "/", amount: int = 1) -> None:
        event = {"user": user, "at": START_MS + at_ms, "page": page, "amount": amount}
        self.emulator.kinesis.put_record(self.name, user, json.dumps(event).encode())

    def put_some(self, random: Random, count: int, from_ms: int) -> int:
        """Put random events, some of them early, late, filtered out or broken; return the time that it is then."""
        now_ms = from_ms
        for _ in range(count):
            now_ms += random.choice([50, 200, 400, 1500])
            self.world.now_ms = max(self.world.now_ms, START_MS + now_ms)
            behind_ms = random.choice([0, 0, 0, 500, 2500, 6000, 25_000])
            user = random.choice(USERS)
            if random.random() < 0.03:
                self.emulator.kinesis.put_record(self.name, user, b"broken")
            amount = random.randrange(30)
            self.put_event(user, max(0, now_ms - behind_ms), page=random.choice(PAGES), amount=amount)
        return now_ms

    def open_shards(self) -> list[str]:
        return [shard.id for shard in kinesis.list_shards(self.streams, self.name) if not shard.closed]

    def split(self, shard: str) -> None:
        """Split a shard; its end is not worked on yet."""
        self.emulator.kinesis.split_shard(self.name, shard)

    def merge(self) -> None:
        """Merge the first two open shards that lie side by side."""
        shards = sorted(
            (each for each in kinesis.list_shards(self.streams, self.name) if not each.closed),
            key=lambda each: int(each.hash_range[0]),
        )
        self.emulator.kinesis.merge_shards(self.name, shards[0].id, shards[1].id)

    def live(self, random: Random, *, kill: float = 0.0, idle: float = 0.0) -> None:
        """Let workers take all there is, in batches, with commits now and then, deaths and idle decisions."""
        for shard in kinesis.list_shards(self.streams, self.name):
            claim = self.store.read(shard.id)
            if claim is not None and (claim.retired or (claim.state is not None and claim.state.ended)):
                continue
            self._live(random, shard.id, kill, idle)
            if shard.closed:
                owner = self._owner(shard.id)
                owner.commit(self._checkpoints(shard.id), ended=True)
                self.checkpoint(shard.id, "SHARD_END")
                del self.owners[shard.id]

    def _live(self, random: Random, shard: str, kill: float, idle: float) -> None:
        left = self._left(self._owner(shard), shard)
        while True:
            owner = self._owner(shard)
            taken = random.choice([1, 3, 10, 40])
            batch, left = left[:taken], left[taken:]
            self._step(owner, batch)
            if not left and random.random() < idle:
                self.world.now_ms += random.choice([1000, 6000, 20_000])
                if owner.idle() is not None:
                    self._step(owner, [])
            if random.random() < kill:
                del self.owners[shard]
                left = self._left(self._owner(shard), shard)
            elif random.random() < 0.4 or not left:
                owner.commit(self._checkpoints(shard))
                if not left:
                    return

    def _step(self, owner: ShardOwner, records: Sequence[Record]) -> None:
        while records or owner.processor.closing:
            records = records[owner.step(records).taken :]

    def _owner(self, shard: str) -> ShardOwner:
        if shard not in self.owners:
            self.owners[shard] = self.owner(shard)
            assert self.owners[shard].mode is Mode.ACTIVE
        return self.owners[shard]

    def _left(self, owner: ShardOwner, shard: str) -> list[Record]:
        at = owner.processor.position
        return [record for record in self.records(shard) if at is None or Position.of(record) > at]

    def _checkpoints(self, shard: str) -> Any:
        return lambda position: self.checkpoint(shard, str(position.sequence))

    def sent(self) -> dict[str, bytes]:
        """Return the rows that were sent, by id."""
        rows: dict[str, bytes] = {}
        for row in self.sink.rows:
            assert rows.setdefault(json.loads(row)["id"], row) == row
        return rows

    def explain(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
        """Give the command `streamgauge explain FILE ARGUMENTS`."""
        capsys.readouterr()
        status = main(["explain", str(self.file), *arguments])
        said = capsys.readouterr()
        return Said(status, said.out, said.err)
