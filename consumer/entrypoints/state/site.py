"""What the commands on a pipeline's state reach: its state, its stream, its leases; and how they say things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO, TypeVar

from consumer.core.compile import Program, compile_pipeline
from consumer.entrypoints.aws_session import open_session, region_of
from consumer.errors import RefusedError, RetryableError
from consumer.pipeline.model import Pipeline
from consumer.runtime import clock
from consumer.runtime.adoption import Programs
from consumer.runtime.daemon_files import DEFAULTS
from consumer.runtime.retry import until_done
from consumer.sources import kinesis, leases
from consumer.sources.kinesis import KinesisClient
from consumer.sources.leases import DynamoDBClient, Lease
from consumer.state import dynamodb, s3
from consumer.state.base import Application, Claim, Entry, StateStore, is_orphan
from consumer.state.reading import claims_or_why_not

TRY_SECONDS_MAX = 60.0
"""How long each call to AWS is tried again."""
DELETIONS_MAX = 100
"""How many objects are deleted in one go."""

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """A pipeline, and what AWS holds for it. `out` is for what was asked for, `err` for what takes long."""

    program: Program
    store: StateStore
    stream: KinesisClient
    lease_tables: DynamoDBClient
    out: TextIO
    err: TextIO
    programs: Programs = field(default_factory=Programs)

    @property
    def pipeline(self) -> Pipeline:
        """Return the pipeline."""
        return self.program.pipeline

    def program_of(self, application: Application, definitions: str) -> Program:
        """Return the program of definitions that a state of an application is of; RefusedError if it has none such."""
        return self.programs.of(definitions, application, self.program)

    def tried(self, call: Callable[[], T]) -> T:
        """Make a call to AWS until it works; RetryableError after TRY_SECONDS_MAX."""
        return until_done(call, clock=clock, pause=_pause, seconds_max=TRY_SECONDS_MAX, on_retry=self._told)

    def _told(self, error: RetryableError, wait_seconds: float) -> None:
        self.err.write(f"trying again in {wait_seconds:.1f} s: {error}\n")

    def tell(self, text: str) -> None:
        """Write a line of the answer."""
        self.out.write(f"{text}\n")

    def application(self) -> Application:
        """Return the application item; RefusedError if the pipeline never ran."""
        application = self.tried(self.store.read_application)
        if application is None:
            raise RefusedError(
                f"pipeline {self.pipeline.name} has no state in table {self.pipeline.state.table}: it has never run. "
                "If it has, look at the file's `pipeline` and `state.table`, at the region and at the account"
            )
        return application

    def claims(self) -> Mapping[str, Claim]:
        """Return the state items of all shards."""
        return self.tried(self.store.list_shards)

    def claims_or_why_not(self) -> Mapping[str, Claim | RefusedError]:
        """Return the state items of all shards; of one that cannot be read, why."""
        return claims_or_why_not(self.store, self.tried)

    def leases(self) -> Mapping[str, Lease] | None:
        """Return the rows of the lease table, None if there is no table."""
        return self.tried(lambda: leases.read(self.lease_tables, self.pipeline.worker.application))

    def refuse_while_leases_live(self) -> None:
        """RefusedError if a worker holds a lease: one whose owner takes or renews it while this waits.

        It waits for the daemon's fail-over time, after which the daemon itself gives up an owner that has not renewed
        its lease. Without any owner it does not wait.
        """
        before = self.leases() or {}
        if all(lease.owner is None for lease in before.values()):
            return
        failover_ms = int(dict(self.pipeline.worker.kcl).get(_FAILOVER, DEFAULTS[_FAILOVER]))
        self.err.write(f"waiting {failover_ms / 1000:g} s to see whether a worker renews a lease\n")
        clock.sleep(failover_ms / 1000)
        live = leases.renewed(before, self.leases() or {})
        if live:
            held = ", ".join(f"{lease.shard} by {lease.owner}" for lease in live)
            raise RefusedError(
                f"workers of pipeline {self.pipeline.name} are running ({held}): nothing was changed. Stop all of them "
                "and give the command again"
            )

    def collect(self, generation: int) -> tuple[int, int]:
        """Delete the objects of all generations before this one; return how many they were, and their bytes."""
        gone = [entry for shard in self.claims() for entry in self._collect(shard, generation)]
        return len(gone), sum(entry.size for entry in gone)

    def _collect(self, shard: str, generation: int) -> list[Entry]:
        """List first, then read, then decide, as `is_orphan` asks for."""
        store = self.store
        folders = [partial(store.list_objects, shard, older) for older in range(generation)]
        found = [one for folder in folders for one in self.tried(folder)]
        claim = self.tried(partial(store.read, shard))
        assert claim is not None, "items are never deleted"
        orphans = [one.entry for one in found if is_orphan(one, claim)]
        for at in range(0, len(orphans), DELETIONS_MAX):  # one after the other: an error does not start all anew
            self.tried(partial(store.delete_objects, orphans[at : at + DELETIONS_MAX]))
        return orphans


_FAILOVER = "failoverTimeMillis"


def _pause(seconds: float) -> bool:
    clock.sleep(seconds)
    return False


def open_site(pipeline: Pipeline, environ: Mapping[str, str], *, out: TextIO, err: TextIO) -> Site:
    """Make clients for a pipeline's state; SetupError if there is no such table or region."""
    session = open_session(environ)
    region_of(session)
    state = pipeline.state
    database = dynamodb.make_client(session)
    store = dynamodb.DynamoStore(
        database, s3.make_client(session), table=state.table, bucket=state.bucket, pipeline=pipeline.name
    )
    site = Site(compile_pipeline(pipeline), store, kinesis.make_client(session), leases.make_client(session), out, err)
    site.tried(lambda: dynamodb.check_table(database, state.table))
    return site
