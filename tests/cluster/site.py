"""The embedded AWS as a pod, its producer, and the audit: what must have come of all that was sent."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from consumer.entrypoints.demo.clients import client
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import count_stream
from consumer.entrypoints.demo.recount import Recount, recount
from consumer.entrypoints.emulator import DEFAULT_PORT
from consumer.environment import environment
from consumer.pipeline.load import load
from consumer.records import Position
from consumer.sources import leases
from tests.cluster.plane import ClusterError, ControlPlane, wait_for

SHARDS = 4
EVENTS_PER_S = 40
EVENTS_A_RUN = 60_000
SPAN_MS = 3_600_000
START_MS = 1_767_225_600_000
DISORDER_MS = 9_000
SECONDS_MAX = 240.0
SECRET = "aws"
_PRIVILEGES: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class _Windowed(msgspec.Struct):
    window: str | None = None


_window_of = msgspec.json.Decoder(_Windowed).decode


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of the events so far: rows that had to come, rows that came again; nothing was missing or wrong."""

    rows: int
    again: int


@dataclass
class Site:
    """A namespace with an AWS of its own. `image` is the emulator's, `file` the pipeline whose windows are audited."""

    plane: ControlPlane
    namespace: str
    image: str
    file: Path
    endpoint: str = ""
    _runs: int = 0

    def start(self, workers: Sequence[str]) -> None:
        """Start the embedded AWS, and create all that the pipeline names; these workers have the leases, evenly."""
        self.plane.apply(self._pod("aws", ["emulator", "--host", "0.0.0.0", "--port", str(DEFAULT_PORT)]))  # noqa: S104 - the pod's
        self.plane.kubectl("-n", self.namespace, "wait", "--for=condition=Ready", "pod/aws", "--timeout=120s")
        found = self.plane.get(f"/api/v1/namespaces/{self.namespace}/pods/aws")
        self.endpoint = f"http://{found['status']['podIP']}:{DEFAULT_PORT}"
        environ = environment_for(self.endpoint, environment())
        self.cloud = Cloud(load(self.file, environ), environ)
        wait_for(self._listens, "the embedded AWS", 60)
        self.cloud.prepare(SHARDS, workers[0])
        self._divide(workers)
        keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}
        metadata = {"name": SECRET, "namespace": self.namespace}
        self.plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})

    def _divide(self, workers: Sequence[str]) -> None:
        """Give each worker its share of the leases, as they are after a while of balancing."""
        database = client("dynamodb", self.cloud.environ)
        for number, shard in enumerate(self.cloud.shards()):
            database.update_item(
                TableName=self.cloud.pipeline.worker.application,
                Key={"leaseKey": {"S": shard.id}},
                UpdateExpression="SET leaseOwner = :owner",
                ExpressionAttributeValues={":owner": {"S": workers[number % len(workers)]}},
            )

    def owners(self) -> Mapping[str, str | None]:
        """Return who has the lease of each shard."""
        database = client("dynamodb", self.cloud.environ)
        found = leases.read(database, self.cloud.pipeline.worker.application) or {}
        return {shard: lease.owner for shard, lease in found.items()}

    def produce(self) -> None:
        """Start sending events until `stop_producing`; their times go on where the last ones' could have ended."""
        arguments = {
            "stream": self.cloud.pipeline.source.stream,
            "events": EVENTS_A_RUN,
            "start-ms": START_MS + self._runs * SPAN_MS,
            "span-ms": SPAN_MS,
            "disorder-ms": DISORDER_MS,
            "seed": self._runs,
            "rate": EVENTS_PER_S,
        }
        self._runs += 1
        command = ["python3", "-m", "consumer.entrypoints.demo.producer"]
        pod = self._pod("producer", [f"--{name}={value}" for name, value in arguments.items()], command)
        self.plane.apply(pod)
        self.plane.kubectl("-n", self.namespace, "wait", "--for=condition=Ready", "pod/producer", "--timeout=60s")

    def stop_producing(self) -> None:
        """End the load; what is in the stream then is what counts."""
        self.plane.kubectl("-n", self.namespace, "delete", "pod", "producer", "--grace-period=1", "--wait")

    def audit(self) -> Audit:
        """End the load, let the workers catch up, and recount everything. ClusterError if a row is missing or wrong."""
        self.stop_producing()
        ends = self._ends()
        wait_for(lambda: self._have_reached(ends), "the workers to catch up", SECONDS_MAX)
        generation = self.cloud.application().generation
        counted = count_stream(self.cloud.pipeline, self.cloud.shards(), generation, self.cloud.records)
        found: Recount | None = None

        def is_right() -> bool:
            nonlocal found
            found = recount(self.cloud.pipeline, counted, self._rows())
            return found.is_right

        # What was committed last is on its way to the sinks for a moment.
        try:
            wait_for(is_right, "the last rows", 45)
        except ClusterError as error:
            raise ClusterError(f"rows are missing or wrong: {found}") from error
        assert found is not None
        rows = found.results.expected + found.late.expected + found.dead_letters.expected
        return Audit(rows, found.duplicates)

    def positions(self) -> Mapping[str, Position]:
        """Return the committed positions."""
        return self.cloud.positions([shard.id for shard in self.cloud.shards()])

    def rows_of(self, window: str) -> int:
        """Return how many rows of a window have been delivered."""
        return sum(_window_of(row).window == window for rows in self.cloud.delivered().values() for row in rows)

    def _rows(self) -> Mapping[str, Sequence[bytes]]:
        """Return what was delivered, without the rows of windows that come and go."""
        ours = {window.name for window in self.cloud.pipeline.windows} | {None}
        found = self.cloud.delivered()
        return {name: [row for row in rows if _window_of(row).window in ours] for name, rows in found.items()}

    def _ends(self) -> Mapping[str, Position]:
        """Return the position of each shard's last record, of shards that have one."""
        found = {shard.id: self.cloud.records(shard.id) for shard in self.cloud.shards()}
        return {shard: Position.of(records[-1]) for shard, records in found.items() if records}

    def _have_reached(self, ends: Mapping[str, Position]) -> bool:
        found = self.positions()
        return all(shard in found and found[shard] >= end for shard, end in ends.items())

    def _listens(self) -> bool:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _pod(self, name: str, arguments: Sequence[str], command: Sequence[str] | None = None) -> Mapping[str, Any]:
        aws = environment_for(self.endpoint, {}) if name != "aws" else {}
        container = {
            "name": name,
            "image": self.image,
            "args": list(arguments),
            "env": [{"name": key, "value": value} for key, value in aws.items()],
            "securityContext": _PRIVILEGES,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
        }
        if command:
            container["command"] = list(command)
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 5,
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "runAsGroup": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        }
